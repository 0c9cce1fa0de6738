"""A plan becomes a training configuration, and the trained model's specification is the plan's."""

import json

import pytest

from score_jax.config import LossConfig, TrainConfig, load_config, to_toml
from score_jax.errors import ConfigError
from score_jax.planning import plans
from score_jax.planning.planner import plan
from score_jax.planning.recipe import train_config

FINGERPRINT = {
    "spacings": [[3.0, 0.5, 0.5]] * 40,
    "shapes_after_crop": [[12, 96, 80]] * 40,
    "foreground_intensity_properties_per_channel": {"0": {}},
    "median_relative_size_after_cropping": 1.0,
}
REGIONS = {"background": 0, "sc": [1, 2], "lesion": 2}
DATASET = {
    "channel_names": {"0": "T2w"}, "labels": REGIONS, "regions_class_order": [1, 2],
    "numTraining": 40, "file_ending": ".nii.gz",
}  # fmt: skip


@pytest.mark.parametrize("preset", ["default", "resenc-m"])
@pytest.mark.parametrize("name", ["2d", "3d_fullres"])
def test_network_grid_patch_and_batch_are_the_plans(tmp_path, preset, name):
    made = plan(FINGERPRINT, DATASET, dataset_name="x", preset=preset)
    base = TrainConfig(seed=7, steps=12, loss=LossConfig(smooth=0.0))
    config = train_config(made, DATASET, name, base=base)
    spec = plans.model_spec(made, DATASET, name)
    wanted = made["configurations"][name]
    arguments = config.unet.arguments()
    assert {key: arguments[key] for key in spec.options} == dict(spec.options)
    assert config.preprocessing == spec.preprocessing
    assert list(config.sampling.patch) == wanted["patch_size"]
    assert config.sampling.batch == wanted["batch_size"]
    assert config.loss.batch_dice == wanted["batch_dice"]
    assert (config.seed, config.steps, config.loss.smooth) == (7, 12, 0.0)
    assert config.slice_axis == (0 if name == "2d" else 2)
    assert config.loss.kind == "dice_bce"
    path = tmp_path / "config.toml"
    path.write_text(to_toml(config))
    assert load_config(path) == config


def test_classes_get_a_softmax():
    dataset = DATASET | {"labels": {"background": 0, "gm": 1, "wm": 2}}
    made = plan(FINGERPRINT, dataset, dataset_name="x")
    assert train_config(made, dataset).loss.kind == "dice_ce"


def test_a_configuration_edited_by_hand(fixtures):
    folder = fixtures / "nnunet/planner_cases/sag_sci"
    made = json.loads((folder / "nnUNetPlans.json").read_text())
    dataset = json.loads((folder / "dataset.json").read_text())
    made["configurations"]["small"] = {
        "inherits_from": "3d_fullres", "patch_size": [14, 128, 64], "batch_size": 4,
    }  # fmt: skip
    config = train_config(made, dataset, "small")
    assert config.sampling.patch == (14, 128, 64)
    assert config.sampling.batch == 4
    with pytest.raises(ConfigError, match="no configuration '3d_x'"):
        train_config(made, dataset, "3d_x")
