"""`score-jax lesions`: volume, length, width, damage and tissue bridges of every lesion."""

import enum
import functools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from score_jax.cli import _console

if TYPE_CHECKING:
    from score_jax.morphometry_tables import Failure, LesionOptions, Lesions


class Outside(enum.StrEnum):
    """What happens to lesion outside the cord."""

    clip = "clip"
    add = "add"


class Tilt(enum.StrEnum):
    """What the smoothing of the centerline depends on."""

    image = "image"
    cord = "cord"


def command(
    lesion: Annotated[
        Path, typer.Argument(help="A lesion mask, a folder of them, or a dataset with masks.")
    ],
    cord: Annotated[
        Path | None,
        typer.Option(help="Mask of the cord, or a folder of them. Without it: volumes only."),
    ] = None,
    image: Annotated[
        Path | None, typer.Option(help="The scan, or a folder: mean and SD, and the pictures.")
    ] = None,
    atlas: Annotated[
        Path | None, typer.Option(help="Folder 'label' of sct_warp_template: tracts and levels.")
    ] = None,
    levels: Annotated[
        Path | None, typer.Option(help="Map of vertebral levels: volume in each.")
    ] = None,
    per_slice: Annotated[
        bool, typer.Option("--per-slice", help="Atlas by axial slice; --json lists slices, too.")
    ] = False,
    nli_slice: Annotated[
        int | None,
        typer.Option(help="Axial slice of the level of injury, as stored, from 0: midline there."),
    ] = None,
    midline: Annotated[
        float | None, typer.Option(help="Midsagittal position itself, as stored, from 0.")
    ] = None,
    soft: Annotated[
        bool, typer.Option("--soft", help="Weight by a soft mask's values; else 0.5 and above.")
    ] = False,
    outside: Annotated[
        Outside, typer.Option(help="Lesion outside the cord: clip it off, or add it to the cord.")
    ] = Outside.clip,
    min_volume: Annotated[float, typer.Option(help="Leave out smaller lesions, mm3.")] = 0.0,
    tilt: Annotated[
        Tilt,
        typer.Option(help="Smoothing of the centerline: as SCT (image), or by the cord alone."),
    ] = Tilt.image,
    derivative: Annotated[
        str | None, typer.Option(help="BIDS: folder below derivatives that holds the masks.")
    ] = None,
    contrast: Annotated[
        str | None, typer.Option(help="BIDS: suffix of the images to use, e.g. T2w.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for tables and label maps; or a .tsv or .xlsx file."),
    ] = None,
    qc: Annotated[Path | None, typer.Option(help="Folder for a picture a lesion.")] = None,
    jobs: Annotated[
        int, typer.Option(min=0, help="Processes; 0: as many as there are processors and work.")
    ] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure every lesion; one without a lesion gives a row of zeros."""
    from score_jax import morphometry_tables as tables

    to_file = out is not None and tables.one_file(out)
    found = tables.find_cases(
        lesion, region="lesion", cord=cord, image=image, derivative=derivative, contrast=contrast
    )
    options = tables.LesionOptions(
        atlas=atlas,
        levels=levels,
        per_slice=per_slice,
        nli_slice=nli_slice,
        midline=midline,
        soft=soft,
        outside=outside.value,
        min_volume_mm3=min_volume,
        tilt_over=tilt.value,
        image_name="image" if found.many else None,
    )
    if not found.many:
        one = tables.measure_lesions(found.cases[0], options, out=out, qc=qc)
        _report_one(one, json=json, per_slice=per_slice)
        return
    own_out = None if to_file else out
    measure = functools.partial(tables.measure_lesions, options=options, out=own_out, qc=qc)
    results = [
        result
        for _, result in _console.track(
            tables.run(found.cases, measure, jobs), "lesions", len(found.cases)
        )
    ]
    done = [r for r in results if isinstance(r, tables.Lesions)]
    failed = [*found.failures, *(r for r in results if isinstance(r, tables.Failure))]
    if out is not None and done:
        _write_all(out, done, failed, options)
    _report_many(done, failed, json=json, per_slice=per_slice)
    if failed:
        raise typer.Exit(1 if any(failure.bug for failure in failed) else 2)


def _with_case(results: "list[Lesions]", what: str) -> list[dict[str, Any]]:
    return [{"case": r.case, **row} for r in results for row in getattr(r, what)]


def _write_all(
    out: Path, done: "list[Lesions]", failed: "list[Failure]", options: "LesionOptions"
) -> None:
    """One table over all scans; the columns of single sagittal slices are in each scan's own."""
    from score_jax import morphometry_tables as tables

    rows = [
        {"case": r.case} | {k: v for k, v in row.items() if not k.startswith("slice_")}
        for r in done
        for row in tables.with_status(r.rows, r.status)
    ]
    every = {
        "lesions": rows,
        "slices": _with_case(done, "slices"),
        "levels": _with_case(done, "levels"),
        "failed": [{"case": f.case, "message": f.message, "hint": f.hint} for f in failed],
    }
    warnings = [f"{r.case}: {text}" for r in done for text in r.warnings]
    for path in tables.write_tables(out, "", every, about={"Warnings": warnings}).values():
        _console.say(f"wrote {path}")


def _report_one(one: "Lesions", *, json: bool, per_slice: bool) -> None:
    if one.warnings:
        _console.say(f"warning: {'; '.join(one.warnings)}")
    if json:
        _console.print_json(_shown(one.as_dict(), per_slice=per_slice))
    else:
        _print(one.rows, one.status)
    for path in one.outputs.values():
        _console.say(f"wrote {path}")


def _shown(value: dict[str, Any], *, per_slice: bool) -> dict[str, Any]:
    hidden = {"distribution", "levels"} - {k for k, v in value.items() if v}
    hidden |= set() if per_slice else {"slices"}
    return {name: item for name, item in value.items() if name not in hidden}


def _report_many(
    done: "list[Lesions]", failed: "list[Failure]", *, json: bool, per_slice: bool
) -> None:
    for one in done:
        if one.warnings:
            _console.say(f"warning: {one.case}: {'; '.join(one.warnings)}")
    if json:
        value: dict[str, Any] = {"lesions": _with_case(done, "rows")}
        value |= {name: _with_case(done, name) for name in ("status", "slices", "levels")}
        value["failed"] = [{"case": f.case, "message": f.message, "hint": f.hint} for f in failed]
        value["warnings"] = [{"case": r.case, "text": text} for r in done for text in r.warnings]
        value["outputs"] = {r.case: r.outputs for r in done}
        _console.print_json(_shown(value, per_slice=per_slice))
    elif done:
        rows = [{"case": r.case, **row} for r in done for row in r.rows]
        _print(rows, [s for r in done for s in r.status])
    for failure in failed:
        _console.say(f"score-jax: not measured: {failure}")


_SHORT = {
    "label": "lesion",
    "volume [mm3]": "volume mm3",
    "length [mm]": "length mm",
    "width [mm]": "width mm",
    "max_equivalent_diameter [mm]": "diameter mm",
    "max_axial_damage_ratio []": "damage",
    "interpolated_dorsal_bridge_width [mm]": "dorsal mm",
    "interpolated_ventral_bridge_width [mm]": "ventral mm",
}


_ON_MIDLINE = {"midsagittal": "yes", "parasagittal": "beside", "none": "n/a"}
_LEFT_OUT = ("width [mm]", "max_equivalent_diameter [mm]")  # of many scans: names need the room


def _print(rows: list[dict[str, Any]], status: list[dict[str, Any]]) -> None:
    many = "case" in rows[0]
    names = [n for n in ("case", *_SHORT) if n in rows[0] and not (many and n in _LEFT_OUT)]
    heads = [_SHORT.get(name, name) for name in names]
    if many:
        _console.print_table(heads, ([row[n] for n in names] for row in rows))
        return
    on_midline = [_ON_MIDLINE[s["bridges"]] for s in status]
    cells = ([*(row[n] for n in names), on] for row, on in zip(rows, on_midline, strict=True))
    _console.print_table([*heads, "on midline"], cells)
