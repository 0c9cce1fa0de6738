"""Who takes part in the SCI study, how patients are split, which masks of others are taken."""

import json
import shutil

import numpy as np
import pytest

from score_jax import data
from score_jax.arrays.regions import Region
from score_jax.config import ModelSpec
from score_jax.errors import (
    CheckpointError,
    ConfigError,
    DatasetError,
    ModelNotFoundError,
)
from score_jax.imaging import Volume, load_header, save
from score_jax.inference import Predictor
from score_jax.study import sci_scoring
from score_jax.study.sci_baselines import masks_of, read_baselines
from score_jax.study.sci_cohort import Scan, check_scans, plane_of, read_cohort, without
from score_jax.study.sci_options import SciOptions, choices, read_options
from score_jax.study.sci_splits import main_planes, split, split_sites
from tests.interop import test_nnunet
from tests.study.test_sci_study import PLANES, write_bids, write_people

# the input --------------------------------------------------------------------------------------


@pytest.fixture
def root(tmp_path):
    return write_bids(tmp_path / "bids", site1=2, site2=2)


def problems_of(cohort):
    return {row["where"]: (row["problem"], row["done"]) for row in cohort.problems}


def test_scans_with_their_people(root):
    cohort = read_cohort(root)
    assert [scan.case.id for scan in cohort.scans][:2] == [
        "sub-01_ses-01_acq-sag_T2w", "sub-01_ses-02_acq-ax_T2w",
    ]  # fmt: skip
    first = cohort.sessions.iloc[0]
    assert (first.participant, first.session, first.site) == ("sub-01", "01", "site1")
    assert (first.plane, first.age, first.lems_initial) == ("sagittal", 40.0, 10.0)
    assert cohort.regions == ("cord", "lesion")
    assert cohort.problems == ()
    assert check_scans(cohort) == []


@pytest.mark.parametrize("plane", PLANES)
def test_the_plane_is_read_from_the_voxels(tmp_path, plane):
    path = tmp_path / "scan.nii.gz"
    affine = np.diag([*PLANES[plane], 1.0])
    save(path, np.zeros((4, 5, 6), np.float32), Volume(np.zeros((4, 5, 6)), affine))
    assert plane_of(path) == plane
    turned = affine[:, [2, 0, 1, 3]]  # stored in another order of axes
    save(path, np.zeros((6, 4, 5), np.float32), Volume(np.zeros((6, 4, 5)), turned))
    assert plane_of(path) == plane


def test_bad_people_are_named_and_the_rest_goes_on(root):
    rows = (root / "participants.tsv").read_text().splitlines()
    rows[1] = rows[1].replace("40.0", "old")
    rows[3] = rows[3].replace("\tM\t", "\tn/a\t")
    rows.append(rows[2].replace("site1", "site2"))  # sub-02 again, at another site
    rows = [row for row in rows if not row.startswith("sub-04")]
    (root / "participants.tsv").write_text("\n".join(rows) + "\n")
    cohort = read_cohort(root)
    assert {scan.participant for scan in cohort.scans} == {"sub-01", "sub-03"}
    found = problems_of(cohort)
    assert found["sub-01"] == ("age: got 'old'; expected a number", "n.a.")
    assert found["sub-02"] == ("is listed with two groups or sites", "left out")
    assert found["sub-02_ses-01_acq-sag_T2w"] == ("sub-02 has no site", "the scan is left out")
    assert found["sub-04_ses-01_acq-ax_T2w"][0] == "sub-04 is not in participants.tsv"
    assert found["sex"][0] == "is missing for 1 of 2 people (sub-03)"
    assert found["age"][0] == "is missing for 1 of 2 people (sub-01)"


def test_missing_columns_are_named(root):
    rows = [row.split("\t")[:1] for row in (root / "participants.tsv").read_text().splitlines()]
    (root / "participants.tsv").write_text("\n".join(row[0] for row in rows) + "\n")
    cohort = read_cohort(root)
    told = [row["problem"] for row in cohort.problems]
    assert "has no column age" in told
    assert "has no column lems_initial" in told
    assert "has no column lems_discharge" not in told  # not everybody comes back
    site = next(row for row in cohort.problems if row["problem"] == "has no column site")
    assert site["done"] == "all people are taken for one site, site1"
    assert set(cohort.sessions.site) == {"site1"}


def test_scans_without_a_mask_and_broken_ones_are_left_out(root):
    masks = root / "derivatives" / "labels" / "sub-03" / "ses-01" / "anat"
    (masks / "sub-03_ses-01_acq-ax_label-lesion_mask.nii.gz").unlink()
    image = next((root / "sub-01" / "ses-01" / "anat").glob("*.nii.gz"))
    image.write_bytes(image.read_bytes()[:-500])  # the header is whole, the voxels are not
    other = root / "derivatives" / "labels" / "sub-04" / "ses-01" / "anat"
    mask = other / "sub-04_ses-01_acq-ax_label-cord_mask.nii.gz"
    save(mask, np.zeros((3, 4, 5), bool), Volume(np.zeros((3, 4, 5)), np.eye(4)))
    cohort = read_cohort(root)
    told = problems_of(cohort)
    assert told["sub-03_ses-01_acq-ax_T2w"] == ("has no mask of lesion", "the scan is left out")
    found = check_scans(cohort)
    assert {row["where"] for row in found} == {
        "sub-01_ses-01_acq-sag_T2w", "sub-04_ses-01_acq-ax_T2w",
    }  # fmt: skip
    left = without(cohort, found)
    assert {scan.participant for scan in left.scans} == {"sub-01", "sub-02"}
    assert len(left.sessions) == len(left.scans) == 3
    assert left.problems[-1]["done"] == "the scan is left out"
    with pytest.raises(DatasetError, match="none of the 3 scans can be used"):
        without(left, [{"where": s.case.id, "problem": "bad", "done": ""} for s in left.scans])


def test_a_structure_nobody_drew(root):
    for mask in root.rglob("*label-lesion*"):
        mask.unlink()
    cohort = read_cohort(root)
    assert cohort.regions == ("cord",)
    assert problems_of(cohort)["lesion"][0] == "nobody drew it in any scan"
    for mask in root.rglob("*label-cord*"):
        mask.unlink()
    with pytest.raises(DatasetError, match="no mask"):
        read_cohort(root)


def test_what_is_no_dataset_for_this(root, tmp_path):
    shutil.copytree(root / "sub-01" / "ses-01" / "anat", tmp_path / "flat")
    with pytest.raises(DatasetError, match="expected"):
        read_cohort(tmp_path / "flat")
    (root / "participants.tsv").write_text("participant_id\tsite\nsub-99\tsite1\n")
    with pytest.raises(DatasetError, match="no scan with masks of cord and lesion"):
        read_cohort(root)
    (root / "participants.tsv").unlink()
    with pytest.raises(DatasetError, match=r"participants\.tsv"):
        read_cohort(root)


def test_the_truth_beside_the_manual_masks(root):
    shutil.copytree(root / "derivatives" / "labels", root / "derivatives" / "perfect")
    cohort = read_cohort(root, masks="labels", truth="perfect")
    assert set(cohort.scans[0].truth) == {"cord", "lesion"}
    assert "perfect" in str(cohort.scans[0].truth["cord"])
    assert len(cohort.scans[0].files) == 5


def test_dcm_is_a_site_of_its_own(root):
    text = (root / "participants.tsv").read_text().replace("sub-04\tSCI", "sub-04\tDCM")
    (root / "participants.tsv").write_text(text)
    assert read_cohort(root).sessions.set_index("participant").site["sub-04"] == "dcm"


# splits -----------------------------------------------------------------------------------------


def scans_of(**sites):
    """Scans without files: site=[planes of each person's scans]."""
    found = []
    for site, people in sites.items():
        for n, planes in enumerate(people):
            for k, plane in enumerate(planes):
                name = f"sub-{site}{n:02d}"
                case = data.Case(id=f"{name}_ses-{k}", subject=name, images=())
                found.append(Scan(case, str(k), site, plane, {}))
    return found


def test_each_site_is_split_as_scikit_learn_does():
    scans = scans_of(site1=[("sagittal", "axial")] * 10, site2=[("axial",)] * 10,
                     site3=[("isotropic",)] * 2, dcm=[("axial",)] * 2)  # fmt: skip
    problems = []
    own = split(scans, SciOptions(), 7, problems)
    # sklearn.model_selection.train_test_split(range(10), test_size=.2, random_state=7): 8 and 5
    assert {s.participant for s in own.test} == {f"sub-{s}{n:02d}" for s in ("site1", "site2")
                                                 for n in (8, 5)}  # fmt: skip
    assert len(own.test) == 4  # no axial scan of site 1 among them
    assert all(s.plane == "sagittal" for s in own.test if s.site == "site1")
    assert len(own.first) == 16
    assert [s.plane for s in own.pool] == ["axial"] * 8
    assert {s.site for s in own.last} == {"site3"}
    assert {s.site for s in own.new} == {"dcm"}
    trained = {s.participant for s in (*own.first, *own.pool, *own.last)}
    assert not trained & {s.participant for s in own.asked}
    assert problems == []
    assert {s.participant for s in split(scans, SciOptions(), 42, []).test} != {
        s.participant for s in own.test
    }


def test_the_main_plane_is_that_of_most_first_scans():
    scans = scans_of(site1=[("sagittal", "axial", "axial")] * 2, site2=[("axial",), ("sagittal",)])
    assert main_planes(scans) == {"site1": "sagittal", "site2": "axial"}


def test_a_site_of_one_is_trained_on():
    scans = scans_of(site1=[("axial",)] * 3, lone=[("axial",)])
    problems = []
    own = split(scans, SciOptions(), 7, problems)
    assert {s.site for s in own.test} == {"site1"}
    assert "lone" in {s.site for s in own.first}
    split(scans, SciOptions(), 42, problems)
    assert [row["where"] for row in problems] == ["lone"]  # told once
    with pytest.raises(DatasetError, match="0 to test"):
        split(scans_of(lone=[("axial",)]), SciOptions(), 7, [])
    assert split_sites(scans, SciOptions(train_only=("lone",))) == ["site1"]


# options ----------------------------------------------------------------------------------------


def test_options_and_recipes():
    options, recipes = read_options(
        "smoke",
        ["seeds=[3]", "gate=friedman", "train.steps=9", "2d.unet.features=[4, 8]",
         "3d.sampling.batch=1"],
        seed=5,
    )  # fmt: skip
    assert (options.seeds, options.gate) == ((3,), "friedman")
    assert {name: recipe.steps for name, recipe in recipes.items()} == {"3d": 9, "2d": 9}
    assert recipes["2d"].unet.features == (4, 8) != recipes["3d"].unet.features
    assert recipes["3d"].sampling.batch == 1
    assert {recipe.seed for recipe in recipes.values()} == {5}
    assert (recipes["2d"].ndim, recipes["3d"].ndim) == (2, 3)
    named = {choice.option: choice for choice in choices(options)}
    assert named["gate"].value == "friedman"
    assert "Kruskal" in named["gate"].why


@pytest.mark.parametrize(
    ("scale", "given", "told"),
    [
        ("tiny", (), "smoke, small, full"),
        ("smoke", ("gate=often",), "gate"),
        ("smoke", ("gates=kruskal",), "did you mean 'gate'"),
        ("smoke", ("gate",), "key=value"),
        ("smoke", ("seeds=[7, 7]",), "each once"),
        ("smoke", ("test_fraction=1.0",), "between 0 and 1"),
        ("smoke", ('generalise=["site3"]',), "site3 in both"),
        ("smoke", ("active_scans=-1",), "0 or more"),
        ("smoke", ("field_of_view_mm=[1.0, 2.0]",), "three lengths or none"),
        ("smoke", ("3d.data.regions=['cord']",), "sets this itself"),
        ("smoke", ("3d.step=3",), "did you mean 'steps'"),
    ],
)
def test_options_that_are_refused(scale, given, told):
    with pytest.raises(ConfigError, match="(?s).*" + told.replace("[", r"\[")):
        read_options(scale, given)


# others' masks, and scores ------------------------------------------------------------------------


def test_masks_of_others_by_the_fields_own_names(root, tmp_path):
    cohort = read_cohort(root)
    scan = next(s for s in cohort.scans if s.participant == "sub-03")
    volume = load_header(scan.case.images[0])
    mask = np.zeros(volume.shape, bool)
    mask[5:9, 6:10] = True
    save(tmp_path / "sct" / f"{scan.case.id}_seg.nii.gz", mask, volume)
    (one,) = read_baselines([f"sct={tmp_path / 'sct'}"])
    assert (one.name, one.model) == ("sct", None)
    problems = []
    files = masks_of(one, cohort.scans, problems)
    assert list(files) == [scan.case.id]
    assert list(files[scan.case.id]) == ["cord"]
    assert len(problems) == len(cohort.scans) - 1
    assert problems[0]["problem"] == "sct has no mask of it"
    sci_scoring.score_files(tmp_path, cohort, [scan], files, problems)
    rows = sci_scoring.read_rows(tmp_path)
    assert [row["structure"] for row in rows["scores"]] == ["cord"]
    manual = sci_scoring.manual_masks(scan, cohort, volume)["cord"]
    dice = 2 * (mask & manual).sum() / (mask.sum() + manual.sum())
    assert rows["scores"][0]["Dice"] == pytest.approx(dice)
    rve = 100 * (mask.sum() / manual.sum() - 1)
    assert rows["scores"][0]["RVE"] == pytest.approx(rve)
    assert rows["biomarkers"][0]["volume"] is None  # it knows no lesions


@pytest.mark.parametrize(
    ("text", "error", "told"),
    [
        ("sct", ConfigError, "NAME=FOLDER"),
        ("3d=masks", ConfigError, "taken"),
        ("sct=/nowhere", ModelNotFoundError, "no such folder"),
        ("gm=gm", CheckpointError, ""),
    ],
)
def test_baselines_that_are_refused(text, error, told, monkeypatch):
    if text == "gm=gm":  # a model that knows neither cord nor lesion
        spec = ModelSpec(
            kind="unet", options={}, in_channels=1, channel_names=("T2w",),
            regions=(Region("canal", (1,), 1),), tile=(8, 8, 8),
        )  # fmt: skip
        stranger = Predictor(spec, [{}])
        monkeypatch.setattr("score_jax.study.sci_baselines.load_model", lambda name: stranger)
        told = "knows canal; expected cord or lesion"
    with pytest.raises(error, match=told):
        read_baselines([text])


def test_an_empty_folder_is_no_baseline(tmp_path):
    (tmp_path / "none").mkdir()
    with pytest.raises(ModelNotFoundError, match="neither a model nor masks"):
        read_baselines([f"none={tmp_path / 'none'}"])
    (tmp_path / "one").mkdir()
    save(tmp_path / "one" / "a_seg.nii.gz", np.ones((2, 2, 2), bool),
         Volume(np.ones((2, 2, 2)), np.eye(4)))  # fmt: skip
    with pytest.raises(ConfigError, match="the name one is taken"):
        read_baselines([f"one={tmp_path / 'one'}"] * 2)


def test_an_nnunet_folder_takes_part_under_its_own_names(root, tmp_path, rng):
    folder = tmp_path / "nnUNetTrainer__nnUNetPlans__3d_fullres"
    test_nnunet.checkpoint(folder / "fold_0/checkpoint_best.pth", test_nnunet.weights(rng))
    (folder / "plans.json").write_text(json.dumps(test_nnunet.small_plans()))
    (folder / "dataset.json").write_text(json.dumps(test_nnunet.DATASET))
    (one,) = read_baselines([f"theirs={tmp_path}"])  # finds best, for want of final
    assert [region.name for region in one.model.regions] == ["sc", "lesion"]
    assert one.sha256 == " ".join(one.model.sha256)
    cohort = read_cohort(root)
    sci_scoring.predict_and_score(tmp_path, cohort, cohort.scans[:1], one.model)
    rows = sci_scoring.read_rows(tmp_path)
    assert rows["problems"] == []
    assert [row["structure"] for row in rows["scores"]] == ["cord", "lesion"]
    assert len(rows["biomarkers"]) == 1


def cube(shape, *slices):
    mask = np.zeros(shape, bool)
    mask[slices] = True
    return mask


def test_scores_of_cubes_by_hand():
    shape = (9, 10, 11)
    volume = Volume(np.zeros(shape, np.float32), np.diag([1.0, 2.0, 3.0, 1.0]))
    drawn = {
        "cord": cube(shape, slice(2, 6), slice(2, 6), slice(1, 9)),
        "lesion": cube(shape, slice(3, 5), slice(3, 5), slice(2, 4)),
    }
    masks = {
        "cord": cube(shape, slice(2, 6), slice(2, 6), slice(1, 8)),
        "lesion": cube(shape, slice(3, 5), slice(3, 5), slice(3, 5)),
    }
    cord, lesion = sci_scoring.score(masks, drawn, volume)
    assert cord["Dice"] == pytest.approx(2 * 112 / (112 + 128))
    assert cord["RVE"] == pytest.approx(100 * (112 - 128) / 128)
    assert math_is_nan(cord["PPV_L"])
    assert lesion["Dice"] == pytest.approx(0.5)
    assert (lesion["PPV_L"], lesion["Sens_L"], lesion["F1_L"]) == (1.0, 1.0, 1.0)
    # every voxel of both is contour; half of each lies 3 mm from the other
    assert lesion["ASSD"] == pytest.approx(1.5)
    assert lesion["SurfaceDistance"] < lesion["ASSD"]  # the running minimum
    found = sci_scoring.measure(drawn, volume)
    assert found["volume"] == pytest.approx(8 * 6.0)
    assert found["adr"] == pytest.approx(4 / 16)
    assert found["length"] == pytest.approx(6.0)
    nothing = {**masks, "lesion": np.zeros(shape, bool)}
    assert sci_scoring.measure(nothing, volume) == {"volume": 0, "length": 0, "adr": 0}
    _, empty = sci_scoring.score(nothing, drawn, volume)
    assert (empty["Dice"], empty["F1_L"]) == (0, 0)
    assert math_is_nan(empty["SurfaceDistance"])


def math_is_nan(value):
    return value != value


def test_a_cord_with_a_gap_is_measured():
    shape = (8, 8, 8)
    volume = Volume(np.zeros(shape, np.float32), np.eye(4))
    cord = cube(shape, slice(2, 6), slice(2, 6))
    cord[:, :, 3:5] = False
    lesion = cube(shape, slice(3, 5), slice(3, 5), slice(1, 3))
    found = sci_scoring.measure({"cord": cord, "lesion": lesion}, volume)
    assert found == pytest.approx({"volume": 8, "length": 2, "adr": 4 / 16})
    alone = sci_scoring.measure({"lesion": lesion}, volume)
    assert alone["volume"] == 8
    assert math_is_nan(alone["length"])


def test_people_table_is_what_the_docs_say(tmp_path):
    write_people(tmp_path, [("sub-01", "SCI", "site1")])
    header = (tmp_path / "participants.tsv").read_text().splitlines()[0].split("\t")
    from score_jax.study.sci_cohort import COLUMNS

    assert set(header) - {"participant_id"} <= {n for names in COLUMNS.values() for n in names}
    assert json.dumps(header)
