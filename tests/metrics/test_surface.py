"""Surface distances against all-pairs loops, SimpleITK and the numbers of other tools."""

import json
import math
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy.spatial.distance import cdist

from score_jax import metrics
from score_jax.errors import GeometryError
from score_jax.metrics.surface import contour, distances_between, voxels

from .make_simpleitk import raters
from .test_anima import ball

SPACING = (0.5, 1.25, 3.0)


def surface_by_loop(mask, edge):
    """Voxels with a face neighbour outside, one by one."""
    found = []
    for place in np.argwhere(mask):
        for axis in range(mask.ndim):
            for step in (-1, 1):
                other = place.copy()
                other[axis] += step
                beyond = not 0 <= other[axis] < mask.shape[axis]
                if (edge == "closed") if beyond else not mask[tuple(other)]:
                    found.append(tuple(place))
    return np.array(sorted(set(found)))


def random_pair(seed, shape=(6, 7, 5)):
    rng = np.random.default_rng(seed)
    fine = rng.normal(size=(2, *shape))
    coarse = rng.normal(size=shape)
    return tuple(coarse + 0.5 * noise > 0.4 for noise in fine)


@pytest.mark.parametrize("edge", ["closed", "open"])
@pytest.mark.parametrize("shape", [(6, 7, 5), (6, 9)])
@pytest.mark.parametrize("seed", [0, 1])
def test_all_scores_by_loop(edge, shape, seed):
    pred, ref = random_pair(seed, shape)
    spacing = SPACING[: len(shape)]
    points = [surface_by_loop(mask, edge) * spacing for mask in (pred, ref)]
    table = cdist(*points)
    forth, back = table.min(axis=1), table.min(axis=0)
    both = np.concatenate([forth, back])
    expected = {
        "hausdorff": both.max(),
        "hausdorff95": max(np.percentile(forth, 95), np.percentile(back, 95)),
        "assd": both.mean(),
        "masd": (forth.mean() + back.mean()) / 2,
        "nsd": np.mean(both <= 1.0),
    }
    for name, value in expected.items():
        got = getattr(metrics, name)(pred, ref, spacing, edge=edge)
        assert got == pytest.approx(value, rel=1e-12), name
    pooled = metrics.hausdorff95(pred, ref, spacing, edge=edge, pool="pooled")
    assert pooled == pytest.approx(np.percentile(both, 95), rel=1e-12)
    assert metrics.nsd(pred, ref, spacing, 2.0, edge=edge) == np.mean(both <= 2.0)


@pytest.mark.parametrize("edge", ["closed", "open"])
@pytest.mark.parametrize("sparse", [0, 10**9])
def test_contour_by_loop_both_ways(edge, sparse, monkeypatch):
    monkeypatch.setattr("score_jax.metrics.surface._SPARSE", sparse)
    mask = random_pair(3)[0]
    expected = surface_by_loop(mask, edge)
    np.testing.assert_array_equal(np.argwhere(contour(mask, edge)), expected)


@pytest.mark.parametrize("sparse", [0, 10**9])
def test_contour_of_labels_runs_on_both_sides(sparse, monkeypatch):
    monkeypatch.setattr("score_jax.metrics.surface._SPARSE", sparse)
    labels = np.zeros((7, 3), np.uint8)
    labels[:4], labels[4:] = 1, 2
    np.testing.assert_array_equal(contour(labels, "open")[:, 1], [0, 0, 0, 1, 1, 0, 0])


def test_a_single_slice_is_measured_as_2d():
    pred, ref = random_pair(4, (6, 9))
    for edge in ("closed", "open"):
        flat = metrics.assd(pred, ref, SPACING[:2], edge=edge)
        assert metrics.assd(pred[..., None], ref[..., None], SPACING, edge=edge) == flat


def test_the_edge_convention_matters_where_the_border_cuts():
    pred, ref = np.zeros((2, 8, 9, 5), bool)
    pred[2:6, 2:7], ref[2:6, 3:7] = True, True  # a bar from border to border
    open_, closed = (metrics.assd(pred, ref, (1, 1, 1), edge=e) for e in ("open", "closed"))
    assert open_ > closed  # the caps agree, so they dilute the difference
    assert closed == metrics.assd(pred, ref, (1, 1, 1))  # the default
    inside = [np.pad(m, 2) for m in (pred, ref)]
    opens = [metrics.assd(*inside, (1, 1, 1), edge=e) for e in ("open", "closed")]
    assert opens[0] == opens[1]


def test_a_mask_that_fills_the_image_has_a_surface():
    full, part = np.ones((4, 5, 6), bool), np.ones((4, 5, 6), bool)
    part[0] = False
    assert metrics.hausdorff(full, full, (1, 1, 1), edge="open") == 0
    assert metrics.hausdorff(full, part, (2, 1, 1), edge="open") > 0


def test_hollow_shapes_tell_surfaces_from_masks():
    full = ball((25, 25, 25), (12, 12, 12), 10)
    shell = full & ~ball((25, 25, 25), (12, 12, 12), 8)
    score = partial(metrics.hausdorff, full, shell, (1, 1, 1))
    assert score(between="masks") == pytest.approx(8.0623, abs=1e-4)
    assert score() == pytest.approx(math.sqrt(2), abs=1e-6)


def test_simpleitk():
    expected = json.loads((Path(__file__).parent / "data/simpleitk.json").read_text())["hausdorff"]
    for seed, value in zip(range(10, 16), expected, strict=True):
        pred, ref = raters(seed, 2)[:2] > 0
        got = metrics.hausdorff(pred, ref, SPACING, between="masks")
        assert got == pytest.approx(value, rel=1e-12)


OTHERS = {
    "medpy_0_5_2": {
        "hd": metrics.hausdorff,
        "hd95": partial(metrics.hausdorff95, pool="pooled"),
        "assd": metrics.assd,
    },
    "MetricsReloaded_0_1_0_git_cb38dfc": {
        "hd": metrics.hausdorff,
        "hd95": metrics.hausdorff95,
        "assd": metrics.assd,
        "masd": metrics.masd,
        "nsd_1mm": metrics.nsd,
        "nsd_2mm": partial(metrics.nsd, tolerance_mm=2.0),
    },
    "panoptica_2_1_7_default_iou0_5_conn26": {
        "global_assd": metrics.masd,
        "global_hd95": partial(metrics.hausdorff95, pool="pooled"),
    },
}


@pytest.mark.parametrize(
    "case",
    [
        *("s01_sc_real_iso", "s02_sc_real_aniso", "s03_lesion_real_shift_fp"),
        *("s04_lesion_sag_split_merge", "s05_min_volume", "s08_multilabel", "s09_border_diagonal"),
    ],
)
def test_other_tools(fixtures, case):
    folder = fixtures / "anima" / case
    others = json.loads((folder / "expected.json").read_text())["other_libraries_binary"]
    images = [nib.load(folder / f"{side}.nii.gz") for side in ("pred", "ref")]
    pred, ref = (np.asarray(image.dataobj) > 0 for image in images)
    spacing = [float(mm) for mm in images[1].header["pixdim"][1:4]]
    compared = 0
    for tool, names in OTHERS.items():
        for name, score in names.items():
            if name in others[tool]:
                got = score(pred, ref, spacing)
                assert got == pytest.approx(others[tool][name], rel=1e-6), (tool, name)
                compared += 1
    assert compared >= 9


NAN, DIAGONAL = math.nan, math.sqrt(2**2 + 3.75**2 + 12**2)


@pytest.mark.parametrize(
    ("name", "policy", "one", "neither"),
    [
        ("hausdorff", "nan", NAN, NAN),
        ("hausdorff", "worst", DIAGONAL, 0),
        ("hausdorff95", "worst", DIAGONAL, 0),
        ("assd", "nan", NAN, NAN),
        ("assd", "metrics_reloaded", NAN, 0),
        ("masd", "anima", NAN, NAN),
        ("nsd", "nan", 0, NAN),
        ("nsd", "worst", 0, 1),
        ("nsd", "metrics_reloaded", 0, 1),
    ],
)
def test_empty_masks(name, policy, one, neither):
    mask, empty = np.zeros((2, 5, 4, 5), bool)
    mask[1:3, 2, 2:4] = True
    score = partial(getattr(metrics, name), spacing=SPACING, empty=policy)
    np.testing.assert_allclose(score(mask, empty), one)
    np.testing.assert_allclose(score(empty, mask), one)
    np.testing.assert_allclose(score(empty, empty), neither)
    np.testing.assert_allclose(
        metrics.hausdorff(mask, empty, SPACING, between="masks", empty="worst"), DIAGONAL
    )
    assert math.isnan(metrics.hausdorff(empty, empty, SPACING, between="masks"))


def test_rounded_voxel_sizes_do_not_lose_a_tolerance():
    pred, ref = np.zeros((2, 6, 4, 4), bool)
    pred[1:3, 1:3, 1:3], ref[2:4, 1:3, 1:3] = True, True  # one voxel apart
    assert metrics.nsd(pred, ref, (np.float32(0.1), 1, 1), 0.1) == 1


def test_the_distance_transform_gives_the_same_as_the_tree(monkeypatch):
    pred, ref = random_pair(7, (9, 8, 7))
    scores = [
        partial(metrics.hausdorff, between="masks"),
        *(metrics.hausdorff, metrics.hausdorff95, metrics.assd),
    ]
    expected = [score(pred, ref, SPACING) for score in scores]
    monkeypatch.setattr("score_jax.metrics.surface._TREE_POINTS", 0)
    np.testing.assert_allclose([s(pred, ref, SPACING) for s in scores], expected, rtol=1e-6)
    one = np.zeros_like(pred)
    forth, back = distances_between(one, pred, np.array(SPACING))
    assert forth.size == 0
    assert np.isinf(back).all()


@pytest.mark.parametrize("order", ["C", "F"])
def test_voxels_are_those_of_argwhere(order):
    mask = np.array(random_pair(5)[0], order=order)
    got = voxels(mask)
    np.testing.assert_array_equal(got[np.lexsort(got.T[::-1])], np.argwhere(mask))


@pytest.mark.parametrize(
    ("score", "wrong"),
    [
        (metrics.assd, {"edge": "half"}),
        (metrics.hausdorff95, {"pool": "mean"}),
        (metrics.hausdorff, {"between": "points"}),
    ],
)
def test_wrong_arguments(score, wrong):
    with pytest.raises((ValueError, TypeError), match=next(iter(wrong))):  # beartype is faster
        score(*random_pair(0), SPACING, **wrong)


def test_wrong_spacing():
    with pytest.raises(GeometryError, match=r"spacing: got \[1.0, 1.0\]; expected 3"):
        metrics.assd(*random_pair(0), (1.0, 1.0))
