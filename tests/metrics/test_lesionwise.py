"""Lesion counts by hand, against slow independent versions, and against other tools."""

import json
import math

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from score_jax.metrics import lesion_dice, lesion_wise, panoptic_quality
from score_jax.metrics.lesionwise import Detection, detected, overlaps

UNIT = (1.0, 1.0, 1.0)


def boxes(*places, shape=(20, 12, 6)):
    mask = np.zeros(shape, bool)
    for place in places:
        mask[place] = True
    return mask


def box(x, y=(2, 4), z=(1, 3)):
    return slice(*x), slice(*y), slice(*z)


REF = boxes(box((0, 4)), box((8, 12)), box((16, 20)))  # 3 lesions of 16 voxels
PRED = boxes(box((1, 4)), box((6, 7)), box((11, 14)))  # 12; 4 invented; 12 with 4 inside


def test_by_hand():
    got = lesion_wise(PRED, REF, UNIT)
    # lesion 1 covered; lesion 2 by a quarter, its prediction 2/3 outside; lesion 3 missed
    assert (got["n_ref"], got["n_pred"], got["n_ref_found"]) == (3, 3, 2)
    # of the predictions, the first is inside; the third is by a third, and 3/4 of lesion 2 is
    # outside every prediction, more than beta; the second touches nothing
    assert got["n_pred_true"] == 1
    assert got["sensitivity"] == pytest.approx(2 / 3)
    assert got["ppv"] == pytest.approx(1 / 3)
    assert got["f1"] == pytest.approx(2 * (2 / 9) / 1)
    strict = lesion_wise(PRED, REF, UNIT, beta=0.6)
    assert strict["n_ref_found"] == 1


def test_small_lesions_are_ignored_in_both_roles():
    ref, pred = REF | boxes((5, 8, 1)), PRED | boxes((5, 8, 1))
    for rule in ("anima", "ivadomed"):
        few = lesion_wise(pred, ref, UNIT, rule=rule, min_lesion_mm3=3)
        assert (few["n_ref"], few["n_pred"]) == (3, 3)
        many = lesion_wise(pred, ref, UNIT, rule=rule, min_lesion_mm3=0)
        assert (many["n_ref"], many["n_pred"]) == (4, 4)
    assert lesion_wise(pred, ref, UNIT)["n_ref"] == 3
    assert lesion_wise(pred, ref, UNIT, rule="ivadomed")["n_ref"] == 4


@pytest.mark.parametrize("rule", ["anima", "ivadomed"])
def test_without_lesions(rule):
    none = np.zeros_like(REF)
    missed = lesion_wise(none, REF, UNIT, rule=rule)
    assert (missed["sensitivity"], missed["f1"], missed["dice"]) == (0, 0, 0)
    assert math.isnan(missed["ppv"])
    invented = lesion_wise(PRED, none, UNIT, rule=rule)
    assert (invented["ppv"], invented["f1"], invented["dice"]) == (0, 0, 0)
    assert math.isnan(invented["sensitivity"])
    neither = lesion_wise(none, none, UNIT, rule=rule)
    assert all(math.isnan(neither[name]) for name in ("sensitivity", "ppv", "f1", "dice"))


def slow_detection(table, ref_sizes, pred_sizes, rule):
    """Straight from the definition, on the dense table, in loops."""
    found = []
    for i, size in enumerate(ref_sizes):
        row = table[i]
        if row.sum() / size <= rule.alpha:
            found.append(False)
            continue
        weight, sound = 0.0, True
        for j in sorted(range(len(row)), key=lambda j: (-row[j], j)):
            if row[j] == 0 or weight >= rule.gamma:
                break
            if (pred_sizes[j] - table[:, j].sum()) / pred_sizes[j] > rule.beta:
                sound = False
                break
            weight += row[j] / row.sum()
        found.append(sound)
    return found


@pytest.mark.parametrize("seed", range(8))
def test_detection_in_loops(seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 5, (6, 7, 5)), rng.integers(0, 4, (6, 7, 5))
    keep = rng.random((6, 7, 5)) < 0.5
    labels = labels[0], labels[1] * keep
    sizes = [np.array([(x == k).sum() for k in range(1, x.max() + 1)]) for x in labels]
    table = np.array(
        [[((labels[0] == i) & (labels[1] == j)).sum() for j in range(1, 4)] for i in range(1, 5)]
    )
    found = overlaps(labels[0], sizes[0], labels[1], sizes[1])
    for thresholds in ((0.1, 0.7, 0.65), (0.12, 0.5, 1.0), (0.01, 0.4, 0.3), (0.3, 0.3, 0.5)):
        rule = Detection(**dict(zip(("alpha", "beta", "gamma"), thresholds, strict=True)))
        assert detected(found, rule).tolist() == slow_detection(table, *sizes, rule)
        other = slow_detection(table.T, sizes[1], sizes[0], rule)
        assert detected(found.transposed, rule).tolist() == other


def slow_lesion_dice(pred, ref, dilation, limit):
    """BraTS 2023's procedure, lesion by lesion on whole arrays."""
    near = ndimage.generate_binary_structure(3, 2)
    every = np.ones((3, 3, 3))

    def grown(mask):
        return ndimage.binary_dilation(mask, near, iterations=dilation) if dilation else mask

    pred_labels, n_pred = ndimage.label(pred, every)
    joined, n = ndimage.label(grown(ref), every)
    scores, matched = [], set()
    for k in range(1, n + 1):
        lesion = ref & (joined == k)
        touching = set(np.unique(pred_labels[grown(lesion)]).tolist()) - {0}
        matched |= touching
        if lesion.sum() > limit:
            union = np.isin(pred_labels, list(touching))
            scores.append(2 * (lesion & union).sum() / (lesion.sum() + union.sum()))
    total = len(scores) + n_pred - len(matched)
    return sum(scores) / total if total else math.nan


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("dilation", [0, 1, 2])
def test_lesion_dice_lesion_by_lesion(seed, dilation):
    rng = np.random.default_rng(seed)
    fields = [ndimage.gaussian_filter(rng.normal(size=(14, 12, 10)), 0.9) for _ in range(3)]
    pred, ref = fields[0] + fields[1] > 0.55, fields[0] + fields[2] > 0.55
    got = lesion_dice(pred, ref, UNIT, dilation=dilation, min_lesion_mm3=2)
    assert got == pytest.approx(slow_lesion_dice(pred, ref, dilation, 2), rel=1e-12)


def test_lesions_that_nearly_touch_are_one():
    ref = boxes(box((0, 4)), box((5, 9)))
    pred = boxes(box((0, 4)))
    assert lesion_dice(pred, ref, UNIT, dilation=0) == 0.5
    assert lesion_dice(pred, ref, UNIT, dilation=1) == pytest.approx(2 / 3)


def test_panoptic_quality_by_hand():
    got = panoptic_quality(PRED, REF)
    assert got == pytest.approx(
        {
            **{"pq": 0.75 / 3, "sq": 0.75, "rq": 1 / 3, "tp": 1, "fp": 2, "fn": 2},
            **{"sq_dice": 24 / 28, "pq_dice": 24 / 28 / 3},
        }
    )
    half = boxes(box((0, 2)))  # IoU one half with the first lesion: not above
    assert panoptic_quality(half, REF)["tp"] == 0
    assert panoptic_quality(half, REF, threshold=0.49)["tp"] == 1


def test_panoptic_quality_below_one_half_is_greedy():
    ref = boxes(box((0, 4)), box((5, 9)))
    pred = boxes(box((0, 9)))  # one prediction over both: it matches one of them
    assert panoptic_quality(pred, ref, threshold=0.2)["tp"] == 1


def test_panoptic_quality_of_nothing():
    none = np.zeros_like(REF)
    for pair in ((none, REF), (PRED, none)):
        got = panoptic_quality(*pair)
        assert (got["pq"], got["rq"], got["pq_dice"]) == (0, 0, 0)
        assert math.isnan(got["sq"])
    assert math.isnan(panoptic_quality(none, none)["pq"])


CASES = [
    *("s01_sc_real_iso", "s02_sc_real_aniso", "s03_lesion_real_shift_fp"),
    *("s04_lesion_sag_split_merge", "s05_min_volume", "s08_multilabel", "s09_border_diagonal"),
]


@pytest.mark.parametrize("case", CASES)
def test_other_tools(fixtures, case):
    folder = fixtures / "anima" / case
    others = json.loads((folder / "expected.json").read_text())["other_libraries_binary"]
    images = [nib.load(folder / f"{side}.nii.gz") for side in ("pred", "ref")]
    pred, ref = (np.asarray(image.dataobj) > 0 for image in images)
    spacing = images[1].header.get_zooms()
    fork = others["MetricsReloaded_ivadomed_fork_git_4e3ca32_overlap0_1"]
    got = lesion_wise(pred, ref, spacing, rule="ivadomed")
    names = {"ppv": "lesion_ppv", "sensitivity": "lesion_sensitivity", "f1": "lesion_f1_score"}
    names |= {"n_ref": "ref_count", "n_pred": "pred_count"}
    for ours, theirs in names.items():
        assert got[ours] == pytest.approx(fork[theirs], rel=1e-6), ours
    panoptica = others["panoptica_2_1_7_default_iou0_5_conn26"]
    quality = panoptic_quality(pred, ref, threshold=0.5 - 1e-9)  # there 0.5 itself is a match
    assert (quality["tp"], quality["fp"], quality["fn"]) == tuple(
        panoptica[name] for name in ("tp", "fp", "fn")
    )
    for ours, theirs in {"pq": "pq", "rq": "rq", "pq_dice": "pq_dsc"}.items():
        assert quality[ours] == pytest.approx(panoptica[theirs], rel=1e-6), ours


def test_wrong_arguments():
    with pytest.raises((ValueError, TypeError), match="rule"):
        lesion_wise(PRED, REF, UNIT, rule="other")
    with pytest.raises(ValueError, match="alpha: got 2"):
        lesion_wise(PRED, REF, UNIT, alpha=2)
    with pytest.raises(ValueError, match="min_lesion_mm3: got -1"):
        lesion_dice(PRED, REF, UNIT, min_lesion_mm3=-1)
