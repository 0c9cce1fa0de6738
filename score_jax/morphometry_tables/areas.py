"""The shape of the cord and its parts in one scan: read, measured, written."""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, final

import numpy as np

from score_jax import morphometry
from score_jax.errors import GeometryError
from score_jax.imaging import Volume
from score_jax.morphometry.centerline import Method
from score_jax.morphometry.cord import Per
from score_jax.morphometry.values import probabilities
from score_jax.morphometry_tables.cases import Case
from score_jax.morphometry_tables.inputs import MaskFile, read_mask, read_on_grid
from score_jax.morphometry_tables.lesions import output_name
from score_jax.morphometry_tables.writing import write_tables

Row = dict[str, Any]
MAIN, GM, WM = "cord", "gm", "wm"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class AreaOptions:
    """How to measure; see `score_jax.morphometry.cord_shape`.

    Args:
      levels: map of vertebral levels.
      per: rows.
      gm: mask of the grey matter; white matter is the rest of the cord.
      parts: further masks by name; all get the angles of the main mask.
      centerline: mask that gives the angles instead.
      slices: first and last slice, from below.
      select_levels: vertebral levels to use.
      angle_correction: correct for the cord's tilt.
      method: smoothing of the centerline.
      smoothing: how much.
      stretch: scale each slice of a soft mask to a maximum of 1, as SCT does.
    """

    levels: Path | None = None
    per: Per = "slice"
    gm: Path | None = None
    parts: Mapping[str, Path] = field(default_factory=dict)
    centerline: Path | None = None
    slices: tuple[int, int] | None = None
    select_levels: tuple[int, ...] | None = None
    angle_correction: bool = True
    method: Method = "bspline"
    smoothing: float = 30.0
    stretch: bool = True


@final
@dataclass(frozen=True, slots=True)
class Areas:
    """The table of one scan.

    Args:
      case: its name.
      rows: SCT's columns; with several masks, ``region`` before them.
      warnings: what was odd.
      outputs: files written, by kind.
      seconds: it took.
    """

    case: str
    rows: list[Row]
    warnings: tuple[str, ...]
    outputs: dict[str, Path] = field(default_factory=dict)
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """The JSON object that `score-jax areas --json` prints."""
        return {
            "rows": self.rows,
            "warnings": self.warnings,
            "outputs": self.outputs,
            "seconds": self.seconds,
        }


def measure_areas(case: Case, options: AreaOptions, *, out: Path | None = None) -> Areas:
    """Measure the masks of a scan and write the table if `out` is given.

    Args:
      case: its main mask, usually the cord.
      options: how, and which parts.
      out: folder, or a ``.tsv`` or ``.xlsx`` file.

    Raises:
      ImageError, GeometryError: a file that cannot be used.
      OutputError: disk full, no permission.
    """
    start = time.perf_counter()
    mask = read_mask(case.mask)
    regions = _regions(mask, options)
    guide = mask.data
    if options.centerline is not None:
        guide = read_mask(MaskFile(options.centerline), mask).data
    levels = None
    if options.levels is not None:
        levels = read_on_grid(options.levels, mask, "mask and levels").data
    rows: list[Row] = []
    warnings = [f"{mask.path.name} {note}" for note in mask.notes if mask.path]
    for name, data in regions.items():
        table = morphometry.cord_shape(
            data,
            mask.affine,
            centerline=guide,
            levels=levels,
            per=options.per,
            slices=options.slices,
            select_levels=options.select_levels,
            angle_correction=options.angle_correction,
            method=options.method,
            smoothing=options.smoothing,
            stretch=options.stretch,
        )
        several = len(regions) > 1
        rows += [{"region": name, **row} if several else row for row in table]
        warnings += [f"{name}: {text}" if several else text for text in table.warnings]
    outputs: dict[str, Path] = {}
    if out is not None:
        about = {
            "Sources": {"Mask": case.mask.path.name},
            "Parameters": {k: v for k, v in asdict(options).items() if v is not None},
            "Warnings": warnings,
        }
        outputs = write_tables(
            out, output_name(case.mask.path), {"areas": rows}, about=about, below=case.folder
        )
    return Areas(case.name, rows, tuple(warnings), outputs, round(time.perf_counter() - start, 4))


def _regions(mask: Volume, options: AreaOptions) -> dict[str, np.ndarray]:
    """The masks to measure by name, the main one first."""
    regions = {MAIN: mask.data}
    if options.gm is not None:
        regions[GM] = read_mask(MaskFile(options.gm), mask).data
        cord, gm = (probabilities(regions[name], name)[0].astype(float) for name in (MAIN, GM))
        regions[WM] = np.clip(cord - gm, 0, None)
    for name, path in options.parts.items():
        if name in regions:
            raise GeometryError(f"region {name!r}: got it twice; expected each name once")
        regions[name] = read_mask(MaskFile(path), mask).data
    return regions
