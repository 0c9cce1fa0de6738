"""nnU-Net's ``summary.json``: counts of voxels, Dice and IoU of label maps, region by region.

For new work `score_jax.metrics` and ``score-jax evaluate`` say more; here are the definitions of
nnU-Net 2.8.1, so that runs can be compared with its own: scores are taken on the written label map,
where a lesion outside the cord counts as cord too.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Integer

from score_jax.arrays.regions import Region, written_values

LabelOrRegion = int | tuple[int, ...]


def labels_of(regions: Sequence[Region]) -> list[LabelOrRegion]:
    """What each region is in a written label map: one value, or several that count as one.

    Their texts are the regions' keys in ``summary.json``.

    >>> labels_of([Region("cord", (1, 2), 1), Region("lesion", (2,), 2)])
    [(1, 2), 2]
    """
    values = [written_values(regions, number) for number in range(len(regions))]
    return [v[0] if len(v) == 1 else v for v in values]


def case_scores(
    predicted: Integer[np.ndarray, "*space"],
    reference: Integer[np.ndarray, "*space"],
    region: LabelOrRegion,
) -> dict[str, float]:
    """Counts of voxels, Dice and IoU; both are NaN where the region is in neither map.

    Args:
      predicted: label map.
      reference: label map of the same shape.
      region: a label, or labels that count as one.
    """
    found, wanted = np.isin(predicted, region), np.isin(reference, region)
    tp, fp = int((found & wanted).sum()), int((found & ~wanted).sum())
    fn, tn = int((~found & wanted).sum()), int((~found & ~wanted).sum())
    either = tp + fp + fn
    return {
        "Dice": 2 * tp / (2 * tp + fp + fn) if either else float("nan"),
        "IoU": tp / either if either else float("nan"),
        "FP": fp,
        "TP": tp,
        "FN": fn,
        "TN": tn,
        "n_pred": tp + fp,
        "n_ref": tp + fn,
    }


def case_entry(
    prediction_file: str,
    reference_file: str,
    predicted: Integer[np.ndarray, "*space"],
    reference: Integer[np.ndarray, "*space"],
    regions: Sequence[LabelOrRegion],
    *,
    ignored: Bool[np.ndarray, "*space"] | None = None,
) -> dict[str, Any]:
    """One entry of ``metric_per_case``.

    Args:
      prediction_file: its name in the summary.
      reference_file: the same.
      predicted: label map.
      reference: label map of the same shape.
      regions: labels and tuples of labels, without the background.
      ignored: voxels that do not count (nnU-Net's ignore label).
    """
    if ignored is not None:
        predicted, reference = predicted[~ignored], reference[~ignored]
    return {
        "prediction_file": prediction_file,
        "reference_file": reference_file,
        "metrics": {str(region): case_scores(predicted, reference, region) for region in regions},
    }


def summarise(cases: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The whole of ``summary.json`` from its cases: their means, and the mean of those.

    A NaN does not count in a mean over cases; a score that is NaN in every case has the mean NaN,
    and so has the ``foreground_mean`` then. No case gives empty means.
    """
    regions = list(cases[0]["metrics"]) if cases else []
    means = {key: _mean([case["metrics"][key] for case in cases]) for key in regions}
    return {
        "metric_per_case": list(cases),
        "mean": means,
        "foreground_mean": {
            key: float(np.mean([scores[key] for scores in means.values()]))
            for key in next(iter(means.values()), {})
        },
    }


def _mean(scores: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {key: mean_of_known([score[key] for score in scores]) for key in scores[0]}


def mean_of_known(values: Sequence[float]) -> float:
    """Mean without the NaNs; NaN if there is nothing else."""
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")
