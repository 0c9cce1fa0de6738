"""The masks of several raters, found once for each and joined by case."""

import shutil

import nibabel as nib
import numpy as np
import pytest

from score_jax import data
from score_jax.arrays.regions import Region
from score_jax.errors import DatasetError, GeometryError

from .conftest import AFFINE, RULES, ids, write_raters, write_table


@pytest.fixture
def bids(tmp_path):
    root = write_raters(tmp_path / "bids")
    return root, data.discover(root)


def test_each_rater_has_all_cases_and_its_own_masks(bids):
    root, found = bids
    raters = data.discover_raters(root, ("rater2", "rater1"), found)
    assert list(raters) == ["rater2", "rater1"]
    for name, dataset in raters.items():
        assert ids(dataset) == ids(found) == ("sub-0_T2w", "sub-1_T2w")
        assert dataset.regions == found.regions
        assert name in str(dataset.cases[0].region_masks["cord"])
    case = found.case("sub-1_T2w")
    volume = data.load_image(case)
    drawn = [(dataset.case(case.id), dataset) for dataset in raters.values()]
    masks = data.load_raters(drawn, volume)
    assert masks.shape == (2, *volume.shape, 2)
    assert masks[0].sum() > masks[1].sum()
    for one, (own, dataset) in zip(masks, drawn, strict=True):
        np.testing.assert_array_equal(one, data.load_targets(own, dataset, volume)[0])
    assert data.discover_raters(root, (), found) == {}


def test_only_the_images_with_the_wanted_contrast(bids):
    root, _ = bids
    for number in range(2):
        folder = root / f"sub-{number}" / "anat"
        shutil.copy(folder / f"sub-{number}_T2w.nii.gz", folder / f"sub-{number}_T1w.nii.gz")
    found = data.discover(root, contrast="T2w", regions=["lesion"])
    raters = data.discover_raters(root, ("rater1",), found)
    assert ids(raters["rater1"]) == ("sub-0_T2w", "sub-1_T2w")
    assert [region.name for region in raters["rater1"].regions] == ["lesion"]


def test_raters_with_label_maps(bids):
    root, _ = bids
    for rater, value in (("truth", 1), ("rater1", 1), ("rater2", 2)):
        for number in range(2):
            folder = root / "derivatives" / rater / f"sub-{number}" / "anat"
            mask = nib.load(folder / f"sub-{number}_label-cord_mask.nii.gz")
            values = np.asarray(mask.dataobj) * np.uint8(value)
            nib.save(nib.Nifti1Image(values, AFFINE), folder / f"sub-{number}_dseg.nii.gz")
    regions = [Region("cord", (1, 2), 1), Region("part", (2,), 2)]
    found = data.discover(root, regions=regions)
    raters = data.discover_raters(root, ("rater1", "rater2"), found)
    store = root.parent / "s"
    ready = data.prepare_dataset(found, ids(found), RULES, store, raters=raters)
    sums = ready["sub-0_T2w"].truth().sum(axis=(1, 2, 3))
    assert sums[0, 0] > 0 and sums[0, 1] == 0  # noqa: PT018
    assert sums[1, 0] == sums[1, 1] > 0


@pytest.mark.parametrize(
    ("change", "raters", "message"),
    [
        (None, ("rater1", "rater1"), "raters: got rater1, rater1; expected each once"),
        (None, ("rater1", "rater9"), r"rater rater9: .*expected derivatives/rater9"),
        (
            "rater2/sub-1",
            ("rater1", "rater2"),
            r"rater2: has no masks of sub-1_T2w; expected those",
        ),
        (
            "rater2/sub-1/anat/sub-1_label-lesion_mask.nii.gz",
            ("rater1", "rater2"),
            r"rater rater2: sub-1_T2w: has no mask of 'lesion'; it has cord",
        ),
    ],
)
def test_what_a_rater_lacks_is_named(bids, change, raters, message):
    root, found = bids
    if change:
        path = root / "derivatives" / change
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(DatasetError, match=message):
        data.discover_raters(root, raters, found)


def test_other_layouts_have_no_raters(tmp_path):
    path = write_table(tmp_path, 1)
    with pytest.raises(DatasetError, match="got a dataset of the kind table; expected BIDS"):
        data.discover_raters(path, ("rater1",), data.discover(path))


def test_a_rater_on_another_grid_is_refused(bids, tmp_path):
    root, found = bids
    path = root / "derivatives/rater2/sub-0/anat/sub-0_label-cord_mask.nii.gz"
    values = np.asarray(nib.load(path).dataobj)[:-1]
    nib.save(nib.Nifti1Image(values, AFFINE), path)
    raters = data.discover_raters(root, ("rater1", "rater2"), found)
    with pytest.raises(GeometryError, match=r"sub-0_label-cord_mask\.nii\.gz"):
        data.prepare_dataset(found, ids(found), RULES, tmp_path / "s", raters=raters)


def test_another_set_of_raters_is_prepared_anew(bids, tmp_path):
    root, found = bids
    for raters, outcome in ((("rater1",), "made"), (("rater1", "rater3"), "redone")):
        given = data.discover_raters(root, raters, found)
        for expected in (outcome, "kept"):
            ready = data.prepare_dataset(found, ids(found), RULES, tmp_path / "s", raters=given)
            assert ready.count(expected) == 2
        assert ready.raters == raters
        assert ready["sub-0_T2w"].raters == len(raters)
