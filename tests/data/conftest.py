"""Small datasets of unequal axes: with raters, with an ignore label, prepared on another grid."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from score_jax import data
from score_jax.config import Preprocessing
from tests.phantoms import scan, write_table

AFFINE = np.diag([1.0, 1.0, 2.0, 1.0])
RULES = Preprocessing(axcodes="LAS", spacing_mm=(1.0, 1.25, 1.5))


def ids(dataset):
    return tuple(case.id for case in dataset.cases)


def store_bytes(folder: Path):
    """Every file of a store but its lock, byte by byte."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def write_nnunet(root: Path, count: int = 2) -> Path:
    """Label maps of cord 1, lesion 2 and, in the lowest two slices, 3: ignore."""
    (root / "imagesTr").mkdir(parents=True)
    (root / "labelsTr").mkdir()
    for number in range(count):
        image, cord, lesion = scan(number)
        labels = cord.astype(np.uint8) + lesion
        labels[..., :2] = 3
        name = f"sub-{number}"
        nib.save(nib.Nifti1Image(image, AFFINE), root / "imagesTr" / f"{name}_0000.nii.gz")
        nib.save(nib.Nifti1Image(labels, AFFINE), root / "labelsTr" / f"{name}.nii.gz")
    description = {
        "channel_names": {"0": "T2w"},
        "labels": {"background": 0, "cord": [1, 2], "lesion": 2, "ignore": 3},
        "regions_class_order": [1, 2],
        "numTraining": count,
        "file_ending": ".nii.gz",
    }
    (root / "dataset.json").write_text(json.dumps(description))
    return root


def write_raters(root: Path, raters=("rater1", "rater2", "rater3"), count: int = 2) -> Path:
    """BIDS: rater n draws the cord n voxels longer than its lower half; the lesion as it is."""
    for number in range(count):
        image, cord, lesion = scan(number)
        name = f"sub-{number}"
        folder = root / name / "anat"
        folder.mkdir(parents=True)
        nib.save(nib.Nifti1Image(image, AFFINE), folder / f"{name}_T2w.nii.gz")
        for rater, pipeline in enumerate(("truth", *raters)):
            drawn = cord.copy()
            drawn[..., cord.shape[2] // 2 + rater :] = False
            folder = root / "derivatives" / pipeline / name / "anat"
            folder.mkdir(parents=True)
            for region, mask in {"cord": drawn | lesion, "lesion": lesion}.items():
                file = folder / f"{name}_label-{region}_mask.nii.gz"
                nib.save(nib.Nifti1Image(mask.astype(np.uint8), AFFINE), file)
    return root


@pytest.fixture(scope="session")
def table(tmp_path_factory):
    path = write_table(tmp_path_factory.mktemp("table"), 3, channels=2, affine=AFFINE)
    return data.discover(path)


@pytest.fixture(scope="session")
def prepared(table, tmp_path_factory):
    return data.prepare_dataset(table, ids(table), RULES, tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="session")
def rated(tmp_path_factory):
    root = write_raters(tmp_path_factory.mktemp("raters"))
    found = data.discover(root)
    raters = data.discover_raters(root, ("rater1", "rater2", "rater3"), found)
    folder = tmp_path_factory.mktemp("store")
    return data.prepare_dataset(found, ids(found), RULES, folder, raters=raters)


@pytest.fixture(scope="session")
def ignoring(tmp_path_factory):
    found = data.discover(write_nnunet(tmp_path_factory.mktemp("raw")))
    return found, data.prepare_dataset(found, ids(found), RULES, tmp_path_factory.mktemp("store"))
