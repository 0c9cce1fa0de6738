"""`score-jax run`: valid derivatives, what `predict` gives, nothing done twice, nothing stale."""

import json
import os
import shutil

import jax
import numpy as np
import pytest

from score_jax import checkpointing, models
from score_jax.cohort import running, work
from score_jax.cohort.estimate import estimate, tiles_of
from score_jax.cohort.options import Options
from score_jax.cohort.scans import find_scans, open_output
from score_jax.cohort.state import job_of, read_record, record_path, remove_outputs
from score_jax.config import ModelSpec, Preprocessing, UNetConfig
from score_jax.errors import ConfigError, DatasetError, ImageError, OutputError
from score_jax.imaging import load_header, read_json, read_table
from score_jax.inference import Ensemble, Predictor
from tests.commands import refused

from .conftest import REGIONS, scan, write_bids, write_image, write_model

SCAN = "sub-01/ses-00/anat/sub-01_ses-00_T2w.nii.gz"


def files(folder):
    """Everything below a folder but the records, which hold times."""
    every = (p for p in sorted(folder.rglob("*")) if p.is_file() and ".score-jax" not in p.parts)
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in every}


def todo(result):
    status, out, err = result
    assert status == 0, err
    return {entry["scan"]: entry["why"] for entry in json.loads(out)["todo"]}


@pytest.fixture
def go(run, bids, model, tmp_path):
    def call(*words, level="participant", data=bids):
        given = () if level == "group" else ("--model", model)
        return run("run", data, tmp_path / "out", level, *given, *words)

    call.out = tmp_path / "out"
    return call


def test_a_dataset_from_images_to_tables(go, run, bids, model, tmp_path):
    status, out, err = go("--json")
    assert status == 0, err
    said = json.loads(out)
    assert len(said["done"]) == 6
    assert said["failed"] == said["unreadable"] == {}
    folder = go.out / "sub-01/ses-00/anat"
    # the masks are those of `predict`, to the byte
    run("predict", bids / SCAN, "--model", model, "--out", tmp_path / "alone")
    for path in (tmp_path / "alone").glob("*.nii.gz"):
        assert (folder / path.name).read_bytes() == path.read_bytes()
    sidecar = read_json(folder / "sub-01_ses-00_label-lesion_desc-T2w_mask.json")
    assert sidecar["Model"]["WeightsSHA256"] == ["(1.0, 3.0)"]
    assert sidecar["Sources"] == [f"bids:raw:{SCAN}"]
    assert sidecar["Parameters"]["tta"] is False
    assert sidecar["GeneratedBy"][0]["Version"]
    assert sidecar["Versions"]["jax"]
    assert str(tmp_path) not in json.dumps(sidecar)
    description = read_json(go.out / "dataset_description.json")
    assert description["DatasetType"] == "derivative"
    assert description["DatasetLinks"] == {"raw": "../data"}
    # areas and lesions by hand: voxels of 1 mm by 1 mm by 2 mm
    _, cord, blob = scan(10)
    areas = read_table(folder / "sub-01_ses-00_desc-T2w_areas.tsv")
    ours = [float(r["MEAN(area)"]) for r in areas if r["region"] == "cord"]
    np.testing.assert_allclose(ours, cord.sum(axis=(0, 1)))
    (lesion,) = read_table(folder / "sub-01_ses-00_desc-T2w_lesions.tsv")
    assert float(lesion["volume [mm3]"]) == 2 * blob.sum()
    # the group level
    status, _, err = go(level="group")
    assert status == 0, err
    scans = read_table(go.out / "group_scans.tsv")
    assert [row["status"] for row in scans] == ["done"] * 6
    assert [row["lesions"] for row in scans] == ["1"] * 6
    rows = {(r["scan"], r["region"]): r for r in read_table(go.out / "group_areas.tsv")}
    one = rows["sub-01_ses-00_T2w", "cord"]
    assert (one["participant_id"], one["session_id"]) == ("sub-01", "ses-00")
    np.testing.assert_allclose(float(one["area_mean [mm2]"]), cord.sum() / 17)
    assert float(one["volume [mm3]"]) == 2 * cord.sum()
    assert float(rows["sub-01_ses-00_T2w", "lesion"]["slices"]) == blob.any(axis=(0, 1)).sum()
    described = read_json(go.out / "group_areas.json")
    assert described["area_mean [mm2]"]["Units"] == "mm2"
    assert len(read_table(go.out / "group_lesions.tsv")) == 6
    assert not (go.out / "group_failed.tsv").exists()
    assert (go.out / "qc/report.html").is_file()


def test_only_what_changed_is_done_again(go, bids, model, tmp_path):
    assert set(todo(go("--dry-run", "--json")).values()) == {"new"}
    assert not go.out.exists()  # nothing is written by asking
    go()
    whole = files(go.out)
    assert todo(go("--dry-run", "--json")) == {}
    # a new time with the same content is read and found unchanged
    os.utime(bids / SCAN, ns=(1, 1))
    assert todo(go("--dry-run", "--json")) == {}
    before = record_path(go.out, find_scans(bids)[2]).read_bytes()
    image, _, _ = scan(77)
    write_image(bids / SCAN, image)
    assert todo(go("--dry-run", "--json")) == {"sub-01_ses-00_T2w": "changed"}
    stamps = {p: p.stat().st_mtime_ns for p in go.out.rglob("*.nii.gz")}
    go()
    again = {p.name for p, stamp in stamps.items() if p.stat().st_mtime_ns != stamp}
    assert again
    assert all(name.startswith("sub-01_ses-00") for name in again)
    assert record_path(go.out, find_scans(bids)[2]).read_bytes() != before
    changed = {name for name, data in files(go.out).items() if whole[name] != data}
    assert all("sub-01_ses-00" in name or name == "qc/report.html" for name in changed)
    # a file that went away, an option, another model
    (go.out / "sub-00/ses-01/anat/sub-00_ses-01_label-cord_desc-T2w_mask.nii.gz").unlink()
    assert todo(go("--dry-run", "--json")) == {"sub-00_ses-01_T2w": "incomplete"}
    assert len(todo(go("--dry-run", "--json", "--min-lesion", 3))) == 6
    other = write_model(tmp_path / "other.onnx", thresholds=(0.9, 3.0))
    assert len(todo(go("--dry-run", "--json", "--model", other))) == 6
    # a copy of the model under another name is the same model
    shutil.copy(model, tmp_path / "copy.onnx")
    same = running.plan(
        find_scans(bids, participants=["02"]),
        work.load(Options(models=(str(tmp_path / "copy.onnx"),))),
        Options(models=(str(tmp_path / "copy.onnx"),)),
        go.out,
    )
    assert (len(same.todo), len(same.finished)) == (0, 2)


def test_content_is_read_if_asked(go, bids):
    """Size and time of a file can lie; --verify reads it."""
    go("--participant-label", "01")
    path = bids / SCAN
    stat = path.stat()
    data = bytearray(path.read_bytes())
    data[4] ^= 1  # the gzip header's time stamp: another file, the same image
    path.write_bytes(data)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    words = ("--participant-label", "01", "--dry-run", "--json")
    assert todo(go(*words)) == {}
    assert todo(go(*words, "--verify")) == {"sub-01_ses-00_T2w": "changed"}


def test_nothing_stale_is_left(go):
    go()
    picture = go.out / "qc/pictures/sub-00/sub-00_ses-00_T2w.webp"
    table = go.out / "sub-00/ses-00/anat/sub-00_ses-00_desc-T2w_lesions.tsv"
    assert picture.is_file()
    assert table.is_file()
    go("--no-qc", "--no-lesions")
    assert not picture.exists()
    assert not table.exists()


def test_a_bad_scan_is_named_and_the_others_are_done(go, bids):
    go()
    (bids / SCAN).write_bytes(b"nothing")
    broken = bids / "sub-03/anat/sub-03_T2w.nii.gz"
    broken.parent.mkdir(parents=True)
    broken.symlink_to("nowhere.nii.gz")  # what an annex leaves that was not fetched
    write_image(bids / "sub-04/anat/sub-04_T2w.nii.gz", scan(9)[0])
    status, _, err = go()
    assert status == 2
    assert "sub-01_ses-00_T2w" in err
    assert "sub-03_T2w" in err
    assert (go.out / "sub-04/anat/sub-04_label-cord_desc-T2w_mask.nii.gz").is_file()
    # the masks of what the file held before would be taken for its own
    assert not list((go.out / "sub-01/ses-00/anat").glob("*"))
    assert todo_of_failed(go) == "failed"
    go(level="group")
    (row,) = read_table(go.out / "group_failed.tsv")
    assert row["scan"] == "sub-01_ses-00_T2w"
    assert "gzip" in row["error"]
    states = {r["scan"]: r["status"] for r in read_table(go.out / "group_scans.tsv")}
    assert states["sub-01_ses-00_T2w"] == "failed"
    assert states["sub-03_T2w"] == "missing"
    assert '"kind":"failed"' in (go.out / "qc/report.html").read_text()
    broken.unlink()
    write_image(bids / SCAN, scan(10)[0])
    assert go()[0] == 0
    go(level="group")
    assert not (go.out / "group_failed.tsv").exists()


def todo_of_failed(go):
    status, out, _ = go("--dry-run", "--json")
    assert status == 0
    return {e["scan"]: e["why"] for e in json.loads(out)["todo"]}["sub-01_ses-00_T2w"]


def test_a_fault_of_ours_is_reported_as_one(go, monkeypatch):
    def fault(*_, **__):
        raise RuntimeError("a fault")

    monkeypatch.setattr(work, "montage", fault)
    status, _, err = go("--participant-label", "00")
    assert status == 1
    assert "RuntimeError: a fault" in err
    assert "sub-00_ses-01_T2w" in err


def test_a_full_disk_ends_the_run(go, monkeypatch):
    def full(*_, **__):
        raise OutputError("no space left")

    monkeypatch.setattr(work, "write_segmentation", full)
    status, _, err = go()
    assert status == 2
    assert "no space left" in err
    assert not list((go.out / ".score-jax").rglob("*.json"))


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("--participant-label", "sub-01,02"), {"01", "02"}),
        (("--participant-label", "00", "02"), {"00", "02"}),  # as other BIDS Apps take them
        (("--session-label", "ses-01"), {"00", "01", "02"}),
    ],
)
def test_participants_and_sessions(go, words, found):
    names = todo(go("--dry-run", "--json", *words))
    assert {name[4:6] for name in names} == found
    assert len(names) == (3 if "--session-label" in words else 2 * len(found))


def test_the_report_is_over_all_participants(go):
    go("--participant-label", "00")
    go("--participant-label", "02")
    page = (go.out / "qc/report.html").read_text()
    assert page.count('"id":') == 4
    for name in ("sub-00_ses-00", "sub-00_ses-01", "sub-02_ses-00", "sub-02_ses-01"):
        assert f'"id":"{name}_T2w"' in page


def test_what_is_refused(go, run, bids, tmp_path, model):
    refused(go("--participant-label", "07"), "sub-07", "sub-00, sub-01, sub-02")
    refused(go("07"), "'07'", "--participant-label")
    refused(go("--spread"), "expected an ensemble", "leave --spread out")
    refused(go(level="group"), "no finished scan", "participant level")
    refused(run("run", bids, bids, "participant", "--model", model), "the dataset itself")
    (tmp_path / "out").mkdir()
    foreign = {"Name": "x", "DatasetType": "derivative", "GeneratedBy": [{"Name": "fmriprep"}]}
    (tmp_path / "out/dataset_description.json").write_text(json.dumps(foreign))
    refused(go(), "derivative of fmriprep")
    plain = tmp_path / "plain"
    write_image(plain / "a.nii.gz", scan(1)[0])
    refused(go(data=plain), "expected BIDS", "score-jax predict")
    write_image(bids / "sub-00/ses-00/anat/sub-00_ses-00_acq-a_T1w.nii.gz", scan(1)[0])
    write_image(bids / "sub-00/ses-00/anat/sub-00_ses-00_acq-a_T2w.nii.gz", scan(1)[0])
    refused(go(), "both would be written as", "--contrast")
    refused(run("run", bids, tmp_path / "new", "participant", "--contrast", "T2w", "--model",
                model, "--min-lesion", "nan"), "min_lesion_mm3")  # fmt: skip


def test_options_are_checked():
    with pytest.raises(ConfigError, match="models: got none"):
        Options(models=())


def test_an_estimate_comes_from_finished_scans(go, bids, model):
    _, out, _ = go("--dry-run", "--json")
    assert json.loads(out)["basis"].endswith("from the time of one tile")
    assert 0 < json.loads(out)["seconds"] < 10
    go("--participant-label", "00")
    for number, seconds in enumerate((2.0, 4.0)):  # known times in place of measured ones
        path = go.out / f".score-jax/sub-00/sub-00_ses-0{number}_T2w.json"
        record = read_json(path)
        record["Seconds"] = {"total": seconds + 1, "compile": 1.0}
        path.write_text(json.dumps(record))
    options = Options(models=(str(model),))
    plan = running.plan(find_scans(bids), work.load(options), options, go.out)
    guess = estimate(plan.todo, go.out)
    assert guess.seconds == pytest.approx(4 * 3.0)  # four scans left of equal size
    assert "from 2 finished scans" in str(guess)
    assert str(guess).startswith("about 0:00:12")
    assert estimate((), go.out).seconds == 0
    unknown = estimate(plan.todo, go.out / "elsewhere")
    assert str(unknown) == "unknown (no scan was done here yet)"
    status, _, err = go("--dry-run")
    assert status == 0
    assert "4 of 6 scans to do, 2 finished" in err


@pytest.mark.parametrize(
    ("tile", "more"),
    [
        ((8, 10, 12), {"preprocessing": Preprocessing(axcodes="RAS", spacing_mm=(1.2, 0, 1.1))}),
        ((40, 6, 6), {"preprocessing": Preprocessing(transpose=(2, 0, 1)), "tile_step": 0.7}),
        ((9, 7), {"slice_axis": 1}),
    ],
)
def test_tiles_are_counted_as_they_come(bids, tile, more):
    seen = []

    def network(tiles):
        seen.append(len(tiles))
        return np.stack([tiles[..., 0] - 1, tiles[..., 0] - 3], axis=-1).astype(np.float32)

    given = {
        "kind": "unet", "options": {}, "in_channels": 1, "channel_names": ("T2w",),
        "regions": REGIONS, "tile": tile,
    }  # fmt: skip
    model = Predictor(ModelSpec(**given, **more), [{}], runtime=network)
    path = bids / SCAN
    model.predict(path)
    assert tiles_of(model, load_header(path)) == len(seen)


def test_ratings_come_into_the_tables(go):
    go("--participant-label", "00")
    path = go.out / "qc/ratings.tsv"
    path.write_text(
        "scan\trating\tcomment\trater\ttime\n"
        "sub-00_ses-01_T2w\tfail\tcord lost at C2\tab\t2026-01-01T00:00:00Z\n"
    )
    assert go(level="group")[0] == 0
    rows = {r["scan"]: r for r in read_table(go.out / "group_scans.tsv")}
    assert rows["sub-00_ses-01_T2w"]["rating"] == "fail"
    assert rows["sub-00_ses-01_T2w"]["comment"] == "cord lost at C2"
    assert rows["sub-00_ses-00_T2w"]["rating"] is None
    assert "cord lost at C2" in (go.out / "qc/report.html").read_text()
    path.write_text("scan\trating\nsub-00_ses-01_T2w\tgood\n")
    refused(go(level="group"), "ratings.tsv", "'good'", "pass, fail, artefact")


def test_a_record_that_cannot_be_read_is_no_record(tmp_path):
    data = write_bids(tmp_path / "data", subjects=1, sessions=1)
    (one,) = find_scans(data)
    path = record_path(tmp_path, one)
    path.parent.mkdir(parents=True)
    for text in ("{", "[]", '{"Format": 0}', '{"Format": 1, "Key": "a"}'):
        path.write_text(text)
        assert read_record(tmp_path, one) is None


def test_a_record_removes_nothing_outside(tmp_path):
    kept = tmp_path / "kept"
    kept.write_text("")
    (tmp_path / "out").mkdir()
    remove_outputs(tmp_path / "out", {"Outputs": {"../kept": 0}})
    assert kept.is_file()


def test_networks_that_differ_are_flagged(bids, tmp_path, model):
    spec = ModelSpec(
        kind="unet", options=UNetConfig(features=(2, 3)).arguments(), in_channels=1,
        channel_names=("T2w",), regions=REGIONS, tile=(8, 8, 8),
    )  # fmt: skip
    members = [models.parameters(checkpointing.build_model(spec, seed=seed)) for seed in (0, 1)]
    members = [jax.tree.map(lambda leaf: 9 * leaf, member) for member in members]
    options = Options(models=("tiny",), spread=True, crop="none", qc=False)
    (one, *_) = find_scans(bids)
    job = job_of(one, "key", None)
    record = work.Worker(Predictor(spec, members, "tiny"), options, bids, tmp_path)(job)
    assert "disagreement" in {flag.kind for flag in work.flags_of(record)}
    assert [name for name in record["Outputs"] if name.endswith("T2wstd_probseg.nii.gz")]
    ensemble = Ensemble([Predictor(spec, members), Predictor(spec, members)], "both")
    record = work.Worker(ensemble, options, bids, tmp_path)(job)
    assert "networks of one kind" in record["Error"]["Text"]


def test_a_dataset_without_a_name(tmp_path):
    data = write_bids(tmp_path / "data", subjects=1, sessions=1)
    (data / "dataset_description.json").unlink()
    open_output(tmp_path / "out", data)
    assert read_json(tmp_path / "out/dataset_description.json")["Name"] == "data: score-jax"
    with pytest.raises(DatasetError, match="no such file"):
        find_scans(tmp_path / "nowhere")
    (one,) = find_scans(data)
    one.images[0].unlink()
    with pytest.raises(ImageError, match="could not be read"):
        job_of(one, "model", None)
