"""The report of many scans: one page that opens from a file, pictures beside it, no network.

The page is ``report.html`` with its style and script (files of this package) put in, and the
scans as JSON. Its Content-Security-Policy allows that script alone and pictures beside it.
"""

import base64
import hashlib
import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, final

from score_jax.imaging import write_text
from score_jax.imaging.tables import plain
from score_jax.qc.report_flags import KINDS, Flag
from score_jax.qc.report_ratings import Rating

MOST = 2000  # scans of a page: more make a browser slow


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One scan of the report.

    Args:
      id: unique.
      flags: reasons to look at it.
      seconds: it took; None if unknown.
      regions: in the order of their colours.
      volumes: of each region, mm3.
      areas: of each region in each axial slice from below, mm2; NaN where there is none.
      lesions: a row a lesion, columns as shown; None if nobody looked for lesions.
      image: path of the picture, relative to the page; empty if there is none.
      contours: path of its outlines.
      slices: of its axial tiles.
    """

    id: str
    flags: Sequence[Flag] = ()
    seconds: float | None = None
    regions: Sequence[str] = ()
    volumes: Mapping[str, float] = field(default_factory=dict)
    areas: Mapping[str, Sequence[float]] = field(default_factory=dict)
    lesions: Sequence[Mapping[str, Any]] | None = None
    image: str = ""
    contours: str = ""
    slices: Sequence[int] = ()


def write_report(
    path: Path,
    entries: Sequence[Entry],
    *,
    title: str,
    ratings: Mapping[str, Rating] | None = None,
    most: int = MOST,
) -> list[Path]:
    """Write the report; flagged scans come first, the gravest kind before others.

    More than `most` scans go on in further pages, ``report-2.html`` ..., each with links to the
    others; pages of an earlier, larger report are removed.

    Args:
      path: of the first page; pictures are named relative to its folder.
      entries: the scans.
      title: of the pages.
      ratings: by scan, shown as given before; later ones made in the browser go over them.
      most: scans of a page.

    Returns:
      The pages.

    Raises:
      OutputError: disk full, no permission.
    """
    ordered = sorted(entries, key=_gravity)
    parts = [ordered[start : start + most] for start in range(0, len(ordered), most)] or [[]]
    pages = [path, *(path.with_stem(f"{path.stem}-{n}") for n in range(2, len(parts) + 1))]
    for page, part in zip(pages, parts, strict=True):
        write_text(page, _filled(part, title, ratings or {}, _links(pages, page)))
    for old in path.parent.glob(f"{path.stem}-*{path.suffix}"):
        if old not in pages and old.stem.removeprefix(f"{path.stem}-").isdigit():
            old.unlink()
    return pages


def _filled(entries: Sequence[Entry], title: str, ratings: Mapping[str, Rating], links: str) -> str:
    ids = [entry.id for entry in entries]
    value = {
        # a browser keeps what was rated under this key: other scans, another report
        "key": hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()[:16],
        "scans": [_as_json(entry) for entry in entries],
        "ratings": {name: asdict(ratings[name]) for name in ids if name in ratings},
    }
    data = json.dumps(plain(value), allow_nan=False, separators=(",", ":"), ensure_ascii=False)
    style, script = _asset("report.css"), _asset("report.js")
    parts = {
        "STYLE_HASH": _sha256(style),
        "SCRIPT_HASH": _sha256(script),
        "TITLE": html.escape(title),
        "PAGES": links,
        "STYLE": style,
        "SCRIPT": script,
        "DATA": data.replace("<", "\\u003c"),  # "</script>" in a name would end the data
    }
    pieces = _asset("report.html").split("@")
    # every second piece of the template is a name between two @
    return "".join(parts[piece] if n % 2 else piece for n, piece in enumerate(pieces))


def _links(pages: Sequence[Path], here: Path) -> str:
    if len(pages) == 1:
        return ""
    return "".join(
        f"<b>{n}</b>" if page == here else f'<a href="{html.escape(page.name)}">{n}</a>'
        for n, page in enumerate(pages, 1)
    )


def _gravity(entry: Entry) -> tuple[int, str]:
    return min((KINDS.index(flag.kind) for flag in entry.flags), default=len(KINDS)), entry.id


def _as_json(entry: Entry) -> dict[str, Any]:
    areas = {n: [round(float(mm2), 1) for mm2 in values] for n, values in entry.areas.items()}
    return asdict(entry) | {"areas": areas}


def _asset(name: str) -> str:
    return resources.files("score_jax.qc").joinpath(name).read_text(encoding="utf-8")


def _sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
