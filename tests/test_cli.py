"""The command line as users meet it: one line for a mistake, exit 2, nothing half-written."""

import gzip
import json
import shutil

import nibabel as nib
import numpy as np
import pytest

from .commands import refused
from .phantoms import scan


@pytest.mark.parametrize(
    "command", ["", "simulate", "check", "train", "predict", "evaluate", "models", "consensus"]
)
def test_help(run, command):
    status, out, _ = run(*command.split(), "--help")
    assert status == 0
    assert "Usage" in out


def test_version(run):
    assert run("--version")[1].startswith("score-jax 0.")


def save(path, array, affine=None):
    nib.save(nib.Nifti1Image(array, np.eye(4) if affine is None else affine), path)
    return path


def good(path):
    return save(path, scan(3)[0])


def truncated(path):
    good(path)
    path.write_bytes(path.read_bytes()[:3000])
    return path


def not_gzip(path):
    good(path)
    path.write_bytes(gzip.decompress(path.read_bytes()))
    return path


def with_nan(path):
    image = scan(3)[0]
    image[1, 2, 3] = np.nan
    return save(path, image)


def with_voxels_of(path, mm):
    """The header edited by hand: no library writes such a file."""
    good(path)
    raw = bytearray(gzip.decompress(path.read_bytes()))
    raw[76:92] = np.array([1, mm, mm, mm], "<f4").tobytes()  # pixdim
    raw[252:256] = np.array([0, 0], "<i2").tobytes()  # no qform, no sform
    path.write_bytes(gzip.compress(bytes(raw)))
    return path


def absurd(path):
    return with_voxels_of(path, 500)


def zero_voxel(path):
    return with_voxels_of(path, 0)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p: p, ["no such file"]),
        (truncated, ["scan.nii.gz"]),
        (not_gzip, ["gzip"]),
        (lambda p: save(p, np.zeros((3, 4, 5, 2, 2), np.float32)), ["scan.nii.gz", "expected"]),
        (with_nan, ["not finite", "(1, 2, 3)"]),
        (lambda p: save(p, np.full((20, 24, 18), 7, np.float32)), ["every voxel is 7"]),
        (absurd, ["scan.nii.gz", "mm"]),
        (zero_voxel, ["scan.nii.gz", "mm"]),
    ],
)
def test_predict_refuses_broken_scans(run, trained, tmp_path, make, words):
    path = make(tmp_path / "scan.nii.gz")
    out = tmp_path / "out"
    refused(run("predict", path, "--model", trained[0].folder, "--out", out), *words)
    assert not out.exists() or not list(out.iterdir())


def test_predict_refuses_models_it_cannot_use(run, trained, tmp_path):
    path = good(tmp_path / "scan.nii.gz")
    out = tmp_path / "out"
    refused(run("predict", path, "--model", tmp_path / "none", "--out", out), "no such folder")
    refused(run("predict", path, "--model", tmp_path, "--out", out), "expected a model or a run")
    broken = shutil.copytree(trained[0].folder, tmp_path / "broken")
    for step in (broken / "checkpoints").iterdir():
        (step / "best" / "_METADATA").write_text("{")
    refused(run("predict", path, "--model", broken, "--out", out), "unreadable checkpoint")
    other = shutil.copytree(trained[0].folder, tmp_path / "other")
    for spec in other.glob("checkpoints/*/model/metadata"):
        value = json.loads(spec.read_text())
        value["options"]["features"] = [4, 6]
        spec.write_text(json.dumps(value))
    refused(run("predict", path, "--model", other, "--out", out), "shape", "another architecture")
    assert not out.exists()


def test_predict_prints_one_object_and_nothing_else(run, trained, tmp_path):
    path = good(tmp_path / "scan.nii.gz")
    status, out, err = run(
        "predict", path, "--model", trained[0].folder, "--out", tmp_path / "o",
        "--json", "--qc", tmp_path / "qc",
    )  # fmt: skip
    assert status == 0, err
    (case,) = json.loads(out)["cases"]
    assert case["input"] == str(path)
    assert set(case["outputs"]) == {"cord", "lesion", "labels"}
    assert {"load", "preprocess", "network", "postprocess", "total"} <= set(case["seconds"])
    assert "cord (value 1), lesion (value 2)" in err
    assert (tmp_path / "qc/scan.png").read_bytes()[:4] == b"\x89PNG"


def test_a_bad_scan_among_good_ones_is_named_and_the_rest_are_done(run, trained, tmp_path):
    good(tmp_path / "a.nii.gz")
    truncated(tmp_path / "b.nii.gz")
    status, _, err = run("predict", tmp_path, "--model", trained[0].folder, "--out", tmp_path / "o")
    assert status == 2
    assert "b.nii.gz" in err.strip().splitlines()[-1]
    assert (tmp_path / "o/a_label-cord_mask.nii.gz").is_file()
    assert not list((tmp_path / "o").glob("b*"))


def test_a_full_disk_is_told_and_nothing_stays(run, trained, tmp_path, monkeypatch):
    import os

    path = good(tmp_path / "scan.nii.gz")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    out = tmp_path / "o"
    refused(run("predict", path, "--model", trained[0].folder, "--out", out), "No space left")
    assert list(out.iterdir()) == []


def test_train_refuses_broken_datasets(run, dataset, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    refused(run("train", empty, "--out", tmp_path / "r"), "empty folder")
    refused(run("train", tmp_path / "absent", "--out", tmp_path / "r"), "no such file or folder")
    table = tmp_path / "data"
    shutil.copytree(dataset.parent, table)
    text = (table / "dataset.tsv").read_text()
    (table / "dataset.tsv").write_text(text.replace("c1\t", "c0\t"))
    refused(run("train", table / "dataset.tsv", "--out", tmp_path / "r"), "c0", "twice")
    (table / "dataset.tsv").write_text(text)
    save(table / "c2_cord.nii.gz", np.zeros((20, 24, 17), np.uint8))
    refused(run("train", table / "dataset.tsv", "--out", tmp_path / "r"), "c2_cord", "17")
    assert not (tmp_path / "r").exists()


def test_train_refuses_labels_outside_the_declared_ones(run, tmp_path):
    root = tmp_path / "Dataset001"
    for folder in ("imagesTr", "labelsTr"):
        (root / folder).mkdir(parents=True)
    for number in range(3):
        image, cord, _ = scan(number)
        save(root / f"imagesTr/c{number}_0000.nii.gz", image)
        save(root / f"labelsTr/c{number}.nii.gz", (cord * (5 if number == 1 else 1)).astype("u1"))
    (root / "dataset.json").write_text(
        json.dumps(
            {
                "channel_names": {"0": "T2w"},
                "labels": {"background": 0, "cord": 1},
                "numTraining": 3,
                "file_ending": ".nii.gz",
            }
        )
    )
    refused(run("train", root, "--out", tmp_path / "r"), "c1.nii.gz", "5", "[0, 1]")
    hidden = 'data.regions=["part = [5] -> 2", "cord = [1, 5] -> 1"]'
    refused(run("train", root, "--out", tmp_path / "r", "--set", hidden), "hides it", "list 'cord'")
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model", "resnet"], "--model: got 'resnet'"),
        (["--set", "stepz=3"], "did you mean 'steps'?"),
        (["--config", "absent.toml"], "no such file"),
        (["--fold", "x"], "--fold: got 'x'"),
        (["--device", "abacus"], "--device: got 'abacus'"),
        (["--regions", "cord,tail"], "tail"),
    ],
)
def test_train_names_what_it_does_not_know(run, dataset, tmp_path, words, message):
    refused(run("train", dataset, "--out", tmp_path / "r", *words), message)
    assert not (tmp_path / "r").exists()


def test_a_plan_shapes_the_network(run, dataset, tmp_path):
    status, _, err = run("plan", dataset, "--out", tmp_path / "plan")
    assert status == 0, err
    plans = json.loads((tmp_path / "plan/nnUNetPlans.json").read_text())
    planned = plans["configurations"]["3d_fullres"]
    status, _, err = run(
        "train", dataset, "--plan", tmp_path / "plan", "--out", tmp_path / "r", "--steps", 1,
        "--set", "unet.features=[2, 3, 3]", "--set", "validate_each=1",
        "--set", f"sampling.patch={planned['patch_size']}",
    )  # fmt: skip
    text = (tmp_path / "r/config.toml").read_text() if status == 0 else err
    assert status == 0, text
    from score_jax.config import load_config

    config = load_config(tmp_path / "r/config.toml")
    assert list(config.sampling.patch) == planned["patch_size"]
    assert config.sampling.batch == planned["batch_size"]
    refused(
        run("train", dataset, "--plan", tmp_path / "plan", "--model", "mdgru", "--out", "x"),
        "plans describe U-Nets",
    )


def test_fine_tuning_starts_from_a_model(run, trained, dataset, tmp_path):
    words = ["train", dataset, "--init", trained[0].folder, "--steps", 1]
    words += ["--set", "validate_each=1", "--set", "optimizer.learning_rate=0.0"]
    status, out, err = run(*words, "--out", tmp_path / "same", "--json")
    assert status == 0, err
    assert "started from" in err
    assert "regions taken over: cord, lesion" in err
    assert "fresh" not in err
    # a learning rate of 0 leaves the weights: the same scores as the model it started from
    assert json.loads(out)["validation_dice"] == pytest.approx(dict(trained[0].dice), abs=1e-6)
    status, _, err = run(*words, "--out", tmp_path / "other", "--set", "unet.features=[4, 6]")
    assert status == 0, err
    assert "fresh: " in err
    assert "decoder.0.up_kernel" in err


def test_models_show(run, trained):
    status, out, _ = run("models", "show", trained[0].folder)
    assert status == 0
    assert "cord" in out
    assert "written as" in out
    status, out, _ = run("models", "show", trained[0].folder, "--json")
    assert json.loads(out)["regions"][1]["name"] == "lesion"
    assert run("models", "list")[0] == 0
    assert "models" in json.loads(run("models", "list", "--json")[1])


def test_evaluate_prints_scores_of_each_region(run, trained, dataset, tmp_path):
    run(
        "predict", dataset.parent / "c0_image.nii.gz", "--model", trained[0].folder,
        "--out", tmp_path / "o",
    )  # fmt: skip
    mask = tmp_path / "o/c0_image_label-cord_mask.nii.gz"
    status, out, err = run("evaluate", mask, dataset.parent / "c0_cord.nii.gz", "--json")
    assert status == 0, err
    values = json.loads(out)["cases"][0]["values"]
    assert values["Dice"] > 0.7


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (("--members", "fold"), "--members: got 'fold'; expected folds, splits or raters"),
        (("--members", "raters"), "data.raters is empty; expected one derivatives folder a rater"),
        (("--members", "folds,splits"), "got folds and splits; expected one of them"),
        (("--seeds", "0"), "ensemble.seeds: got 0; expected at least 1"),
        (("--distributed", "me"), "--distributed 'me': cannot join"),
        (("--set", "compute.devices_batch=2"), "expected their product to be the 1 devices here"),
        (("--set", "loss.tversky_beta=1.5"), "expected the first two >= 0 and the last between"),
        (("--patience", "-1"), "patience, score_smoothing, weights_ema: got -1"),
        (("--set", "compute.accumulate=3"), "expected a multiple of"),
    ],
)
def test_train_refuses(run, dataset, tmp_path, option, message):
    refused(run("train", dataset, "--out", tmp_path / "run", *option), message)
