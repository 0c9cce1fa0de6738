"""The whole: keys, shapes, targets, what is off and what is on."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from score_jax.augment import augment, draw_mirror, pack, source_shape, unpack
from score_jax.config import AugmentConfig, load_config, preset
from score_jax.config.augment import (
    BiasFieldConfig,
    BlurConfig,
    DeformConfig,
    FactorConfig,
    GammaConfig,
    GhostConfig,
    LowResolutionConfig,
    MetalConfig,
    NoiseConfig,
    SpatialConfig,
    ThickSlicesConfig,
)
from score_jax.errors import ConfigError

KEY = jax.random.key(3)
OFF = {
    "mirror_axes": (),
    "spatial": SpatialConfig(rotation_probability=0.0, scaling_probability=0.0),
    "noise": NoiseConfig(probability=0.0),
    "blur": BlurConfig(probability=0.0),
    "brightness": FactorConfig(probability=0.0),
    "contrast": FactorConfig(probability=0.0),
    "low_resolution": LowResolutionConfig(probability=0.0),
    "gamma_inverted": GammaConfig(probability=0.0),
    "gamma": GammaConfig(probability=0.0),
}
NOTHING = AugmentConfig(**OFF)
ALWAYS = {name: dataclasses.replace(OFF[name], probability=1.0) for name in OFF if name != "spatial"
          and name != "mirror_axes"}  # fmt: skip
TURNING = SpatialConfig(rotation_probability=1.0, scaling_probability=1.0)
EVERYTHING = AugmentConfig(
    **ALWAYS,
    mirror_axes=(0, 1),
    spatial=TURNING,
    bias_field=BiasFieldConfig(probability=1.0),
    ghost=GhostConfig(probability=1.0),
    metal=MetalConfig(probability=1.0),
    thick_slices=ThickSlicesConfig(probability=1.0),
)


def nested(rng, shape, count=2, channels=2):
    """Smooth images, a cord and a lesion inside it."""
    images = rng.normal(size=(count, *shape, channels)).astype(np.float32)
    regions = np.stack([images[..., 0] > -0.3, images[..., 0] > 0.8], -1)
    return jnp.asarray(images), jnp.asarray(regions, jnp.float32)


def run(config, patch, **options):
    return jax.jit(lambda key, i, t: augment(key, i, t, config, patch, **options))


@pytest.mark.parametrize("patch", [pytest.param((6, 8, 7), marks=pytest.mark.slow), (9, 8)])
def test_everything_at_once_keeps_shapes_and_masks(rng, patch):
    source = source_shape(EVERYTHING, patch)
    images, masks = (jnp.concatenate([a] * 3) for a in nested(rng, source, count=1))
    step = run(EVERYTHING, patch)
    image, mask = step(KEY, images, masks)
    assert image.shape == (3, *patch, 2)
    assert mask.shape == (3, *patch, 2)
    assert np.isfinite(image).all()
    assert set(np.unique(mask)) == {0.0, 1.0}
    assert (mask[..., 1] <= mask[..., 0]).all()  # the lesion stays in the cord
    assert mask.dtype == masks.dtype
    again, _ = step(KEY, images, masks)
    np.testing.assert_array_equal(image, again)
    other, _ = step(jax.random.key(4), images, masks)
    assert np.abs(image - other).max() > 0.01
    assert np.abs(image[0] - image[1]).max() > 0.01  # every sample has its own draw
    assert (mask[0] != mask[1]).any()


def test_jitted_equals_eager_and_one_by_one_equals_vmap(rng, monkeypatch):
    config = AugmentConfig(**OFF | {"gamma": ALWAYS["gamma"], "mirror_axes": (1,)})
    images, masks = nested(rng, (6, 8), count=2, channels=1)
    jitted = run(config, (6, 7))(KEY, images, masks)
    with jax.disable_jit():
        eager = augment(KEY, images, masks, config, (6, 7))
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    mapped = run(config, (6, 7))(KEY, images, masks)
    for image, mask in (eager, mapped):
        np.testing.assert_allclose(image, jitted[0], atol=2e-4)
        np.testing.assert_array_equal(mask, jitted[1])


@pytest.mark.parametrize("config", [AugmentConfig(enabled=False), NOTHING])
@pytest.mark.parametrize("larger", [0, 3])
def test_off_cuts_the_middle_to_the_bit(rng, config, larger):
    patch = (6, 7, 5)
    images, masks = nested(rng, [n + larger for n in patch])
    image, mask = run(config, patch)(KEY, images, masks)
    start = [(n + larger) // 2 - n // 2 for n in patch]
    middle = tuple(slice(s, s + n) for s, n in zip(start, patch, strict=True))
    np.testing.assert_array_equal(image, images[(slice(None), *middle)])
    np.testing.assert_array_equal(mask, masks[(slice(None), *middle)])
    assert source_shape(config, patch) == patch


def test_off_keeps_shares_of_raters(rng):
    images, _ = nested(rng, (6, 7))
    shares = jnp.asarray(rng.uniform(size=(2, 6, 7, 1)), jnp.float32)
    _, same = run(NOTHING, (6, 7), soft=True)(KEY, images, shares)
    np.testing.assert_array_equal(same, shares)


def test_soft_targets_stay_shares_and_move_as_a_channel_does(rng):
    shares = jnp.asarray(rng.uniform(size=(2, 12, 13, 1)), jnp.float32)
    moving = AugmentConfig(**OFF | {"spatial": TURNING, "mirror_axes": (0, 1)})
    image, target = run(moving, (8, 9), soft=True)(KEY, shares, shares)
    np.testing.assert_allclose(image, target, atol=1e-6)
    assert len(np.unique(target)) > 20
    both = dataclasses.replace(moving, deform=DeformConfig(rotation_deg=20.0))
    order_3 = dataclasses.replace(both, spatial=dataclasses.replace(TURNING, order=3))
    _, target = run(order_3, (8, 9), soft=True)(KEY, shares, jnp.round(shares))
    assert target.min() >= 0
    assert target.max() <= 1  # linear, so no overshoot of a spline


@pytest.mark.parametrize("soft", [False, True])
def test_what_was_masked_is_zero_again(rng, soft):
    images, masks = nested(rng, (10, 11, 9))
    images = images.at[:, :4].set(0.0)
    config = AugmentConfig(**OFF | {"noise": NoiseConfig(probability=1.0)}, masked=True)
    image, mask = run(config, (10, 11, 9), soft=soft)(KEY, images, masks)
    assert not image[:, :4].any()
    assert image[:, 4:].all()
    np.testing.assert_array_equal(mask, masks)


def test_sources_beyond_the_image_are_zero(rng):
    """Until larger sources are drawn, what turns in from outside is empty."""
    images, _ = nested(rng, (8, 8), channels=1)
    ones = jnp.ones_like(images)
    config = AugmentConfig(**OFF | {"spatial": SpatialConfig(
        rotation_probability=0.0, scaling_probability=1.0, scaling=(2.0, 2.0))})  # fmt: skip
    image, mask = run(config, (8, 8))(KEY, ones, ones)
    assert not image[:, 0].any()
    assert not mask[:, 0].any()
    assert (image[:, 3:5, 3:5] == 1).all()
    assert (mask[:, 3:5, 3:5] == 1).all()


def test_slices_turn_as_one(rng):
    """An anisotropic patch: every slice is turned alike and none leaks into another."""
    patch = (3, 12, 10)
    config = AugmentConfig(**OFF | {"spatial": TURNING})
    source = source_shape(config, patch)
    assert source[0] == 3
    assert min(source[1:]) > 12
    image = np.zeros((1, 5, *source[1:], 1), np.float32)  # two slices more: they are cut off
    image[0, 2] = rng.normal(size=(*source[1:], 1))
    moved, _ = run(config, patch)(KEY, jnp.asarray(image), jnp.asarray(image) * 0)
    assert not moved[0, 0].any()
    assert not moved[0, 2].any()
    assert np.abs(moved[0, 1]).max() > 0.5
    free = dataclasses.replace(TURNING, slices_as_one=False)
    free = AugmentConfig(**OFF | {"spatial": free})
    moved, _ = run(free, patch)(KEY, jnp.asarray(image), jnp.asarray(image) * 0)
    assert np.abs(moved[0, 0]).max() > 0.01


@pytest.mark.slow
def test_probabilities_are_kept(rng):
    """Shares of samples changed by one transform at a time."""
    images, masks = nested(rng, (6, 5), count=400, channels=1)
    config = dataclasses.replace(NOTHING, noise=NoiseConfig())
    image, mask = run(config, (6, 5))(KEY, images, masks)
    changed = (image != images).reshape(400, -1).any(1).mean()
    assert changed == pytest.approx(0.1, abs=0.045)
    np.testing.assert_array_equal(mask, masks)
    moving = dataclasses.replace(NOTHING, spatial=SpatialConfig())
    image, _ = run(moving, (6, 5))(KEY, images, masks)
    changed = (image != images).reshape(400, -1).any(1).mean()
    assert changed == pytest.approx(1 - 0.8**2, abs=0.075)
    flips = jax.vmap(lambda k: draw_mirror(k, (0, 2)))(jax.random.split(KEY, 100))
    assert flips.mean(0) == pytest.approx([0.5, 0.5], abs=0.15)


def test_mirroring_moves_image_and_target_and_is_its_own_inverse(rng):
    images, masks = nested(rng, (4, 6, 5), count=8)
    config = AugmentConfig(**OFF | {"mirror_axes": (0, 2)})
    step = run(config, (4, 6, 5))
    image, mask = step(KEY, images, masks)
    kinds = set()
    for n in range(8):
        options = [np.flip(images[n], axes) for axes in ((), (0,), (2,), (0, 2))]
        hits = [np.array_equal(image[n], option) for option in options]
        assert sum(hits) == 1
        kinds.add(hits.index(True))
        np.testing.assert_array_equal(mask[n][..., 1], image[n][..., 0] > 0.8)
    assert len(kinds) > 2
    twice = step(KEY, image, mask)  # the same key flips the same axes
    np.testing.assert_array_equal(twice[0], images)
    np.testing.assert_array_equal(twice[1], masks)


@settings(deadline=None, max_examples=20)
@given(count=st.integers(1, 5), seed=st.integers(0, 99))
def test_packing_is_lossless(count, seed):
    regions = np.random.default_rng(seed).random((3, 4, count)) < 0.4
    masks = jnp.asarray(regions, jnp.float32)
    np.testing.assert_array_equal(unpack(pack(masks), count), regions)


def test_bad_input_is_refused(rng):
    images, masks = nested(rng, (6, 7))
    with pytest.raises(ValueError, match=r"\(6, 7\); expected at least \(8, 7\)"):
        augment(KEY, images, masks, AugmentConfig(), (8, 7))
    with pytest.raises(ValueError, match="31 regions"):
        pack(jnp.zeros((2, 2, 31)))
    with pytest.raises(ConfigError, match=r"augment.mirror_axes: got \[2\]; expected axes below 2"):
        augment(KEY, images, masks, AugmentConfig(mirror_axes=(2,)), (6, 7))
    with pytest.raises(ConfigError, match=r"augment.deform.shift: got \[1.0\]; expected 2 values"):
        source_shape(AugmentConfig(deform=DeformConfig(shift=(1.0,))), (6, 7))


@pytest.mark.parametrize("name", [pytest.param("unet", marks=pytest.mark.slow), "mdgru"])
def test_presets_augment(rng, name):
    config = load_config(preset(name)).augment
    patch = (16, 20, 18) if name == "unet" else (20, 24)
    images, masks = nested(rng, source_shape(config, patch), count=2)
    image, mask = run(config, patch)(KEY, images, masks)
    assert np.isfinite(image).all()
    assert set(np.unique(mask)) == {0.0, 1.0}
    if name == "mdgru":
        assert (image != images[:, : patch[0], : patch[1]]).any((1, 2, 3)).all()


def test_a_deformed_patch_finds_its_source_inside(rng):
    """The source is large enough for MD-GRU's moves: a constant image stays constant."""
    config = load_config(preset("mdgru")).augment
    config = dataclasses.replace(config, noise=NoiseConfig(probability=0.0))
    ones = jnp.ones((8, *source_shape(config, (20, 24)), 1))
    image, mask = run(config, (20, 24))(KEY, ones, ones)
    np.testing.assert_allclose(image, 1.0, atol=1e-4)
    assert (mask == 1).all()
