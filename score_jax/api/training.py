"""Training on a dataset: find it, split it, prepare it, run the loop, sum up."""

import contextlib
import dataclasses
import math
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from score_jax import __version__, checkpointing, data
from score_jax._types import PathLike
from score_jax.api import about, runs
from score_jax.api.models import load_network
from score_jax.api.planning import DESCRIPTION, FINGERPRINT, Planned
from score_jax.api.runs import CONFIG, SPLIT
from score_jax.api.validation import validate
from score_jax.augment import source_shape
from score_jax.config import ModelSpec, Preprocessing, TrainConfig, load_config, to_toml
from score_jax.data import batches, mixing
from score_jax.data.prepared import PreparedDataset, prepare_dataset
from score_jax.errors import ConfigError, DatasetError, OutputError, ScoreError, errors_of_disk
from score_jax.imaging import load_header, write_json, write_text
from score_jax.inference import Predictor
from score_jax.metrics import dice
from score_jax.phantom.randomise import REGIONS as PHANTOM_REGIONS
from score_jax.phantom.randomise import Patches, training_batch
from score_jax.phantom.volumes import Volumes
from score_jax.training import Task, devices, events, members
from score_jax.training import train as run_training

SUMMARY = "summary.json"


@dataclass(frozen=True, slots=True)
class TrainedRun:
    """What a training run left behind.

    Args:
      folder: the run folder; `load_model` takes it.
      step: optimiser steps done.
      finished: False if a signal stopped it (`train(..., resume=True)` goes on).
      dice: mean Dice of each region over the validation images, of the best checkpoint.
    """

    folder: Path
    step: int
    finished: bool
    dice: Mapping[str, float]


def train(
    dataset: PathLike,
    config: TrainConfig | None = None,
    *,
    out: PathLike,
    resume: bool = False,
    init: PathLike | None = None,
    network: Predictor | None = None,
    tensorboard: bool = False,
    prepared: PathLike | None = None,
    verify: bool = False,
    planned: Planned | None = None,
    arguments: Sequence[str] = (),
    on_event: events.OnEvent = lambda event: None,
) -> TrainedRun:
    """Train a network, or an ensemble of one shape, on a dataset; the run folder holds all of it.

    Args:
      dataset: nnU-Net raw folder, BIDS dataset with derivatives, or a table of paths.
      config: what to train and how; None for the defaults, or with `resume` the run's own.
      out: the run folder: checkpoints/, config.toml, split.json, run.json, metrics.jsonl,
        progress.png, validation/, summary.json.
      init: a model to start from (fine-tuning): weights that fit by name and shape are taken,
        outputs by the region's name.
        `planning.recipe.like` gives a configuration of its network.
      network: what `init` names, where it is loaded already.
      resume: go on from the newest checkpoint of `out`, with its own configuration and split.
      tensorboard: also write TensorBoard files.
      prepared: folder for the images on the network's grid; several runs of one grid may share it.
        By default ``prepared/`` in the run folder.
      verify: read every file of the dataset again, whatever its size and times say.
      planned: where `config` comes from, to be kept in the run folder.
      arguments: the command line, for ``run.json``.
      on_event: told what happens (see `training.events`).

    Raises:
      DatasetError, ImageError, GeometryError: something is wrong with the dataset, by file.
      ConfigError: a configuration that does not fit the dataset.
      OutputError: `out` holds a run already, or the disk is full.
      DivergedError: the loss is not finite.
    """
    run, lead = Path(out), devices.is_lead()
    config = _configuration(run, config, resume)
    found = runs.discover(dataset, config)
    raters = data.discover_raters(dataset, config.data.raters, found)
    _check_trainable(found)
    plan = members.of(config)
    splits = _splits(run, found, plan, config, resume)
    spec = _spec(config, found, _resolved(config, found, splits))
    if resume:
        init = init or about.read_run(run).get("init")
    if init is None or _started(run):  # a checkpoint has its own weights
        network = None
    elif network is None:
        network = load_network(init)
    new = not run.exists()
    try:
        ready = _prepare(run, config, spec, found, raters, splits, prepared, verify, on_event)
    except ScoreError:
        if lead and new:  # a dataset that cannot be used leaves no run behind
            shutil.rmtree(run, ignore_errors=True)
        raise
    if lead:
        with errors_of_disk(run):
            run.mkdir(parents=True, exist_ok=True)
        write_text(run / CONFIG, to_toml(config))
        data.write_splits(run / SPLIT, splits)
        if planned is not None:
            write_json(run / "plans.json", planned.plans)
            write_json(run / FINGERPRINT, planned.fingerprint)
            write_json(run / DESCRIPTION, planned.description)
    if lead:
        known = {
            "dataset": str(Path(dataset).absolute()),
            "sha256": {name: ready[name].about["sha256"] for name in ready.cases},
        }
        about.write_run(run, arguments, data=known, init=None if init is None else str(init))
    devices.together("prepared")
    stopped = run_training(
        _task(config, spec, plan, splits, ready),
        run,
        resume=resume,
        init=None if network is None else (network.spec, network.members[0]),
        tensorboard=tensorboard,
        on_event=on_event,
    )
    best: Mapping[str, float] = {}
    if stopped.finished and lead:
        validated = validate(run, dataset, arguments=arguments)
        best = validated.dice
        _, weights = checkpointing.load_model(run)
        write_json(
            run / SUMMARY,
            {
                "score_jax": __version__,
                "steps": stopped.step,
                "weights_sha256": [checkpointing.weights_sha256(params) for params in weights],
                "validation": {"mean_dice": best, "cases": list(validated.cases)},
            },
        )
    devices.together("done")
    return TrainedRun(run, stopped.step, stopped.finished, best)


def _prepare(
    run: Path,
    config: TrainConfig,
    spec: ModelSpec,
    found: data.Dataset,
    raters: Mapping[str, data.Dataset],
    splits: Sequence[data.Split],
    folder: PathLike | None,
    verify: bool,
    on_event: events.OnEvent,
) -> PreparedDataset:
    """All cases of the run on the network's grid; the first process prepares, the others follow."""
    names = sorted({name for split in splits for name in (*split.train, *split.val)})

    def make() -> PreparedDataset:
        return prepare_dataset(
            found,
            names,
            spec.preprocessing,
            run / "prepared" if folder is None else folder,
            workers=config.compute.workers,
            raters=raters,
            thin_axis=config.slice_axis if config.ndim == 2 else None,
            verify=verify,
            on_case=lambda done, total: on_event(events.Prepared(done, total)),
        )

    ready = make() if devices.is_lead() else None
    devices.together("preparing")
    return make() if ready is None else ready


def _task(
    config: TrainConfig,
    spec: ModelSpec,
    plan: Sequence[members.Member],
    splits: Sequence[data.Split],
    ready: PreparedDataset,
) -> Task:
    shape = source_shape(config.augment, config.sampling.patch)
    choice = config.data.rater_choice if config.data.raters else None
    drawn = [
        batches.Member(m.seed, split.train, choice if m.rater is None else m.rater)
        for m, split in zip(plan, splits, strict=True)
    ]

    seeds = [member.seed for member in plan]
    simulated = _phantom(config, spec, shape, seeds)

    @contextlib.contextmanager
    def stream(first: int) -> Iterator[Iterator[batches.Batch]]:
        opened = batches.open_batches(
            ready,
            drawn,
            config.sampling,
            shape=shape,
            slice_axis=config.slice_axis,
            first_step=first,
            steps=config.steps,
            workers=config.compute.workers,
        )
        with opened as drawn_from_dataset:
            if not simulated:
                yield drawn_from_dataset
                return
            yield mixing.mix(
                drawn_from_dataset,
                simulated,
                share=config.data.simulated,
                seeds=seeds,
                first_step=first,
            )

    return Task(
        config=config,
        spec=spec,
        seeds=seeds,
        stream=stream,
        validate=_validator(config, spec, plan, splits, ready),
        training_cases=len({name for split in splits for name in split.train}),
        validation_cases=len({name for split in splits for name in split.val}),
        ignore=ready.has_ignore,
    )


def _phantom(
    config: TrainConfig, spec: ModelSpec, shape: Sequence[int], seeds: Sequence[int]
) -> list[mixing.Draw]:
    """The phantoms that make a share of the batches, one a network; none if none are wanted."""
    if not config.data.simulated:
        return []
    spacing = spec.preprocessing.spacing_mm
    flat = len(shape) == 2
    if spec.in_channels != 1 or (spec.slice_axis != 2 if flat else not all(spacing)):
        raise ConfigError(
            f"data.simulated: got a {len(shape)}-D network of {spec.in_channels} channels on a "
            f"grid of {list(spacing)} mm; the phantom makes images of one channel: axial slices, "
            "or volumes of known spacing"
        )
    names = [region.name for region in spec.regions]
    if unknown := set(names) - set(PHANTOM_REGIONS):
        raise ConfigError(
            f"data.simulated: the phantom knows no region {', '.join(sorted(unknown))}; expected "
            f"some of {', '.join(PHANTOM_REGIONS)}"
        )
    common: dict[str, Any] = {
        "contrast": config.data.simulated_contrast,
        "strength": config.data.simulated_strength,
        # a window of a whole scan sees the cord anywhere, and a small scan does not fill a window
        "shift_mm": min(shape[:2]) * (spacing[0] or 0.6) / 3,
        "narrow": 0.3,
    } | ({} if config.data.simulated_artefacts else {"artefacts": 0.0})
    size = config.sampling.batch

    def axial(seed: int) -> mixing.Draw:
        patch, pixel = (shape[0], shape[1]), spacing[0] or None
        source = Patches(seed=seed, shape=patch, spacing_mm=pixel, **common)
        return lambda step: training_batch(source, step, size=size, regions=names)

    def volumes(seed: int) -> mixing.Draw:
        patch = (shape[0], shape[1], shape[2])
        sides = (spacing[0], spacing[1], spacing[2])
        source = Volumes(
            seed=seed, shape=patch, spacing_mm=sides, thickness_mm=(1.0, 8.0), **common
        )
        return lambda step: source.training_batch(step, size=size, regions=names)

    return [axial(seed) if flat else volumes(seed) for seed in seeds]


def _configuration(run: Path, config: TrainConfig | None, resume: bool) -> TrainConfig:
    if not resume:
        if _started(run):
            raise OutputError(
                f"{run}: holds a training run already",
                hint="--resume continues it; or choose another --out",
            )
        return config or TrainConfig()
    if not (run / CONFIG).is_file():
        raise OutputError(
            f"{run}: got no {CONFIG}; expected the run to resume",
            hint="leave out --resume to start a new run",
        )
    own = load_config(run / CONFIG)
    if config is not None and config != own:
        raise ConfigError(
            f"{run}: a resumed run keeps its own configuration, and another was given",
            hint=f"leave out --config, --set and the like, or edit {run / CONFIG}",
        )
    return own


def _started(run: Path) -> bool:
    """Whether the run has a checkpoint."""
    return bool(checkpointing.finished_steps(run / "checkpoints"))


def _check_trainable(found: data.Dataset) -> None:
    if not found.regions:
        raise DatasetError(f"{found.root}: declares no region to learn; expected masks")


def _splits(
    run: Path,
    found: data.Dataset,
    plan: Sequence[members.Member],
    config: TrainConfig,
    resume: bool,
) -> list[data.Split]:
    """One split a member; a resumed run keeps those it was started with."""
    if resume and (run / SPLIT).is_file():
        return data.read_splits(run / SPLIT, found)
    wanted = config.data
    if wanted.folds:
        folds = data.k_fold(found.cases, wanted.folds, wanted.split_seed)
        return [folds[member.fold] for member in plan]
    if wanted.validation_fraction == 0:
        return [data.Split(tuple(case.id for case in found.cases), ())] * len(plan)
    return [
        data.hold_out(found.cases, wanted.validation_fraction, member.split_seed) for member in plan
    ]


def _resolved(
    config: TrainConfig, found: data.Dataset, splits: Sequence[data.Split]
) -> Preprocessing:
    """Preprocessing with the spacing filled in: the training median; 2-D keeps its slices."""
    given = config.preprocessing
    if given.spacing_mm:
        return given
    names = sorted({name for split in splits for name in split.train})
    spacings = []
    for name in names:
        grid = load_header(found.case(name).images[0])
        grid = grid.reoriented(given.axcodes) if given.axcodes else grid
        spacings.append([grid.spacing[axis] for axis in given.transpose])
    median = [float(round(v, 6)) for v in np.median(spacings, axis=0)]
    if config.ndim == 2:
        median[config.slice_axis] = 0.0
    return dataclasses.replace(given, spacing_mm=tuple(median))


def _spec(config: TrainConfig, found: data.Dataset, preprocessing: Preprocessing) -> ModelSpec:
    channels = len(found.channel_names) * (2 if preprocessing.highpass_sigma_mm else 1)
    if config.model == "unet":
        options = config.unet.arguments()
        strides = np.prod(options["strides"], axis=0)
        if any(np.asarray(config.sampling.patch) % strides):
            raise ConfigError(
                f"sampling.patch: got {list(config.sampling.patch)}; expected multiples of "
                f"{strides.tolist()} (the U-Net's strides)"
            )
    else:
        options = dataclasses.asdict(config.mdgru)
    return ModelSpec(
        kind=config.model,
        options=options,
        in_channels=channels,
        channel_names=found.channel_names,
        regions=found.regions,
        exclusive=config.exclusive,
        preprocessing=preprocessing,
        tile=config.sampling.patch,
        slice_axis=config.slice_axis,
        mirror_axes=config.augment.mirror_axes if config.augment.enabled else (),
    )


def _validator(
    config: TrainConfig,
    spec: ModelSpec,
    plan: Sequence[members.Member],
    splits: Sequence[data.Split],
    ready: PreparedDataset,
) -> Callable[[Mapping[Any, Any], int], dict[str, float]]:
    """Mean Dice of each region over the images held out from a member, on the image's own grid.

    With several raters a member that learns all of them is scored against their majority.
    """
    predictor = Predictor(spec, [{}])
    most = config.data.validation_images or None

    def validate(params: Mapping[Any, Any], member: int) -> dict[str, float]:
        predictor.members = [params]
        scores: dict[str, list[float]] = {region.name: [] for region in spec.regions}
        for name in splits[member].val[:most]:
            case = ready[name]
            prepared = case.load()
            masks, _ = predictor.export(prepared, predictor.network_logits(prepared), soft=False)
            drawn, rater = case.truth(), plan[member].rater
            truth = drawn.mean(0) > 0.5 if rater is None else drawn[rater]
            for number, region in enumerate(spec.regions):
                found, wanted = masks[region.name], truth[..., number]
                if ready.has_ignore:
                    found, wanted = (mask & ~truth[..., -1] for mask in (found, wanted))
                scores[region.name].append(float(dice(found, wanted)))
        return {name: _mean(values) for name, values in scores.items()}

    return validate


def _mean(values: Sequence[float]) -> float:
    """Mean of what is known; a case without the region in mask and truth does not count."""
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan
