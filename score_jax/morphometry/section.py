"""Cross-sections of a mask: axial slices seen at a right angle to the cord, on a fine grid.

Source: Spinal Cord Toolbox 7.4 (commit 3b3c5b22), `process_seg.py`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float64, Int64, Shaped

from score_jax.arrays.components import bounding_box
from score_jax.morphometry.centerline import Tilt

PIXEL_MM = 0.1
_TRACE = 1e-6  # values up to here are outside
_MARGIN = 3  # voxels around the mask before it is resampled


@final
@dataclass(frozen=True, slots=True)
class Section:
    """A cross-section in pixels of 0.1 mm, rows right to left, columns back to front.

    Rows and columns that hold nothing, and whose neighbours do not, are left out, so pieces far
    apart cost what they hold.

    Args:
      values: of the rows and columns that are kept.
      rows: their numbers in the whole, ascending.
      columns: likewise.
      shape: of the whole.
    """

    values: Float64[np.ndarray, "r c"]
    rows: Int64[np.ndarray, " r"]
    columns: Int64[np.ndarray, " c"]
    shape: tuple[int, int]


def sections(
    mask: Shaped[np.ndarray, "x y z"],
    spacing: tuple[float, float, float],
    tilt: Tilt,
    *,
    stretch: bool,
) -> Iterator[tuple[int, Section]]:
    """Each slice of a mask that holds any of it, shrunk by its tilt and sampled at 0.1 mm.

    Shrinking and sampling are bilinear; the first is anchored at the corner of the image, as SCT
    does it, so areas of tilted slices depend a little (0.9 %) on where in the image the cord lies.

    Args:
      mask: values 0 to 1 along the working axes, the whole image.
      spacing: mm.
      tilt: of every slice.
      stretch: scale each slice so that its largest value is 1 (SCT does).

    Yields:
      The slice's number and its pixels.
    """
    box = bounding_box(mask)
    if box is None:
        return
    shrink = np.cos(tilt.angle_ap), np.cos(tilt.angle_rl)
    within = np.arange(box[0].start, box[0].stop), np.arange(box[1].start, box[1].stop)
    cropped = np.moveaxis(mask[box], 2, 0).astype(np.float64, order="C")
    for z, image in enumerate(cropped, box[2].start):
        if not (image > _TRACE).any():
            continue
        factors = (float(shrink[0][z]), float(shrink[1][z]))
        section = _section(image, within, mask.shape[:2], factors, spacing, stretch)
        if section is not None:
            yield z, section


def _section(
    image: Float64[np.ndarray, "x y"],
    within: tuple[Int64[np.ndarray, " x"], Int64[np.ndarray, " y"]],
    shape: tuple[int, ...],
    factors: tuple[float, float],
    spacing: tuple[float, float, float],
    stretch: bool,
) -> Section | None:
    """One slice, of which only the rows and columns `within` are given; None if nothing is left."""
    filled = image.any(axis=1), image.any(axis=0)
    image = image[filled[0]][:, filled[1]]
    places = [within[axis][filled[axis]] for axis in (0, 1)]
    for axis, factor in enumerate(factors):
        # pixel i is taken from i / factor
        image, places[axis] = _take(image, axis, places[axis], np.arange(shape[axis]) / factor)
    if stretch and image.size and image.max() > 0:
        image = image / image.max()
    seen = image > _TRACE
    if not seen.any():
        return None
    sides = []
    for axis, filled in enumerate((seen.any(axis=1), seen.any(axis=0))):
        first, last = places[axis][filled][[0, -1]].tolist()
        start = max(first - _MARGIN, 0)
        count = min(last + 1 + _MARGIN, shape[axis]) - start
        wanted = round(count * spacing[axis] / PIXEL_MM)
        at = (np.arange(wanted) + 0.5) * count / wanted - 0.5
        image, places[axis] = _take(image, axis, places[axis] - start, at, count)
        sides.append(wanted)
    return Section(image, places[0], places[1], (sides[0], sides[1]))


def _take(
    image: Float64[np.ndarray, "x y"],
    axis: int,
    places: Int64[np.ndarray, " n"],
    at: Float64[np.ndarray, " m"],
    length: int | None = None,
) -> tuple[Float64[np.ndarray, "u v"], Int64[np.ndarray, " k"]]:
    """Linear interpolation along one axis of an image that is 0 but at `places` of that axis.

    Args:
      image: only what is at `places`.
      axis: 0 or 1.
      places: ascending.
      at: where the values are wanted.
      length: of the axis; what lies beyond is 0, as is all before 0.

    Returns:
      The values at those of `at` that lie beside any of `places`, or next to such; which these are.
    """
    end = int(places[-1]) + 1 if length is None else length
    none = places.size  # the number of a row that is not there
    number = np.full(end + 2, none)  # of each row, with one before the first and one after the last
    kept = places[(places >= 0) & (places < end)]
    number[kept + 1] = np.searchsorted(places, kept)
    before = np.floor(at)
    low = np.clip(before, -1, end).astype(np.int64) + 1
    first, second = number[low], number[np.minimum(low + 1, end + 1)]
    some = (first < none) | (second < none)
    some[1:] |= some[:-1]
    some[:-1] |= some[1:]
    which = np.flatnonzero(some)
    share = (at - before)[which]
    mixed = 0.0
    for rows, weight in ((first[which], 1 - share), (second[which], share)):
        weight = np.where(rows < none, weight, 0.0)
        values = image.take(np.minimum(rows, none - 1), axis)
        mixed = mixed + values * (weight[:, None] if axis == 0 else weight)
    return mixed, which
