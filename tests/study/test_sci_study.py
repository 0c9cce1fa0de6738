"""The SCI study end to end on straight cords: killed, resumed, read again; tiny networks."""

import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from score_jax.errors import ConfigError, OutputError
from score_jax.imaging import read_json, read_table
from score_jax.study import sci_active, sci_training
from score_jax.study.sci import Told, study_sci
from score_jax.study.sci_options import read_options
from score_jax.study.stages import Stages
from tests.commands import refused
from tests.phantoms import scan

PLANES = {
    "axial": (1.0, 1.0, 2.5), "sagittal": (2.5, 1.0, 1.0), "coronal": (1.0, 2.5, 1.0),
    "isotropic": (1.0, 1.0, 1.0),
}  # fmt: skip
SHORT = {"axial": "ax", "sagittal": "sag", "isotropic": "iso"}
COVARIATES = ("group", "site", "age", "sex", "origin", "level", "implant", "field", "days_to_mri",
              "pinprick_initial", "light_touch_initial", "lems_initial")  # fmt: skip
TINY = (
    "seeds=[7, 42]", "checkpoints=2", "train.steps=4", "train.unet.features=[4, 8]",
    "train.sampling.batch=2", "3d.sampling.patch=[16, 16, 16]", "2d.sampling.patch=[16, 16]",
    "2d.preprocessing.spacing_mm=[1.0, 1.0, 0.0]", "train.optimizer.warmup_steps=1",
    "train.augment.spatial.rotation_probability=0.0",
    "train.augment.spatial.scaling_probability=0.0",
    "train.augment.noise.probability=0.0", "train.augment.gamma.probability=0.0",
)  # fmt: skip


def write_people(root, people):
    root.mkdir(parents=True, exist_ok=True)
    lines = ["\t".join(["participant_id", *COVARIATES])]
    for n, (name, group, site) in enumerate(people):
        values = (
            group,
            site,
            f"{40.0 + n}",
            "MF"[n % 2].replace("F", "M"),
            "traumatic",
            "C5",
            "yes",
            "1.5",
            f"{5 + n}",
            f"{50 + 3 * n}",
            f"{60 + n % 4}",
            f"{10 + 5 * n}",
        )
        lines.append("\t".join([name, *values]))  # fmt: skip
    (root / "participants.tsv").write_text("\n".join(lines) + "\n")


def write_scan(root, name, session, plane, seed):
    image, cord, lesion = scan(seed)
    below = f"{name}/ses-{session}/anat"
    stem = f"{name}_ses-{session}_acq-{SHORT[plane]}"
    affine = np.diag([*PLANES[plane], 1.0])
    files = {root / below / f"{stem}_T2w.nii.gz": image}
    for label, mask in (("cord", cord), ("lesion", lesion)):
        place = root / "derivatives" / "labels" / below / f"{stem}_label-{label}_mask.nii.gz"
        files[place] = mask.astype(np.uint8)
    for path, array in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(array, affine), path)


def write_bids(root, site1=4, site2=4, site3=0, dcm=0):
    """Site 1 sagittal with a second, axial session; site 2 and DCM axial; site 3 isotropic."""
    people = []
    for site, count in (("site1", site1), ("site2", site2), ("site3", site3), ("dcm", dcm)):
        for _ in range(count):
            name = f"sub-{len(people) + 1:02d}"
            plane = {"site1": "sagittal", "site3": "isotropic"}.get(site, "axial")
            write_scan(root, name, "01", plane, len(people))
            if site == "site1":
                write_scan(root, name, "02", "axial", 100 + len(people))
            people.append((name, "DCM" if site == "dcm" else "SCI", site))
    write_people(root, people)
    return root


class Killed(BaseException):
    """What a test throws where a process would be killed: nothing may catch it."""


def study(root, out, *, at=None, **more):
    """The study; `at` is what is told (a stage and its state, a count) when it is killed."""
    seen = []

    def tell(*what):
        seen.append(what)
        if what == at:
            raise Killed

    options, recipes = read_options("smoke", TINY)
    told = Told(stage=tell, count=lambda what, done, total: tell(what, done))
    try:
        return study_sci(out, options, recipes, data=root, told=told, **more), seen
    except Killed:
        return None, seen


@pytest.fixture(scope="session")
def root(tmp_path_factory):
    return write_bids(tmp_path_factory.mktemp("sci") / "bids", site3=1, dcm=1)


@pytest.fixture(scope="session")
def studied(root, tmp_path_factory):
    """Killed in the midst of a training, killed between two stages, and then let be."""
    out = tmp_path_factory.mktemp("sci-study") / "out"
    masks = root / "derivatives" / "labels"
    runs = [
        study(root, out, at=("3d, phase 1: train", 3)),
        study(root, out, at=("2d-phase-3", "started")),
        study(root, out, baselines=[f"drawn={masks}"], scale="smoke", command=["score-jax", "it"]),
    ]
    return out, runs


def stages_of(seen):
    return [what for what in seen if what[1] in ("kept", "started", "resumed", "done")]


@pytest.mark.slow
def test_a_killed_study_goes_on_where_it_was(studied):
    _, ((first, one), (second, two), (third, three)) = studied
    assert first is None
    assert second is None
    assert third is not None
    assert stages_of(one) == [
        ("check", "started"), ("check", "done"), ("3d-phase-1", "started"),
    ]  # fmt: skip
    assert stages_of(two) == [
        ("check", "kept"), ("3d-phase-1", "resumed"), ("3d-phase-1", "done"),
        ("active/seed-7", "started"), ("active/seed-7", "done"),
        ("active/seed-42", "started"), ("active/seed-42", "done"),
        ("3d-phase-3", "started"), ("3d-phase-3", "done"), ("2d-phase-3", "started"),
    ]  # fmt: skip
    steps = [done for what, done in two if what == "3d, phase 1: train"]
    assert steps[0] == 3  # two of four were saved
    kept = [what for what, state in stages_of(three) if state == "kept"]
    assert kept == ["check", "3d-phase-1", "active/seed-7", "active/seed-42", "3d-phase-3"]
    assert ("2d-phase-3", "resumed") in three
    assert [s.name for s in third.stages if s.kept] == kept


@pytest.mark.slow
def test_nobody_is_trained_on_and_tested(studied):
    out, _ = studied
    scores = pd.DataFrame(read_table(out / "frames" / "scores.tsv"))
    for method in ("3d-phase-1", "3d-phase-3", "2d-phase-3"):
        folder = out / "stages" / method
        seeds = read_json(folder / sci_training.SEEDS)
        splits = read_json(folder / sci_training.RUN / "split.json")
        assert seeds == [7, 42]
        for seed, split in zip(seeds, splits, strict=True):
            tested = set(scores[scores.seed == str(seed)].participant)
            learned = {case.split("_")[0] for case in split["train"]}
            assert tested
            assert not tested & learned
            assert "sub-10" not in learned  # DCM
            assert ("sub-09" in learned) == (method != "3d-phase-1")  # site 3 joins last
            second = [case for case in split["train"] if "ses-02" in case]
            assert bool(second) == (method != "3d-phase-1")  # the pool joins in phase 2


@pytest.mark.slow
def test_the_pool_is_ranked_and_taken_in(studied, root):
    out, _ = studied
    folder = out / "stages" / "active" / "seed-7"
    rows = read_json(folder / sci_active.RECORD)["scans"]
    assert len(rows) == 3  # of four patients of site 1 one is tested
    taken = [row for row in rows if row["taken"]]
    assert taken
    assert {row["place"] for row in rows} == {1, 2, 3}
    for row in taken:
        mask = folder / sci_active.DATASET / row["masks"]["lesion"]
        name = row["case"].split("_")[0]
        drawn = root / "derivatives" / "labels" / name / "ses-02" / "anat" / mask.name
        assert np.array_equal(nib.load(mask).get_fdata(), nib.load(drawn).get_fdata())
        about = json.loads(mask.with_name(mask.name.replace(".nii.gz", ".json")).read_text())
        assert about["ActiveLearning"]["Phase"] == 2


@pytest.mark.slow
def test_the_frames_have_every_method(studied):
    out, _ = studied
    scores = pd.DataFrame(read_table(out / "frames" / "scores.tsv"))
    assert set(zip(scores.method, scores.phase, strict=True)) == {
        ("3d", "1"), ("3d", "3"), ("2d", "3"), ("drawn", "3"),
    }  # fmt: skip
    drawn = scores[scores.method == "drawn"]
    assert set(drawn.Dice) == {"1.0"}  # the manual masks against themselves
    assert set(drawn.site) == {"site1", "site2", "dcm"}
    measured = pd.DataFrame(read_table(out / "frames" / "biomarkers.tsv"))
    assert set(measured.method) == {"manual", "predicted"}
    assert set(measured[measured.method == "predicted"].phase) == {"1.0", "3.0"}


@pytest.mark.slow
def test_the_report_has_every_table_and_figure(studied):
    out, (*_, (done, _)) = studied
    assert [table.name for table in done.tables] == [
        *(f"Table {n}" for n in range(1, 10)), "Table S1", "Table S2",
    ]  # fmt: skip
    page = done.page.read_text()
    for thing in (*done.tables, *done.figures):
        assert f"{thing.name}. {thing.title}" in page
    assert "score-jax it" in page
    assert "Scale smoke" in page
    assert "no_lesion_phases" in page
    for figure in done.figures:
        name = figure.name.lower().replace(" ", "-")
        assert (out / "figures" / f"{name}.png").stat().st_size > 5000
        assert (out / "figures" / f"{name}.svg").is_file()
    rows = read_table(out / "tables" / "table-8.tsv")
    assert {row["method"] for row in rows} == {"3-D", "2-D", "drawn"}


@pytest.mark.slow
def test_another_run_keeps_all_and_another_choice_only_writes_anew(studied, root):
    out, (*_, (done, _)) = studied
    before = (out / "tables" / "table-5.tsv").read_bytes()
    masks = root / "derivatives" / "labels"
    again, seen = study(root, out, baselines=[f"drawn={masks}"])
    assert {state for _, state in stages_of(seen)} == {"kept"}
    assert (out / "tables" / "table-5.tsv").read_bytes() == before
    assert len(again.stages) == len(done.stages)


def test_what_cannot_be_studied(root, tmp_path, run):
    options, recipes = read_options("smoke", TINY)
    with pytest.raises(ConfigError, match="2d: got a 3-D network"):
        study_sci(tmp_path, options, {"3d": recipes["3d"], "2d": recipes["3d"]}, data=root)
    _, bare = read_options("smoke", ("3d.preprocessing.spacing_mm=[]",))
    with pytest.raises(ConfigError, match=r"3d: .* is empty"):
        study_sci(tmp_path, options, bare, data=root)
    with Stages(tmp_path / "busy" / "stages"), pytest.raises(OutputError, match="another study"):
        study_sci(tmp_path / "busy", options, recipes, data=root)
    words = ("study", "sci", "--out", tmp_path / "out")
    refused(run(*words, "--scale", "huge"), "smoke, small, full")
    refused(run(*words, "--set", "gate=often"), "gate", "friedman")
    refused(run(*words, "--data", tmp_path / "nothing"), "no such file or folder")
    refused(run(*words, "--data", root, "--baseline", "x"), "NAME=FOLDER")
