"""Tissue bridges: what is left of the cord in front of and behind a lesion.

Bridges are whole voxels along the image's front-back axis, corrected for the cord's tilt as seen
from the side; they are not Euclidean distances. Source: Spinal Cord Toolbox 7.4 (commit 3b3c5b22),
`sct_analyze_lesion`; the measure is that of Huber et al., Neurology 2017, and Pfyffer et al.,
J Neurotrauma 2021.
"""

from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Bool, Float64, Int

from score_jax.morphometry.midsagittal import Midline
from score_jax.morphometry.scene import Body, Scene
from score_jax.morphometry.table import Span

MIDSAGITTAL, PARASAGITTAL, NONE = "midsagittal", "parasagittal", "none"
POSITION = "interpolated_midsagittal_slice"
MID_LENGTH = "length_interpolated_midsagittal_slice [mm]"
MID_WIDTH = "width_interpolated_midsagittal_slice [mm]"
DORSAL = "interpolated_dorsal_bridge_width [mm]"
VENTRAL = "interpolated_ventral_bridge_width [mm]"
TOTAL = "interpolated_total_bridge_width [mm]"
DORSAL_RATIO, VENTRAL_RATIO = "dorsal_bridge_ratio [%]", "ventral_bridge_ratio [%]"
BRIDGES = (DORSAL, VENTRAL, TOTAL)
RATIOS = (DORSAL_RATIO, VENTRAL_RATIO)


def slice_columns(number: int) -> tuple[str, str, str]:
    """Names of the three columns of a sagittal slice, numbered as stored."""
    return tuple(
        f"slice_{number}_{side}_bridge_width [mm]" for side in ("dorsal", "ventral", "total")
    )  # pyright: ignore[reportReturnType]


@final
@dataclass(frozen=True, slots=True)
class Gaps:
    """Cord behind and in front of a lesion in each sagittal and axial slice of its box, in voxels.

    Where the lesion is not, the numbers mean nothing.

    Args:
      lesion: where the lesion is.
      dorsal: cord voxels from its rear surface to the lesion.
      ventral: from the lesion to its front surface.
      rear: first cord voxel.
      front: last cord voxel.
    """

    lesion: Bool[np.ndarray, "x z"]
    dorsal: Int[np.ndarray, "x z"]
    ventral: Int[np.ndarray, "x z"]
    rear: Int[np.ndarray, "x z"]
    front: Int[np.ndarray, "x z"]


def gaps(body: Body, scene: Scene) -> Gaps:
    """The gaps around a lesion; holes in the cord are ignored, a lesion at the surface has 0."""
    assert scene.cord is not None
    x, y, z = body.box
    cord = scene.cord[x, :, z] > 0
    rear, front = _ends(cord)
    first, last = _ends(body.core)
    dorsal = np.maximum(first + y.start - rear, 0)
    ventral = np.maximum(front - last - y.start, 0)
    return Gaps(np.asarray(body.core.any(axis=1)), dorsal, ventral, rear, front)


def _ends(mask: Bool[np.ndarray, "x y z"]) -> tuple[np.ndarray, np.ndarray]:
    return mask.argmax(axis=1), mask.shape[1] - 1 - mask[:, ::-1].argmax(axis=1)


def per_sagittal_slice(found: Gaps, body: Body, scene: Scene) -> dict[int, tuple[float, ...]]:
    """Narrowest dorsal and ventral bridge and their sum, mm, by sagittal slice of the scene.

    The two may come from different axial slices, so their sum need not occur anywhere.
    """
    scale = scene.spacing[1] * scene.tilt.cos_sagittal[body.slices]
    widths = {}
    for x in np.flatnonzero(found.lesion.any(axis=1)):
        on = found.lesion[x]
        dorsal = float((found.dorsal[x] * scale)[on].min())
        ventral = float((found.ventral[x] * scale)[on].min())
        widths[int(x) + body.box[0].start] = (dorsal, ventral, dorsal + ventral)
    return widths


@final
@dataclass(frozen=True, slots=True)
class Midsagittal:
    """What is measured on the interpolated midsagittal plane.

    Args:
      kind: ``midsagittal``, ``parasagittal`` or ``none`` (see `table.Status`).
      dorsal: the narrowest bridge, or None.
      ventral: likewise.
      length: of the lesion on the plane, mm.
      width: likewise.
      total: sum of the bridges, mm.
      by_slice: dorsal and ventral bridge in mm for each axial slice of the lesion's box (NaN where
        it is not on the plane).
    """

    kind: str
    dorsal: Span | None
    ventral: Span | None
    length: float
    width: float
    by_slice: Float64[np.ndarray, "z two"]

    @property
    def total(self) -> float:
        """Sum of the narrowest bridges, mm; NaN if there is none."""
        if self.dorsal is None or self.ventral is None:
            return float("nan")
        return self.dorsal.mm + self.ventral.mm

    def row(self) -> dict[str, float]:
        """The columns of the table; ratios of no bridge at all are 0, of an unknown one NaN."""
        nan = float("nan")
        dorsal = self.dorsal.mm if self.dorsal else nan
        ventral = self.ventral.mm if self.ventral else nan
        total = self.total
        return {
            MID_LENGTH: self.length,
            MID_WIDTH: self.width,
            DORSAL: dorsal,
            VENTRAL: ventral,
            TOTAL: total,
            DORSAL_RATIO: 0.0 if total == 0 else 100 * dorsal / total,
            VENTRAL_RATIO: 0.0 if total == 0 else 100 * ventral / total,
        }


def midsagittal(body: Body, scene: Scene, midline: Midline, found: Gaps) -> Midsagittal:
    """Length, width and bridges of a lesion on the midsagittal plane.

    Bridges are interpolated between the two slices in every axial slice that has the lesion on
    both; where only one has it, that one counts alone. A lesion beside the plane gets half of the
    cord's narrowest front-back diameter at its level for either bridge.
    """
    first, second = (_sheet(body.weight, x, body) for x in (midline.first, midline.second))
    length, width = _length_and_width(midline.mix(first, second), body, scene)
    widths, on = _interpolated_gaps(found, body, scene, midline)
    if not on.any():
        proxy = cord_diameter(body.slices[body.core.any(axis=(0, 1))], scene, midline)
        kind = PARASAGITTAL if proxy else NONE
        dorsal, ventral = proxy or (None, None)
        return Midsagittal(kind, dorsal, ventral, length, width, widths)
    dorsal, ventral = (_span(widths[:, side], side, body, midline, found) for side in (0, 1))
    return Midsagittal(MIDSAGITTAL, dorsal, ventral, length, width, widths)


def cord_diameter(
    slices: Int[np.ndarray, " n"], scene: Scene, midline: Midline
) -> tuple[Span, Span] | None:
    """Two halves of the narrowest front-back diameter of the cord on the midsagittal plane.

    The diameter is a count of cord voxels (holes subtract) in those of the given axial slices that
    have cord on both sagittal ones; None if there is no such slice.
    """
    assert scene.cord is not None
    cord = scene.cord[:, :, slices] > 0
    first, second = (cord[x].sum(axis=0) for x in (midline.first, midline.second))
    both = (first > 0) & (second > 0)
    if not both.any():
        return None
    mm = midline.mix(first, second) * scene.spacing[1] * scene.tilt.cos_sagittal[slices]
    mm[~both] = np.inf
    at = int(mm.argmin())
    rows = np.flatnonzero(cord[midline.first, :, at])
    low, high = float(rows[0]) - 0.5, float(rows[-1]) + 0.5
    half, z = float(mm[at]) / 2, int(slices[at])
    middle = (low + high) / 2
    return Span(half, z, (low, middle)), Span(half, z, (middle, high))


def _sheet(weight: np.ndarray, x: int, body: Body) -> np.ndarray:
    """The lesion on a sagittal slice of the scene; zeros if it does not reach it."""
    inside = x - body.box[0].start
    return weight[inside] if 0 <= inside < weight.shape[0] else np.zeros(weight.shape[1:])


def _length_and_width(
    sheet: Float64[np.ndarray, "y z"], body: Body, scene: Scene
) -> tuple[float, float]:
    _, py, pz = scene.spacing
    cosine = scene.tilt.cos_sagittal[body.slices]
    total, voxels = sheet.sum(axis=0), (sheet > 0).sum(axis=0)
    mean = np.divide(total, voxels, out=np.zeros_like(total), where=voxels > 0)
    return float((mean * pz / cosine).sum()), float((total * py * cosine).max())


def _interpolated_gaps(
    found: Gaps, body: Body, scene: Scene, midline: Midline
) -> tuple[Float64[np.ndarray, "z two"], Bool[np.ndarray, " z"]]:
    rows = [x - body.box[0].start for x in (midline.first, midline.second)]
    inside = [0 <= row < found.lesion.shape[0] for row in rows]
    nothing = np.zeros(found.lesion.shape[1], bool)
    on1, on2 = (found.lesion[r] if i else nothing for r, i in zip(rows, inside, strict=True))
    scale = scene.spacing[1] * scene.tilt.cos_sagittal[body.slices]
    widths = np.full((scale.size, 2), np.nan)
    for side, gap in enumerate((found.dorsal, found.ventral)):
        one, two = (gap[r] if i else nothing * 0 for r, i in zip(rows, inside, strict=True))
        mixed = np.where(on1 & on2, midline.mix(one, two), np.where(on1, one, two))
        widths[:, side] = np.where(on1 | on2, mixed * scale, np.nan)
    return widths, on1 | on2


def _span(
    widths: Float64[np.ndarray, " z"], side: int, body: Body, midline: Midline, found: Gaps
) -> Span:
    at = int(np.nanargmin(widths))
    rows = [x - body.box[0].start for x in (midline.first, midline.second)]
    row = next(r for r in rows if 0 <= r < found.lesion.shape[0] and found.lesion[r, at])
    if side == 0:
        low = float(found.rear[row, at]) - 0.5
        ends = (low, low + float(found.dorsal[row, at]))
    else:
        high = float(found.front[row, at]) + 0.5
        ends = (high - float(found.ventral[row, at]), high)
    return Span(float(widths[at]), int(body.slices[at]), ends)
