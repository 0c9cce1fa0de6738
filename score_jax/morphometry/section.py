"""Cross-sections of a mask: axial slices seen at a right angle to the cord, on a fine grid.

Source: Spinal Cord Toolbox 7.4 (commit 3b3c5b22), `process_seg.py`.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float64, Int

from score_jax.arrays.components import bounding_box
from score_jax.morphometry.centerline import Tilt

PIXEL_MM = 0.1
_TRACE = 1e-6  # values up to here are outside
_MARGIN = 3  # voxels around the mask before it is resampled


def sections(
    mask: Float64[np.ndarray, "x y z"],
    spacing: tuple[float, float, float],
    tilt: Tilt,
    *,
    stretch: bool,
) -> Iterator[tuple[int, Float64[np.ndarray, "r c"]]]:
    """Each slice of a mask that holds any of it, shrunk by its tilt and sampled at 0.1 mm.

    Shrinking and sampling are bilinear; the first is anchored at the corner of the image, as SCT
    does it, so areas of tilted slices depend a little (0.9 %) on where in the image the cord lies.

    Args:
      mask: values 0 to 1 along the working axes, the whole image.
      spacing: mm.
      tilt: of every slice.
      stretch: scale each slice so that its largest value is 1 (SCT does).

    Yields:
      The slice's number and its pixels, rows right to left, columns back to front.
    """
    shrink_x, shrink_y = np.cos(tilt.angle_ap), np.cos(tilt.angle_rl)
    for z in np.flatnonzero((mask > _TRACE).any(axis=(0, 1))).tolist():
        image = _resize(mask[:, :, z], (float(shrink_x[z]), float(shrink_y[z])))
        if stretch and image.max() > 0:
            image = image / image.max()
        box = bounding_box(image > _TRACE, margin=_MARGIN)
        if box is None:
            continue
        image = image[box]
        for axis, side in enumerate(spacing[:2]):
            image = _resample(image, axis, side)
        yield z, image


def _resize(
    image: Float64[np.ndarray, "x y"], factors: tuple[float, float]
) -> Float64[np.ndarray, "x y"]:
    """The image with pixel *i* taken from *i / factor* along each axis."""
    for axis, factor in enumerate(factors):
        image = _take(image, axis, np.arange(image.shape[axis]) / factor)
    return image


def _resample(image: Float64[np.ndarray, "x y"], axis: int, side: float) -> np.ndarray:
    count = image.shape[axis]
    wanted = round(count * side / PIXEL_MM)
    return _take(image, axis, (np.arange(wanted) + 0.5) * count / wanted - 0.5)


def _take(
    image: Float64[np.ndarray, "x y"], axis: int, at: Float64[np.ndarray, " n"]
) -> Float64[np.ndarray, "u v"]:
    """Linear interpolation along one axis; beyond the image everything is 0."""
    before = np.floor(at)
    share = at - before
    low: Int[np.ndarray, " n"] = before.astype(np.int64)
    moved = np.moveaxis(image, axis, 0)
    values = [_or_zero(moved, index) for index in (low, low + 1)]
    mixed = values[0] * (1 - share)[:, None] + values[1] * share[:, None]
    return np.moveaxis(mixed, 0, axis)


def _or_zero(image: np.ndarray, index: np.ndarray) -> np.ndarray:
    inside = (index >= 0) & (index < image.shape[0])
    return np.where(inside[:, None], image[np.where(inside, index, 0)], 0.0)
