"""Volume, length, width, equivalent diameter and damage ratio of a lesion.

Source: Spinal Cord Toolbox 7.4 (commit 3b3c5b22), `sct_analyze_lesion`; docs/morphometry.md has
every formula. For a soft mask counts become sums of its values; a binary one gives SCT's numbers.
"""

import numpy as np
from jaxtyping import Float64

from score_jax.morphometry.scene import Body, Scene

LENGTH, WIDTH, VOLUME = "length [mm]", "width [mm]", "volume [mm3]"
DIAMETER, DAMAGE = "max_equivalent_diameter [mm]", "max_axial_damage_ratio []"
COLUMNS = (VOLUME, LENGTH, WIDTH, DIAMETER, DAMAGE)


def extent(body: Body, scene: Scene) -> dict[str, float]:
    """The five measures of a lesion; without a cord, all but the volume are NaN.

    Volume is not corrected for tilt. Length counts each occupied slice once, so gaps add nothing.
    Width is the greatest front-to-back reach in any slice, over all of the lesion's columns.
    """
    measures: dict[str, float] = dict.fromkeys(COLUMNS, float("nan"))
    measures[VOLUME] = body.volume * scene.voxel_mm3
    if scene.cord is None:
        return measures
    pz = scene.spacing[2]
    z = body.slices
    measures[LENGTH] = float((body.weight.max(axis=(0, 1)) * pz / scene.tilt.cos_3d[z]).sum())
    measures[WIDTH] = float((_reach(body) * scene.spacing[1] * scene.tilt.cos_sagittal[z]).max())
    measures[DIAMETER] = float(equivalent_diameters(body, scene).max())
    measures[DAMAGE] = float(damage_ratios(body, scene).max())
    return measures


def equivalent_diameters(body: Body, scene: Scene) -> Float64[np.ndarray, " z"]:
    """Diameter in mm of the circle with the lesion's tilt-corrected area, slice by slice."""
    px, py, _ = scene.spacing
    area = body.weight.sum(axis=(0, 1)) * px * py * scene.tilt.cos_3d[body.slices]
    return 2 * np.sqrt(area / np.pi)


def damage_ratios(body: Body, scene: Scene) -> Float64[np.ndarray, " z"]:
    """Share of the cord that is lesion, slice by slice; 0 in slices the lesion leaves out.

    NaN everywhere without a cord.
    """
    lesion = body.weight.sum(axis=(0, 1))
    cord = scene.cord_voxels[body.slices]
    return np.divide(lesion, cord, out=np.zeros_like(cord), where=lesion > 0)


def _reach(body: Body) -> Float64[np.ndarray, " z"]:
    occupied = np.asarray(body.core.any(axis=0))
    first = occupied.argmax(axis=0)
    last = occupied.shape[0] - 1 - occupied[::-1].argmax(axis=0)
    return np.where(occupied.any(axis=0), last - first + 1, 0).astype(np.float64)


def intensity(body: Body, image: Float64[np.ndarray, "x y z"]) -> tuple[float, float]:
    """Mean and population standard deviation of an image over a lesion, weighted if it is soft.

    Voxels where the image is exactly 0 are left out, as SCT does, and those that are not finite;
    NaN if none is left.

    Args:
      body: the lesion.
      image: along the working axes, cropped as the scene.
    """
    values = image[body.box]
    use = (body.weight > 0) & (values != 0) & np.isfinite(values)
    if not use.any():
        return float("nan"), float("nan")
    values, weight = values[use], body.weight[use]
    mean = np.average(values, weights=weight)
    return float(mean), float(np.sqrt(np.average((values - mean) ** 2, weights=weight)))
