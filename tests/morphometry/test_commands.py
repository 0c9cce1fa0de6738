"""`score-jax lesions` and `score-jax areas` as people and programs call them."""

import json
import math

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

from score_jax.errors import ConfigError, GeometryError, ScoreError
from score_jax.imaging import read_table

from .scans import affine, brick, tube

SHAPE, SPACING = (14, 15, 12), (0.5, 0.5, 2.0)
CORD = tube(SHAPE, (6.5, 7.0), (4, 4.2), (0.1, 0.15))
LESION = brick(SHAPE, (5, 8), (6, 9), (3, 7)) | brick(SHAPE, (0, 1), (0, 1), (0, 1))


def call(*arguments):
    from score_jax.cli import app

    return CliRunner().invoke(app, [str(a) for a in arguments])


def output(*arguments, code=0):
    result = call(*arguments, "--json")
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


def save(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    data = data.astype(np.uint8) if data.dtype == bool else data
    nib.save(nib.Nifti1Image(data, affine(SPACING)), path)
    return path


@pytest.fixture
def files(tmp_path):
    return {
        "lesion": save(tmp_path / "t2_lesion.nii.gz", LESION),
        "cord": save(tmp_path / "t2_seg.nii.gz", CORD),
        "image": save(tmp_path / "t2.nii.gz", (1 + CORD + LESION).astype(np.int16)),
    }


def test_numbers_of_sct_on_the_command_line(fixtures):
    for case in ("s02_curved_sagittal_ail", "s08_atlas_mt_real"):
        folder = fixtures / "analyze_lesion" / case
        more = ["--atlas", folder / "label"] if case.startswith("s08") else []
        got = output(
            *("lesions", folder / "lesion.nii.gz", "--cord", folder / "cord.nii.gz"),
            *("--image", folder / "image.nii.gz", *more),
        )
        expected = json.loads((folder / "measures.json").read_text())
        assert [list(row) for row in got["lesions"]] == [list(row) for row in expected]
        for row, other in zip(got["lesions"], expected, strict=True):
            np.testing.assert_allclose(list(row.values()), list(other.values()), rtol=1e-9)
    assert len(got["distribution"]["lesion#1_distribution"]) == 3
    none = output(
        *("lesions", fixtures / "analyze_lesion/s09_no_lesion_nli_ail/lesion.nii.gz"),
        *("--cord", fixtures / "analyze_lesion/s09_no_lesion_nli_ail/cord.nii.gz"),
        *("--nli-slice", 37),
    )
    expected = json.loads(
        (fixtures / "analyze_lesion/s09_no_lesion_nli_ail/measures.json").read_text()
    )
    assert none["lesions"][0] == pytest.approx(expected[0])


def test_areas_of_sct_on_the_command_line(fixtures):
    folder = fixtures / "process_segmentation" / "p01_real_t2_cord"
    got = output(
        *("areas", folder / "cord.nii.gz", "--levels", folder / "levels.nii.gz"),
        *("--per", "level", "--vert", "2:5"),
    )
    assert [row["slice_IS_RPI"] for row in got["rows"]] == ["1:3", "4:17", "18:35", "36:52"]
    assert got["rows"][0]["MEAN(area)"] == pytest.approx(70.74659793754127, rel=1e-6)
    assert got["rows"][0]["DistancePMJ"] is None


def test_lesions_for_a_program(files):
    got = output("lesions", files["lesion"], "--cord", files["cord"], "--image", files["image"])
    assert [row["label"] for row in got["lesions"]] == [2]
    assert got["lesions"][0]["volume [mm3]"] == 18.0
    assert got["lesions"][0]["mean_t2"] == 3
    assert got["status"] == [{"label": 2, "bridges": "midsagittal", "outside_cord [mm3]": 0.0}]
    assert got["warnings"] == ["lesion 1 is outside the cord; not measured"]
    assert "slices" not in got
    more = output("lesions", files["lesion"], "--cord", files["cord"], "--per-slice")
    assert [row["slice"] for row in more["slices"]] == [3, 4, 5, 6]


def test_lesions_for_a_person(files, tmp_path):
    result = call(
        *("lesions", files["lesion"], "--cord", files["cord"], "--out", tmp_path / "out"),
        *("--qc", tmp_path / "qc"),
    )
    assert result.exit_code == 0
    assert result.stdout.split()[-1] == "yes"
    assert result.stderr.count("warning:") == 1
    assert str(tmp_path / "out" / "t2_lesion_lesions.tsv") in result.stderr.replace("\n", "")
    assert [p.name for p in (tmp_path / "qc").iterdir()] == ["t2_lesion_lesion-2.png"]


def test_no_lesion_is_a_result(files, tmp_path):
    empty = save(tmp_path / "empty.nii.gz", np.zeros(SHAPE, bool))
    result = call("lesions", empty, "--cord", files["cord"])
    assert result.exit_code == 0
    assert "no lesion found" in result.stderr
    got = output("lesions", empty, "--cord", files["cord"])
    assert got["lesions"][0]["volume [mm3]"] == 0
    assert got["lesions"][0]["interpolated_total_bridge_width [mm]"] is None


def test_options_reach_the_measures(files):
    command = ("lesions", files["lesion"], "--cord", files["cord"])
    assert output(*command, "--outside", "add")["lesions"][0]["label"] == 1
    assert output(*command, "--midline", 6.25)["lesions"][0][
        "interpolated_midsagittal_slice"
    ] == pytest.approx(6.25)
    assert "smaller than 99 mm3" in output(*command, "--min-volume", 99)["warnings"][1]
    assert output(*command, "--tilt", "cord", "--soft")["lesions"][0]["volume [mm3]"] == 18


def test_a_mistake_is_one_error(files, tmp_path):
    for arguments, kind in (
        (["--nli-slice", 99], GeometryError),
        (["--out", tmp_path / "x.csv"], ConfigError),
        (["--cord", tmp_path / "none.nii.gz"], ScoreError),
    ):
        result = call("lesions", files["lesion"], "--cord", files["cord"], *arguments)
        assert isinstance(result.exception, kind)


@pytest.fixture
def folder(tmp_path):
    for number in range(9):
        save(tmp_path / f"masks/s{number}_lesion.nii.gz", np.roll(LESION, number % 3, 2))
        save(tmp_path / f"masks/s{number}_seg.nii.gz", CORD)
    (tmp_path / "masks" / "s4_seg.nii.gz").write_bytes(b"junk")
    return tmp_path / "masks"


def test_a_folder_with_a_bad_case(folder, tmp_path):
    got = output("lesions", folder, "--out", tmp_path / "one", "--jobs", 1, code=2)
    cases = [f"s{n}_lesion" for n in range(9) if n != 4]
    assert [row["case"] for row in got["lesions"]] == cases
    assert [f["case"] for f in got["failed"]] == ["s4_lesion"]
    assert "s4_seg.nii.gz" in got["failed"][0]["message"]
    rows = read_table(tmp_path / "one" / "lesions.tsv")
    assert [row["case"] for row in rows] == cases
    assert not any(name.startswith("slice_") for name in rows[0])
    assert read_table(tmp_path / "one" / "failed.tsv")[0]["case"] == "s4_lesion"
    assert (tmp_path / "one" / "s0_lesion_label.nii.gz").exists()
    result = call("lesions", folder, "--jobs", 1)
    assert result.exit_code == 2
    assert "not measured: s4_lesion" in result.stderr


@pytest.mark.slow
def test_the_number_of_processes_changes_nothing(folder, tmp_path):
    one, two = (
        output("lesions", folder, "--out", tmp_path / str(n), "--jobs", n, code=2) for n in (1, 2)
    )
    del one["outputs"], two["outputs"]
    assert one == two
    files = sorted(p.name for p in (tmp_path / "1").iterdir())
    assert files == sorted(p.name for p in (tmp_path / "2").iterdir())
    for name in files:
        if not name.endswith(".xlsx"):  # they hold the time
            assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()


def test_areas_for_a_program(files, tmp_path):
    gm = save(tmp_path / "gm.nii.gz", CORD & brick(SHAPE, (5, 9), (6, 9), (0, 12)))
    plain = output("areas", files["cord"], "--per", "all")["rows"]
    assert list(plain[0])[:3] == ["slice_IS_RPI", "VertLevel", "DistancePMJ"]
    several = output(
        *("areas", files["cord"], "--gm", gm, "--region", f"lesion={files['lesion']}"),
        *("--slices", "2:6", "--no-angle-correction", "--out", tmp_path / "out.tsv"),
    )["rows"]
    assert [r["region"] for r in several] == [
        n for n in ("cord", "gm", "wm", "lesion") for _ in "12345"
    ]
    assert [r["slice_IS_RPI"] for r in several[:5]] == [2, 3, 4, 5, 6]
    assert len(read_table(tmp_path / "out.tsv")) == 20
    result = call("areas", files["cord"], "--method", "linear", "--no-stretch")
    assert result.exit_code == 0
    assert "area mm2" in result.stdout


def test_areas_of_a_folder(folder, tmp_path):
    got = output(*("areas", folder, "--per", "all", "--jobs", 1, "--out", tmp_path / "out"), code=2)
    assert [row["case"] for row in got["rows"]] == [f"s{n}_seg" for n in range(9) if n != 4]
    assert len(read_table(tmp_path / "out" / "areas.tsv")) == 8
    assert len({row["MEAN(area)"] for row in got["rows"]}) == 1
    result = call("areas", folder, "--jobs", 1)
    assert result.exit_code == 2
    assert "not measured: s4_seg" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--slices", "a"], "--slices: got 'a'; expected FIRST:LAST"),
        (["--vert", "3-5"], "--vert: got '3-5'; expected levels"),
        (["--region", "x"], "--region: got 'x'; expected NAME=FILE"),
        (["--per", "level"], "levels: got none"),
    ],
)
def test_mistakes_in_areas_are_told(files, arguments, message):
    result = call("areas", files["cord"], *arguments)
    assert isinstance(result.exception, ScoreError)
    assert message in str(result.exception)


def test_a_folder_takes_no_file_of_one_scan(folder, files):
    result = call("areas", folder, "--gm", files["cord"])
    assert isinstance(result.exception, ConfigError)


def test_levels_by_ranges_and_lists(files, tmp_path):
    levels = np.zeros(SHAPE)
    levels[..., :4], levels[..., 4:8], levels[..., 8:] = 5, 4, 3
    path = save(tmp_path / "levels.nii.gz", levels)
    rows = output("areas", files["cord"], "--levels", path, "--per", "all", "--vert", "3,5")["rows"]
    assert rows[0]["VertLevel"] == "3;5"
    assert rows[0]["slice_IS_RPI"] == "0:3;8:11"
    by_slice = output("areas", files["cord"], "--levels", path)["rows"]
    assert [row["VertLevel"] for row in by_slice] == [5] * 4 + [4] * 4 + [3] * 4
    assert not any(math.isnan(row["MEAN(area)"]) for row in by_slice)
