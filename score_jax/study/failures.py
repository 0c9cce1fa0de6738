"""Slices in which an automatic segmentation failed, found without looking at them.

The SCORE paper's authors looked at every slice. Six rules stand for their eyes; on simulated scans,
where the truth is known, they have a sensitivity and a specificity of their own.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Bool, Float64

from score_jax.arrays.components import component_sizes, components
from score_jax.metrics import areas, dice, pairwise
from score_jax.morphometry.shape import hull_pixels

REASONS = {
    "a": "cord empty, in several pieces or at the image's border",
    "b": "cord area unlike its neighbours', or share of grey matter implausible",
    "c": "grey matter outside the cord, absent or in too many pieces",
    "d": "networks disagree",
    "e": "cord not convex",
    "f": "lesion fills the cord",
}


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class FailureRules:
    """Bounds beyond which a slice is flagged; the letters are those of `REASONS`.

    Args:
      piece: a; a further piece of the cord counts above this share of its area.
      neighbours: b; slices on each side whose median area is compared.
      area_log: b; largest difference of ln(area) from that of the median.
      gm_share: b; least and largest share of grey matter in the cord.
      gm_pieces: c; least and largest number of pieces (8 neighbours).
      dice_cord: d; least mean Dice of all pairs of networks, cord.
      dice_gm: d; the same of grey matter.
      solidity: e; least area over the area of the convex hull.
      lesion_share: f; largest share of lesion in the cord.
    """

    piece: float = 0.05
    neighbours: int = 2
    area_log: float = 0.25
    gm_share: tuple[float, ...] = (0.10, 0.32)
    gm_pieces: tuple[int, ...] = (1, 4)
    dice_cord: float = 0.90
    dice_gm: float = 0.70
    solidity: float = 0.90
    lesion_share: float = 0.60


@final
@dataclass(frozen=True, slots=True)
class Detection:
    """How a detector did against the truth.

    Args:
      found: failures that were flagged.
      missed: failures that were not.
      false: flags on slices that had not failed.
      passed: the others.
    """

    found: int
    missed: int
    false: int
    passed: int

    @property
    def sensitivity(self) -> float:
        """Share of the failures that were flagged; no failure: NaN."""
        total = self.found + self.missed
        return self.found / total if total else math.nan

    @property
    def specificity(self) -> float:
        """Share of the other slices that were not flagged; none: NaN."""
        total = self.false + self.passed
        return self.passed / total if total else math.nan


def flags(
    cord: Bool[np.ndarray, "x y z"],
    gm: Bool[np.ndarray, "x y z"],
    lesion: Bool[np.ndarray, "x y z"] | None = None,
    *,
    votes_cord: Sequence[Bool[np.ndarray, "x y z"]] = (),
    votes_gm: Sequence[Bool[np.ndarray, "x y z"]] = (),
    rules: FailureRules | None = None,
) -> list[str]:
    """The reasons against each slice, letters of `REASONS` joined by ``;``; empty: none.

    Args:
      cord: consensus, slices along the last axis.
      gm: grey matter, likewise.
      lesion: likewise; None: rule f is not asked.
      votes_cord: the networks' own masks; fewer than two: rule d is not asked.
      votes_gm: likewise.
      rules: the bounds; by default those of `FailureRules`.

    An empty cord is flagged by a alone where the other rules have nothing to measure. Two networks
    that both find nothing in a slice do not disagree.
    """
    rules = rules or FailureRules()
    area = areas(cord, (1.0, 1.0, 1.0))
    votes = ((votes_cord, rules.dice_cord), (votes_gm, rules.dice_gm))
    found = []
    for z in range(cord.shape[2]):
        body, grey = cord[..., z], gm[..., z]
        letters = {
            "a": _broken(body, rules.piece),
            "b": _odd_area(area, z, rules) or _odd_share(body, grey, rules.gm_share),
            "c": bool((grey & ~body).any()) or _pieces_outside(grey, rules.gm_pieces),
            "d": any(_disagree([vote[..., z] for vote in them], least) for them, least in votes),
            "e": bool(body.any()) and body.sum() / hull_pixels(body) < rules.solidity,
            "f": lesion is not None and _share(lesion[..., z] & body, body) > rules.lesion_share,
        }
        if not body.any():
            letters = {"a": True, "d": letters["d"]}
        found.append(";".join(letter for letter, raised in letters.items() if raised))
    return found


def failed(
    cord: Bool[np.ndarray, "x y z"],
    gm: Bool[np.ndarray, "x y z"],
    true_cord: Bool[np.ndarray, "x y z"],
    true_gm: Bool[np.ndarray, "x y z"],
    *,
    least_cord: float = 0.90,
    least_gm: float = 0.60,
) -> Bool[np.ndarray, " z"]:
    """Whether each slice failed against the truth: Dice of the cord or the grey matter too low.

    A slice that is empty in the truth and in the segmentation has not failed.
    """
    pairs = ((cord, true_cord, least_cord), (gm, true_gm, least_gm))
    low = [
        [dice(mask[..., z], truth[..., z]) < least for z in range(cord.shape[2])]
        for mask, truth, least in pairs
    ]
    return np.logical_or(*map(np.asarray, low))


def detection(flagged: Bool[np.ndarray, " n"], truth: Bool[np.ndarray, " n"]) -> Detection:
    """Counts of a detector's flags against the truth."""
    return Detection(
        found=int((flagged & truth).sum()),
        missed=int((~flagged & truth).sum()),
        false=int((flagged & ~truth).sum()),
        passed=int((~flagged & ~truth).sum()),
    )


def _broken(body: Bool[np.ndarray, "x y"], piece: float) -> bool:
    """Empty, in several pieces of some size, or touching the image's border."""
    if not body.any():
        return True
    edge = np.concatenate([body[0], body[-1], body[:, 0], body[:, -1]])
    sizes = component_sizes(components(body, 8)[0])
    return bool(edge.any()) or int((sizes > piece * body.sum()).sum()) > 1


def _odd_area(area: Float64[np.ndarray, " z"], z: int, rules: FailureRules) -> bool:
    reach = range(max(0, z - rules.neighbours), min(len(area), z + rules.neighbours + 1))
    near = [area[k] for k in reach if k != z and area[k] > 0]
    if not near or area[z] == 0:
        return False
    return abs(math.log(area[z] / float(np.median(near)))) > rules.area_log


def _odd_share(
    body: Bool[np.ndarray, "x y"], grey: Bool[np.ndarray, "x y"], bounds: tuple[float, ...]
) -> bool:
    return bool(body.any()) and not bounds[0] <= _share(grey & body, body) <= bounds[1]


def _pieces_outside(grey: Bool[np.ndarray, "x y"], bounds: tuple[int, ...]) -> bool:
    return not bounds[0] <= len(component_sizes(components(grey, 8)[0])) <= bounds[1]


def _disagree(votes: list[Bool[np.ndarray, "x y"]], least: float) -> bool:
    if len(votes) < 2:
        return False
    pairs = pairwise(votes)[np.triu_indices(len(votes), 1)]
    known = pairs[~np.isnan(pairs)]  # two that find nothing agree
    return bool(known.size) and float(known.mean()) < least


def _share(part: Bool[np.ndarray, "x y"], body: Bool[np.ndarray, "x y"]) -> float:
    return float(part.sum() / body.sum()) if body.any() else 0.0
