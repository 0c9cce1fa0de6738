"""`score-jax check`: one broken file of each kind, all reported at once, and the exit status."""

import json

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

from score_jax.arrays.regions import Region
from score_jax.data import Case, Dataset, Problem, discover, inspect
from score_jax.errors import ConfigError, ImageError, ScoreError

SHAPE = (3, 4, 5)
AFFINE = np.diag([0.5, 0.75, 3.0, 1])


def write(path, data, affine=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.Nifti1Image(np.asarray(data), affine).to_filename(path)
    return path


def noise(seed):
    return np.random.default_rng(seed).integers(1, 1000, SHAPE).astype(np.int16)


def mask(*voxels, value=1):
    data = np.zeros(60, np.uint8)
    data[list(voxels)] = value
    return data.reshape(SHAPE)


@pytest.fixture
def good(tmp_path):
    root = tmp_path / "good set"
    for n, subject in enumerate(("01", "02")):
        folder = f"sub-{subject}/anat"
        write(root / folder / f"sub-{subject}_T2w.nii.gz", noise(n))
        truth = root / "derivatives/truth" / folder
        write(truth / f"sub-{subject}_label-cord_desc-T2w_mask.nii.gz", mask(1, 2))
        write(truth / f"sub-{subject}_label-lesion_desc-T2w_mask.nii.gz", mask(2, 3) * n)
    return root


@pytest.fixture
def bad(tmp_path):
    """nnU-Net folder: each case is broken in another way."""
    root = tmp_path / "bad"
    labels = {"background": 0, "sc": [1, 2], "lesion": 2}
    value = {"channel_names": {"0": "T2w"}, "labels": labels, "regions_class_order": [1, 2]}
    root.mkdir()
    (root / "dataset.json").write_text(json.dumps({**value, "file_ending": ".nii.gz"}))

    def case(name, image, label, affine=AFFINE):
        write(root / f"imagesTr/{name}_0000.nii.gz", image)
        write(root / f"labelsTr/{name}.nii.gz", label, affine)

    case("a_good", noise(0), mask(1, value=2))
    case("b_truncated", noise(1), mask(1))
    path = root / "imagesTr/b_truncated_0000.nii.gz"
    path.write_bytes(path.read_bytes()[:-40])
    case("c_grid", noise(2), mask(1), np.diag([0.5, 0.75, 3.2, 1]))
    case("d_label", noise(3), mask(1, value=7))
    case("e_nan", np.where(noise(4) > 900, np.nan, noise(4)), mask(1))
    case("f_constant", np.ones(SHAPE, np.int16), mask(1))
    case("g_twin", noise(0), mask(1))
    case("h_channels", np.stack([noise(5)] * 2, -1), mask(1))
    case("i_both", np.zeros(SHAPE, np.int16), mask(1) + 0.5)
    write(root / "imagesTr/j_nolabel_0000.nii.gz", noise(6))
    return root


WRONG = {
    "b_truncated": ["a gzip stream that ends too soon"],
    "c_grid": ["different grids"],
    "d_label": ["got the labels [0, 7]"],
    "e_nan": ["not finite"],
    "f_constant": ["every voxel is 1"],
    "g_twin": ["holds the same values as"],
    "h_channels": ["got 2 channels; expected 1 (T2w)"],
    "i_both": ["every voxel is 0", "expected integers >= 0"],
}


def run(*arguments):
    from score_jax.cli import app

    return CliRunner().invoke(app, ["check", *map(str, arguments)])


def test_a_good_dataset(good):
    reports = list(inspect(discover(good)))
    assert all(report.ok for report in reports)
    first, second = reports
    assert (first.shape, first.spacing, first.axcodes) == (SHAPE, (0.5, 0.75, 3.0), "RAS")
    assert dict(first.voxels) == {"cord": 2, "lesion": 0}
    assert dict(second.voxels) == {"cord": 2, "lesion": 2}
    assert first.notes == ("lesion: empty mask",)
    assert second.notes == ("lesion: 1 voxels outside the cord (training adds them to it)",)
    assert first.channels == 1


def test_every_broken_case_is_reported_with_its_own_reason(bad):
    from score_jax.data import survey

    dataset, problems = survey(bad)
    assert [str(p) for p in problems] == [
        "j_nolabel: has no label map; expected labelsTr/j_nolabel.nii.gz"
    ]
    reports = {report.case.id: report for report in inspect(dataset)}
    assert reports["a_good"].ok
    assert reports["j_nolabel"].ok
    assert {name for name, report in reports.items() if not report.ok} == set(WRONG)
    for name, parts in WRONG.items():
        found = reports[name].problems
        assert len(found) == len(parts), found
        for problem, part in zip(found, parts, strict=True):
            assert part in problem.message
            assert name in problem.where
            assert not problem.message.startswith(problem.where)
    assert dict(reports["i_both"].voxels) == {}
    assert dict(reports["b_truncated"].voxels) == {"sc": 1, "lesion": 0}
    assert reports["b_truncated"].shape is None


def test_masks_with_an_unreadable_image_and_channels_on_two_grids(tmp_path):
    images = (
        write(tmp_path / "a.nii", noise(0)),
        write(tmp_path / "b.nii", noise(1), np.diag([0.5, 0.75, 3.1, 1])),
        write(tmp_path / "c.nii", np.stack([noise(2), mask()], -1)),
    )
    masks = {"cord": write(tmp_path / "m.nii", mask(1, value=3))}
    case = Case(id="c", subject="s", images=images, region_masks=masks)
    dataset = Dataset(
        root=tmp_path,
        kind="table",
        channel_names=(),
        regions=(Region("cord", (1,), 1),),
        cases=(case,),
    )
    (report,) = inspect(dataset)
    messages = " | ".join(map(str, report.problems))
    for part in (
        "b.nii: ",
        "different grids",
        "channel 1 is constant",
        "m.nii: got the values",
    ):
        assert part in messages
    assert len(report.problems) == 3
    images[0].write_bytes(b"")
    (report,) = inspect(dataset)
    assert "an empty file" in str(report.problems[0])


def test_masks_in_another_orientation_are_compared_after_turning(tmp_path):
    flip = np.diag([-1.0, 1, 1, 1])
    flip[0, 3] = 2
    image = write(tmp_path / "a.nii", noise(0))
    masks = {
        "cord": write(tmp_path / "cord.nii", mask(1)[::-1], AFFINE @ flip),
        "lesion": write(tmp_path / "lesion.nii", mask(1)),
    }
    case = Case(id="c", subject="s", images=(image,), region_masks=masks)
    dataset = Dataset(
        root=tmp_path,
        kind="table",
        channel_names=("T2w",),
        regions=(Region("cord", (1, 2), 1), Region("lesion", (2,), 2)),
        cases=(case,),
    )
    (report,) = inspect(dataset)
    assert (report.problems, report.notes) == ((), ())


def test_the_same_image_twice_of_one_subject_is_fine(tmp_path):
    write(tmp_path / "sub-1/ses-1/anat/sub-1_ses-1_T2w.nii", noise(0))
    write(tmp_path / "sub-1/ses-2/anat/sub-1_ses-2_T2w.nii", noise(0))
    assert all(r.ok for r in inspect(discover(tmp_path, labelled=False)))


def test_problem_of_an_error():
    problem = Problem.of("a/b.nii", ImageError("a/b.nii: got x; expected y", hint="do z"))
    assert problem == Problem("a/b.nii", "got x; expected y", "do z")
    assert str(problem) == "a/b.nii: got x; expected y"


def test_command_on_a_good_dataset(good):
    result = run(good, "--json")
    assert result.exit_code == 0
    value = json.loads(result.stdout)
    assert value["ok"] is True
    assert value["problems"] == []
    assert value["kind"] == "bids"
    assert value["regions"][0] == {"name": "cord", "labels": [1, 2], "value": 1}
    assert value["cases"][1]["voxels"] == {"cord": 2, "lesion": 2}
    assert value["cases"][0]["spacing_mm"] == [0.5, 0.75, 3.0]
    assert value["cases"][0]["subject"] == "sub-01"
    assert value["cases"][0]["masks"]["cord"].endswith("_label-cord_desc-T2w_mask.nii.gz")

    result = run(good)
    assert result.exit_code == 0
    assert "sub-01_T2w" in result.stdout
    assert "3x4x5" in result.stdout
    assert "nothing is wrong" in result.stderr
    assert "region cord = [1, 2] -> 1" in result.stderr


def test_command_on_a_bad_dataset(bad):
    result = run(bad, "--json")
    assert result.exit_code == 2
    value = json.loads(result.stdout)
    assert value["ok"] is False
    assert len(value["problems"]) == 1 + sum(map(len, WRONG.values()))
    assert [c["case"] for c in value["cases"] if not c["ok"]] == sorted(WRONG)
    assert value["cases"][1]["shape"] is None
    result = run(bad)
    assert result.exit_code == 2
    assert "NO" in result.stdout
    for parts in WRONG.values():
        for part in parts:
            assert part in result.stderr
    assert "10 problems" in result.stderr


def test_command_options(good):
    value = json.loads(run(good, "--json", "--region", "lesion").stdout)
    assert [r["name"] for r in value["regions"]] == ["lesion"]
    value = json.loads(run(good, "--json", "--images-only").stdout)
    assert value["regions"] == []
    assert len(value["cases"]) == 2
    value = json.loads(run(good, "--json", "--contrast", "T2w", "--derivative", "truth").stdout)
    assert value["ok"]
    table = good / "t.tsv"
    table.write_text(
        "image\tlabel\nsub-01/anat/sub-01_T2w.nii.gz\t"
        "derivatives/truth/sub-01/anat/sub-01_label-cord_desc-T2w_mask.nii.gz\n"
    )
    value = json.loads(run(table, "--json", "--region", "cord=1,2", "--region", "lesion=2").stdout)
    assert value["regions"] == [
        {"name": "cord", "labels": [1, 2], "value": 1},
        {"name": "lesion", "labels": [2], "value": 2},
    ]
    assert value["cases"][0]["voxels"] == {"cord": 2, "lesion": 0}
    assert isinstance(run(good, "--region", "cord=x").exception, ConfigError)
    assert isinstance(run(good / "none").exception, ScoreError)
    result = run(good / "none", "--json")
    assert result.exit_code == 2
    value = json.loads(result.stdout)
    assert value["ok"] is False
    assert value["problems"][0]["message"] == "no such file or folder; expected a dataset"


def test_a_single_image(tmp_path):
    path = write(tmp_path / "ä.nii", noise(0))
    value = json.loads(run(path, "--json").stdout)
    assert (value["kind"], value["ok"], value["cases"][0]["orientation"]) == ("file", True, "RAS")
