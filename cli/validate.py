"""`score-jax validate`: segment and score what a run held out."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from score_jax.cli import _console, _device

DataOption = Annotated[
    Path | None,
    typer.Option("--data", help="The dataset; by default where it was before."),
]


def command(
    run: Annotated[Path, typer.Argument(help="A run folder, or a folder of runs (folds).")],
    dataset: DataOption = None,
    tta: Annotated[
        bool, typer.Option("--tta", help="Average over flips: slower, a little better.")
    ] = False,
    soft: Annotated[
        bool, typer.Option("--soft", help="Also write probabilities, for `score-jax compare`.")
    ] = False,
    device: _device.DeviceOption = "auto",
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Segment every held-out case whole, write masks and summary.json to RUN/validation."""
    where = _device.use(device)
    from score_jax import api
    from score_jax.errors import ConfigError

    folders = api.runs_in(run)
    _console.say(f"Validating on {where}")
    done = {}
    with _console.progress_bar() as bar:
        task = bar.add_task("validate", total=None, note="")

        def on_case(number: int, total: int, case: str) -> None:
            bar.update(task, description=f"{number + 1}/{total} {case}", completed=0)

        def on_tile(tiles: int, total: int) -> None:
            bar.update(task, completed=tiles, total=total)

        for folder in folders:
            found = api.validate(
                folder,
                dataset,
                tta=tta,
                soft=soft,
                arguments=["score-jax", *sys.argv[1:]],
                on_case=on_case,
                on_tile=on_tile,
            )
            if not found.cases:
                raise ConfigError(
                    f"{folder}: holds no case out; expected a run with a validation side",
                    hint="train it with --fold or data.validation_fraction above 0",
                )
            done[folder] = found
    if json:
        _console.print_json(
            {
                "runs": [
                    {
                        "run": str(folder),
                        "summary": str(found.folder / "summary.json"),
                        "cases": found.cases,
                        "dice": found.dice,
                    }
                    for folder, found in done.items()
                ]
            }
        )
        return
    regions = list(next(iter(done.values())).dice)
    _console.print_table(
        ["run", "cases", *(f"Dice {name}" for name in regions)],
        [[str(run), len(v.cases), *(v.dice[name] for name in regions)] for run, v in done.items()],
    )
    for found in done.values():
        _console.say(f"wrote {found.folder / 'summary.json'}")
