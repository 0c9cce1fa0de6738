"""Splits against nnU-Net's file and scikit-learn's known answers; no subject on both sides."""

import json
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from score_jax.data import Case, Dataset, Split, hold_out, k_fold, read_splits, write_splits
from score_jax.data.splits import SCISEG_SEEDS
from score_jax.errors import DatasetError


def cases(*subjects):
    return [Case(id=f"{s}_{n}", subject=s, images=()) for n, s in enumerate(subjects)]


def own(names):
    return [Case(id=name, subject=name, images=()) for name in names]


# nnU-Net's splits_final.json for case_000 ... case_022 (fixture nnunet/export), validation parts
NNUNET = [[3, 8, 10, 17, 19], [0, 7, 12, 15, 16], [6, 11, 14, 18, 20], [9, 13, 21, 22], [1, 2, 4, 5]]  # noqa: E501  # fmt: skip


def test_k_fold_by_the_copied_numbers():
    splits = k_fold(own([f"case_{n:03d}" for n in range(23)]))
    assert [[int(name[-3:]) for name in split.val] for split in splits] == NNUNET


def test_k_fold_is_nnunets(fixtures):
    value = json.loads((fixtures / "nnunet/export/splits_final.json").read_text())
    splits = k_fold(own(value["identifiers"]), value["n_splits"], value["seed"])
    assert [{"train": list(s.train), "val": list(s.val)} for s in splits] == value["splits"]


def test_hold_out_is_scikit_learns():
    # train_test_split(range(10), test_size=0.2, random_state=42) -> test [8, 1]
    names = [str(i) for i in range(10)]
    split = hold_out(own(names), 0.2, 42)
    assert split == Split(tuple(n for n in names if n not in "81"), ("1", "8"))


@pytest.mark.parametrize(
    ("subjects", "seed", "held"),
    [(19, 710, [5, 10, 11, 16]), (11, 7, [0, 5, 8])],  # scikit-learn 1.9.1
)
def test_hold_out_by_the_copied_numbers(subjects, seed, held):
    split = hold_out(own([f"{n:02d}" for n in range(subjects)]), 0.2, seed)
    assert [int(name) for name in split.val] == held


def test_hold_out_counts_as_scikit_learn_does():
    for n, held in ((5, 1), (6, 2), (11, 3), (97, 20), (80, 16)):  # ceil(n / 5)
        assert len(hold_out(own([f"{i:03d}" for i in range(n)])).val) == held
    assert len({hold_out(own("abcdefghijklmno"), 0.2, seed).val for seed in SCISEG_SEEDS}) == 5


@settings(deadline=None, max_examples=60)
@given(
    subjects=st.lists(st.sampled_from("abcdefgh"), min_size=4, max_size=20).filter(
        lambda s: len(set(s)) > 3
    ),
    folds=st.integers(2, 4),
    seed=st.integers(0, 2**31),
)
def test_subjects_stay_whole_and_every_case_is_held_out_once(subjects, folds, seed):
    every = cases(*subjects)
    subject = {c.id: c.subject for c in every}
    splits = [*k_fold(every, folds, seed), hold_out(every, 0.3, seed)]
    for split in splits:
        assert not {subject[n] for n in split.train} & {subject[n] for n in split.val}
        assert sorted((*split.train, *split.val)) == sorted(subject)
        assert split.train
        assert split.val
        assert list(split.train) == sorted(split.train)
    held = [name for split in splits[:folds] for name in split.val]
    assert sorted(held) == sorted(subject)
    assert len({subject[n] for n in splits[-1].val}) == math.ceil(0.3 * len(set(subjects)))
    assert k_fold(every[::-1], folds, seed) == splits[:folds]  # the order of cases is no chance


def test_impossible_splits():
    with pytest.raises(DatasetError, match="got 5 folds for 2 subjects"):
        k_fold(cases("a", "a", "b"))
    with pytest.raises(DatasetError, match="got 1 folds"):
        k_fold(cases("a", "b"), 1)
    for subjects, fraction in ((("a", "a"), 0.2), (("a", "b"), 1.0), (("a", "b"), 0.0), ((), 0.2)):
        with pytest.raises(DatasetError, match="at least one subject on each side"):
            hold_out(cases(*subjects), fraction)


def test_files_round_trip_and_are_checked(tmp_path):
    every = cases("a", "a", "b", "c")
    dataset = Dataset(
        root=Path("x"), kind="bids", channel_names=("T2w",), regions=(), cases=tuple(every)
    )
    path = tmp_path / "splits_final.json"
    splits = k_fold(every, 3)
    write_splits(path, splits)
    assert read_splits(path, dataset) == splits
    for value, part in [
        ([{"train": ["a_0"], "val": ["a_1"]}], "fold 0 has 'a' on both sides"),
        ([{"train": [], "val": ["a_1"]}], "nothing to train on"),
        ([{"train": ["zz"], "val": []}], "fold 0 names 'zz'; expected cases of x"),
        ({"train": []}, "expected a list of objects"),
        ([{"train": ["a_0"]}], "expected a list of objects"),
        (5, "expected a list of objects"),
    ]:
        path.write_text(json.dumps(value))
        with pytest.raises(DatasetError, match=part):
            read_splits(path, dataset)
    path.write_text(json.dumps([{"train": ["a_0"], "val": []}]))
    assert read_splits(path, dataset)[0].val == ()  # nnU-Net's fold "all"
