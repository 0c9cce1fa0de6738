"""Where right, back and down are in a stored array, and how long its voxels are.

All morphometry works on arrays whose axes run right to left, posterior to anterior and inferior
to superior: ``LAS`` in nibabel's words, ``RPI`` in those of the Spinal Cord Toolbox.
"""

import math
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float, Shaped

from score_jax._types import Affine
from score_jax.errors import GeometryError

_LAS = np.array([-1.0, 1.0, 1.0])  # signs of RAS+ along the working axes


@final
@dataclass(frozen=True, slots=True)
class Anatomy:
    """How a stored array is turned to the working axes, and back.

    Args:
      axes: stored axis that becomes working axis *i* (right-left, back-front, down-up).
      flips: whether it runs backwards.
      shape: voxels along the working axes.
      spacing: voxel size along the working axes, mm.
    """

    axes: tuple[int, int, int]
    flips: tuple[bool, bool, bool]
    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]

    def turn(self, array: Shaped[np.ndarray, "i j k *c"]) -> Shaped[np.ndarray, "x y z *c"]:
        """A view of a stored array along the working axes; further axes stay last."""
        turned = array.transpose(*self.axes, *range(3, array.ndim))
        return turned[tuple(slice(None, None, -1 if flip else 1) for flip in self.flips)]

    def back(self, array: Shaped[np.ndarray, "x y z"]) -> Shaped[np.ndarray, "i j k"]:
        """A view of a working array along the stored axes; undoes `turn`."""
        flipped = array[tuple(slice(None, None, -1 if flip else 1) for flip in self.flips)]
        return flipped.transpose(*(self.axes.index(axis) for axis in range(3)))

    def index(self, axis: int, index: int) -> int:
        """A slice number along working axis `axis` as that of the stored array, or the reverse."""
        return self.shape[axis] - 1 - index if self.flips[axis] else index

    def position(self, axis: int, position: float) -> float:
        """As `index`, for a place between slices; NaN stays NaN."""
        return self.shape[axis] - 1 - position if self.flips[axis] else position


def anatomy(
    affine: Affine, shape: tuple[int, ...], spacing: tuple[float, ...] | None = None
) -> Anatomy:
    """The anatomy of an array with this affine.

    Each array axis is given the nearest anatomical one, so angles of an oblique scan are ignored
    (as in the Spinal Cord Toolbox and `nibabel.aff2axcodes`).

    Args:
      affine: voxel index to RAS+ mm.
      shape: of the stored array; the first three entries are read.
      spacing: voxel size in mm in array order, if it is known better than from the affine.

    Raises:
      GeometryError: the affine is not finite or singular, or the array has fewer than three axes.
    """
    matrix = affine[:3, :3]
    if len(shape) != 3:
        raise GeometryError(f"mask: got shape {shape}; expected three axes")
    if not np.isfinite(matrix).all() or abs(np.linalg.det(matrix)) < 1e-12:
        raise GeometryError(f"affine: got {matrix.tolist()}; expected a regular matrix")
    lengths = np.linalg.norm(matrix, axis=0)
    world, signs = _nearest(matrix / lengths)
    stated = [as_stated(float(mm)) for mm in (lengths if spacing is None else spacing)]
    axes = [int(np.flatnonzero(world == axis)[0]) for axis in range(3)]
    flips = [bool(signs[axis] != _LAS[i]) for i, axis in enumerate(axes)]
    return Anatomy(
        (axes[0], axes[1], axes[2]),
        (flips[0], flips[1], flips[2]),
        (shape[axes[0]], shape[axes[1]], shape[axes[2]]),
        (stated[axes[0]], stated[axes[1]], stated[axes[2]]),
    )


def _nearest(directions: Float[np.ndarray, "3 3"]) -> tuple[np.ndarray, np.ndarray]:
    """World axis and sign of each array axis, of the nearest orthogonal grid (nibabel's rule)."""
    left, sizes, right = np.linalg.svd(directions)
    keep = sizes > sizes.max() * 3 * np.finfo(float).eps
    orthogonal = left[:, keep] @ right[keep]
    world, signs = np.zeros(3, int), np.zeros(3)
    for axis in np.argsort((-(orthogonal**2)).min(axis=0), kind="stable"):
        column = orthogonal[:, axis]
        world[axis] = np.abs(column).argmax()
        signs[axis] = 1 if column[world[axis]] >= 0 else -1
        orthogonal[world[axis]] = 0
    return world, signs


def as_stated(length: float) -> float:
    """A voxel size as the header's float32 states it: 0.8, not 0.800000011920929.

    Rounds to the last decimal that float32 can hold (Spinal Cord Toolbox, image header).
    """
    single = np.float32(length)
    decimals = -math.floor(math.log10(float(np.spacing(single)))) - 1
    return round(float(single), decimals)
