"""Reading a case: channels, regions, orientations and every refusal."""

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from score_jax.arrays.regions import Region
from score_jax.data import Case, Dataset, load_case, load_image
from score_jax.errors import DatasetError, GeometryError, ImageError

SHAPE = (3, 4, 5)
AFFINE = np.diag([0.5, 0.75, 3.0, 1])


@pytest.fixture
def write(tmp_path):
    def to(name, data, affine=AFFINE):
        path = tmp_path / f"{name}.nii"
        nib.Nifti1Image(np.asarray(data), affine).to_filename(path)
        return path

    return to


def ramp(offset=0):
    return (np.arange(60).reshape(SHAPE) + offset).astype(np.int16)


def at(*voxels, value=1):
    data = np.zeros(60, np.uint8)
    data[list(voxels)] = value
    return data.reshape(SHAPE)


def dataset(*cases, **changes):
    base = {
        "root": Path("x"),
        "kind": "nnunet",
        "channel_names": ("T2w",),
        "regions": (Region("cord", (1, 2), 1), Region("lesion", (2,), 2)),
        "cases": cases,
    }
    return Dataset(**{**base, **changes})


def case(*images, **more):
    return Case(id="c", subject="s", images=images, **more)


def test_label_maps_by_hand(write):
    labels = at(1, 2)
    labels.ravel()[[3, 4]] = 2
    one = case(write("i", ramp()), labels=write("l", labels))
    loaded = load_case(one, dataset(one))
    assert loaded.image.shape == (*SHAPE, 1)
    assert loaded.image.dtype == np.float32
    np.testing.assert_array_equal(loaded.image[..., 0], ramp())
    np.testing.assert_array_equal(loaded.targets[..., 0].ravel().nonzero()[0], [1, 2, 3, 4])
    np.testing.assert_array_equal(loaded.targets[..., 1].ravel().nonzero()[0], [3, 4])
    assert loaded.ignore is None
    assert loaded.volume.spacing == (0.5, 0.75, 3.0)


def test_ignore(write):
    labels = at(1, 2)
    labels.ravel()[7] = 3
    one = case(write("i", ramp()), labels=write("l", labels))
    loaded = load_case(one, dataset(one, ignore=3))
    np.testing.assert_array_equal(loaded.ignore.ravel().nonzero()[0], [7])
    assert not loaded.targets.reshape(60, 2)[7].any()
    with pytest.raises(DatasetError, match=r"l.nii: got the labels \[0, 1, 3\]; .* so \[3\]"):
        load_case(one, dataset(one))


def test_masks_and_the_lesion_that_leaves_the_cord(write):
    masks = {"cord": write("c", at(1, 2, 3)), "lesion": write("l", at(3, 4))}
    one = case(write("i", ramp()), region_masks=masks)
    targets = load_case(one, dataset(one)).targets
    np.testing.assert_array_equal(targets[..., 0].ravel().nonzero()[0], [1, 2, 3, 4])
    np.testing.assert_array_equal(targets[..., 1].ravel().nonzero()[0], [3, 4])
    empty = replace(one, region_masks={**masks, "lesion": write("l", at())})
    assert not load_case(empty, dataset(empty)).targets[..., 1].any()
    lacking = replace(one, region_masks={"cord": masks["cord"]})
    with pytest.raises(DatasetError, match="c: got no mask of 'lesion'"):
        load_case(lacking, dataset(lacking))


def test_masks_stored_in_another_orientation_are_turned(write):
    image = write("i", ramp())
    turned = nib.as_closest_canonical(nib.load(image)).as_reoriented([[2, -1], [0, 1], [1, -1]])
    mask = nib.Nifti1Image((np.asarray(turned.dataobj) > 40).astype(np.uint8), turned.affine)
    path = image.with_name("m.nii")
    mask.to_filename(path)
    one = case(image, region_masks={"cord": path})
    one_region = dataset(one, regions=(Region("cord", (1,), 1),))
    np.testing.assert_array_equal(load_case(one, one_region).targets[..., 0], ramp() > 40)
    loaded = load_case(one, one_region, axcodes="SPL")
    assert loaded.volume.axcodes == "SPL"
    assert loaded.image.shape == (5, 4, 3, 1)
    np.testing.assert_array_equal(loaded.targets[..., 0], loaded.image[..., 0] > 40)
    np.testing.assert_array_equal(loaded.volume.to_stored(loaded.image)[..., 0], ramp())


def test_channels_from_files_and_from_one_file(write):
    two = load_image(case(write("a", ramp()), write("b", ramp(100))), ("T1w", "T2w"))
    np.testing.assert_array_equal(two.data[..., 1], ramp(100))
    stacked = np.stack([ramp(), ramp(7)], -1)
    one = load_image(case(write("c", stacked)))
    np.testing.assert_array_equal(one.data, stacked)
    flip = np.diag([-1.0, 1, 1, 1])
    flip[0, 3] = 2
    flipped = nib.Nifti1Image(ramp(100)[::-1], AFFINE @ flip)
    flipped.to_filename(one.path.with_name("f.nii"))
    other = load_image(case(write("a", ramp()), one.path.with_name("f.nii")))
    np.testing.assert_array_equal(other.data[..., 1], ramp(100))
    with pytest.raises(ImageError, match=r"c.nii: got 2 channels; expected 1 \(T2w\)"):
        load_image(case(write("c", stacked)), ("T2w",))
    with pytest.raises(ImageError, match="channel 1 is constant"):
        load_image(case(write("d", np.stack([ramp(), at()], -1))))
    with pytest.raises(GeometryError, match="channels of c lie on different grids"):
        load_image(case(write("a", ramp()), write("b", ramp(), np.diag([0.5, 0.75, 3.1, 1]))))


def test_image_and_mask_on_different_grids(write):
    image = write("i", ramp())
    for data, affine in ((at()[:2], AFFINE), (at(), np.diag([0.5, 0.75, 3.3, 1]))):
        path = write("m", data, affine)
        for kind in ({"labels": path}, {"region_masks": {"cord": path, "lesion": path}}):
            one = case(image, **kind)
            with pytest.raises(GeometryError, match=r"lie on different grids.*i.nii.*m.nii"):
                load_case(one, dataset(one))


def test_an_unlabelled_case_has_no_targets(write):
    one = case(write("i", ramp()))
    loaded = load_case(one, dataset(one))
    assert loaded.targets is None
    assert loaded.ignore is None
