"""`score-jax train`: train a network on a dataset."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from score_jax.cli import _console, _device


def command(
    dataset: Annotated[
        Path, typer.Argument(help="nnU-Net raw folder, BIDS dataset, or a table (.tsv) of paths.")
    ],
    out: Annotated[Path, typer.Option("--out", help="The run folder.")],
    model: Annotated[
        str,
        typer.Option(
            help="Preset: unet or mdgru, which learn on a laptop; or a published recipe, made for "
            "a GPU: nnunet (planned from the dataset), sciseg (the same, its loss), mdgru-original."
        ),
    ] = "unet",
    config: Annotated[
        Path | None, typer.Option("--config", help="TOML file instead of the preset.")
    ] = None,
    plan: Annotated[
        Path | None,
        typer.Option(help="plans.json of `score-jax plan` or nnU-Net, beside its dataset.json."),
    ] = None,
    configuration: Annotated[
        str, typer.Option(help="Which configuration of --plan.")
    ] = "3d_fullres",
    planner: Annotated[
        str,
        typer.Option(help="For nnunet and sciseg: default, resenc-m, resenc-l or resenc-xl."),
    ] = "default",
    init: Annotated[
        str,
        typer.Option(help="Fine-tune this model: its network, and the weights that fit."),
    ] = "",
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", help="key=value, e.g. optimizer.learning_rate=1e-3; repeatable."),
    ] = None,
    regions: Annotated[
        str, typer.Option(help="Masks to learn, e.g. cord,lesion (BIDS and tables).")
    ] = "",
    steps: Annotated[int | None, typer.Option(help="Optimiser steps in all.")] = None,
    epochs: Annotated[int | None, typer.Option(help="The same in epochs of 250 steps.")] = None,
    fold: Annotated[
        str, typer.Option(help="Fold held out of a 5-fold split, or 'all': train on everything.")
    ] = "",
    seed: Annotated[int | None, typer.Option(help="Seed; the same one repeats the run.")] = None,
    seeds: Annotated[
        int | None, typer.Option(help="Train so many networks that differ by their seed.")
    ] = None,
    ensemble: Annotated[
        str,
        typer.Option(
            "--members",
            metavar="WHAT",
            help="Train a network for each of: folds, splits (SCIseg's five), raters, or several "
            "of these at once, e.g. folds,raters.",
        ),
    ] = "",
    patience: Annotated[
        int | None, typer.Option(help="Stop after so many validations without a better score.")
    ] = None,
    prepared: Annotated[
        Path | None,
        typer.Option(help="Folder for prepared images, to share between runs of one grid."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes that prepare images and cut patches.")
    ] = None,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify", help="Read every file again, even if size and times are as prepared."
        ),
    ] = False,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Also write TensorBoard files.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the newest checkpoint of --out.")
    ] = False,
    distributed: Annotated[
        str,
        typer.Option(
            metavar="HOW",
            help="Train in several processes: 'auto' under Slurm, or HOST:PORT,PROCESSES,NUMBER.",
        ),
    ] = "",
    device: _device.DeviceOption = "auto",
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Train a network; the run folder gets checkpoints, metrics, a picture and a summary."""
    given = ["data.folds=5"] if "folds" in ensemble.split(",") else []
    given += overrides or []
    if regions:
        given.append(f"data.regions={regions.split(',')}")
    given += [f"steps={steps}"] if steps is not None else []
    given += _fold(fold) if fold else []
    given += [f"seed={seed}"] if seed is not None else []
    given += [f"ensemble.seeds={seeds}"] if seeds is not None else []
    given += _members(ensemble) if ensemble else []
    given += [f"patience={patience}"] if patience is not None else []
    given += [f"compute.workers={workers}"] if workers is not None else []
    _one_length(epochs, given)
    plain = not (given or config or plan or epochs or init) and model == "unet"
    planned = settings = network = None
    if not (resume and plain):
        base, network = _settings(model, config, plan, configuration, init)
        if model in _PLANNED and not (resume or config or plan or init):
            planned, base = _plan(dataset, base, tuple(given), planner, configuration)
        settings = _overridden(base, tuple(given), epochs)

    if distributed:
        from score_jax.training import devices

        devices.join(distributed)
    where = _device.use(device)
    from score_jax import api

    _console.say(f"Training on {where}")
    with _Progress() as report:
        run = api.train(
            dataset,
            settings,
            out=out,
            resume=resume,
            init=init or None,
            network=network,
            tensorboard=tensorboard,
            prepared=prepared,
            verify=verify,
            planned=planned,
            arguments=["score-jax", *sys.argv[1:]],
            on_event=report,
        )
    if json:
        _console.print_json(
            {
                "run": str(run.folder),
                "step": run.step,
                "finished": run.finished,
                "validation_dice": dict(run.dice),
            }
        )
    if not run.finished:
        _console.say(f"Stopped at step {run.step}, saved. Go on with:")
        _console.say(f"  score-jax train {dataset} --out {out} --resume")
        return
    scores = ", ".join(f"{name} {value:.3f}" for name, value in run.dice.items())
    _console.say(f"Done: {run.folder} (validation Dice: {scores or 'no validation images'})")
    _console.say(f"Use it with:  score-jax predict SCAN.nii.gz --model {out}")


_PLANNED = ("nnunet", "sciseg")
_PRESETS = ("unet", "mdgru", *_PLANNED, "mdgru-original")


def _settings(
    model: str, path: Path | None, plan: Path | None, configuration: str, init: str
) -> tuple[Any, Any]:
    """The preset or file with the plan or model to start from; and that model, if it was read."""
    from score_jax.config import load_config, preset
    from score_jax.errors import ConfigError

    if model not in _PRESETS:
        raise ConfigError(f"--model: got {model!r}; expected one of {', '.join(_PRESETS)}")
    settings = load_config(path or preset(model))
    if plan is not None:
        from score_jax.imaging import read_json
        from score_jax.planning.recipe import train_config

        if model.startswith("mdgru"):
            raise ConfigError(f"--plan: plans describe U-Nets; leave out --model {model}")
        file = plan / "nnUNetPlans.json" if plan.is_dir() else plan
        settings = train_config(
            read_json(file),
            read_json(file.parent / "dataset.json"),
            configuration,
            base=settings,
            where=str(file),
        )
    if init and path is None and plan is None:
        from score_jax import api
        from score_jax.planning.recipe import like

        network = api.load_network(init)
        return like(network.spec, base=settings), network
    return settings, None


def _plan(
    dataset: Path, settings: Any, given: tuple[str, ...], planner: str, configuration: str
) -> tuple[Any, Any]:
    """Plans for the dataset, and `settings` with what they ask for."""
    from score_jax import api
    from score_jax.api import runs
    from score_jax.config import override
    from score_jax.planning.recipe import train_config

    found = runs.discover(dataset, override(settings, given))
    with _console.counting("fingerprint") as count:
        planned = api.plan(dataset, planner_name=planner, found=found, on_case=count)
    settings = train_config(planned.plans, planned.description, configuration, base=settings)
    patch = " x ".join(str(n) for n in settings.sampling.patch)
    _console.say(f"Planned {configuration}: patch {patch}, batch {settings.sampling.batch}")
    return planned, settings


def _overridden(settings: Any, given: tuple[str, ...], epochs: int | None) -> Any:
    """`settings` with the command line on top."""
    from score_jax.config import override

    settings = override(settings, given)
    if epochs is not None:
        settings = override(settings, (f"steps={epochs * settings.steps_per_epoch}",))
    return settings


def _one_length(epochs: int | None, given: list[str]) -> None:
    from score_jax.errors import ConfigError

    if epochs is not None and any(setting.startswith("steps=") for setting in given):
        raise ConfigError(f"--epochs {epochs}: got a number of steps, too; expected one of them")


def _fold(fold: str) -> list[str]:
    from score_jax.errors import ConfigError

    if fold == "all":
        return ["data.folds=0", "data.validation_fraction=0.0"]
    if not fold.isdigit():
        raise ConfigError(f"--fold: got {fold!r}; expected a number from 0 to 4, or 'all'")
    return ["data.folds=5", f"data.fold={fold}"]


def _members(text: str) -> list[str]:
    """Settings of an ensemble, e.g. of ``folds,raters``."""
    from score_jax.data.splits import SCISEG_SEEDS
    from score_jax.errors import ConfigError

    known = {
        "folds": "ensemble.folds=true",
        "raters": "ensemble.raters=true",
        "splits": f"ensemble.splits={list(SCISEG_SEEDS)}",
    }
    words = text.split(",")
    for word in words:
        if word not in known:
            raise ConfigError(f"--members: got {word!r}; expected folds, splits or raters")
    return [known[word] for word in words]


class _Progress:
    """Training events as a progress bar; off a terminal, a line at each validation."""

    def __init__(self) -> None:
        self._bar = _console.progress_bar()
        self._task: Any = None
        self._preparing: Any = None
        self._loss = float("nan")

    def __enter__(self) -> "_Progress":
        self._bar.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._bar.__exit__(*error)

    def __call__(self, event: Any) -> None:
        from score_jax.training import events

        if isinstance(event, events.Prepared):
            if self._preparing is None:
                self._preparing = self._bar.add_task("prepare", total=event.total, note="")
            self._bar.update(self._preparing, completed=event.done)
        elif isinstance(event, events.Started):
            start = f", going on from step {event.step}" if event.step else ""
            networks = f"{event.members} networks of " if event.members > 1 else ""
            _console.say(
                f"{networks}{event.parameters:,} weights, {event.training_cases} training and "
                f"{event.validation_cases} validation images, {event.steps} steps{start}"
            )
            self._task = self._bar.add_task(
                "train", total=event.steps, completed=event.step, note="compiling"
            )
        elif isinstance(event, events.Compiled):
            _console.say(f"Compiled in {event.seconds:.0f} s")
        elif isinstance(event, events.Stepped):
            self._loss = event.loss
            rate, waited = event.images_per_s, round(100 * event.waited)
            note = f"loss {event.loss:.3f}, {rate:.3g} images/s, device waited {waited} %"
            self._bar.update(self._task, completed=event.step, note=note)
        elif isinstance(event, events.Validated):
            dice = ", ".join(f"{name} {value:.3f}" for name, value in event.dice.items())
            best = " (best so far)" if event.best else ""
            _console.say(f"step {event.step}: loss {self._loss:.3f}, validation Dice {dice}{best}")
        elif isinstance(event, events.Note):
            _console.say(event.text)
