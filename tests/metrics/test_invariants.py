"""What must not change when the same anatomy is stored or measured another way."""

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from score_jax.metrics import anima, everything, kappa

# ANIMA's SurfaceDistance depends on the order of the voxels, by its nature
ORDER = {"SurfaceDistance"}
MM = {
    *("HausdorffDistance", "ContourMeanDistance", "SurfaceDistance"),
    *("AverageSymmetricSurfaceDistance", "hausdorff", "hausdorff95", "hausdorff95_pooled"),
    *("assd", "masd"),
}
MM3 = {"VolTestedLesions", "volume_pred", "volume_ref", "volume_difference"}
TOLERANCES = {"nsd_1mm", "nsd_2mm"}  # a fixed number of mm
BACKGROUND = {"specificity", "Specificity", "npv", "NPV", "kappa", "tn"}  # depend on the view

shapes = st.tuples(*(st.integers(2, 6) for _ in range(3)))
pairs = shapes.flatmap(lambda shape: hnp.arrays(bool, (2, *shape)))
spacings = st.tuples(*(st.sampled_from([0.5, 1.0, 1.25, 3.0]) for _ in range(3)))
lax = settings(deadline=None, max_examples=40)


def assert_same(got, expected, but=frozenset(), rel=1e-9):
    assert set(got) == set(expected)
    for name in set(expected) - set(but):
        np.testing.assert_allclose(got[name], expected[name], rel, 1e-9, err_msg=name)


@lax
@given(pairs, spacings, st.sets(st.sampled_from([0, 1, 2])))
def test_flips(pair, spacing, axes):
    flipped = [np.flip(mask, tuple(axes)) for mask in pair]
    assert_same(everything(*flipped, spacing), everything(*pair, spacing), ORDER)


@lax
@given(pairs, spacings, st.permutations([0, 1, 2]))
def test_transposes(pair, spacing, order):
    turned = [mask.transpose(order) for mask in pair]
    sizes = [spacing[axis] for axis in order]
    assert_same(everything(*turned, sizes), everything(*pair, spacing), ORDER)


@lax
@given(pairs, spacings, st.sampled_from([0.25, 2.0, 4.0]))
def test_larger_voxels_scale_lengths_and_volumes(pair, spacing, factor):
    before = everything(*pair, spacing, lesions=False)
    after = everything(*pair, [mm * factor for mm in spacing], lesions=False)
    for name in MM & before.keys():
        before[name] *= factor
    for name in MM3 & before.keys():
        before[name] *= factor**3
    assert_same(after, before, TOLERANCES | {"NbTestedLesions", "VolTestedLesions"})


@lax
@given(pairs, spacings, st.tuples(*(st.integers(1, 3) for _ in range(6))))
def test_translation_inside_the_image(pair, spacing, margins):
    """With background all round, only what counts the background sees the move."""
    inner = [np.pad(mask, 1) for mask in pair]
    widths = [(1 + margins[2 * axis], 1 + margins[2 * axis + 1]) for axis in range(3)]
    moved = [np.pad(mask, widths) for mask in pair]
    assert_same(everything(*moved, spacing), everything(*inner, spacing), BACKGROUND)


@lax
@given(pairs, spacings, st.permutations([1, 2, 7, 200]))
def test_relabelling(pair, spacing, values):
    """Other values in the same order are the same labels to ANIMA; merged ones do not matter."""
    labels = [mask.astype(np.uint8) + np.roll(mask, 1) for mask in pair]  # 0, 1, 2
    low, high = sorted(values[:2])
    renamed = [np.choose(image, [0, low, high]).astype(np.int16) for image in labels]
    assert_same(anima(*renamed, spacing), anima(*labels, spacing))
    assert_same(everything(*renamed, spacing), everything(*labels, spacing))


@lax
@given(pairs, spacings)
def test_exchanging_the_roles(pair, spacing):
    forth, back = everything(*pair, spacing), everything(*pair[::-1], spacing)
    same = {"dice", "jaccard", "kappa", "volumetric_similarity", "lesion_f1", "pq", "rq", "sq"}
    same |= {"hausdorff", "hausdorff95", "hausdorff95_pooled", "assd", "masd", "nsd_1mm", "tp"}
    assert_same({n: back[n] for n in same}, {n: forth[n] for n in same})
    opposite = {"sensitivity": "ppv", "specificity": "npv", "lesion_sensitivity": "lesion_ppv"}
    for one, other in opposite.items():
        if one != "specificity":
            np.testing.assert_allclose(back[one], forth[other], err_msg=one)
    assert back["volume_difference"] == -forth["volume_difference"]


@lax
@given(pairs, spacings)
def test_bounds_and_order(pair, spacing):
    got = everything(*pair, spacing)
    for name in ("dice", "jaccard", "nsd_1mm", "nsd_2mm", "pq", "lesion_f1", "lesion_dice"):
        assert math.isnan(got[name]) or 0 <= got[name] <= 1, name
    if not math.isnan(got["hausdorff"]):
        rounding = 1 + 1e-12
        assert got["assd"] <= got["hausdorff"] * rounding
        assert got["hausdorff95_pooled"] <= got["hausdorff"] * rounding
        assert got["hausdorff95"] <= got["hausdorff"] * rounding
        assert got["nsd_1mm"] <= got["nsd_2mm"]
    if not math.isnan(got["dice"]):
        np.testing.assert_allclose(got["dice"], 2 * got["jaccard"] / (1 + got["jaccard"]))


@lax
@given(pairs, spacings)
def test_a_mask_against_itself(pair, spacing):
    mask = pair[0]
    got = everything(mask, mask, spacing)
    if not mask.any():
        assert math.isnan(got["dice"])
        return
    assert got["dice"] == got["nsd_1mm"] == got["pq"] == 1
    assert got["hausdorff"] == got["assd"] == got["volume_difference"] == 0
    assert math.isnan(kappa(mask, mask)) if mask.all() else kappa(mask, mask) == 1
