"""What a study gives: tables and figures, before anything is written."""

from dataclasses import dataclass
from typing import final

import pandas as pd
from matplotlib.figure import Figure as Canvas


@final
@dataclass(frozen=True, eq=False, slots=True)
class Table:
    """A table, ready to print.

    Args:
      name: as the report calls it, ``Table 4``; unique in a study.
      title: one line.
      frame: the rows, text or numbers; the index is not printed. Columns of two levels are printed
        in two lines. A missing number is printed as n.a.
      notes: printed below, one line each.
    """

    name: str
    title: str
    frame: pd.DataFrame
    notes: tuple[str, ...] = ()


@final
@dataclass(frozen=True, eq=False, slots=True)
class Figure:
    """A figure.

    Args:
      name: as the report calls it, ``Figure 2``; unique in a study.
      title: one line.
      figure: made without pyplot (``matplotlib.figure.Figure``), so that nothing keeps it alive.
      notes: printed below, one line each.
    """

    name: str
    title: str
    figure: Canvas
    notes: tuple[str, ...] = ()
