"""Resampled label maps are nnU-Net's (fixtures resample and preprocess)."""

import json

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from score_jax.arrays import resampling
from score_jax.arrays.regions import masks_from_labels
from score_jax.planning import labels, plans
from score_jax.planning.preprocess import prepare


def test_label_maps_of_nnunet(fixtures):
    folder = fixtures / "nnunet/resample"
    cases = json.loads((folder / "resample.json").read_text())
    checked = 0
    with np.load(folder / "resample.npz") as data:
        for number, case in cases.items():
            if not case["is_seg"]:
                continue
            axis = resampling.coarse_axis(case["cur"], case["new"])
            source = data[f"in{number}"][0].astype(np.int16)
            want = data[f"out{number}"][0]
            got = labels.resample_labels(source, want.shape, separate=axis)
            assert (got != want).mean() < 1e-5
            checked += 1
    assert checked >= 2


@pytest.mark.parametrize(
    ("configuration", "case"), [("3d_fullres", "real"), ("3d_fullres", "synth"), ("2d", "synth")]
)
def test_training_cases_as_nnunet_preprocesses_them(fixtures, configuration, case):
    root = fixtures / "nnunet"
    dataset = json.loads((root / "dataset/Dataset601_tinySCI/dataset.json").read_text())
    made = json.loads((root / "dataset/nnUNetPlans.json").read_text())
    spec = plans.model_spec(made, dataset, configuration)
    if case == "real":
        image, truth = root / "model/input/real_0000.nii.gz", root / "model/real_label.nii.gz"
    else:
        home = root / "dataset/Dataset601_tinySCI"
        image, truth = home / "imagesTr/case_001_0000.nii.gz", home / "labelsTr/case_001.nii.gz"
    stored = nib.load(image)
    spacing = tuple(float(mm) for mm in stored.header.get_zooms())
    voxels = np.asarray(stored.dataobj, np.float32)[..., None]
    prepared = prepare(voxels, spacing, spec.preprocessing)
    masks = masks_from_labels(np.asarray(nib.load(truth).dataobj).astype(int), spec.regions)
    targets = prepared.targets(masks)
    with np.load(root / "preprocess/preprocess.npz") as data:
        want = {key: data[f"{configuration}/{case}/{key}"] for key in ("data", "seg", "properties")}
        places = {
            region: data[f"{configuration}/{case}/class_locations/{region}"]
            for region in ("(1, 2)", "2")
        }
    np.testing.assert_allclose(prepared.image[..., 0], want["data"][0], atol=1e-4)
    wanted = np.stack([want["seg"][0] > 0, want["seg"][0] == 2], axis=-1)
    assert (targets != wanted).mean() < 1e-5
    properties = json.loads(str(want["properties"]))
    assert list(prepared.full_shape) == properties["shape_before_cropping"]
    box = [[side.start, side.stop] for side in prepared.box]
    assert box == properties["bbox_used_for_cropping"]
    assert list(prepared.crop_shape) == properties["shape_after_cropping_and_before_resampling"]
    for channel, where in enumerate(places.values()):
        assert targets[(*where[:, 1:].T, channel)].all()


def test_a_tie_goes_to_the_nearest_voxel():
    """Twice as fine is never a tie; half as fine always is, and the nearest voxel decides."""
    source = np.zeros((1, 1, 4), np.int16)
    source[..., 2:] = 5
    fine = labels.resample_labels(source, (1, 1, 8))
    assert fine.ravel().tolist() == [0] * 4 + [5] * 4
    # 4 -> 2: each new centre is midway between two old ones; shares 1, 0 or a half each
    source = np.array([[[3, 1, 1, 2]]], np.int16)
    nearest = resampling.resample(source.astype(float), (1, 1, 2), order=0).ravel()
    coarse = labels.resample_labels(source, (1, 1, 2)).ravel()
    assert coarse.tolist() == nearest.astype(int).tolist()


def test_slices_are_taken_whole_along_the_separate_axis():
    source = np.zeros((3, 4, 4), np.int16)
    source[1] = 7
    got = labels.resample_labels(source, (6, 4, 4), separate=0)
    assert [int(plane[0, 0]) for plane in got] == [0, 0, 7, 7, 0, 0]
    assert labels.resample_labels(source, (3, 4, 4), separate=0) is source


@given(
    arrays.arrays(np.int16, (3, 4, 5), elements=st.sampled_from([-1, 0, 1, 9])),
    st.tuples(*[st.integers(1, 9)] * 3),
    st.sampled_from([None, 0, 2]),
)
@settings(max_examples=60, deadline=None)
def test_no_label_is_invented(source, shape, separate):
    got = labels.resample_labels(source, shape, separate=separate)
    assert got.shape == shape
    assert got.dtype == source.dtype
    assert set(np.unique(got)) <= set(np.unique(source))


@given(arrays.arrays(np.bool_, (2, 3, 4, 3)))
@settings(deadline=None)
def test_packing_is_undone(masks):
    np.testing.assert_array_equal(labels.unpack(labels.pack(masks), 3), masks)


def test_what_lies_outside_competes_with_the_background(rng):
    """Outside and background split their share, as nnU-Net's -1 and 0 do; so regions win more."""
    image = np.zeros((12, 14, 2, 1), np.float32)
    masks = np.zeros((12, 14, 2, 2), bool)
    kind = rng.integers(0, 4, image.shape[:3])
    image[kind > 0] = 1.0
    masks[kind >= 2] = np.stack([kind >= 2, kind == 3], axis=-1)[kind >= 2]
    image[0, 0] = image[-1, -1] = 1  # so that the box is the whole image
    spec = plans.Preprocessing(
        spacing_mm=(1.3, 1.3, 0.0), crop_nonzero=True, normalization=("none",)
    )
    prepared = prepare(image, (1.0, 1.0, 1.0), spec)
    assert prepared.outside is not None
    by_hand = labels.pack(masks)
    by_hand[prepared.outside & (by_hand == 0)] = -1
    want = labels.resample_labels(by_hand, prepared.image.shape[:3])
    got = prepared.targets(masks)
    np.testing.assert_array_equal(got, labels.unpack(want, 2))
    merged = labels.resample_labels(labels.pack(masks), prepared.image.shape[:3])
    assert got[..., 0].sum() > labels.unpack(merged, 2)[..., 0].sum()
