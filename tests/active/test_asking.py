"""A committee's opinions: each network by itself, and the model's own prediction."""

import dataclasses

import jax
import numpy as np
import pytest

from score_jax import checkpointing, models
from score_jax.active.asking import DRAWS, Committee
from score_jax.active.scores import entropy
from score_jax.arrays.cleaning import Rule
from score_jax.config import ModelSpec, Preprocessing
from score_jax.config.postprocessing import Postprocessing
from score_jax.errors import ConfigError
from score_jax.imaging import Volume
from score_jax.inference import Ensemble, Predictor

from .conftest import AFFINE, REGIONS

UNET = {
    "features": [2, 3], "kernels": [[3, 3, 3]] * 2, "strides": [[1, 1, 1], [2, 2, 2]],
    "convs_encoder": [1, 1], "convs_decoder": [1],
}  # fmt: skip
MDGRU = {"ndim": 2, "hidden": (3,), "linear": (), "kernel": 3}


def network(kind="unet", members=2, **changes):
    spec = ModelSpec(
        kind=kind,
        options={"unet": UNET, "mdgru": MDGRU}[kind],
        in_channels=1,
        channel_names=("T2w",),
        regions=REGIONS,
        exclusive=kind == "mdgru",
        preprocessing=Preprocessing(axcodes="LPI"),
        tile=(8, 6, 8) if kind == "unet" else (6, 6),
    )
    spec = dataclasses.replace(spec, **changes)
    weights = [
        jax.tree.map(
            lambda leaf: 3 * leaf, models.parameters(checkpointing.build_model(spec, seed=n))
        )
        for n in range(members)
    ]
    return Predictor(spec, weights, kind)


@pytest.fixture(scope="module")
def folds():
    return network(members=3)


@pytest.fixture(scope="module")
def drawn():
    return network("mdgru", members=1)


@pytest.fixture
def volume(rng):
    return Volume(rng.normal(size=(7, 9, 8)).astype(np.float32), AFFINE)


def test_members_are_asked_one_by_one(folds, volume):
    found, opinions = Committee(folds).ask(volume)
    alone = [
        dataclasses.replace(folds, members=[params]).predict(volume, soft=True)
        for params in folds.members
    ]
    assert len(opinions) == Committee(folds).opinions == 3
    for number, region in enumerate(("cord", "lesion")):
        masks = [one.masks[region] for one in alone]
        pairs = [(0, 1), (0, 2), (1, 2)]
        dice = [
            2 * (masks[a] & masks[b]).sum() / (masks[a].sum() + masks[b].sum()) for a, b in pairs
        ]
        assert opinions.disagreement(number) == pytest.approx(1 - np.mean(dice), abs=1e-6)
        shares = np.stack([one.probabilities[region] for one in alone]).astype(np.float64)
        reach = shares.max(axis=0) >= 0.1
        expected = entropy(shares.mean(axis=0))[reach].mean()
        assert opinions.entropy(number) == pytest.approx(expected, abs=1e-4)
        own = entropy(shares).mean(axis=0)[reach].mean()
        assert opinions.mutual_information(number) == pytest.approx(expected - own, abs=1e-4)
    together = folds.predict(volume)
    np.testing.assert_array_equal(found.labels, together.labels)
    assert found.labels.any()
    assert not (found.labels == 1).all()


def test_configurations_are_averaged_as_predict_does(folds, volume):
    other = network(members=1, preprocessing=Preprocessing(axcodes="RAS"), tile=(8, 8, 8))
    both = Ensemble([folds, other], "both")
    found, opinions = Committee(both).ask(volume)
    assert len(opinions) == 4
    np.testing.assert_array_equal(found.labels, both.predict(volume).labels)


def test_rules_clean_the_mask_and_not_the_opinions(folds, volume):
    rules = Postprocessing(
        rules=(Rule(kind="min_size", regions=("lesion",), min_mm3=1e4),)
    )  # more than there is
    cleaned = dataclasses.replace(folds, postprocessing=rules)
    found, opinions = Committee(cleaned).ask(volume)
    np.testing.assert_array_equal(found.labels, cleaned.predict(volume).labels)
    assert (found.labels != folds.predict(volume).labels).any()
    _, plain = Committee(folds).ask(volume)
    assert opinions.disagreement(0) == plain.disagreement(0)


def test_draws_of_one_network(drawn, volume):
    committee = Committee(drawn)
    assert committee.opinions == DRAWS
    found, opinions = committee.ask(volume)
    assert len(opinions) == DRAWS
    assert opinions.disagreement(0) > 0
    np.testing.assert_array_equal(found.labels, drawn.predict(volume).labels)  # nothing thinned
    _, again = Committee(drawn).ask(volume)
    assert again.disagreement(0) == opinions.disagreement(0)
    _, other = Committee(drawn, seed=1).ask(volume)
    assert other.disagreement(0) != opinions.disagreement(0)


def test_no_draws_if_told_so(drawn, volume):
    _, opinions = Committee(drawn, samples=0).ask(volume)
    assert len(opinions) == 1


def test_several_members_are_drawn_only_if_asked():
    two = network("mdgru", members=2)
    assert Committee(two).opinions == 2
    assert Committee(two, samples=3).opinions == 6


@pytest.mark.parametrize("samples", [1, -2])
def test_too_few_draws(drawn, samples):
    with pytest.raises(ConfigError, match=f"got {samples}; expected 0, or 2 and more"):
        Committee(drawn, samples=samples)


def test_nothing_to_draw(folds):
    with pytest.raises(ConfigError, match="without DropConnect") as error:
        Committee(folds, samples=4)
    assert "--model" in error.value.hint


@pytest.mark.parametrize("samples", [0, 2])
def test_progress_over_all_passes(drawn, volume, samples):
    seen = []
    Committee(drawn, samples=samples).ask(
        volume, progress=lambda done, total: seen.append((done, total))
    )
    totals = {total for _, total in seen}
    assert len(totals) == 1
    assert seen[-1] == (totals.pop(),) * 2
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
