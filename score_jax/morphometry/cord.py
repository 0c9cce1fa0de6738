"""`cord_shape`: area and shape of the cord or a part of it, per slice, per level or over all.

Source: Spinal Cord Toolbox 7.4 (commit 3b3c5b22), `sct_process_segmentation`. Columns and slice
numbers (from below, whatever the orientation of the file) are its own.
"""

from collections.abc import Sequence
from typing import Literal, final

import numpy as np
from jaxtyping import Float64, Real, Shaped

from score_jax._types import Affine
from score_jax.errors import GeometryError
from score_jax.morphometry.centerline import Method, Tilt, level, tilt
from score_jax.morphometry.orientation import Anatomy, anatomy
from score_jax.morphometry.section import sections
from score_jax.morphometry.shape import METRICS, shape_of
from score_jax.morphometry.slices import level_of_slices
from score_jax.morphometry.table import Row
from score_jax.morphometry.values import probabilities

Per = Literal["slice", "level", "all"]
SLICE, LEVEL, PMJ, LENGTH = "slice_IS_RPI", "VertLevel", "DistancePMJ", "SUM(length)"
COLUMNS = (SLICE, LEVEL, PMJ, *(f"{s}({m})" for m in METRICS for s in ("MEAN", "STD")), LENGTH)


@final
class ShapeTable(list[Row]):
    """Rows of `cord_shape`: dicts whose keys are SCT's columns; a missing number is NaN.

    Args:
      rows: as many as slices or levels, or one.
      by_slice: each metric in every slice of the image, from below; NaN where there is none.
      warnings: what was odd.
      tilt: the angles that were used.
    """

    def __init__(
        self,
        rows: list[Row],
        *,
        by_slice: dict[str, Float64[np.ndarray, " z"]],
        warnings: tuple[str, ...],
        tilt: Tilt,
    ) -> None:
        super().__init__(rows)
        self.columns = COLUMNS
        self.by_slice = by_slice
        self.warnings = warnings
        self.tilt = tilt

    def column(self, name: str) -> np.ndarray:
        """One column of numbers, as float64."""
        return np.array([row[name] for row in self], np.float64)


def cord_shape(
    mask: Shaped[np.ndarray, "i j k"],
    affine: Affine | None = None,
    *,
    spacing: tuple[float, ...] | None = None,
    centerline: Shaped[np.ndarray, "_ _ _"] | None = None,
    levels: Real[np.ndarray, "_ _ _"] | None = None,
    per: Per = "slice",
    slices: tuple[int, int] | None = None,
    select_levels: Sequence[int] | None = None,
    angle_correction: bool = True,
    method: Method = "bspline",
    smoothing: float = 30.0,
    stretch: bool = True,
) -> ShapeTable:
    """Area, diameters, eccentricity, orientation, solidity, angles and length of a mask.

    Slices without any of the mask have NaN in every metric; so has a level, or the whole of an
    empty mask. Means and (population) standard deviations leave NaN out.

    Args:
      mask: cord, grey or white matter, a lesion ...; soft masks count by their values.
      affine: voxel index to RAS+ mm, any orientation.
      spacing: voxel size in mm in array order, if it is known better than from the affine.
      centerline: the mask that gives the angles; by default `mask` itself. Take the cord for its
        parts, or their areas do not add up.
      levels: vertebral level of each voxel, 0 where there is none.
      per: a row for each slice of the image, for each level, or one for all.
      slices: first and last slice to use, counted from below.
      select_levels: vertebral levels to use.
      angle_correction: correct for the angle between cord and slices.
      method: smoothing of the centerline.
      smoothing: SCT's default is 30.
      stretch: scale each slice's values to a maximum of 1, as SCT does. False leaves a soft
        mask's values alone.

    Raises:
      GeometryError: no affine, different shapes, no such slice or level, levels missing.
      ImageError: a mask that is none.
    """
    where = _anatomy(mask, centerline, levels, affine, spacing)
    values, remark = probabilities(where.turn(mask), "mask")
    warnings = [remark] if remark else []
    guide = values if centerline is None else probabilities(where.turn(centerline), "centerline")[0]
    tilted = _tilt(guide, where, method, smoothing, angle_correction, warnings)
    by_slice = _measure(values, where, tilted, stretch)
    if not values.any():
        warnings.append("mask is empty")
    vertebral = None if levels is None else level_of_slices(where.turn(levels))
    groups = _groups(where.shape[2], vertebral, per, slices, select_levels)
    rows = [_row(chosen, vertebral, by_slice, per, select_levels) for chosen in groups]
    return ShapeTable(rows, by_slice=by_slice, warnings=tuple(warnings), tilt=tilted)


def _anatomy(
    mask: np.ndarray,
    centerline: np.ndarray | None,
    levels: np.ndarray | None,
    affine: Affine | None,
    spacing: tuple[float, ...] | None,
) -> Anatomy:
    if affine is None:
        raise GeometryError("cord_shape: got no affine; expected the 4 x 4 matrix of the grid")
    for name, array in (("centerline", centerline), ("levels", levels)):
        if array is not None and array.shape != mask.shape:
            raise GeometryError(
                f"{name}: got shape {array.shape}; expected the mask's {mask.shape}"
            )
    return anatomy(affine, mask.shape, spacing)


def _tilt(
    guide: Shaped[np.ndarray, "x y z"],
    where: Anatomy,
    method: Method,
    smoothing: float,
    angle_correction: bool,
    warnings: list[str],
) -> Tilt:
    z = np.flatnonzero(guide.any(axis=(0, 1)))
    if not angle_correction or z.size == 0:
        return level(where.shape[2])
    if z.size == 1:
        warnings.append("the centerline is on one slice; the cord is taken to be upright")
    reach = int(z[-1] - z[0]) + 1
    return tilt(guide, where.spacing, smoothing=smoothing, slices=reach, method=method)


def _measure(
    mask: Shaped[np.ndarray, "x y z"], where: Anatomy, tilted: Tilt, stretch: bool
) -> dict[str, Float64[np.ndarray, " z"]]:
    measures = {name: np.full(where.shape[2], np.nan) for name in (*METRICS, "length")}
    ap, rl = tilted.angle_ap, tilted.angle_rl
    by_slice = {
        "angle_AP": np.degrees(ap),
        "angle_RL": np.degrees(rl),
        "length": where.spacing[2] / (np.cos(ap) * np.cos(rl)),
    }
    for z, section in sections(mask, where.spacing, tilted, stretch=stretch):
        known = {name: float(values[z]) for name, values in by_slice.items()}
        for name, value in (shape_of(section) | known).items():
            measures[name][z] = value
    return measures


def _groups(
    count: int,
    levels: tuple[float, ...] | None,
    per: Per,
    slices: tuple[int, int] | None,
    select_levels: Sequence[int] | None,
) -> list[list[int]]:
    """The slices that each row is about, from below."""
    if levels is None and (per == "level" or select_levels is not None):
        raise GeometryError("levels: got none; expected a map of vertebral levels")
    chosen = list(range(count))
    if slices is not None:
        first, last = slices
        if not 0 <= first <= last < count:
            raise GeometryError(f"slices: got {first}:{last}; expected a part of 0:{count - 1}")
        chosen = list(range(first, last + 1))
    if levels is not None and select_levels is not None:
        missing = sorted(set(select_levels) - {int(v) for v in levels if v == v})
        if missing:
            there = sorted({int(v) for v in levels if v == v})
            raise GeometryError(f"levels: got {missing}; expected some of {there}")
        chosen = [z for z in chosen if levels[z] in select_levels]
    if per == "all":
        return [chosen]
    if per == "slice" or levels is None:
        return [[z] for z in chosen]
    present = dict.fromkeys(levels[z] for z in chosen if levels[z] == levels[z])
    return [[z for z in chosen if levels[z] == value] for value in present]


def _row(
    chosen: list[int],
    levels: tuple[float, ...] | None,
    by_slice: dict[str, Float64[np.ndarray, " z"]],
    per: Per,
    select_levels: Sequence[int] | None,
) -> Row:
    row: Row = {SLICE: chosen[0] if per == "slice" else _ranges(chosen)}
    row[LEVEL] = float("nan")
    if levels is not None and (per != "all" or select_levels is not None):
        named = sorted({int(levels[z]) for z in chosen if levels[z] == levels[z]})
        row[LEVEL] = named[0] if len(named) == 1 else _ranges(named) if named else float("nan")
    row[PMJ] = float("nan")
    for name in METRICS:
        values = by_slice[name][chosen]
        if len(chosen) == 1:
            row |= {f"MEAN({name})": float(values[0]), f"STD({name})": float(values[0] * 0)}
            continue
        values = values[~np.isnan(values)]
        row[f"MEAN({name})"] = float(values.mean()) if values.size else float("nan")
        row[f"STD({name})"] = float(values.std()) if values.size else float("nan")
    lengths = by_slice["length"][chosen]
    row[LENGTH] = float("nan") if np.isnan(lengths).all() else float(np.nansum(lengths))
    return row


def _ranges(numbers: list[int]) -> str:
    """Ascending numbers as ranges: [1, 2, 3, 7] is "1:3;7"."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ";".join(f"{p[0]}:{p[-1]}" if len(p) > 1 else str(p[0]) for p in parts)
