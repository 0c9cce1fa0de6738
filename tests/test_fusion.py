"""Votes by hand; STAPLE against SimpleITK and the equations written out voxel by voxel."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from score_jax import fusion
from score_jax.errors import GeometryError, ImageError

from .metrics.make_simpleitk import raters

THEIRS = json.loads((Path(__file__).parent / "metrics/data/simpleitk.json").read_text())


def test_majority_by_hand():
    a = np.array([[1, 1, 1, 0], [0, 0, 0, 0], [1, 1, 0, 0]], bool)
    b = np.array([[1, 1, 0, 0], [1, 0, 0, 0], [1, 0, 1, 0]], bool)
    c = np.array([[1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]], bool)
    got = fusion.majority([a, b, c])
    assert got.dtype == bool
    np.testing.assert_array_equal(got, [[1, 1, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0]])
    # two raters: a tie is background, or foreground if asked
    np.testing.assert_array_equal(fusion.majority([a, b]), a & b)
    np.testing.assert_array_equal(fusion.majority([a, b], ties="highest"), a | b)


def test_majority_of_labels():
    votes = np.array([[0, 1, 2, 2, 5], [0, 1, 1, 2, 7], [3, 1, 2, 0, 5], [3, 0, 0, 0, 7]], np.int16)
    got = fusion.majority(votes)
    assert got.dtype == np.int16
    assert got.tolist() == [0, 1, 2, 0, 5]
    assert fusion.majority(votes, ties="highest").tolist() == [3, 1, 2, 2, 7]


def test_majority_of_simpleitk():
    votes = raters(2, 4, n=4)
    decided = np.array(THEIRS["voting"]) != 99  # its mark for ties
    got = fusion.majority(votes).ravel()
    np.testing.assert_array_equal(got[decided], np.array(THEIRS["voting"])[decided])
    assert (~decided).any()


def test_binary_staple_of_simpleitk():
    votes = raters(1, 2)
    found = fusion.fit_staple(votes)
    np.testing.assert_allclose(found.sensitivity(), THEIRS["binary"]["sensitivity"], atol=2e-6)
    np.testing.assert_allclose(found.specificity(), THEIRS["binary"]["specificity"], atol=2e-6)
    theirs = np.array(THEIRS["binary"]["probability"]).reshape(votes.shape[1:])
    np.testing.assert_allclose(found.probability(), theirs, atol=2e-6)
    np.testing.assert_array_equal(found.consensus, theirs > 0.5)
    assert found.converged
    np.testing.assert_allclose(found.probability(0) + found.probability(1), 1)


def one_step(votes, confusion, prior):
    """Expectation and maximisation, written out voxel by voxel (Warfield 2004, 18 and 19)."""
    k = len(prior)
    posterior = np.array(
        [
            [prior[t] * np.prod([confusion[r][v[r], t] for r in range(len(v))]) for t in range(k)]
            for v in votes.reshape(len(votes), -1).T
        ]
    )
    likelihood = np.log(posterior.sum(axis=1)).sum()
    posterior /= posterior.sum(axis=1, keepdims=True)
    new = np.zeros_like(confusion)
    for r, rater in enumerate(votes.reshape(len(votes), -1)):
        for said in range(k):
            new[r, said] = posterior[rater == said].sum(axis=0) / posterior.sum(axis=0)
    return posterior, new, likelihood


@pytest.mark.parametrize("labels", [2, 4])
def test_staple_is_where_the_equations_stand_still(labels):
    votes = raters(5, labels, n=4)
    found = fusion.fit_staple(votes)
    posterior, again, likelihood = one_step(votes, found.confusion, found.prior)
    np.testing.assert_allclose(again, found.confusion, atol=1e-9)
    np.testing.assert_allclose(likelihood, found.log_likelihood[-1], rtol=1e-9)
    for value in range(labels):
        np.testing.assert_allclose(found.probability(value).ravel(), posterior[:, value], atol=1e-8)
    np.testing.assert_allclose(found.prior, [np.mean(votes == v) for v in range(labels)])
    assert np.diff(found.log_likelihood).min() > -1e-9
    np.testing.assert_allclose(found.confusion.sum(axis=1), 1)


def test_multi_label_staple_and_simpleitk():
    """SimpleITK stops at another point of rest (it starts from the vote); ours is as likely."""
    votes = raters(2, 4, n=4)
    theirs = np.array([np.reshape(c, (-1, 4))[:4] for c in THEIRS["multi"]["confusion"]])
    found = fusion.fit_staple(votes)
    _, again, likelihood = one_step(votes, theirs, found.prior)
    np.testing.assert_allclose(again, theirs, atol=1e-9)
    assert found.log_likelihood[-1] >= likelihood
    different = found.consensus.ravel() != np.array(THEIRS["multi"]["consensus"])
    assert different.mean() < 0.01
    np.testing.assert_allclose(found.confusion, theirs, atol=0.02)


def test_specificity_of_one_of_several_labels():
    votes = raters(2, 4, n=4)
    found = fusion.fit_staple(votes)
    weights = found.prior[[0, 1, 3]]
    wrong = found.confusion[0, 2, [0, 1, 3]] @ weights / weights.sum()
    assert found.specificity(2)[0] == pytest.approx(1 - wrong)
    with pytest.raises(ValueError, match=r"value: got 9; expected one of \[0, 1, 2, 3\]"):
        found.probability(9)


def test_a_bad_rater_is_told_from_good_ones(rng):
    truth = np.zeros((6, 7, 8), bool)
    truth[1:5, 2:6, 2:7] = True
    good = [truth ^ (rng.random(truth.shape) < 0.02) for _ in range(2)]
    bad = [rng.random(truth.shape) < 0.5 for _ in range(3)]
    found = fusion.fit_staple([*good, *bad])
    assert (found.consensus == truth).mean() > 0.95
    assert (fusion.majority([*good, *bad]) == truth).mean() < 0.9
    assert found.sensitivity()[:2].min() > 0.85 > 0.6 > found.sensitivity()[2:].max()


def test_a_prior_of_ones_own():
    votes = raters(1, 2, n=2)
    few, many = (fusion.staple(votes, prior=p).sum() for p in ([0.999, 0.001], [0.2, 0.8]))
    assert few <= many
    found = fusion.fit_staple(votes, prior=[3, 1])
    np.testing.assert_allclose(found.prior, [0.75, 0.25])
    with pytest.raises(ValueError, match="expected 2 numbers above 0"):
        fusion.staple(votes, prior=[1.0, 0.0])


@pytest.mark.parametrize("value", [0, 1])
def test_raters_who_agree(value):
    masks = np.full((3, 2, 3, 4), value, bool)
    found = fusion.fit_staple(masks)
    assert (found.consensus == value).all()
    assert found.consensus.dtype == bool
    assert found.converged
    np.testing.assert_array_equal(fusion.majority(masks), masks[0])
    labels = np.full((3, 4), 5, np.uint8)
    assert fusion.staple(labels).tolist() == [5] * 4


def test_many_raters_are_sorted_instead_of_counted(monkeypatch):
    votes = raters(3, 3, n=4)
    counted = fusion.fit_staple(votes)
    monkeypatch.setattr(fusion, "_COUNTED", 0)
    found = fusion.fit_staple(votes)
    np.testing.assert_allclose(found.confusion, counted.confusion, rtol=1e-9)
    np.testing.assert_array_equal(found.consensus, counted.consensus)


def test_stopped_early():
    found = fusion.fit_staple(raters(1, 2), max_iterations=2)
    assert not found.converged
    assert len(found.log_likelihood) == 2


def test_what_is_refused():
    a = np.zeros((3, 4, 5), bool)
    for fuse in (fusion.majority, fusion.staple):
        with pytest.raises(ValueError, match="got 1; expected two or more"):
            fuse([a])
        with pytest.raises(GeometryError, match=r"\(3, 4, 5\) first and \(3, 4\) as number 2"):
            fuse([a, a[..., 0]])
        with pytest.raises(ImageError, match="number 2 holds values that are not whole numbers"):
            fuse([a, a + 0.5])
    with pytest.raises((ValueError, TypeError), match="ties"):
        fusion.majority([a, a], ties="random")
    assert fusion.majority([a.astype(float), a]).dtype.kind in "iu"


votes_of = st.integers(2, 5).flatmap(
    lambda n: hnp.arrays(np.int8, (n, 2, 3, 4), elements=st.integers(0, 3))
)


@settings(deadline=None, max_examples=40)
@given(votes_of, st.randoms(use_true_random=False))
def test_the_order_of_raters_does_not_matter(votes, random):
    order = list(range(len(votes)))
    random.shuffle(order)
    for ties in ("lowest", "highest"):
        got = fusion.majority(votes[order], ties=ties)
        np.testing.assert_array_equal(got, fusion.majority(votes, ties=ties))


@pytest.mark.parametrize("order", [[1, 2, 0], [2, 1, 0]])
@pytest.mark.parametrize("labels", [2, 3])
def test_staple_of_raters_in_another_order(order, labels):
    """Where raters are alike by symmetry, rounding may choose between equal solutions; here not."""
    votes = raters(7, labels)
    found, other = fusion.fit_staple(votes), fusion.fit_staple(votes[order])
    np.testing.assert_allclose(other.confusion, found.confusion[order], atol=1e-8)
    np.testing.assert_array_equal(other.consensus, found.consensus)


@settings(deadline=None, max_examples=40)
@given(votes_of)
def test_invariants(votes):
    same = np.stack([votes[0]] * 3)
    np.testing.assert_array_equal(fusion.majority(same), votes[0])
    np.testing.assert_array_equal(fusion.staple(same), votes[0])
    flipped = fusion.majority(votes[:, ::-1, :, ::-1])[::-1, :, ::-1]
    np.testing.assert_array_equal(flipped, fusion.majority(votes))
    renamed = fusion.majority(votes * 3)
    np.testing.assert_array_equal(renamed, fusion.majority(votes) * 3)
    won = fusion.majority(votes)
    assert ((votes == won).sum(axis=0) * len(np.unique(votes)) >= len(votes)).all()
