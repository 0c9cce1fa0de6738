"""`score-jax areas`: area and shape of the cord and its parts."""

import enum
import functools
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from score_jax.cli import _console

if TYPE_CHECKING:
    from score_jax.morphometry_tables import Areas, Failure


class Per(enum.StrEnum):
    """Rows of the table."""

    slice = "slice"
    level = "level"
    all = "all"


class Method(enum.StrEnum):
    """Smoothing of the centerline."""

    bspline = "bspline"
    linear = "linear"


def command(
    mask: Annotated[
        Path, typer.Argument(help="A mask (the cord), a folder of them, or a dataset with masks.")
    ],
    levels: Annotated[Path | None, typer.Option(help="Map of vertebral levels.")] = None,
    per: Annotated[
        Per, typer.Option(help="A row for each slice, for each vertebral level, or one for all.")
    ] = Per.slice,
    gm: Annotated[
        Path | None, typer.Option(help="Grey matter: it and the rest of the cord get rows, too.")
    ] = None,
    region: Annotated[
        list[str] | None,
        typer.Option("--region", help="A further mask, NAME=FILE: a lesion, a horn. Repeat it."),
    ] = None,
    centerline: Annotated[
        Path | None, typer.Option(help="Mask that gives the angles, if not MASK itself.")
    ] = None,
    slices: Annotated[
        str | None, typer.Option(help="First and last slice, counted from below: 10:40.")
    ] = None,
    vert: Annotated[
        str | None, typer.Option(help="Vertebral levels to use: 3:5, or 2,4. Needs --levels.")
    ] = None,
    angle_correction: Annotated[
        bool, typer.Option(help="Correct for the angle between cord and slices.")
    ] = True,
    method: Annotated[Method, typer.Option(help="Smoothing of the centerline.")] = Method.bspline,
    stretch: Annotated[
        bool, typer.Option(help="Scale each slice of a soft mask to a maximum of 1, as SCT does.")
    ] = True,
    derivative: Annotated[
        str | None, typer.Option(help="BIDS: folder below derivatives that holds the masks.")
    ] = None,
    contrast: Annotated[
        str | None, typer.Option(help="BIDS: suffix of the images to use, e.g. T2w.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the table; or a .tsv or .xlsx file.")
    ] = None,
    jobs: Annotated[
        int, typer.Option(min=0, help="Processes; 0: as many as there are processors and work.")
    ] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure area, diameters, eccentricity, orientation and solidity of a mask."""
    from score_jax import morphometry_tables as tables
    from score_jax.errors import ConfigError

    to_file = out is not None and tables.one_file(out)
    options = tables.AreaOptions(
        levels=levels,
        per=per.value,
        gm=gm,
        parts=_parts(region),
        centerline=centerline,
        slices=_range(slices),
        select_levels=_numbers(vert),
        angle_correction=angle_correction,
        method=method.value,
        stretch=stretch,
    )
    found = tables.find_cases(mask, region="cord", derivative=derivative, contrast=contrast)
    if not found.many:
        _report([tables.measure_areas(found.cases[0], options, out=out)], [], json=json, many=False)
        return
    if gm or region or centerline or levels:
        raise ConfigError(
            f"{mask}: got a folder together with the file of one scan (--gm, --region, "
            "--centerline or --levels); expected one mask",
        )
    own_out = None if to_file else out
    measure = functools.partial(tables.measure_areas, options=options, out=own_out)
    runs = tables.run(found.cases, measure, jobs)
    results = [result for _, result in _console.track(runs, "areas", len(found.cases))]
    done = [r for r in results if isinstance(r, tables.Areas)]
    failed = [*found.failures, *(r for r in results if isinstance(r, tables.Failure))]
    if out is not None and done:
        _write_all(out, done, failed)
    _report(done, failed, json=json, many=True)
    if failed:
        raise typer.Exit(1 if any(failure.bug for failure in failed) else 2)


def _parts(texts: list[str] | None) -> dict[str, Path]:
    from score_jax.errors import ConfigError

    parts: dict[str, Path] = {}
    for text in texts or []:
        name, equals, path = text.partition("=")
        if not (name and equals and path):
            raise ConfigError(f"--region: got {text!r}; expected NAME=FILE")
        parts[name] = Path(path)
    return parts


def _range(text: str | None) -> tuple[int, int] | None:
    from score_jax.errors import ConfigError

    if text is None:
        return None
    match = re.fullmatch(r"(\d+)(?::(\d+))?", text)
    if match is None:
        raise ConfigError(f"--slices: got {text!r}; expected FIRST:LAST, e.g. 10:40")
    return int(match[1]), int(match[2] or match[1])


def _numbers(text: str | None) -> tuple[int, ...] | None:
    from score_jax.errors import ConfigError

    if text is None:
        return None
    numbers: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)(?::(\d+))?", part.strip())
        if match is None:
            raise ConfigError(f"--vert: got {text!r}; expected levels, e.g. 3:5 or 2,4")
        numbers += range(int(match[1]), int(match[2] or match[1]) + 1)
    return tuple(numbers)


def _write_all(out: Path, done: "list[Areas]", failed: "list[Failure]") -> None:
    from score_jax import morphometry_tables as tables

    every = {
        "areas": [{"case": r.case, **row} for r in done for row in r.rows],
        "failed": [{"case": f.case, "message": f.message, "hint": f.hint} for f in failed],
    }
    warnings = [f"{r.case}: {text}" for r in done for text in r.warnings]
    for path in tables.write_tables(out, "", every, about={"Warnings": warnings}).values():
        _console.say(f"wrote {path}")


def _report(done: "list[Areas]", failed: "list[Failure]", *, json: bool, many: bool) -> None:
    for one in done:
        if one.warnings:
            where = f"{one.case}: " if many else ""
            _console.say(f"warning: {where}{'; '.join(one.warnings)}")
    rows = [{"case": r.case, **row} if many else row for r in done for row in r.rows]
    if json and not many:
        _console.print_json(done[0].as_dict())
    elif json:
        problems = [{"case": f.case, "message": f.message, "hint": f.hint} for f in failed]
        warnings = [{"case": r.case, "text": text} for r in done for text in r.warnings]
        _console.print_json({"rows": rows, "failed": problems, "warnings": warnings})
    elif rows:
        _print(rows)
    for one in [] if many else done:
        for path in one.outputs.values():
            _console.say(f"wrote {path}")
    for failure in failed:
        _console.say(f"score-jax: not measured: {failure}")


_SHORT = {
    "slice_IS_RPI": "slice",
    "VertLevel": "level",
    "MEAN(area)": "area mm2",
    "STD(area)": "sd",
    "MEAN(diameter_AP)": "AP mm",
    "MEAN(diameter_RL)": "RL mm",
    "MEAN(eccentricity)": "ecc.",
    "MEAN(solidity)": "solidity",
    "SUM(length)": "length mm",
}


_LEFT_OUT = ("MEAN(eccentricity)", "MEAN(solidity)")  # of many scans: names need the room


def _print(rows: list[dict[str, Any]]) -> None:
    many = "case" in rows[0]
    names = [
        n for n in ("case", "region", *_SHORT) if n in rows[0] and not (many and n in _LEFT_OUT)
    ]
    _console.print_table(
        [_SHORT.get(name, name) for name in names], ([row[n] for n in names] for row in rows)
    )
