"""Tables on disk: TSV with JSON sidecars (BIDS), and one workbook."""

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from score_jax import __version__
from score_jax.errors import ConfigError
from score_jax.evaluation.workbook import write_xlsx
from score_jax.imaging import write_json, write_tsv
from score_jax.morphometry_tables.columns import describe

Row = Mapping[str, Any]
_NAME = "score-jax"
_FILES = (".tsv", ".xlsx")
_OTHERS = (".csv", ".json", ".xls", ".txt", ".nii", ".gz", ".png", ".pdf", ".html")


def one_file(out: Path) -> bool:
    """Whether an output is one table's file, not a folder.

    Raises:
      ConfigError: the suffix of a file that no table is written to.
    """
    if out.suffix.lower() in _OTHERS and not out.is_dir():
        raise ConfigError(f"--out: got {out}; expected a folder, or a file .tsv or .xlsx")
    return out.suffix.lower() in _FILES and not out.is_dir()


def write_tables(
    out: Path,
    name: str,
    tables: Mapping[str, Sequence[Row]],
    *,
    about: Mapping[str, Any],
    below: PurePath = PurePath(),  # noqa: B008
    sheets: Mapping[str, Sequence[Row]] | None = None,
) -> dict[str, Path]:
    """Write the tables of a scan or of many.

    Into a folder: ``NAME_TABLE.tsv`` with a sidecar for each, the sheets as one long table
    ``NAME_distribution.tsv``, and everything in a workbook named after the first table. Into a
    file: the first table as TSV with its sidecar, or everything as a workbook.

    Args:
      out: a folder, or a file that ends in ``.tsv`` or ``.xlsx``.
      name: what the files' names begin with; may be empty.
      tables: by name, the main one first; empty ones are left out.
      about: further entries of the sidecars (sources, parameters, warnings).
      below: folder below `out`.
      sheets: further sheets of the workbook.

    Returns:
      The paths by kind.

    Raises:
      OutputError: disk full, no permission.
    """
    sheets = sheets or {}
    first = next(iter(tables))
    empty = [table for table, rows in tables.items() if not rows]
    tables = {table: rows for table, rows in tables.items() if rows}
    if one_file(out) and out.suffix.lower() == ".tsv":
        return {first: _write_tsv(out, tables[first], about)}
    written: dict[str, Path] = {}
    if one_file(out):
        book = out
    else:
        paths = {t: _table_path(out / below, name, t) for t in (*tables, *empty, "distribution")}
        for table in empty:
            _remove_ours(paths[table])
        long = dict(tables) | ({"distribution": _long(sheets)} if sheets else {})
        written = {t: _write_tsv(paths[t], rows, about) for t, rows in long.items()}
        book = written[first].with_suffix(".xlsx")
    written["workbook"] = write_xlsx(book, {**tables, **sheets})
    return written


def _table_path(folder: Path, name: str, table: str) -> Path:
    return folder / "_".join(part for part in (name, f"{table}.tsv") if part)


def _remove_ours(path: Path) -> None:
    """Remove the table that an earlier run left here: it would be taken for this run's."""
    sidecar = path.with_suffix(".json")
    if path.is_file() and sidecar.is_file() and f'"{_NAME}"' in sidecar.read_text("utf-8"):
        path.unlink()
        sidecar.unlink()


def _write_tsv(path: Path, rows: Sequence[Row], about: Mapping[str, Any]) -> Path:
    write_tsv(path, rows)
    columns = dict.fromkeys(name for row in rows for name in row)
    generated = {"GeneratedBy": [{"Name": _NAME, "Version": __version__}]}
    write_json(path.with_suffix(".json"), {**describe(columns), **generated, **about})
    return path


def _long(sheets: Mapping[str, Sequence[Row]]) -> list[Row]:
    return [
        {"sheet": sheet, "row": row.get("row", row.get("label")), "column": column, "value": value}
        for sheet, rows in sheets.items()
        for row in rows
        for column, value in row.items()
        if column not in ("row", "label")
    ]
