"""Plans of both layouts in our terms; what we do not have is refused by name."""

import copy
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from score_jax.arrays.regions import Region
from score_jax.errors import ConfigError, DatasetError
from score_jax.planning import description, plans
from score_jax.planning.planner import plan

FINGERPRINT = {
    "spacings": [[3.0, 0.5, 0.5]] * 4,
    "shapes_after_crop": [[12, 96, 80]] * 4,
    "foreground_intensity_properties_per_channel": {
        "0": {"mean": 3.0, "std": 2.0, "percentile_00_5": -1.0, "percentile_99_5": 9.0}
    },
    "median_relative_size_after_cropping": 1.0,
}
DATASET = {
    "channel_names": {"0": "T2w"},
    "labels": {"background": 0, "sc": [1, 2], "lesion": 2},
    "regions_class_order": [1, 2],
    "numTraining": 4,
    "file_ending": ".nii.gz",
    "image_orientation": "RPI",
}


@pytest.fixture
def made():
    return plan(FINGERPRINT, DATASET, dataset_name="Dataset001_x")


def test_a_specification(made):
    spec = plans.model_spec(made, DATASET, "3d_fullres", mirror_axes=(0, 2))
    assert spec.regions == (Region("sc", (1, 2), 1), Region("lesion", (2,), 2))
    assert not spec.exclusive
    assert spec.channel_names == ("T2w",)
    rules = spec.preprocessing
    assert rules.axcodes == "LAS"  # SCT's RPI
    assert rules.transpose == (2, 1, 0)  # z is coarsest: first, as stored
    assert rules.spacing_mm == (3.0, 0.5, 0.5)
    assert rules.normalization == ("zscore",)
    assert rules.crop_nonzero
    assert not rules.mask_normalization
    assert spec.tile == tuple(made["configurations"]["3d_fullres"]["patch_size"])
    assert spec.mirror_axes == (0, 2)
    assert not spec.options["residual"]


def test_a_flat_specification_sees_slices_along_the_first_axis(made):
    spec = plans.model_spec(made, DATASET, "2d")
    assert spec.preprocessing.spacing_mm == (0.0, 0.5, 0.5)
    assert len(spec.tile) == 2
    assert spec.slice_axis == 0


def test_both_layouts_say_the_same(fixtures):
    folder = fixtures / "nnunet/model"
    new = json.loads(next(folder.glob("plainconv_3d/*/plans.json")).read_text())
    old = json.loads((folder / "plans_old_format.json").read_text())
    dataset = json.loads(next(folder.glob("plainconv_3d/*/dataset.json")).read_text())
    assert "architecture" not in old["configurations"]["3d_fullres"]
    assert plans.model_spec(old, dataset, "3d_fullres") == (
        plans.model_spec(new, dataset, "3d_fullres")
    )
    assert (
        plans.configuration(old, "3d_fullres")["architecture"]
        == (plans.configuration(new, "3d_fullres")["architecture"])
    )


def test_an_old_residual_layout():
    old = {
        "UNet_class_name": "ResidualEncoderUNet", "UNet_base_num_features": 32,
        "unet_max_num_features": 48, "conv_kernel_sizes": [[3, 3], [3, 3]],
        "pool_op_kernel_sizes": [[1, 1], [2, 2]], "n_conv_per_stage_encoder": [1, 3],
        "n_conv_per_stage_decoder": [1],
    }  # fmt: skip
    made = plans.configuration({"configurations": {"2d": old}}, "2d")["architecture"]
    assert made["network_class_name"].endswith(".ResidualEncoderUNet")
    assert made["arch_kwargs"]["n_blocks_per_stage"] == [1, 3]
    assert made["arch_kwargs"]["features_per_stage"] == [32, 48]
    assert made["arch_kwargs"]["conv_op"].endswith("Conv2d")


def test_configurations_inherit(made):
    made["configurations"]["mine"] = {"inherits_from": "3d_fullres", "patch_size": [8, 32, 32]}
    made["configurations"]["again"] = {"inherits_from": "mine", "batch_size": 7}
    found = plans.configuration(made, "again")
    assert found["batch_size"] == 7
    assert found["patch_size"] == [8, 32, 32]
    assert found["spacing"] == made["configurations"]["3d_fullres"]["spacing"]
    assert "inherits_from" not in found
    made["configurations"]["mine"]["inherits_from"] = "again"
    with pytest.raises(ConfigError, match="in a circle: again -> mine"):
        plans.configuration(made, "again")
    with pytest.raises(ConfigError, match="no configuration '3d_x'; expected one of 2d"):
        plans.configuration(made, "3d_x")
    with pytest.raises(ConfigError, match="no configurations"):
        plans.configuration({}, "2d")


@pytest.mark.parametrize(
    ("labels", "order", "want", "exclusive"),
    [
        ({"background": 0, "a": 1, "b": 2}, None, [("a", (1,), 1), ("b", (2,), 2)], True),
        ({"b": 2, "background": 0, "a": 1}, None, [("a", (1,), 1), ("b", (2,), 2)], True),
        ({"background": 0, "a": [1]}, None, [("a", (1,), 1)], True),
        ({"background": 0, "a": 1, "ignore": 2}, None, [("a", (1,), 1)], True),
        (
            {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "in": 3, "ignore": 4},
            [1, 2, 3],
            [("whole", (1, 2, 3), 1), ("core", (2, 3), 2), ("in", (3,), 3)],
            False,
        ),
        ({"background": [0], "a": [1, 2]}, [5], [("a", (1, 2), 5)], False),
    ],
)
def test_regions_and_classes(labels, order, want, exclusive):
    dataset = {"labels": labels} | ({"regions_class_order": order} if order else {})
    found, alone = description.regions(dataset)
    assert list(found) == [Region(*each) for each in want]
    assert alone is exclusive


@pytest.mark.parametrize(
    ("dataset", "match"),
    [
        ({}, "labels: got None"),
        ({"labels": {"background": 0, "a": 2}}, "consecutive numbers"),
        ({"labels": {"background": 0, "a": 1, "b": 1}}, "consecutive numbers"),
        ({"labels": {"background": 0, "a": [1, 2]}}, "regions_class_order: got None"),
        ({"labels": {"background": 0, "a b": 1, "A/B": 2}}, "differ in letters or digits"),
        ({"labels": {"background": 0, "../": 1}}, "differ in letters or digits"),
        ({"labels": {"background": 0, "x" * 99: 1}}, "differ in letters or digits"),
        (
            {"labels": {"background": 0, "a": [1, 2], "b": 2}, "regions_class_order": [1]},
            "one number for each of a, b",
        ),
    ],
)
def test_labels_that_make_no_regions(dataset, match):
    with pytest.raises(DatasetError, match=match):
        description.regions(dataset, "dataset.json")


def test_an_order_that_hides_a_region_is_refused(made):
    """The users' most common mistake: the lesion written before the cord vanishes in it."""
    labels = {"background": 0, "lesion": 2, "sc": [1, 2]}
    with pytest.raises(ConfigError, match=r"sc = \[1, 2\] -> 1 is written after lesion"):
        plans.model_spec(made, {**DATASET, "labels": labels, "regions_class_order": [2, 1]}, "2d")


def test_orientations_of_the_toolbox():
    assert description.axcodes({"image_orientation": "RPI"}) == "LAS"
    assert description.axcodes({"image_orientation": "lpi"}) == "RAS"
    assert description.axcodes({"image_orientation": "AIL"}) == "PSR"
    assert description.axcodes({}) == ""
    with pytest.raises(DatasetError, match="image_orientation: got 'RRI'"):
        description.axcodes({"image_orientation": "RRI"})


def test_channels_by_their_old_name():
    assert description.channel_names({"modality": {"0": "CT", "1": "T1"}}) == ("CT", "T1")
    ten = {str(n): f"c{n}" for n in range(11)}
    assert description.channel_names({"channel_names": dict(sorted(ten.items()))})[10] == "c10"
    with pytest.raises(DatasetError, match="channel_names"):
        description.channel_names({"channel_names": ["T2w"]})


def test_ct_statistics_come_from_the_training_data():
    made = plan(FINGERPRINT, DATASET | {"channel_names": {"0": "CT"}}, dataset_name="x")
    rules = plans.model_spec(made, DATASET, "2d").preprocessing
    assert rules.normalization == ("ct",)
    assert rules.ct_statistics == ((3.0, 2.0, -1.0, 9.0),)


def test_cropped_datasets_are_normalised_inside_the_mask():
    made = plan(FINGERPRINT | {"median_relative_size_after_cropping": 0.5}, DATASET,
                dataset_name="x")  # fmt: skip
    assert plans.model_spec(made, DATASET, "2d").preprocessing.mask_normalization


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"previous_stage": "3d_lowres"}, "cascades are not supported"),
        ({"normalization_schemes": ["RGBTo01Normalization"]}, "got 'RGBTo01Normalization'"),
        ({"resampling_fn_data": "resample_torch"}, "resampling_fn_data: got resample_torch"),
        ({"resampling_fn_data_kwargs": {"order_z": 1}}, r"with \{'order_z': 1\}"),
        ({"resampling_fn_probabilities_kwargs": {"order": 3}}, "resampling_fn_probabilities"),
        ({"architecture": {"network_class_name": "a.Primus"}}, "got 'Primus'; expected Plain"),
        ({"architecture": None}, "malformed"),
        ({"patch_size": None}, "patch_size: got None; expected whole numbers"),
        ({"spacing": ["a", "b"]}, r"spacing: got \['a', 'b'\]; expected millimetres"),
    ],
)
def test_what_we_do_not_have_is_refused_by_name(made, change, match):
    changed = copy.deepcopy(made)
    changed["configurations"]["2d"].update(change)
    with pytest.raises(ConfigError, match=match):
        plans.model_spec(changed, DATASET, "2d", where="folder")


def test_masks_that_differ_between_channels_are_refused():
    dataset = DATASET | {"channel_names": {"0": "T1", "1": "T2"}}
    made = plan(FINGERPRINT, dataset, dataset_name="x")
    made["configurations"]["2d"]["use_mask_for_norm"] = [True, False]
    with pytest.raises(ConfigError, match="the same for every channel"):
        plans.model_spec(made, dataset, "2d")


def test_a_missing_entry_is_named(made):
    del made["configurations"]["3d_fullres"]["spacing"]
    with pytest.raises(ConfigError, match="3d_fullres: missing or malformed entry 'spacing'"):
        plans.model_spec(made, DATASET, "3d_fullres")


@pytest.mark.parametrize(
    ("key", "value", "match"),
    [
        ("n_stages", 10**9, "n_stages: got 1000000000; expected whole numbers from 1 to 16"),
        ("n_conv_per_stage", 10**6, "n_conv_per_stage: got 1000000"),
        ("features_per_stage", [32, 10**7], "features_per_stage"),
        ("kernel_sizes", [[3, 3], [3, -1]], "kernel_sizes"),
        ("strides", [[1, 1, 1]], "2 or 3 axes in each"),
        ("strides", [[1, 1], *[[2, 3]] * 4], r"patch_size: got .*; expected multiples of"),
        ("kernel_sizes", [[3, 4]] * 5, "kernel_sizes: got .*; expected odd numbers"),
    ],
)
def test_networks_of_absurd_size_are_refused(made, key, value, match):
    made["configurations"]["2d"]["architecture"]["arch_kwargs"][key] = value
    with pytest.raises(ConfigError, match=match):
        plans.model_spec(made, DATASET, "2d")


def places(tree, path=()):
    """Every place in a tree of dicts and lists."""
    yield path
    if isinstance(tree, dict | list):
        items = tree.items() if isinstance(tree, dict) else enumerate(tree)
        for key, item in items:
            yield from places(item, (*path, key))


MADE = plan(FINGERPRINT, DATASET, dataset_name="Dataset001_x")
BOTH = {"plans": MADE, "dataset": DATASET}
junk = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 10**12) | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)


@given(st.lists(st.tuples(st.sampled_from([p for p in places(BOTH) if len(p) > 1]), junk),
                min_size=1, max_size=2))  # fmt: skip
@settings(max_examples=400, deadline=None)
def test_junk_anywhere_gives_a_specification_or_one_line(changes):
    both = copy.deepcopy(BOTH)
    for path, value in changes:
        parent = both
        try:
            for key in path[:-1]:
                parent = parent[key]
            parent[path[-1]] = value
        except (TypeError, KeyError, IndexError):
            continue  # an earlier change removed this place
    for name in ("2d", "3d_fullres"):
        try:
            plans.model_spec(both["plans"], both["dataset"], name)
        except (ConfigError, DatasetError) as error:
            message = error.message
        else:
            message = ""
        assert "\n" not in message
        assert len(message) < 1500


@pytest.mark.parametrize("axes", [(3,), (-1,), (0, 1, 2, 2), ("0",), (True,)])
def test_mirroring_axes_that_do_not_exist_are_refused(made, axes):
    with pytest.raises(ConfigError, match=r"mirroring axes: got .*; expected some of 0 to 2"):
        plans.model_spec(made, DATASET, "3d_fullres", mirror_axes=axes)
