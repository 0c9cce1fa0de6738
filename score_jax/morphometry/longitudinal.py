"""What changed between two scans of a person, and how much of it is the error of measuring.

Lesions of two scans on one grid are joined by overlap; a change is judged beside what differs
between scans of somebody in whom nothing has changed.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, final

import numpy as np
from jaxtyping import Bool, Float, Integer
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

State = Literal["new", "resolved", "enlarging", "shrinking", "stable", "not covered"]
STATES: tuple[State, ...] = (
    "new", "enlarging", "stable", "shrinking", "resolved", "not covered",
)  # fmt: skip
Z95 = 1.959963984540054  # 0.975 quantile of the normal distribution


@final
@dataclass(frozen=True, slots=True)
class LesionChange:
    """What became of a lesion, or of several that overlap the same ones of the other scan.

    Args:
      state: ``new`` and ``resolved`` have no lesion in the other scan where that scan looks;
        ``not covered``: the other scan does not show the place.
      before: numbers of the lesions in the first scan; several that are one later have merged.
      after: in the second scan; several that were one have split.
      before_mm3: their volume; 0 for a new one.
      after_mm3: 0 for a resolved one.
    """

    state: State
    before: tuple[int, ...]
    after: tuple[int, ...]
    before_mm3: float
    after_mm3: float


def lesion_changes(
    before: Integer[np.ndarray, "x y z"],
    after: Integer[np.ndarray, "_ _ _"],
    before_mm3: Float[np.ndarray, " m"],
    after_mm3: Float[np.ndarray, " n"],
    *,
    spacing: tuple[float, ...],
    covered: Bool[np.ndarray, "x y z"] | None = None,
    reach_mm: float = 0.0,
    share: float = 0.25,
    error_mm3: float = 0.0,
) -> list[LesionChange]:
    """Join the lesions of two scans by overlap and say what became of each.

    Lesions that share a voxel belong together, and so do those that are joined through others
    (two that merged, one that split); their volumes are compared as one. A change counts if it is
    more than `share` of the volume before and more than `error_mm3`.

    Args:
      before: numbered lesions of the first scan, 0 where there is none.
      after: those of the second scan on the grid of the first.
      before_mm3: volume of lesion 1, 2 ... of the first scan, measured on its own grid.
      after_mm3: of the second; a lesion of which less than half arrived on the grid of the first
        scan lies where that scan does not look.
      spacing: voxel size in mm.
      covered: where the second scan looks; by default everywhere. A lesion of the first scan that
        lies outside of it by more than half is not covered.
      reach_mm: lesions this near to each other belong together, too: the two scans may not lie
        exactly on each other.
      share: of the volume before that a change must exceed.
      error_mm3: smallest change that is not error (`RepeatError.detectable` of lesion volumes).

    Returns:
      One entry a group: first those with a lesion before, in its order, then the new ones. Two
      empty maps give none.

    Raises:
      ValueError: maps of different shapes, or a lesion without a volume.
    """
    _check(before, after, before_mm3, after_mm3)
    m, n = before_mm3.size, after_mm3.size
    near = before if reach_mm <= 0 else _grown(before, spacing, reach_mm)
    both = (near > 0) & (after > 0)
    pairs = np.unique(np.stack([near[both] - 1, after[both] - 1 + m]), axis=1)
    graph = coo_array((np.ones(pairs.shape[1]), (pairs[0], pairs[1])), shape=(m + n, m + n))
    count, group = connected_components(graph, directed=False)
    voxel = float(np.prod(spacing))
    arrived = np.bincount(after.ravel(), minlength=n + 1)[1:] * voxel
    unseen_after = arrived < 0.5 * after_mm3
    unseen_before = _unseen(before, covered, m)
    changes = []
    for number in range(count):
        members = np.flatnonzero(group == number)
        old, new = members[members < m], members[members >= m] - m
        state = _state(float(before_mm3[old].sum()), float(after_mm3[new].sum()), share, error_mm3)
        alone = not (old.size and new.size)
        if alone and (unseen_before[old].all() if old.size else unseen_after[new].all()):
            state = "not covered"
        changes.append(
            LesionChange(
                state,
                tuple((old + 1).tolist()),
                tuple((new + 1).tolist()),
                float(before_mm3[old].sum()),
                float(after_mm3[new].sum()),
            )
        )
    return sorted(changes, key=lambda c: (not c.before, c.before or c.after))


def _check(
    before: np.ndarray, after: np.ndarray, before_mm3: np.ndarray, after_mm3: np.ndarray
) -> None:
    if before.shape != after.shape:
        raise ValueError(f"after: got shape {after.shape}; expected that of before, {before.shape}")
    for name, labels, volumes in (("before", before, before_mm3), ("after", after, after_mm3)):
        most = int(labels.max(initial=0))
        if most > volumes.size:
            raise ValueError(f"{name}: got lesion {most} and {volumes.size} volumes")


def _grown(
    labels: Integer[np.ndarray, "x y z"], spacing: tuple[float, ...], reach_mm: float
) -> Integer[np.ndarray, "x y z"]:
    """Every voxel within reach of a lesion has the number of the nearest one."""
    found: Any = ndimage.distance_transform_edt(labels == 0, sampling=spacing, return_indices=True)
    distance, nearest = found
    return np.where(distance <= reach_mm, labels[tuple(nearest)], 0)


def _unseen(
    labels: Integer[np.ndarray, "x y z"], covered: Bool[np.ndarray, "x y z"] | None, count: int
) -> Bool[np.ndarray, " m"]:
    if covered is None:
        return np.zeros(count, bool)
    whole = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    seen = np.bincount(labels.ravel(), covered.ravel(), minlength=count + 1)[1:]
    return seen < 0.5 * whole


def _state(before: float, after: float, share: float, error: float) -> State:
    if not before:
        return "new"
    if not after:
        return "resolved"
    change = after - before
    if abs(change) <= max(share * before, error):
        return "stable"
    return "enlarging" if change > 0 else "shrinking"


@final
@dataclass(frozen=True, slots=True)
class RepeatError:
    """How far repeated measurements of what did not change lie apart.

    Args:
      sd: within-subject standard deviation; NaN without repeats.
      df: its degrees of freedom: repeats beyond the first, over all subjects.
    """

    sd: float
    df: int

    @property
    def detectable(self) -> float:
        """The change between two single measurements that 95 % of unchanged ones stay below."""
        return Z95 * math.sqrt(2) * self.sd


def repeat_error(repeats: Sequence[Sequence[float]]) -> RepeatError:
    """The measurement error from repeats.

    The within-subject variance is the mean of the subjects' variances, weighted by their degrees
    of freedom; two measurements that differ by less than 1.96 sqrt(2) of its root are as good as
    equal (the repeatability coefficient).

    Args:
      repeats: the measurements of each subject, in whom nothing changed; NaN are left out.

    Returns:
      NaN with no degree of freedom if nobody was measured twice.

    Source: Bland and Altman, BMJ 313 (1996) 744.
    """
    total, df = 0.0, 0
    for values in repeats:
        known = np.array([v for v in values if not math.isnan(v)], np.float64)
        if known.size > 1:
            total += float(((known - known.mean()) ** 2).sum())
            df += known.size - 1
    return RepeatError(math.sqrt(total / df) if df else math.nan, df)
