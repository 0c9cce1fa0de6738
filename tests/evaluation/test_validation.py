"""Validation of a run: who segments what, on which grid, and nnU-Net's numbers about it."""

import json
import shutil

import nibabel as nib
import numpy as np
import pytest

from score_jax import api
from score_jax.arrays.regions import Region
from score_jax.data import Split
from score_jax.errors import ConfigError, DatasetError
from score_jax.evaluation.label_summary import case_entry, labels_of, summarise
from score_jax.inference import Predictor

from .runs import make_run, validated_run, write_plan

SHAPE = (12, 10, 9)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Three scans in three orientations; the last one has no lesion."""
    folder = tmp_path_factory.mktemp("data")
    lines = ["case\timage\tcord\tlesion"]
    rng = np.random.default_rng(4)
    for number, signs in enumerate(((1, 1, 1), (-1, 1, -1), (1, -1, 1))):
        shape = SHAPE[number:] + SHAPE[:number]
        image = rng.normal(size=shape).astype(np.float32)
        cord, lesion = np.zeros((2, *shape), bool)
        cord[3:8, 2:7], lesion[4:6, 3:6, 2:5] = True, number < 2
        names = [f"c{number}_{part}.nii.gz" for part in ("image", "cord", "lesion")]
        affine = np.diag([*(s * mm for s, mm in zip(signs, (1.0, 1.2, 1.5), strict=True)), 1])
        for name, array in zip(names, (image, cord, lesion), strict=True):
            kind = np.float32 if array.dtype == np.float32 else np.uint8
            nib.save(nib.Nifti1Image(array.astype(kind), affine), folder / name)
        lines.append("\t".join([f"c{number}", *names]))
    (folder / "dataset.tsv").write_text("\n".join(lines) + "\n")
    return folder / "dataset.tsv"


def voxels(path):
    return np.asarray(nib.load(path).dataobj)


@pytest.fixture(scope="module")
def folds(dataset, tmp_path_factory):
    """A run of two members, each with a fold; validated with probabilities."""
    run = tmp_path_factory.mktemp("run") / "folds"
    make_run(run, [(["c2"], ["c0", "c1"]), (["c0", "c1"], ["c2"])], members=2)
    seen = []
    found = api.validate(
        run, dataset, soft=True, arguments=["score-jax", "validate", "/far/run"],
        on_case=lambda *what: seen.append(what),
    )  # fmt: skip
    return run, found, seen


def test_each_case_is_segmented_by_the_fold_that_held_it_out(folds, dataset):
    run, found, seen = folds
    assert found.cases == ("c0", "c1", "c2")
    assert seen == [(0, 3, "c0"), (1, 3, "c1"), (2, 3, "c2")]
    model = api.load_network(run)
    for case, member in (("c0", 0), ("c1", 0), ("c2", 1)):
        alone = Predictor(model.spec, [model.members[member]])
        want = alone.predict(dataset.parent / f"{case}_image.nii.gz", soft=True)
        np.testing.assert_array_equal(voxels(found.folder / f"{case}_dseg.nii.gz"), want.labels)
        lesion = found.folder / f"{case}_label-lesion_mask.nii.gz"
        np.testing.assert_array_equal(voxels(lesion), want.masks["lesion"])
        soft = found.folder / f"{case}_label-cord_probseg.nii.gz"
        np.testing.assert_allclose(voxels(soft), want.probabilities["cord"], atol=1e-6)
        truth = nib.load(dataset.parent / f"{case}_cord.nii.gz")
        np.testing.assert_array_equal(nib.load(lesion).affine, truth.affine)
        about = json.loads((found.folder / f"{case}_dseg.json").read_text())
        assert about["Members"] == [member]
        assert about["Sources"] == [f"{case}_image.nii.gz"]
        assert about["GeneratedBy"][0]["Command"] == "score-jax validate run"


def test_the_summary_is_nnunets(folds, dataset):
    _, found, _ = folds
    summary = json.loads((found.folder / "summary.json").read_text())
    assert list(summary) == ["metric_per_case", "mean", "foreground_mean", "score_jax"]
    entries = []
    for case in found.cases:
        cord, lesion = (voxels(dataset.parent / f"{case}_{n}.nii.gz") for n in ("cord", "lesion"))
        reference = np.where(lesion, 2, np.where(cord, 1, 0))
        predicted = voxels(found.folder / f"{case}_dseg.nii.gz")
        name = " ".join(str(dataset.parent / f"{case}_{n}.nii.gz") for n in ("cord", "lesion"))
        prediction = f"validation/{case}_dseg.nii.gz"
        entries.append(case_entry(prediction, name, predicted, reference, [(1, 2), 2]))
    want = summarise(entries)
    # the case without a lesion, where some was predicted: 0, not NaN
    assert want["metric_per_case"][2]["metrics"]["2"]["Dice"] == 0.0
    for key in ("metric_per_case", "mean", "foreground_mean"):
        assert summary[key] == json.loads(json.dumps(want[key]).replace("NaN", "null"))
    assert found.dice == {
        "cord": want["mean"]["(1, 2)"]["Dice"],
        "lesion": want["mean"]["2"]["Dice"],
    }
    about = summary["score_jax"]
    assert about["cases"] == ["c0", "c1", "c2"]
    assert about["regions"] == {"cord": "(1, 2)", "lesion": "2"}
    assert (about["soft"], about["tta"], len(about["weights_sha256"])) == (True, False, 2)
    assert about["dataset"] == str(dataset)


def test_members_that_share_a_split_are_averaged(dataset, tmp_path):
    run = make_run(tmp_path / "seeds", [(["c0", "c2"], ["c1"])], members=2, seed=5)
    found = api.validate(run, dataset)
    model = api.load_network(run)
    want = model.predict(dataset.parent / "c1_image.nii.gz")
    np.testing.assert_array_equal(voxels(found.folder / "c1_dseg.nii.gz"), want.labels)
    alone = Predictor(model.spec, model.members[:1]).predict(dataset.parent / "c1_image.nii.gz")
    assert (alone.labels != want.labels).any()
    assert not list(found.folder.glob("*probseg*"))


def test_flips_are_averaged_when_asked(dataset, tmp_path):
    run = make_run(tmp_path / "run", [(["c0", "c2"], ["c1"])], seed=7)
    found = api.validate(run, dataset, soft=True, tta=True)
    image = dataset.parent / "c1_image.nii.gz"
    want = api.load_network(run).predict(image, soft=True, tta=True).probabilities["cord"]
    got = voxels(found.folder / "c1_label-cord_probseg.nii.gz")
    np.testing.assert_allclose(got, want, atol=1e-6)
    plain = api.load_network(run).predict(image, soft=True).probabilities["cord"]
    assert np.abs(got - plain).max() > 1e-3
    assert json.loads((found.folder / "summary.json").read_text())["score_jax"]["tta"]


def test_the_second_time_the_dataset_is_known(folds, dataset):
    run, found, _ = folds
    before = json.loads((found.folder / "summary.json").read_text())
    again = api.validate(run, soft=True)
    assert again == found
    assert json.loads((found.folder / "summary.json").read_text()) == before


def test_rules_of_the_run_are_not_applied_to_what_they_are_found_on(folds, tmp_path):
    run, found, _ = folds
    raw = voxels(found.folder / "c0_dseg.nii.gz")
    rule = {"kind": "min_size", "regions": ["cord"], "min_mm3": 1e6}
    (run / "postprocessing.json").write_text(json.dumps({"format": 1, "rules": [rule]}))
    try:
        api.validate(run, soft=True)
        np.testing.assert_array_equal(voxels(found.folder / "c0_dseg.nii.gz"), raw)
    finally:
        (run / "postprocessing.json").unlink()


def test_masks_of_two_validations_have_no_summary(dataset, tmp_path):
    run = make_run(tmp_path / "run", [(["c0"], ["c1", "c2"])])
    api.validate(run, dataset)

    def interrupt(number, total, case):
        assert (number, total, case) == (0, 2, "c1")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        api.validate(run, dataset, on_case=interrupt)
    assert not (run / "validation/summary.json").exists()
    assert (run / "validation/c1_dseg.nii.gz").exists()


def test_a_run_that_holds_nothing_out_leaves_nothing(dataset, tmp_path):
    run = make_run(tmp_path / "all", [(["c0", "c1", "c2"], [])])
    found = api.validate(run, dataset)
    assert found.cases == ()
    assert not found.dice
    assert not found.folder.exists()


@pytest.fixture
def half_ignored(tmp_path):
    """An nnU-Net dataset whose label maps ignore the upper half of the image."""
    root = tmp_path / "Dataset001"
    rng = np.random.default_rng(8)
    for case in ("a", "b"):
        labels = rng.integers(0, 3, SHAPE).astype(np.uint8)
        labels[..., 4:] = 3
        for folder, name, array in (
            ("imagesTr", f"{case}_0000", rng.normal(size=SHAPE).astype(np.float32)),
            ("labelsTr", case, labels),
        ):
            (root / folder).mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(array, np.eye(4)), root / folder / f"{name}.nii.gz")
    labels = {"background": 0, "cord": [1, 2], "lesion": 2, "ignore": 3}
    about = {"channel_names": {"0": "T2w"}, "labels": labels, "regions_class_order": [1, 2]}
    about |= {"numTraining": 2, "file_ending": ".nii.gz"}
    (root / "dataset.json").write_text(json.dumps(about))
    return root


def test_the_ignore_label_is_ignored_to_the_end(half_ignored, tmp_path):
    run = make_run(tmp_path / "run", [(["a"], ["b"])])
    found = api.validate(run, half_ignored)
    (case,) = json.loads((found.folder / "summary.json").read_text())["metric_per_case"]
    scores = case["metrics"]["(1, 2)"]
    kept = SHAPE[0] * SHAPE[1] * 4
    assert scores["TP"] + scores["FP"] + scores["FN"] + scores["TN"] == kept
    assert case["reference_file"] == str(half_ignored / "labelsTr/b.nii.gz")
    # something is found in the ignored half, and no search may see it
    dataset, _ = api.held_out.validated_cases(run, None)
    held = api.held_out.read_case(run, "b", dataset)
    assert voxels(found.folder / "b_dseg.nii.gz")[..., 4:].any()
    assert not held.masks[..., 4:, :].any()
    assert held.masks[..., :4, :].any()
    assert held.ignored[..., 4:].all()
    mean = json.loads((found.folder / "summary.json").read_text())["foreground_mean"]["Dice"]
    assert api.compare([run]).best.mean == pytest.approx(mean)
    api.validate(run, soft=True)
    twin = shutil.copytree(run, tmp_path / "twin")
    assert [c.mean for c in api.compare([run, twin]).candidates] == [pytest.approx(mean)] * 3


def test_ignored_voxels_do_not_count():
    predicted, reference = np.array([1, 1, 2, 0]), np.array([1, 0, 2, 3])
    ignored = np.array([False, True, False, True])
    entry = case_entry("p", "r", predicted, reference, [(1, 2)], ignored=ignored)
    scores = entry["metrics"]["(1, 2)"]
    assert (scores["TP"], scores["FP"], scores["FN"], scores["TN"]) == (2, 0, 0, 0)
    assert scores["Dice"] == 1


def test_labels_of_regions_are_values_of_the_written_map():
    regions = (Region("cord", (1, 2), 7), Region("lesion", (2,), 9))
    assert labels_of(regions) == [(7, 9), 9]


def test_holders():
    splits = [Split(("a",), ("b", "c")), Split(("b",), ("a", "c"))]
    assert api.runs.holders(splits, 2, "f") == {"a": [1], "b": [0], "c": [0, 1]}
    assert api.runs.holders(splits[:1], 3, "f") == {"b": [0, 1, 2], "c": [0, 1, 2]}
    with pytest.raises(ConfigError, match="f: got 2 splits for 3 members"):
        api.runs.holders(splits, 3, "f")


def test_what_is_no_run_is_refused(dataset, tmp_path):
    with pytest.raises(ConfigError, match=r"got no config\.toml"):
        api.validate(tmp_path, dataset)
    with pytest.raises(ConfigError, match=r"got no split.json; expected a run folder"):
        api.runs_in(tmp_path)
    run = make_run(tmp_path / "run", [(["c0"], ["c1"])])
    assert api.runs_in(tmp_path) == [run] == api.runs_in(run)
    with pytest.raises(ConfigError, match="says nowhere what it was trained on") as refused:
        api.validate(run)
    assert refused.value.hint == f"score-jax validate {run} --data DATASET"
    (run / "run.json").write_text('{"data": {"dataset": 7}}')
    with pytest.raises(ConfigError, match="says nowhere"):
        api.validate(run)
    (run / "run.json").write_text(json.dumps({"data": {"dataset": str(dataset)}}))
    assert api.validate(run).cases == ("c1",)
    shutil.rmtree(run / "validation")
    (run / "run.json").unlink()
    write_plan(run, [(["c0"], ["c9"])])
    with pytest.raises(DatasetError, match="names 'c9'"):
        api.validate(run, dataset)
    write_plan(run, [(["c0"], ["c1"])], ("data.regions=['cord']",))
    with pytest.raises(DatasetError, match=r"got the regions cord = \[1\] -> 1; expected those of"):
        api.validate(run, dataset)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"score_jax": {"dataset": 3, "cases": ["a"]}}'])
def test_a_damaged_summary_is_refused(dataset, tmp_path, text):
    run = validated_run(tmp_path / "run", dataset, {"c0": "1"})
    (run / "validation/summary.json").write_text(text)
    with pytest.raises(ConfigError, match=r"summary.json: got"):
        api.find_postprocessing([run])


def test_names_fit_for_files():
    assert api.held_out.file_names(["a/b", "c"]) == {"a/b": "a-b.nii.gz", "c": "c.nii.gz"}
    with pytest.raises(DatasetError, match="cases 'a/b' and 'a-b': both would be written as"):
        api.held_out.file_names(["a/b", "a-b"])
