"""Evaluations on disk: JSON, TSV with sidecars (BIDS), and a workbook."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from score_jax._types import PathLike
from score_jax.evaluation import workbook
from score_jax.evaluation.run import Evaluation
from score_jax.imaging import write_json, write_tsv
from score_jax.metrics import DEFINITIONS

Row = Mapping[str, Any]

_COLUMNS = {
    "case": "name that prediction and reference share",
    "region": "structure that was compared",
    "score": "name of the score",
    "mean": "mean over the cases that have a value",
    "sd": "standard deviation over them, ddof 1",
    "median": "median over them",
    "min": "smallest",
    "max": "largest",
    "n": "cases with a value",
    "n_missing": "cases without",
    "slice": "index of the slice in the reference's file, from 0",
}


def write(found: Evaluation, out: PathLike) -> list[Path]:
    """Write an evaluation to the folder `out`; every file whole or not at all.

    ``summary.json`` (all of it), ``summary.tsv`` (a row a region and score), ``scores.tsv`` (a row
    a case and region), ``slices.tsv`` (preset ``score``), each TSV with a JSON sidecar that
    describes its columns, and ``scores.xlsx`` with the same tables if openpyxl is installed.

    Raises:
      OutputError: disk full, no permission.
    """
    folder = Path(out)
    tables = {"scores": _scores(found), "summary": _summary(found)}
    if any(score.slices for score in found.scores):
        tables["slices"] = _slices(found)
    paths = [folder / "summary.json"]
    write_json(paths[0], found.as_dict())
    for name, rows in tables.items():
        path = folder / f"{name}.tsv"
        write_tsv(path, rows)
        # summary.json is the summary itself
        sidecar = folder / ("summary_columns.json" if name == "summary" else f"{name}.json")
        write_json(sidecar, columns(rows))
        paths += [path, sidecar]
    if workbook.available():
        paths.append(workbook.write_xlsx(folder / "scores.xlsx", tables))
    return paths


def columns(rows: Sequence[Row]) -> dict[str, dict[str, str]]:
    """What the columns of a table hold, as a BIDS sidecar says it."""
    described: dict[str, dict[str, str]] = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        known = DEFINITIONS.get(name)
        described[name] = {"Description": known.description if known else _COLUMNS[name]}
        if known and known.unit:
            described[name]["Units"] = known.unit
    return described


def _scores(found: Evaluation) -> list[Row]:
    return [{"case": s.case, "region": s.region, **s.values} for s in found.scores]


def _summary(found: Evaluation) -> list[Row]:
    return [
        {"region": region, "score": name, **statistics}
        for region, by_name in found.summary.items()
        for name, statistics in by_name.items()
    ]


def _slices(found: Evaluation) -> list[Row]:
    return [{"case": s.case, "region": s.region, **row} for s in found.scores for row in s.slices]
