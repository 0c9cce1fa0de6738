"""Ranking scans on disk: order, files, going on, and work that must not be lost."""

import json
import shutil

import nibabel as nib
import numpy as np
import pytest

from score_jax import data
from score_jax.active import RankOptions, rank
from score_jax.active.asking import Committee
from score_jax.active.records import read_records
from score_jax.arrays.regions import Region
from score_jax.errors import ConfigError, DatasetError
from score_jax.imaging import load, read_table
from score_jax.inference import Predictor

from .conftest import AFFINE, BARE, BY_HAND, mask_name, save, truth, write_nnunet
from .test_asking import network

A, B, C = BARE


@pytest.fixture(scope="module")
def model():
    return network(members=2)


@pytest.fixture(scope="module")
def ranked(made, model, tmp_path_factory):
    out = tmp_path_factory.mktemp("ranked")
    return rank(made / "bids", model, out / "out", RankOptions(top=2)), out / "out"


@pytest.fixture
def out(ranked, tmp_path):
    """An own copy of the ranking."""
    shutil.copytree(ranked[1], tmp_path / "out")
    return tmp_path / "out"


@pytest.fixture
def quiet(monkeypatch):
    """No network is run: a call is a failure."""

    def never(*arguments, **more):
        raise AssertionError("a scan was segmented again")

    monkeypatch.setattr(Committee, "ask", never)


def files(folder):
    return {p.name for p in folder.iterdir()}


def test_only_scans_without_labels(ranked):
    found, _ = ranked
    assert sorted(item.record.case for item in found.ranked) == [f"{s}_T2w" for s in BARE]
    assert f"{len(BY_HAND)} scans have labels and are left out" in found.notes


def test_the_order_is_that_of_the_score(ranked):
    found, _ = ranked
    scores = [item.score for item in found.ranked]
    assert scores == sorted(scores, reverse=True)
    assert [item.place for item in found.ranked] == [1, 2, 3]
    expected = np.zeros(3)
    for weight, value in (
        (2, [r.record.means["disagreement"] for r in found.ranked]),
        (1, [r.record.means["entropy"] for r in found.ranked]),
        (1, [r.record.lesion_mm3 for r in found.ranked]),
    ):
        places = [(sum(v < w for v in value) + sum(v == w for v in value) / 2) / 3 for w in value]
        expected += weight / 4 * np.array(places)
    np.testing.assert_allclose(scores, expected)


def test_measures_are_the_committees(ranked, made, model):
    found, _ = ranked
    record = next(i.record for i in found.ranked if i.record.subject == A)
    segmented, opinions = Committee(model).ask(load(made / f"bids/{A}/anat/{A}_T2w.nii.gz"))
    assert record.disagreement == {
        "cord": opinions.disagreement(0),
        "lesion": opinions.disagreement(1),
    }
    assert record.entropy["lesion"] == opinions.entropy(1)
    assert record.mutual_information["cord"] == opinions.mutual_information(0)
    assert record.volumes_mm3["lesion"] == pytest.approx(1.5 * segmented.masks["lesion"].sum())
    assert record.opinions == 2
    assert record.weights_sha256 == tuple(model.sha256)


def test_files(ranked, made, model):
    found, out = ranked
    first = [item.record.subject for item in found.ranked[:2]]
    handed = {mask_name(s, region) for s in first for region in ("cord", "lesion")}
    assert files(out / "to_correct") == handed | {n.replace(".nii.gz", ".json") for n in handed}
    assert files(out / "pictures") == {f"{s}_T2w.png" for s in first}
    assert (out / "pictures" / f"{first[0]}_T2w.png").read_bytes()[:4] == b"\x89PNG"
    every = {mask_name(s, region) for s in BARE for region in ("cord", "lesion")}
    assert every <= files(out / "predictions")
    assert f"{A}_desc-T2w_dseg.nii.gz" in files(out / "predictions")
    path = made / f"bids/{first[0]}/anat/{first[0]}_T2w.nii.gz"
    expected = model.predict(path).masks["lesion"]
    written = nib.load(out / "to_correct" / mask_name(first[0], "lesion"))
    np.testing.assert_array_equal(np.asarray(written.dataobj) > 0, expected)
    np.testing.assert_array_equal(written.affine, AFFINE)
    told = json.loads((out / "predictions" / f"{first[0]}_desc-T2w_dseg.json").read_text())
    assert told["Sources"] == [path.name]


def test_the_list(ranked, made):
    found, out = ranked
    rows = read_table(out / "ranking.tsv")
    assert [row["case"] for row in rows] == [item.record.case for item in found.ranked]
    assert [row["place"] for row in rows] == ["1", "2", "3"]
    assert float(rows[0]["score"]) == pytest.approx(found.ranked[0].score, abs=1e-6)
    assert rows[0]["image"] == str(
        made / f"bids/{rows[0]['subject']}/anat/{rows[0]['case']}.nii.gz"
    )
    assert rows[2]["to_correct"] is None
    assert mask_name(rows[0]["subject"], "cord") in rows[0]["to_correct"].split()
    value = json.loads((out / "ranking.json").read_text())
    assert [case["case"] for case in value["Cases"]] == [row["case"] for row in rows]
    assert value["Weights"] == {"disagreement": 2, "entropy": 1, "size": 1}
    assert value["Unscored"] == []


def test_records_come_back_as_they_went(ranked):
    found, out = ranked
    assert read_records(out) == sorted(
        (item.record for item in found.ranked), key=lambda record: record.case
    )


def test_again_runs_no_network(ranked, made, model, out, quiet):
    known = []
    again = rank(
        made / "bids", model, out, RankOptions(top=2),
        on_case=lambda number, total, case, scored: known.append(scored),
    )  # fmt: skip
    assert known == [True] * 3
    assert again.ranked == ranked[0].ranked
    assert (out / "ranking.tsv").read_bytes() == (ranked[1] / "ranking.tsv").read_bytes()


def test_one_lost_score_is_one_run(made, model, out):
    (out / "scores" / f"{B}_T2w.json").unlink()
    (out / "predictions" / mask_name(C, "cord")).unlink()
    known = {}
    rank(
        made / "bids", model, out, RankOptions(top=0),
        on_case=lambda n, t, case, scored: known.update({case: scored}),
    )  # fmt: skip
    assert known == {f"{A}_T2w": True, f"{B}_T2w": False, f"{C}_T2w": False}
    assert (out / "predictions" / mask_name(C, "cord")).exists()


@pytest.mark.parametrize("changed", ["weights", "tta", "rules", "image"])
def test_what_changes_the_numbers_runs_again(made, model, out, changed, tmp_path, monkeypatch):
    from score_jax.arrays.cleaning import Rule
    from score_jax.config.postprocessing import Postprocessing

    root, asked, options = made / "bids", model, RankOptions(top=0, tta=changed == "tta")
    if changed == "weights":
        asked = Predictor(model.spec, list(model.members[:1]), "other")
    if changed == "rules":
        rules = Postprocessing(rules=(Rule(kind="largest", regions=("cord",)),))
        asked = Predictor(model.spec, model.members, model.name, rules)
    if changed == "image":
        root = shutil.copytree(made / "bids", tmp_path / "bids")
        save(root / A / "anat" / f"{A}_T2w.nii.gz", truth(A)[0] + np.float32(1))
    known = {}
    rank(root, asked, out, options, on_case=lambda n, t, case, was: known.update({case: was}))
    expected = {f"{s}_T2w": changed == "image" and s != A for s in BARE}
    assert known == expected


def test_corrections_stay(made, model, out, ranked, quiet):
    subject = ranked[0].ranked[0].record.subject
    mine = save(out / "to_correct" / mask_name(subject, "cord"), truth(subject)[1]).read_bytes()
    rank(made / "bids", model, out, RankOptions(top=2))
    assert (out / "to_correct" / mask_name(subject, "cord")).read_bytes() == mine
    rank(made / "bids", model, out, RankOptions(top=0))  # no longer on the list, still his work
    assert (out / "to_correct" / mask_name(subject, "cord")).read_bytes() == mine
    assert (out / "to_correct" / mask_name(subject, "lesion")).exists()  # half a scan is none
    other = ranked[0].ranked[1].record.subject
    assert not (out / "to_correct" / mask_name(other, "lesion")).exists()


def test_another_model_does_not_part_a_correction_from_its_prediction(made, model, out, ranked):
    subject = ranked[0].ranked[0].record.subject
    save(out / "to_correct" / mask_name(subject, "cord"), truth(subject)[1])
    before = (out / "predictions" / mask_name(subject, "cord")).read_bytes()
    other = Predictor(model.spec, list(model.members[1:]), "other")
    found = rank(made / "bids", other, out, RankOptions(top=0))
    assert [item.case for item in found.unscored] == [f"{subject}_T2w"]
    assert "another model found" in str(found.unscored[0].error)
    assert "score-jax active ingest" in str(found.unscored[0].error)
    assert (out / "predictions" / mask_name(subject, "cord")).read_bytes() == before
    assert len(found.ranked) == 2


def test_work_in_the_wrong_folder_is_not_lost(made, model, out):
    mine = save(out / "predictions" / mask_name(A, "cord"), truth(A)[1]).read_bytes()
    found = rank(made / "bids", model, out, RankOptions(top=0))
    assert [item.case for item in found.unscored] == [f"{A}_T2w"]
    assert "move your correction to" in str(found.unscored[0].error)
    assert (out / "predictions" / mask_name(A, "cord")).read_bytes() == mine


def test_a_shorter_list_takes_copies_back(made, model, out, ranked, quiet):
    rank(made / "bids", model, out, RankOptions(top=1))
    first = ranked[0].ranked[0].record.subject
    assert {n for n in files(out / "to_correct") if n.endswith(".gz")} == {
        mask_name(first, "cord"),
        mask_name(first, "lesion"),
    }
    assert files(out / "pictures") == {f"{first}_T2w.png"}


def test_label_maps_instead_of_masks(made, model, out, quiet):
    rank(made / "bids", model, out, RankOptions(top=3, label_map=True))
    assert {n for n in files(out / "to_correct") if n.endswith(".gz")} == {
        f"{s}_desc-T2w_dseg.nii.gz" for s in BARE
    }


def test_a_bad_scan_is_reported_and_the_rest_go_on(bids, model, tmp_path):
    path = bids.root / B / "anat" / f"{B}_T2w.nii.gz"
    path.write_bytes(path.read_bytes()[:2000])
    found = rank(bids.root, model, tmp_path / "out", RankOptions(top=0))
    assert [item.image for item in found.unscored] == [path]
    assert len(found.ranked) == 2
    value = json.loads((tmp_path / "out" / "ranking.json").read_text())
    assert value["Unscored"][0]["case"] == f"{B}_T2w"


def test_all_scans_bad(tmp_path, model):
    save(tmp_path / "bare" / "one.nii.gz", np.zeros((4, 5, 6), np.float32))
    found = rank(tmp_path / "bare", model, tmp_path / "out")
    assert found.ranked == ()
    assert "expected an image with contrast" in str(found.unscored[0].error)
    assert read_table(tmp_path / "out" / "ranking.tsv") == []


def test_equal_scans_by_name(tmp_path, model):
    for name in ("b", "a", "c"):
        save(tmp_path / "bare" / f"{name}.nii.gz", truth(A)[0])
    found = rank(tmp_path / "bare", model, tmp_path / "out", RankOptions(top=0))
    assert [item.record.case for item in found.ranked] == ["a", "b", "c"]
    assert {item.score for item in found.ranked} == {0.5}


def test_one_network_says_what_it_cannot_know(made, model, tmp_path):
    alone = Predictor(model.spec, list(model.members[:1]), "alone")
    found = rank(made / "bids", alone, tmp_path / "out", RankOptions(top=0))
    assert any("nobody to disagree with" in note for note in found.notes)
    assert all(np.isnan(item.record.means["disagreement"]) for item in found.ranked)
    rows = read_table(tmp_path / "out" / "ranking.tsv")
    assert rows[0]["disagreement"] is None
    assert read_records(tmp_path / "out")[0].opinions == 1


def test_a_model_without_lesions(tmp_path, model):
    one = (Region("cord", (1,), 1),)
    cord = network(members=2, regions=one)
    save(tmp_path / "bare" / "x.nii.gz", truth(A)[0])
    found = rank(tmp_path / "bare", cord, tmp_path / "out")
    record = found.ranked[0].record
    assert record.lesions is None
    assert np.isnan(record.lesion_mm3)
    assert any("no region 'lesion'" in note for note in found.notes)
    assert {n for n in files(tmp_path / "out/to_correct")} == {
        "x_label-cord_mask.nii.gz",
        "x_label-cord_mask.json",
    }


def test_lesions_are_counted_with_18_neighbours(made, model, tmp_path, monkeypatch):
    real = Committee.ask

    def two_that_touch_at_a_corner(self, volume, **more):
        found, opinions = real(self, volume, **more)
        for region in found.masks:
            found.masks[region][...] = False
        found.masks["lesion"][3, 3, 3] = found.masks["lesion"][4, 4, 3] = True
        found.masks["lesion"][5, 5, 4] = True
        return found, opinions

    monkeypatch.setattr(Committee, "ask", two_that_touch_at_a_corner)
    found = rank(made / "bids", model, tmp_path / "out", RankOptions(top=0))
    assert [item.record.lesions for item in found.ranked] == [2, 2, 2]


def test_test_scans_are_left_out(tmp_path, model):
    root = write_nnunet(tmp_path / "Dataset001")
    save(root / "imagesTr" / f"{A}_0000.nii.gz", truth(A)[0])
    save(root / "imagesTs" / f"{B}_0000.nii.gz", truth(B)[0])
    found = rank(root, model, tmp_path / "out", RankOptions(top=1))
    assert [item.record.case for item in found.ranked] == [A]
    assert "1 test scans (imagesTs) are left out" in found.notes


def test_nothing_left_to_rank(bids, model, tmp_path):
    for subject in BARE:
        shutil.rmtree(bids.root / subject)
    with pytest.raises(DatasetError, match="all with labels") as error:
        rank(bids.root, model, tmp_path / "out")
    assert "nobody has segmented" in error.value.hint
    assert len(data.discover(bids.root).cases) == len(BY_HAND)


@pytest.mark.parametrize(
    "given",
    [
        {"top": -1},
        {"weights": {"disagreement": 1.0}},
        {"weights": {"disagreement": 0.0, "entropy": 0.0, "size": 0.0}},
        {"weights": {"disagreement": 1.0, "entropy": -1.0, "size": 0.0}},
    ],
)
def test_options(given):
    with pytest.raises(ConfigError, match=next(iter(given))):
        RankOptions(**given)
