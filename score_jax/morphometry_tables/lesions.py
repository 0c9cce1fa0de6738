"""The lesions of one scan: read, measured, written."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, final

import numpy as np

from score_jax import morphometry
from score_jax.imaging import Volume, save
from score_jax.imaging.bids import KINDS, Name, parse, stem
from score_jax.morphometry import LesionTable
from score_jax.morphometry.finding import Outside, TiltOver
from score_jax.morphometry_tables.cases import Case
from score_jax.morphometry_tables.inputs import read_atlas, read_mask, read_on_grid
from score_jax.morphometry_tables.pictures import draw_lesions
from score_jax.morphometry_tables.writing import one_file, write_tables

Row = dict[str, Any]
_AS_STATED = "LAS"  # SCT believes the header's voxel sizes in this orientation alone


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class LesionOptions:
    """How to measure; see `score_jax.morphometry.lesions`.

    Args:
      atlas: folder of a warped atlas.
      levels: map of vertebral levels.
      per_slice: atlas sheets by axial slice instead of vertebral level.
      nli_slice: axial slice of the level of injury, as stored.
      midline: midsagittal position, as stored.
      soft: weight by the mask's probabilities.
      outside: what happens to lesion outside the cord.
      min_volume_mm3: smaller lesions are left out.
      tilt_over: what the smoothing of the centerline depends on.
      image_name: of the mean and SD columns; by default the image's file name.
    """

    atlas: Path | None = None
    levels: Path | None = None
    per_slice: bool = False
    nli_slice: int | None = None
    midline: float | None = None
    soft: bool = False
    outside: Outside = "clip"
    min_volume_mm3: float = 0.0
    tilt_over: TiltOver = "image"
    image_name: str | None = None


@final
@dataclass(frozen=True, slots=True)
class Lesions:
    """What was found in one scan.

    Args:
      case: its name.
      rows: the measures, SCT's columns.
      status: how each row came about: ``bridges``, ``outside_cord [mm3]`` ...
      slices: a row a lesion and axial slice.
      levels: a row a lesion and vertebral level.
      distribution: atlas sheets.
      warnings: what was odd.
      outputs: files written, by kind.
      seconds: it took.
    """

    case: str
    rows: list[Row]
    status: list[Row]
    slices: list[Row]
    levels: list[Row]
    distribution: Mapping[str, list[Row]]
    warnings: tuple[str, ...]
    outputs: dict[str, Path] = field(default_factory=dict)
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """The JSON object that `score-jax lesions --json` prints."""
        return {
            "lesions": self.rows,
            "status": self.status,
            "slices": self.slices,
            "levels": self.levels,
            "distribution": dict(self.distribution),
            "warnings": self.warnings,
            "outputs": self.outputs,
            "seconds": self.seconds,
        }


def measure_lesions(
    case: Case, options: LesionOptions, *, out: Path | None = None, qc: Path | None = None
) -> Lesions:
    """Measure the lesions of a scan and write what was asked for.

    Args:
      case: its files.
      options: how.
      out: folder for tables and label map, or a ``.tsv`` or ``.xlsx`` file for the table alone.
      qc: folder for a picture a lesion.

    Raises:
      ImageError, GeometryError, DatasetError: a file that cannot be used.
      OutputError: disk full, no permission.
    """
    start = time.perf_counter()
    mask = read_mask(case.mask)
    cord = None if case.cord is None else read_mask(case.cord, mask)
    image = None if case.image is None else read_on_grid(case.image, mask, "mask and image")
    table = morphometry.lesions(
        mask.data,
        None if cord is None else cord.data,
        None if image is None else image.data,
        mask.affine,
        spacing=mask.spacing if mask.axcodes == _AS_STATED else None,
        image_name=options.image_name or ("image" if case.image is None else stem(case.image)),
        nli_slice=options.nli_slice,
        midline=options.midline,
        atlas=None if options.atlas is None else read_atlas(options.atlas, mask),
        levels=None
        if options.levels is None
        else read_on_grid(options.levels, mask, "mask and levels").data,
        per_slice=options.per_slice,
        soft=options.soft,
        outside=options.outside,
        min_volume_mm3=options.min_volume_mm3,
        tilt_over=options.tilt_over,
    )
    outputs: dict[str, Path] = {}
    if out is not None:
        outputs |= _write(case, options, table, mask, out)
    if qc is not None:
        data = (None if v is None else v.data for v in (image, cord))
        drawn = draw_lesions(
            qc / case.folder, stem(case.mask.path), table, image=next(data), cord=next(data)
        )
        outputs |= {f"picture {p.stem.rpartition('-')[2]}": p for p in drawn}
    return Lesions(
        case.name,
        list(table),
        status_rows(table),
        table.slices,
        table.levels,
        table.distribution,
        tuple([*_notes(mask, cord, image), *table.warnings]),
        outputs,
        round(time.perf_counter() - start, 4),
    )


def status_rows(table: LesionTable) -> list[Row]:
    """How each row of the table came about."""
    rows: list[Row] = []
    for status in table.status:
        row = {
            "label": status.label,
            "bridges": status.bridges,
            "outside_cord [mm3]": status.outside_mm3,
        }
        if not np.isnan(status.mean_probability):
            row["mean_probability"] = status.mean_probability
        rows.append(row)
    return rows


def with_status(rows: Sequence[Row], status: Sequence[Row]) -> list[Row]:
    """The measures with their status behind, as written to files."""
    return [
        row | {k: v for k, v in s.items() if k != "label"}
        for row, s in zip(rows, status, strict=True)
    ]


def _notes(*volumes: Volume | None) -> list[str]:
    return [
        f"{v.path.name} {note}" for v in volumes if v is not None and v.path for note in v.notes
    ]


def _write(
    case: Case, options: LesionOptions, table: LesionTable, mask: Volume, out: Path
) -> dict[str, Path]:
    tables: dict[str, Sequence[Row]] = {
        "lesions": with_status(table, status_rows(table)),
        "slices": table.slices,
    }
    if table.levels:
        tables["levels"] = table.levels
    files = {"Mask": case.mask.path, "Image": case.image}
    files["Cord"] = None if case.cord is None else case.cord.path
    about = {
        "Sources": {k: v.name for k, v in files.items() if v is not None},
        "Parameters": {k: v for k, v in asdict(options).items() if v is not None},
        "Warnings": table.warnings,
    }
    name = output_name(case.mask.path)
    written = write_tables(
        out, name, tables, about=about, below=case.folder, sheets=table.distribution
    )
    if not one_file(out):
        path = out / case.folder / label_name(case.mask.path)
        save(path, table.labels, mask)
        written["labels"] = path
    return written


def output_name(path: Path) -> str:
    """What the names of a mask's tables begin with: its stem, without a BIDS suffix."""
    name = parse(path)
    if not name.is_bids or name.suffix not in KINDS:
        return stem(path)
    return str(Name(name.entities))


def label_name(path: Path) -> str:
    """The name of a mask's label map (SCT's, or BIDS's)."""
    name = parse(path)
    if not name.is_bids or name.suffix not in KINDS:
        return f"{stem(path)}_label.nii.gz"
    desc = name.entities.get("desc", "") + "numbered"
    return str(Name({**name.entities, "desc": desc}, "dseg", ".nii.gz"))
