"""`score-jax study`: the papers' experiments end to end, from scans to tables and a report."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from score_jax.cli import _console, _device, study_sci

app = typer.Typer(
    help="The papers' studies: networks, tables, figures and a report from your scans or simulated "
    "ones.",
    no_args_is_help=True,
)

app.command("sci")(study_sci.command)


@app.command("score")
def score_command(
    out: Annotated[Path, typer.Option(help="Folder of the study; the same one goes on.")],
    data: Annotated[
        str, typer.Option(help="A BIDS dataset with raters' masks, or: simulated.")
    ] = "simulated",
    scale: Annotated[
        str,
        typer.Option(help="smoke (minutes), small (about an hour on 2 cores) or full (a GPU)."),
    ] = "small",
    seed: Annotated[
        int, typer.Option(help="Of simulated people, networks and the bootstrap.")
    ] = 0,
    joint: Annotated[
        bool, typer.Option("--joint", help="One network a stage, not one a target.")
    ] = False,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A choice of the study; train.KEY: of its "
                     "networks; tables.KEY: of its tables. Repeat it."),
    ] = None,
    device: _device.DeviceOption = "auto",
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:  # fmt: skip
    """Repeat the SCORE study: cord, grey matter and MS lesions on AMIRA (docs/study_score.md)."""
    from score_jax.study.score_options import read_options

    read_options(scale, overrides or [], joint=joint, seed=seed)  # refuse before JAX starts
    where = _device.use(device)
    _device.keep_compiled()
    from score_jax.study import score
    from score_jax.study.score_training import Interrupted

    _console.say(f"Studying on {where}")
    with Progress() as progress:
        try:
            done = score.run_score(
                data, out, scale=scale, overrides=overrides or [], joint=joint, seed=seed,
                arguments=["score-jax", *sys.argv[1:]], on_stage=progress.stage,
                on_count=progress.count,
            )  # fmt: skip
        except Interrupted as stop:
            _console.say(f"{stop}, saved. The same command goes on.")
            return
    if json:
        _console.print_json(
            {
                "report": str(done.page),
                "networks": done.networks,
                "problems": len(done.issues),
                "tables": [table.name for table in done.tables],
                "rows": {name: len(frame) for name, frame in done.frames.items()},
                "seconds": dict(done.seconds),
            }
        )
    _console.say(f"Done: {done.page} ({done.networks} networks, {len(done.issues)} problems)")


class Progress:
    """Stages as lines; what is counted as bars, or off a terminal as a line each tenth."""

    def __init__(self) -> None:
        self._bar = _console.progress_bar()
        self._tasks: dict[str, int] = {}

    def __enter__(self) -> "Progress":
        self._bar.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.__exit__(*error)  # pyright: ignore[reportArgumentType]

    def stage(self, name: str, what: str) -> None:
        """A stage was kept, started, resumed or done."""
        for task in self._tasks.values():
            self._bar.remove_task(task)  # pyright: ignore[reportArgumentType]
        self._tasks = {}
        _console.say(f"{name}: {what}")

    def count(self, what: str, done: int, total: int) -> None:
        """`done` of `total` of something."""
        if what not in self._tasks:
            self._tasks[what] = self._bar.add_task(what, total=total, note="")
        self._bar.update(self._tasks[what], completed=done)  # pyright: ignore[reportArgumentType]
        if not _console.console.is_terminal and (done == total or done % max(1, total // 10) == 0):
            _console.say(f"{what}: {done}/{total}")
