"""The midsagittal plane of the cord, which may lie between two sagittal slices."""

import math
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float64, Shaped

from score_jax.errors import GeometryError
from score_jax.morphometry.scene import Body, Scene

_HALF_RANGE = 2  # axial slices on either side of the largest lesion's middle


@final
@dataclass(frozen=True, slots=True)
class Midline:
    """A sagittal position and the slices around it.

    Args:
      position: index along the working right-left axis, in the whole image.
      first: the slice at or before it, in the scene.
      second: the slice at or after it; the same one if the position is a whole number.
    """

    position: float
    first: int
    second: int

    @property
    def share(self) -> float:
        """Weight of the second slice."""
        return self.position - math.floor(self.position)

    def mix(
        self, first: Shaped[np.ndarray, "*s"], second: Shaped[np.ndarray, "*s"]
    ) -> Float64[np.ndarray, "*s"]:
        """Linear interpolation between values of the two slices."""
        return (1 - self.share) * first + self.share * second


def at(position: float, scene: Scene) -> Midline:
    """The midline at a given position of the whole image, which must lie within the scene."""
    low = scene.corner[0]
    high = low + scene.labels.shape[0] - 1
    if not low <= position <= high:
        raise GeometryError(
            f"midline: got a position {position:g} slices from the right; expected one through the "
            f"cord or a lesion, between {low} and {high}"
        )
    return Midline(position, math.floor(position) - low, math.ceil(position) - low)


def at_slice(z: int, scene: Scene) -> Midline | None:
    """The midline through the cord's centre of mass in one axial slice; None if it is empty."""
    centre = _centre(z, scene)
    return None if centre is None else at(centre, scene)


def of_largest(lesions: list[Body], scene: Scene) -> Midline | None:
    """The midline at the level of the largest lesion, the first of equals.

    The cord's centre of mass (weighted by its values) is averaged over the five axial slices
    around the mean slice of the lesion's voxels, rounded half to even. Slices beyond the image are
    left out; SCT up to 7.4 fails at the upper end and wraps around at the lower one (its issue
    5300). If none of the five holds any cord, the slices of the lesion itself count.

    Returns:
      None without a cord.
    """
    largest = max(lesions, key=lambda body: (body.volume, -body.label))
    z = np.average(largest.slices, weights=largest.weight.sum(axis=(0, 1)))
    middle = round(float(z))
    span = range(middle - _HALF_RANGE, middle + _HALF_RANGE + 1)
    centres = [_centre(z, scene) for z in span if 0 <= z < scene.labels.shape[2]]
    if not any(c is not None for c in centres):
        centres = [_centre(int(z), scene) for z in largest.slices]
    found = [c for c in centres if c is not None]
    return at(float(np.mean(found)), scene) if found else None


def _centre(z: int, scene: Scene) -> float | None:
    if scene.cord is None:
        return None
    along_x = scene.cord[:, :, z].sum(axis=1)
    total = along_x.sum()
    if total == 0:
        return None
    return float((np.arange(along_x.size) + scene.corner[0]) @ along_x / total)
