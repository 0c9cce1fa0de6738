"""`score-jax import`: published weights of other programs become models of ours."""

from pathlib import Path
from typing import Annotated, Any

import typer

from score_jax.cli import _console

app = typer.Typer(
    help="Turn published weights of nnU-Net or MD-GRU into a model folder of ours. "
    "No code stored in them is run.",
    no_args_is_help=True,
)

OutOption = Annotated[Path, typer.Option("--out", help="The model folder to write.")]
ReplaceOption = Annotated[
    bool, typer.Option("--replace", help="Replace the model folder that is at --out.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.command("nnunet")
def nnunet_command(
    path: Annotated[
        Path, typer.Argument(help="nnU-Net v2 model folder, a folder that holds one, or its zip.")
    ],
    out: OutOption,
    fold: Annotated[
        list[str] | None,
        typer.Option(help="Fold to take, repeatable; all there are by default, averaged."),
    ] = None,
    checkpoint: Annotated[
        str, typer.Option(help="final, best, or auto: final where there is one.")
    ] = "auto",
    replace: ReplaceOption = False,
    json: JsonOption = False,
) -> None:
    """Import an nnU-Net v2 model, such as those of the Spinal Cord Toolbox."""
    from score_jax.errors import ConfigError
    from score_jax.interop import nnunet

    if checkpoint not in ("auto", "final", "best"):
        raise ConfigError(f"--checkpoint: got {checkpoint!r}; expected auto, final or best")
    _check_free(out, replace)
    kind = checkpoint
    if kind == "auto":
        there = {kind for kinds in nnunet.inspect(path).folds.values() for kind in kinds}
        kind = "best" if there == {"best"} else "final"
    folds = tuple(fold) if fold else None
    predictor = nnunet.load(path, folds, kind)
    _finish(predictor, path, out, json, {"checkpoint": kind})


@app.command("mdgru")
def mdgru_command(
    path: Annotated[
        Path, typer.Argument(help="PyTorch checkpoint file, or TensorFlow checkpoint (prefix).")
    ],
    out: OutOption,
    classes: Annotated[
        list[str] | None,
        typer.Option("--class", help="Name of class 1, 2, ... in this order; repeatable."),
    ] = None,
    channels: Annotated[
        list[str] | None,
        typer.Option("--channel", help="Name of each image channel in order; repeatable."),
    ] = None,
    highpass: Annotated[
        float, typer.Option(help="Sigma in mm of the high-passed copies; 0: trained without.")
    ] = 5.0,
    tile: Annotated[
        list[int] | None, typer.Option(help="Inference window, once an axis; repeatable.")
    ] = None,
    legacy_cgru_addition: Annotated[
        bool, typer.Option("--legacy-cgru-addition", help="TensorFlow option of training.")
    ] = False,
    put_r_back: Annotated[
        bool, typer.Option("--put-r-back", help="TensorFlow option of training.")
    ] = False,
    resgrux: Annotated[
        bool, typer.Option("--resgrux", help="TensorFlow option of training.")
    ] = False,
    resgruh: Annotated[
        bool, typer.Option("--resgruh", help="TensorFlow option of training.")
    ] = False,
    replace: ReplaceOption = False,
    json: JsonOption = False,
) -> None:
    """Import weights of MD-GRU; the architecture is read from them."""
    from score_jax.errors import ConfigError
    from score_jax.interop import mdgru, mdgru_predictor, tensorflow_file

    _check_free(out, replace)
    options = {
        "legacy_cgru_addition": legacy_cgru_addition,
        "put_r_back": put_r_back,
        "resgrux": resgrux,
        "resgruh": resgruh,
    }
    if tensorflow_file.is_checkpoint(path):
        network = mdgru.from_tensorflow(path, **options)
    elif any(options.values()):
        given = ", ".join(name for name, value in options.items() if value)
        raise ConfigError(f"{path}: {given} are options of TensorFlow checkpoints; this is none")
    else:
        network = mdgru.from_torch(path)
    predictor = mdgru_predictor.predictor(
        network,
        classes=classes or (),
        channels=channels or (),
        highpass_sigma_mm=highpass,
        tile=tile or (),
        name=out.name,
    )
    _finish(predictor, path, out, json, {})


def _check_free(out: Path, replace: bool) -> None:
    """Refuse to write over anything but, when told so, a model folder."""
    from score_jax.checkpointing import SPEC_FILE
    from score_jax.errors import OutputError

    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not (out / SPEC_FILE).is_file():
        raise OutputError(f"{out}: exists and is no model folder; choose another --out")
    if not replace:
        raise OutputError(f"{out}: holds a model already", hint="--replace overwrites it")


def _finish(predictor: Any, path: Path, out: Path, json: bool, more: dict[str, Any]) -> None:
    predictor.save(out)
    spec = predictor.spec
    if json:
        _console.print_json(
            {"source": str(path), "model": str(out), **more, "members": len(predictor.members),
             "sha256": predictor.sha256, **spec.to_json()}
        )  # fmt: skip
        return
    count = len(predictor.members)
    checkpoint = f", checkpoint_{more['checkpoint']}" if more else ""
    _console.say(f"{path}: {spec.kind}, {count} member{'s' * (count != 1)}{checkpoint}")
    _console.print_table(
        ["region", "labels", "written as"],
        [[r.name, ", ".join(map(str, r.labels)), r.value] for r in spec.regions],
    )
    _console.say(f"Written to {out}; use it with: score-jax predict IMAGE --model {out}")
