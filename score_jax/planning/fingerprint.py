"""What a planner must know about a dataset: sizes, spacings and intensities after cropping.

The layout is nnU-Net's ``dataset_fingerprint.json``; array axes in it are z, y, x. Where nnU-Net
draws foreground voxels at random, every one is used here, each case with equal weight: the same
statistics without the noise of the draw.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from jaxtyping import Bool, Num

from score_jax.errors import DatasetError
from score_jax.planning.preprocess import bounding_box, nonzero_mask


@final
@dataclass(frozen=True, slots=True)
class CaseFingerprint:
    """One case after cropping to its non-zero box.

    Args:
      shape: voxels z, y, x.
      spacing: mm z, y, x.
      relative_size: share of the image's voxels that the box holds.
      foreground: for each channel the distinct values of labelled voxels and how often each
        occurs; both empty if nothing is labelled.
    """

    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    relative_size: float
    foreground: tuple[tuple[np.ndarray, np.ndarray], ...]


def of_case(
    image: Num[np.ndarray, "x y z c"],
    foreground: Bool[np.ndarray, "x y z"],
    spacing: Sequence[float],
) -> CaseFingerprint:
    """The fingerprint of one case.

    Args:
      image: in nibabel's axis order, channels last.
      foreground: voxels of any label but background.
      spacing: mm along x, y, z.
    """
    box = bounding_box(nonzero_mask(image))
    inner, labelled = image[box], foreground[box]
    counted = []
    for channel in range(inner.shape[-1]):
        values, counts = np.unique(inner[..., channel][labelled], return_counts=True)
        counted.append((values.astype(np.float64), counts.astype(np.float64)))
    shape = inner.shape[:3]
    return CaseFingerprint(
        shape=shape[::-1],
        spacing=tuple(float(mm) for mm in spacing)[::-1],
        relative_size=float(np.prod(shape) / np.prod(image.shape[:3])),
        foreground=tuple(counted),
    )


def combine(cases: Iterable[CaseFingerprint]) -> dict[str, Any]:
    """The fingerprint of a dataset, as nnU-Net writes it.

    Raises:
      DatasetError: no case, or none with anything labelled.
    """
    cases = list(cases)
    if not cases:
        raise DatasetError("fingerprint: got no case; expected at least one")
    properties = {
        str(channel): _statistics([case.foreground[channel] for case in cases])
        for channel in range(len(cases[0].foreground))
    }
    return {
        "spacings": [list(case.spacing) for case in cases],
        "shapes_after_crop": [list(case.shape) for case in cases],
        "foreground_intensity_properties_per_channel": properties,
        "median_relative_size_after_cropping": float(
            np.median([case.relative_size for case in cases])
        ),
    }


def _statistics(
    counted: Sequence[tuple[np.ndarray, np.ndarray]],
) -> dict[str, float]:
    """Statistics over the labelled voxels of all cases, each case weighing the same."""
    used = [(values, counts / counts.sum()) for values, counts in counted if values.size]
    if not used:
        raise DatasetError(
            "fingerprint: no labelled voxel in any case; expected masks that are not empty"
        )
    values = np.concatenate([values for values, _ in used])
    weights = np.concatenate([weights for _, weights in used]) / len(used)
    order = np.argsort(values, kind="stable")
    values, weights = values[order], weights[order]
    mean = float(values @ weights)
    reached = np.cumsum(weights)

    def percentile(share: float) -> float:
        at = int(np.searchsorted(reached, share * reached[-1]))
        return float(values[min(at, len(values) - 1)])

    return {
        "mean": mean,
        "median": percentile(0.5),
        "std": float(np.sqrt((values - mean) ** 2 @ weights)),
        "min": float(values[0]),
        "max": float(values[-1]),
        "percentile_99_5": percentile(0.995),
        "percentile_00_5": percentile(0.005),
    }
