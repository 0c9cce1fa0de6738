"""What lesions are measured against: the cord around them, its tilt, the midsagittal plane."""

from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Bool, Float64, Int32
from scipy import ndimage

from score_jax.morphometry.centerline import Tilt
from score_jax.morphometry.values import HALF


@final
@dataclass(frozen=True, slots=True)
class Scene:
    """Lesions and cord along the working axes, cropped along x and y but not along z.

    Args:
      labels: numbered lesions inside the cord; what is not measured is 0.
      weight: how much of a voxel is lesion; None if all of it is.
      cord: its values, 0 to 1; None without a cord.
      cord_voxels: their sum in each axial slice; NaN without a cord.
      spacing: mm.
      tilt: of every slice.
      corner: index of the first voxel along x and y in the whole image.
    """

    labels: Int32[np.ndarray, "x y z"]
    weight: Float64[np.ndarray, "x y z"] | None
    cord: Float64[np.ndarray, "x y z"] | None
    cord_voxels: Float64[np.ndarray, " z"]
    spacing: tuple[float, float, float]
    tilt: Tilt
    corner: tuple[int, int]

    @property
    def voxel_mm3(self) -> float:
        """Volume of a voxel."""
        px, py, pz = self.spacing
        return px * py * pz


@final
@dataclass(frozen=True, slots=True)
class Body:
    """One lesion, cut out of a scene.

    Args:
      label: its number.
      box: where it lies in the scene.
      weight: 0 outside the lesion, its share of the voxel inside (1 unless the mask is soft).
      core: voxels that are lesion by at least a half; they give the extents.
    """

    label: int
    box: tuple[slice, slice, slice]
    weight: Float64[np.ndarray, "x y z"]
    core: Bool[np.ndarray, "x y z"]

    @property
    def slices(self) -> np.ndarray:
        """Axial slices of the box, numbered in the scene."""
        return np.arange(self.box[2].start, self.box[2].stop)

    @property
    def volume(self) -> float:
        """In voxels."""
        return float(self.weight.sum())


def bodies(scene: Scene) -> list[Body]:
    """The lesions of a scene in the order of their numbers; none for a scene without."""
    found = []
    for label, box in enumerate(ndimage.find_objects(scene.labels), 1):
        if box is None:
            continue
        inside = scene.labels[box] == label
        weight = inside.astype(np.float64)
        if scene.weight is not None:
            weight *= scene.weight[box]
        found.append(Body(label, box, weight, inside & (weight >= HALF)))
    return found
