"""Files and folders: matching by name, what is reported, tables, workers; nnU-Net's own summary."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest

from score_jax.arrays.regions import Region
from score_jax.errors import ConfigError, DatasetError, GeometryError, ImageError, OutputError
from score_jax.evaluation import evaluate, write
from score_jax.evaluation.matching import match
from score_jax.imaging import Volume, load, read_table, save
from score_jax.metrics import anima, by_slice, everything

from .test_surface import random_pair

AFFINE = np.diag([-0.5, 1.25, 3.0, 1.0])  # LAS
SPACING = (0.5, 1.25, 3.0)
CORD_LESION = [Region("cord", (1, 2), 1), Region("lesion", (2,), 2)]


def put(path: Path, data, affine=AFFINE):
    data = np.asarray(data)
    save(path, data, Volume(data, affine))
    return path


def label_maps(seed):
    pred, ref = random_pair(seed)
    core = np.zeros(pred.shape, bool)
    core[2:5, 2:5, 1:4] = True
    return [(m.astype(np.uint8) * (1 + (core & m))) for m in (pred, ref)]


@pytest.fixture
def folders(tmp_path):
    """Three cases of label maps 1 and 2, as nnU-Net names them."""
    for number in range(3):
        for side, data in zip(("pred", "ref"), label_maps(number), strict=True):
            put(tmp_path / side / f"case_{number}.nii.gz", data)
    return tmp_path / "pred", tmp_path / "ref"


def values(found, case, region):
    return next(s.values for s in found.scores if (s.case, s.region) == (case, region))


def test_one_pair_of_files(tmp_path):
    pred, ref = random_pair(0)
    paths = put(tmp_path / "a.nii.gz", pred), put(tmp_path / "b_seg-manual.nii.gz", ref)
    found = evaluate(*paths, preset="anima", lesions=True)
    assert [(s.case, s.region) for s in found.scores] == [("a", "cord")]
    assert found.scores[0].values == anima(pred, ref, SPACING, lesions=True)
    everything_else = evaluate(*paths, edge="open", min_lesion_mm3=10, alpha=0.2).scores[0]
    direct = everything(pred, ref, SPACING, edge="open")
    assert everything_else.values["assd"] == direct["assd"]
    assert everything_else.values["lesions_ref"] < direct["lesions_ref"]
    assert everything_else.spacing == SPACING


def test_regions_of_label_maps(folders):
    found = evaluate(*folders, labels=CORD_LESION)
    assert [(s.case, s.region) for s in found.scores[:3]] == [
        *(("case_0", "cord"), ("case_0", "lesion"), ("case_1", "cord"))
    ]
    pred, ref = label_maps(1)
    assert values(found, "case_1", "cord") == everything(pred > 0, ref > 0, SPACING)
    assert values(found, "case_1", "lesion") == everything(pred == 2, ref == 2, SPACING)
    assert not found.failures


def test_labels_by_themselves_each_in_every_case(folders):
    put(folders[0] / "case_3.nii.gz", label_maps(4)[0] > 0)  # has no label 2
    put(folders[1] / "case_3.nii.gz", label_maps(4)[1] > 0)
    found = evaluate(*folders)
    assert {s.region for s in found.scores} == {"label 1", "label 2"}
    assert len(found.scores) == 8
    assert math.isnan(values(found, "case_3", "label 2")["dice"])
    assert found.summary["label 2"]["dice"]["n_missing"] == 1
    assert evaluate(*folders, labels="each").summary == found.summary


def test_a_single_label_is_the_foreground_and_255_means_1(tmp_path):
    pred, ref = random_pair(0)
    put(tmp_path / "pred/a.nii.gz", pred)
    put(tmp_path / "ref/a.nii.gz", ref * np.uint8(255))
    put(tmp_path / "pred/b.nii.gz", np.zeros_like(pred))
    put(tmp_path / "ref/b.nii.gz", np.zeros_like(pred))
    found = evaluate(tmp_path / "pred", tmp_path / "ref")
    assert [(s.case, s.region) for s in found.scores] == [("a", "foreground"), ("b", "foreground")]
    assert values(found, "a", "foreground") == everything(pred, ref, SPACING)
    by_label = evaluate(tmp_path / "pred", tmp_path / "ref", labels="each")
    assert by_label.scores[0].region == "label 1"


def test_anima_pools_label_maps_unless_told(folders):
    pred, ref = label_maps(2)
    found = evaluate(*folders, preset="anima")
    assert values(found, "case_2", "foreground") == anima(pred, ref, SPACING)
    found = evaluate(*folders, preset="anima", labels=CORD_LESION)
    assert values(found, "case_2", "lesion") == anima(pred == 2, ref == 2, SPACING)


def test_sciseg_counts_lesions_where_they_are(folders):
    found = evaluate(*folders, preset="sciseg", labels=CORD_LESION)
    assert "F1_score" not in values(found, "case_0", "cord")
    assert "F1_score" in values(found, "case_0", "lesion")
    without = evaluate(*folders, preset="sciseg", labels=CORD_LESION, lesions=False)
    assert "F1_score" not in values(without, "case_0", "lesion")


@pytest.mark.parametrize("axis", [0, 2])
def test_score_goes_from_feet_to_head(tmp_path, axis):
    pred, ref = random_pair(0)
    affine = np.diag([0.5, 1.25, 3.0, 1.0])
    if axis == 0:
        affine = affine[[2, 1, 0, 3]]  # the first axis points upwards
    paths = put(tmp_path / "p.nii.gz", pred, affine), put(tmp_path / "r.nii.gz", ref, affine)
    found = evaluate(*paths, preset="score").scores[0]
    expected, rows = by_slice(pred, ref, SPACING, axis=axis)
    assert found.values == pytest.approx(expected)
    assert [row["slice"] for row in found.slices] == [row["slice"] for row in rows]


def test_score_of_a_single_sagittal_slice(tmp_path):
    pred, ref = (mask[:1] for mask in random_pair(0))
    paths = put(tmp_path / "p.nii.gz", pred), put(tmp_path / "r.nii.gz", ref)
    found = evaluate(*paths, preset="score").scores[0]
    assert found.values["Slices"] == 1


def test_names_of_several_styles(tmp_path):
    pred, ref = random_pair(0)
    for name in ("cord", "lesion"):
        put(tmp_path / f"p/sub-01/ses-02/anat/sub-01_ses-02_acq-sag_label-{name}_mask.nii.gz", pred)
    put(tmp_path / "p/sub-01/ses-02/anat/sub-01_ses-02_acq-sag_dseg.nii.gz", pred)
    put(
        tmp_path / "p/sub-01/ses-02/anat/sub-01_ses-02_acq-sag_label-cord_probseg.nii.gz",
        pred * 0.5,
    )
    put(tmp_path / "p/plain_label-cord_mask.nii.gz", pred)
    put(tmp_path / "r/sub-01_ses-02_acq-sag_T2w_seg-manual.nii.gz", ref)
    put(tmp_path / "r/sub-01_ses-02_acq-sag_T2w_lesion-manual.nii.gz", ref)
    put(tmp_path / "r/sub-01_ses-02_acq-sag_label-gm_mask.nii.gz", ref)
    put(tmp_path / "r/plain_seg.nii.gz", ref)
    put(tmp_path / "r/plain.nii.gz", ref * 3.3)  # the image beside its mask
    found = evaluate(tmp_path / "p", tmp_path / "r")
    assert [(s.case, s.region) for s in found.scores] == [
        *(("plain", "cord"), ("sub-01_ses-02_acq-sag", "cord")),
        ("sub-01_ses-02_acq-sag", "lesion"),
    ]
    assert not found.failures
    assert found.notes == ("without prediction anywhere, not scored: gm",)


def test_two_contrasts_of_one_subject(tmp_path):
    pred, ref = random_pair(0)
    for contrast, mask in (("T1w", pred), ("T2w", ref)):
        put(tmp_path / f"p/sub-01_desc-{contrast}_label-cord_mask.nii.gz", mask)
        put(tmp_path / f"r/sub-01_{contrast}_seg-manual.nii.gz", mask)
    found = evaluate(tmp_path / "p", tmp_path / "r")
    assert [(s.case, s.values["dice"]) for s in found.scores] == [
        ("sub-01_T1w", 1.0),
        ("sub-01_T2w", 1.0),
    ]


def test_datasets_know_where_their_masks_are(tmp_path):
    pred, ref = random_pair(0)
    name = "sub-01_label-cord_mask.nii.gz"
    put(tmp_path / "d/sub-01/anat/sub-01_T2w.nii.gz", ref * 1.7)
    put(tmp_path / "d/derivatives/truth/sub-01/anat" / name, ref)
    put(tmp_path / "d/derivatives/rater1/sub-01/anat" / name, pred)
    put(tmp_path / "d/derivatives/score-jax/sub-01/anat" / name, pred)
    found = evaluate(tmp_path / "d", tmp_path / "d")
    assert values(found, "sub-01", "cord") == everything(pred, ref, SPACING)
    rater = evaluate(tmp_path / "d/derivatives/rater1", tmp_path / "d/derivatives/truth")
    assert values(rater, "sub-01", "cord") == values(found, "sub-01", "cord")
    shutil.rmtree(tmp_path / "d/derivatives/score-jax")
    with pytest.raises(DatasetError, match=r"derivatives rater1, truth; expected score-jax"):
        evaluate(tmp_path / "d", tmp_path / "d/derivatives/truth")


def test_a_dataset_json_declares_regions(folders, tmp_path):
    root = tmp_path / "Dataset001"
    shutil.copytree(folders[1], root / "labelsTr")
    declared = {"background": 0, "cord": [1, 2], "lesion": [2]}
    text = {"channel_names": {"0": "T2w"}, "labels": declared, "regions_class_order": [1, 2]}
    (root / "dataset.json").write_text(json.dumps(text | {"file_ending": ".nii.gz"}))
    found = evaluate(folders[0], root)
    assert found.summary == evaluate(*folders, labels=CORD_LESION).summary
    assert evaluate(folders[0], root / "labelsTr").summary == found.summary
    assert "regions from" in found.notes[0]


def test_ignored_voxels_take_no_part(tmp_path):
    pred, ref = (mask.astype(np.uint8) for mask in random_pair(0))
    hidden = ref.copy()
    hidden[:2] = 2
    put(tmp_path / "p/a.nii.gz", pred)
    put(tmp_path / "r/a.nii.gz", hidden)
    text = {"channel_names": {"0": "T2w"}, "labels": {"background": 0, "cord": 1, "ignore": 2}}
    (tmp_path / "r/dataset.json").write_text(json.dumps(text | {"file_ending": ".nii.gz"}))
    found = evaluate(tmp_path / "p", tmp_path / "r")
    ours, theirs = pred.copy(), ref.copy()
    ours[:2] = theirs[:2] = 0
    assert values(found, "a", "cord")["dice"] == everything(ours, theirs, SPACING)["dice"]


def test_folders_with_the_same_names_inside(tmp_path):
    pred, ref = random_pair(0)
    for case in ("one", "two"):
        put(tmp_path / "p" / case / "seg.nii.gz", pred)
        put(tmp_path / "r" / case / "seg.nii.gz", ref)
    found = evaluate(tmp_path / "p", tmp_path / "r")
    assert [s.case for s in found.scores] == ["one/seg", "two/seg"]


def test_one_file_of_a_folder(folders):
    found = evaluate(folders[0] / "case_1.nii.gz", folders[1], labels=CORD_LESION)
    assert {s.case for s in found.scores} == {"case_1"}
    assert not found.failures
    found = evaluate(folders[0], folders[1] / "case_1.nii.gz", labels=CORD_LESION)
    assert {s.case for s in found.scores} == {"case_1"}
    assert not found.failures


def test_what_is_missing_is_named_and_the_rest_goes_on(folders):
    (folders[0] / "case_0.nii.gz").unlink()
    put(folders[0] / "stranger.nii.gz", label_maps(0)[0])
    found = evaluate(*folders, labels=CORD_LESION)
    assert {s.case for s in found.scores} == {"case_1", "case_2"}
    assert [str(failure) for failure in found.failures] == [
        "case_0: has no prediction; reference case_0.nii.gz",
        "stranger: has no reference; prediction stranger.nii.gz",
    ]


def test_a_region_missing_in_one_case(tmp_path):
    pred, ref = random_pair(0)
    for case in ("sub-01", "sub-02"):
        for region in ("cord", "lesion"):
            put(tmp_path / f"p/{case}_label-{region}_mask.nii.gz", pred)
            put(tmp_path / f"r/{case}_label-{region}_mask.nii.gz", ref)
    (tmp_path / "p/sub-01_label-lesion_mask.nii.gz").unlink()
    (tmp_path / "r/sub-02_label-cord_mask.nii.gz").unlink()
    found = evaluate(tmp_path / "p", tmp_path / "r")
    assert [(s.case, s.region) for s in found.scores] == [("sub-01", "cord"), ("sub-02", "lesion")]
    assert [str(f) for f in found.failures] == [
        "sub-01: has no prediction of lesion",
        "sub-02: has no reference of cord",
    ]


def test_bad_cases_are_reported_and_the_rest_goes_on(folders):
    pred, ref = folders
    put(pred / "case_0.nii.gz", label_maps(0)[0], AFFINE @ np.diag([1, 1, 1.5, 1]))
    (pred / "case_1.nii.gz").write_bytes(b"no image at all")
    found = evaluate(pred, ref, labels=[CORD_LESION[0]])
    assert [s.case for s in found.scores] == ["case_2"]
    first, second = (failure.message for failure in found.failures)
    assert "reference and prediction lie on different grids" in first
    assert str(pred / "case_1.nii.gz") in second


def test_another_orientation_is_turned_never_resampled(tmp_path):
    pred, ref = random_pair(0)
    put(tmp_path / "r.nii.gz", ref)
    volume = Volume(pred.astype(np.uint8), AFFINE).reoriented("SPR")
    put(tmp_path / "p.nii.gz", np.ascontiguousarray(volume.data), volume.affine)
    for preset in ("anima", "all"):
        found = evaluate(tmp_path / "p.nii.gz", tmp_path / "r.nii.gz", preset=preset)
        expected = (anima if preset == "anima" else everything)(pred, ref, SPACING)
        assert found.scores[0].values == pytest.approx(expected, nan_ok=True)
        assert "turned from SPR to the reference's LAS" in found.scores[0].notes[-1]


def test_what_a_mask_file_may_hold(tmp_path):
    pred, ref = random_pair(0)
    put(tmp_path / "r.nii.gz", ref)
    put(tmp_path / "soft.nii.gz", pred * 0.6)
    soft = tmp_path / "soft.nii.gz", tmp_path / "r.nii.gz"
    assert "expected integers" in evaluate(*soft).failures[0].message
    notes = evaluate(*soft, preset="anima").scores[0].notes
    assert f"prediction: {pred.sum()} voxels between 0 and 1 are background for ANIMA" in notes
    put(tmp_path / "two.nii.gz", label_maps(0)[0])
    two = evaluate(tmp_path / "two.nii.gz", tmp_path / "r.nii.gz", preset="anima").scores[0]
    assert "2 and 1 labels: merged to one, as ANIMA does" in two.notes
    put(tmp_path / "p/a_label-cord_mask.nii.gz", label_maps(0)[0])
    put(tmp_path / "r/a_label-cord_mask.nii.gz", ref)
    failure = evaluate(tmp_path / "p", tmp_path / "r").failures[0]
    assert "got the labels [1, 2]; expected a mask of cord" in failure.message
    put(tmp_path / "4d.nii.gz", np.stack([ref, ref], -1).astype(np.uint8))
    for preset in ("anima", "all"):
        failure = evaluate(tmp_path / "4d.nii.gz", tmp_path / "r.nii.gz", preset=preset).failures[0]
        assert "got 2 channels; expected a mask of one" in failure.message


def test_a_mask_without_a_telling_name(tmp_path):
    pred, ref = random_pair(0)
    put(tmp_path / "p/scan.nii.gz", pred)
    put(tmp_path / "r/scan_seg-manual.nii.gz", ref)
    found = evaluate(tmp_path / "p", tmp_path / "r")
    assert [(s.case, s.region) for s in found.scores] == [("scan", "cord")]
    put(tmp_path / "r/scan_lesion-manual.nii.gz", ref)
    with pytest.raises(
        DatasetError,
        match=r"scan: got a label map predicted and (cord, lesion|lesion, cord) as reference",
    ):
        evaluate(tmp_path / "p", tmp_path / "r")
    put(tmp_path / "p/scan.nii.gz", label_maps(0)[0])
    found = evaluate(tmp_path / "p", tmp_path / "r", labels=CORD_LESION)
    assert values(found, "scan", "lesion") == everything(label_maps(0)[0] == 2, ref, SPACING)


def test_nothing_to_compare(folders, tmp_path):
    with pytest.raises(DatasetError, match=r"nowhere: no such file or folder; .* a prediction"):
        evaluate(tmp_path / "nowhere", folders[1])
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="empty: got no mask; expected NIfTI files"):
        evaluate(folders[0], tmp_path / "empty")
    put(tmp_path / "other/x.nii.gz", label_maps(0)[0])
    with pytest.raises(DatasetError, match=r"no case in common \(x.nii.gz and case_0.nii.gz, "):
        evaluate(tmp_path / "other", folders[1])
    put(tmp_path / "twice/a/sub-01_label-cord_mask.nii.gz", label_maps(0)[0])
    put(tmp_path / "twice/b/sub-01_label-cord_mask.nii.gz", label_maps(0)[0])
    with pytest.raises(DatasetError, match="for one mask; expected one file"):
        match(tmp_path / "twice", tmp_path / "twice")
    with pytest.raises(ConfigError, match="alpha: got 3"):
        evaluate(*folders, alpha=3.0)
    with pytest.raises(ConfigError, match="jobs: got -1"):
        evaluate(*folders, jobs=-1)


def test_a_bug_of_ours_is_not_hidden(folders, monkeypatch):
    monkeypatch.setattr("score_jax.evaluation.scoring.everything", lambda *a, **k: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        evaluate(*folders)


@pytest.mark.parametrize("error", [ImageError, GeometryError, MemoryError])
def test_faults_of_the_input_become_failures(folders, monkeypatch, error):
    def fail(*arguments, **options):
        raise error("no")

    monkeypatch.setattr("score_jax.evaluation.scoring.everything", fail)
    assert len(evaluate(*folders).failures) == 3


def test_the_number_of_workers_changes_nothing(folders):
    (folders[0] / "case_1.nii.gz").write_bytes(b"no image")
    calls = []
    alone = evaluate(*folders)
    several = evaluate(*folders, jobs=2, on_case=lambda *call: calls.append(call))
    assert several.as_dict().keys() == alone.as_dict().keys()
    np.testing.assert_equal(several.as_dict(), alone.as_dict())
    assert calls == [(1, 3, "case_0"), (2, 3, "case_1"), (3, 3, "case_2")]


def test_summary_by_hand(folders):
    found = evaluate(*folders, labels=CORD_LESION)
    dices = [values(found, f"case_{n}", "cord")["dice"] for n in range(3)]
    assert found.summary["cord"]["dice"] == pytest.approx(
        {
            **{"mean": np.mean(dices), "sd": np.std(dices, ddof=1), "median": np.median(dices)},
            **{"min": min(dices), "max": max(dices), "n": 3, "n_missing": 0},
        }
    )


def test_tables(folders, tmp_path):
    found = evaluate(*folders, preset="score", labels=CORD_LESION)
    paths = write(found, tmp_path / "out")
    names = {path.name for path in paths}
    assert {"summary.json", "scores.tsv", "scores.json", "summary.tsv", "slices.tsv"} <= names
    rows = read_table(tmp_path / "out/scores.tsv")
    assert len(rows) == 6
    assert float(rows[0]["DSC"]) == values(found, "case_0", "cord")["DSC"]
    slices = read_table(tmp_path / "out/slices.tsv")
    assert len(slices) == sum(len(s.slices) for s in found.scores)
    described = json.loads((tmp_path / "out/slices.json").read_text())
    assert described["HD"]["Units"] == "mm"
    assert set(described) == set(slices[0])
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert summary["cases"][0]["values"]["DSC"] == values(found, "case_0", "cord")["DSC"]
    assert summary["summary"]["cord"]["DSC"]["n"] == 3
    assert len(read_table(tmp_path / "out/summary.tsv")) == 22
    assert set(json.loads((tmp_path / "out/summary_columns.json").read_text())) == set(
        read_table(tmp_path / "out/summary.tsv")[0]
    )


def test_workbook(folders, tmp_path):
    openpyxl = pytest.importorskip("openpyxl")
    put(folders[0] / "=1+1.nii.gz", np.zeros((6, 7, 5), np.uint8))
    put(folders[1] / "=1+1.nii.gz", np.zeros((6, 7, 5), np.uint8))
    found = evaluate(*folders, labels=CORD_LESION)
    write(found, tmp_path)
    book = openpyxl.load_workbook(tmp_path / "scores.xlsx")
    assert book.sheetnames == ["scores", "summary"]
    sheet = book["scores"]
    header = [cell.value for cell in sheet[1]]
    assert header[:2] == ["case", "region"]
    assert sheet["A2"].value == "=1+1"
    assert sheet["A2"].data_type == "s"
    assert sheet.cell(2, header.index("dice") + 1).value is None  # empty in both
    assert sheet.cell(4, header.index("dice") + 1).value == found.scores[2].values["dice"]


def test_no_place_to_write(folders, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError):
        write(evaluate(*folders), tmp_path / "file")


def test_nnunets_own_summary(fixtures):
    """compute_metrics_on_folder: counts, Dice, IoU, case by case and their means."""
    folder = fixtures / "nnunet/export"
    theirs = json.loads((folder / "summary.json").read_text())
    found = evaluate(folder / "pred", folder / "ref", labels=CORD_LESION)
    names = {"Dice": "dice", "IoU": "jaccard", "n_pred": "n_pred", "n_ref": "n_ref"}
    names |= {name: name.lower() for name in ("TP", "FP", "FN", "TN")}
    for case in theirs["metric_per_case"]:
        stem = Path(case["reference_file"]).name.removesuffix(".nii.gz")
        for key, region in (("(1, 2)", "cord"), ("2", "lesion")):
            got = values(found, stem, region)
            for name, ours in names.items():
                np.testing.assert_allclose(got[ours], case["metrics"][key][name], rtol=1e-12)
            for name, ours in names.items():
                mean = found.summary[region][ours]["mean"]
                np.testing.assert_allclose(mean, theirs["mean"][key][name], rtol=1e-12)


def test_the_file_that_comes_with_spacing_of_float32(tmp_path):
    mask = np.zeros((12, 3, 3), bool)
    mask[:10, 0, 0] = True
    path = put(tmp_path / "a.nii.gz", mask, np.diag([0.3, 1, 1, 1.0]))
    assert load(path).spacing[0] == float(np.float32(0.3))
    found = evaluate(path, path, preset="anima", lesions=True)
    assert found.scores[0].values["F1_score"] == 1
