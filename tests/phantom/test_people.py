"""Raters, cohorts, patches and the files they become."""

import json
from collections import Counter

import jax
import nibabel as nib
import numpy as np
import pytest

from score_jax.data.simulated import write_cohort
from score_jax.errors import ConfigError, GeometryError, OutputError
from score_jax.phantom import amira_cohort, covariates, raters, sci_cohort, sci_people
from score_jax.phantom.plane import TRUTH

KEYS = jax.random.split(jax.random.key(7), 4)


def drawn(scene, grid, rater, **options):
    return raters.rate(scene, grid, KEYS[rater], scan_key=KEYS[3], rater=rater, **options)


def test_masks_of_a_rater_fit_together(sick_scene, grid):
    m = drawn(sick_scene, grid, 1)
    assert list(m) == list(TRUTH)
    np.testing.assert_array_equal(m["gm"] | m["wm"], m["cord"])
    assert not (m["gm"] & m["wm"]).any()
    np.testing.assert_array_equal(m["ah"].astype(int) + m["ph"] + m["gc"], m["gm"])
    assert (m["cord"] <= m["canal"]).all()
    assert (m["lesion"] <= m["cord"]).all()


def test_steady_raters_differ_by_their_bias_only(scene, grid):
    size = [drawn(scene, grid, r, steadiness=0.0)["cord"].sum() for r in range(3)]
    assert size[0] <= size[1] <= size[2]  # a positive bias is a smaller mask
    true = raters.true_masks(scene)["cord"]
    middle = drawn(scene, grid, 1, steadiness=0.0)["cord"]
    assert (middle != true).sum() <= 0.02 * true.sum()


def test_raters_share_what_the_scan_shows(scene, grid):
    def differ(key, scan_key):
        m = raters.rate(scene, grid, key, scan_key=scan_key, rater=1)["gm"]
        return m.astype(int)

    first = differ(KEYS[0], KEYS[3])
    assert (first == differ(KEYS[0], KEYS[3])).all()
    assert (first != differ(KEYS[1], KEYS[3])).any()
    assert (first != differ(KEYS[0], KEYS[2])).any()


def test_published_counts_are_met():
    hc = [covariates.person(3, "HC", i) for i in range(24)]
    ms = [covariates.person(3, "MS", i) for i in range(24)]
    assert sum(p.row["sex"] == "F" for p in hc) == 15
    assert sum(p.row["sex"] == "F" for p in ms) == 14
    assert Counter(p.row["disease_type"] for p in ms) == {"RR": 15, "SP": 6, "PP": 3}
    assert sum(p.lesion_z is None for p in ms) == 3
    assert sum(p.contact for p in hc) == 5


def test_planted_effects_and_covariates_of_many():
    hc = [covariates.person(1, "HC", i) for i in range(960)]
    ms = [covariates.person(1, "MS", i) for i in range(960)]
    cords = [np.array([p.log_cord for p in group]) for group in (hc, ms)]
    assert np.expm1(cords[1].mean() - cords[0].mean()) == pytest.approx(-0.095, abs=0.012)
    assert cords[0].std() == pytest.approx(0.0875, rel=0.05)
    horns = [np.array([p.log_parts["ah"] for p in group]) for group in (hc, ms)]
    assert np.expm1(horns[1].mean() - horns[0].mean()) == pytest.approx(-0.14, abs=0.02)
    kind = np.array([p.row["disease_type"] for p in ms])
    gap = horns[1][kind != "RR"].mean() - horns[1][kind == "RR"].mean()
    assert gap == pytest.approx(np.log(0.79 / 0.902), abs=0.03)
    for name in ("ph", "gc"):
        parts = [np.array([p.log_parts[name] for p in group]) for group in (hc, ms)]
        assert parts[1].mean() - parts[0].mean() == pytest.approx(0, abs=0.03)
    edss = np.array([p.row["edss"] for p in ms])
    assert edss.std() == pytest.approx(1.84, rel=0.12)
    assert np.median(edss[kind != "RR"]) - np.median(edss[kind == "RR"]) > 1
    duration = np.array([p.row["disease_duration"] for p in ms])
    assert (duration.mean(), duration.std()) == pytest.approx((12.0, 8.6), rel=0.08)
    age = np.array([p.row["age"] for p in hc])
    assert (age.mean(), age.std()) == pytest.approx((40.2, 10.8), rel=0.05)


def test_sites_have_their_patients_scans_and_implants():
    rows = [sci_people.person(2, i) for i in range(sci_people.PATIENTS)]
    assert len({row["participant_id"] for row in rows}) == 205
    assert Counter(row["site"] for row in rows) == {"site1": 97, "site2": 80, "site3": 14,
                                                    "dcm": 14}  # fmt: skip
    metal = Counter(row["site"] for row in rows if row["implant"] == "yes")
    assert metal == {"site1": 61, "site2": 80, "site3": 8}
    assert sum(site.patients + site.second_scans for site in sci_people.SITES[:3]) == 231
    assert {row["level"][0] for row in rows if row["site"] == "site2"} <= {"C", "T"}
    men = sum(row["sex"] == "M" for row in rows if row["group"] == "SCI")
    assert men / 191 == pytest.approx(142 / 191, abs=0.1)
    # a small cohort has people of the large sites first
    assert {row["site"] for row in rows[:4]} == {"site1", "site2"}


def test_scores_fall_with_damage():
    damage = np.linspace(0, 1, 300)
    from scipy.stats import spearmanr

    for name in ("pinprick", "light_touch", "lems"):
        value = [sci_people.scores(0, i, d)[name] for i, d in enumerate(damage)]
        assert -0.8 < spearmanr(damage, value).statistic < -0.35


def test_a_person_does_not_depend_on_the_others():
    few, many = sci_cohort(4, 2), sci_cohort(4, 5)
    assert few.participants == many.participants[:2]
    assert amira_cohort(4, 2).participants[0] == amira_cohort(4, 24).participants[0]
    assert len(amira_cohort(4)) == 48
    with pytest.raises(IndexError, match="patient 2 of 2"):
        few[2]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: sci_cohort(0, 0), "expected 1 or more"),
        (lambda: sci_cohort(0, 1, contrast="T9"), "expected one of T2w, T2starw, random"),
        (lambda: sci_cohort(0, 1, acquisition="oblique"), "expected one of axial"),
        (lambda: sci_cohort(0, 1, raters=4), "expected 0 to 3"),
        (lambda: sci_cohort(0, 1, scans=0), "expected 1 or more"),
        (lambda: sci_cohort(0, 1, healthy=2.0), "share from 0 to 1"),
        (lambda: amira_cohort(0, 0), "at least one subject"),
        (lambda: amira_cohort(0, 1, recon="phase"), "magnitude or real"),
        (lambda: amira_cohort(0, 1, groups=("CIS",)), "expected HC, MS or both"),
        (lambda: amira_cohort(0, 1, field_of_view_mm=4.0), "40 mm hold the canal"),
        (lambda: amira_cohort(0, 1, grid_mm=-0.5), "got -0.5 mm"),
    ],
)
def test_impossible_cohorts_are_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_an_impossible_grid_is_refused_before_any_work():
    with pytest.raises(GeometryError, match=r"expected \.05 to 30 mm"):
        sci_cohort(0, 1, grid_mm=-1.0)


SMALL = {"grid_mm": 1.0, "thickness_mm": 6.0, "field_of_view_mm": (32.0, 32.0, 24.0)}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    out = tmp_path_factory.mktemp("bids") / "sci"
    cohort = sci_cohort(1, 1, acquisition="axial", raters=1, scans=2, implants=False, **SMALL)
    return out, write_cohort(out, cohort), cohort


def test_written_dataset_is_bids(dataset):
    out, counts, _ = dataset
    assert (counts["subjects"], counts["scans"], counts["masks"]) == (1, 2, 32)
    assert json.loads((out / "dataset_description.json").read_text())["DatasetType"] == "raw"
    header, row = (out / "participants.tsv").read_text().splitlines()
    assert header.split("\t")[:4] == ["participant_id", "group", "age", "sex"]
    assert row.startswith("sub-sci001\t")
    scans = sorted(p.relative_to(out) for p in out.glob("sub-*/ses-*/anat/*.nii.gz"))
    assert str(scans[0]) == "sub-sci001/ses-01/anat/sub-sci001_ses-01_acq-ax_T2w.nii.gz"
    side = json.loads((out / scans[0]).with_name(scans[0].name[:-7] + ".json").read_text())
    assert side["SliceThickness"] == 6.0
    assert side["EchoTime"] == 0.1
    columns = json.loads((out / "participants.json").read_text())
    assert set(header.split("\t")[1:]) == set(columns)  # every column is described
    for pipeline in ("truth", "rater1"):
        about = out / "derivatives" / pipeline / "dataset_description.json"
        assert json.loads(about.read_text())["DatasetType"] == "derivative"
        names = [p.name for p in (out / "derivatives" / pipeline).rglob("*_label-gm_mask.nii.gz")]
        assert len(names) == 2


def test_what_bids_does_not_know_is_listed(dataset):
    out, _, _ = dataset
    assert (out / ".bidsignore").read_text() == "*_AMIRA.*\n"
    truth = out / "derivatives" / "truth"
    loose = [path.name for path in truth.iterdir() if path.suffix == ".tsv"]
    assert loose == (truth / ".bidsignore").read_text().splitlines() == ["areas.tsv"]


def test_masks_lie_on_the_images_grid_and_hold_the_truth(dataset):
    out, _, cohort = dataset
    scan = cohort[0].scans[0]
    image = nib.load(next(out.glob("sub-*/ses-01/anat/*_T2w.nii.gz")))
    mask = nib.load(next(out.glob("derivatives/truth/sub-*/ses-01/anat/*_label-cord_mask.nii.gz")))
    np.testing.assert_allclose(image.affine, mask.affine)
    np.testing.assert_array_equal(np.asarray(mask.dataobj) > 0, scan.truth["cord"])
    np.testing.assert_allclose(np.asarray(image.dataobj), scan.image, atol=0.51)
    assert nib.aff2axcodes(image.affine) == ("L", "A", "S")
    # the sub-voxel areas and the mask agree
    pixel = 1.0
    area = scan.truth["cord"].sum((0, 1)) * pixel
    np.testing.assert_allclose(area, scan.areas_mm2["cord"], rtol=0.1, atol=3)


def test_a_folder_with_something_in_it_is_left_alone(dataset, tmp_path):
    _, _, cohort = dataset
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(OutputError, match="already holds something"):
        write_cohort(tmp_path, cohort)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_an_interrupted_run_leaves_nothing(dataset, tmp_path):
    _, _, cohort = dataset

    def stop(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_cohort(tmp_path / "out", cohort, on_patient=stop)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_amira_scan_has_eight_images_and_its_raters():
    patient = amira_cohort(1, 1, scans=1, raters=2, grid_mm=2 / 3, groups=("MS",))[0]
    scan = patient.scans[0]
    assert scan.image.shape == (60, 60, 12, 8)
    assert list(scan.raters) == ["rater1", "rater2"]
    cord, gm = scan.truth["cord"], scan.truth["gm"]
    wm = cord & ~gm & ~scan.truth["lesion"]
    early, late = scan.image[..., :5].mean(-1), scan.image[..., 5:].mean(-1)
    canal = scan.truth["canal"] & ~cord
    assert early[gm].mean() > 1.08 * early[wm].mean()
    assert np.median(late[canal]) > 2 * np.median(late[cord])
    dice = 2 * (scan.raters["rater1"]["cord"] & cord).sum()
    assert dice / (scan.raters["rater1"]["cord"].sum() + cord.sum()) > 0.95
