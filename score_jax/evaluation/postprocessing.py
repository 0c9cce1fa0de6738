"""Post-processing found on validation data: rules that improve Dice where the truth is known.

nnU-Net's search (``nnUNetv2_determine_postprocessing`` 2.8.1), then, if asked for, a smallest
volume of a region's components. Only predictions of cases that a network was not trained on may
be used.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Bool

from score_jax.arrays.cleaning import Rule, clean
from score_jax.arrays.components import bounding_box
from score_jax.arrays.regions import Region, labels_from_masks
from score_jax.errors import ConfigError
from score_jax.evaluation.label_summary import case_scores, labels_of, mean_of_known
from score_jax.metrics import lesion_wise

# mm³; coarse on purpose: a finer choice would follow the accidents of a few validation cases
MIN_SIZES_MM3 = (1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 30.0, 50.0, 100.0)
_CORNERS = 26


@final
@dataclass(frozen=True, slots=True)
class HeldOut:
    """Masks of a case that the network was not trained on, and the truth.

    Args:
      predicted: one mask a region, as the network found them.
      reference: the truth of each region, on the same grid.
      spacing: voxel size in mm.
    """

    predicted: Bool[np.ndarray, "x y z r"]
    reference: Bool[np.ndarray, "x y z r"]
    spacing: tuple[float, ...]

    def cropped(self) -> "HeldOut":
        """Only the box that holds anything: the same scores, a fraction of the memory."""
        channels = (*np.moveaxis(self.predicted, -1, 0), *np.moveaxis(self.reference, -1, 0))
        box = bounding_box(*channels)
        if box is None:
            box = (slice(0, 1),) * 3
        return HeldOut(self.predicted[box].copy(), self.reference[box].copy(), self.spacing)

    def cleaned(self, rules: Sequence[Rule], regions: Sequence[Region]) -> "HeldOut":
        """The prediction after `rules`."""
        voxel = float(np.prod(self.spacing))
        return HeldOut(clean(self.predicted, regions, rules, voxel), self.reference, self.spacing)


@final
@dataclass(frozen=True, slots=True)
class RegionScores:
    """One region over all cases.

    Args:
      dice: mean over the cases that have it (nnU-Net's, on written label maps).
      lesions: components of the truth.
      found: those of which at least a tenth is covered.
      false: predicted components that touch none.
    """

    dice: float
    lesions: int
    found: int
    false: int

    @property
    def sensitivity(self) -> float:
        """Share of the components that were found; NaN without any."""
        return self.found / self.lesions if self.lesions else float("nan")


@final
@dataclass(frozen=True, slots=True)
class Trial:
    """One rule that was tried.

    Args:
      rule: what was tried.
      before: mean Dice of the regions that decide, without it.
      after: the same with it.
      accepted: whether it was taken.
    """

    rule: Rule
    before: float
    after: float
    accepted: bool


@final
@dataclass(frozen=True, slots=True)
class Found:
    """Outcome of a search.

    Args:
      rules: those taken, in order; may be none.
      trials: all that were tried, in order.
      before: scores of each region without rules.
      after: and with them.
    """

    rules: tuple[Rule, ...]
    trials: tuple[Trial, ...]
    before: Mapping[str, RegionScores]
    after: Mapping[str, RegionScores]


def find(
    cases: Sequence[HeldOut],
    regions: Sequence[Region],
    *,
    min_size: Sequence[str] = (),
    sizes_mm3: Sequence[float] = MIN_SIZES_MM3,
) -> Found:
    """Rules that improve the mean Dice of `cases`.

    First the largest component of all regions together: taken if the mean over the regions rises
    and none falls. Then, if there are several, the largest component of each region, in order:
    taken if its own Dice rises. Then for each region of `min_size` the best of `sizes_mm3` (the
    smallest of equals): taken if its Dice rises and no other falls. A Dice that is NaN decides
    nothing.

    Args:
      cases: predictions of held-out cases.
      regions: what the masks mean.
      min_size: regions to look for a smallest volume of.
      sizes_mm3: volumes to try.

    Raises:
      ConfigError: no case, or a region that is not there.
    """
    if not cases:
        raise ConfigError("post-processing: got no held-out case; expected at least one")
    names = [region.name for region in regions]
    strange = [name for name in min_size if name not in names]
    if strange:
        raise ConfigError(
            f"smallest size: got the region {strange[0]!r}; expected one of {', '.join(names)}"
        )
    search = _Search(list(cases), regions)
    before = score(search.cases, regions)
    search.largest_of_all()
    if len(regions) > 1:
        for name in names:
            search.largest_of(name)
    for name in min_size:
        search.smallest_size(name, sizes_mm3)
    return Found(tuple(search.rules), tuple(search.trials), before, score(search.cases, regions))


def score(cases: Sequence[HeldOut], regions: Sequence[Region]) -> dict[str, RegionScores]:
    """Dice and components found of each region."""
    dice = _dice(cases, regions)
    scores = {}
    for number, region in enumerate(regions):
        counts = [
            lesion_wise(
                case.predicted[..., number],
                case.reference[..., number],
                case.spacing,
                rule="ivadomed",
                connectivity=_CORNERS,
            )
            for case in cases
        ]
        lesions, found, pred, true = (
            int(sum(c[key] for c in counts))
            for key in ("n_ref", "n_ref_found", "n_pred", "n_pred_true")
        )
        scores[region.name] = RegionScores(dice[region.name], lesions, found, pred - true)
    return scores


class _Search:
    """What was taken so far, and the cases after it."""

    def __init__(self, cases: list[HeldOut], regions: Sequence[Region]) -> None:
        self.cases, self.regions = cases, regions
        self.dice = _dice(cases, regions)
        self.rules: list[Rule] = []
        self.trials: list[Trial] = []

    def largest_of_all(self) -> None:
        rule = Rule(kind="largest", regions=tuple(region.name for region in self.regions))
        cases, after = self._with(rule)
        means = [float(np.mean(list(dice.values()))) for dice in (self.dice, after)]
        falls = any(after[name] < self.dice[name] for name in after)
        self._take(rule, cases, after, means[0], means[1], means[1] > means[0] and not falls)

    def largest_of(self, name: str) -> None:
        rule = Rule(kind="largest", regions=(name,))
        cases, after = self._with(rule)
        self._take(rule, cases, after, self.dice[name], after[name], after[name] > self.dice[name])

    def smallest_size(self, name: str, sizes_mm3: Sequence[float]) -> None:
        best: tuple[Rule, list[HeldOut], dict[str, float]] | None = None
        for size in sorted(sizes_mm3):
            rule = Rule(kind="min_size", regions=(name,), min_mm3=size)
            cases, after = self._with(rule)
            if best is None or after[name] > best[2][name]:
                best = rule, cases, after
        if best is None:
            return
        rule, cases, after = best
        rises = after[name] > self.dice[name]
        falls = any(after[other] < self.dice[other] for other in after)
        self._take(rule, cases, after, self.dice[name], after[name], rises and not falls)

    def _with(self, rule: Rule) -> tuple[list[HeldOut], dict[str, float]]:
        cases = [case.cleaned([rule], self.regions) for case in self.cases]
        return cases, _dice(cases, self.regions)

    def _take(
        self,
        rule: Rule,
        cases: list[HeldOut],
        dice: dict[str, float],
        before: float,
        after: float,
        accepted: bool,
    ) -> None:
        self.trials.append(Trial(rule, before, after, accepted))
        if accepted:
            self.rules.append(rule)
            self.cases, self.dice = cases, dice


def _dice(cases: Sequence[HeldOut], regions: Sequence[Region]) -> dict[str, float]:
    """Mean Dice of each region on the written label maps, as nnU-Net's summary has it."""
    each: dict[str, list[float]] = {region.name: [] for region in regions}
    for case in cases:
        predicted = labels_from_masks(case.predicted, regions)
        reference = labels_from_masks(case.reference, regions)
        for region, values in zip(regions, labels_of(regions), strict=True):
            each[region.name].append(case_scores(predicted, reference, values)["Dice"])
    return {name: mean_of_known(values) for name, values in each.items()}
