"""`score-jax export`: a model for programs without this library, or as a web page."""

from pathlib import Path
from typing import Annotated

import typer

from score_jax.cli import _console


def command(
    model: Annotated[str, typer.Argument(help="A shipped model's name, a run or a model folder.")],
    format: Annotated[
        str,
        typer.Option(
            help="onnx (onnxruntime and most others), stablehlo (JAX alone), or web: a page that "
            "segments scans in the browser."
        ),
    ] = "onnx",
    out: Annotated[
        Path | None,
        typer.Option(help="File to write (web: folder); by default the model's name, here."),
    ] = None,
    weights: Annotated[
        str, typer.Option(help="onnx: store them as float32, float16 or int8.")
    ] = "float32",
    licence: Annotated[str, typer.Option(help="Licence of the weights, written into it.")] = "",
    replace: Annotated[bool, typer.Option("--replace", help="Overwrite what is there.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Export a model; the file beside it, FILE.json, says how to use it."""
    from score_jax import api

    if format == "web":
        _page(model, out, weights, licence, replace=replace, json=json)
        return
    target = out or Path(f"{Path(model).name}.{format}")
    facts = api.export_model(
        model, target, format=format, weights=weights, licence=licence, replace=replace
    )
    if json:
        _console.print_json({"path": str(target), **facts})
        return
    _console.say(f"Written to {target} ({facts['bytes'] / 1e6:.1f} MB) and {target.name}.json")
    _console.say(f"Use it with: score-jax predict IMAGE --model {target}")


def _page(
    model: str, out: Path | None, weights: str, licence: str, *, replace: bool, json: bool
) -> None:
    from score_jax import api
    from score_jax.errors import ConfigError

    if weights != "float32":
        raise ConfigError(f"weights: got {weights!r} for web; the page takes float32")
    target = out or Path(f"{Path(model).name}-web")
    facts = api.export_page([model], target, licence=licence, replace=replace)
    if json:
        _console.print_json({"path": str(target), **facts})
        return
    _console.say(f"Written to {target} ({facts['bytes'] / 1e6:.1f} MB): put it on any file server")
    _console.say(f"Try it with: python -m http.server --bind 127.0.0.1 --directory {target}")
