"""Corrected masks on their way into a dataset: every refusal, and what is written."""

import json
import os
import shutil

import nibabel as nib
import numpy as np
import pytest

from score_jax import data, metrics
from score_jax.active import IngestOptions, ingest
from score_jax.active import admission as admission_module
from score_jax.active.provenance import origin, sidecar
from score_jax.active.records import sha256_of_file
from score_jax.errors import ConfigError, DatasetError, OutputError

from .conftest import (
    AFFINE,
    BARE,
    BY_HAND,
    correct,
    mask_name,
    predicted,
    save,
    truth,
    write_nnunet,
    write_ranking,
)

A, B, C = BARE


def options(**given):
    return IngestOptions(rater="AB", date="2026-03-31", **given)


def files_of(root):
    return {str(p.relative_to(root)): sha256_of_file(p) for p in root.rglob("*") if p.is_file()}


def refused(found, *words):
    assert not found.taken
    assert len(found.refused) == 1, found.refused
    text = str(found.refused[0].error)
    for word in words:
        assert word in text, text


def values(path):
    return np.asarray(nib.load(path).dataobj)


def test_a_correction_joins_the_dataset(bids):
    assert len(data.discover(bids.root).cases) == len(BY_HAND)
    correct(bids.ranking, A)
    found = ingest([bids.file(A, "cord"), bids.file(A, "lesion")], bids.root, options())
    assert [one.case for one in found.taken] == [f"{A}_T2w"]
    assert found.refused == ()
    dataset = data.discover(bids.root)
    assert len(dataset.cases) == len(BY_HAND) + 1
    case = data.load_case(dataset.case(f"{A}_T2w"), dataset)
    _, cord, lesion = truth(A)
    np.testing.assert_array_equal(case.targets, np.stack([cord, lesion], axis=-1))
    for region in ("cord", "lesion"):
        np.testing.assert_array_equal(nib.load(bids.label(A, region)).affine, AFFINE)
    assert not list(bids.root.glob(".ingest-*"))


def test_provenance(bids):
    correct(bids.ranking, A)
    found = ingest([bids.file(A, "cord"), bids.file(A, "lesion")], bids.root, options())
    _, _, lesion = truth(A)
    told = origin(bids.label(A, "lesion"))
    assert (told.phase, told.rater, told.date, told.model) == (2, "AB", "2026-03-31", "net")
    assert told.weights_sha256 == ("w1",)
    assert told.sha256 == sha256_of_file(bids.label(A, "lesion"))
    given = bids.file(A, "lesion")
    assert told.correction == {given.name: sha256_of_file(given)}
    kept = bids.root / told.prediction
    assert told.prediction_sha256 == sha256_of_file(kept)
    np.testing.assert_array_equal(values(kept) > 0, predicted(A)[1])
    expected = metrics.dice(predicted(A)[1], lesion)
    assert told.dice == {"lesion": pytest.approx(expected)}
    assert found.taken[0].dice["lesion"] == pytest.approx(expected)
    assert origin(bids.label(A, "cord")).dice.keys() == {"cord"}
    assert (told.unchanged, told.replaced, told.replaced_sha256) == (False, None, None)
    written = json.loads(sidecar(bids.label(A, "lesion")).read_text())
    assert written["Sources"] == [f"{A}_T2w.nii.gz"]
    assert written["ActiveLearning"]["WeightsSHA256"] == ["w1"]
    assert (bids.root / "derivatives/score-jax-phase-1/dataset_description.json").is_file()


def test_without_words_the_files_tell_the_date_and_nobody_the_rater(bids):
    correct(bids.ranking, A)
    for region in ("cord", "lesion"):
        os.utime(bids.file(A, region), (1e9, 1e9))  # 2001-09-09 in every time zone
    ingest([bids.file(A, "cord"), bids.file(A, "lesion")], bids.root)
    told = origin(bids.label(A, "cord"))
    assert (told.rater, told.date[:7]) == (None, "2001-09")


def test_twice_changes_nothing(bids):
    correct(bids.ranking)
    first = ingest([bids.to_correct], bids.root, options())
    assert [one.new for one in first.taken] == [True] * len(BARE)
    before = files_of(bids.root)
    again = ingest([bids.ranking], bids.root, options(phase=7))
    assert [(one.new, one.phase) for one in again.taken] == [(False, 2)] * len(BARE)
    assert files_of(bids.root) == before


def test_half_a_case_is_completed(bids):
    """What a power failure between two files leaves is mended by the same command."""
    correct(bids.ranking, A)
    paths = [bids.file(A, "cord"), bids.file(A, "lesion")]
    ingest(paths, bids.root, options())
    bids.label(A, "lesion").unlink()
    assert ingest(paths, bids.root, options()).taken[0].new
    assert bids.label(A, "lesion").exists()


def test_a_good_case_goes_in_beside_a_bad_one(bids):
    correct(bids.ranking, A, B)
    found = ingest([bids.to_correct], bids.root, options())
    assert [one.case for one in found.taken] == [f"{A}_T2w", f"{B}_T2w"]
    assert [item.where for item in found.refused] == [f"{C}_T2w"]
    assert "no voxel changed" in str(found.refused[0].error)


def test_unchanged(bids):
    one = [bids.file(A, "cord"), bids.file(A, "lesion")]
    before = files_of(bids.root)
    refused(ingest(one, bids.root, options()), "no voxel changed", "--accept-unchanged")
    assert files_of(bids.root) == before
    taken = ingest(one, bids.root, options(accept_unchanged=True)).taken
    assert taken[0].dice == {"cord": 1, "lesion": 1}
    assert origin(bids.label(A, "cord")).unchanged


def test_one_region_changed_is_a_correction(bids):
    _, _, lesion = truth(A)
    save(bids.file(A, "lesion"), lesion)
    found = ingest([bids.file(A, "cord"), bids.file(A, "lesion")], bids.root, options())
    assert found.taken[0].dice["cord"] == 1


def test_empty(bids):
    correct(bids.ranking, A)
    save(bids.file(A, "lesion"), np.zeros_like(truth(A)[1]))
    one = [bids.file(A, "cord"), bids.file(A, "lesion")]
    refused(ingest(one, bids.root, options()), "no lesion at all", "--accept-empty", A)
    found = ingest(one, bids.root, options(accept_empty=True))
    assert found.taken[0].dice["lesion"] == 0
    assert not values(bids.label(A, "lesion")).any()


def test_another_grid(bids):
    correct(bids.ranking, A)
    shifted = AFFINE.copy()
    shifted[0, 3] += 1
    save(bids.file(A, "cord"), truth(A)[1], shifted)
    one = [bids.file(A, "cord"), bids.file(A, "lesion")]
    refused(ingest(one, bids.root, options()), "different grids", "to_correct", "another scan")


def test_another_orientation_is_turned(bids):
    correct(bids.ranking, A)
    image = nib.load(bids.file(A, "cord"))
    turned = image.as_reoriented(np.array([[1, 1], [0, -1], [2, -1]]))
    nib.save(turned, bids.file(A, "cord"))
    ingest([bids.file(A, "cord"), bids.file(A, "lesion")], bids.root, options())
    np.testing.assert_array_equal(values(bids.label(A, "cord")) > 0, truth(A)[1])


def test_other_values(bids):
    correct(bids.ranking, A)
    save(bids.file(A, "lesion"), truth(A)[2] * np.uint8(3))
    one = [bids.file(A, "cord"), bids.file(A, "lesion")]
    refused(ingest(one, bids.root, options()), "0, 3", "expected 0 and 1")


def test_unreadable(bids):
    correct(bids.ranking, A)
    path = bids.file(A, "cord")
    path.write_bytes(path.read_bytes()[:60])
    refused(ingest([path, bids.file(A, "lesion")], bids.root, options()), "expected a whole file")


def test_a_name_that_was_not_handed_out(bids):
    correct(bids.ranking, A)
    new = bids.file(A, "lesion").with_name(f"{A}_label-lesion_desc-T2w_mask_v2.nii.gz")
    bids.file(A, "lesion").rename(new)
    found = ingest([bids.file(A, "cord"), new], bids.root, options())
    texts = [str(item.error) for item in found.refused]
    assert any("no ranked scan" in t and mask_name(A, "lesion") in t for t in texts), texts
    assert any("of cord alone" in t and mask_name(A, "lesion") in t for t in texts), texts
    assert not found.taken


def test_a_strange_name_gets_a_general_remedy(bids):
    path = save(bids.to_correct / "qqq.nii.gz", truth(A)[1])
    refused(ingest([path], bids.root, options()), "rename it as in to_correct")


def test_copies_of_scans_are_passed_over(bids):
    correct(bids.ranking)
    shutil.copy(bids.root / A / "anat" / f"{A}_T2w.nii.gz", bids.to_correct)
    found = ingest([bids.to_correct], bids.root, options())
    assert (len(found.taken), found.refused) == (len(BARE), ())


def test_the_same_mask_twice(bids):
    correct(bids.ranking, A)
    other = bids.to_correct / "old" / mask_name(A, "cord")
    other.parent.mkdir()
    shutil.copy(bids.file(A, "cord"), other)
    found = ingest([bids.file(A, "cord"), bids.file(A, "lesion"), other], bids.root, options())
    assert "a second cord" in str(found.refused[0].error)
    assert str(other) in str(found.refused[0].error)


def test_a_mask_in_another_persons_folder(bids):
    correct(bids.ranking, A)
    folder = bids.to_correct / B
    folder.mkdir()
    for region in ("cord", "lesion"):
        bids.file(A, region).rename(folder / mask_name(A, region))
    found = ingest([folder], bids.root, options())
    assert not found.taken
    assert "in the folder of " + B in str(found.refused[0].error)


def test_swapped_masks(bids):
    """B's masks under A's names, where A's own prediction lies elsewhere."""
    record = bids.ranking / "scores" / f"{A}_T2w.json"
    told = json.loads(record.read_text())
    for number, region in enumerate(("cord", "lesion")):
        save(bids.file(A, region), predicted(B)[number])
        path = bids.ranking / "predictions" / mask_name(A, region)
        save(path, np.roll(predicted(A)[number], 9, axis=1))
        told["files"][region]["sha256"] = sha256_of_file(path)
    record.write_text(json.dumps(told))
    found = ingest([bids.file(A, "cord"), bids.file(A, "lesion")], bids.root, options())
    refused(found, f"looks like a mask of {B}_T2w", "Dice 1.00", "whose")

    for other in (B, C):
        path = bids.ranking / "scores" / f"{other}_T2w.json"
        path.write_text(path.read_text().replace(f'"subject": "{other}"', f'"subject": "{A}"'))
    # another scan of the same person may well look alike
    assert ingest([bids.file(A, "cord"), bids.file(A, "lesion")], bids.root, options()).taken


def test_a_large_correction_is_no_swap(bids):
    """Far from its own prediction, but near nobody else's either."""
    for region, mask in zip(("cord", "lesion"), truth(A)[1:], strict=True):
        save(bids.file(A, region), np.roll(mask, 9, axis=1))
    assert ingest([bids.file(A, "cord"), bids.file(A, "lesion")], bids.root, options()).taken


def test_another_image_under_the_name(bids):
    correct(bids.ranking, A)
    save(bids.root / A / "anat" / f"{A}_T2w.nii.gz", truth(B)[0])
    one = [bids.file(A, "cord"), bids.file(A, "lesion")]
    refused(ingest(one, bids.root, options()), "another image", "rank again")


def test_the_same_image_compressed_anew_is_the_same(bids):
    correct(bids.ranking, A)
    path = bids.root / A / "anat" / f"{A}_T2w.nii.gz"
    image = nib.load(path)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), image.affine), path.with_suffix(""))
    path.unlink()
    path.with_suffix("").rename(path.with_name(f"{A}_T2w.nii"))
    assert ingest([bids.file(A, "cord"), bids.file(A, "lesion")], bids.root, options()).taken


def test_a_touched_prediction(bids):
    correct(bids.ranking, A)
    save(bids.ranking / "predictions" / mask_name(A, "cord"), truth(A)[1])
    one = [bids.file(A, "cord"), bids.file(A, "lesion")]
    refused(ingest(one, bids.root, options()), "predictions", "as it was written", "rank")
    (bids.ranking / "predictions" / mask_name(A, "cord")).unlink()
    refused(ingest(one, bids.root, options()), "got no file")


def test_lesion_outside_the_cord_is_said(bids):
    _, cord, lesion = truth(A)
    correct(bids.ranking, A)
    outside = lesion.copy()
    outside[0, 0, :2] = True
    save(bids.file(A, "lesion"), outside)
    found = ingest([bids.file(A, "cord"), bids.file(A, "lesion")], bids.root, options())
    share = 2 / outside.sum()
    assert (
        f"{100 * share:.1f} % of the lesion (2 of {outside.sum()} voxels)"
        in (found.taken[0].warnings[0])
    )
    assert origin(bids.label(A, "lesion")).lesion_outside_cord == pytest.approx(share)
    assert not (lesion & ~cord).any()


def test_a_mask_by_hand_is_never_written_over(bids):
    correct(bids.ranking, A)
    one = [bids.file(A, "cord"), bids.file(A, "lesion")]
    by_hand = save(bids.label(A, "lesion"), predicted(A)[1]).read_bytes()
    refused(
        ingest(one, bids.root, options()), "is there already", "by hand", "--replace", "replaced"
    )
    assert bids.label(A, "lesion").read_bytes() == by_hand
    assert not bids.label(A, "cord").exists()
    taken = ingest(one, bids.root, options(replace=True)).taken[0]
    assert len(taken.replaced) == 1
    assert taken.replaced[0].read_bytes() == by_hand
    assert "derivatives/replaced" in taken.replaced[0].as_posix()
    told = origin(bids.label(A, "lesion"))
    assert told.replaced_sha256 == sha256_of_file(taken.replaced[0])
    assert bids.root / told.replaced == taken.replaced[0]
    assert origin(bids.label(A, "cord")).replaced is None
    np.testing.assert_array_equal(values(bids.label(A, "lesion")) > 0, truth(A)[2])


def test_a_correction_of_a_correction_keeps_both(bids):
    correct(bids.ranking, A)
    one = [bids.file(A, "cord"), bids.file(A, "lesion")]
    ingest(one, bids.root, options())
    first = bids.label(A, "cord").read_bytes()
    save(bids.file(A, "cord"), np.roll(truth(A)[1], 1, axis=1))
    refused(ingest(one, bids.root, options()), "phase 2, 2026-03-31, by AB")
    taken = ingest(one, bids.root, options(replace=True)).taken[0]
    assert [path.read_bytes() for path in taken.replaced] == [first]
    assert origin(taken.replaced[0]).rater == "AB"  # its sidecar went with it


def test_a_mask_under_a_lab_name_is_replaced_under_that_name(bids):
    """A second name for the same mask would leave two masks of one region."""
    correct(bids.ranking, A)
    folder = bids.label(A, "cord").parent
    lab = save(folder / f"{A}_T2w_lesion-manual.nii.gz", predicted(A)[1])
    one = [bids.file(A, "cord"), bids.file(A, "lesion")]
    refused(ingest(one, bids.root, options()), lab.name)
    ingest(one, bids.root, options(replace=True))
    np.testing.assert_array_equal(values(lab) > 0, truth(A)[2])
    assert not bids.label(A, "lesion").exists()


def test_all_or_nothing(bids, monkeypatch):
    correct(bids.ranking, A)
    save(bids.label(A, "cord"), predicted(A)[0])
    before = files_of(bids.root)
    one = [bids.file(A, "cord"), bids.file(A, "lesion")]
    real = os.replace
    for fails_at in range(9):
        moved = []

        def replace(source, target, moved=moved, fails_at=fails_at):
            if "/new/" in str(source) and ".ingest-" not in str(target):
                moved.append(target)
                if len(moved) > fails_at:
                    raise OSError(28, "No space left on device", str(target))
            real(source, target)

        monkeypatch.setattr("score_jax.active.writing.os.replace", replace)
        # nine files: the mask kept aside; for each region two masks and their sidecars
        with pytest.raises(OutputError, match="No space left"):
            ingest(one, bids.root, options(replace=True))
        assert len(moved) == fails_at + 1
        assert files_of(bids.root) == before
    monkeypatch.setattr("score_jax.active.writing.os.replace", real)
    assert ingest(one, bids.root, options(replace=True)).taken[0].new


def test_a_mask_by_hand_is_no_earlier_ingestion(bids):
    """Even to the voxel: without --replace nobody's file gets a sidecar."""
    correct(bids.ranking, A)
    for number, region in enumerate(("cord", "lesion"), 1):
        save(bids.label(A, region), truth(A)[number])
    one = [bids.file(A, "cord"), bids.file(A, "lesion")]
    refused(ingest(one, bids.root, options()), "by hand")


def test_a_failure_while_writing_changes_nothing(bids, monkeypatch):
    correct(bids.ranking, A)
    before = files_of(bids.root)

    def full(*arguments, **more):
        raise OutputError("disk full")

    monkeypatch.setattr(admission_module, "save", full)
    with pytest.raises(OutputError):
        ingest([bids.file(A, "cord"), bids.file(A, "lesion")], bids.root, options())
    assert files_of(bids.root) == before


def test_phases_follow_the_models(bids, tmp_path):
    correct(bids.ranking, A)
    ingest([bids.file(A, "cord"), bids.file(A, "lesion")], bids.root, options())
    second = write_ranking(
        tmp_path / "second",
        lambda s: bids.root / s / "anat" / f"{s}_T2w.nii.gz",
        weights=("w2",),
        subjects=(B,),
    )
    correct(second, B)
    found = ingest([second], bids.root, options())
    assert [one.phase for one in found.taken] == [3]
    correct(bids.ranking, C)  # the first model once more
    found = ingest([bids.file(C, "cord"), bids.file(C, "lesion")], bids.root, options())
    assert [one.phase for one in found.taken] == [2]
    told = origin(bids.label(B, "cord"))
    assert "score-jax-phase-2" in told.prediction


def test_two_models_corrected_at_once_are_two_phases(bids, tmp_path):
    """A ranking that a second model has added scans to."""
    folder = tmp_path / "both"
    for weights, subjects in (("w1", (A, C)), ("w2", (B,))):
        write_ranking(
            folder,
            lambda s: bids.root / s / "anat" / f"{s}_T2w.nii.gz",
            weights=(weights,),
            subjects=subjects,
        )
    correct(folder)
    found = ingest([folder], bids.root, options())
    assert {one.case[:6]: one.phase for one in found.taken} == {A: 2, B: 3, C: 2}


def test_a_phase_can_be_given(bids):
    correct(bids.ranking, A)
    one = [bids.file(A, "cord"), bids.file(A, "lesion")]
    assert ingest(one, bids.root, options(phase=4)).taken[0].phase == 4


@pytest.mark.parametrize(
    ("given", "words"),
    [({"phase": 1}, "drawn by hand"), ({"date": "31.3.2026"}, "YYYY-MM-DD")],
)
def test_options(given, words):
    with pytest.raises(ConfigError, match=words):
        IngestOptions(**given)


def test_label_maps(bids, tmp_path):
    folder = write_ranking(
        tmp_path / "maps",
        lambda s: bids.root / s / "anat" / f"{s}_T2w.nii.gz",
        label_map=True,
        subjects=(A,),
    )
    (path,) = (folder / "to_correct").glob("*.nii.gz")
    _, cord, lesion = truth(A)
    save(path, (cord.astype(np.uint8) + (cord & lesion)) * np.uint8(2))
    refused(ingest([path], bids.root, options()), "[0, 2, 4]", "[4]", "2 = lesion")
    save(path, cord.astype(np.uint8) + (cord & lesion))
    assert ingest([path], bids.root, options()).taken
    np.testing.assert_array_equal(values(bids.label(A, "lesion")) > 0, lesion)
    np.testing.assert_array_equal(values(bids.label(A, "cord")) > 0, cord)
    shutil.copy(bids.label(A, "cord"), folder / "to_correct" / mask_name(A, "cord"))
    refused(ingest([folder], bids.root, options()), "a label map and masks")


def test_regions_that_others_have_and_these_lack(bids):
    save(bids.label(BY_HAND[0], "canal"), truth(A)[1])
    correct(bids.ranking, A)
    found = ingest([bids.file(A, "cord"), bids.file(A, "lesion")], bids.root, options())
    assert "other cases also have canal" in found.notes[0]


def test_a_scan_that_is_not_there_is_added(bids, tmp_path):
    outside = tmp_path / "elsewhere"
    (bids.root / A / "anat" / f"{A}_T2w.nii.gz").rename(
        save(outside / f"{A}_T2w.nii.gz", truth(A)[0])
    )
    folder = write_ranking(tmp_path / "new", lambda s: outside / f"{s}_T2w.nii.gz", subjects=(A,))
    shutil.rmtree(bids.root / A)
    correct(folder, A)
    found = ingest([folder], bids.root, options())
    assert found.taken[0].added == (bids.root / A / "anat" / f"{A}_T2w.nii.gz",)
    assert len(data.discover(bids.root).cases) == len(BY_HAND) + 1


def test_a_scan_without_a_bids_name_cannot_be_added(bids, tmp_path):
    scan = save(tmp_path / "scan7.nii.gz", truth(A)[0])
    folder = write_ranking(tmp_path / "new", lambda s: scan, subjects=(A,))
    for region, mask in zip(("cord", "lesion"), truth(A)[1:], strict=True):
        save(folder / "to_correct" / f"scan7_label-{region}_mask.nii.gz", mask)
    refused(ingest([folder], bids.root, options()), "no BIDS name", "rank it there")


def test_a_dataset_without_any_mask_yet(bids):
    shutil.rmtree(bids.root / "derivatives")
    correct(bids.ranking, A)
    ingest([bids.file(A, "cord"), bids.file(A, "lesion")], bids.root, options())
    assert [case.id for case in data.discover(bids.root).cases] == [f"{A}_T2w"]


def test_masks_join_those_in_truth(bids):
    (bids.root / "derivatives" / "labels").rename(bids.root / "derivatives" / "truth")
    correct(bids.ranking, A)
    ingest([bids.file(A, "cord"), bids.file(A, "lesion")], bids.root, options())
    assert len(data.discover(bids.root).cases) == len(BY_HAND) + 1


def test_what_is_no_dataset_for_masks(bids, tmp_path, dataset):
    correct(bids.ranking, A)
    with pytest.raises(DatasetError, match="got a table; expected a BIDS or nnU-Net") as error:
        ingest([bids.file(A, "cord")], dataset, options())
    assert "imagesTr" in error.value.hint


def test_where_is_the_ranking(bids, tmp_path):
    with pytest.raises(DatasetError, match="no such file or folder"):
        ingest([tmp_path / "nothing"], bids.root)
    moved = tmp_path / "desk"
    correct(bids.ranking)
    shutil.move(bids.to_correct, moved)
    with pytest.raises(DatasetError, match="none beside the corrected masks") as error:
        ingest([moved], bids.root)
    assert "--ranking" in error.value.hint
    assert len(ingest([moved], bids.root, options(ranking=bids.ranking)).taken) == len(BARE)


def test_no_mask_at_all(bids):
    for path in bids.to_correct.iterdir():
        path.unlink()
    with pytest.raises(DatasetError, match="no NIfTI file"):
        ingest([bids.to_correct], bids.root)


def test_a_broken_record(bids):
    path = bids.ranking / "scores" / f"{A}_T2w.json"
    value = json.loads(path.read_text())
    for broken, word in (
        ({**value, "format": 9}, "format 1"),
        ({k: v for k, v in value.items() if k != "files"}, "files"),
        ({**value, "opinions": "two"}, "opinions"),
    ):
        path.write_text(json.dumps(broken))
        with pytest.raises(DatasetError, match=word):
            ingest([bids.to_correct], bids.root)


def test_a_broken_sidecar(bids):
    correct(bids.ranking, A)
    one = [bids.file(A, "cord"), bids.file(A, "lesion")]
    ingest(one, bids.root, options())
    path = sidecar(bids.label(A, "cord"))
    value = json.loads(path.read_text())
    del value["ActiveLearning"]["Phase"]
    path.write_text(json.dumps(value))
    with pytest.raises(DatasetError, match="another form of ActiveLearning"):
        ingest(one, bids.root, options())


class TestNnunet:
    @pytest.fixture
    def round(self, tmp_path):
        """An nnU-Net dataset, and a ranking of scans that lie elsewhere."""
        root = write_nnunet(tmp_path / "Dataset001")
        for subject in BARE:
            save(tmp_path / "bare" / f"{subject}_0000.nii.gz", truth(subject)[0])
        folder = write_ranking(tmp_path / "round", lambda s: tmp_path / "bare" / f"{s}_0000.nii.gz")
        for subject in BARE:
            for region, mask in zip(("cord", "lesion"), truth(subject)[1:], strict=True):
                save(folder / "to_correct" / f"{subject}_label-{region}_mask.nii.gz", mask)
        return root, folder

    def test_scan_and_label_map_join(self, round):
        root, folder = round
        found = ingest([folder], root, options())
        assert len(found.taken) == len(BARE)
        dataset = data.discover(root)
        assert len(dataset.cases) == len(BY_HAND) + len(BARE)
        assert dataset.notes == ()  # numTraining followed
        _, cord, lesion = truth(A)
        case = data.load_case(dataset.case(A), dataset)
        np.testing.assert_array_equal(case.targets, np.stack([cord, lesion], axis=-1))
        told = origin(root / "labelsTr" / f"{A}.nii.gz")
        assert told.dice.keys() == {"cord", "lesion"}
        assert told.correction.keys() == {f"{A}_label-{r}_mask.nii.gz" for r in ("cord", "lesion")}
        assert told.prediction == f"predictionsTr/phase-1/{A}.nii.gz"
        expected = np.where(predicted(A)[1], 2, predicted(A)[0])
        np.testing.assert_array_equal(values(root / told.prediction), expected)

    def test_a_replaced_label_map_is_kept(self, round):
        root, folder = round
        save(root / "imagesTr" / f"{A}_0000.nii.gz", truth(A)[0])
        old = save(root / "labelsTr" / f"{A}.nii.gz", truth(A)[1]).read_bytes()
        paths = [folder / "to_correct" / f"{A}_label-{r}_mask.nii.gz" for r in ("cord", "lesion")]
        refused(ingest(paths, root, options()), "is there already", "--replace")
        taken = ingest(paths, root, options(replace=True)).taken[0]
        assert taken.replaced[0].read_bytes() == old
        assert data.discover(root).case(A).labels.read_bytes() != old

    def test_people_of_the_test_set_stay_out(self, round):
        root, folder = round
        save(root / "imagesTs" / f"{A}_ses-2_0000.nii.gz", truth(A)[0])
        found = ingest([folder], root, options())
        assert [item.where for item in found.refused] == [A]
        assert "test set" in str(found.refused[0].error)
        assert len(found.taken) == len(BARE) - 1

    def test_other_regions(self, round):
        root, folder = round
        about = json.loads((root / "dataset.json").read_text())
        about["labels"] = {"background": 0, "cord": 1, "gm": 2}
        (root / "dataset.json").write_text(json.dumps(about))
        with pytest.raises(DatasetError, match=r"declares cord, gm; the model finds cord, lesion"):
            ingest([folder], root, options())

    def test_another_kind_of_file(self, round):
        root, folder = round
        about = json.loads((root / "dataset.json").read_text())
        (root / "dataset.json").write_text(json.dumps({**about, "file_ending": ".nii"}))
        found = ingest([folder], root, options())
        assert "expected .nii files in imagesTr" in str(found.refused[0].error)

    def test_regions_with_values_of_their_own(self, round):
        """The dataset's values are written, not the model's."""
        root, folder = round
        about = json.loads((root / "dataset.json").read_text())
        about["labels"] = {"background": 0, "lesion": 1, "cord": [1, 2]}
        about["regions_class_order"] = [1, 2]
        (root / "dataset.json").write_text(json.dumps(about))
        with pytest.raises(DatasetError, match="hides"):
            ingest([folder], root, options())
        about["labels"] = {"background": 0, "cord": [1, 2], "lesion": 1}
        about["regions_class_order"] = [2, 1]
        (root / "dataset.json").write_text(json.dumps(about))
        ingest([folder], root, options())
        _, cord, lesion = truth(A)
        written = values(root / "labelsTr" / f"{A}.nii.gz")
        np.testing.assert_array_equal(written, np.where(lesion, 1, 2 * cord))
