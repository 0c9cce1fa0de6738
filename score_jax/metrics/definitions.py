"""Every score by the name it has in tables: unit, direction, definition in one line.

The table files' sidecars are made from this, and a test compares it with ``docs/metrics.md``.
"""

from dataclasses import dataclass
from typing import Literal, final

Better = Literal["higher", "lower", "zero", ""]


@final
@dataclass(frozen=True, slots=True)
class Definition:
    """What a column holds.

    Args:
      description: one line.
      unit: ``mm``, ``mm2``, ``mm3``, ``percent``, or empty for a plain number.
      better: which way is good: ``higher``, ``lower``, ``zero`` (signed error), or empty.
    """

    description: str
    unit: str = ""
    better: Better = ""


_ANIMA = {
    "Jaccard": Definition("Jaccard index, ANIMA", better="higher"),
    "Dice": Definition("Dice coefficient, ANIMA", better="higher"),
    "Sensitivity": Definition("voxels of the reference found, ANIMA", better="higher"),
    "Specificity": Definition("voxels of the background left alone, ANIMA", better="higher"),
    "PPV": Definition("voxels of the prediction that are right, ANIMA", better="higher"),
    "NPV": Definition("background voxels of the prediction that are right", better="higher"),
    "RelativeVolumeError": Definition("100 (V_pred - V_ref) / V_ref, ANIMA", "percent", "zero"),
    "HausdorffDistance": Definition("Hausdorff distance between whole masks", "mm", "lower"),
    "ContourMeanDistance": Definition(
        "larger of the two mean distances between contours, open at the image border", "mm", "lower"
    ),
    "SurfaceDistance": Definition(
        "ANIMA's running-minimum figure; depends on voxel order, not an average distance", "mm"
    ),
    "AverageSymmetricSurfaceDistance": Definition(
        "mean distance between surfaces, pooled, open at the image border", "mm", "lower"
    ),
    "PPVL": Definition("predicted lesions that are true, ANIMA", better="higher"),
    "SensL": Definition("lesions of the reference detected, ANIMA", better="higher"),
    "F1_score": Definition("harmonic mean of PPVL and SensL, ANIMA", better="higher"),
    "NbTestedLesions": Definition("predicted lesions where the reference is empty", "", "lower"),
    "VolTestedLesions": Definition("their volume", "mm3", "lower"),
}
_SLICES = {
    "RSD": Definition("relative SD of the two areas of a slice, ddof 1", "percent", "lower"),
    "DSC": Definition("Dice coefficient of a slice; both empty: left out", better="higher"),
    "HD": Definition("Hausdorff distance of a slice's boundaries", "mm", "lower"),
    "HD95": Definition("larger of the two directed 95th percentiles, slice", "mm", "lower"),
    "AreaPrediction": Definition("area of the prediction in a slice", "mm2"),
    "AreaReference": Definition("area of the reference in a slice", "mm2"),
    "AreaDifference": Definition("area of the prediction minus reference", "mm2", "zero"),
    "Slices": Definition("slices with something in prediction or reference"),
    "SlicesMissed": Definition("slices with a reference and no prediction", better="lower"),
    "SlicesInvented": Definition("slices with a prediction and no reference", better="lower"),
    "SlicesEmpty": Definition("slices empty in both, which count nowhere"),
}
_OURS = {
    "dice": Definition("2 TP / (2 TP + FP + FN)", better="higher"),
    "jaccard": Definition("TP / (TP + FP + FN)", better="higher"),
    "sensitivity": Definition("TP / (TP + FN)", better="higher"),
    "specificity": Definition("TN / (TN + FP)", better="higher"),
    "ppv": Definition("TP / (TP + FP)", better="higher"),
    "npv": Definition("TN / (TN + FN)", better="higher"),
    "kappa": Definition("Cohen's kappa over voxels", better="higher"),
    "relative_volume_error": Definition("100 (V_pred - V_ref) / V_ref", "percent", "zero"),
    "volumetric_similarity": Definition("1 - |V_pred - V_ref| / (V_pred + V_ref)", "", "higher"),
    "volume_pred": Definition("volume of the prediction", "mm3"),
    "volume_ref": Definition("volume of the reference", "mm3"),
    "volume_difference": Definition("V_pred - V_ref", "mm3", "zero"),
    "hausdorff": Definition("Hausdorff distance between surfaces", "mm", "lower"),
    "hausdorff95": Definition("larger of the two directed 95th percentiles", "mm", "lower"),
    "hausdorff95_pooled": Definition("95th percentile of both directions", "mm", "lower"),
    "assd": Definition("average symmetric surface distance, pooled", "mm", "lower"),
    "masd": Definition("mean of the two directed average surface distances", "mm", "lower"),
    "nsd_1mm": Definition("surface within 1 mm of the other", better="higher"),
    "nsd_2mm": Definition("surface within 2 mm of the other", better="higher"),
    "lesion_sensitivity": Definition("lesions of the reference detected", better="higher"),
    "lesion_ppv": Definition("predicted lesions that are true", better="higher"),
    "lesion_f1": Definition("harmonic mean of the two", better="higher"),
    "lesion_dice": Definition("mean Dice over lesions, invented ones count 0", better="higher"),
    "lesions_ref": Definition("lesions of the reference above the smallest volume"),
    "lesions_pred": Definition("lesions of the prediction above the smallest volume"),
    "lesions_ref_found": Definition("lesions of the reference detected", better="higher"),
    "lesions_pred_true": Definition("predicted lesions that are true", better="higher"),
    "pq": Definition("panoptic quality, IoU above 0.5, 26 neighbours", better="higher"),
    "sq": Definition("mean IoU of matched lesions", better="higher"),
    "rq": Definition("TP / (TP + FP/2 + FN/2) of matched lesions", better="higher"),
    "pq_dice": Definition("panoptic quality with Dice in place of IoU", better="higher"),
    "tp": Definition("voxels in both", "voxels"),
    "fp": Definition("voxels in the prediction alone", "voxels", "lower"),
    "fn": Definition("voxels in the reference alone", "voxels", "lower"),
    "tn": Definition("voxels in neither", "voxels"),
    "n_pred": Definition("voxels of the prediction", "voxels"),
    "n_ref": Definition("voxels of the reference", "voxels"),
}
DEFINITIONS: dict[str, Definition] = {**_ANIMA, **_SLICES, **_OURS}
