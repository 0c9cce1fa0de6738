"""Sets of scores of one pair of masks: what each preset of `score-jax evaluate` prints.

* ``anima``: the tool's output as it is (`metrics.anima`); label maps by rank.
* ``sciseg``: the same region by region, with lesion detection where the region is a lesion: the
  calls of the SCIseg paper.
* ``score``: slice by slice in 2-D, as the SCORE paper (`by_slice`).
* ``all``: everything, under our own names beside ANIMA's (`everything`).
"""

import dataclasses
import math
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float64, Shaped

from score_jax.metrics.agreement import rsd
from score_jax.metrics.anima_compat import anima
from score_jax.metrics.inputs import Empty, Spacing, as_pair, as_spacing, ratio
from score_jax.metrics.lesionwise import Detection, lesion_wise, panoptic_quality
from score_jax.metrics.overlap import Counts, areas, counts
from score_jax.metrics.surface import Edge, SurfaceDistances, surface_distances

Preset = Literal["anima", "sciseg", "score", "all"]
PRESETS: tuple[Preset, ...] = ("anima", "sciseg", "score", "all")

Image = Shaped[np.ndarray, "..."]  # shapes are compared at run time, with a message
_MEANS = ("RSD", "DSC", "HD", "HD95", "AreaPrediction", "AreaReference", "AreaDifference")


def by_slice(
    pred: Image, ref: Image, spacing: Spacing, *, axis: int = -1, edge: Edge = "closed"
) -> tuple[dict[str, float], list[dict[str, float]]]:
    """The SCORE paper's scores, slice by slice in 2-D, and their means.

    Distances are measured on the grid of the masks: a figure belongs to its pixel size. The
    paper's are on the interpolated grid of 0.333 mm; on the acquired grid of 0.667 mm any
    disagreement at all gives a Hausdorff distance of at least 0.667 mm.

    Args:
      pred: prediction, 3-D, or 2-D for one slice.
      ref: reference of the same shape.
      spacing: voxel sizes in mm.
      axis: the axis along which slices follow each other.
      edge: whether the image border closes a boundary.

    Returns:
      Means over slices with a value, with the numbers of slices (`metrics.DEFINITIONS`), and a
      row a slice that is not empty in both, with its index ``slice``. In a slice with one mask
      empty: DSC 0, RSD 141.4, HD and HD95 NaN. All slices empty: means NaN, counts 0.

    Source: Tsagkas et al., AJNR 2023; boundary pixels have a neighbour outside among 4.
    """
    pred_mask, ref_mask = as_pair(pred, ref)
    sizes = as_spacing(spacing, pred_mask.ndim)
    if pred_mask.ndim == 2:
        pred_mask, ref_mask, sizes, axis = (
            pred_mask[..., None],
            ref_mask[..., None],
            np.append(sizes, 1.0),
            2,
        )
    plane = np.delete(sizes, axis)
    pred_areas = areas(pred_mask, sizes, axis=axis)
    ref_areas = areas(ref_mask, sizes, axis=axis)
    rows = [
        {"slice": int(k)} | _slice(pred_mask.take(k, axis), ref_mask.take(k, axis), plane, edge)
        for k in np.flatnonzero((pred_areas > 0) | (ref_areas > 0))
    ]
    values = {name: _mean([row[name] for row in rows]) for name in _MEANS}
    values |= {
        "Slices": len(rows),
        "SlicesMissed": int(np.count_nonzero((pred_areas == 0) & (ref_areas > 0))),
        "SlicesInvented": int(np.count_nonzero((pred_areas > 0) & (ref_areas == 0))),
        "SlicesEmpty": pred_areas.size - len(rows),
    }
    return values, rows


def _slice(
    pred: Bool[np.ndarray, "x y"],
    ref: Bool[np.ndarray, "x y"],
    plane: Float64[np.ndarray, "2"],
    edge: Edge,
) -> dict[str, float]:
    c, found = counts(pred, ref), surface_distances(pred, ref, plane, edge=edge)
    pred_area, ref_area = c.n_pred * float(plane.prod()), c.n_ref * float(plane.prod())
    return {
        "RSD": float(rsd([pred_area, ref_area])),
        "DSC": ratio(2 * c.tp, c.n_pred + c.n_ref),
        "HD": found.hausdorff(),
        "HD95": found.percentile(95),
        "AreaPrediction": pred_area,
        "AreaReference": ref_area,
        "AreaDifference": pred_area - ref_area,
    }


def everything(
    pred: Image,
    ref: Image,
    spacing: Spacing,
    *,
    lesions: bool = True,
    edge: Edge = "closed",
    empty: Empty = "nan",
    rule: Detection | None = None,
) -> dict[str, float]:
    """Every score of a pair of masks: ANIMA's names first, then ours in small letters.

    ANIMA's keep their own rule for empty masks (a reference that is empty leaves only
    ``NbTestedLesions`` and ``VolTestedLesions``); ours follow `empty`.

    Args:
      pred: prediction; labels are merged.
      ref: reference of the same shape.
      spacing: voxel sizes in mm.
      lesions: lesion-wise scores and panoptic quality as well.
      edge: whether the image border closes a surface (ANIMA's own scores: always open).
      empty: rule for empty masks, `inputs.settle`.
      rule: smallest lesion and thresholds of detection; by default ANIMA's.
    """
    pred_mask, ref_mask = as_pair(pred, ref)
    thresholds = dataclasses.asdict(rule or Detection())
    values: dict[str, Any] = anima(pred_mask, ref_mask, spacing, lesions=lesions, **thresholds)
    c = counts(pred_mask, ref_mask)
    values |= _overlaps(c, float(np.prod(as_spacing(spacing, pred_mask.ndim))), empty)
    values |= _distances(surface_distances(pred_mask, ref_mask, spacing, edge=edge), empty)
    if lesions:
        values |= _lesions(lesion_wise(pred_mask, ref_mask, spacing, **thresholds))
        quality = panoptic_quality(pred_mask, ref_mask)
        values |= {name: quality[name] for name in ("pq", "sq", "rq", "pq_dice")}
    names = ("tp", "fp", "fn", "tn", "n_pred", "n_ref")
    return values | {name: getattr(c, name) for name in names}


def _overlaps(c: Counts, voxel_mm3: float, empty: Empty) -> dict[str, float]:
    total = c.tp + c.fp + c.fn + c.tn
    by_chance = (
        0.0
        if not total
        else (c.n_pred * c.n_ref + (total - c.n_pred) * (total - c.n_ref)) / total**2
    )
    scores = {
        "dice": ratio(2 * c.tp, c.n_pred + c.n_ref),
        "jaccard": ratio(c.tp, c.tp + c.fp + c.fn),
        "sensitivity": ratio(c.tp, c.n_ref),
        "ppv": ratio(c.tp, c.n_pred),
        "volumetric_similarity": 1 - ratio(abs(c.n_pred - c.n_ref), c.n_pred + c.n_ref),
    }
    return {name: c.settled(value, empty) for name, value in scores.items()} | {
        "specificity": ratio(c.tn, c.tn + c.fp),
        "npv": ratio(c.tn, c.tn + c.fn),
        "kappa": ratio((c.tp + c.tn) / total - by_chance, 1 - by_chance) if total else math.nan,
        "relative_volume_error": ratio(100 * (c.n_pred - c.n_ref), c.n_ref)
        if c.n_ref
        else math.nan,
        "volume_pred": c.n_pred * voxel_mm3,
        "volume_ref": c.n_ref * voxel_mm3,
        "volume_difference": (c.n_pred - c.n_ref) * voxel_mm3,
    }


def _distances(found: SurfaceDistances, empty: Empty) -> dict[str, float]:
    return {
        "hausdorff": found.hausdorff(empty=empty),
        "hausdorff95": found.percentile(95, empty=empty),
        "hausdorff95_pooled": found.percentile(95, pool="pooled", empty=empty),
        "assd": found.assd(empty=empty),
        "masd": found.masd(empty=empty),
        "nsd_1mm": found.nsd(1.0, empty=empty),
        "nsd_2mm": found.nsd(2.0, empty=empty),
    }


def _lesions(found: dict[str, float]) -> dict[str, float]:
    return {
        "lesion_sensitivity": found["sensitivity"],
        "lesion_ppv": found["ppv"],
        "lesion_f1": found["f1"],
        "lesion_dice": found["dice"],
        "lesions_ref": found["n_ref"],
        "lesions_pred": found["n_pred"],
        "lesions_ref_found": found["n_ref_found"],
        "lesions_pred_true": found["n_pred_true"],
    }


def _mean(values: list[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return float(np.mean(known)) if known else math.nan
