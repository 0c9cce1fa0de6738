"""Tables (TSV), JSON and text: read with errors that name the file, written whole or not at all.

A missing number is ``n/a`` in TSV (as BIDS says) and ``null`` in JSON.
"""

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from score_jax._types import PathLike
from score_jax.errors import DatasetError
from score_jax.imaging.files import atomic

MISSING = "n/a"
_MISSING = {"", "n/a", "na", "nan", "null", "none"}

Row = dict[str, str | None]


def write_text(path: PathLike, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: PathLike, value: Any) -> None:
    """Write `value` as JSON: NaN and infinities become null, arrays lists, paths strings."""
    text = json.dumps(plain(value), indent=1, allow_nan=False, ensure_ascii=False)
    write_text(path, text + "\n")


def read_json(path: PathLike) -> Any:
    """Read a JSON file.

    Raises:
      DatasetError: missing, not UTF-8 or not JSON; says the line.
    """
    try:
        return json.loads(_text(path))
    except json.JSONDecodeError as error:
        raise DatasetError(
            f"{path}: got text that is not JSON at line {error.lineno}, column {error.colno} "
            f"({error.msg}); expected JSON"
        ) from None
    except RecursionError:
        raise DatasetError(f"{path}: got JSON nested too deep; expected a plain object") from None


def write_tsv(
    path: PathLike, rows: Iterable[Mapping[str, Any]], columns: Sequence[str] | None = None
) -> None:
    """Write rows as TSV; NaN, infinities, None and absent cells become ``n/a``.

    Args:
      path: the file.
      rows: one mapping a row.
      columns: their order; by default every key in the order of first appearance.
    """
    rows = list(rows)
    names = (
        list(columns) if columns is not None else list(dict.fromkeys(k for r in rows for k in r))
    )
    lines = [names, *([_cell(row.get(name)) for name in names] for row in rows)]
    write_text(path, "".join("\t".join(line) + "\n" for line in lines))


def read_table(path: PathLike) -> list[Row]:
    """Rows of a TSV or CSV file (by suffix), as text; ``n/a`` and empty cells become None.

    Raises:
      DatasetError: missing, not UTF-8, no header line, a column named twice, or a row with
        another number of cells than the header.
    """
    separator = "," if Path(path).suffix.lower() == ".csv" else "\t"
    quoting = csv.QUOTE_MINIMAL if separator == "," else csv.QUOTE_NONE  # BIDS knows no quotes
    source = io.StringIO(_text(path), newline="")
    try:
        lines = [
            line for line in csv.reader(source, delimiter=separator, quoting=quoting) if any(line)
        ]
    except csv.Error as error:
        raise DatasetError(f"{path}: is no table ({error}); expected TSV or CSV") from None
    names = [name.strip() for name in lines[0]] if lines else []
    if not names or len(set(names)) != len(names):
        raise DatasetError(f"{path}: got the columns {names}; expected a header, each name once")
    rows: list[Row] = []
    for number, line in enumerate(lines[1:], 2):
        if len(line) != len(names):
            raise DatasetError(
                f"{path}: row {number} has {len(line)} cells; expected {len(names)} "
                f"({', '.join(names)})",
                hint="cells are separated by " + ("commas" if separator == "," else "tabs"),
            )
        cells = [cell.strip() for cell in line]
        rows.append(
            {n: None if c.lower() in _MISSING else c for n, c in zip(names, cells, strict=True)}
        )
    return rows


def read_columns(path: PathLike) -> dict[str, np.ndarray]:
    """Columns of a TSV or CSV file: float64 with NaN where every cell is a number or missing,
    text (missing cells empty) elsewhere. A table without rows gives empty columns.
    """  # noqa: D205
    rows = read_table(path)
    names = list(rows[0]) if rows else []
    return {name: _column([row[name] for row in rows]) for name in names}


def plain(value: Any) -> Any:
    """`value` in types that JSON has: NaN and infinities None, arrays lists, others text."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in (sorted(value) if isinstance(value, set) else value)]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    return str(value)


def _column(cells: list[str | None]) -> np.ndarray:
    try:
        return np.array([math.nan if cell is None else float(cell) for cell in cells], np.float64)
    except ValueError:
        return np.array(["" if cell is None else cell for cell in cells])


def _cell(value: Any) -> str:
    value = plain(value)
    if value is None:
        return MISSING
    text = repr(value) if isinstance(value, float) else str(value)
    return " ".join(text.split()) if any(c in text for c in "\t\n\r") else text


def _text(path: PathLike) -> str:
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise DatasetError(
            f"{path}: got text that is not UTF-8; expected UTF-8",
            hint="save it again as UTF-8 (in Excel: CSV UTF-8)",
        ) from None
    except OSError as error:
        raise DatasetError(f"{path}: could not be read: {error.strerror}") from None
