"""`score-jax study sci`: the SCIseg paper's experiment on your scans or simulated ones."""

import sys
from typing import Annotated

import typer

from score_jax.cli import _console, _device, _study


def command(
    out: _study.OutOption,
    data: Annotated[
        str, typer.Option(help="A BIDS dataset with masks and participants.tsv, or: simulated.")
    ] = "simulated",
    scale: _study.ScaleOption = "small",
    seed: Annotated[int, typer.Option(help="Of simulated people and of the networks.")] = 0,
    masks: Annotated[
        str | None,
        typer.Option(help="Folder below derivatives/ with the manual masks (truth or labels)."),
    ] = None,
    truth: Annotated[
        str | None, typer.Option(help="Folder below derivatives/ with true masks, if known.")
    ] = None,
    contrast: Annotated[
        str | None, typer.Option(help="Suffix of the images, e.g. T2w, if there are several.")
    ] = None,
    baseline: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=FOLDER", help="Another method: a model folder, an nnU-Net "
                     "results folder, or a folder of its masks. Repeat it."),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A choice of the study; 3d.KEY, 2d.KEY, "
                     "train.KEY: of its networks. Repeat it."),
    ] = None,
    device: _device.DeviceOption = "auto",
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:  # fmt: skip
    """Repeat the SCIseg study: cord and lesions after injury on T2w (docs/study_sci.md)."""
    from score_jax.study.sci_options import read_options

    options, recipes = read_options(scale, overrides or [], seed=seed)  # refuse before JAX starts
    where = _device.use(device)
    _device.keep_compiled()
    from score_jax.study.sci import Told, study_sci
    from score_jax.study.score_training import Interrupted

    _console.say(f"Studying on {where}")
    with _study.Progress() as progress:
        try:
            done = study_sci(
                out, options, recipes, data=data, seed=seed, masks=masks, truth=truth,
                contrast=contrast, baselines=baseline or [], scale=scale,
                command=["score-jax", *sys.argv[1:]],
                told=Told(stage=progress.stage, count=progress.count),
            )  # fmt: skip
        except Interrupted as stop:
            _console.say(f"{stop}, saved. The same command goes on.")
            return
    if json:
        _console.print_json(
            {
                "report": str(done.page),
                "problems": len(done.problems),
                "tables": [table.name for table in done.tables],
                "figures": [figure.name for figure in done.figures],
                "seconds": {stage.name: stage.seconds for stage in done.stages},
                "kept": [stage.name for stage in done.stages if stage.kept],
            }
        )
    _console.say(f"Done: {done.page} ({len(done.problems)} problems)")
