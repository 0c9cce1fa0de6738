"""A model's own network as a training configuration: the same weights fit again."""

import dataclasses

import jax
import numpy as np
import pytest
from flax import nnx

from score_jax import checkpointing, models
from score_jax.arrays.regions import Region
from score_jax.config import MDGRUConfig, ModelSpec, UNetConfig, load_config, override, preset
from score_jax.errors import ConfigError
from score_jax.interop import mdgru, mdgru_predictor, nnunet
from score_jax.planning.recipe import like


def of_config(config, spec):
    """The network that a run of `config` on the same channels and regions would build."""
    options = config.unet.arguments() if spec.kind == "unet" else dataclasses.asdict(config.mdgru)
    return dataclasses.replace(spec, options=options)


def shapes(spec):
    return jax.tree.map(
        np.shape, models.parameters(nnx.eval_shape(lambda: checkpointing.build_model(spec)))
    )


@pytest.mark.parametrize("name", ["plainconv_3d", "resenc_3d", "plainconv_2d"])
def test_imported_unets(fixtures, name):
    spec = nnunet.load(fixtures / "nnunet/model" / name).spec
    config = like(spec)
    assert shapes(of_config(config, spec)) == shapes(spec)
    assert config.sampling.patch == spec.tile
    assert config.preprocessing == spec.preprocessing
    assert not config.exclusive
    # the published recipe mirrors all axes, and a patch of slices has two
    recipe = like(spec, base=load_config(preset("nnunet")))
    assert recipe.augment.mirror_axes == tuple(range(len(spec.tile)))


def test_imported_mdgru(fixtures):
    network = mdgru.from_torch(fixtures / "mdgru/ckpt_2d/temp-4.0")
    spec = ModelSpec(
        kind="mdgru",
        options=mdgru_predictor.options(network),
        in_channels=network.in_channels,
        channel_names=("a",) * network.in_channels,
        regions=tuple(Region(str(n), (n,), n) for n in range(1, network.out_channels)),
        exclusive=True,
        tile=(16, 16),
    )
    config = like(spec)
    assert shapes(of_config(config, spec)) == shapes(spec)
    assert config.exclusive
    strange = dataclasses.replace(spec, options={**spec.options, "put_r_back": True})
    with pytest.raises(ConfigError, match=r"mdgru.put_r_back: unknown key"):
        like(strange)


def test_what_the_base_says_stays():
    base = override(like_base(), ("seed=9", "steps=7", "optimizer.kind=sgd"))
    assert (base.seed, base.steps, base.optimizer.kind) == (9, 7, "sgd")
    assert base.unet.features == (2, 3)


def like_base():
    spec = ModelSpec(
        kind="unet",
        options=UNetConfig(features=(2, 3)).arguments(),
        in_channels=1,
        channel_names=("T2w",),
        regions=(Region("cord", (1,), 1),),
        tile=(8, 8, 8),
    )
    assert MDGRUConfig() == like(spec).mdgru
    return like(spec)
