"""`score-jax compare`: which configuration to use."""

from pathlib import Path
from typing import Annotated

import typer

from score_jax.cli import _console
from score_jax.cli.postprocess import MinSizeOption, record, report
from score_jax.cli.validate import DataOption


def command(
    configurations: Annotated[
        list[Path],
        typer.Argument(help="Each a validated run, or a folder with the validated folds of one."),
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for the comparison, post-processing and instructions."),
    ] = None,
    dataset: DataOption = None,
    min_size: MinSizeOption = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Compare configurations and their pairs on held-out cases, and say which to use."""
    from score_jax import api

    found = api.compare(configurations, dataset, out=out, min_size=min_size or ())
    if json:
        _console.print_json(
            {
                "cases": found.cases,
                "candidates": [
                    {"configurations": c.names, "mean_dice": c.mean, "dice": c.dice}
                    for c in found.candidates
                ],
                "best": found.best.names,
                "postprocessing": record(found.postprocessing),
                "notes": found.notes,
                "commands": found.commands,
            }
        )
        return
    regions = list(found.best.dice)
    _console.print_table(
        ["configuration", "mean Dice", *regions],
        [[" + ".join(c.names), c.mean, *(c.dice[r] for r in regions)] for c in found.candidates],
    )
    for note in found.notes:
        _console.say(f"note: {note}")
    _console.say(f"Best on {found.cases} held-out cases: {' + '.join(found.best.names)}")
    report(found.postprocessing)
    _console.say("Use it with:")
    for line in found.commands:
        _console.say(f"  {line}")
