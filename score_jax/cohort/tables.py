"""The group level: every scan's numbers in one table a kind, and what failed."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from score_jax import __version__
from score_jax.cohort import state
from score_jax.cohort.scans import NAME, Scan, open_output
from score_jax.cohort.state import Record
from score_jax.cohort.work import flags_of
from score_jax.errors import DatasetError
from score_jax.imaging import write_json, write_tsv
from score_jax.morphometry_tables.columns import describe
from score_jax.qc.report_ratings import Rating

Row = dict[str, Any]
_OWN = {
    "participant_id": "subject, as in participants.tsv",
    "session_id": "session; n/a without sessions",
    "scan": "name of the image",
    "region": "structure that was measured",
    "slices": "axial slices that hold the structure",
    "area_mean [mm2]": "mean area over these slices, at a right angle to the cord",
    "area_sd [mm2]": "sample standard deviation over these slices",
    "area_min [mm2]": "smallest",
    "area_max [mm2]": "largest",
    "volume [mm3]": "voxels of the mask times the volume of a voxel",
    "lesions": "number of lesions; n/a if nobody looked for lesions",
    "seconds": "it took, without waiting for other scans",
    "flags": "reasons to look at the segmentation, joined by ;",
    "rating": "what a person said of it",
    "comment": "what a person wrote about it",
    "status": "done, failed (as the last run left it) or missing (never run)",
    "error": "why it failed",
    "hint": "what mends it",
}


def records_of(scans: Sequence[Scan], out: Path) -> dict[Scan, Record | None]:
    """The record of every scan, None for those that no run has seen."""
    return {scan: state.read_record(out, scan) for scan in scans}


def write_group(
    scans: Sequence[Scan],
    records: Mapping[Scan, Record | None],
    root: Path,
    out: Path,
    ratings: Mapping[str, Rating] | None = None,
) -> dict[str, Path]:
    """Write ``group_scans.tsv``, ``group_areas.tsv``, ``group_lesions.tsv``, ``group_failed.tsv``.

    Scans rated fail or artefact stay in: the table says so, and what to leave out is the
    analyst's word. A table without rows is not written, and one of an earlier run is removed.

    Args:
      scans: of the dataset.
      records: of each of them, as `records_of`.
      root: the dataset.
      out: the output folder.
      ratings: what people said, by scan.

    Returns:
      Paths by table.

    Raises:
      DatasetError: no scan was done yet.
      OutputError: disk full, no permission.
    """
    done = {s: r for s, r in records.items() if r is not None and r["Status"] == state.DONE}
    if not done:
        raise DatasetError(
            f"{out}: got no finished scan of {root}; expected at least one",
            hint="run the participant level first",
        )
    open_output(out, root)
    tables = {
        "scans": [_scan_row(scan, records[scan], ratings or {}) for scan in scans],
        "areas": [row for scan, record in done.items() for row in _area_rows(scan, record)],
        "lesions": [row for scan, record in done.items() for row in _lesion_rows(scan, record)],
        "failed": [row for scan in scans for row in _failed_rows(scan, records[scan])],
    }
    written = {}
    for name, rows in tables.items():
        path = out / f"group_{name}.tsv"
        if rows:
            written[name] = write_table(path, rows)
            continue
        for old in (path, path.with_suffix(".json")):
            old.unlink(missing_ok=True)
    return written


def write_table(path: Path, rows: Sequence[Row], own: Mapping[str, str] | None = None) -> Path:
    """Write rows as TSV with a sidecar that describes the columns.

    Args:
      path: the ``.tsv`` file.
      rows: the same kind of row, a cell may be missing.
      own: what columns hold that the package's other tables do not have.
    """
    columns = list(dict.fromkeys(name for row in rows for name in row))
    write_tsv(path, rows, columns)
    about = {name: _column(name, {**_OWN, **(own or {})}) for name in columns}
    generated = {"GeneratedBy": [{"Name": NAME, "Version": __version__}]}
    write_json(path.with_suffix(".json"), {**about, **generated})
    return path


def _column(name: str, own: Mapping[str, str]) -> dict[str, str]:
    if name not in own:
        return describe([name])[name]
    unit = name.partition(" [")[2].rstrip("]")
    return {"Description": own[name]} | ({"Units": unit} if unit else {})


def _who(scan: Scan) -> Row:
    return {
        "participant_id": scan.subject,
        "session_id": scan.session or None,
        "scan": scan.id,
    }


def _scan_row(scan: Scan, record: Record | None, ratings: Mapping[str, Rating]) -> Row:
    rating = ratings.get(scan.id)
    said = {
        "rating": rating.rating or None if rating else None,
        "comment": rating.comment or None if rating else None,
    }
    if record is None:
        return {**_who(scan), "status": "missing", **said}
    lesions = record.get("Lesions")
    return {
        **_who(scan),
        "status": record["Status"],
        "flags": ";".join(dict.fromkeys(flag.kind for flag in flags_of(record))) or None,
        **said,
        "lesions": None if lesions is None else sum(row["label"] > 0 for row in lesions),
        "seconds": record["Seconds"].get("total"),
    }


def _area_rows(scan: Scan, record: Record) -> Iterable[Row]:
    areas = record.get("AreasMM2", {})
    for region, mm3 in record["VolumesMM3"].items():
        values = np.array([math.nan if v is None else v for v in areas.get(region, [])])
        values = values[~np.isnan(values)]
        some, two = values.size > 0, values.size > 1
        yield {
            **_who(scan),
            "region": region,
            "volume [mm3]": mm3,
            "slices": values.size if region in areas else None,
            "area_mean [mm2]": values.mean() if some else None,
            "area_sd [mm2]": values.std(ddof=1) if two else None,
            "area_min [mm2]": values.min() if some else None,
            "area_max [mm2]": values.max() if some else None,
        }


def _lesion_rows(scan: Scan, record: Record) -> Iterable[Row]:
    for row in record.get("Lesions", []):
        yield {**_who(scan), **row}


def _failed_rows(scan: Scan, record: Record | None) -> Iterable[Row]:
    if record is not None and record["Status"] == state.FAILED:
        error = record["Error"]
        yield {**_who(scan), "error": error["Message"], "hint": error["Hint"] or None}
