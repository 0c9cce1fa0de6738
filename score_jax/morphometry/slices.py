"""Lesions slice by slice: area, equivalent diameter, damage ratio, bridges, tilt."""

import numpy as np
from jaxtyping import Real

from score_jax.morphometry.bridges import Midsagittal
from score_jax.morphometry.extent import damage_ratios, equivalent_diameters
from score_jax.morphometry.orientation import Anatomy
from score_jax.morphometry.scene import Body, Scene
from score_jax.morphometry.table import Row


def slice_rows(
    body: Body,
    scene: Scene,
    where: Anatomy,
    plane: Midsagittal | None,
    levels: tuple[float, ...] | None,
) -> list[Row]:
    """A row for each axial slice of a lesion, from below to above.

    Areas are corrected for the cord's tilt. Bridges are those of the interpolated midsagittal
    plane; they are NaN where the lesion is beside it, and without a cord.

    Args:
      body: the lesion.
      scene: where it is.
      where: gives the slices their stored numbers.
      plane: what was measured on the midsagittal plane; None without a cord.
      levels: vertebral level of each working slice of the image, NaN for none; None: no column.
    """
    px, py, _ = scene.spacing
    cosine = scene.tilt.cos_3d[body.slices]
    lesion = body.weight.sum(axis=(0, 1)) * px * py * cosine
    cord = scene.cord_voxels[body.slices] * px * py * cosine
    diameters, ratios = equivalent_diameters(body, scene), damage_ratios(body, scene)
    nothing = np.full((body.slices.size, 2), np.nan)
    bridges = nothing if plane is None else plane.by_slice
    rows: list[Row] = []
    for i, z in enumerate(body.slices.tolist()):
        if lesion[i] == 0:
            continue
        row: Row = {"label": body.label, "slice": where.index(2, z)}
        if levels is not None:
            row["level"] = int(levels[z]) if levels[z] == levels[z] else float("nan")
        row |= {
            "lesion_area [mm2]": float(lesion[i]),
            "cord_area [mm2]": float(cord[i]),
            "axial_damage_ratio []": float(ratios[i]),
            "equivalent_diameter [mm]": float(diameters[i]),
            "dorsal_bridge_width [mm]": float(bridges[i, 0]),
            "ventral_bridge_width [mm]": float(bridges[i, 1]),
            "tilt [deg]": float(np.degrees(np.arccos(min(cosine[i], 1.0)))),
        }
        rows.append(row)
    return rows


def level_of_slices(levels: Real[np.ndarray, "x y z"]) -> tuple[float, ...]:
    """The vertebral level of each axial slice: the mean of its labels, rounded half to even.

    0 is no label; a slice without any has NaN. Source: SCT `sct_process_segmentation`.
    """
    labelled = np.count_nonzero(levels, axis=(0, 1))
    total = levels.sum(axis=(0, 1), dtype=np.float64)
    mean = np.divide(total, labelled, out=np.full(labelled.shape, np.nan), where=labelled > 0)
    return tuple(float(v) for v in np.rint(mean))
