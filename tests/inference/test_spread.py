"""Several networks over one image: equal to each alone, combined by hand."""

import jax
import numpy as np
import pytest

from score_jax import checkpointing, models
from score_jax.arrays.regions import Region
from score_jax.config import ModelSpec, Preprocessing, UNetConfig
from score_jax.errors import ConfigError
from score_jax.imaging import Volume
from score_jax.inference import Predictor
from score_jax.inference.spread import spread

REGIONS = (Region("cord", (1, 2), 1), Region("lesion", (2,), 2))


def predictor(kind, count, **more):
    network = {
        "unet": UNetConfig(features=(2, 3)).arguments(),
        "mdgru": {"ndim": 2, "hidden": (3,), "linear": (), "kernel": 3} | more,
    }[kind]
    spec = ModelSpec(
        kind=kind,
        options=network,
        in_channels=1,
        channel_names=("T2w",),
        regions=REGIONS,
        exclusive=kind == "mdgru",
        preprocessing=Preprocessing(axcodes="RAS"),
        tile=(4, 6, 8) if kind == "unet" else (6, 6),
    )
    members = [
        jax.tree.map(
            lambda leaf: 3 * leaf, models.parameters(checkpointing.build_model(spec, seed=seed))
        )
        for seed in range(count)
    ]
    return Predictor(spec, members, name="tiny")


@pytest.fixture
def volume(rng):
    return Volume(rng.normal(size=(5, 7, 9)).astype(np.float32), np.diag([1.0, 1.1, 0.9, 1]))


@pytest.mark.parametrize("kind", ["unet", "mdgru"])
def test_members_side_by_side(kind, volume):
    model = predictor(kind, 3)
    found = spread(model, volume)
    alone = [Predictor(model.spec, [member]).predict(volume, soft=True) for member in model.members]
    assert found.networks == 3
    for region in ("cord", "lesion"):
        shares = np.stack([result.probabilities[region] for result in alone])
        masks = np.stack([result.masks[region] for result in alone])
        np.testing.assert_allclose(found.mean[region], shares.mean(0), atol=1e-5)
        np.testing.assert_allclose(found.std[region], shares.std(0), atol=1e-4)
        np.testing.assert_allclose(found.votes[region], masks.mean(0), atol=1e-6)
        np.testing.assert_array_equal(found.majority(region), masks.sum(0) >= 2)
    assert found.std["cord"].max() > 1e-3
    together = model.predict(volume)
    for vote in (False, True):
        segmented = found.segmentation(model, vote=vote, soft=True, postprocess=True)
        for region in ("cord", "lesion"):
            masks = np.stack([result.masks[region] for result in alone])
            want = masks.sum(0) >= 2 if vote else together.masks[region]
            np.testing.assert_array_equal(segmented.masks[region], want)


def test_draws_of_dropconnect(volume):
    model = predictor("mdgru", 1)
    once, again = (spread(model, volume, samples=4, seed=1) for _ in range(2))
    np.testing.assert_array_equal(once.std["cord"], again.std["cord"])
    other = spread(model, volume, samples=4, seed=2)
    assert once.networks == 4
    assert np.abs(once.mean["cord"] - other.mean["cord"]).max() > 1e-4
    assert once.std["cord"].max() > 1e-3
    keys = jax.random.split(jax.random.key(1), 4)
    apply = models.functional(checkpointing.build_model(model.spec))
    tiles = jax.random.normal(jax.random.key(5), (1, 6, 6, 1))
    drawn = [np.asarray(apply(model.members[0], tiles, key)) for key in keys]
    assert np.abs(drawn[0] - drawn[1]).max() > 1e-3
    compiled = model.compile(random=True)
    np.testing.assert_allclose(compiled(model.members[0], tiles, keys[0]), drawn[0], atol=1e-5)


def test_refusals(volume):
    with pytest.raises(ConfigError, match="without DropConnect"):
        spread(predictor("unet", 2), volume, samples=3)
    with pytest.raises(ConfigError, match="without DropConnect"):
        spread(predictor("mdgru", 1, keep_rate=1.0), volume, samples=3)
    with pytest.raises(ConfigError, match="got one network"):
        spread(predictor("unet", 1), volume)
