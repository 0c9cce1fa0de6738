"""Run folders: which there are, how they were trained, on which cases of which dataset."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from score_jax import data
from score_jax._types import PathLike
from score_jax.arrays.regions import Region
from score_jax.config import TrainConfig, load_config
from score_jax.errors import ConfigError

CONFIG, SPLIT = "config.toml", "split.json"


def runs_in(folder: PathLike) -> list[Path]:
    """The run folders at `folder`: itself, or those directly below it (the folds of a training).

    Raises:
      ConfigError: there is none.
    """
    root = Path(folder)
    if (root / SPLIT).is_file():
        return [root]
    below = sorted(path.parent for path in root.glob(f"*/{SPLIT}"))
    if not below:
        raise ConfigError(
            f"{root}: got no {SPLIT}; expected a run folder, or a folder of runs",
            hint="run folders are made by `score-jax train DATASET --out RUN`",
        )
    return below


def configuration(run: Path) -> TrainConfig:
    """How `run` was trained.

    Raises:
      ConfigError: no ``config.toml``, or one that this version does not understand.
    """
    if not (run / CONFIG).is_file():
        raise ConfigError(f"{run}: got no {CONFIG}; expected a run folder")
    return load_config(run / CONFIG)


def discover(dataset: PathLike, config: TrainConfig) -> data.Dataset:
    """The dataset as `config` reads it: its regions, masks and contrast.

    With several raters these are the first one's masks.

    Raises:
      DatasetError: as `data.discover`.
    """
    wanted = [Region.parse(t) if "=" in t else t for t in config.data.regions]
    first = next(iter(config.data.raters), None)
    found = data.discover(
        dataset,
        regions=wanted or None,
        derivative=first or config.data.derivative or None,
        contrast=config.data.contrast or None,
    )
    declared = tuple(region for region in wanted if isinstance(region, Region))
    if declared and found.kind == "nnunet":  # in place of those of dataset.json
        found = dataclasses.replace(found, regions=declared)
    return found


def holders(splits: Sequence[data.Split], members: int, where: PathLike) -> dict[str, list[int]]:
    """For each held-out case, the members of a run that were not trained on it.

    Args:
      splits: one for all members, or one a member.
      members: networks of the run.
      where: the file of the splits, for messages.

    Raises:
      ConfigError: another number of splits.
    """
    if len(splits) not in (1, members):
        raise ConfigError(
            f"{where}: got {len(splits)} splits for {members} members; expected one for all, or "
            "one each"
        )
    found: dict[str, list[int]] = {}
    for member in range(members):
        for case in splits[member if len(splits) > 1 else 0].val:
            found.setdefault(case, []).append(member)
    return dict(sorted(found.items()))
