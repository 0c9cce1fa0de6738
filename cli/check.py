"""`score-jax check`: what a dataset holds and what is wrong with it, file by file."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from score_jax.cli import _console

if TYPE_CHECKING:
    from score_jax.arrays.regions import Region
    from score_jax.data import CaseReport, Dataset, Problem

_SHOWN_REGIONS = 4


def command(
    dataset: Annotated[
        Path,
        typer.Argument(help="nnU-Net raw folder, BIDS folder, table (.tsv, .csv), folder or image"),
    ],
    region: Annotated[
        list[str] | None,
        typer.Option(
            "--region",
            help="a region to use: NAME of binary masks, or NAME=1,2 for the values of label maps "
            "without a dataset.json; repeat it",
        ),
    ] = None,
    derivative: Annotated[
        str | None, typer.Option(help="BIDS: folder below derivatives that holds the masks")
    ] = None,
    contrast: Annotated[
        str | None, typer.Option(help="BIDS: suffix of the images to use, e.g. T2w")
    ] = None,
    images_only: Annotated[
        bool, typer.Option("--images-only", help="do not look for masks")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> None:
    """Say what DATASET holds and all that is wrong with it; exit 2 if something is."""
    from score_jax.data import Problem, inspect, survey
    from score_jax.errors import ScoreError

    regions = _regions(region)
    try:
        found, problems = survey(
            dataset,
            regions=regions,
            derivative=derivative,
            contrast=contrast,
            labelled=False if images_only else None,
        )
    except ScoreError as error:
        if not json:
            raise
        problem = _problem(Problem.of(dataset, error))
        _console.print_json(
            {"dataset": str(dataset), "cases": [], "problems": [problem], "ok": False}
        )
        raise typer.Exit(2) from None
    total = len(found.cases) + len(found.test_cases) + len(found.unlabelled)
    reports = inspect(found)
    reports = list(reports if json else _console.track(reports, "reading", total))
    every = [*problems, *(problem for report in reports for problem in report.problems)]
    if json:
        _console.print_json(_object(found, reports, every))
    else:
        _print(found, reports, every)
    if every:
        raise typer.Exit(2)


def _regions(texts: list[str] | None) -> "list[str | Region] | None":
    from score_jax.arrays.regions import Region
    from score_jax.errors import ConfigError

    if not texts:
        return None
    regions: list[str | Region] = []
    for position, text in enumerate(texts, 1):
        name, equals, values = text.partition("=")
        if not equals:
            regions.append(name)
            continue
        try:
            labels = tuple(int(value) for value in values.split(","))
        except ValueError:
            raise ConfigError(f"--region: got {text!r}; expected e.g. cord=1,2") from None
        regions.append(Region(name.strip(), labels, position))
    return regions


def _object(
    found: "Dataset", reports: "list[CaseReport]", problems: "list[Problem]"
) -> dict[str, Any]:
    return {
        "dataset": str(found.root),
        "kind": found.kind,
        "channels": found.channel_names,
        "regions": [{"name": r.name, "labels": r.labels, "value": r.value} for r in found.regions],
        "exclusive": found.exclusive,
        "notes": found.notes,
        "cases": [_case(report) for report in reports],
        "unlabelled": [case.id for case in found.unlabelled],
        "test": [case.id for case in found.test_cases],
        "problems": [_problem(problem) for problem in problems],
        "ok": not problems,
    }


def _case(report: "CaseReport") -> dict[str, Any]:
    return {
        "case": report.case.id,
        "subject": report.case.subject,
        "images": [str(path) for path in report.case.images],
        "labels": str(report.case.labels) if report.case.labels else None,
        "masks": {name: str(path) for name, path in report.case.region_masks.items()},
        "shape": report.shape,
        "spacing_mm": report.spacing,
        "orientation": report.axcodes,
        "channels": report.channels,
        "voxels": dict(report.voxels),
        "notes": report.notes,
        "problems": [_problem(problem) for problem in report.problems],
        "ok": report.ok,
    }


def _problem(problem: "Problem") -> dict[str, str]:
    return {"where": problem.where, "message": problem.message, "hint": problem.hint}


def _print(found: "Dataset", reports: "list[CaseReport]", problems: "list[Problem]") -> None:
    names = [region.name for region in found.regions]
    if len(names) > _SHOWN_REGIONS:
        names = []  # --json has them
    _console.print_table(
        ("case", "shape", "spacing mm", "axes", "channels", *names, "ok"),
        (_row(report, names) for report in reports),
    )
    _console.say(
        f"{found.root}: {found.kind}, {len(found.cases)} cases, {len(found.test_cases)} test, "
        f"{len(found.unlabelled)} without masks; channels {', '.join(found.channel_names)}"
    )
    for region in found.regions:
        _console.say(f"  region {region}")
    for note in found.notes:
        _console.say(f"  note: {note}")
    for report in reports:
        for note in report.notes:
            _console.say(f"  note: {report.case.id}: {note}")
    for problem in problems:
        _console.say(f"wrong: {problem}" + (f"; {problem.hint}" if problem.hint else ""))
    _console.say(f"{len(problems)} problems" if problems else "nothing is wrong")


def _row(report: "CaseReport", names: list[str]) -> list[str]:
    return [
        report.case.id,
        "x".join(map(str, report.shape)) if report.shape else "-",
        "x".join(f"{mm:.4g}" for mm in report.spacing) if report.spacing else "-",
        report.axcodes or "-",
        str(report.channels),
        *(str(report.voxels.get(name, "-")) for name in names),
        "yes" if report.ok else "NO",
    ]
