"""Masks, label maps and the comparison of grids."""

import nibabel as nib
import numpy as np
import pytest

from score_jax.errors import GeometryError, ImageError
from score_jax.imaging import Volume, load, load_labels, load_mask, same_grid

SHAPE = (3, 4, 5)
AFFINE = nib.affines.from_matvec(
    nib.eulerangles.euler2mat(0.1, 0.2, 0.3) @ np.diag([0.5, 0.75, 3.0]), [10, -20, 30]
)


@pytest.fixture
def write(tmp_path):
    def to(data, affine=AFFINE):
        path = tmp_path / "m.nii.gz"
        nib.Nifti1Image(np.asarray(data), affine).to_filename(path)
        return path

    return to


def some(*values, dtype=np.float32):
    data = np.zeros(60, dtype)
    data[: len(values)] = values
    return data.reshape(SHAPE)


def test_masks_of_0_and_1_or_0_and_255(write):
    for data in (
        some(1, 1),
        some(0.9995, 1.0004, -0.0005),
        some(255, 255),
        some(1, dtype=np.uint8),
    ):
        mask = load_mask(write(data)).data
        assert mask.dtype == bool
        np.testing.assert_array_equal(mask, data > 0.5)
    assert not load_mask(write(some())).data.any()
    assert load_mask(write(np.ones(SHAPE, np.uint8))).data.all()


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ((1, 2), "0, 1, 2"),
        ((2,), "0, 2"),
        ((0.5,), "0, 0.5"),
        ((1, 255), "0, 1, 255"),
        ((-1,), "-1, 0"),
    ],
)
def test_other_values_are_refused_by_name(values, shown, write):
    with pytest.raises(ImageError, match=f"values {shown}; expected 0 and 1"):
        load_mask(write(some(*values)))


def test_many_values_are_not_all_printed(write):
    with pytest.raises(ImageError, match=r"6, 7 \.\.\. \(60 in all\)"):
        load_mask(write(np.arange(60, dtype=np.int16).reshape(SHAPE)))


def test_soft_masks(write):
    soft = load_mask(write(some(0.25, 1.06, -0.0004)), soft=True).data
    assert soft.dtype == np.float32
    np.testing.assert_array_equal(soft.ravel()[:4], np.float32([0.25, 1, 0, 0]))
    for bad in (-0.1, 2.5):
        with pytest.raises(ImageError, match="expected 0 to 1"):
            load_mask(write(some(bad)), soft=True)


def test_labels(write):
    labels = load_labels(write(some(1, 2.0004, 6.9996))).data
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(labels.ravel()[:4], [1, 2, 7, 0])
    assert not load_labels(write(some())).data.any()
    for bad, shown in ((-1, "-1"), (0.5, "0.5"), (1.002, "1.002"), (3e7, "3e[+]07")):
        with pytest.raises(ImageError, match=f"the values {shown} in 1 voxels; expected integers"):
            load_labels(write(some(1, bad)))
    with pytest.raises(ImageError, match="not finite"):
        load_labels(write(some(1, np.nan)))
    with pytest.raises(ImageError, match="got 2 channels; expected a mask of one"):
        load_labels(write(np.ones((3, 4, 5, 2), np.uint8)))


def volume(affine=AFFINE, shape=SHAPE):
    return Volume(np.zeros(shape, np.float32), affine)


def moved(mm):
    affine = AFFINE.copy()
    affine[0, 3] += mm
    return affine


def test_same_grid_forgives_rounding_and_no_more():
    same_grid(volume(), volume())
    same_grid(volume(), volume(AFFINE.astype(np.float32).astype(float)))
    same_grid(volume(), volume(np.round(AFFINE, 4)))
    same_grid(volume(), volume(moved(0.0049)))  # 0.01 of the smallest side, 0.5 mm
    for mm in (0.0051, 0.25, -3):
        with pytest.raises(GeometryError, match=f"corners {abs(mm):.3g} mm apart; exp"):
            same_grid(volume(), volume(moved(mm)))
    tiny = np.diag([0.02, 0.02, 0.02, 1])
    same_grid(volume(tiny), volume(nib.affines.from_matvec(tiny[:3, :3], [0.0009, 0, 0])))


def test_a_small_turn_counts_at_the_far_corner():
    turn = nib.affines.from_matvec(nib.eulerangles.euler2mat(0.001, 0, 0))
    same_grid(volume(), volume(AFFINE @ turn))  # 3 x 0.001 x 0.5 mm
    with pytest.raises(GeometryError, match="apart"):
        same_grid(volume(shape=(3, 99, 5)), volume(AFFINE @ turn, (3, 99, 5)))


def test_the_message_has_both_grids():
    with pytest.raises(GeometryError) as caught:
        same_grid(volume(), volume(shape=(3, 4, 6)), what="image and lesion mask")
    text = str(caught.value)
    for part in ("image and lesion mask", "3 x 4 x 5 voxels of 0.5 x 0.75 x 3 mm, RAS",
                 "3 x 4 x 6 voxels", "origin (10.00, -20.00, 30.00)", "resample"):  # fmt: skip
        assert part in text
    with pytest.raises(GeometryError, match="turn one to the other's orientation"):
        same_grid(volume(), volume().reoriented("LAS"))


def test_real_masks_lie_on_their_images(fixtures):
    folder = fixtures / "realmri"
    for image, mask in [
        ("t2/t2", "t2/t2_seg-manual"),
        ("t2s/t2s", "t2s/t2s_seg"),
        ("t2s/t2s", "t2s/t2s_gmseg_manual"),
        ("t1/t1w", "t1/t1w_seg-manual"),
    ]:
        same_grid(load(folder / f"{image}.nii.gz"), load_mask(folder / f"{mask}.nii.gz"))
    assert load_mask(folder / "t2/t2_seg-manual.nii.gz").data.sum() == 4275
    assert load_labels(folder / "t2/t2_seg-manual_labeled.nii.gz").data.max() == 5
    with pytest.raises(GeometryError, match="60 x 55 x 52"):
        same_grid(load(folder / "t2/t2.nii.gz"), load(folder / "t1/t1w.nii.gz"))
