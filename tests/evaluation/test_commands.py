"""validate, postprocess, ensemble, compare and predict as users meet them."""

import json

import nibabel as nib
import numpy as np
import pytest

import score_jax as sj
from score_jax import api
from score_jax.inference import Ensemble
from tests.commands import refused

from .runs import make_run, row_dataset, validated_run, write_plan

# two cases: in each the lesion of the truth, a false island, and a false lesion inside the cord
TRUTH = {"a": "0122110000", "b": "1122211000"}
FOUND = {"a": "0122110022", "b": "1122212000"}


@pytest.fixture
def dataset(tmp_path):
    return row_dataset(tmp_path / "data", TRUTH)


@pytest.fixture
def scan(tmp_path, rng):
    path = tmp_path / "scan.nii.gz"
    nib.save(nib.Nifti1Image(rng.normal(size=(9, 10, 8)).astype(np.float32), np.eye(4)), path)
    return path


@pytest.mark.parametrize("command", ["validate", "postprocess", "ensemble", "compare"])
def test_help(run, command):
    status, out, _ = run(command, "--help")
    assert status == 0
    assert "Usage" in out


def test_postprocessing_over_folds_is_written_to_each(run, dataset, tmp_path):
    for case in TRUTH:
        validated_run(tmp_path / "cv" / case, dataset, {case: FOUND[case]})
    status, out, err = run("postprocess", tmp_path / "cv", "--dry-run", "--json")
    assert status == 0, err
    found = json.loads(out)
    assert not list(tmp_path.glob("cv/*/postprocessing.json"))
    assert found["rules"] == [
        "only the largest component of cord and lesion",
        "only the largest component of lesion",
    ]
    # a: cord 2*5/(7+5), lesion 2*2/(4+2); b: cord 1, lesion 2*3/(4+3)
    before = (10 / 12 + 1 + 4 / 6 + 6 / 7) / 4
    assert found["tried"][0]["before"] == pytest.approx(before)
    assert found["tried"][0]["after"] == pytest.approx((1 + 1 + 1 + 6 / 7) / 4)
    assert found["scores"]["lesion"]["dice"] == pytest.approx([(4 / 6 + 6 / 7) / 2, 1])
    assert found["scores"]["lesion"]["sensitivity"] == [1, 1]
    assert found["scores"]["lesion"]["false"] == [2, 0]
    status, out, err = run("postprocess", tmp_path / "cv", "--min-size", "lesion")
    assert status == 0, err
    assert "no component of lesion below 1 mm3" in out
    assert "2/2 -> 2/2" in out
    files = [json.loads(p.read_text()) for p in sorted(tmp_path.glob("cv/*/postprocessing.json"))]
    assert len(files) == 2
    assert files[0] == files[1]
    assert files[0]["evidence"]["cases"] == 2
    assert [rule["regions"] for rule in files[0]["rules"]] == [["cord", "lesion"], ["lesion"]]


def test_no_rule_is_an_answer_too(run, dataset, tmp_path):
    folder = validated_run(tmp_path / "run", dataset, TRUTH)
    status, _, err = run("postprocess", folder)
    assert status == 0
    assert "No rule improves" in err
    assert json.loads((folder / "postprocessing.json").read_text())["rules"] == []


def test_postprocess_refuses(run, dataset, tmp_path):
    folder = validated_run(tmp_path / "run", dataset, FOUND)
    refused(run("postprocess", tmp_path / "none"), "expected a run folder")
    refused(run("postprocess", folder, "--min-size", "tail"), "'tail'", "cord, lesion")
    refused(run("postprocess", folder, "--data", tmp_path / "else"), "no such file")
    (folder / "validation/a_label-cord_mask.nii.gz").unlink()
    refused(run("postprocess", folder), "a_label-cord_mask.nii.gz")
    write_plan(tmp_path / "new", [(["a"], ["b"])])
    refused(run("postprocess", tmp_path / "new"), "expected a validated run", "score-jax validate")
    cord_only = ("data.regions=['cord']",)
    other = validated_run(tmp_path / "o", dataset, {"a": TRUTH["a"]}, overrides=cord_only)
    good = validated_run(tmp_path / "good", dataset, FOUND)
    refused(run("postprocess", good, other), "got the regions cord = [1] -> 1")
    assert not (good / "postprocessing.json").exists()


def test_folds_become_members_and_take_their_rules_along(run, tmp_path, scan):
    for fold in range(2):
        make_run(tmp_path / f"cv/fold{fold}", [(["a"], ["b"])], seed=fold)
    rule = {"format": 1, "rules": [{"kind": "min_size", "regions": ["cord"], "min_mm3": 1e5}]}
    for fold in range(2):
        (tmp_path / f"cv/fold{fold}/postprocessing.json").write_text(json.dumps(rule))
    status, out, err = run("ensemble", tmp_path / "cv", "--out", tmp_path / "m", "--json")
    assert status == 0, err
    made = json.loads(out)
    assert (made["kind"], made["networks"]) == ("unet", 2)
    assert made["postprocessing"] == ["no component of cord below 100000 mm3"]
    model = sj.load_model(tmp_path / "m")
    assert model.sha256 == made["sha256"]
    assert "no component of cord below" in run("models", "show", tmp_path / "m")[1]
    alone = [sj.load_model(tmp_path / f"cv/fold{fold}") for fold in range(2)]
    assert model.sha256 == [one.sha256[0] for one in alone]
    image = np.asarray(nib.load(scan).dataobj)
    logits = [one.logits(image, (1.0, 1.0, 1.0)) for one in (model, *alone)]
    np.testing.assert_allclose(logits[0], (logits[1] + logits[2]) / 2, atol=1e-5)

    status, out, err = run("predict", scan, "--model", tmp_path / "m", "--out", tmp_path / "o")
    assert status == 0, err
    assert "Post-processing: no component of cord below 100000 mm3" in err
    cord = tmp_path / "o/scan_label-cord_mask.nii.gz"
    assert not np.asarray(nib.load(cord).dataobj).any()
    about = json.loads((tmp_path / "o/scan_label-cord_mask.json").read_text())
    assert about["Model"]["Postprocessing"] == ["no component of cord below 100000 mm3"]
    words = ["predict", scan, "--model", tmp_path / "m", "--out", tmp_path / "o"]
    status, out, err = run(*words, "--no-postprocessing")
    assert status == 0, err
    assert "Post-processing" not in err
    assert np.asarray(nib.load(cord).dataobj).any()
    about = json.loads((tmp_path / "o/scan_label-cord_mask.json").read_text())
    assert about["Model"]["Postprocessing"] == []

    # rules of folds that do not agree are not taken
    (tmp_path / "cv/fold1/postprocessing.json").unlink()
    words = ["ensemble", tmp_path / "cv", "--out", tmp_path / "m", "--replace"]
    assert run(*words)[0] == 0
    assert sj.load_model(tmp_path / "m").postprocessing.rules == ()
    assert run(*words, "--postprocessing", tmp_path / "cv/fold0/postprocessing.json")[0] == 0
    assert len(sj.load_model(tmp_path / "m").postprocessing.rules) == 1


def test_networks_that_differ_are_mixed_when_asked(run, tmp_path, scan):
    one = make_run(tmp_path / "one", [(["a"], ["b"])])
    two = make_run(tmp_path / "two", [(["a"], ["b"])], seed=3, spacing=(2.0, 1.0, 1.0))
    out = tmp_path / "mix"
    refused(
        run("ensemble", one, two, "--out", out),
        "two: got preprocessing.spacing_mm = (2.0, 1.0, 1.0)",
        "expected the network and grid of one: preprocessing.spacing_mm = (1.5, 1.5, 1.5)",
        "--mixed averages",
    )
    assert not out.exists()
    status, _, err = run("ensemble", one, two, "--out", out, "--mixed")
    assert status == 0, err
    assert "2 networks, their probabilities averaged" in err
    assert isinstance(sj.load_model(out), Ensemble)
    for number, models in enumerate([(out,), (one, two)]):
        words = [word for model in models for word in ("--model", model)]
        status, _, err = run("predict", scan, *words, "--out", tmp_path / f"o{number}")
        assert status == 0, err
    masks = [(tmp_path / f"o{n}/scan_dseg.nii.gz").read_bytes() for n in range(2)]
    assert masks[0] == masks[1]
    about = json.loads((tmp_path / "o1/scan_dseg.json").read_text())
    assert about["Model"]["Kind"] == "ensemble"
    assert about["Model"]["Name"] == "one + two"
    status, text, _ = run("models", "show", out)
    assert status == 0
    assert "ensemble, probabilities averaged" in text
    assert "spacing (mm) 2 x 1 x 1" in text
    shown = json.loads(run("models", "show", out, "--json")[1])
    assert [one["tile"] for one in shown["models"]] == [[8, 8, 8]] * 2
    assert len(shown["sha256"]) == 2
    # what needs one network says so
    refused(run("train", tmp_path / "d", "--init", out, "--out", tmp_path / "r"), "one network")


def test_ensemble_refuses(run, tmp_path):
    one = make_run(tmp_path / "one", [(["a"], ["b"])])
    out = tmp_path / "m"
    refused(run("ensemble", one, "--out", out, "--mixed"), "expected at least two")
    refused(run("ensemble", tmp_path / "none", "--out", out), "no such folder")
    refused(run("ensemble", one, "--out", tmp_path), "exists and is no model folder")
    words = ["ensemble", one, "--out", out, "--postprocessing"]
    (tmp_path / "pp.json").write_text('{"format": 1, "rules": [{"kind": "largest"')
    refused(run(*words, tmp_path / "pp.json"), "pp.json", "not JSON")
    rule = {"format": 1, "rules": [{"kind": "largest", "regions": ["tail"]}]}
    (tmp_path / "pp.json").write_text(json.dumps(rule))
    refused(run(*words, tmp_path / "pp.json"), "pp.json", "'tail'", "score-jax postprocess")
    refused(run(*words, tmp_path / "absent.json"), "absent.json")
    assert not out.exists()
    assert run("ensemble", one, "--out", out)[0] == 0
    refused(run("ensemble", one, "--out", out), "holds a model already", "--replace")


HIGH, LOW = 0.9, 0.2


def configurations(tmp_path, dataset, *, soft=True, **changes):
    """Two that are wrong in different voxels; the mean of their probabilities is right."""
    cord = {case: [float(v != "0") for v in text] for case, text in TRUTH.items()}
    lesion = {case: [float(v == "2") for v in text] for case, text in TRUTH.items()}

    def unsure(values, flipped):
        """Right everywhere with 0.9 or 0.1, but wrong by a little at one voxel."""
        shares = [HIGH if value else 1 - HIGH for value in values]
        shares[flipped] = 0.4 if values[flipped] else 0.6
        return shares

    folders = []
    for name, places in (("two", {"a": 4, "b": 5}), ("three", {"a": 9, "b": 9})):
        shares = {
            case: (unsure(cord[case], at), [HIGH if v else 1 - HIGH for v in lesion[case]])
            for case, at in places.items()
        }
        digits = {
            case: "".join(
                "2" if inner > 0.5 else "1" if outer > 0.5 else "0"
                for outer, inner in zip(*rows, strict=True)
            )
            for case, rows in shares.items()
        }
        folders.append(
            validated_run(
                tmp_path / name, dataset, digits, soft=shares if soft else None,
                overrides=changes.get(name, ()),
            )
        )  # fmt: skip
    return folders


def test_the_ensemble_of_two_wins(run, dataset, tmp_path):
    folders = configurations(tmp_path, dataset)
    out = tmp_path / "best"
    status, text, err = run("compare", *folders, "--out", out, "--json")
    assert status == 0, err
    found = json.loads(text)
    names = [candidate["configurations"] for candidate in found["candidates"]]
    one, two = map(str, folders)
    assert names == [[one], [two], [one, two]]
    # two lacks a cord voxel (a: 2*4/9, b: 2*6/13), three has one too many (2*5/11, 2*7/15)
    dice = [candidate["dice"]["cord"] for candidate in found["candidates"]]
    assert dice == pytest.approx([(8 / 9 + 12 / 13) / 2, (10 / 11 + 14 / 15) / 2, 1.0])
    assert [c["dice"]["lesion"] for c in found["candidates"]] == [1, 1, 1]
    assert found["candidates"][0]["mean_dice"] == pytest.approx((dice[0] + 1) / 2)
    assert found["best"] == [one, two]
    assert found["cases"] == 2
    assert found["postprocessing"]["rules"] == []
    assert found["postprocessing"]["scores"]["cord"]["dice"] == [
        1,
        1,
    ]  # searched on the pair's masks
    command = f"score-jax ensemble {one} {two} --out MODEL --mixed"
    assert found["commands"][0] == command
    assert command in (out / "inference_instructions.txt").read_text()
    assert json.loads((out / "comparison.json").read_text())["best"] == [one, two]
    assert json.loads((out / "postprocessing.json").read_text())["rules"] == []
    status, text, _ = run("compare", *folders)
    assert status == 0
    assert f"{one} + {two}" in text


def test_without_probabilities_single_ones_are_compared(run, dataset, tmp_path):
    folders = configurations(tmp_path, dataset, soft=False)
    out = tmp_path / "best"
    status, text, err = run("compare", *folders, "--out", out)
    assert status == 0, err
    assert f"note: {folders[0]} + {folders[1]}: not judged, {folders[0]} was validated" in err
    assert f"Best on 2 held-out cases: {folders[1]}" in err
    # its false voxel lies apart: the rule found for it goes into the command
    assert "only the largest component of cord and lesion" in text
    assert f"--postprocessing {out / 'postprocessing.json'}" in err
    rules = json.loads((out / "postprocessing.json").read_text())["rules"]
    assert [rule["kind"] for rule in rules] == ["largest"]


def test_of_equals_the_first_wins(dataset, tmp_path):
    one = validated_run(tmp_path / "one", dataset, TRUTH)
    two = validated_run(tmp_path / "two", dataset, TRUTH)
    assert api.compare([two, one]).best.names == (str(two),)
    assert api.compare([one]).commands[0] == f"score-jax ensemble {one} --out MODEL"


@pytest.mark.parametrize("other", [(1.5, 1.5, 1.5), (1.5, 1.5, 2.0)])
def test_the_folds_of_a_configuration_are_judged_together(dataset, tmp_path, other):
    cv = tmp_path / "cv"
    for fold, (case, text) in enumerate(TRUTH.items()):
        spacing = other if fold else (1.5, 1.5, 1.5)
        make_run(cv / f"fold{fold}", [(["a"], ["b"])], spacing=spacing)
        validated_run(cv / f"fold{fold}", dataset, {case: text})
    found = api.compare([cv])
    assert found.cases == 2
    assert found.best.mean == 1
    folds = f"{cv / 'fold0'} {cv / 'fold1'}"
    want = f"{cv} --out MODEL" if other[2] == 1.5 else f"{folds} --out MODEL --mixed"
    assert found.commands[0] == f"score-jax ensemble {want}"


def test_classes_and_regions_are_not_averaged(dataset, tmp_path):
    folders = configurations(tmp_path, dataset, two=("loss.kind=dice_ce",))
    found = api.compare(folders)
    assert len(found.candidates) == 2
    assert "one has classes (softmax), the other regions" in found.notes[0]


def test_compare_refuses(run, dataset, tmp_path):
    one = validated_run(tmp_path / "one", dataset, TRUTH)
    part = validated_run(tmp_path / "part", dataset, {"a": TRUTH["a"]})
    refused(run("compare", one, part), "part: held out other cases than", "'b'")
    for fold in range(2):
        validated_run(tmp_path / f"cv/fold{fold}", dataset, TRUTH)
    refused(run("compare", one, tmp_path / "cv"), "'a' was held out by fold0 and by fold1")
    cord = validated_run(
        tmp_path / "cord", dataset, {"a": TRUTH["a"]}, overrides=("data.regions=['cord']",)
    )
    refused(run("compare", part, cord), "got the regions cord = [1] -> 1")
    refused(run("compare", tmp_path / "none"), "expected a run folder")


def test_validate_says_what_it_wrote(run, tmp_path, rng):
    lines = ["case\timage\tcord\tlesion"]
    for case in "ab":
        image = rng.normal(size=(8, 9, 10)).astype(np.float32)
        for part, array in (("image", image), ("cord", image > 0), ("lesion", image > 1)):
            kind = np.float32 if part == "image" else np.uint8
            file = nib.Nifti1Image(array.astype(kind), np.eye(4))
            nib.save(file, tmp_path / f"{case}_{part}.nii.gz")
        parts = (f"{case}_{part}.nii.gz" for part in ("image", "cord", "lesion"))
        lines.append("\t".join([case, *parts]))
    table = tmp_path / "dataset.tsv"
    table.write_text("\n".join(lines) + "\n")
    for fold, (train, val) in enumerate((("a", "b"), ("b", "a"))):
        make_run(tmp_path / f"cv/fold{fold}", [([train], [val])], seed=fold)
    refused(run("validate", tmp_path / "cv"), "says nowhere", "--data DATASET")
    status, out, err = run("validate", tmp_path / "cv", "--data", table)
    assert status == 0, err
    assert "Dice cord" in out
    assert f"wrote {tmp_path / 'cv/fold1/validation/summary.json'}" in err
    status, out, err = run("validate", tmp_path / "cv/fold0", "--json", "--soft")
    assert status == 0, err
    (one,) = json.loads(out)["runs"]
    assert one["cases"] == ["b"]
    assert set(one["dice"]) == {"cord", "lesion"}
    everything = make_run(tmp_path / "all", [(["a", "b"], [])])
    refused(run("validate", everything, "--data", table), "holds no case out")
