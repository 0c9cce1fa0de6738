"""Which networks a run trains: every combination of the seeds, folds and raters asked for."""

import itertools
from dataclasses import dataclass

from score_jax.config import TrainConfig


@dataclass(frozen=True, slots=True)
class Member:
    """One network of an ensemble.

    Args:
      seed: of its weights, batches, augmentation and DropConnect.
      fold: held out of ``data.folds``; without meaning if that is 0.
      split_seed: of its hold-out split otherwise.
      rater: number of the rater in ``data.raters`` whose masks it learns; None for all of them.
    """

    seed: int
    fold: int
    split_seed: int
    rater: int | None = None


def of(config: TrainConfig) -> tuple[Member, ...]:
    """The members of a run, seeds varying fastest; a single one unless an ensemble is asked for."""
    ensemble, data = config.ensemble, config.data
    raters = range(len(data.raters)) if ensemble.raters else (None,)
    folds = range(data.folds) if ensemble.folds else (data.fold,)
    splits = ensemble.splits or (data.split_seed,)
    combined = itertools.product(raters, folds, splits, range(ensemble.seeds))
    return tuple(
        Member(config.seed + number, fold, split, rater)
        for number, (rater, fold, split, _) in enumerate(combined)
    )
