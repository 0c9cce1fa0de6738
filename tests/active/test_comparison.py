"""Pairs compared: hand numbers, and scipy called by itself."""

import numpy as np
import pytest
from scipy.stats import wilcoxon

from score_jax.active.comparison import paired


def test_all_of_six_rise():
    before = np.arange(6.0)
    found = paired(before, before + np.arange(1.0, 7))
    assert found.p == pytest.approx(2 / 2**6)  # both tails, one of 64 signs each
    assert (found.n, found.zeros, found.ties, found.missing) == (6, 0, False, 0)
    assert (found.statistic, found.method) == (0, "exact")
    assert found.mean_difference == pytest.approx(3.5)
    assert (found.median_before, found.median_after) == (2.5, 6)


def test_zeros_and_ties(rng):
    before = rng.normal(size=9)
    change = np.array([0, 0, 1, -1, 2, 3, 3, -4, 5.0])
    after = before + change
    found = paired(before, after)
    assert (found.n, found.zeros, found.ties, found.method) == (9, 2, True, "all signs")
    expected = wilcoxon(change)
    assert (found.statistic, found.p) == (expected.statistic, expected.pvalue)


@pytest.mark.parametrize(("count", "method"), [(50, "exact"), (51, "normal approximation")])
def test_many_pairs_as_scipy(rng, count, method):
    before, after = rng.normal(size=count), rng.normal(0.3, 1, size=count)
    found = paired(before, after)
    expected = wilcoxon(after, before)
    assert found.p == pytest.approx(expected.pvalue, rel=1e-6)
    assert found.method == method


def test_ties_among_many_pairs(rng):
    before = np.zeros(14)
    after = np.array([1.0, 1, -1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12])
    found = paired(before, after)
    assert (found.zeros, found.ties, found.method) == (0, True, "normal approximation")
    assert found.p == pytest.approx(wilcoxon(after).pvalue)


def test_no_scan_differs():
    found = paired(np.array([1.0, 2.0]), np.array([1.0, 2.0]))
    assert np.isnan(found.p)
    assert np.isnan(found.statistic)
    assert (found.n, found.zeros, found.mean_difference) == (2, 2, 0)
    assert found.method == "undefined: no scan differs"


def test_one_scan_differs():
    found = paired(np.array([1.0]), np.array([3.0]))
    assert (found.p, found.method, found.mean_difference) == (1, "exact", 2)


def test_rounding_makes_no_difference_and_no_tie():
    before = np.array([0.1 + 0.2, 1.0, 2.0])
    found = paired(before, np.array([0.3, 1.0, 2.5]))
    assert (found.zeros, found.p) == (2, 1)


def test_unknown_numbers_are_left_out_and_counted():
    nan = np.nan
    found = paired(np.array([1, nan, 2, nan]), np.array([2.0, 3.0, nan, nan]))
    assert (found.n, found.missing, found.mean_difference) == (1, 3, 1)


def test_nothing_at_all():
    found = paired(np.zeros(0), np.zeros(0))
    assert found.n == 0
    assert np.isnan([found.p, found.median_before, found.median_after]).all()
    assert np.isnan(found.mean_difference)
