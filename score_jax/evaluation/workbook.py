"""Tables as a workbook (XLSX), for those who read numbers in a spreadsheet."""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from score_jax._types import PathLike
from score_jax.imaging import atomic
from score_jax.imaging.tables import plain

Rows = Sequence[Mapping[str, Any]]


def available() -> bool:
    """Whether openpyxl is installed."""
    return find_spec("openpyxl") is not None


def write_xlsx(path: PathLike, sheets: Mapping[str, Rows]) -> Path:
    """Write one sheet a table, header in bold and frozen; whole or not at all.

    Missing numbers are empty cells. Text that begins with ``=`` stays text.

    Args:
      path: the file.
      sheets: name -> rows; columns in the order of first appearance.

    Raises:
      OutputError: disk full, no permission.
    """
    from openpyxl import Workbook
    from openpyxl.styles import Font
    from openpyxl.utils import get_column_letter

    book = Workbook()
    book.remove(book.worksheets[0])
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        columns = list(dict.fromkeys(key for row in rows for key in row))
        sheet.append(columns)
        for row in rows:
            sheet.append([plain(row.get(column)) for column in columns])
        for cells in sheet.iter_rows():
            for cell in cells:
                if cell.data_type == "f":  # a name that looks like a formula
                    cell.data_type = "s"
        for number, column in enumerate(columns, 1):
            sheet.cell(1, number).font = Font(bold=True)
            sheet.column_dimensions[get_column_letter(number)].width = max(10, len(column) + 2)
        sheet.freeze_panes = "A2"
    target = Path(path)
    with atomic(target) as temporary:
        book.save(temporary)
    return target
