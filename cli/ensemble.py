"""`score-jax ensemble`: one model folder of several models."""

from pathlib import Path
from typing import Annotated

import typer

from score_jax.cli import _console


def command(
    models: Annotated[
        list[str],
        typer.Argument(help="Shipped models, run or model folders, folders of runs (folds)."),
    ],
    out: Annotated[Path, typer.Option("--out", help="The model folder.")],
    mixed: Annotated[
        bool,
        typer.Option(
            "--mixed", help="Networks that differ (2-D and 3-D): average their probabilities."
        ),
    ] = False,
    postprocessing: Annotated[
        Path | None,
        typer.Option(help="postprocessing.json for it; by default the one that all models share."),
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Overwrite a model folder.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Join trained models to one: the folds of a network, or networks that differ."""
    from score_jax import api

    made = api.ensemble(
        models, out=out, mixed=mixed, postprocessing=postprocessing, replace=replace
    )
    rules = [str(rule) for rule in made.postprocessing.rules]
    if json:
        _console.print_json(
            {
                "model": str(out),
                "kind": made.kind,
                "networks": len(made.sha256),
                "sha256": made.sha256,
                "postprocessing": rules,
            }
        )
        return
    what = "probabilities" if mixed else "logits"
    _console.say(f"{out}: {len(made.sha256)} networks, their {what} averaged")
    _console.say(f"Post-processing: {'; '.join(rules) or 'none'}")
    _console.say(f"Use it with:  score-jax predict SCAN.nii.gz --model {out}")
