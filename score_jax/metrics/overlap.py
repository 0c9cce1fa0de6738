"""Overlap and volume: how many voxels two masks share, and how much they differ in size.

Every function takes a prediction and a reference of one shape (2-D or 3-D; what is not zero is
foreground) and says in its docstring what an empty mask gives under the default rule
(``empty="nan"``; the others are described at `inputs.settle`).
"""

import math
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float64, Shaped

from score_jax.metrics.inputs import Empty, Spacing, as_pair, as_spacing, ratio, settle

Image = Shaped[np.ndarray, "..."]  # shapes are compared at run time, with a message


@final
@dataclass(frozen=True, slots=True)
class Counts:
    """Voxels by what prediction and reference say of them.

    Args:
      tp: foreground in both.
      fp: foreground in the prediction alone.
      fn: foreground in the reference alone.
      tn: background in both.
    """

    tp: int
    fp: int
    fn: int
    tn: int

    @property
    def n_pred(self) -> int:
        """Voxels of the prediction."""
        return self.tp + self.fp

    @property
    def n_ref(self) -> int:
        """Voxels of the reference."""
        return self.tp + self.fn

    def settled(
        self, value: float, empty: Empty, *, best: float = 1.0, worst: float = 0.0
    ) -> float:
        """`value` under the rule for empty masks (`inputs.settle`)."""
        return settle(
            value, n_pred=self.n_pred, n_ref=self.n_ref, best=best, worst=worst, empty=empty
        )


def counts(pred: Image, ref: Image) -> Counts:
    """The four counts of a pair of masks.

    Raises:
      GeometryError: the shapes differ.
      ImageError: a soft mask.
    """
    pred_mask, ref_mask = as_pair(pred, ref)
    tp = int(np.count_nonzero(pred_mask & ref_mask))
    fp = int(np.count_nonzero(pred_mask)) - tp
    fn = int(np.count_nonzero(ref_mask)) - tp
    return Counts(tp, fp, fn, pred_mask.size - tp - fp - fn)


def dice(pred: Image, ref: Image, *, empty: Empty = "nan") -> float:
    """Dice coefficient 2|A and B| / (|A| + |B|), 0 to 1 (Dice 1945; Sorensen 1948).

    One mask empty: 0. Both empty: NaN, so that a scan without a lesion neither gains nor loses.
    """
    c = counts(pred, ref)
    return c.settled(ratio(2 * c.tp, c.n_pred + c.n_ref), empty)


def jaccard(pred: Image, ref: Image, *, empty: Empty = "nan") -> float:
    """Jaccard index |A and B| / |A or B|, 0 to 1. One mask empty: 0. Both: NaN."""
    c = counts(pred, ref)
    return c.settled(ratio(c.tp, c.tp + c.fp + c.fn), empty)


def sensitivity(pred: Image, ref: Image, *, empty: Empty = "nan") -> float:
    """Share of the reference that is found, TP/(TP+FN). Reference empty: NaN."""
    c = counts(pred, ref)
    return c.settled(ratio(c.tp, c.n_ref), empty)


def specificity(pred: Image, ref: Image, *, empty: Empty = "nan") -> float:
    """Share of the background left alone, TN/(TN+FP); it grows with the field of view.

    Defined for empty masks (reference empty: the share of the image not marked; both: 1); NaN
    only if the reference fills the image.
    """
    c = counts(pred, ref)
    value = ratio(c.tn, c.tn + c.fp)
    return value if empty != "anima" else c.settled(value, empty)


def ppv(pred: Image, ref: Image, *, empty: Empty = "nan") -> float:
    """Positive predictive value (precision), TP/(TP+FP). Prediction empty: NaN."""
    c = counts(pred, ref)
    return c.settled(ratio(c.tp, c.n_pred), empty)


def npv(pred: Image, ref: Image, *, empty: Empty = "nan") -> float:
    """Negative predictive value, TN/(TN+FN); it grows with the field of view.

    Defined for empty masks; NaN only if the prediction fills the image.
    """
    c = counts(pred, ref)
    value = ratio(c.tn, c.tn + c.fn)
    return value if empty != "anima" else c.settled(value, empty)


def relative_volume_error(pred: Image, ref: Image) -> float:
    """Signed volume error in percent of the reference, 100 (V_pred - V_ref) / V_ref.

    Positive: the prediction is too large. Prediction empty: -100. Reference empty: NaN, since there
    is nothing to relate to. (ANIMA's RelativeVolumeError; 100 times MedPy's `ravd`.)
    """
    c = counts(pred, ref)
    return ratio(100 * (c.n_pred - c.n_ref), c.n_ref) if c.n_ref else math.nan


def volumetric_similarity(pred: Image, ref: Image, *, empty: Empty = "nan") -> float:
    """1 - |V_pred - V_ref| / (V_pred + V_ref), 0 to 1 (Taha and Hanbury 2015).

    It compares sizes alone: two masks apart may score 1. One mask empty: 0. Both: NaN.
    """
    c = counts(pred, ref)
    return c.settled(1 - ratio(abs(c.n_pred - c.n_ref), c.n_pred + c.n_ref), empty)


def volume_difference(pred: Image, ref: Image, spacing: Spacing) -> float:
    """Signed difference of volumes V_pred - V_ref in mm³; an empty mask has volume 0."""
    c = counts(pred, ref)
    return float((c.n_pred - c.n_ref) * np.prod(as_spacing(spacing, np.ndim(pred))))


def areas(mask: Image, spacing: Spacing, *, axis: int = -1) -> Float64[np.ndarray, " slices"]:
    """Area in mm² of each slice across `axis`, without correction of its angle; 0 where empty."""
    array = np.asarray(mask) != 0
    sizes = as_spacing(spacing, array.ndim)
    others = tuple(a for a in range(array.ndim) if a != axis % array.ndim)
    return np.count_nonzero(array, axis=others) * float(np.prod(sizes[list(others)]))


def area_difference(
    pred: Image, ref: Image, spacing: Spacing, *, axis: int = -1
) -> Float64[np.ndarray, " slices"]:
    """Signed difference of areas, prediction minus reference, in mm², of each slice across `axis`.

    Args:
      pred: prediction, 3-D.
      ref: reference, 3-D.
      spacing: voxel sizes in mm.
      axis: the axis along which slices follow each other.
    """
    pred_mask, ref_mask = as_pair(pred, ref)
    return areas(pred_mask, spacing, axis=axis) - areas(ref_mask, spacing, axis=axis)
