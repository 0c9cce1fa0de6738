"""Two scans of one cord on each other: along the cord by the image, across it by the cord itself.

No deformation and no rotation is looked for. Each axial slice is moved so that the middle of the
cord lies on that of the other scan, and the whole cord is shifted along itself to where the image
around it looks most alike. That takes up another position on the table and another bend of the
neck; it does not take up a turn of the cord about its own axis, or a change of its length.
"""

import math
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Bool, Float, Shaped
from scipy import ndimage

from score_jax.errors import GeometryError
from score_jax.imaging import Volume

AROUND_MM = 12.0  # of the cord's middle: what is compared
FARTHEST_MM = 40.0  # shift along the cord
STEP_MM = 1.0
LEAST_LIKENESS = 0.2  # below it the images say nothing of the shift
LEAST_SHARE = 0.5  # of the shorter cord that both scans must show


@final
@dataclass(frozen=True, slots=True)
class Alignment:
    """Where each voxel of the first scan is in the second.

    Args:
      points: voxel coordinates in the second scan, for the voxels of the first; both with axes
        from right to left, back to front and up.
      shift_mm: how much further up (world coordinates) the second scan shows the same place.
      likeness: correlation along the cord of the images around it; NaN if none was looked for.
        Below `LEAST_LIKENESS` the shift is 0: the world's heights are believed.
      covered: voxels of the first scan that the second one shows.
    """

    points: Float[np.ndarray, "3 x y z"]
    shift_mm: float
    likeness: float
    covered: Bool[np.ndarray, "x y z"]

    def bring(
        self, array: Shaped[np.ndarray, "u v w"], order: int = 0
    ) -> Shaped[np.ndarray, "x y z"]:
        """An array of the second scan on the grid of the first; 0 where it does not look."""
        brought = ndimage.map_coordinates(array, self.points, order=order, mode="nearest")
        return np.where(self.covered, brought, brought.dtype.type(0))


@final
@dataclass(frozen=True, slots=True)
class Side:
    """A scan and its cord, axes from right to left, back to front and up.

    Args:
      image: intensities.
      cord: its mask.
      affine: voxel index to RAS+ mm.
      spacing: in mm.
    """

    image: Float[np.ndarray, "x y z"]
    cord: Bool[np.ndarray, "x y z"]
    affine: Float[np.ndarray, "4 4"]
    spacing: tuple[float, float, float]

    @classmethod
    def of(cls, image: Volume, cord: Volume) -> "Side":
        """From an image, of which the first channel counts, and a mask on its grid."""
        turned, mask = image.reoriented("LAS"), cord.reoriented("LAS")
        first = turned.channels_last[..., 0].astype(np.float32)
        return cls(first, mask.data > 0.5, turned.affine, turned.spacing)

    @property
    def heights(self) -> Float[np.ndarray, " z"]:
        """World height of each slice at the middle of the grid, mm."""
        x, y, z = self.cord.shape
        lowest = self.affine[2] @ np.array([(x - 1) / 2, (y - 1) / 2, 0, 1])
        return lowest + self.rise * np.arange(z)

    @property
    def rise(self) -> float:
        """World height from one slice to the next, mm; above 0, for the axis runs up."""
        return float(self.affine[2, 2])

    def centres(self) -> Float[np.ndarray, "z 2"]:
        """The cord's middle in every slice, in voxels; beyond its ends, that of its last slice.

        Raises:
          GeometryError: no cord at all.
        """
        filled = np.flatnonzero(self.cord.any(axis=(0, 1)))
        if not filled.size:
            raise GeometryError("cord: got an empty mask; expected one to align by")
        known = np.array([[i.mean() for i in np.nonzero(self.cord[:, :, z])] for z in filled])
        every = np.arange(self.cord.shape[2])
        return np.stack([np.interp(every, filled, known[:, axis]) for axis in (0, 1)], axis=-1)


def align(first: Side, second: Side, *, by_image: bool = True) -> Alignment:
    """Where the voxels of `first` are in `second`.

    Args:
      first: the scan whose grid is kept.
      second: the scan that is brought to it.
      by_image: look for the shift along the cord; else the world's heights are believed.

    Raises:
      GeometryError: a scan without cord, or cords that no shift brings to overlap by half.
    """
    shift, likeness = _shift(first, second) if by_image else (0.0, math.nan)
    z = (first.heights + shift - second.heights[0]) / second.rise
    inside = (z >= -0.5) & (z <= second.cord.shape[2] - 0.5)
    here, there = first.centres(), second.centres()
    at = np.stack([np.interp(z, np.arange(len(there)), there[:, a]) for a in (0, 1)], axis=-1)
    x, y, _ = np.meshgrid(*(np.arange(n) for n in first.cord.shape), indexing="ij")
    points = np.stack(
        [
            at[:, 0] + (x - here[:, 0]) * first.spacing[0] / second.spacing[0],
            at[:, 1] + (y - here[:, 1]) * first.spacing[1] / second.spacing[1],
            np.broadcast_to(z, x.shape),
        ]
    )
    for axis in (0, 1):
        inside = inside & (points[axis] >= -0.5) & (points[axis] <= second.cord.shape[axis] - 0.5)
    return Alignment(points, shift, likeness, inside)


def _shift(first: Side, second: Side) -> tuple[float, float]:
    """The shift along the cord, and how alike the images are there; 0 where nothing is alike."""
    (one, low), (two, bottom) = _straightened(first), _straightened(second)
    need = max(LEAST_SHARE * min(len(one), len(two)), 2)
    best, where = -math.inf, math.nan
    # slice k of the first is at height low + k, slice j of the second at bottom + j
    apart = round((bottom - low) / STEP_MM)
    reach = int(FARTHEST_MM / STEP_MM)
    for steps in sorted(range(-reach, reach + 1), key=abs):  # of equals, the smallest shift
        offset = steps - apart
        k = np.arange(max(0, -offset), min(len(one), len(two) - offset))
        if k.size < need:
            continue
        likeness = _correlation(one[k], two[k + offset])
        if likeness > best + 1e-9:
            best, where = likeness, bottom + offset * STEP_MM - low
    if math.isnan(where):
        raise GeometryError(
            f"cords: got {len(one)} mm and {len(two)} mm of cord that no shift of "
            f"{FARTHEST_MM:g} mm brings to overlap by half; expected scans of one place",
            hint="align by the scanner's coordinates",
        )
    return (float(where) if best >= LEAST_LIKENESS else 0.0), float(best)


def _straightened(side: Side) -> tuple[Float[np.ndarray, "z u v"], float]:
    """What is around the cord, a slice a mm with the cord in the middle; the lowest height."""
    filled = np.flatnonzero(side.cord.any(axis=(0, 1)))
    heights, centres = side.heights, side.centres()
    low, high = heights[filled[[0, -1]]]
    levels = np.arange(low, high + 0.5 * STEP_MM, STEP_MM)
    z = np.interp(levels, heights, np.arange(heights.size))
    mm = np.arange(-AROUND_MM, AROUND_MM + 0.5, 1.0)
    u, v = np.meshgrid(mm / side.spacing[0], mm / side.spacing[1], indexing="ij")
    x = np.interp(z, np.arange(heights.size), centres[:, 0])[:, None, None] + u
    y = np.interp(z, np.arange(heights.size), centres[:, 1])[:, None, None] + v
    at = np.stack([x, y, np.broadcast_to(z[:, None, None], x.shape)])
    return ndimage.map_coordinates(side.image, at, order=1, mode="nearest"), float(low)


def _correlation(a: Float[np.ndarray, "z u v"], b: Float[np.ndarray, "z u v"]) -> float:
    """Pearson's r of what changes along the cord; 0 if nothing does in one of them."""
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    scale = math.sqrt(float((a**2).sum()) * float((b**2).sum()))
    return float((a * b).sum()) / scale if scale else 0.0
