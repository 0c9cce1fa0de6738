"""Overlap and volume against hand counts and against other tools' numbers."""

import json
import math

import nibabel as nib
import numpy as np
import pytest

from score_jax import metrics
from score_jax.errors import GeometryError, ImageError

PRED, REF = np.zeros((2, 3, 4, 5), bool)
PRED[0, 0, :4], PRED[1, 1, :2] = True, True  # 6 voxels
REF[0, 0, 1:5], REF[2, 2, 0] = True, True  # 5 voxels, 3 shared
EMPTY = np.zeros((3, 4, 5), bool)
TP, FP, FN, TN = 3, 3, 2, 60 - 8


def test_by_hand():
    assert metrics.counts(PRED, REF) == metrics.Counts(TP, FP, FN, TN)
    expected = {
        **{"dice": 6 / 11, "jaccard": 3 / 8, "sensitivity": 3 / 5, "specificity": 52 / 55},
        **{"ppv": 1 / 2, "npv": 52 / 54, "relative_volume_error": 20.0},
        "volumetric_similarity": 1 - 1 / 11,
    }
    for name, value in expected.items():
        assert getattr(metrics, name)(PRED, REF) == pytest.approx(value, rel=1e-12), name


def test_volumes_and_areas_by_hand():
    spacing = (0.5, 2.0, 3.0)
    assert metrics.volume_difference(PRED, REF, spacing) == pytest.approx(3.0)
    np.testing.assert_allclose(
        metrics.area_difference(PRED, REF, spacing, axis=2), np.array([1.0, 1, 0, 0, -1])
    )
    np.testing.assert_allclose(metrics.areas(PRED, spacing, axis=0), np.array([4, 2, 0]) * 6.0)
    np.testing.assert_allclose(metrics.areas(PRED, spacing), metrics.areas(PRED, spacing, axis=2))


NAN = math.nan


@pytest.mark.parametrize(
    ("name", "policy", "no_pred", "no_ref", "neither"),
    [
        ("dice", "nan", 0, 0, NAN),
        ("dice", "worst", 0, 0, 1),
        ("dice", "anima", 0, NAN, NAN),
        ("dice", "metrics_reloaded", 0, 0, 1),
        ("jaccard", "nan", 0, 0, NAN),
        ("sensitivity", "nan", 0, NAN, NAN),
        ("sensitivity", "worst", 0, 0, 1),
        ("ppv", "nan", NAN, 0, NAN),
        ("ppv", "worst", 0, 0, 1),
        ("ppv", "anima", NAN, NAN, NAN),
        ("ppv", "metrics_reloaded", 0, 0, 1),
        ("sensitivity", "metrics_reloaded", 0, NAN, 1),
        ("specificity", "nan", 1, 54 / 60, 1),
        ("specificity", "anima", 1, NAN, NAN),
        ("npv", "nan", 55 / 60, 1, 1),
        ("npv", "anima", 55 / 60, NAN, NAN),
        ("volumetric_similarity", "nan", 0, 0, NAN),
    ],
)
def test_empty_masks(name, policy, no_pred, no_ref, neither):
    score = getattr(metrics, name)
    pairs = (EMPTY, REF), (PRED, EMPTY), (EMPTY, EMPTY)
    got = [score(*pair, empty=policy) for pair in pairs]
    np.testing.assert_allclose(got, [no_pred, no_ref, neither])


def test_volume_error_of_empty_masks():
    assert metrics.relative_volume_error(EMPTY, REF) == -100
    assert math.isnan(metrics.relative_volume_error(PRED, EMPTY))
    assert math.isnan(metrics.relative_volume_error(EMPTY, EMPTY))
    assert metrics.volume_difference(EMPTY, EMPTY, (1, 1, 1)) == 0


def test_what_counts_as_a_mask():
    assert metrics.dice(PRED * 255, REF.astype(np.float32)) == metrics.dice(PRED, REF)
    with pytest.raises(
        ImageError,
        match=r"prediction: got values that are not whole numbers.*threshold a soft mask",
    ):
        metrics.dice(PRED * 0.5, REF)
    with pytest.raises(GeometryError, match=r"prediction of shape \(3, 4\).*\(3, 4, 5\)"):
        metrics.dice(PRED[..., 0], REF)
    with pytest.raises((ValueError, TypeError), match="empty"):  # here beartype is faster
        metrics.dice(PRED, REF, empty="one")


OTHERS = {  # name here -> where the fixtures keep it
    "dice": ("medpy_0_5_2", "dc"),
    "jaccard": ("medpy_0_5_2", "jc"),
    "sensitivity": ("medpy_0_5_2", "sensitivity"),
    "specificity": ("medpy_0_5_2", "specificity"),
    "ppv": ("medpy_0_5_2", "precision"),
    "kappa": ("MetricsReloaded_0_1_0_git_cb38dfc", "cohens_kappa"),
    "relative_volume_error": (
        "MetricsReloaded_ivadomed_fork_git_4e3ca32_overlap0_1",
        "rel_vol_error",
    ),
}


@pytest.mark.parametrize("case", ["s01_sc_real_iso", "s02_sc_real_aniso", "s08_multilabel"])
def test_other_tools(fixtures, case):
    folder = fixtures / "anima" / case
    others = json.loads((folder / "expected.json").read_text())["other_libraries_binary"]
    pred, ref = (
        np.asarray(nib.load(folder / f"{side}.nii.gz").dataobj) > 0 for side in ("pred", "ref")
    )
    for name, (tool, theirs) in OTHERS.items():
        got = getattr(metrics, name)(pred, ref)
        assert got == pytest.approx(others[tool][theirs], rel=1e-6), name
