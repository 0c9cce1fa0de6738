"""Two phases of SCIseg's active learning, typed as a user types them; the commands' refusals."""

import json

import nibabel as nib
import numpy as np
import pytest
from scipy.stats import wilcoxon

from score_jax import data, morphometry
from score_jax.api import load_network
from score_jax.inference import Predictor
from tests.commands import refused
from tests.phantoms import scan

MEASURES = ("volume [mm3]", "length [mm]", "max_axial_damage_ratio []")


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.eye(4)), path)


def truth(subject):
    number = int(subject[-2:])
    image, cord, lesion = scan(number, lesion=number % 3 != 2)
    return image, {"cord": cord, "lesion": lesion}


def name(subject, region):
    return f"{subject}_label-{region}_desc-T2w_mask.nii.gz"


def correct(folder):
    """The rater makes every mask handed out the truth."""
    done = []
    for path in sorted(folder.glob("*.nii.gz")):
        subject, region = path.name.split("_label-")
        save(path, truth(subject)[1][region.partition("_")[0]].astype(np.uint8))
        done.append(subject)
    return sorted(set(done))


def measures(folder, subject):
    """The three numbers of masks on disk, without the package's own way to them."""
    masks = [
        np.asarray(nib.load(folder / name(subject, r)).dataobj) > 0 for r in ("cord", "lesion")
    ]
    cord, lesion = masks
    rows = morphometry.lesions(lesion, cord | lesion, affine=np.eye(4))
    columns = [[row[m] for row in rows] for m in MEASURES]
    return [sum(columns[0]), sum(columns[1]), max(columns[2])]


@pytest.mark.slow
def test_two_phases(run, trained, tmp_path):
    """By hand, then two rounds of prediction and correction; every number is computed again."""
    root = tmp_path / "data"
    subjects = [f"sub-{n:02d}" for n in range(10, 17)]
    for subject in subjects:
        image, masks = truth(subject)
        save(root / subject / "anat" / f"{subject}_T2w.nii.gz", image)
        for region in ("cord", "lesion") if subject == subjects[0] else ():
            folder = root / "derivatives" / "labels" / subject / "anat"
            save(folder / name(subject, region), masks[region].astype(np.uint8))
    labels = root / "derivatives" / "labels"
    assert len(data.discover(root).cases) == 1

    # phase 2: the trained network and a disturbed copy disagree
    first = load_network(trained[0].folder)
    shaken = Predictor(first.spec, [_shaken(first.members[0], 0)], "shaken")
    shaken.save(tmp_path / "shaken")
    status, out, err = run(
        "active", "rank", root, "--model", trained[0].folder, "--model", tmp_path / "shaken",
        "--out", tmp_path / "one", "--top", 3, "--json",
    )  # fmt: skip
    assert status == 0, err
    listed = json.loads(out)["Cases"]
    assert len(listed) == 6
    assert any(case["disagreement"] > 0 for case in listed)
    assert "score-jax active ingest" in err
    handed = correct(tmp_path / "one" / "to_correct")
    assert handed == sorted(case["subject"] for case in listed[:3])
    status, out, err = run(
        "active", "ingest", tmp_path / "one" / "to_correct", "--dataset", root, "--rater", "AB",
        "--accept-empty",
    )  # fmt: skip
    assert status == 0, err
    assert out.count("taken in") == 3
    assert len(data.discover(root).cases) == 1 + 3

    # phase 3: another model on what is left
    status, out, err = run(
        "active",
        "rank",
        root,
        "--model",
        tmp_path / "shaken",
        "--out",
        tmp_path / "two",
        "--top",
        9,
    )
    assert status == 0, err
    assert "4 scans have labels and are left out" in err
    assert "nobody to disagree with" in err
    rest = correct(tmp_path / "two" / "to_correct")
    assert sorted([*handed, *rest, subjects[0]]) == subjects
    status, out, err = run(
        "active", "ingest", tmp_path / "two", "--dataset", root, "--accept-empty", "--json"
    )
    assert status == 0, err
    assert [one["phase"] for one in json.loads(out)["taken"]] == [3, 3, 3]
    assert "no --rater was given" in err
    dataset = data.discover(root)
    assert len(dataset.cases) == len(subjects)
    for case in dataset.cases:  # what was taken in is what the rater drew
        loaded = data.load_case(case, dataset)
        expected = truth(case.subject)[1]
        np.testing.assert_array_equal(loaded.targets[..., 0], expected["cord"])
        np.testing.assert_array_equal(loaded.targets[..., 1], expected["lesion"])

    status, out, _ = run("active", "status", root, "--json")
    assert status == 0
    found = json.loads(out)
    assert [phase["scans"] for phase in found["phases"]] == [1, 3, 3]
    assert [phase["raters"] for phase in found["phases"]] == [[], ["AB"], []]
    for phase, people in ((2, handed), (3, rest)):
        before, after = [], []
        for subject in people:
            kept = root / "derivatives" / f"score-jax-phase-{phase - 1}" / subject / "anat"
            before.append(measures(kept, subject))
            after.append(measures(labels / subject / "anat", subject))
        change = np.array(after) - np.array(before)
        for column, measure in enumerate(MEASURES):
            what = f"phase {phase}: predicted -> corrected"
            (got,) = [
                c for c in found["comparisons"] if (c["what"], c["measure"]) == (what, measure)
            ]
            difference = np.round(change[:, column], 9)
            assert got["n"] == 3
            assert got["zeros"] == np.count_nonzero(difference == 0)
            assert got["mean_difference"] == pytest.approx(difference.mean())
            assert got["median_after"] == pytest.approx(np.median(np.array(after)[:, column]))
            if difference.any():
                assert got["p"] == pytest.approx(wilcoxon(difference).pvalue)
            else:
                assert got["p"] is None

    status, out, _ = run("active", "status", root)
    assert status == 0
    assert "predicted -> corrected" in out
    assert "volume mm3" in out


def _shaken(params, seed):
    import jax

    leaves, tree = jax.tree.flatten(params)
    rng = np.random.default_rng(seed)
    noise = [0.1 * np.std(leaf) * rng.normal(size=leaf.shape) for leaf in leaves]
    return jax.tree.unflatten(
        tree, [leaf + extra.astype(np.float32) for leaf, extra in zip(leaves, noise, strict=True)]
    )


def test_help(run):
    assert "rank" in run("active", "--help")[1]
    for command in ("rank", "ingest", "status"):
        status, out, _ = run("active", command, "--help")
        assert status == 0
        assert "Usage" in out


def test_ingest_lists_what_is_bad_and_leaves_with_2(run, bids):
    from .conftest import BARE
    from .conftest import correct as correct_round

    correct_round(bids.ranking, BARE[0])
    status, out, err = run("active", "ingest", bids.to_correct, "--dataset", bids.root)
    assert status == 2
    assert out.count("taken in") == 1
    lines = [line for line in err.splitlines() if line.startswith("score-jax: not taken in: ")]
    assert [any(s in line for line in lines) for s in BARE] == [False, True, True]
    assert all("--accept-unchanged" in line for line in lines)
    assert "1 scans taken in, 2 refused" in err
    assert "score-jax train" in err
    status, out, err = run("active", "ingest", bids.file(BARE[0], "cord"), "--dataset", bids.root)
    assert status == 2
    assert "of cord alone" in err


def test_a_second_time_says_so(run, bids):
    from .conftest import correct as correct_round

    correct_round(bids.ranking)
    words = ("active", "ingest", bids.ranking, "--dataset", bids.root, "--rater", "AB")
    assert run(*words)[0] == 0
    status, out, err = run(*words)
    assert status == 0
    assert out.count("was in already") == 3
    assert "Next:" not in err


def test_kept_masks_and_warnings_are_told(run, bids):
    from .conftest import BARE, predicted
    from .conftest import correct as correct_round
    from .conftest import save as save_on_grid

    subject = BARE[0]
    correct_round(bids.ranking, subject)
    save_on_grid(bids.label(subject, "cord"), predicted(subject)[0])
    lesion = np.asarray(nib.load(bids.file(subject, "lesion")).dataobj).copy()
    lesion[0, 0, 0] = 1
    save_on_grid(bids.file(subject, "lesion"), lesion)
    paths = [bids.file(subject, region) for region in ("cord", "lesion")]
    status, _, err = run("active", "ingest", *paths, "--dataset", bids.root, "--replace")
    assert status == 0
    assert "lies outside the cord" in err
    assert "kept the mask that was there, " in err


def test_status_before_anything_was_ingested(run, bids):
    status, out, err = run("active", "status", bids.root)
    assert status == 0
    assert "by hand" in out
    assert "3 scans have no masks yet" in err
    assert "Nothing to compare yet" in err


def test_refusals(run, bids, tmp_path, dataset):
    rank = ("active", "rank", bids.root, "--out", tmp_path / "out")
    refused(run(*rank, "--model", "nothing"), "'nothing'", "no such folder")
    refused(run(*rank, "--model", "x", "--weights", "1,2"), "'1,2'", "2,1,1")
    refused(run(*rank, "--model", "x", "--weights", "0,0,0"), "not all 0")
    ingest = ("active", "ingest", bids.to_correct, "--dataset")
    refused(run(*ingest, tmp_path / "nothing"), "no such file or folder")
    refused(run(*ingest, dataset), "got a table", "BIDS or nnU-Net")
    refused(run(*ingest, bids.root, "--phase", 1), "drawn by hand")
    refused(run(*ingest, bids.root, "--date", "today"), "YYYY-MM-DD")
    refused(run(*ingest, bids.root, "--ranking", tmp_path), "--out folder")
    refused(run("active", "ingest", tmp_path / "x", "--dataset", bids.root), "no such file")
    status = ("active", "status")
    refused(run(*status, tmp_path / "nothing"), "no such file or folder")
    refused(run(*status, bids.root, "--predictions", "masks"), "PHASE=FOLDER")
    refused(run(*status, bids.root, "--predictions", "1=nowhere"), "no such folder", "predict")
