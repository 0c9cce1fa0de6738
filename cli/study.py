"""`score-jax study`: the papers' experiments end to end, from scans to tables and a report."""

import sys
from typing import Annotated

import typer

from score_jax.cli import _console, _device, _study, study_sci

app = typer.Typer(
    help="The papers' studies: networks, tables, figures and a report from your scans or simulated "
    "ones.",
    no_args_is_help=True,
)

app.command("sci")(study_sci.command)


@app.command("score")
def score_command(
    out: _study.OutOption,
    data: Annotated[
        str, typer.Option(help="A BIDS dataset with raters' masks, or: simulated.")
    ] = "simulated",
    scale: _study.ScaleOption = "small",
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
    with _study.Progress() as progress:
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
