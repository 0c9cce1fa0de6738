"""The numbers of ANIMA's animaSegPerfAnalyzer, its quirks included.

The SCIseg paper reads its scores from that tool, so its output is reproduced as it is: labels
matched by rank, ``RelativeVolumeError`` in percent, ``ContourMeanDistance`` the larger of two
means, and ``SurfaceDistance``, which is not an average surface distance (a running minimum is
never reset, and the result depends on the order of the voxels). Beside it stands
``AverageSymmetricSurfaceDistance``, what it was meant to be. Nothing else in this package works
this way; facts and how they were established: ``docs/metrics.md``.
"""

import math
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
from jaxtyping import Bool, Float64, Integer, Shaped
from scipy import ndimage

from score_jax.arrays.components import bounding_box, components
from score_jax.errors import ImageError
from score_jax.metrics.inputs import Spacing, as_spacing, check_shapes, ratio
from score_jax.metrics.lesionwise import Detection, detected, overlaps
from score_jax.metrics.surface import between_masks, contour, distances_between, voxels

OVERLAP = (
    *("Jaccard", "Dice", "Sensitivity", "Specificity", "PPV", "NPV"),
    "RelativeVolumeError",
)
SURFACE = ("HausdorffDistance", "ContourMeanDistance", "SurfaceDistance")
CORRECT = "AverageSymmetricSurfaceDistance"
LESIONS = ("PPVL", "SensL", "F1_score")
EMPTY_REFERENCE = ("NbTestedLesions", "VolTestedLesions")

_NO_DISTANCE = 1e6  # what the tool's running minimum starts from, mm
_EMPTY_REFERENCE_MM3 = 3.0  # its smallest lesion where the reference is empty, whatever was asked
_NEIGHBOURS = 6


def anima(
    pred: Shaped[np.ndarray, "..."],
    ref: Shaped[np.ndarray, "..."],
    spacing: Spacing,
    *,
    surface: bool = True,
    lesions: bool = False,
    per_label: bool = False,
    min_lesion_mm3: float = 3.0,
    alpha: float = 0.10,
    beta: float = 0.70,
    gamma: float = 0.65,
) -> dict[str, Any]:
    """What animaSegPerfAnalyzer prints for a prediction (``-i``) and a reference (``-r``).

    Args:
      pred: 3-D (or 2-D, taken as one slice 1 mm thick) mask or label map in the file's axis
        order, first axis fastest; values are truncated to unsigned short as the tool does, so of
        a soft mask only 1 remains.
      ref: reference of the same shape.
      spacing: voxel sizes in mm; rounded to float32 as in a NIfTI header.
      surface: the distances (``-d``).
      lesions: lesion detection (``-l``).
      per_label: also each label by itself (``-a``), as ``cluster1``, ``cluster2`` ... in the order
        of the values. Each is a binary pair of its own: the tool's cluster files repeat the
        ContourMeanDistance of the whole and the SurfaceDistance of label 1, which is not imitated.
      min_lesion_mm3: smaller lesions, and those of exactly this volume, are dropped (``-v``).
      alpha: share of a lesion that must be covered (``-x``); `lesionwise.detected`.
      beta: share of a covering lesion that may lie outside (``-y``).
      gamma: share of the overlap that is looked at (``-z``).

    Returns:
      The tool's names and numbers, NaN where it prints nan. Overlap (``-s``) is always there.
      Distances are in mm, RelativeVolumeError in percent. Prediction empty: distances and PPV are
      NaN, detection is 0. **Reference empty** (or constant): only ``NbTestedLesions`` and
      ``VolTestedLesions`` (mm³), the components of the prediction above 3 mm³. Labels are matched
      by rank if both images have the same number of them, and merged otherwise.

    Raises:
      GeometryError: shapes differ, or an impossible spacing.
      ImageError: values that are not finite.
      ValueError: a threshold outside its range.
    """
    check_shapes(pred, ref)
    rule = Detection(min_lesion_mm3=min_lesion_mm3, alpha=alpha, beta=beta, gamma=gamma)
    pair = _rank(pred, ref, spacing)
    if not pair.n_ref:
        return _empty_reference(pair)
    values = _values(pair, surface, lesions, rule)
    if per_label and pair.n_pred:
        # images whose labels do not correspond were merged: one cluster
        for label in range(1, pair.n_ref + 1):
            values[f"cluster{label}"] = _values(pair.only(label), surface, lesions, rule)
    return values


def _values(pair: "_Pair", surface: bool, lesions: bool, rule: Detection) -> dict[str, Any]:
    values = _overlap(pair)
    if surface:
        values |= _surface(pair)
    if lesions:
        values |= _detection(pair, rule)
    return values


@final
@dataclass(frozen=True, slots=True)
class _Pair:
    """Two label maps, ranked, cut to what is not background and one voxel more."""

    pred: Integer[np.ndarray, "x y z"]
    ref: Integer[np.ndarray, "x y z"]
    sizes: Float64[np.ndarray, "3"]
    n_pred: int  # labels without the background
    n_ref: int
    total: int  # voxels of the whole image

    def only(self, label: int) -> "_Pair":
        """One label as a pair of masks."""
        pred, ref = (self.pred == label).view(np.uint8), (self.ref == label).view(np.uint8)
        return replace(self, pred=pred, ref=ref, n_pred=1, n_ref=1)


def _rank(pred: np.ndarray, ref: np.ndarray, spacing: Spacing) -> _Pair:
    pred, ref = np.asarray(pred), np.asarray(ref)
    sizes = as_spacing(spacing, pred.ndim)
    if pred.ndim == 2:
        pred, ref, sizes = pred[..., None], ref[..., None], np.append(sizes, 1.0)
    pred_values, ref_values = _unsigned_short(pred, "prediction"), _unsigned_short(ref, "reference")
    # the smallest value is background, even if it is not 0
    pred_mask, ref_mask = pred_values != pred_values.min(), ref_values != ref_values.min()
    box = bounding_box(pred_mask, ref_mask, margin=1) or (slice(0, 1),) * 3
    pred_mask, ref_mask = pred_mask[box], ref_mask[box]
    pred_labels = np.unique(pred_values[box][pred_mask])
    ref_labels = np.unique(ref_values[box][ref_mask])
    n_pred, n_ref = pred_labels.size, ref_labels.size
    if n_ref > 1 and n_pred in (0, n_ref):
        ref_ranks = np.searchsorted(ref_labels, ref_values[box]) + 1
        pred_ranks = np.searchsorted(pred_labels, pred_values[box]) + 1
        ranked = pred_ranks * pred_mask, ref_ranks * ref_mask
    else:
        n_pred, n_ref = min(n_pred, 1), min(n_ref, 1)
        ranked = pred_mask.view(np.uint8), ref_mask.view(np.uint8)
    # a header holds float32, which decides whether a lesion is above a limit that it equals
    sizes = sizes.astype(np.float32).astype(np.float64)
    return _Pair(*ranked, sizes, n_pred, n_ref, pred.size)


def _unsigned_short(image: np.ndarray, name: str) -> Integer[np.ndarray, "x y z"]:
    if image.dtype == bool:
        return image.view(np.uint8)
    if image.dtype.kind == "f":
        if not np.isfinite(image.sum(dtype=np.float64)) and not np.isfinite(image).all():
            raise ImageError(f"{name}: got values that are not finite; expected labels")
        image = image.astype(np.int64 if np.abs(image).max() > 2**31 - 1 else np.int32)
    return image if image.dtype == np.uint8 else image.astype(np.uint16)


def _overlap(pair: _Pair) -> dict[str, Any]:
    """Counts summed over labels; binary masks are the case of one label."""
    marked = (pair.pred > 0) | (pair.ref > 0)
    pred, ref = pair.pred[marked], pair.ref[marked]
    shared = int(np.count_nonzero(pred == ref))
    n_pred, n_ref = int(np.count_nonzero(pred)), int(np.count_nonzero(ref))
    background = pair.total - pred.size
    jaccard = ratio(shared, n_pred + n_ref - shared)
    # with several labels, the background that a label is taken from is shared out among them
    false_positive = (n_pred - shared) / pair.n_ref
    false_negative = (n_ref - shared) / pair.n_ref
    values = (
        jaccard,
        2 * jaccard / (1 + jaccard),
        ratio(shared, n_ref),
        ratio(background, background + false_positive),
        ratio(shared, n_pred),
        ratio(background, background + false_negative),
        100 * (n_pred - n_ref) / n_ref,
    )
    return dict(zip(OVERLAP, values, strict=True))


def _surface(pair: _Pair) -> dict[str, Any]:
    if not pair.n_pred:
        return dict.fromkeys((*SURFACE, CORRECT), math.nan)
    pred, ref, sizes = pair.pred, pair.ref, pair.sizes
    pred_contour, ref_contour = contour(pred, "open"), contour(ref, "open")
    outer = pred_contour, ref_contour
    if pair.n_ref == 1:
        merged = thin = distances_between(pred_contour, ref_contour, sizes)
        running = [_running(outer, merged)]
    else:
        outer = contour(pred > 0, "open"), contour(ref > 0, "open")
        merged = distances_between(*outer, sizes)
        thin = distances_between(_thin(pred_contour), _thin(ref_contour), sizes)
        by_label = [
            (pred_contour & (pred == label), ref_contour & (ref == label))
            for label in range(1, pair.n_ref + 1)
        ]
        running = [_running(both, distances_between(*both, sizes)) for both in by_label]
    hausdorff = between_masks(pred > 0, ref > 0, *outer, sizes)
    values = (
        hausdorff,
        max(float(distances.mean()) for distances in thin),
        float(np.concatenate(running).mean()),
        float(np.concatenate(merged).mean()),
    )
    return dict(zip((*SURFACE, CORRECT), values, strict=True))


def _running(
    contours: tuple[Bool[np.ndarray, "x y z"], Bool[np.ndarray, "x y z"]],
    distances: tuple[Float64[np.ndarray, " p"], Float64[np.ndarray, " r"]],
) -> Float64[np.ndarray, " n"]:
    """What the tool adds up for each contour voxel: the least of all distances so far.

    The order is that of the file, its first axis fastest.
    """
    sides = [
        np.minimum.accumulate(distance[np.lexsort(voxels(mask).T)])
        for mask, distance in zip(contours, distances, strict=True)
    ]
    return np.minimum(np.concatenate(sides), _NO_DISTANCE)


def _thin(mask: Bool[np.ndarray, "x y z"]) -> Bool[np.ndarray, "x y z"]:
    """Contour voxels with background among their 26 neighbours; the image edge is no background.

    ITK measures mean distances between these alone. In a binary contour they are all of them: a
    contour voxel has a neighbour outside the mask, and that is not contour.
    """
    inner = ndimage.binary_erosion(mask, np.ones((3, 3, 3), bool), border_value=1)
    return mask & ~np.asarray(inner, bool)


def _detection(pair: _Pair, rule: Detection) -> dict[str, Any]:
    least = rule.min_voxels(pair.sizes)
    pred_labels, pred_sizes = components(pair.pred > 0, _NEIGHBOURS, min_voxels=least)
    ref_labels, ref_sizes = components(pair.ref > 0, _NEIGHBOURS, min_voxels=least)
    found = overlaps(ref_labels, ref_sizes, pred_labels, pred_sizes)
    ref_found, pred_true = detected(found, rule), detected(found.transposed, rule)
    sensitivity = ratio(int(ref_found.sum()), ref_found.size)
    ppv = ratio(int(pred_true.sum()), pred_true.size) if pred_true.size else 0.0
    both = ppv + sensitivity
    f1 = 2 * ppv * sensitivity / both if both > 0 else 0.0
    return dict(zip(LESIONS, (ppv, sensitivity, f1), strict=True))


def _empty_reference(pair: _Pair) -> dict[str, Any]:
    least = Detection(min_lesion_mm3=_EMPTY_REFERENCE_MM3).min_voxels(pair.sizes)
    _, sizes = components(pair.pred > 0, _NEIGHBOURS, min_voxels=least)
    volume = float(sizes.sum() * np.prod(pair.sizes))
    return dict(zip(EMPTY_REFERENCE, (sizes.size, volume), strict=True))
