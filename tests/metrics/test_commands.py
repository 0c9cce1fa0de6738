"""The two commands as a user meets them: output, exit status, one line for a mistake."""

import json
import math
import subprocess
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from score_jax import fusion
from score_jax.errors import ConfigError, DatasetError, GeometryError
from score_jax.imaging import Volume, load, load_labels, save
from score_jax.metrics import anima, dice, everything

from .test_evaluation import AFFINE, SPACING, label_maps, put
from .test_surface import random_pair

pytest.importorskip("score_jax.cli")


@pytest.fixture
def run():
    from score_jax.cli import app

    def call(*arguments):
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return call


@pytest.fixture
def files(tmp_path):
    pred, ref = random_pair(0)
    return put(tmp_path / "p.nii.gz", pred), put(tmp_path / "r.nii.gz", ref)


def test_anima_as_json(run, files):
    result = run("evaluate", *files, "--preset", "anima", "--lesions", "--json")
    assert result.exit_code == 0
    printed = json.loads(result.stdout)
    expected = anima(*random_pair(0), SPACING, lesions=True)
    assert printed["cases"][0]["values"] == pytest.approx(expected)
    assert list(printed["cases"][0]["values"]) == list(expected)
    assert printed["cases"][0]["case"] == "p"


def test_nan_is_null(run, tmp_path, files):
    empty = put(tmp_path / "empty.nii.gz", np.zeros((6, 7, 5), bool))
    result = run("evaluate", empty, files[1], "--preset", "anima", "--json")
    values = json.loads(result.stdout)["cases"][0]["values"]
    assert values["HausdorffDistance"] is None
    assert values["Dice"] == 0
    result = run("evaluate", files[0], empty, "--preset", "anima", "--json")
    values = json.loads(result.stdout)["cases"][0]["values"]
    assert set(values) == {"NbTestedLesions", "VolTestedLesions"}


def test_options_reach_the_scores(run, files):
    options = ("--edge", "open", "--empty", "worst", "--min-lesion-mm3", "10", "--alpha", "0.3")
    result = run("evaluate", *files, *options, "--json")
    values = json.loads(result.stdout)["cases"][0]["values"]
    from score_jax.metrics.lesionwise import Detection

    rule = Detection(min_lesion_mm3=10, alpha=0.3)
    expected = everything(*random_pair(0), SPACING, edge="open", empty="worst", rule=rule)
    for name, value in expected.items():
        assert values[name] == (None if math.isnan(value) else pytest.approx(value)), name


def test_folders_regions_and_tables(run, tmp_path):
    for case in ("a", "b"):
        for side, data in zip(("p", "r"), label_maps(ord(case)), strict=True):
            put(tmp_path / side / f"{case}.nii.gz", data)
    arguments = ("evaluate", tmp_path / "p", tmp_path / "r", "--out", tmp_path / "out")
    result = run(*arguments, "--labels", "cord=1,2", "--labels", "lesion=2")
    assert result.exit_code == 0
    assert "cord" in result.stdout
    assert "2 cases; mean (sd)" in result.stderr
    assert (tmp_path / "out/scores.tsv").is_file()
    result = run(*arguments, "--labels", "1,2", "--json")
    assert {c["region"] for c in json.loads(result.stdout)["cases"]} == {"label 1", "label 2"}
    (tmp_path / "p/b.nii.gz").unlink()
    result = run(*arguments, "--labels", "each", "--json", "--preset", "score")
    assert result.exit_code == 2
    printed = json.loads(result.stdout)
    assert printed["failed"][0]["case"] == "b"
    assert {c["case"] for c in printed["cases"]} == {"a"}
    assert "not scored: b: has no prediction" in result.stderr


def test_score_states_its_grid(run, files):
    result = run("evaluate", *files, "--preset", "score")
    assert "distances on the masks' own grid: 0.5 x 1.25 x 3 mm (the paper's: 0.333 mm)" in (
        result.stderr
    )
    printed = json.loads(run("evaluate", *files, "--preset", "score", "--json").stdout)
    assert printed["cases"][0]["spacing_mm"] == [0.5, 1.25, 3.0]
    assert printed["cases"][0]["slices"][0].keys() >= {"slice", "DSC", "HD", "RSD"}


@pytest.mark.parametrize("text", ["cord", "cord=one", "cord=0"])
def test_labels_that_mean_nothing(run, files, text):
    result = run("evaluate", *files, "--labels", text)
    assert isinstance(result.exception, ConfigError)


def test_labels_given_twice(run, files):
    result = run("evaluate", *files, "--labels", "cord=1", "--labels", "cord=2")
    assert isinstance(result.exception, ConfigError)
    assert "each region once" in str(result.exception)


def test_a_mistake_is_one_line(files, tmp_path):
    """As a program: exit 2, nothing on standard output, one line that says what to do."""
    program = [sys.executable, "-m", "score_jax.cli", "evaluate", "--out", str(tmp_path / "out")]
    arguments = [str(files[0]), str(tmp_path / "nowhere.nii.gz")]
    found = subprocess.run([*program, *arguments], capture_output=True, text=True, check=False)
    assert found.returncode == 2
    assert found.stdout == ""
    assert found.stderr.count("\n") == 1
    assert "nowhere.nii.gz: no such file or folder" in found.stderr
    assert not (tmp_path / "out").exists()


def test_different_grids_are_one_line_too(run, files, tmp_path):
    other = put(tmp_path / "other.nii.gz", np.zeros((6, 7, 4), bool))
    result = run("evaluate", files[0], other, "--out", tmp_path / "out")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "reference and prediction lie on different grids" in result.stderr
    assert not (tmp_path / "out").exists()
    result = run("evaluate", files[0], other, "--json")
    assert json.loads(result.stdout)["cases"] == []


def rater_files(tmp_path, n=3):
    rng = np.random.default_rng(1)
    truth = random_pair(0)[0]
    masks = [truth ^ (rng.random(truth.shape) < 0.1) for _ in range(n)]
    return masks, [put(tmp_path / f"rater{i}.nii.gz", m) for i, m in enumerate(masks, 1)]


@pytest.mark.parametrize("method", ["majority", "staple"])
def test_consensus(run, tmp_path, method):
    masks, paths = rater_files(tmp_path)
    out = tmp_path / "out/consensus.nii.gz"
    result = run("consensus", *paths, "--method", method, "--out", out, "--json")
    assert result.exit_code == 0
    expected = getattr(fusion, method)(masks)
    np.testing.assert_array_equal(load_labels(out).data, expected)
    np.testing.assert_array_equal(load(out, check=False).affine, AFFINE)
    agreement = json.loads(result.stdout)["agreement"]
    assert agreement["dice"][0][1] == pytest.approx(dice(masks[0], masks[1]))
    assert agreement["consensus_mm3"] == pytest.approx(expected.sum() * np.prod(SPACING))
    sidecar = json.loads((tmp_path / "out/consensus.json").read_text())
    assert sidecar["Sources"] == [path.name for path in paths]
    assert sidecar["Method"] == method
    assert ("sensitivity" in sidecar["Agreement"]) == (method == "staple")


def test_consensus_for_people(run, tmp_path):
    _, paths = rater_files(tmp_path)
    out = tmp_path / "c.nii.gz"
    result = run("consensus", *paths, "--method", "staple", "--out", out)
    assert "1 rater1.nii.gz" in result.stdout
    assert "Fleiss' kappa" in result.stderr
    assert "label 1, sensitivity / specificity: 1: 0." in result.stderr


def test_consensus_of_another_orientation(run, tmp_path):
    masks, paths = rater_files(tmp_path, 2)
    turned = Volume(masks[1].astype(np.uint8), AFFINE).reoriented("SPR")
    save(paths[1], np.ascontiguousarray(turned.data), Volume(turned.data, turned.affine))
    out = tmp_path / "c.nii.gz"
    assert run("consensus", *paths, "--out", out).exit_code == 0
    np.testing.assert_array_equal(load_labels(out).data, masks[0] & masks[1])


def test_consensus_mistakes(run, tmp_path):
    _, paths = rater_files(tmp_path)
    assert "expected --out" in str(run("consensus", *paths).exception)
    result = run("consensus", paths[0], "--out", tmp_path / "c.nii.gz")
    assert isinstance(result.exception, DatasetError)
    other = put(tmp_path / "other.nii.gz", np.zeros((6, 7, 4), bool))
    result = run("consensus", paths[0], other, "--out", tmp_path / "c.nii.gz")
    assert isinstance(result.exception, GeometryError)
    assert "other.nii.gz" in str(result.exception)
    assert not (tmp_path / "c.nii.gz").exists()
    assert run("consensus", *paths, "--out", tmp_path / "c.png").exception is not None
