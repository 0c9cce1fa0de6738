"""`score-jax plan`: fingerprint of a dataset and the networks that fit it, as nnU-Net plans."""

from pathlib import Path
from typing import Annotated, Any

import typer

from score_jax.cli import _console

FINGERPRINT = "dataset_fingerprint.json"


def command(
    dataset: Annotated[
        Path,
        typer.Argument(
            help="Dataset, or a folder with dataset.json and dataset_fingerprint.json only."
        ),
    ],
    planner: Annotated[
        str, typer.Option(help="default, resenc-m, resenc-l or resenc-xl.")
    ] = "default",
    gpu_memory: Annotated[
        float | None,
        typer.Option("--gpu-memory", help="GB to plan for; the planner's own by default."),
    ] = None,
    spacing: Annotated[
        str, typer.Option(help="Target spacing in mm, z,y,x as nnU-Net counts, e.g. 3.0,0.6,0.6.")
    ] = "",
    out: Annotated[
        Path | None, typer.Option(help="Folder for the two files; by default the dataset's own.")
    ] = None,
    name: Annotated[
        str, typer.Option("--name", help="Name of the plans; nnU-Net's own by default.")
    ] = "",
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Plan networks for a dataset; nnU-Net reads the plans, and we read nnU-Net's."""
    from score_jax import api
    from score_jax.imaging import write_json

    with _console.counting("fingerprint") as count:
        planned = api.plan(
            dataset,
            planner_name=planner,
            gpu_memory_gb=gpu_memory,
            spacing=_numbers(spacing),
            plans_name=name or None,
            on_case=count,
        )
    fingerprint, plans = planned.fingerprint, planned.plans
    folder = out or _home(dataset)
    files = {
        "fingerprint": folder / FINGERPRINT,
        "dataset": folder / "dataset.json",
        "plans": folder / f"{plans['plans_name']}.json",
    }
    if files["fingerprint"] != dataset / FINGERPRINT or not files["fingerprint"].is_file():
        write_json(files["fingerprint"], fingerprint)
    if not files["dataset"].is_file():
        write_json(files["dataset"], planned.description)
    write_json(files["plans"], _with_own_configurations(plans, files["plans"]))
    if json:
        paths = {key: str(path) for key, path in files.items()}
        _console.print_json({"files": paths, "fingerprint": fingerprint, "plans": plans})
        return
    for note in planned.notes:
        _console.say(note)
    _report(plans, len(fingerprint["spacings"]))
    for path in files.values():
        _console.say(f"  {path}")


def _home(dataset: Path) -> Path:
    """Where the files of a dataset go by default: nnU-Net's beside its dataset.json."""
    if (dataset / "dataset.json").is_file():
        return dataset
    return (dataset if dataset.is_dir() else dataset.parent) / "derivatives" / "score-jax"


def _numbers(text: str) -> list[float] | None:
    from score_jax.errors import ConfigError

    if not text:
        return None
    try:
        return [float(part) for part in text.replace("x", ",").split(",")]
    except ValueError:
        raise ConfigError(f"--spacing: got {text!r}; expected such as 3.0,0.6,0.6") from None


def _with_own_configurations(plans: dict[str, Any], path: Path) -> dict[str, Any]:
    """`plans` with the configurations that a user added to the file that is there."""
    from score_jax.imaging import read_json

    if not path.is_file():
        return plans
    old = read_json(path).get("configurations", {})
    return {**plans, "configurations": {**old, **plans["configurations"]}}


def _report(plans: dict[str, Any], cases: int) -> None:
    rows = []
    for name, settings in plans["configurations"].items():
        if "architecture" not in settings:
            rows.append([name, f"inherits {settings.get('inherits_from')}", "", "", "", ""])
            continue
        network = settings["architecture"]["arch_kwargs"]
        rows.append(
            [
                name,
                " x ".join(f"{mm:.3g}" for mm in settings["spacing"]),
                " x ".join(str(n) for n in settings["patch_size"]),
                settings["batch_size"],
                network["n_stages"],
                settings["normalization_schemes"][0],
            ]
        )
    columns = ["configuration", "spacing (mm)", "patch", "batch", "stages", "normalization"]
    _console.print_table(columns, rows)
    _console.say(
        f"{plans['plans_name']} of {cases} cases; axes: stored z, y, x in the order "
        f"{plans['transpose_forward']}"
    )
