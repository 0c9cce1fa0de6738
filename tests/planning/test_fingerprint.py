"""Fingerprints: hand numbers, nnU-Net's on its own dataset, and the plan command around them."""

import json

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

from score_jax.cli import app
from score_jax.errors import DatasetError, ScoreError
from score_jax.planning import fingerprint


def test_one_case_by_hand():
    """A 2 x 3 x 4 box of non-zero voxels in 4 x 5 x 6; two labelled values, one twice."""
    image = np.zeros((4, 5, 6, 1), np.float32)
    image[1:3, 1:4, 1:5] = 7
    image[1, 1, 1] = 9
    foreground = np.zeros((4, 5, 6), bool)
    foreground[1, 1, 1:4] = True
    found = fingerprint.of_case(image, foreground, (0.5, 1.0, 3.0))
    assert found.shape == (4, 3, 2)  # z, y, x
    assert found.spacing == (3.0, 1.0, 0.5)
    assert found.relative_size == 24 / 120
    values, counts = found.foreground[0]
    assert (values.tolist(), counts.tolist()) == ([7, 9], [2, 1])
    whole = fingerprint.combine([found])
    statistics = whole["foreground_intensity_properties_per_channel"]["0"]
    assert statistics["mean"] == pytest.approx(23 / 3)
    assert statistics["std"] == pytest.approx(np.std([7, 7, 9]))
    assert (statistics["min"], statistics["median"], statistics["max"]) == (7, 7, 9)
    assert whole["median_relative_size_after_cropping"] == 0.2


def test_every_case_weighs_the_same(rng):
    """One case has ten times the voxels of the other; a draw per case would not care."""
    cases, drawn = [], []
    for number, size in enumerate((40, 4)):
        image = rng.normal(100 * (number + 1), 20, (size, 6, 7, 1)).astype(np.float32)
        foreground = np.ones(image.shape[:3], bool)
        cases.append(fingerprint.of_case(image, foreground, (1.0, 1.0, 1.0)))
        drawn.append(rng.choice(image.ravel(), 400_000))
    found = fingerprint.combine(cases)["foreground_intensity_properties_per_channel"]["0"]
    drawn = np.concatenate(drawn)
    assert found["mean"] == pytest.approx(drawn.mean(), rel=2e-3)
    assert found["std"] == pytest.approx(drawn.std(), rel=2e-3)
    assert found["percentile_99_5"] == pytest.approx(np.percentile(drawn, 99.5), rel=5e-3)
    assert found["percentile_00_5"] == pytest.approx(np.percentile(drawn, 0.5), rel=5e-3)


def test_cases_without_labels_do_not_count_but_need_company(rng):
    image = rng.normal(5, 1, (3, 4, 5, 1)).astype(np.float32)
    empty = fingerprint.of_case(image, np.zeros((3, 4, 5), bool), (1.0, 1.0, 1.0))
    full = fingerprint.of_case(image, np.ones((3, 4, 5), bool), (1.0, 1.0, 1.0))
    both = fingerprint.combine([empty, full])
    assert (
        both["foreground_intensity_properties_per_channel"]
        == (fingerprint.combine([full])["foreground_intensity_properties_per_channel"])
    )
    with pytest.raises(DatasetError, match="no labelled voxel"):
        fingerprint.combine([empty])
    with pytest.raises(DatasetError, match="got no case"):
        fingerprint.combine([])


def run(*arguments):
    return CliRunner().invoke(app, ["plan", *map(str, arguments)])


def test_the_command_on_nnunets_own_dataset(fixtures, tmp_path):
    folder = fixtures / "nnunet/dataset"
    done = run(folder / "Dataset601_tinySCI", "--out", tmp_path, "--json")
    assert done.exit_code == 0, done.output
    printed = json.loads(done.stdout)
    want = json.loads((folder / "dataset_fingerprint.json").read_text())
    got = json.loads((tmp_path / "dataset_fingerprint.json").read_text())
    assert printed["fingerprint"] == got
    assert got["spacings"] == want["spacings"]
    assert got["shapes_after_crop"] == want["shapes_after_crop"]
    for key, value in want["foreground_intensity_properties_per_channel"]["0"].items():
        found = got["foreground_intensity_properties_per_channel"]["0"][key]
        assert found == pytest.approx(value, rel=2e-3), key
    plans = json.loads((tmp_path / "nnUNetPlans.json").read_text())
    wanted = json.loads((folder / "nnUNetPlans.json").read_text())
    assert plans == printed["plans"]
    assert plans["configurations"] == wanted["configurations"]
    assert plans["dataset_name"] == wanted["dataset_name"]


@pytest.fixture
def small(tmp_path):
    """A folder with a fingerprint and a dataset.json only."""
    row = [[3.0, 0.5, 0.5]] * 3
    stored = {
        "spacings": row,
        "shapes_after_crop": [[12, 96, 80]] * 3,
        "foreground_intensity_properties_per_channel": {"0": {"mean": 1.0}},
        "median_relative_size_after_cropping": 1.0,
    }
    described = {"channel_names": {"0": "T2w"}, "labels": {"background": 0, "cord": 1},
                 "numTraining": 3, "file_ending": ".nii.gz"}  # fmt: skip
    folder = tmp_path / "Dataset001_small"
    folder.mkdir()
    (folder / "dataset_fingerprint.json").write_text(json.dumps(stored))
    (folder / "dataset.json").write_text(json.dumps(described))
    return folder


def test_the_command_on_a_fingerprint_alone(small):
    done = run(small, "--planner", "resenc-m", "--gpu-memory", 4, "--spacing", "3,0.6,0.6")
    assert done.exit_code == 0, done.output
    plans = json.loads((small / "nnUNetResEncUNetMPlans.json").read_text())
    assert plans["configurations"]["3d_fullres"]["spacing"] == [3.0, 0.6, 0.6]
    assert "12 x" in done.stdout


def test_configurations_a_user_added_are_kept(small):
    assert run(small).exit_code == 0
    path = small / "nnUNetPlans.json"
    plans = json.loads(path.read_text())
    plans["configurations"]["mine"] = {"inherits_from": "3d_fullres", "batch_size": 5}
    plans["configurations"]["2d"]["batch_size"] = 99
    path.write_text(json.dumps(plans))
    assert run(small).exit_code == 0
    again = json.loads(path.read_text())["configurations"]
    assert again["mine"] == {"inherits_from": "3d_fullres", "batch_size": 5}
    assert again["2d"]["batch_size"] != 99


def test_mistakes_are_told_in_one_line(small):
    for arguments, match in (
        (("--spacing", "a,b"), "--spacing: got 'a,b'"),
        (("--planner", "huge"), "planner: got 'huge'"),
    ):
        done = run(small, *arguments)
        assert isinstance(done.exception, ScoreError)
        assert match in done.exception.message
    (small / "dataset.json").write_text("{")
    assert isinstance(run(small).exception, ScoreError)


def test_a_dataset_without_description_gets_one(tmp_path, rng):
    """A BIDS dataset: regions from mask names, everything in one orientation."""
    root = tmp_path / "bids"
    for subject in ("sub-01", "sub-02"):
        anat = root / subject / "anat"
        truth = root / "derivatives" / "truth" / subject / "anat"
        anat.mkdir(parents=True)
        truth.mkdir(parents=True)
        affine = np.diag([0.5, 0.5, 3.0, 1])
        image = rng.normal(100, 10, (20, 24, 9)).astype(np.float32)
        mask = np.zeros(image.shape, np.uint8)
        mask[8:12, 8:12] = 1
        nib.save(nib.Nifti1Image(image, affine), anat / f"{subject}_T2w.nii.gz")
        nib.save(nib.Nifti1Image(mask, affine), truth / f"{subject}_label-cord_mask.nii.gz")
    (root / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.9.0"}')
    done = run(root)
    assert done.exit_code == 0, (done.output, done.exception)
    out = root / "derivatives" / "score-jax"
    described = json.loads((out / "dataset.json").read_text())
    assert described["labels"] == {"background": 0, "cord": 1}
    assert described["image_orientation"] == "LPI"
    stored = json.loads((out / "dataset_fingerprint.json").read_text())
    assert stored["spacings"] == [[3.0, 0.5, 0.5]] * 2
    assert (out / "nnUNetPlans.json").is_file()
