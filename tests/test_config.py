import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from score_jax.arrays.regions import Region
from score_jax.config import ModelSpec, Preprocessing, TrainConfig, load_config, preset, to_toml
from score_jax.errors import ConfigError

SPEC = ModelSpec(
    kind="unet",
    options={"features": [4, 8]},
    in_channels=1,
    channel_names=("T2w",),
    regions=(Region("cord", (1, 2), 1), Region("lesion", (2,), 2)),
    tile=(16, 16, 8),
)


@pytest.mark.parametrize("name", ["unet", "mdgru"])
def test_presets_read_and_come_back(name, tmp_path):
    config = load_config(preset(name), overrides=("seed=5", "optimizer.learning_rate=1e-4"))
    assert config.model == name
    assert config.seed == 5
    assert config.optimizer.learning_rate == 1e-4
    (tmp_path / "c.toml").write_text(to_toml(config))
    assert load_config(tmp_path / "c.toml") == config


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimzer.learning_rate=1", "optimzer: unknown key; did you mean 'optimizer'?"),
        ("optimizer.learning_rte=1", "optimizer.learning_rte: unknown key; did you mean"),
        ("unet.features=3", "unet.features: expected a list, got 3"),
        ("model=resnet", "model: got 'resnet'; expected one of 'unet', 'mdgru'"),
        ("seed=1.5", "seed: expected int, got 1.5"),
        ("steps=0", "steps, validate_each: got 0, 100; expected >= 1"),
        ("sampling.patch=[3, 4]", "sampling.patch: got [3, 4]; expected 3 values for a 3-D unet"),
        ("nonsense", "--set 'nonsense': expected key=value"),
        ("seed.deep=1", "seed: expected int"),
        ("slice_axis=3", "slice_axis: got 3; expected 0, 1 or 2"),
        ("augment.mirror_axes=[0, 3]", "augment.mirror_axes: got [0, 3]"),
        ("augment.deform.scaling=[1.1, 1.1]", "augment.deform.scaling: got [1.1, 1.1]; expected 3"),
        ("data.folds=3", ""),
        ("data.validation_fraction=1.0", "data.validation_fraction: got 1.0"),
        ("preprocessing.axcodes=RAF", "preprocessing.axcodes: got 'RAF'"),
        ("preprocessing.spacing_mm=[1, 1]", "preprocessing.spacing_mm: got [1.0, 1.0]"),
        ("preprocessing.transpose=[0, 0, 1]", "preprocessing.transpose: got [0, 0, 1]"),
    ],
)
def test_mistakes_are_named(override, message):
    if not message:
        assert load_config(overrides=(override,)).data.folds == 3
        return
    with pytest.raises(ConfigError) as caught:
        load_config(overrides=(override,))
    assert message in str(caught.value)


def test_axes_of_augmentation_fit_the_network():
    two = ("model=mdgru", "sampling.patch=[8, 12]")
    assert load_config(overrides=(*two, "augment.mirror_axes=[0, 1]")).ndim == 2
    with pytest.raises(
        ConfigError, match=r"augment.mirror_axes: got \[0, 2\]; expected axes below 2"
    ):
        load_config(overrides=(*two, "augment.mirror_axes=[0, 2]"))


def test_files_that_are_not_there_or_not_toml(tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        load_config(tmp_path / "absent.toml")
    (tmp_path / "broken.toml").write_text("seed = = 3")
    with pytest.raises(ConfigError, match=r"broken.toml: not TOML"):
        load_config(tmp_path / "broken.toml")


def test_specification_survives_json():
    assert ModelSpec.from_json(json.loads(json.dumps(SPEC.to_json()))) == SPEC
    assert SPEC.out_channels == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 99}, "got model format 99; this version reads 1"),
        ({"format": None}, "got model format None"),
        ({"colour": 1}, "model.colour: unknown key"),
        ({"tile": "big"}, "model.tile: expected a list"),
        ({"regions": []}, "regions: got none"),
    ],
)
def test_foreign_specifications_are_refused(change, message):
    with pytest.raises(ConfigError) as caught:
        ModelSpec.from_json(SPEC.to_json() | change)
    assert message in str(caught.value)


@given(st.permutations("RAS"), st.lists(st.booleans(), min_size=3, max_size=3))
def test_every_orientation_is_accepted(letters, flips):
    opposite = {"R": "L", "A": "P", "S": "I"}
    code = "".join(opposite[c] if f else c for c, f in zip(letters, flips, strict=True))
    assert Preprocessing(axcodes=code).axcodes == code


def test_defaults_are_valid():
    assert TrainConfig().ndim == 3
    assert not TrainConfig().exclusive


@pytest.mark.parametrize("name", sorted(path.stem for path in preset("unet").parent.glob("*.toml")))
def test_presets_are_whole_and_survive_a_round_trip(name, tmp_path):
    config = load_config(preset(name))
    (tmp_path / "c.toml").write_text(to_toml(config))
    assert load_config(tmp_path / "c.toml") == config
