"""The phases' record: counts, and numbers that scipy and the morphometry give by themselves."""

import json
import shutil

import numpy as np
import pytest
from scipy.stats import wilcoxon

from score_jax import morphometry
from score_jax.active import IngestOptions, ingest, status
from score_jax.active.phases import MEASURES, biomarkers
from score_jax.errors import ConfigError, DatasetError
from score_jax.imaging import Volume

from .conftest import (
    AFFINE,
    BARE,
    BY_HAND,
    correct,
    predicted,
    save,
    truth,
    write_nnunet,
    write_ranking,
)

A, B, C = BARE
VOLUME, LENGTH, DAMAGE = MEASURES


@pytest.fixture
def corrected(bids):
    correct(bids.ranking)
    ingest([bids.ranking], bids.root, IngestOptions(rater="AB"))
    return bids


def by_itself(cord, lesion):
    """The three measures straight from the table of lesions."""
    rows = morphometry.lesions(lesion, cord | lesion, affine=AFFINE, spacing=(1, 1, 1.5))
    return (
        sum(row["volume [mm3]"] for row in rows),
        sum(row["length [mm]"] for row in rows),
        max(row["max_axial_damage_ratio []"] for row in rows),
    )


def result(found, what, measure):
    (one,) = [c.result for c in found.comparisons if c.what == what and c.measure == measure]
    return one


def test_phases(corrected):
    found = status(corrected.root)
    assert [(p.number, p.scans, p.subjects) for p in found.phases] == [(1, 2, 2), (2, 3, 3)]
    assert found.phases[1].raters == ("AB",)
    assert found.phases[1].models == ("net",)
    assert found.phases[1].unchanged == 0
    dice = [2 * (p & t).sum() / (p.sum() + t.sum()) for p, t in
            ((predicted(s)[1], truth(s)[2]) for s in BARE)]  # fmt: skip
    assert found.phases[1].dice["lesion"] == pytest.approx(np.mean(dice))
    assert found.unlabelled == 0
    assert found.problems == found.notes == ()


def test_predicted_against_corrected(corrected):
    found = status(corrected.root)
    before = np.array([by_itself(*predicted(s)) for s in BARE])
    after = np.array([by_itself(*truth(s)[1:]) for s in BARE])
    assert (before[:, 0] < after[:, 0]).all()  # the prediction lacks a slice
    for column, measure in enumerate(MEASURES):
        got = result(found, "phase 2: predicted -> corrected", measure)
        x, y = before[:, column], after[:, column]
        difference = np.round(y - x, 9)
        assert got.n == len(BARE)
        assert got.median_before == pytest.approx(np.median(x))
        assert got.median_after == pytest.approx(np.median(y))
        assert got.mean_difference == pytest.approx(np.mean(y - x))
        if (difference == 0).all():
            assert np.isnan(got.p)
        else:
            expected = wilcoxon(difference)
            assert (got.statistic, got.p) == (expected.statistic, expected.pvalue)
    lengths = result(found, "phase 2: predicted -> corrected", LENGTH)
    assert lengths.mean_difference > 0


def test_measures_of_each_scan(corrected):
    rows = status(corrected.root).measures
    names = {(row["case"], row["masks"]) for row in rows}
    assert (f"{BY_HAND[0]}_T2w", "dataset") in names
    assert (f"{BY_HAND[0]}_T2w", "model of phase 1") not in names
    (row,) = [r for r in rows if r["case"] == f"{A}_T2w" and r["masks"] == "dataset"]
    assert row["phase"] == 2
    assert tuple(row[m] for m in MEASURES) == pytest.approx(by_itself(*truth(A)[1:]))


def test_two_models(corrected, tmp_path):
    """Masks of a second model, from a folder; the first model's are in the dataset."""
    for subject in BARE:
        _, cord, lesion = truth(subject)
        grown = lesion | np.roll(lesion, 1, axis=2) & cord
        for region, mask in (("cord", cord), ("lesion", grown)):
            save(tmp_path / "masks" / f"{subject}_label-{region}_desc-T2w_mask.nii.gz", mask)
    found = status(corrected.root, predictions={2: tmp_path / "masks"})
    truths = np.array([by_itself(*truth(s)[1:])[0] for s in BARE])
    one = np.array([by_itself(*predicted(s))[0] for s in BARE])
    two = np.array(
        [
            by_itself(t[1], t[2] | np.roll(t[2], 1, axis=2) & t[1])[0]
            for t in (truth(s) for s in BARE)
        ]
    )
    got = result(found, "model of phase 1 -> 2", VOLUME)
    assert got.mean_difference == pytest.approx((two - one).mean())
    assert got.p == wilcoxon(np.round(two - one, 9)).pvalue
    got = result(found, "error of model 1 -> 2", VOLUME)
    errors = abs(one - truths), abs(two - truths)
    assert got.median_before == pytest.approx(np.median(errors[0]))
    assert got.median_after == pytest.approx(np.median(errors[1]))
    assert got.mean_difference == pytest.approx(np.mean(errors[1] - errors[0]))


def test_masks_of_a_ranking_are_its_predictions(corrected):
    """Not the corrected copies, which have the same names."""
    found = status(corrected.root, predictions={5: corrected.ranking})
    got = result(found, "model of phase 1 -> 5", VOLUME)
    assert (got.n, got.zeros, got.mean_difference) == (len(BARE), len(BARE), 0)


def test_scans_outside_the_folder_are_left_out(corrected, tmp_path):
    folder = tmp_path / "masks"
    for region in ("cord", "lesion"):
        name = f"{A}_label-{region}_desc-T2w_mask.nii.gz"
        save(folder / name, truth(A)[1 + (region == "lesion")])
    save(folder / f"{B}_label-cord_desc-T2w_mask.nii.gz", truth(B)[1])  # half a scan is none
    found = status(corrected.root, predictions={2: folder})
    assert result(found, "model of phase 1 -> 2", VOLUME).n == 1


def test_a_prediction_on_another_grid_is_reported(corrected, tmp_path):
    for region in ("cord", "lesion"):
        name = f"{A}_label-{region}_desc-T2w_mask.nii.gz"
        save(tmp_path / "masks" / name, truth(A)[1][..., 1:])
    found = status(corrected.root, predictions={2: tmp_path / "masks"})
    assert any("predicted in phase 2" in text and A in text for text in found.problems)


def test_lost_predictions_are_reported(corrected):
    shutil.rmtree(corrected.root / "derivatives" / "score-jax-phase-1" / A)
    found = status(corrected.root)
    assert result(found, "phase 2: predicted -> corrected", VOLUME).n == len(BARE) - 1
    assert [text.partition(":")[0] for text in found.problems] == [f"{A}_T2w"]


def test_a_mask_changed_since_is_told(corrected):
    save(corrected.label(A, "lesion"), predicted(A)[1])
    found = status(corrected.root)
    assert len(found.notes) == 1
    assert "was changed after it was ingested" in found.notes[0]
    assert corrected.label(A, "lesion").name in found.notes[0]


def test_a_bad_scan_is_reported_and_the_rest_go_on(corrected):
    save(corrected.label(A, "lesion"), truth(A)[2][1:])
    found = status(corrected.root)
    assert found.phases[1].scans == len(BARE) - 1
    assert any("different grids" in text for text in found.problems)


def test_before_the_first_correction(bids):
    found = status(bids.root)
    assert [(p.number, p.scans) for p in found.phases] == [(1, 2)]
    assert found.comparisons == ()
    assert found.unlabelled == len(BARE)


def test_confirmed_predictions(bids):
    ingest([bids.ranking], bids.root, IngestOptions(accept_unchanged=True))
    found = status(bids.root)
    assert found.phases[1].unchanged == len(BARE)
    got = result(found, "phase 2: predicted -> corrected", VOLUME)
    assert (got.zeros, got.mean_difference) == (len(BARE), 0)
    assert np.isnan(got.p)
    assert "no scan differs" in got.method


def test_nnunet(tmp_path):
    root = write_nnunet(tmp_path / "Dataset001")
    for subject in BARE:
        save(tmp_path / "bare" / f"{subject}_0000.nii.gz", truth(subject)[0])
    folder = write_ranking(tmp_path / "round", lambda s: tmp_path / "bare" / f"{s}_0000.nii.gz")
    for subject in BARE:
        for region, mask in zip(("cord", "lesion"), truth(subject)[1:], strict=True):
            save(folder / "to_correct" / f"{subject}_label-{region}_mask.nii.gz", mask)
    ingest([folder], root, IngestOptions())
    found = status(root, predictions={4: folder})
    assert [(p.number, p.scans) for p in found.phases] == [(1, 2), (2, 3)]
    assert found.phases[1].dice.keys() == {"cord", "lesion"}
    before = np.array([by_itself(*predicted(s))[0] for s in BARE])
    after = np.array([by_itself(*truth(s)[1:])[0] for s in BARE])
    got = result(found, "phase 2: predicted -> corrected", VOLUME)
    assert got.mean_difference == pytest.approx((after - before).mean())
    assert result(found, "model of phase 1 -> 4", VOLUME).zeros == len(BARE)


def test_lesion_is_cord_also_where_labels_exclude_each_other(tmp_path):
    """nnU-Net labels without regions: what is labelled lesion is labelled cord nowhere."""
    root = write_nnunet(tmp_path / "Dataset001")
    about = json.loads((root / "dataset.json").read_text())
    about["labels"] = {"background": 0, "cord": 1, "lesion": 2}
    del about["regions_class_order"]
    (root / "dataset.json").write_text(json.dumps(about))
    rows = {row["case"]: row for row in status(root).measures}
    assert len(rows) == len(BY_HAND)
    for subject in BY_HAND:
        _, cord, lesion = truth(subject)
        lesion = lesion & cord
        without = morphometry.lesions(lesion, cord & ~lesion, affine=AFFINE, spacing=(1, 1, 1.5))
        found = tuple(rows[subject][measure] for measure in MEASURES)
        assert found == pytest.approx(by_itself(cord, lesion))
        assert found[2] > max(row["max_axial_damage_ratio []"] for row in without)


def test_two_masks_of_one_name_are_refused(corrected, tmp_path):
    """E.g. those of two folds, or predictions beside the masks that they are compared with."""
    name = f"{A}_label-lesion_desc-T2w_mask.nii.gz"
    for fold in ("fold-0", "fold-1"):
        save(tmp_path / "masks" / fold / name, truth(A)[2])
    with pytest.raises(DatasetError, match=rf"two masks of one name, fold-0/{name} and fold-1"):
        status(corrected.root, predictions={2: tmp_path / "masks"})


def test_biomarkers_of_several_lesions_by_hand():
    cord = np.zeros((6, 7, 8), bool)
    cord[1:5, 1:6] = True  # 20 voxels a slice, upright
    lesion = np.zeros_like(cord)
    lesion[1:3, 1:3, 1:3] = True  # 4 of 20, two slices
    lesion[1:4, 3:5, 5] = True  # 6 of 20, one slice
    affine = np.diag([0.5, 0.5, 2.0, 1.0])
    found = biomarkers(lesion, cord, Volume(lesion, affine))
    assert found[VOLUME] == pytest.approx((8 + 6) * 0.5)
    assert found[LENGTH] == pytest.approx(2 * 2.0 + 2.0)
    assert found[DAMAGE] == pytest.approx(6 / 20)
    none = biomarkers(np.zeros_like(cord), cord, Volume(lesion, affine))
    assert none == {VOLUME: 0, LENGTH: 0, DAMAGE: 0}
    without = biomarkers(lesion, None, Volume(lesion, affine))
    assert without[VOLUME] == pytest.approx(7)
    assert np.isnan([without[LENGTH], without[DAMAGE]]).all()


def test_refusals(corrected, tmp_path, dataset):
    with pytest.raises(DatasetError, match="no such file or folder"):
        status(tmp_path / "nothing")
    with pytest.raises(DatasetError, match="got a table"):
        status(dataset)
    with pytest.raises(DatasetError, match="no such folder") as error:
        status(corrected.root, predictions={1: tmp_path / "nothing"})
    assert "score-jax predict" in error.value.hint
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="got no mask"):
        status(corrected.root, predictions={1: tmp_path / "empty"})
    with pytest.raises(ConfigError, match="phase 0"):
        status(corrected.root, predictions={0: tmp_path})
    for path in corrected.root.rglob("*label-lesion*"):
        path.unlink()
    with pytest.raises(DatasetError, match="got masks of cord; expected lesions"):
        status(corrected.root)


def test_as_json(corrected):
    value = json.loads(json.dumps(status(corrected.root).to_json()))
    assert [phase["scans"] for phase in value["phases"]] == [2, 3]
    assert {c["measure"] for c in value["comparisons"]} == set(MEASURES)
    assert len(value["scans"]) == 2 + 2 * 3
