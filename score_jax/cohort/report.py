"""The report of a cohort: from the records of its scans to the page."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from score_jax.cohort.scans import Scan
from score_jax.cohort.state import Record
from score_jax.cohort.work import flags_of
from score_jax.qc.report_page import Entry, write_report
from score_jax.qc.report_ratings import Rating

PAGE, RATINGS = "qc/report.html", "qc/ratings*.tsv"
_SHORT = {
    "label": "lesion",
    "volume [mm3]": "volume mm³",
    "length [mm]": "length mm",
    "max_axial_damage_ratio []": "damage",
    "interpolated_dorsal_bridge_width [mm]": "dorsal mm",
    "interpolated_ventral_bridge_width [mm]": "ventral mm",
}


def write_cohort_report(
    records: Mapping[Scan, Record | None], out: Path, ratings: Mapping[str, Rating] | None = None
) -> Path:
    """Write ``qc/report.html`` over every scan that a run has seen; its first page.

    Raises:
      OutputError: disk full, no permission.
    """
    page = out / PAGE
    entries = [_entry(scan, record) for scan, record in records.items() if record is not None]
    write_report(page, entries, title="Spinal cord segmentations", ratings=ratings)
    return page


def _entry(scan: Scan, record: Record) -> Entry:
    pictures = record.get("Pictures", {})
    lesions = record.get("Lesions")
    areas = record.get("AreasMM2", {})
    return Entry(
        id=scan.id,
        flags=flags_of(record),
        seconds=record["Seconds"].get("total"),
        regions=pictures.get("Regions", list(record.get("Masks", {}))),
        volumes=record.get("VolumesMM3", {}),
        areas={n: [math.nan if v is None else v for v in a] for n, a in areas.items()},
        lesions=None if lesions is None else [_lesion(row) for row in lesions if row["label"] > 0],
        image=_beside(pictures.get("Image", "")),
        contours=_beside(pictures.get("Contours", "")),
        slices=pictures.get("Slices", []),
    )


def _lesion(row: Mapping[str, Any]) -> dict[str, Any]:
    return {short: row[name] for name, short in _SHORT.items() if name in row}


def _beside(path: str) -> str:
    """A path below the output folder, from the page's own."""
    return path.removeprefix("qc/")
