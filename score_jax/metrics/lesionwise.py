"""Scores that count lesions instead of voxels.

A lesion is a connected component. Its neighbourhood (6, 18 or 26 voxels) changes the counts, so it
is an argument everywhere; the default is that of the definition's source.
"""

import math
from dataclasses import dataclass
from typing import Literal, final

import numpy as np
from jaxtyping import Bool, Int64, Integer, Shaped
from scipy import ndimage

from score_jax.arrays.components import bounding_box, components, structure
from score_jax.metrics.inputs import Spacing, as_pair, as_spacing, ratio

Image = Shaped[np.ndarray, "..."]  # shapes are compared at run time, with a message
Rule = Literal["anima", "ivadomed"]
_IVADOMED_OVERLAP = 0.1
_DILATION_NEIGHBOURS = {2: 8, 3: 18}


@final
@dataclass(frozen=True, slots=True)
class Overlaps:
    """How the lesions of two masks overlap, without the pairs that do not.

    Args:
      ref: lesion of the reference (0-based) of each overlapping pair, ascending.
      pred: lesion of the prediction of each pair.
      shared: voxels that both have.
      ref_sizes: voxels of each lesion of the reference.
      pred_sizes: voxels of each lesion of the prediction.
    """

    ref: Int64[np.ndarray, " pairs"]
    pred: Int64[np.ndarray, " pairs"]
    shared: Int64[np.ndarray, " pairs"]
    ref_sizes: Int64[np.ndarray, " m"]
    pred_sizes: Int64[np.ndarray, " n"]

    @property
    def transposed(self) -> "Overlaps":
        """The same with the roles exchanged."""
        order = np.lexsort((self.ref, self.pred))
        return Overlaps(
            self.pred[order],
            self.ref[order],
            self.shared[order],
            self.pred_sizes,
            self.ref_sizes,
        )

    @property
    def covered(self) -> Int64[np.ndarray, " m"]:
        """Voxels of each lesion of the reference that lie in any lesion of the prediction."""
        return np.bincount(self.ref, self.shared, minlength=self.ref_sizes.size).astype(np.int64)


def overlaps(
    ref_labels: Integer[np.ndarray, "*space"],
    ref_sizes: Int64[np.ndarray, " m"],
    pred_labels: Integer[np.ndarray, "*space"],
    pred_sizes: Int64[np.ndarray, " n"],
) -> Overlaps:
    """Overlapping pairs of two labellings (labels 1 ... m and 1 ... n, 0 background)."""
    both = (ref_labels > 0) & (pred_labels > 0)
    stride = pred_sizes.size + 1
    codes = ref_labels[both].astype(np.int64) * stride + pred_labels[both]
    pairs, shared = np.unique(codes, return_counts=True)
    return Overlaps(
        pairs // stride - 1, pairs % stride - 1, shared.astype(np.int64), ref_sizes, pred_sizes
    )


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Detection:
    """When a lesion counts, and when it counts as detected (defaults: ANIMA's).

    Args:
      min_lesion_mm3: lesions of this volume or less are ignored; 0 keeps all.
      alpha: a lesion is detected only if more than this share of it is covered.
      beta: no lesion that covers it may have more than this share of itself outside.
      gamma: share of the overlap that is looked at, largest overlaps first.

    Raises:
      ValueError: a share outside (0, 1], or a volume below 0.
    """

    min_lesion_mm3: float = 3.0
    alpha: float = 0.10
    beta: float = 0.70
    gamma: float = 0.65

    def __post_init__(self) -> None:
        for name in ("alpha", "beta", "gamma"):
            share = getattr(self, name)
            if not 0 < share <= 1:
                raise ValueError(f"{name}: got {share}; expected above 0 and at most 1")
        if not 0 <= self.min_lesion_mm3 < math.inf:
            raise ValueError(f"min_lesion_mm3: got {self.min_lesion_mm3}; expected 0 or more")

    def min_voxels(self, sizes: Shaped[np.ndarray, " n"]) -> int:
        """Voxels of the smallest lesion kept, for voxels of `sizes` mm: its volume is *greater*."""
        return math.floor(self.min_lesion_mm3 / float(np.prod(sizes))) + 1


def detected(found: Overlaps, rule: Detection) -> Bool[np.ndarray, " m"]:
    """Which lesions of the reference are detected.

    A lesion is detected if more than `alpha` of it is covered, and if the predicted lesions that
    cover it, from the largest overlap on until they make up `gamma` of what is covered, each have
    at most `beta` of themselves outside every lesion of the reference.

    Ties in overlap keep the order of the lesions. Pure counting: a prediction may detect several
    lesions and several predictions one.

    Source: Commowick et al., Scientific Reports 8 (2018) 13650, as animaSegPerfAnalyzer does it.
    """
    outside = (found.pred_sizes - found.transposed.covered) / np.maximum(found.pred_sizes, 1)
    covered = found.covered
    result = np.zeros(found.ref_sizes.size, bool)
    order = np.lexsort((found.pred, -found.shared, found.ref))
    starts = np.searchsorted(found.ref[order], np.arange(found.ref_sizes.size + 1))
    for lesion in np.flatnonzero(covered / np.maximum(found.ref_sizes, 1) > rule.alpha):
        weight = 0.0
        for pair in order[starts[lesion] : starts[lesion + 1]]:
            if outside[found.pred[pair]] > rule.beta:
                break
            weight += found.shared[pair] / covered[lesion]
            if weight >= rule.gamma:
                break
        else:
            weight = 1.0  # all of the overlap is sound; rounding may keep the sum below gamma
        result[lesion] = weight >= rule.gamma
    return result


def lesion_wise(
    pred: Image,
    ref: Image,
    spacing: Spacing,
    *,
    rule: Rule = "anima",
    min_lesion_mm3: float | None = None,
    connectivity: int = 6,
    alpha: float = 0.10,
    beta: float = 0.70,
    gamma: float = 0.65,
) -> dict[str, float]:
    """Lesions found and lesions invented: sensitivity, PPV, F1 and Dice by lesion.

    Args:
      pred: prediction; labels are merged.
      ref: reference of the same shape.
      spacing: voxel sizes in mm.
      rule: ``anima``: lesions of the reference are detected as `detected` says; those of the
        prediction are true by the same rule with the roles exchanged (the SCIseg paper's
        figures). ``ivadomed``: a lesion of the reference is found if a tenth of it is covered, a
        predicted one is false only if it touches none; PPV counts found lesions of the
        *reference* (ivadomed's fork of MetricsReloaded, 4e3ca32).
      min_lesion_mm3: lesions of this volume or less are ignored in both masks; by default 3 mm³
        for ``anima``, none for ``ivadomed``.
      connectivity: neighbours that join voxels to a lesion.
      alpha: `detected`; each in (0, 1], for ``anima`` alone.
      beta: `detected`.
      gamma: `detected`.

    Returns:
      ``sensitivity`` (no lesion in the reference: NaN), ``ppv`` (none predicted: NaN), ``f1``,
      their harmonic mean for ``anima`` and TP/(TP+(FP+FN)/2) for ``ivadomed`` (one mask without
      lesions: 0; both: NaN), ``dice`` (`lesion_dice` with the same smallest volume), and the
      counts ``n_ref``, ``n_pred``, ``n_ref_found``, ``n_pred_true``.
    """
    if rule not in ("anima", "ivadomed"):
        raise ValueError(f"rule: got {rule!r}; expected 'anima' or 'ivadomed'")
    pred_mask, ref_mask = as_pair(pred, ref)
    sizes = as_spacing(spacing, pred_mask.ndim)
    if min_lesion_mm3 is None:
        min_lesion_mm3 = 3.0 if rule == "anima" else 0.0
    detection = Detection(min_lesion_mm3=min_lesion_mm3, alpha=alpha, beta=beta, gamma=gamma)
    found = _lesions(pred_mask, ref_mask, detection.min_voxels(sizes), connectivity)
    if rule == "anima":
        ref_found = detected(found, detection)
        pred_true = detected(found.transposed, detection)
    else:
        ref_found = found.covered >= _IVADOMED_OVERLAP * found.ref_sizes
        pred_true = found.transposed.covered > 0
    n_ref, n_pred = ref_found.size, pred_true.size
    tp, n_true = int(ref_found.sum()), int(pred_true.sum())
    sensitivity = ratio(tp, n_ref)
    if rule == "anima":
        ppv = ratio(n_true, n_pred)
        f1 = _harmonic(sensitivity, ppv, n_ref, n_pred)
    else:
        false = n_pred - n_true
        ppv = ratio(tp, tp + false)
        f1 = ratio(tp, tp + (false + n_ref - tp) / 2)
    return {
        "sensitivity": sensitivity,
        "ppv": ppv,
        "f1": f1,
        "dice": lesion_dice(pred_mask, ref_mask, spacing, min_lesion_mm3=min_lesion_mm3),
        "n_ref": n_ref,
        "n_pred": n_pred,
        "n_ref_found": tp,
        "n_pred_true": n_true,
    }


def lesion_dice(
    pred: Image,
    ref: Image,
    spacing: Spacing,
    *,
    dilation: int = 1,
    min_lesion_mm3: float = 3.0,
    connectivity: int = 26,
) -> float:
    """Mean Dice over lesions, with a 0 for each invented one (BraTS 2023).

    Components of the reference that meet when dilated count as one lesion. A lesion's prediction
    is the union of all predicted components that touch its dilation. Lesions of the reference of
    `min_lesion_mm3` or less are left out; a predicted component that touches no lesion adds a 0,
    whatever its size.

    Args:
      pred: prediction; labels are merged.
      ref: reference of the same shape.
      spacing: voxel sizes in mm.
      dilation: steps of dilation with the 18-neighbourhood (8 in 2-D); BraTS: 3 for glioma, 1 for
        metastases.
      min_lesion_mm3: BraTS: 50 for glioma, 2 for metastases.
      connectivity: neighbours that join voxels to a component.

    Returns:
      0 to 1. Reference empty (or its lesions too small) and nothing invented: NaN; something
      invented: 0. (BraTS gives 1 where we give NaN.)

    Source: github.com/rachitsaluja/BraTS-2023-Metrics.
    """
    pred_mask, ref_mask = as_pair(pred, ref)
    sizes = as_spacing(spacing, pred_mask.ndim)
    box = bounding_box(pred_mask, ref_mask, margin=dilation + 1)
    if box is None:
        return math.nan
    pred_mask, ref_mask = pred_mask[box], ref_mask[box]
    pred_labels, pred_sizes = components(pred_mask, connectivity)
    element = structure(ref_mask.ndim, _DILATION_NEIGHBOURS[ref_mask.ndim])
    dilated = _dilate(ref_mask, element, dilation)
    joined, _ = components(dilated, connectivity)
    lesions = np.where(ref_mask, joined, 0)
    least = Detection(min_lesion_mm3=min_lesion_mm3).min_voxels(sizes)
    matched = np.zeros(pred_sizes.size + 1, bool)
    scores = []
    for label, place in enumerate(ndimage.find_objects(joined), 1):
        # `joined` is the dilation of just this lesion: others would have been joined to it
        own, near = lesions[place] == label, joined[place] == label
        touching = np.unique(pred_labels[place][near])
        touching = touching[touching > 0]
        matched[touching] = True
        size = int(np.count_nonzero(own))
        if size < least:
            continue
        shared = np.count_nonzero(np.isin(pred_labels[place], touching) & own)
        scores.append(2 * shared / (size + int(pred_sizes[touching - 1].sum())))
    invented = int(np.count_nonzero(~matched[1:]))
    return ratio(sum(scores), len(scores) + invented)


def panoptic_quality(
    pred: Image, ref: Image, *, threshold: float = 0.5, connectivity: int = 26
) -> dict[str, float]:
    """Panoptic quality of lesions: how many are matched, and how well.

    A predicted and a reference lesion match if their intersection over union is above `threshold`;
    from 0.5 on a match is unique, below it pairs are taken greedily by IoU.

    Args:
      pred: prediction, 2-D or 3-D; labels are merged.
      ref: reference of the same shape.
      threshold: of IoU, at least 0 (panoptica takes 0.5 itself as a match too; here it is strict,
        as in the paper).
      connectivity: neighbours that join voxels to a lesion (panoptica: 26; scipy's usual: 6).

    Returns:
      ``pq`` = ``sq`` x ``rq``; ``sq`` the mean IoU of the matches (no match: NaN); ``rq`` =
      TP/(TP+FP/2+FN/2); ``pq_dice`` and ``sq_dice`` with Dice in place of IoU; ``tp``, ``fp``,
      ``fn``. One mask empty: pq and rq 0. Both: NaN.

    Source: Kirillov et al., CVPR 2019, eq. 1.
    """
    pred_mask, ref_mask = as_pair(pred, ref)
    found = _lesions(pred_mask, ref_mask, 1, connectivity)
    ref_sizes, pred_sizes = found.ref_sizes[found.ref], found.pred_sizes[found.pred]
    iou = found.shared / np.maximum(ref_sizes + pred_sizes - found.shared, 1)
    dices = 2 * found.shared / np.maximum(ref_sizes + pred_sizes, 1)
    taken_ref, taken_pred, matches = set(), set(), []
    for pair in np.lexsort((found.pred, found.ref, -iou)):
        if iou[pair] <= threshold:
            break
        if found.ref[pair] not in taken_ref and found.pred[pair] not in taken_pred:
            taken_ref.add(found.ref[pair])
            taken_pred.add(found.pred[pair])
            matches.append(pair)
    tp = len(matches)
    fp, fn = found.pred_sizes.size - tp, found.ref_sizes.size - tp
    rq = ratio(tp, tp + fp / 2 + fn / 2)
    sq, sq_dice = ratio(iou[matches].sum(), tp), ratio(dices[matches].sum(), tp)
    return {
        "pq": sq * rq if tp else rq,
        "sq": sq,
        "rq": rq,
        "pq_dice": sq_dice * rq if tp else rq,
        "sq_dice": sq_dice,
        "tp": tp,
        "fp": fp,
        "fn": fn,
    }


def _lesions(
    pred_mask: Bool[np.ndarray, "*space"],
    ref_mask: Bool[np.ndarray, "*space"],
    least: int,
    connectivity: int,
) -> Overlaps:
    box = bounding_box(pred_mask, ref_mask)
    if box is not None:
        pred_mask, ref_mask = pred_mask[box], ref_mask[box]
    pred_labels, pred_sizes = components(pred_mask, connectivity, min_voxels=least)
    ref_labels, ref_sizes = components(ref_mask, connectivity, min_voxels=least)
    return overlaps(ref_labels, ref_sizes, pred_labels, pred_sizes)


def _dilate(
    mask: Bool[np.ndarray, "*space"], element: Bool[np.ndarray, "*three"], steps: int
) -> Bool[np.ndarray, "*space"]:
    if not steps:
        return mask
    return ndimage.binary_dilation(mask, element, iterations=steps)


def _harmonic(sensitivity: float, ppv: float, n_ref: int, n_pred: int) -> float:
    if not n_ref and not n_pred:
        return math.nan
    if not n_ref or not n_pred or not sensitivity + ppv:
        return 0.0
    return 2 * sensitivity * ppv / (sensitivity + ppv)
