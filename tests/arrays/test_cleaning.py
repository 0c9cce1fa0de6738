"""Rules on masks: by hand, against nnU-Net's own outputs, and against scipy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from score_jax.arrays.cleaning import Rule, clean, keep_largest
from score_jax.arrays.regions import Region, labels_from_masks, masks_from_labels
from score_jax.errors import ConfigError

REGIONS = (Region("cord", (1, 2), 1), Region("lesion", (2,), 2))
ALL = Rule(kind="largest", regions=("cord", "lesion"))
CORD = Rule(kind="largest", regions=("cord",))
LESION = Rule(kind="largest", regions=("lesion",))


def small(mm3):
    return Rule(kind="min_size", regions=("lesion",), min_mm3=mm3)


def row(*values):
    """A label map of one row, as masks."""
    return masks_from_labels(np.array(values).reshape(-1, 1, 1), REGIONS)


def labels(masks):
    return labels_from_masks(masks, REGIONS).ravel().tolist()


@pytest.mark.parametrize(
    ("name", "rule"),
    [("pp_all_foreground", ALL), ("pp_region_1_2", CORD), ("pp_label_2", LESION)],
)
def test_the_label_maps_are_those_of_nnunet(fixtures, name, rule):
    with np.load(fixtures / "nnunet/export/export.npz") as data:
        given, want = data["pp_in"], data[name]
    masks = masks_from_labels(given, REGIONS)
    got = clean(masks, REGIONS, [rule], 1.0)
    np.testing.assert_array_equal(labels_from_masks(got, REGIONS), want)
    assert not (got & ~masks).any()


def test_what_the_largest_component_leaves_behind_is_background_everywhere():
    masks = row(1, 2, 1, 1, 0, 2, 2, 0, 2)
    assert labels(clean(masks, REGIONS, [ALL], 1.0)) == [1, 2, 1, 1, 0, 0, 0, 0, 0]
    # the pair is the largest lesion; the single one inside the cord leaves a hole, as in nnU-Net
    got = clean(masks, REGIONS, [LESION], 1.0)
    assert labels(got) == [1, 0, 1, 1, 0, 2, 2, 0, 0]
    assert not got[1, 0, 0].any()
    # one rule after the other
    assert labels(clean(masks, REGIONS, [LESION, ALL], 1.0)) == [0, 0, 1, 1, 0, 2, 2, 0, 0]


def test_a_lesion_outside_the_cord_belongs_to_the_region_of_the_label_map():
    masks = np.zeros((6, 1, 1, 2), bool)
    masks[0:2, ..., 0] = True  # cord
    masks[3:6, ..., 1] = True  # lesion that the network found outside it: written as 2, hence cord
    assert labels(masks) == [1, 1, 0, 2, 2, 2]
    assert labels(clean(masks, REGIONS, [CORD], 1.0)) == [0, 0, 0, 2, 2, 2]


def test_a_small_lesion_becomes_what_lies_beneath():
    masks = row(1, 2, 1, 2, 2, 0)
    got = clean(masks, REGIONS, [small(2.0)], 1.0)
    assert labels(got) == [1, 1, 1, 2, 2, 0]
    assert masks[1, 0, 0, 1], "the argument is not changed"


@pytest.mark.parametrize(
    ("mm3", "voxel", "kept"), [(2.0, 1.0, 2), (2.0, 0.5, 0), (1.0, 0.5, 2), (2.01, 1.0, 0)]
)
def test_a_component_of_just_the_smallest_volume_stays(mm3, voxel, kept):
    got = clean(row(2, 2, 0, 2), REGIONS, [small(mm3)], voxel)
    assert int(got[..., 1].sum()) == kept


def test_corners_join_and_empty_masks_pass():
    masks = np.zeros((2, 3, 2, 2), bool)
    masks[0, 0, 0, 1] = masks[1, 1, 1, 1] = True
    np.testing.assert_array_equal(clean(masks, REGIONS, [LESION, small(2.0)], 1.0), masks)
    empty = np.zeros_like(masks)
    np.testing.assert_array_equal(clean(empty, REGIONS, [ALL, LESION, small(5.0)], 1.0), empty)
    np.testing.assert_array_equal(clean(masks, REGIONS, [], 1.0), masks)


def test_equally_large_components_all_stay():
    given = np.array([1, 1, 0, 2, 2, 0, 1]).reshape(-1, 1, 1)
    assert keep_largest(given, [1, 2]).ravel().tolist() == [1, 1, 0, 2, 2, 0, 0]
    np.testing.assert_array_equal(keep_largest(given, [7]), given)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10**6), mm3=st.integers(1, 12))
def test_against_scipy(seed, mm3):
    found = np.random.default_rng(seed).choice(3, (5, 6, 4), p=[0.75, 0.15, 0.1])
    masks = masks_from_labels(found, REGIONS)
    corners = np.ones((3, 3, 3))
    marked, count = ndimage.label(masks[..., 1], corners)
    sizes = ndimage.sum_labels(masks[..., 1], marked, np.arange(1, count + 1))
    large = np.isin(marked, 1 + np.flatnonzero(sizes * 0.5 >= mm3))
    got = clean(masks, REGIONS, [small(float(mm3))], 0.5)
    np.testing.assert_array_equal(got[..., 1], large)
    np.testing.assert_array_equal(got[..., 0], masks[..., 0])
    marked, count = ndimage.label(found > 0, corners)
    sizes = ndimage.sum_labels(found > 0, marked, np.arange(1, count + 1))
    most = np.isin(marked, 1 + np.flatnonzero(sizes == sizes.max(initial=0)))
    want = np.where(most, found, 0)
    np.testing.assert_array_equal(
        labels_from_masks(clean(masks, REGIONS, [ALL], 0.5), REGIONS), want
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "largest", "regions": ()}, "got no regions"),
        ({"kind": "largest", "regions": ("a",), "min_mm3": 1.0}, "expected none"),
        ({"kind": "min_size", "regions": ("a",)}, "a volume above 0"),
        ({"kind": "min_size", "regions": ("a", "b"), "min_mm3": 1.0}, "expected one region"),
        ({"kind": "min_size", "regions": ("a",), "min_mm3": float("inf")}, "a volume above 0"),
    ],
)
def test_impossible_rules_are_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        Rule(**arguments)


def test_rules_in_words():
    assert str(ALL) == "only the largest component of cord and lesion"
    assert str(small(2.5)) == "no component of lesion below 2.5 mm3"
