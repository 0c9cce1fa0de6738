"""Splits of a dataset by subject: no person is ever on both sides.

The random choices repeat those of scikit-learn bit for bit (its KFold and train_test_split, which
nnU-Net and SCIseg use), so published splits come out again; scikit-learn itself is not needed.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from score_jax._types import PathLike
from score_jax.data.cases import Case, Dataset
from score_jax.errors import DatasetError
from score_jax.imaging import read_json, write_json

NNUNET_SEED = 12345
SCISEG_SEEDS = (7, 42, 50, 123, 710)


@final
@dataclass(frozen=True, slots=True)
class Split:
    """Case ids to train on and case ids held out."""

    train: tuple[str, ...]
    val: tuple[str, ...]


def k_fold(cases: Sequence[Case], folds: int = 5, seed: int = NNUNET_SEED) -> list[Split]:
    """`folds` splits; each subject is held out once.

    Subjects are sorted, shuffled by `seed` and cut into parts that differ by at most one. If
    every case is its own subject these are nnU-Net's folds (`splits_final.json`).

    Raises:
      DatasetError: fewer subjects than folds, or fewer than 2 folds.
    """
    subjects = sorted({case.subject for case in cases})
    if not 2 <= folds <= len(subjects):
        raise DatasetError(
            f"got {folds} folds for {len(subjects)} subjects; expected 2 to the number of subjects",
            hint="lower the folds, or train on all cases (fold 'all')",
        )
    order = np.arange(len(subjects))
    np.random.RandomState(seed).shuffle(order)
    parts = np.array_split(order, folds)
    return [_split(cases, {subjects[i] for i in part}) for part in parts]


def hold_out(cases: Sequence[Case], fraction: float = 0.2, seed: int = 42) -> Split:
    """One split with ceil(`fraction` x subjects) subjects held out, chosen by `seed`.

    Repeats ``train_test_split(sorted(subjects), test_size=fraction, random_state=seed)``, with
    which SCIseg made its five models (seeds 7, 42, 50, 123, 710).

    Raises:
      DatasetError: either side would be empty.
    """
    subjects = sorted({case.subject for case in cases})
    count = math.ceil(fraction * len(subjects))
    if not 0 < count < len(subjects):
        raise DatasetError(
            f"got {len(subjects)} subjects and the fraction {fraction:g}; expected at least one "
            "subject on each side"
        )
    order = np.random.RandomState(seed).permutation(len(subjects))
    return _split(cases, {subjects[i] for i in order[:count]})


def write_splits(path: PathLike, splits: Iterable[Split]) -> None:
    """Write splits as nnU-Net's ``splits_final.json``: a list of train and val ids."""
    write_json(path, [{"train": list(s.train), "val": list(s.val)} for s in splits])


def read_splits(path: PathLike, dataset: Dataset) -> list[Split]:
    """Read ``splits_final.json`` and check it against the dataset.

    Raises:
      DatasetError: another form, an unknown case, an empty side, or a subject on both sides.
    """
    value = read_json(path)
    try:
        splits = [Split(tuple(s["train"]), tuple(s["val"])) for s in value]
    except (TypeError, KeyError):
        raise DatasetError(f"{path}: expected a list of objects with 'train' and 'val'") from None
    subject = {case.id: case.subject for case in dataset.cases}
    for fold, split in enumerate(splits):
        unknown = [name for name in (*split.train, *split.val) if name not in subject]
        if unknown:
            raise DatasetError(
                f"{path}: fold {fold} names {unknown[0]!r}; expected cases of {dataset.root}"
            )
        both = {subject[n] for n in split.train} & {subject[n] for n in split.val}
        if both or not split.train:
            what = f"{min(both)!r} on both sides" if both else "nothing to train on"
            raise DatasetError(f"{path}: fold {fold} has {what}; expected each subject on one side")
    return splits


def _split(cases: Sequence[Case], held: set[str]) -> Split:
    ordered = sorted(cases, key=lambda case: case.id)
    return Split(
        tuple(case.id for case in ordered if case.subject not in held),
        tuple(case.id for case in ordered if case.subject in held),
    )
