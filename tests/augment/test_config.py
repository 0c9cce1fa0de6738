"""What may be written under [augment], and what is said of the rest."""

import pytest

from score_jax.config import AugmentConfig, load_config, preset, to_toml
from score_jax.errors import ConfigError


def settings(*overrides):
    return load_config(overrides=overrides).augment


def test_every_probability_and_range_can_be_set():
    found = settings(
        "augment.noise.probability=0.3",
        "augment.spatial.rotation_deg=12",
        "augment.gamma.exponent=[0.5, 2.0]",
        "augment.mirror_axes=[0, 1, 2]",
        "augment.ghost={probability = 0.1, axes = [1]}",
    )
    assert found.noise.probability == 0.3
    assert found.spatial.rotation_deg == 12
    assert found.gamma.exponent == (0.5, 2.0)
    assert found.mirror_axes == (0, 1, 2)
    assert found.ghost.axes == (1,)
    assert found.blur == AugmentConfig().blur


def test_defaults_are_nnunets_table():
    found = AugmentConfig()
    odds = {
        name: getattr(found, name).probability
        for name in ("noise", "blur", "brightness", "contrast", "low_resolution", "gamma_inverted",
                     "gamma", "bias_field", "ghost", "metal", "thick_slices")
    }  # fmt: skip
    assert list(odds.values()) == [0.1, 0.2, 0.15, 0.15, 0.25, 0.1, 0.3, 0, 0, 0, 0]
    spatial = found.spatial
    assert (spatial.rotation_probability, spatial.scaling_probability) == (0.2, 0.2)
    assert (spatial.rotation_deg, spatial.in_plane_deg, spatial.elongated_deg) == (30, 180, 15)
    assert spatial.scaling == (0.7, 1.4)
    assert found.blur.sigma == (0.5, 1.0)
    assert found.low_resolution.zoom == (0.5, 1.0)
    assert found.blur.channel_probability == found.low_resolution.channel_probability == 0.5
    assert found.brightness.factor == found.contrast.factor == (0.75, 1.25)
    assert found.gamma.exponent == found.gamma_inverted.exponent == (0.7, 1.5)
    assert found.noise.std == 0.1
    assert not found.deform.active


def test_the_whole_survives_toml(tmp_path):
    config = load_config(preset("mdgru"))
    (tmp_path / "c.toml").write_text(to_toml(config))
    assert load_config(tmp_path / "c.toml") == config
    assert config.augment.deform.active


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("augment.rotation_deg=15", "augment.rotation_deg: unknown key"),
        ("augment.noise.probability=2.0", "augment.noise: got probability 2.0; expected 0 to 1"),
        ("augment.noise.std=-1.0", "augment.noise.std: got -1.0; expected >= 0"),
        ("augment.blur.channel_probability=-1.0", "augment.blur: got channel_probability -1.0"),
        ("augment.blur.sigma=[1.0, 0.5]", r"augment.blur: got sigma \[1.0, 0.5\]; expected two"),
        ("augment.blur.sigma=[1.0]", r"augment.blur: got sigma \[1.0\]"),
        ("augment.gamma.exponent=[0.0, 1.0]", r"augment.gamma: got exponent \[0.0, 1.0\]"),
        ("augment.contrast.factor=1.2", r"augment.contrast.factor: expected a list, got 1.2"),
        ("augment.low_resolution.zoom=[0.5, 2.0]", "augment.low_resolution.zoom.*at most 1"),
        ("augment.spatial.rotation_deg=200.0", "augment.spatial: got angles .*200.0"),
        ("augment.spatial.order=2", "augment.spatial.order: got 2; expected 1 or 3"),
        ("augment.mirror_axes=[0, 0]", r"augment.mirror_axes: got \[0, 0\]"),
        ("augment.mirror_axes=[3]", r"augment.mirror_axes: got \[3\]"),
        ("augment.deform.sigma=[2.0]", r"augment.deform: got spacing \[\], sigma \[2.0\]"),
        ("augment.deform.shift=[-1.0]", r"augment.deform: .*shift \[-1.0\]"),
        ("augment.deform.scaling=[0.5]", r"augment.deform: got scaling \[0.5\]"),
        ("augment.bias_field.strength=-1.0", "augment.bias_field.strength: got -1.0"),
        ("augment.thick_slices.thickness=[0.5, 2.0]", "augment.thick_slices.thickness: got"),
        ("augment.metal.axes=[4]", r"augment.metal.axes: got \[4\]; expected 0, 1 or 2"),
    ],
)
def test_what_is_refused_says_what_was_expected(override, said):
    with pytest.raises(ConfigError, match=said):
        settings(override)
