"""`score-jax export`: a model as one file for programs without this library."""

from pathlib import Path
from typing import Annotated

import typer

from score_jax.cli import _console


def command(
    model: Annotated[str, typer.Argument(help="A shipped model's name, a run or a model folder.")],
    format: Annotated[
        str, typer.Option(help="onnx (onnxruntime and most others) or stablehlo (JAX alone).")
    ] = "onnx",
    out: Annotated[
        Path | None, typer.Option(help="File to write; by default the model's name, here.")
    ] = None,
    weights: Annotated[
        str, typer.Option(help="onnx: store them as float32, float16 or int8.")
    ] = "float32",
    licence: Annotated[str, typer.Option(help="Licence of the weights, written into it.")] = "",
    replace: Annotated[bool, typer.Option("--replace", help="Overwrite the file.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Export a model; the file beside it, FILE.json, says how to use it."""
    from score_jax import api

    target = out or Path(f"{Path(model).name}.{format}")
    facts = api.export_model(
        model, target, format=format, weights=weights, licence=licence, replace=replace
    )
    if json:
        _console.print_json({"path": str(target), **facts})
        return
    _console.say(f"Written to {target} ({facts['bytes'] / 1e6:.1f} MB) and {target.name}.json")
    _console.say(f"Use it with: score-jax predict IMAGE --model {target}")
