"""Where the SCIseg paper and its code leave a choice: named options, what each may be, and why."""

from dataclasses import dataclass, fields
from typing import Literal, final, get_args, get_type_hints

from score_jax.data.splits import SCISEG_SEEDS
from score_jax.errors import ConfigError
from score_jax.study.report import Choice


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class SciOptions:
    """The choices of the SCI study; `choices` says why each is one.

    Args:
      seeds: one patient-level split of every site, and one training of everything, for each.
      test_fraction: share of each test site's patients that is held out.
      train_only: sites that join the training in phase 3 and are never tested.
      generalise: sites that are never trained on; the final network is tested on them.
      spearman_site: site whose clinical scores are correlated; ``all`` pools the test sites.
      no_lesion: biomarkers of a scan in which nothing was predicted: ``drop`` (unknown, the scan
        leaves the comparison) or ``zero``.
      no_lesion_phases: the same, where phases are compared.
      damage_above_one: a damage ratio above 1 is kept, or dropped (the ratio alone).
      gate: which test must be below 0.05 before networks are compared pair by pair.
      surface: which surface distance the tables lead with: ANIMA's own, or the correct one.
      bound: when a number agrees with the published one: ``interval``, the 95 % intervals of the
        two means overlap; ``sd``, the means differ by no more than the published SD.
      active_scans: how many scans the first network's ranking hands out for each seed; 0: all.

    Raises:
      ConfigError: an unknown value, a share outside 0 to 1, no seed, a seed given twice.
    """

    seeds: tuple[int, ...] = SCISEG_SEEDS
    test_fraction: float = 0.2
    train_only: tuple[str, ...] = ("site3",)
    generalise: tuple[str, ...] = ("dcm",)
    spearman_site: str = "site2"
    no_lesion: Literal["drop", "zero"] = "drop"
    no_lesion_phases: Literal["drop", "zero"] = "zero"
    damage_above_one: Literal["keep", "drop"] = "keep"
    gate: Literal["kruskal", "friedman"] = "kruskal"
    surface: Literal["anima", "assd"] = "anima"
    bound: Literal["interval", "sd"] = "interval"
    active_scans: int = 0

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for field in fields(self):
            allowed = get_args(hints[field.name])
            value = getattr(self, field.name)
            if isinstance(value, str) and allowed and value not in allowed:
                raise ConfigError(
                    f"{field.name}: got {value!r}; expected one of {', '.join(allowed)}"
                )
        if not self.seeds or len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            raise ConfigError(
                f"seeds: got {list(self.seeds)}; expected at least one, each once, from 0"
            )
        if not 0 < self.test_fraction < 1:
            raise ConfigError(
                f"test_fraction: got {self.test_fraction}; expected a share between 0 and 1"
            )
        if self.active_scans < 0:
            raise ConfigError(f"active_scans: got {self.active_scans}; expected 0 or more")
        if both := set(self.train_only) & set(self.generalise):
            raise ConfigError(
                f"train_only, generalise: got {', '.join(sorted(both))} in both; expected one"
            )


_WHY = {
    "seeds": "the paper trains five models on five 80/20 splits; the seeds are in its code (the "
    "710 list there is a later version's)",
    "test_fraction": "as published; rounded up to whole patients, as scikit-learn does",
    "train_only": "site 3 joins in phase 3 and is never in a test set, as published",
    "generalise": "the DCM scans are never trained on, as published",
    "spearman_site": "the paper correlates site 2 alone; `all` pools the test sites",
    "no_lesion": "the paper's clinical script drops scans without a predicted lesion (drop); its "
    "active-learning script counts them as 0 (zero)",
    "no_lesion_phases": "as above, for the comparison of phases",
    "damage_above_one": "the paper's script drops ratios above 1 and then, by mistake, the same "
    "people's volume and length too; here `drop` drops the ratio alone. Lesion outside the cord is "
    "added to the cord, so no ratio exceeds 1",
    "gate": "the paper gates the paired tests by Kruskal-Wallis, which ignores that the scans are "
    "the same; Friedman's test does not. Both are printed",
    "surface": "ANIMA's SurfaceDistance is not an average surface distance (a running minimum is "
    "never reset); the published numbers are of that kind. Both are printed",
    "bound": "the paper gives no bounds; `interval`: the 95 % intervals of the two means overlap; "
    "`sd`: the means differ by at most the published SD",
    "active_scans": "the paper took 40 scans in; 0 takes every scan of the training "
    "patients that the ranking lists",
}


def choices(options: SciOptions) -> list[Choice]:
    """Every option with its value and its reason, and what is settled without an option."""
    named = [
        Choice(f"sci.{field.name}", _shown(getattr(options, field.name)), _WHY[field.name])
        for field in fields(options)
    ]
    return [*named, *_SETTLED]


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    return str(value)


_SETTLED = (
    Choice(
        "2-D network", "axial slices",
        "the planner of nnU-Net takes the axis of the largest median spacing; on the published mix "
        "of sagittal and axial scans that is superior-inferior",
    ),
    Choice(
        "what is tested", "each site's main plane",
        "the paper's test sets hold no axial scan of site 1; scans of another plane than the one "
        "most of the site's patients have are the active-learning pool",
    ),
    Choice(
        "each phase", "trained anew",
        "the paper speaks of retraining and does not mention weights carried over",
    ),
    Choice(
        "mean ± SD", "over scans, after averaging over seeds",
        "a scan in several test sets counts once (the paper's code)",
    ),
    Choice(
        "site 1 against site 2", "Mann-Whitney",
        "in the paper's code, not in its text",
    ),
    Choice(
        "discharge scores", "tested where the columns are there",
        "the paper tests initial, discharge and their difference, without correction; corrected P "
        "(Benjamini-Hochberg) stand beside",
    ),
)  # fmt: skip
