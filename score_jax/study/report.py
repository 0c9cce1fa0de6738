"""A study's report: one page that needs nothing else, and the same as TSV, PNG and SVG."""

import base64
import html
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure as Canvas

from score_jax._types import PathLike
from score_jax.errors import errors_of_disk
from score_jax.imaging import atomic, write_text, write_tsv
from score_jax.study.results import Figure, Table

PAGE = "report.html"
_DPI = 150


@final
@dataclass(frozen=True, slots=True)
class Choice:
    """Something the papers leave open or contradict each other in, and what was done here.

    Args:
      option: as the user sets it.
      value: in this study.
      why: what the paper says, or does not, and what else there is.
    """

    option: str
    value: str
    why: str


@final
@dataclass(frozen=True, eq=False, slots=True)
class Report:
    """All that the page shows, in its order.

    Args:
      title: of the page.
      lead: paragraphs at the top: what was studied, on what, how far to trust it.
      problems: what was wrong with the input and what became of it; an empty frame is said too.
      tables: in order.
      figures: in order.
      choices: where the papers leave a choice.
      made_by: versions, seeds, devices, commands, times: shown as they are.
    """

    title: str
    lead: Sequence[str]
    problems: pd.DataFrame
    tables: Sequence[Table]
    figures: Sequence[Figure]
    choices: Sequence[Choice] = ()
    made_by: Mapping[str, str] | None = None


def write_report(out: PathLike, report: Report) -> Path:
    """Write ``report.html``, ``tables/*.tsv`` (notes as ``*.txt``), ``figures/*.png`` and ``.svg``.

    The page asks for nothing beyond itself: pictures are in it, and its policy forbids any request.

    Args:
      out: the study's folder.
      report: what to write.

    Returns:
      The page.

    Raises:
      OutputError: disk full, no permission.
      ValueError: two tables or two figures of one name.
    """
    folder = Path(out)
    _unique([t.name for t in report.tables], [f.name for f in report.figures])
    with errors_of_disk(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for table in report.tables:
        path = folder / "tables" / f"{file_name(table.name)}.tsv"
        write_tsv(path, _rows(table.frame), [_column(c) for c in table.frame.columns])
        write_text(
            path.with_suffix(".txt"), "\n".join([f"{table.name}. {table.title}", *table.notes, ""])
        )
    pictures = []
    for figure in report.figures:
        png = _drawn(figure.figure, "png")
        pictures.append(png)
        for suffix, content in (("png", png), ("svg", _drawn(figure.figure, "svg"))):
            with atomic(folder / "figures" / f"{file_name(figure.name)}.{suffix}") as temporary:
                temporary.write_bytes(content)
    page = folder / PAGE
    write_text(page, _page(report, pictures))
    return page


def file_name(name: str) -> str:
    """``Table 4`` as ``table-4``: letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _unique(*lists: list[str]) -> None:
    for names in lists:
        files = [file_name(name) for name in names]
        if len(set(files)) < len(files):
            raise ValueError(f"got the names {names}; expected each once")


def _rows(frame: pd.DataFrame) -> list[dict[str, object]]:
    names = [_column(column) for column in frame.columns]
    return [dict(zip(names, row, strict=True)) for row in frame.itertuples(index=False, name=None)]


def _column(column: object) -> str:
    if isinstance(column, tuple):
        return ", ".join(str(part) for part in column if str(part))
    return str(column)


def _drawn(figure: Canvas, kind: str) -> bytes:
    stream = io.BytesIO()
    # the same figure gives the same bytes: no date, and names that do not depend on chance
    with rc_context({"svg.hashsalt": "score-jax", "svg.fonttype": "none"}):
        metadata = {"Date": None} if kind == "svg" else {"Software": None}
        figure.savefig(stream, format=kind, dpi=_DPI, metadata=metadata)
    return stream.getvalue()


def _page(report: Report, pictures: Sequence[bytes]) -> str:
    parts = [f"<h1>{html.escape(report.title)}</h1>"]
    parts += [f"<p>{html.escape(text)}</p>" for text in report.lead]
    parts.append(_contents(report))
    parts.append('<h2 id="input">The input</h2>')
    if report.problems.empty:
        parts.append("<p>Nothing was wrong with the input.</p>")
    else:
        parts.append(
            f"<p>{len(report.problems)} problems; what they concern was left out or filled as "
            "said, and the rest went on.</p>"
        )
        parts.append(_html(report.problems))
    parts.append("<h2>Tables</h2>")
    parts += [_table(table) for table in report.tables]
    parts.append("<h2>Figures</h2>")
    parts += [_figure(f, png) for f, png in zip(report.figures, pictures, strict=True)]
    if report.choices:
        rows = [{"option": c.option, "here": c.value, "why": c.why} for c in report.choices]
        parts.append('<h2 id="choices">Where the papers leave a choice</h2>')
        parts.append(_html(pd.DataFrame(rows)))
    if report.made_by:
        rows = [{"what": key, "value": value} for key, value in report.made_by.items()]
        parts.append('<h2 id="made-by">How this was made</h2>')
        parts.append(_html(pd.DataFrame(rows)))
    return _FRAME.format(
        title=html.escape(report.title), style=_STYLE, body="\n".join(parts), policy=_POLICY
    )


def _contents(report: Report) -> str:
    entries = [("input", "The input")]
    entries += [(file_name(t.name), f"{t.name}. {t.title}") for t in report.tables]
    entries += [(file_name(f.name), f"{f.name}. {f.title}") for f in report.figures]
    entries += [("choices", "Where the papers leave a choice")] if report.choices else []
    entries += [("made-by", "How this was made")] if report.made_by else []
    links = (f'<li><a href="#{key}">{html.escape(text)}</a></li>' for key, text in entries)
    return f"<nav><ul>{''.join(links)}</ul></nav>"


def _table(table: Table) -> str:
    return (
        f'<section id="{file_name(table.name)}"><h3>{html.escape(table.name)}. '
        f"{html.escape(table.title)}</h3>{_html(table.frame)}{_notes(table.notes)}</section>"
    )


def _figure(figure: Figure, png: bytes) -> str:
    picture = base64.b64encode(png).decode("ascii")
    title = f"{html.escape(figure.name)}. {html.escape(figure.title)}"
    return (
        f'<section id="{file_name(figure.name)}"><h3>{title}</h3>'
        f'<img alt="{title}" src="data:image/png;base64,{picture}">{_notes(figure.notes)}</section>'
    )


def _notes(notes: Sequence[str]) -> str:
    return "".join(f'<p class="note">{html.escape(note)}</p>' for note in notes)


def _html(frame: pd.DataFrame) -> str:
    if frame.empty:
        return "<p>No rows.</p>"
    with pd.option_context("display.max_colwidth", None):
        text = frame.to_html(
            index=False, na_rep="n.a.", border=0, justify="left", float_format="{:.4g}".format,
            escape=True,
        )  # fmt: skip
    return f'<div class="wide">{text}</div>'


_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem;
  color: #1a1a1a; background: #fff; }
h1 { font-size: 1.7rem; } h2 { margin-top: 2.5rem; border-bottom: 1px solid #bbb; }
h3 { margin: 1.8rem 0 .5rem; font-size: 1.05rem; }
nav ul { columns: 2; font-size: .9rem; padding-left: 1.2rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .82rem; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .6rem .2rem 0; text-align: left; vertical-align: top; }
thead th { border-top: 1.5px solid #333; border-bottom: 1px solid #333; }
tbody tr:last-child td { border-bottom: 1.5px solid #333; }
.note { margin: .2rem 0; font-size: .82rem; color: #444; }
img { max-width: 100%; }
@page { size: A4 landscape; margin: 12mm; }
@media print {
  body { font-size: 9pt; max-width: none; margin: 0; } nav { display: none; }
  .wide { overflow: visible; } table { font-size: 7pt; width: 100%; }
  th, td { overflow-wrap: anywhere; padding: .1rem .5rem .1rem 0; } .note { font-size: 7.5pt; }
  thead { display: table-header-group; }
  tr { break-inside: avoid; }
  h3 { break-after: avoid; } img { max-height: 160mm; } a { color: inherit; text-decoration: none; }
}
"""
_FRAME = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
{body}
</body>
</html>
"""
