"""Which shipped model a scan gets: rules of the registry against headers written here."""

import nibabel as nib
import numpy as np
import pytest

from score_jax import api, pretrained
from score_jax.cli.run import _suitable
from score_jax.cohort.scans import find_scans
from tests.commands import refused

REGISTRY = {
    "cord": {},
    "gm": {"suits": {"contrasts": ["T2starw", "MTS"], "axial": True}},
    "amira": {"suits": {"channels": 8}},
}


@pytest.fixture(autouse=True)
def registry(monkeypatch):
    monkeypatch.setattr(pretrained, "registry", lambda: REGISTRY)


def scan(path, spacing, shape=(4, 5, 6), axes=(0, 1, 2)):
    """A file whose voxel axes run along world axes `axes` with steps of `spacing` mm."""
    affine = np.eye(4)
    affine[:3, :3] = 0
    for column, (axis, mm) in enumerate(zip(axes, spacing, strict=True)):
        affine[axis, column] = mm
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(np.zeros(shape, np.uint8), affine), path)
    return path


@pytest.mark.parametrize(
    ("name", "spacing", "axes", "model"),
    [
        ("a.nii.gz", (0.5, 0.5, 5.0), (0, 1, 2), "gm"),
        ("a.nii.gz", (0.9, 0.9, 1.8), (0, 1, 2), "gm"),
        ("a.nii.gz", (0.9, 0.9, 1.7), (0, 1, 2), "cord"),  # slices not thick
        ("a.nii.gz", (1.0, 0.5, 5.0), (0, 1, 2), "cord"),  # pixels too large
        ("a.nii.gz", (3.0, 0.7, 0.7), (0, 1, 2), "cord"),  # sagittal
        ("a.nii.gz", (5.0, 0.5, 0.5), (2, 0, 1), "gm"),  # axial, stored in another order
        ("sub-1_T2w.nii.gz", (0.5, 0.5, 5.0), (0, 1, 2), "cord"),  # the name knows better
        ("sub-1_T2starw.nii.gz", (1.0, 1.0, 1.0), (0, 1, 2), "gm"),
    ],
)
def test_by_name_and_grid(tmp_path, name, spacing, axes, model):
    (choice,) = api.choose_models([scan(tmp_path / name, spacing, axes=axes)])
    assert choice.model == model
    assert choice.inputs == (tmp_path / name,)
    assert ("default" in choice.why) == (model == "cord")


def test_by_channels(tmp_path):
    eight = scan(tmp_path / "sub-1_AMIRA.nii.gz", (0.3, 0.3, 8), (4, 4, 2, 8))
    two = scan(tmp_path / "sub-2_T2starw.nii.gz", (0.3, 0.3, 8), (4, 4, 2, 2))
    first, second = api.choose_models([eight, two])
    assert (first.model, first.why) == ("amira", "the scan has 8 channels")
    assert second.model == "cord"


def test_inputs_of_one_model_stand_together_and_unreadable_ones_go_on(tmp_path):
    thick = [scan(tmp_path / f"{n}.nii.gz", (0.5, 0.5, 5.0)) for n in "ac"]
    plain = scan(tmp_path / "b.nii.gz", (1.0, 1.0, 1.0))
    missing = tmp_path / "none.nii.gz"
    choices = api.choose_models([thick[0], plain, thick[1], missing])
    assert {c.model: c.inputs for c in choices} == {
        "gm": tuple(thick),
        "cord": (plain, missing),
    }


def test_a_folder_is_judged_by_its_first_scan(tmp_path):
    image = scan(tmp_path / "b" / "sub-1" / "anat" / "sub-1_T2starw.nii.gz", (1.0, 1.0, 1.0))
    (choice,) = api.choose_models([tmp_path / "b"])
    assert (choice.model, choice.inputs) == ("gm", (tmp_path / "b",))
    image.unlink()
    assert api.choose_models([tmp_path / "b"])[0].model == "cord"


def test_two_models_never_write_one_file(tmp_path, run):
    thick = scan(tmp_path / "x" / "scan.nii.gz", (0.5, 0.5, 5.0))
    plain = scan(tmp_path / "y" / "scan.nii.gz", (1.0, 1.0, 1.0))
    result = run("predict", thick, plain, "--out", tmp_path / "out")
    refused(result, "both would be written as scan_dseg.nii.gz", "different folders")


def test_run_takes_one_model_for_a_whole_dataset_or_says_why_not(tmp_path, run):
    for subject in ("sub-1", "sub-2"):
        image = tmp_path / "b" / subject / "anat" / f"{subject}_T2starw.nii.gz"
        scan(image, (1.0, 1.0, 1.0))
    assert _suitable(find_scans(tmp_path / "b")) == "gm"
    other = scan(image.with_name("sub-2_T2w.nii.gz"), (1.0, 1.0, 1.0))
    result = run("run", tmp_path / "b", tmp_path / "out", "participant")
    refused(result, "suits the model gm", f"{other} suits cord", "--contrast T2w")
