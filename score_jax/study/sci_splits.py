"""Who is trained on and who is tested, for each seed and phase of the SCI study."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

from score_jax import data
from score_jax.errors import DatasetError
from score_jax.study.sci_cohort import Scan, problem
from score_jax.study.sci_options import SciOptions


@final
@dataclass(frozen=True, slots=True)
class Split:
    """One seed's use of the scans; no person is both trained on and tested.

    Args:
      seed: of the split.
      first: phase 1: scans in their site's main plane, of the training patients.
      pool: phase 2: scans in another plane, of the same patients, for the active learning.
      last: phase 3: scans of the sites that are only trained on.
      test: scans in the main plane of the held-out patients.
      new: scans of sites that are never trained on.
    """

    seed: int
    first: tuple[Scan, ...]
    pool: tuple[Scan, ...]
    last: tuple[Scan, ...]
    test: tuple[Scan, ...]
    new: tuple[Scan, ...]

    @property
    def asked(self) -> tuple[Scan, ...]:
        """What the networks of this seed are tested on."""
        return (*self.test, *self.new)


def main_planes(scans: Sequence[Scan]) -> dict[str, str]:
    """The plane of most patients' first scans at each site; of equals the alphabet's first."""
    first: dict[tuple[str, str], Scan] = {}
    for scan in sorted(scans, key=lambda scan: scan.session):
        first.setdefault((scan.site, scan.participant), scan)
    counts: dict[str, Counter[str]] = {}
    for scan in first.values():
        counts.setdefault(scan.site, Counter())[scan.plane] += 1
    return {
        site: min(found, key=lambda plane: (-found[plane], plane)) for site, found in counts.items()
    }


def split_sites(scans: Sequence[Scan], options: SciOptions) -> list[str]:
    """The sites that are split, sorted."""
    special = {*options.train_only, *options.generalise}
    return sorted({scan.site for scan in scans} - special)


def split(
    scans: Sequence[Scan], options: SciOptions, seed: int, problems: list[dict[str, str]]
) -> Split:
    """The split of one seed, patient by patient, within each test site.

    Repeats ``train_test_split(sorted(patients), test_size=0.2, random_state=seed)`` of the paper's
    code for each site (`data.hold_out`). A site with one patient cannot be split: it is trained on.

    Args:
      scans: all of them.
      options: sites, share.
      seed: of the split.
      problems: told of sites that cannot be split.

    Raises:
      DatasetError: nothing to test, or nothing to train on.
    """
    planes = main_planes(scans)
    parts: dict[str, list[Scan]] = {"first": [], "pool": [], "test": []}
    for site in split_sites(scans, options):
        own = [scan for scan in scans if scan.site == site]
        held = _held_out(own, site, options, seed, problems)
        for scan in own:
            main = scan.plane == planes[site]
            if scan.participant not in held:
                parts["first" if main else "pool"].append(scan)
            elif main:
                parts["test"].append(scan)
    if not parts["test"] or not parts["first"]:
        raise DatasetError(
            f"seed {seed}: got {len(parts['first'])} scans to train on and {len(parts['test'])} to "
            "test; expected some of each",
            hint="a site needs two patients or more in its main plane; --set train_only=... and "
            "generalise=... say which sites are not split",
        )
    return Split(
        seed,
        tuple(parts["first"]),
        tuple(parts["pool"]),
        tuple(scan for scan in scans if scan.site in options.train_only),
        tuple(parts["test"]),
        tuple(scan for scan in scans if scan.site in options.generalise),
    )


def _held_out(
    own: Sequence[Scan],
    site: str,
    options: SciOptions,
    seed: int,
    problems: list[dict[str, str]],
) -> set[str]:
    by_case: Mapping[str, str] = {scan.case.id: scan.participant for scan in own}
    try:
        held = data.hold_out([scan.case for scan in own], options.test_fraction, seed).val
    except DatasetError as error:
        row = problem(site, error.message, "trained on, not tested")
        if row not in problems:
            problems.append(row)
        return set()
    return {by_case[name] for name in held}
