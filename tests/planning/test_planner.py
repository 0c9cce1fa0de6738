"""Every plan equals nnU-Net's (fixtures planner_cases and dataset), and the rules by hand."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from score_jax.errors import ConfigError, DatasetError
from score_jax.planning import planner
from score_jax.planning.topology import Topology, feature_maps, topology

DATA = Path(__file__).parent / "data"
PRESETS = {
    "ExperimentPlanner": "default",
    "nnUNetPlannerResEncM": "resenc-m",
    "nnUNetPlannerResEncL": "resenc-l",
}
OPTIONS = {
    "nnUNetPlans_24G": {"gpu_memory_gb": 24.0},
    "nnUNetPlans_sp": {"spacing": (0.6, 0.6, 3.0)},
}


def equal(got, want, where=""):
    """The same keys, types and values; floats to 1e-9."""
    if isinstance(want, float):
        assert got == pytest.approx(want, rel=1e-9), where
        return
    assert type(got) is type(want), where
    if isinstance(want, dict):
        assert set(got) == set(want), where
        for key in want:
            equal(got[key], want[key], f"{where}/{key}")
    elif isinstance(want, list):
        assert len(got) == len(want), where
        for number, (a, b) in enumerate(zip(got, want, strict=True)):
            equal(a, b, f"{where}[{number}]")
    else:
        assert got == want, where


def read(path):
    return json.loads(path.read_text())


CASES = [
    *("axial_sci", "brats_like", "ct_big", "flat2d", "iso_sci", "sag_sci"),
    *("sciseg_like_rpi_mix", "dataset"),
]


@pytest.mark.parametrize("case", CASES)
def test_plans_are_those_of_nnunet(fixtures, case):
    root = fixtures / "nnunet"
    folder = root / "dataset" if case == "dataset" else root / "planner_cases" / case
    home = folder / "Dataset601_tinySCI" if case == "dataset" else folder
    fingerprint, dataset = read(folder / "dataset_fingerprint.json"), read(home / "dataset.json")
    found = sorted(folder.glob("*Plans*.json"))
    assert found
    for path in found:
        want = read(path)
        got = planner.plan(
            fingerprint,
            dataset,
            dataset_name=want["dataset_name"],
            preset=PRESETS[want["experiment_planner_used"]],
            plans_name=path.stem,
            **OPTIONS.get(path.stem, {}),
        )
        equal(json.loads(json.dumps(got)), want, path.stem)


@pytest.fixture
def sagittal():
    return read(DATA / "sagittal.json")


def make(sagittal, **options):
    return planner.plan(
        sagittal["fingerprint"], sagittal["dataset"], dataset_name="Dataset001_x", **options
    )


@pytest.mark.parametrize(
    "name", ["nnUNetPlans", "nnUNetResEncUNetMPlans", "nnUNetResEncUNetLPlans"]
)
def test_an_excerpt_that_travels_with_the_tests(sagittal, name):
    preset = {"nnUNetPlans": "default"}.get(name, f"resenc-{name[-6].lower()}")
    got, want = make(sagittal, preset=preset), sagittal["plans"][name]
    assert got["plans_name"] == name
    assert got["transpose_forward"] == want["transpose_forward"]
    assert set(got["configurations"]) == set(want["configurations"])
    for configuration, numbers in want["configurations"].items():
        settings_ = got["configurations"][configuration]
        kwargs = settings_["architecture"]["arch_kwargs"]
        for key, value in numbers.items():
            equal(settings_[key] if key in settings_ else kwargs[key], value, key)


def test_the_sagittal_plan_of_the_paper(sagittal):
    """unet.md section 3: right-left first, 14 x 384 x 320, batch 2, seven stages."""
    full = make(sagittal)["configurations"]["3d_fullres"]
    assert full["patch_size"] == [14, 384, 320]
    assert full["batch_size"] == 2
    assert full["architecture"]["arch_kwargs"]["n_stages"] == 7
    assert full["architecture"]["arch_kwargs"]["strides"][:4] == [
        [1, 1, 1], [1, 2, 2], [1, 2, 2], [2, 2, 2],
    ]  # fmt: skip


def test_feature_maps_by_hand():
    """The value nnU-Net's authors give for ResEnc, 6 stages, 128 cubed, 3 classes, five heads."""
    shape = Topology(
        strides=((1,) * 3, *((2,) * 3,) * 5), kernels=((3,) * 3,) * 6, patch=(128,) * 3,
        divisor=(32,) * 3,
    )  # fmt: skip
    features, blocks = (32, 64, 128, 256, 320, 320), (1, 3, 4, 6, 6, 6)
    total = feature_maps(shape, features, blocks, (1,) * 5, 3, residual=True, deep_supervision=True)
    assert total == 558_319_104
    heads = 3 * (64**3 + 32**3 + 16**3 + 8**3)
    one = feature_maps(shape, features, blocks, (1,) * 5, 3, residual=True)
    assert one == 558_319_104 - heads
    # two plain stages on 4 x 4: 2 convs of 3 channels, 2 of 5 on 2 x 2, a decoder stage, 2 logits
    small = Topology(((1, 1), (2, 2)), ((3, 3), (3, 3)), (4, 4), (2, 2))
    by_hand = 2 * 3 * 16 + 2 * 5 * 4 + (2 + 1) * 3 * 16 + 2 * 16
    assert feature_maps(small, (3, 5), (2, 2), (2,), 2, residual=False) == by_hand
    # the residual one: stem, 1 block on each stage, the second with a skip that changes
    by_hand = 3 * 16 + 2 * 3 * 16 + 3 * 5 * 4 + (1 + 1) * 3 * 16 + 2 * 16
    assert feature_maps(small, (3, 5), (1, 1), (1,), 2, residual=True) == by_hand


def test_estimates_of_the_networks(fixtures):
    for name, net in read(fixtures / "nnunet/nets/nets.json").items():
        if not isinstance(net, dict) or "architecture" not in net:
            continue
        config, kwargs = net["config"], net["architecture"]["arch_kwargs"]
        shape = Topology(
            strides=tuple(map(tuple, kwargs["strides"])), kernels=(), divisor=(),
            patch=tuple(config["patch"]),
        )  # fmt: skip
        convs = kwargs.get("n_conv_per_stage", kwargs.get("n_blocks_per_stage"))
        got = feature_maps(
            shape,
            kwargs["features_per_stage"],
            convs,
            kwargs["n_conv_per_stage_decoder"],
            config["out"],
            residual="Residual" in net["architecture"]["network_class_name"],
            deep_supervision=True,
        )
        assert got == net["feature_map_size_estimate"], name


def test_topologies_by_hand():
    """Anisotropic: in-plane halves twice before 3 mm counts as near; 14 slices halve once."""
    found = topology((3.0, 0.5, 0.5), (14, 40, 40))
    assert found.strides == ((1, 1, 1), (1, 2, 2), (1, 2, 2), (2, 2, 2))
    assert found.kernels == ((1, 3, 3), (1, 3, 3), (3, 3, 3), (3, 3, 3))
    assert found.patch == (14, 40, 40)
    assert found.divisor == (2, 8, 8)
    # a lone axis halves from 12 voxels on, not from 8
    assert topology((1.0, 1.0), (11, 4)).stages == 1
    assert topology((1.0, 1.0), (12, 4)).strides == ((1, 1), (2, 1))
    # half a voxel counts as more: the patch is padded up
    assert topology((1.0, 1.0), (16.5, 16.0)).patch == (20, 16)
    assert topology((1.0, 1.0), (3, 3)).kernels == ((3, 3),)


@given(
    st.lists(st.floats(0.2, 8), min_size=3, max_size=3),
    st.lists(st.integers(1, 400), min_size=3, max_size=3),
)
@settings(max_examples=200, deadline=None)
def test_topology_never_makes_a_map_below_four_voxels(spacing, patch):
    found = topology(spacing, patch)
    for axis in range(3):
        halved = found.patch[axis] / found.divisor[axis]
        assert halved == int(halved)
        assert found.patch[axis] >= patch[axis]
        assert found.patch[axis] - patch[axis] < found.divisor[axis]
        if found.divisor[axis] > 1:
            assert halved >= 4
    assert found.strides[0] == (1, 1, 1)
    assert found.kernels[-1] == (3, 3, 3)
    assert np.prod(found.strides, axis=0).tolist() == list(found.divisor)


def test_target_spacing_by_hand():
    """Median, unless one axis is coarse and short: then its 10th percentile, not too fine."""
    coarse = {"spacings": [[s, 1.0, 1.0] for s in (4.0, 5.0, 6.0)],
              "shapes_after_crop": [[10, 50, 60]] * 3}  # fmt: skip
    np.testing.assert_allclose(planner.target_spacing(coarse), [4.2, 1, 1])
    long = coarse | {"shapes_after_crop": [[20, 50, 60]] * 3}  # a third of 50 is less than 20
    np.testing.assert_allclose(planner.target_spacing(long), [5, 1, 1])
    mixed = coarse | {"spacings": [[s, 1.0, 1.0] for s in (0.5, 0.5, 5.0, 5.0, 5.0)],
                      "shapes_after_crop": [[10, 50, 60]] * 5}  # fmt: skip
    np.testing.assert_allclose(planner.target_spacing(mixed), [1 + 1e-5, 1, 1])


def test_less_memory_gives_smaller_patches(sagittal):
    sizes = [
        np.prod(make(sagittal, gpu_memory_gb=gb)["configurations"]["3d_fullres"]["patch_size"])
        for gb in (2.0, 8.0, 24.0)
    ]
    assert sizes[0] < sizes[1] < sizes[2]


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"preset": "big"}, "planner: got 'big'; expected one of default, resenc-m"),
        ({"gpu_memory_gb": 0.0}, "gpu memory: got 0.0 GB"),
        ({"gpu_memory_gb": float("nan")}, "gpu memory: got nan GB"),
        ({"gpu_memory_gb": 1e-6}, "not even the smallest patch fits"),
        ({"spacing": (1.0, 1.0)}, r"spacing: got \[1.0, 1.0\]"),
        ({"spacing": (1.0, 1.0, 0.0)}, "three positive numbers"),
    ],
)
def test_impossible_wishes_are_refused(sagittal, options, match):
    with pytest.raises(ConfigError, match=match):
        make(sagittal, **options)


@pytest.mark.parametrize(
    ("part", "change", "match"),
    [
        ("fingerprint", {"spacings": None}, "no entry spacings"),
        ("fingerprint", {"spacings": []}, "three positive numbers a case"),
        ("fingerprint", {"spacings": [[1.0, 1.0]] * 24}, "three positive numbers a case"),
        ("fingerprint", {"shapes_after_crop": [[1, 1, 0]] * 24}, "three positive numbers"),
        ("dataset", {"labels": None}, "no entry labels"),
        ("dataset", {"channel_names": None}, "channel_names: got None"),
        ("dataset", {"channel_names": {"1": "T2w"}}, "channel_names"),
        ("dataset", {"file_ending": ".jpg"}, "file_ending: got '.jpg'"),
    ],
)
def test_malformed_files_are_refused(sagittal, part, change, match):
    broken = copy.deepcopy(sagittal)
    for key, value in change.items():
        broken[part].pop(key)
        if value is not None:
            broken[part][key] = value
    with pytest.raises(DatasetError, match=match):
        make(broken)


def test_a_named_reader_is_recorded(sagittal):
    sagittal["dataset"]["overwrite_image_reader_writer"] = "NibabelIOWithReorient"
    assert make(sagittal)["image_reader_writer"] == "NibabelIOWithReorient"
