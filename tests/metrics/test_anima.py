"""Numbers that animaSegPerfAnalyzer printed, and its edge cases by hand."""

import json
import math
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.distance import cdist

from score_jax.errors import GeometryError, ImageError
from score_jax.metrics import anima
from score_jax.metrics.anima_compat import CORRECT, EMPTY_REFERENCE, LESIONS, OVERLAP, SURFACE

EXCERPT = Path(__file__).parent / "data" / "anima_excerpt"
CASES = [
    *("s01_sc_real_iso", "s02_sc_real_aniso", "s03_lesion_real_shift_fp"),
    *("s04_lesion_sag_split_merge", "s05_min_volume", "s06_empty_pred", "s07_empty_ref"),
    *("s08_multilabel", "s09_border_diagonal", "s10_big_cord_320"),
]
NOT_IMITATED = ("ContourMeanDistance", "SurfaceDistance")  # of a cluster: left from the whole


def options(flags):
    found = {"surface": "-d" in flags, "lesions": "-l" in flags, "per_label": "-a" in flags}
    names = {"-v": "min_lesion_mm3", "-x": "alpha", "-y": "beta", "-z": "gamma"}
    for flag, name in names.items():
        if flag in flags:
            found[name] = float(flags[flags.index(flag) + 1])
    return found


def assert_printed(got, printed, but=()):
    """The tool prints six decimals; null is its nan."""
    for name, value in printed.items():
        if name not in but:
            expected = math.nan if value is None else value
            np.testing.assert_allclose(
                got[name], expected, rtol=1.5e-6, atol=1.5e-6, err_msg=name, equal_nan=True
            )


@pytest.mark.parametrize("name", CASES)
def test_named_cases(fixtures, name):
    folder = fixtures / "anima" / name
    expected = json.loads((folder / "expected.json").read_text())
    pred, ref = nib.load(folder / "pred.nii.gz"), nib.load(folder / "ref.nii.gz")
    spacing = [float(mm) for mm in ref.header["pixdim"][1:4]]
    arrays = np.asarray(pred.dataobj), np.asarray(ref.dataobj)
    for run in expected["runs"]:
        got = anima(*arrays, spacing, **options(run["flags"]))
        printed = {side: found["values"] for side, found in run["outputs"].items()}
        assert_printed(got, printed.pop("global"))
        assert {key for key in got if key.startswith("cluster")} == set(printed)
        for cluster, values in printed.items():
            assert_printed(got[cluster], values, but=NOT_IMITATED)
        correct = expected["aux"].get("assd_correct_pooled_anima_contours")
        if correct is not None and "-d" in run["flags"]:
            assert got[CORRECT] == pytest.approx(correct, rel=1e-9)


def check_random(arrays, cases):
    for case in cases:
        number = case["index"]
        pred, ref = arrays[f"pred_{number:03d}"], arrays[f"ref_{number:03d}"]
        got = anima(pred, ref, case["spacing_mm"], **options(case["flags"]))
        assert_printed(got, case["values"])


def test_random_pairs(fixtures):
    found = json.loads((fixtures / "anima/fuzz/fuzz.json").read_text())
    assert len(found["cases"]) == 150
    check_random(np.load(fixtures / "anima/fuzz/fuzz.npz"), found["cases"])


def test_random_pairs_kept_in_the_repository():
    cases = json.loads(EXCERPT.with_suffix(".json").read_text())
    assert any(case["multilabel"] for case in cases)
    assert any("NbTestedLesions" in case["values"] for case in cases)
    check_random(np.load(EXCERPT.with_suffix(".npz")), cases)


def ball(shape, centre, radius):
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    return np.linalg.norm(grid - centre, axis=-1) <= radius


@pytest.fixture
def pair():
    shape = (9, 11, 8)
    return ball(shape, (4, 5, 4), 3), ball(shape, (4.5, 5, 3.5), 2.6)


def running_minimum(pred, ref, spacing):
    """SurfaceDistance by the definition, in loops: the minimum is never reset."""
    inner = [ndimage.binary_erosion(m, border_value=1) for m in (pred, ref)]
    first, second = (
        np.argwhere((mask & ~core).T)[:, ::-1] * spacing  # x fastest
        for mask, core in zip((pred, ref), inner, strict=True)
    )
    total = 0.0
    for ours, theirs in ((second, first), (first, second)):
        least = 1e6
        for row in cdist(ours, theirs):
            least = min(least, row.min())
            total += least
    return total / (len(first) + len(second))


@pytest.mark.parametrize("flip", [(), (0,), (1,), (2,)])
def test_the_legacy_distance_by_its_loop(pair, flip):
    spacing = np.array([0.5, 1.25, 3.0])
    pred, ref = (np.flip(mask, flip) for mask in pair)
    got = anima(pred, ref, spacing)
    assert got["SurfaceDistance"] == pytest.approx(running_minimum(pred, ref, spacing), rel=1e-12)


def test_the_legacy_distance_depends_on_the_order_of_voxels(pair):
    found = {anima(np.flip(pair[0], f), np.flip(pair[1], f), (1, 1, 1))["SurfaceDistance"]
             for f in ((), (1,), (2,))}  # fmt: skip
    assert len({round(value, 9) for value in found}) > 1


def test_what_is_asked_for_is_there(pair):
    assert list(anima(*pair, (1, 1, 1), surface=False)) == list(OVERLAP)
    assert list(anima(*pair, (1, 1, 1))) == [*OVERLAP, *SURFACE, CORRECT]
    both = anima(*pair, (1, 1, 1), lesions=True)
    assert list(both) == [*OVERLAP, *SURFACE, CORRECT, *LESIONS]


def test_empty_prediction(pair):
    got = anima(np.zeros_like(pair[1]), pair[1], (1, 1, 1), lesions=True, per_label=True)
    n, size = pair[1].sum(), pair[1].size
    expected = {
        **{"Jaccard": 0, "Dice": 0, "Sensitivity": 0, "Specificity": 1, "PPV": None},
        **{"NPV": (size - n) / size, "RelativeVolumeError": -100},
        **dict.fromkeys((*SURFACE, CORRECT)),
        **{"PPVL": 0, "SensL": 0, "F1_score": 0},
    }
    assert set(got) == set(expected)  # and no cluster
    assert_printed(got, expected)


@pytest.mark.parametrize("ref", [np.zeros((4, 5, 6), bool), np.ones((4, 5, 6), np.uint8)])
def test_empty_reference_ignores_the_smallest_volume_asked_for(ref):
    pred = np.zeros((4, 5, 6), bool)
    pred[0, :2, 0] = pred[2, :4, 2] = pred[3, 0, 5] = True  # 2, 4 and 1 voxels of 1.5 mm3
    got = anima(pred, ref, (1, 1, 1.5), lesions=True, min_lesion_mm3=0)
    assert got == {"NbTestedLesions": 1, "VolTestedLesions": 6.0}
    nothing = anima(np.zeros_like(pred), ref, (1, 1, 1.5))
    assert nothing == dict.fromkeys(EMPTY_REFERENCE, 0)


def test_a_constant_prediction_is_empty(pair):
    got = anima(np.full(pair[1].shape, 7), pair[1], (1, 1, 1))
    assert got["Dice"] == 0
    assert math.isnan(got["HausdorffDistance"])


def test_the_smallest_value_is_background(pair):
    shifted = pair[0].astype(np.int16) + 4
    assert anima(shifted, pair[1], (1, 1, 1)) == anima(*pair, (1, 1, 1))


def test_soft_values_are_truncated_and_minus_one_wraps(pair):
    pred, ref = pair
    soft = np.where(pred, 1.0, 0.9).astype(np.float32)
    assert anima(soft, ref, (1, 1, 1)) == anima(pred, ref, (1, 1, 1))
    negative = np.where(pred, -1.0, 0.0)
    assert anima(negative, ref, (1, 1, 1)) == anima(pred, ref, (1, 1, 1))


def test_labels_are_matched_by_rank(pair):
    pred, ref = (mask.astype(np.uint8) for mask in pair)
    pred[4:6], ref[4:6] = pred[4:6] * 2, ref[4:6] * 2
    got = anima(pred, ref, (1, 1, 1))
    assert anima(pred * 7, ref, (1, 1, 1)) == got
    swapped = np.choose(pred, [0, 2, 1])
    assert anima(swapped, pred, (1, 1, 1))["Dice"] == 0
    assert anima(pred, pred, (1, 1, 1))["Dice"] == 1


def test_another_number_of_labels_merges_both(pair):
    pred, ref = (mask.astype(np.uint8) for mask in pair)
    pred[4:6] *= 2
    got = anima(pred, ref, (1, 1, 1), lesions=True, per_label=True)
    cluster = got.pop("cluster1")
    assert got == cluster == anima(*pair, (1, 1, 1), lesions=True)


def test_clusters_are_binary_pairs_of_their_own(pair):
    pred, ref = (mask.astype(np.uint8) for mask in pair)
    pred[4:6] *= 2
    ref[5:7] *= 2
    got = anima(pred, ref, (1, 0.7, 2), lesions=True, per_label=True)
    for label in (1, 2):
        alone = anima(pred == label, ref == label, (1, 0.7, 2), lesions=True)
        assert got[f"cluster{label}"] == alone


def test_a_lesion_of_exactly_the_limit_is_decided_in_float32():
    # 10 voxels of 0.3 mm3: as float32, 0.3 is a little more, so their volume is above 3 mm3
    mask = np.zeros((12, 3, 3), bool)
    mask[:10, 0, 0] = True
    assert anima(mask, mask, (0.3, 1, 1), lesions=True)["F1_score"] == 1
    # one voxel of exactly 3 mm3 is not above 3 mm3
    one = np.zeros((4, 4, 4), bool)
    one[1, 1, 1] = True
    got = anima(one, one, (1, 1, 3), lesions=True)
    assert (got["PPVL"], got["F1_score"]) == (0, 0)
    assert math.isnan(got["SensL"])
    assert anima(one, one, (1, 1, 3), lesions=True, min_lesion_mm3=0)["F1_score"] == 1


def test_hausdorff_is_of_whole_masks_not_of_their_borders():
    shape = (25, 25, 25)
    full = ball(shape, (12, 12, 12), 10)
    shell = full & ~ball(shape, (12, 12, 12), 8)
    assert anima(full, shell, (1, 1, 1))["HausdorffDistance"] == pytest.approx(8.0623, abs=1e-4)


def test_the_image_border_makes_no_contour():
    pred, ref = np.zeros((2, 7, 8, 5), bool)
    pred[1:4, 2:6, :], ref[1:4, 3:6, :] = True, True  # from edge to edge along z
    once = anima(pred, ref, (1, 1, 1))
    twice = anima(*(np.concatenate([m, m], axis=2) for m in (pred, ref)), (1, 1, 1))
    assert once["ContourMeanDistance"] == pytest.approx(twice["ContourMeanDistance"])
    assert once[CORRECT] == pytest.approx(twice[CORRECT])


def test_a_2d_image_is_one_slice(pair):
    pred, ref = (mask[:, :, 4] for mask in pair)
    flat = anima(pred, ref, (0.5, 2), lesions=True)
    assert flat == anima(pred[..., None], ref[..., None], (0.5, 2, 1), lesions=True)


def test_many_points_take_the_other_way_to_the_same_numbers(pair, monkeypatch):
    expected = anima(*pair, (0.5, 1.25, 3))
    monkeypatch.setattr("score_jax.metrics.surface._TREE_POINTS", 0)
    got = anima(*pair, (0.5, 1.25, 3))
    for name, value in expected.items():
        assert got[name] == pytest.approx(value, rel=1e-6), name


@pytest.mark.parametrize("order", ["C", "F"])
def test_memory_layout_does_not_matter(pair, order):
    layout = [np.array(mask, order=order) for mask in pair]
    assert anima(*layout, (0.5, 1.25, 3)) == anima(*pair, (0.5, 1.25, 3))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"alpha": 0}, "alpha: got 0; expected above 0"),
        ({"beta": 1.5}, "beta: got 1.5"),
        ({"gamma": math.nan}, "gamma: got nan"),
        ({"min_lesion_mm3": -1}, "min_lesion_mm3: got -1"),
    ],
)
def test_thresholds_are_checked(pair, change, message):
    with pytest.raises(ValueError, match=message):
        anima(*pair, (1, 1, 1), **change)


def test_grids_are_checked(pair):
    with pytest.raises(GeometryError, match=r"shape \(9, 11, 7\) and .*\(9, 11, 8\)"):
        anima(pair[0][..., :-1], pair[1], (1, 1, 1))
    with pytest.raises(GeometryError, match="expected 3 voxel sizes above 0 mm"):
        anima(*pair, (1, 0, 1))
    with pytest.raises(ImageError, match="prediction: got values that are not finite"):
        anima(np.where(pair[0], np.nan, 0), pair[1], (1, 1, 1))
