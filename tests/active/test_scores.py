"""How far opinions lie apart: hand numbers, an independent loop, and properties."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from score_jax import metrics
from score_jax.active.scores import REACH, Opinions, combined, disagreement, entropy


def row(*voxels, length=5):
    mask = np.zeros((length, 1, 1), bool)
    mask[list(voxels)] = True
    return mask


def test_disagreement_by_hand():
    # Dice of {1, 2} and {2, 3} is 1/2; either with nothing is 0
    three = np.stack([row(1, 2), row(2, 3), row()])
    assert disagreement(three) == pytest.approx(1 - (0.5 + 0 + 0) / 3)
    assert disagreement(np.stack([row(), row()])) == 0
    assert disagreement(np.stack([row(1), row(1)])) == 0
    assert np.isnan(disagreement(row(1)[None]))


@settings(deadline=None, max_examples=30)
@given(arrays(bool, (4, 2, 3, 2)))
def test_disagreement_is_one_minus_the_mean_dice_of_pairs(masks):
    pairs = [metrics.dice(a, b, empty="worst") for a, b in itertools.combinations(masks, 2)]
    assert disagreement(masks) == pytest.approx(1 - np.mean(pairs), abs=1e-12)


def test_entropy_by_hand():
    share = np.array([0.0, 1.0, 0.5, 0.25, 0.75], np.float32)
    np.testing.assert_allclose(entropy(share), [0, 0, 1, 0.8112781, 0.8112781], atol=1e-6)


def opinions(*shares):
    found = Opinions()
    for share in shares:
        array = np.array(share, np.float32)[:, None, None, None]
        found.add(array > 0.5, array)
    return found


def test_opposite_and_equally_unsure_opinions():
    opposite = opinions([1.0, 0.0], [0.0, 0.0])
    assert len(opposite) == 2
    assert opposite.entropy(0) == pytest.approx(1)  # the second voxel is in nobody's reach
    assert opposite.mutual_information(0) == pytest.approx(1)
    assert opposite.disagreement(0) == 1
    unsure = opinions([0.5, 0.5], [0.5, 0.5])
    assert unsure.entropy(0) == pytest.approx(1)
    assert unsure.mutual_information(0) == pytest.approx(0, abs=1e-6)
    assert unsure.disagreement(0) == 0


def test_mutual_information_by_hand():
    # mean .6: h(.6) = .9709506; own h(.9) = .4689956, h(.3) = .8812909
    found = opinions([0.9], [0.3])
    assert found.entropy(0) == pytest.approx(0.9709506, abs=1e-6)
    expected = 0.9709506 - (0.4689956 + 0.8812909) / 2
    assert found.mutual_information(0) == pytest.approx(expected, abs=1e-6)


def test_one_opinion_and_none_in_reach():
    assert np.isnan(opinions([0.7]).mutual_information(0))
    assert np.isnan(opinions([0.7]).disagreement(0))
    sure = opinions([0.0, 0.05], [0.0, 0.0])
    assert sure.entropy(0) == 0
    assert sure.mutual_information(0) == 0


def test_the_field_of_view_does_not_count():
    near = opinions([0.9, 0.4], [0.6, 0.2])
    far = opinions([0.9, 0.4] + [0.0] * 50, [0.6, 0.2] + [0.0] * 50)
    assert far.entropy(0) == pytest.approx(near.entropy(0))
    assert far.mutual_information(0) == pytest.approx(near.mutual_information(0))


def test_reach_is_that_of_the_boldest_opinion():
    # mean .06 would be out of reach, the larger of the two is not
    found = opinions([0.12, REACH - 0.001], [0.0, 0.0])
    assert found.entropy(0) == pytest.approx(float(entropy(np.array([0.06]))[0]), abs=1e-6)


def test_regions_are_told_apart():
    found = Opinions()
    share = np.zeros((2, 1, 1, 2), np.float32)
    share[0, ..., 1] = 0.5
    for drawn in (True, False):
        mask = np.zeros(share.shape, bool)
        mask[1, ..., 1] = drawn
        found.add(mask, share)
    assert (found.disagreement(0), found.disagreement(1)) == (0, 1)
    assert (found.entropy(0), found.entropy(1)) == (0, 1)


WEIGHTS = {"disagreement": 2.0, "entropy": 1.0, "size": 1.0}


def test_score_by_hand():
    measures = {
        "disagreement": np.array([0.1, 0.9, 0.5]),  # places 1/6, 5/6, 3/6
        "entropy": np.array([3.0, 3.0, 1.0]),  # 4/6, 4/6, 1/6
        "size": np.array([0.0, 10.0, 2000.0]),  # 1/6, 3/6, 5/6
    }
    expected = [(2 / 6 + 4 / 6 + 1 / 6) / 4, (10 / 6 + 4 / 6 + 3 / 6) / 4, (1 + 1 / 6 + 5 / 6) / 4]
    np.testing.assert_allclose(combined(measures, WEIGHTS), expected)
    np.testing.assert_allclose(
        combined(measures, {**WEIGHTS, "disagreement": 0, "entropy": 0}), [1 / 6, 0.5, 5 / 6]
    )


def test_unknown_measures_are_left_out():
    nan = np.full(2, np.nan)
    size = np.array([5.0, 4.0])
    measures = {"disagreement": nan, "entropy": nan, "size": size}
    np.testing.assert_allclose(combined(measures, WEIGHTS), [0.75, 0.25])
    one = {**measures, "entropy": np.array([1.0, np.nan])}  # known of some: cannot be compared
    np.testing.assert_allclose(combined(one, WEIGHTS), [0.75, 0.25])
    np.testing.assert_allclose(combined({**measures, "size": nan}, WEIGHTS), [0.5, 0.5])


@settings(deadline=None, max_examples=30)
@given(st.lists(st.floats(0, 1e3), min_size=1, max_size=8), st.floats(0.01, 100))
def test_units_do_not_matter(values, factor):
    one = np.array(values)
    flat = np.zeros_like(one)
    measures = {"disagreement": flat, "entropy": flat, "size": one}
    scores = combined(measures, WEIGHTS)
    scaled = np.round(one * factor, 6)
    if len(np.unique(scaled)) == len(np.unique(one)):
        np.testing.assert_allclose(combined({**measures, "size": scaled}, WEIGHTS), scores)
    assert ((scores >= 0) & (scores <= 1)).all()
