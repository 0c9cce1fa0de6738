"""Sessions paired: another place, another bend, lesions that come and go, and the error."""

import json

import numpy as np
import pytest

from score_jax.cohort.alignment import Side, align
from score_jax.cohort.longitudinal import LongitudinalOptions, find_pairs
from score_jax.cohort.scans import find_scans
from score_jax.errors import GeometryError
from score_jax.imaging import Volume, read_json, read_table
from tests.commands import refused

from .conftest import write_image

SHAPE = (26, 22, 40)
SPACING = 1.5  # mm, along the cord


def image_of(lesions, *, bend=0.0, shift=0, radius=4.0, seed=0, shape=SHAPE):
    """A cord (2), lesions (4) at heights in slices, and vertebrae around it that change along it.

    `shift` moves the body up in the window; what is at height h is seen at slice h + shift.
    """
    x, y, z = np.meshgrid(*map(np.arange, shape), indexing="ij")
    height = z - shift
    distance = np.hypot(x - 12 - bend * (z - 20) / 10, y - 10)
    cord = distance < radius
    image = np.random.default_rng(seed).normal(0, 0.05, size=shape)
    disc = 0.4 * np.sin(height / 2.3) + 0.3 * np.sin(height / 5.1 + 1)  # no two places alike
    image += np.where((distance > 5) & (distance < 9), 0.5 * disc, 0)
    image[cord] = 2.0
    for at, half in lesions:
        image[(distance < 2.2) & (abs(height - at) <= half)] = 4.0
    return image.astype(np.float32)


def affine_of(height=0.0):
    return np.array([[-1.0, 0, 0, 9], [0, 1, 0, -8], [0, 0, SPACING, height], [0, 0, 0, 1]])


def side_of(image, affine=None):
    volume = Volume(image, affine_of() if affine is None else affine)
    return Side.of(volume, volume.with_data((image > 1).astype(np.float32)))


@pytest.mark.parametrize("axcodes", ["LAS", "PIR"])
def test_a_shift_and_a_bend_are_found(axcodes):
    one = side_of(image_of([(18, 2)]))
    image = image_of([(18, 2)], shift=6, bend=1.0, seed=1)
    turned = Volume(image, affine_of(height=5.0)).reoriented(axcodes)
    two = side_of(np.asarray(turned.data), turned.affine)
    found = align(one, two)
    # the body lies 6 slices higher in a window that begins 5 mm higher
    assert found.shift_mm == pytest.approx(6 * SPACING + 5, abs=0.6)
    assert found.likeness > 0.5
    lesion = (one.image > 3).astype(np.uint8)
    brought = found.bring((two.image > 3).astype(np.uint8))
    dice = 2 * (lesion & brought).sum() / (lesion.sum() + brought.sum())
    assert dice > 0.8  # moved by parts of a voxel
    assert not found.covered[:, :, -6:].any()  # the second window ends before
    assert found.covered[8:16, 8:12, :33].all()
    by_header = align(one, two, by_image=False)
    assert by_header.shift_mm == 0
    assert np.isnan(by_header.likeness)


def test_images_that_say_nothing_leave_the_heights():
    flat = np.zeros(SHAPE, np.float32)
    flat[10:15, 8:13] = 2.0
    found = align(side_of(flat), side_of(flat, affine_of(height=3.0)))
    assert found.shift_mm == 0
    assert found.likeness == 0


def test_one_slice_and_what_cannot_be_aligned():
    with pytest.raises(GeometryError, match="empty mask"):
        align(side_of(np.zeros(SHAPE, np.float32)), side_of(image_of([])))
    far = side_of(image_of([]), affine_of(height=200.0))
    with pytest.raises(GeometryError, match="no shift of 40 mm"):
        align(side_of(image_of([])), far)


@pytest.fixture
def followed(tmp_path, run, model):
    """Three sessions of two people, a repeat run in the first session of each; and the run."""
    data = tmp_path / "data"
    for subject, (radius, bend) in {"01": (4.0, 0.0), "02": (4.6, 0.5)}.items():
        stories = {
            "ses-1_run-1": [(10, 1), (20, 2)],
            "ses-1_run-2": [(10, 1), (20, 2)],
            "ses-2_run-1": [(20, 4), (27, 1)],  # 10 is gone, 20 grew, 27 is new
        }
        for number, (name, lesions) in enumerate(stories.items()):
            image = image_of(
                lesions, bend=bend * number, shift=2 * number, seed=number,
                radius=radius + 0.5 * (name == "ses-2_run-1"),
            )  # fmt: skip
            folder = data / f"sub-{subject}/{name[:5]}/anat"
            write_image(folder / f"sub-{subject}_{name}_T2w.nii.gz", image, affine_of())
    (data / "dataset_description.json").write_text(json.dumps({"Name": "followed"}))
    status, _, err = run("run", data, tmp_path / "out", "participant", "--model", model, "--no-qc")
    assert status == 0, err
    return data, tmp_path / "out"


def test_a_dataset_that_was_followed(followed, run):
    data, out = followed
    status, text, err = run("longitudinal", data, out, "--json")
    assert status == 0, err
    said = json.loads(text)
    assert (said["pairs"], said["repeats"], said["doubts"]) == (2, 2, {})
    lesions = read_table(out / "longitudinal_lesions.tsv")
    ours = [r for r in lesions if r["kind"] == "change" and r["participant_id"] == "sub-01"]
    assert [r["state"] for r in ours] == ["resolved", "enlarging", "new"]
    assert [r["lesions_before"] for r in ours] == ["1", "2", None]
    assert [r["lesions_after"] for r in ours] == [None, "1", "2"]
    slices = [float(r["volume_after [mm3]"]) / SPACING for r in ours]
    assert slices[1] / slices[2] == pytest.approx(9 / 3)  # thick by 9 and by 3 slices
    assert {r["state"] for r in lesions if r["kind"] == "repeat"} == {"stable"}
    # the repeats give the error; the cord did grow by more than it
    rows = read_table(out / "longitudinal_changes.tsv")
    areas = [r for r in rows if r["region"] == "cord" and r["measure"] == "area [mm2]"]
    repeats = [r for r in areas if r["kind"] == "repeat"]
    differences = np.array([float(r["change"]) for r in repeats])
    sd = np.sqrt((differences**2).sum() / 2 / 2)
    for row in areas:
        assert float(row["error_sd"]) == pytest.approx(sd)
        assert row["error_df"] == "2"
    changed = [r for r in areas if r["kind"] == "change"]
    assert [r["beyond_error"] for r in changed] == ["True", "True"]
    assert said["errors"]["area [mm2] cord"]["detectable"] == pytest.approx(2.7718 * sd, rel=1e-4)
    volume = next(r for r in rows if r["measure"] == "lesion volume [mm3]")
    assert float(volume["before"]) == pytest.approx(
        sum(float(r["volume_before [mm3]"]) for r in ours)
    )
    pairs = read_table(out / "longitudinal_pairs.tsv")
    ours = next(r for r in pairs if r["kind"] == "change")
    assert float(ours["shift [mm]"]) == pytest.approx(4 * SPACING, abs=0.6)
    assert float(ours["cord_dice"]) > 0.75  # it grew: 0.82 at best
    assert (ours["new"], ours["resolved"], ours["stable"]) == ("1", "1", "0")
    described = read_json(out / "longitudinal_pairs.json")
    assert described["shift [mm]"]["Units"] == "mm"
    assert described["not covered"]["Description"]

    # a scan that was not done is named
    write_image(data / "sub-01/ses-3/anat/sub-01_ses-3_run-1_T2w.nii.gz", image_of([]))
    status, _, err = run("longitudinal", data, out, "--participant-label", "01", "--header")
    assert status == 2
    assert "sub-01_ses-3_run-1_T2w: was not done" in err
    rows = read_table(out / "longitudinal_pairs.tsv")
    assert [r["error"] is None for r in rows] == [True, False, True]
    assert rows[0]["likeness"] is None


def test_pairs_of_sessions(tmp_path):
    for name in ("ses-1_acq-a", "ses-2_acq-a", "ses-3_acq-a", "ses-2_acq-b"):
        folder = tmp_path / f"sub-1/{name[:5]}/anat"
        write_image(folder / f"sub-1_{name}_T2w.nii.gz", image_of([], shape=(3, 4, 5)))
    scans = find_scans(tmp_path)

    def pairs(**more):
        found = find_pairs(scans, LongitudinalOptions(**more))
        return [(p.before.session[-1], p.after.session[-1], p.repeat) for p in found]

    assert pairs() == [("1", "2", False), ("1", "3", False)]
    assert pairs(against="previous") == [("1", "2", False), ("2", "3", False)]
    assert pairs(repeats=("2",)) == [("1", "3", False), ("1", "2", True)]
    assert pairs(repeats=("ses-3", "2")) == [("1", "2", True), ("1", "3", True)]


def test_sessions_that_are_not_there(run, tmp_path):
    write_image(tmp_path / "data/sub-1/anat/sub-1_T2w.nii.gz", image_of([]))
    refused(run("longitudinal", tmp_path / "data", tmp_path / "out"), "no two of one subject")
