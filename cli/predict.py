"""`score-jax predict`: segment scans with a trained model."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from score_jax.cli import _console, _device


def command(
    inputs: Annotated[
        list[Path], typer.Argument(help="NIfTI files, folders of them, or BIDS datasets.")
    ],
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            help="A shipped model's name, a run or a model folder; repeat it to average several. "
            "By default the shipped model that suits the scan (its channels, name and grid).",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for the masks; by default beside each scan, or derivatives/."),
    ] = None,
    soft: Annotated[bool, typer.Option("--soft", help="Also write probabilities.")] = False,
    tta: Annotated[
        bool, typer.Option("--tta", help="Average over flips: slower, a little better.")
    ] = False,
    crop: Annotated[
        bool | None,
        typer.Option(
            "--crop/--no-crop",
            help="Find the cord first and segment only around it; by default where it saves time.",
        ),
    ] = None,
    crop_margin: Annotated[
        float | None,
        typer.Option(min=0, help="mm around the cord, at least; means --crop.", metavar="MM"),
    ] = None,
    spread: Annotated[
        bool,
        typer.Option(
            "--spread", help="Also write how far the networks of an ensemble, or samples, differ."
        ),
    ] = False,
    vote: Annotated[
        bool, typer.Option("--vote", help="Majority of an ensemble's networks, not their mean.")
    ] = False,
    samples: Annotated[
        int, typer.Option(help="Draw DropConnect so often (MDGRU), for --spread or --vote.")
    ] = 0,
    no_postprocessing: Annotated[
        bool,
        typer.Option("--no-postprocessing", help="Leave the masks as the network finds them."),
    ] = False,
    qc: Annotated[Path | None, typer.Option(help="Folder for one picture a scan.")] = None,
    runtime: Annotated[
        str, typer.Option(help="jax, onnx (onnxruntime), or auto: the faster, today jax.")
    ] = "auto",
    device: _device.DeviceOption = "auto",
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Segment scans: one mask a region, in each scan's own grid and orientation."""
    where = _device.use(device)
    _device.keep_compiled()
    from score_jax import api

    results: list[api.Predicted | api.Failed] = []
    with _console.progress_bar() as bar:
        task = bar.add_task("predict", total=None, note="")

        def on_case(number: int, total: int, path: Path) -> None:
            bar.update(task, description=f"{number + 1}/{total} {path.name}", completed=0)

        def on_tile(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        for models, why, paths in _groups(model, inputs, out):
            predictor = api.load_models(models)
            api.use_runtime(predictor, runtime)
            _console.say(
                f"Model {predictor.name}{why}: {_regions(predictor)}; computing on {where}"
            )
            results += api.predict(
                paths,
                predictor,
                out=out,
                soft=soft,
                tta=tta,
                postprocess=not no_postprocessing,
                crop=_crop(crop, crop_margin),
                spread=spread,
                vote=vote,
                samples=samples,
                qc=qc,
                arguments=["score-jax", *sys.argv[1:]],
                on_case=on_case,
                on_tile=on_tile,
            )
            if predictor.postprocessing.rules and not no_postprocessing:
                rules = "; ".join(map(str, predictor.postprocessing.rules))
                _console.say(f"Post-processing: {rules}")
    done = [r for r in results if isinstance(r, api.Predicted)]
    if json:
        _console.print_json({"cases": [_record(result) for result in results]})
    for result in done:
        _report(result)
    failed = [r for r in results if isinstance(r, api.Failed)]
    if failed and len(results) == 1:
        raise failed[0].error
    for result in failed:
        _console.say(f"score-jax: not segmented: {result.error}")
    if failed:
        raise typer.Exit(2)


def _groups(
    models: list[str] | None, inputs: list[Path], out: Path | None
) -> list[tuple[list[str], str, list[Path]]]:
    """Models, why (if they were chosen here), and the inputs for them."""
    from score_jax import api

    if models:
        return [(models, "", inputs)]
    choices = api.choose_models(inputs)
    if len(choices) > 1:
        api.check_outputs(inputs, out)
    return [([choice.model], f", {choice.why}", list(choice.inputs)) for choice in choices]


def _regions(predictor: Any) -> str:
    return ", ".join(f"{r.name} (value {r.value})" for r in predictor.regions)


def _report(result: Any) -> None:
    volumes = ", ".join(f"{name} {mm3:.0f} mm3" for name, mm3 in result.volumes_mm3.items())
    stages = ", ".join(f"{name} {s:.1f}" for name, s in result.seconds.items() if name != "total")
    _console.say(f"{result.input.name}: {volumes}")
    _console.say(f"  {result.seconds['total']:.1f} s ({stages})")
    if result.crop is not None and result.crop.margin_mm is not None:
        _console.say(f"  {result.crop.note}{_extent(result.crop)}")
    for path in result.outputs.values():
        _console.say(f"  {path}")
    empty = [name for name, mm3 in result.volumes_mm3.items() if mm3 == 0]
    if empty:
        _console.say(f"  no {' and no '.join(empty)} found (empty masks were written)")


def _crop(wanted: bool | None, margin_mm: float | None) -> str | float:
    from score_jax.errors import ConfigError
    from score_jax.inference.cropping import MARGIN_MM

    if wanted is False:
        if margin_mm is not None:
            raise ConfigError("--crop-margin: got one with --no-crop; expected one of the two")
        return "none"
    if wanted is None and margin_mm is None:
        return "auto"
    return MARGIN_MM if margin_mm is None else margin_mm


def _extent(crop: Any) -> str:
    if crop.box is None:
        return ""
    sides = ", ".join(f"{side.start} to {side.stop - 1}" for side in crop.box)
    return f" and {crop.margin_mm:g} mm or more around it: voxels {sides}"


def _record(result: Any) -> dict[str, Any]:
    from score_jax import api
    from score_jax.api.prediction import crop_record

    if isinstance(result, api.Failed):
        return {"input": str(result.input), "error": str(result.error)}
    return {
        "input": str(result.input),
        "outputs": {name: str(path) for name, path in result.outputs.items()},
        "seconds": dict(result.seconds),
        "volumes_mm3": dict(result.volumes_mm3),
        "crop": None if result.crop is None else crop_record(result.crop),
    }
