"""`score-jax simulate`: a cohort of simulated patients as a BIDS dataset."""

from pathlib import Path
from typing import Annotated, Any

import typer

from score_jax.cli import _console


def command(
    kind: Annotated[str, typer.Argument(help="amira (SCORE: HC and MS) or sci (injury, T2w)")],
    out: Annotated[Path, typer.Argument(help="folder to make; must be new or empty")],
    subjects: Annotated[
        int | None,
        typer.Option(help="patients; for amira, of each group. Default: the published cohort"),
    ] = None,
    scans: Annotated[
        int | None, typer.Option(help="scans a patient (amira: a control). Default: as published")
    ] = None,
    raters: Annotated[
        int | None, typer.Option(help="raters, 0 to 3. Default: amira 3, sci 0")
    ] = None,
    seed: Annotated[int, typer.Option(help="same seed, same dataset")] = 0,
    grid: Annotated[float | None, typer.Option(help="in-plane voxel size in mm")] = None,
    contrast: Annotated[str, typer.Option(help="sci: T2w, T2starw or random")] = "T2w",
    acquisition: Annotated[
        str, typer.Option(help="sci: axial, sagittal, isotropic or mix")
    ] = "mix",
    thickness: Annotated[float | None, typer.Option(help="sci: slice thickness in mm")] = None,
    field_of_view: Annotated[
        str | None,
        typer.Option(help="mm: one number, or right,anterior,superior (sci)"),
    ] = None,
    healthy: Annotated[float, typer.Option(help="sci: share of patients without injury")] = 0.0,
    json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> None:
    """Write simulated patients with their truth: images, masks, raters, participants.tsv."""
    from score_jax.data.simulated import write_cohort
    from score_jax.errors import ConfigError
    from score_jax.phantom import amira_cohort, sci_cohort

    extent = _extent(field_of_view)
    given: dict[str, Any] = {"subjects": subjects, "scans": scans, "raters": raters}
    given = {name: value for name, value in given.items() if value is not None}
    if kind == "amira":
        if grid is not None:
            given["grid_mm"] = grid
        if extent:
            given["field_of_view_mm"] = extent[0]
        cohort = amira_cohort(seed, **given)
    elif kind == "sci":
        if extent:
            given["field_of_view_mm"] = extent if len(extent) == 3 else extent * 3
        cohort = sci_cohort(
            seed, contrast=contrast, acquisition=acquisition, grid_mm=grid,
            thickness_mm=thickness, healthy=healthy, **given,
        )  # fmt: skip
    else:
        raise ConfigError(f"simulate: got {kind!r}; expected amira or sci")
    with _console.progress_bar() as bar:
        task = bar.add_task("simulating", total=len(cohort), note="")
        written = write_cohort(out, cohort, on_patient=lambda *_: bar.advance(task))
    if json:
        _console.print_json({"kind": kind, "seed": seed, **written})
    else:
        _console.say(
            f"{written['subjects']} subjects, {written['scans']} scans, {written['masks']} masks "
            f"in {written['out']}"
        )


def _extent(text: str | None) -> tuple[float, ...]:
    from score_jax.errors import ConfigError

    if text is None:
        return ()
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if len(values) not in (1, 3) or min(values) <= 0:
        raise ConfigError(
            f"--field-of-view: got {text!r}; expected one number or three, in mm, e.g. 64,64,96"
        )
    return values
