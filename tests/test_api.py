"""Train, resume, predict: through the public functions, on tiny scans with a known answer."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import nibabel as nib
import numpy as np
import pytest

import score_jax as sj
from score_jax import checkpointing
from score_jax.errors import (
    CheckpointError,
    ConfigError,
    DatasetError,
    ModelNotFoundError,
    OutputError,
)
from score_jax.training import events

from .conftest import SMALL
from .phantoms import scan


def test_a_run_explains_itself(trained):
    run, seen = trained
    assert run.finished
    assert run.step == 60
    assert {path.name for path in run.folder.iterdir()} == {
        "checkpoints",
        "config.toml",
        "metrics.jsonl",
        "prepared",
        "progress.png",
        "run.json",
        "split.json",
        "summary.json",
        "validation",
    }
    summary = json.loads((run.folder / "summary.json").read_text())
    assert summary["validation"]["mean_dice"] == dict(run.dice)
    (split,) = json.loads((run.folder / "split.json").read_text())
    assert summary["validation"]["cases"] == split["val"]
    cases = json.loads((run.folder / "validation/summary.json").read_text())
    assert len(cases["metric_per_case"]) == len(split["val"])
    about = json.loads((run.folder / "run.json").read_text())
    assert set(about["data"]["sha256"]) == {*split["train"], *split["val"]}
    (first,) = about["starts"]
    assert first["packages"]["jax"] == jax.__version__
    assert first["git_commit"]
    assert (run.folder / "progress.png").read_bytes()[:4] == b"\x89PNG"
    steps = [
        json.loads(line)["step"] for line in (run.folder / "metrics.jsonl").read_text().splitlines()
    ]
    assert steps == sorted(steps)
    kinds = [type(event) for event in seen if not isinstance(event, events.Prepared)]
    assert kinds[0] is events.Started
    assert kinds.count(events.Stepped) == 60
    assert kinds.count(events.Validated) == 10
    assert seen[-1] == events.Stopped(60, finished=True)


def test_it_learned(trained):
    _, seen = trained
    losses = [event.loss for event in seen if isinstance(event, events.Stepped)]
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.3
    validated = [event for event in seen if isinstance(event, events.Validated)]
    assert validated[-1].dice["cord"] > 0.7


def test_the_newest_checkpoints_hold_the_best_weights(trained):
    run, seen = trained
    assert checkpointing.finished_steps(run.folder / "checkpoints") == [54, 60]
    scores = [event.score for event in seen if isinstance(event, events.Validated)]
    position = json.loads((run.folder / "checkpoints/60/position/metadata").read_text())
    assert position["best"] == [max(scores)]
    assert position["score"] == scores[-1:]


@pytest.mark.parametrize("codes", ["RAS", "LPI", "SAR", "PIL"])
def test_prediction_follows_the_scan_in_any_orientation(trained, tmp_path, codes):
    run, _ = trained
    image, cord, _ = scan(99)
    affine = np.diag([1.0, 1.1, 0.9, 1.0])
    ornt = nib.orientations.ornt_transform(
        nib.orientations.io_orientation(affine), nib.orientations.axcodes2ornt(codes)
    )
    turned = nib.Nifti1Image(image, affine).as_reoriented(ornt)
    nib.save(turned, tmp_path / "scan.nii.gz")
    (result,) = sj.predict(tmp_path / "scan.nii.gz", run.folder, out=tmp_path / "out", soft=True)
    mask = nib.load(result.outputs["cord"])
    np.testing.assert_allclose(mask.affine, turned.affine)
    assert mask.shape == turned.shape
    back = mask.as_reoriented(
        nib.orientations.ornt_transform(
            nib.orientations.axcodes2ornt(codes), nib.orientations.io_orientation(affine)
        )
    )
    found = np.asarray(back.dataobj) > 0
    assert 2 * (found & cord).sum() / (found.sum() + cord.sum()) > 0.7
    soft = np.asarray(nib.load(result.outputs["cord_soft"]).dataobj)
    np.testing.assert_array_equal(soft > 0.5, np.asarray(mask.dataobj) > 0)
    labels = np.asarray(nib.load(result.outputs["labels"]).dataobj)
    lesion = np.asarray(nib.load(result.outputs["lesion"]).dataobj) > 0
    np.testing.assert_array_equal(labels == 2, lesion)
    sidecar = json.loads((tmp_path / "out/scan_label-cord_mask.json").read_text())
    predictor = sj.load_model(run.folder)
    assert sidecar["Model"]["WeightsSHA256"] == predictor.sha256
    assert sidecar["GeneratedBy"][0]["Version"] == sj.__version__
    assert str(tmp_path) not in json.dumps(sidecar)
    assert set(result.seconds) >= {"load", "preprocess", "network", "postprocess", "total"}


def test_array_in_array_out(trained):
    run, _ = trained
    predictor = sj.load_model(run.folder)
    image, _, _ = scan(5)
    logits = predictor.logits(image, (1.0, 1.0, 1.0))
    assert logits.shape == (*image.shape, 2)
    assert logits.dtype == np.float32
    found = predictor.predict(sj.Volume(image, np.eye(4)))
    np.testing.assert_array_equal(found.masks["cord"], logits[..., 0] > 0)
    np.testing.assert_array_equal(np.asarray(found), found.labels)
    flipped = predictor.logits(image, (1.0, 1.0, 1.0), tta=True)
    assert np.abs(flipped - logits).max() > 1e-3
    twice = sj.Predictor(predictor.spec, [*predictor.members, *predictor.members])
    np.testing.assert_allclose(twice.logits(image, (1.0, 1.0, 1.0)), logits, atol=1e-5)


def test_spread_and_vote_of_an_ensemble(trained, tmp_path):
    one = sj.load_model(trained[0].folder)
    other, third = (jax.tree.map(lambda a, f=f: f * a, one.members[0]) for f in (0.9, 1.2))
    sj.Predictor(one.spec, [*one.members, other, third]).save(tmp_path / "model")
    nib.save(nib.Nifti1Image(scan(3)[0], np.eye(4)), tmp_path / "sub-1_T2w.nii.gz")
    (plain,) = sj.predict(tmp_path / "sub-1_T2w.nii.gz", tmp_path / "model", out=tmp_path / "a")
    (asked,) = sj.predict(
        tmp_path / "sub-1_T2w.nii.gz",
        tmp_path / "model",
        out=tmp_path / "b",
        spread=True,
        vote=True,
    )
    assert asked.outputs["cord_spread"].name == "sub-1_label-cord_desc-T2wstd_probseg.nii.gz"
    deviation = np.asarray(nib.load(asked.outputs["cord_spread"]).dataobj)
    votes, mean = (np.asarray(nib.load(r.outputs["cord"]).dataobj) > 0 for r in (asked, plain))
    assert deviation.max() > 0.01
    assert (votes != mean).sum() < 0.2 * mean.sum()
    assert deviation[votes != mean].min(initial=1) > 0  # they differ only where networks do
    (failed,) = sj.predict(
        tmp_path / "sub-1_T2w.nii.gz", trained[0].folder, out=tmp_path / "c", samples=3
    )
    assert "without DropConnect" in str(failed.error)


def test_one_bad_scan_among_good_ones(trained, tmp_path):
    run, _ = trained
    image, _, _ = scan(7)
    for name in ("a", "b"):
        nib.save(nib.Nifti1Image(image, np.eye(4)), tmp_path / f"{name}.nii.gz")
    cut = (tmp_path / "b.nii.gz").read_bytes()[:2000]
    (tmp_path / "b.nii.gz").write_bytes(cut)
    good, bad = sj.predict(
        [tmp_path / "a.nii.gz", tmp_path / "b.nii.gz"], run.folder, out=tmp_path / "o"
    )
    assert good.outputs["cord"].is_file()
    assert "b.nii.gz" in str(bad.error)
    assert not list((tmp_path / "o").glob("b*"))


def test_two_scans_of_one_name_are_refused(trained, tmp_path):
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        nib.save(nib.Nifti1Image(scan(1)[0], np.eye(4)), tmp_path / folder / "s.nii.gz")
    with pytest.raises(DatasetError, match="both would be written as"):
        sj.predict(
            [tmp_path / "x/s.nii.gz", tmp_path / "y/s.nii.gz"],
            trained[0].folder,
            out=tmp_path / "o",
        )


def test_channels_must_match(trained, tmp_path):
    image, _, _ = scan(1, channels=3)
    nib.save(nib.Nifti1Image(image, np.eye(4)), tmp_path / "s.nii.gz")
    (failed,) = sj.predict(tmp_path / "s.nii.gz", trained[0].folder, out=tmp_path / "o")
    assert "got 3 channels; the model takes 1 (image)" in str(failed.error)


def test_a_run_is_not_overwritten_nor_resumed_with_another_configuration(
    trained, dataset, tmp_path
):
    run, _ = trained
    with pytest.raises(OutputError, match="holds a training run already"):
        sj.train(dataset, sj.load_config(), out=run.folder)
    with pytest.raises(ConfigError, match="keeps its own configuration"):
        sj.train(dataset, sj.load_config(), out=run.folder, resume=True)
    with pytest.raises(OutputError, match=r"no config.toml; expected the run to resume"):
        sj.train(dataset, out=tmp_path / "new", resume=True)


def test_a_patch_that_does_not_fit_the_strides(dataset, tmp_path):
    config = sj.load_config(overrides=(*SMALL, "sampling.patch=[15, 16, 16]"))
    with pytest.raises(ConfigError, match=r"expected multiples of \[2, 2, 2\]"):
        sj.train(dataset, config, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


SCRIPT = """
import sys, score_jax as sj
from score_jax.training import events
def tell(event):
    print(type(event).__name__, getattr(event, "step", ""), flush=True)
config = None if "resume" in sys.argv else sj.load_config(overrides={overrides!r})
sj.train({dataset!r}, config, out={out!r}, resume="resume" in sys.argv, on_event=tell)
"""


def start(tmp_path, dataset, out, *arguments):
    script = tmp_path / "train.py"
    overrides = (*SMALL, "steps=30", "validate_each=10")
    script.write_text(SCRIPT.format(overrides=overrides, dataset=str(dataset), out=str(out)))
    return subprocess.Popen(
        [sys.executable, str(script), *arguments], stdout=subprocess.PIPE, text=True
    )


def finish(process):
    text, _ = process.communicate(timeout=300)
    assert process.returncode == 0, text
    return text


def outcome(run: Path):
    summary = json.loads((run / "summary.json").read_text())
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    timing = ("seconds", "images_per_s", "device_waited")
    return summary, [{k: v for k, v in r.items() if k not in timing} for r in records]


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_bits(dataset, tmp_path):
    finish(start(tmp_path, dataset, tmp_path / "whole"))
    killed = start(tmp_path, dataset, tmp_path / "killed")
    for line in killed.stdout:
        if line.startswith("Stepped 14"):
            killed.send_signal(signal.SIGKILL)
            break
    killed.communicate()
    assert checkpointing.finished_steps(tmp_path / "killed/checkpoints") == [10]
    stopped = start(tmp_path, dataset, tmp_path / "killed", "resume")
    for line in stopped.stdout:
        if line.startswith("Stepped 23"):
            stopped.send_signal(signal.SIGTERM)
            break
    assert "Stopped" in finish(stopped)  # exits 0, saved where it stood
    assert max(checkpointing.finished_steps(tmp_path / "killed/checkpoints")) > 20
    finish(start(tmp_path, dataset, tmp_path / "killed", "resume"))
    assert outcome(tmp_path / "killed") == outcome(tmp_path / "whole")


def test_a_damaged_newest_checkpoint_falls_back(trained, dataset, tmp_path):
    run = shutil.copytree(trained[0].folder, tmp_path / "run")
    text = (run / "config.toml").read_text()
    (run / "config.toml").write_text(text.replace("\nsteps = 60", "\nsteps = 61"))
    for path in (run / "checkpoints/60/optimizer/d").iterdir():
        path.write_bytes(b"damaged")
    notes = []
    sj.train(dataset, out=run, resume=True, on_event=notes.append)
    text = " ".join(event.text for event in notes if isinstance(event, events.Note))
    assert "checkpoint of step 60 is damaged" in text
    started = next(event for event in notes if isinstance(event, events.Started))
    assert started.step == 54
    assert (run / "checkpoints/60.damaged").is_dir()
    assert checkpointing.finished_steps(run / "checkpoints")[-1] == 61


def test_the_model_to_start_from_is_read_once_and_not_by_a_resumed_run(trained, dataset, tmp_path):
    short = (*SMALL, "steps=1", "validate_each=1", "optimizer.learning_rate=0.0")
    first = shutil.copytree(trained[0].folder, tmp_path / "first")
    network = sj.load_model(first)
    shutil.rmtree(first)
    notes = []

    def train(*more, **given):
        notes.clear()
        config = None if "resume" in given else sj.load_config(overrides=(*short, *more))
        sj.train(dataset, config, out=tmp_path / "run", on_event=notes.append, **given)
        return " ".join(event.text for event in notes if isinstance(event, events.Note))

    with pytest.raises(ModelNotFoundError, match="first"):
        train(init=first)
    assert not (tmp_path / "run").exists()
    assert "started from" in train(init=first, network=network)
    config = tmp_path / "run/config.toml"
    config.write_text(config.read_text().replace("\nsteps = 1\n", "\nsteps = 2\n"))
    assert train(resume=True) == ""  # it has its own weights by now
    assert json.loads((tmp_path / "run/run.json").read_text())["init"] == str(first)


def test_checkpoints_that_cannot_be_read_are_told(trained, dataset, tmp_path):
    run = shutil.copytree(trained[0].folder, tmp_path / "run")
    for path in (run / "checkpoints").iterdir():
        shutil.rmtree(path / "best")
    with pytest.raises(CheckpointError, match="got 2 checkpoints, none of them readable"):
        sj.train(dataset, out=run, resume=True)
    with pytest.raises(CheckpointError, match="60/best: no such folder"):
        sj.load_model(run)
    assert os.listdir(tmp_path) == ["run"]


def test_a_run_that_was_stopped_before_its_first_checkpoint(trained, dataset, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    text = (trained[0].folder / "config.toml").read_text()
    (run / "config.toml").write_text(text.replace("\nsteps = 60", "\nsteps = 2"))
    notes = []
    again = sj.train(dataset, out=run, resume=True, on_event=notes.append)
    assert again.step == 2
    text = " ".join(event.text for event in notes if isinstance(event, events.Note))
    assert "no checkpoint was written yet" in text


def test_lazy_names():
    started = time.perf_counter()
    script = "import sys, score_jax; print('jax' in sys.modules, dir(score_jax))"
    text = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout
    assert text.startswith("False")
    assert "load_model" in text
    assert time.perf_counter() - started < 5
    with pytest.raises(AttributeError, match="no attribute 'absent'"):
        _ = sj.absent
