"""The networks of the SCI study: one for each seed, all of a phase in one training."""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

from score_jax import data
from score_jax.api import load_network, runs
from score_jax.api import train as run_training
from score_jax.checkpointing import finished_steps
from score_jax.config import TrainConfig, override, to_toml
from score_jax.errors import ConfigError
from score_jax.imaging import read_json, write_json, write_text, write_tsv
from score_jax.inference import Predictor
from score_jax.study.sci_cohort import Scan
from score_jax.study.sci_options import SciOptions
from score_jax.study.score_training import Interrupted
from score_jax.training import events

RUN, SEEDS = "run", "seeds.json"


@final
@dataclass(frozen=True, slots=True)
class Lesson:
    """What the network of one seed learns in one phase.

    Args:
      seed: of the split.
      cases: ids of the scans.
    """

    seed: int
    cases: tuple[str, ...]


def train(
    folder: Path,
    scans: Sequence[Scan],
    lessons: Sequence[Lesson],
    config: TrainConfig,
    options: SciOptions,
    *,
    prepared: Path,
    on_event: Callable[[events.Event], None] = lambda event: None,
) -> None:
    """Train the networks of all seeds in ``folder/run``; goes on where an earlier call was killed.

    They are the members of one ensemble, each with its own training scans and its own batches: on a
    GPU all at once, on a CPU one after another.

    Args:
      folder: the stage's.
      scans: all that any seed learns, with the masks it learns them from.
      lessons: who learns what.
      config: the recipe.
      options: how often to save.
      prepared: folder for the scans on the network's grid, shared with other phases.
      on_event: told what happens.

    Raises:
      Interrupted: a signal came; what was learned is saved.
    """
    run = folder / RUN
    if not finished_steps(run / "checkpoints"):
        shutil.rmtree(run, ignore_errors=True)
        wanted = {case for lesson in lessons for case in lesson.cases}
        used = [scan for scan in scans if scan.case.id in wanted]
        write_tsv(folder / "cases.tsv", [_row(scan) for scan in used])
        run.mkdir(parents=True, exist_ok=True)
        # with a split of its own in its folder, a run takes that instead of drawing one
        data.write_splits(run / runs.SPLIT, [data.Split(les.cases, ()) for les in lessons])
        names = list(scans[0].case.region_masks)
        own = (
            f"data.regions={json.dumps(names)}",
            f"validate_each={max(1, -(-config.steps // options.checkpoints))}",
            f"ensemble.seeds={len(lessons)}",
        )
        write_text(run / runs.CONFIG, to_toml(override(config, own)))
        write_json(folder / SEEDS, [lesson.seed for lesson in lessons])
    done = run_training(
        folder / "cases.tsv", None, out=run, resume=True, prepared=prepared, on_event=on_event
    )
    if not done.finished:
        raise Interrupted(f"{folder.name}: stopped at step {done.step} of {config.steps}")


def networks_of(folder: Path) -> dict[int, Predictor]:
    """The network of each seed, from a folder that `train` filled; they share compiled programs."""
    model = load_network(folder / RUN)
    return {
        seed: replace(model, members=[weights], name=f"{folder.name}, seed {seed}")
        for seed, weights in zip(read_json(folder / SEEDS), model.members, strict=True)
    }


def with_masks(scan: Scan, masks: Mapping[str, Path]) -> Scan:
    """The scan with other masks."""
    return replace(scan, case=replace(scan.case, region_masks=dict(masks)))


def check_recipe(config: TrainConfig, name: str) -> None:
    """Refuse a recipe that the study cannot use.

    Raises:
      ConfigError: a 3-D recipe for the 2-D network or the other way round, no voxel size.
    """
    wanted = int(name[0])
    if config.ndim != wanted:
        raise ConfigError(f"{name}: got a {config.ndim}-D network; expected a {wanted}-D one")
    if not config.preprocessing.spacing_mm:
        raise ConfigError(
            f"{name}: preprocessing.spacing_mm is empty; expected the voxel size that all seeds "
            "and phases share",
            hint=f"--set {name}.preprocessing.spacing_mm=[1.0, 1.0, 1.0]",
        )


def _row(scan: Scan) -> dict[str, Any]:
    return {
        "image": str(scan.case.images[0].absolute()),
        "case": scan.case.id,
        "subject": scan.participant,
        **{name: str(path.absolute()) for name, path in scan.case.region_masks.items()},
    }
