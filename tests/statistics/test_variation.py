"""Coefficients of variation: the example of R's cvequality, and paired resampling."""

import math

import numpy as np
import pytest

from score_jax.statistics.variation import bootstrap_cv_ratio, feltz_miller


def test_the_example_of_cvequality():
    # ELISA, WEHI, viral inhibition: CV .090, .462, .340 of five each (Feltz and Miller 1996)
    mean = np.array([6.8, 8.5, 6.0])
    found = feltz_miller([5, 5, 5], mean * [0.090, 0.462, 0.340], mean)
    assert (f"{found.statistic:.2f}", f"{found.p:.3f}") == ("5.53", "0.063")
    # by hand: D = .892 / 3, sum of 4 (CV - D)^2 = .2876907, D^2 = .0884071
    assert found.statistic == pytest.approx(0.2876906667 / (0.0884071111 * 0.5884071111), rel=1e-8)
    assert found.p == pytest.approx(math.exp(-found.statistic / 2))  # chi2 of two degrees
    assert (found.df, found.n) == (2, 15)


def test_feltz_miller_without_evidence():
    assert "two groups" in feltz_miller([5, 1], [1.0, 1.0], [3.0, 3.0]).note
    assert "two groups" in feltz_miller([5, 5], [1.0, 1.0], [3.0, 0.0]).note
    assert "no spread" in feltz_miller([5, 5], [0.0, 0.0], [3.0, 3.0]).note
    assert feltz_miller([9, 9], [2.0, 2.0], [10.0, 10.0]).p == 1


def test_bootstrap(rng):
    a = rng.normal(100, 10, 24)
    half = 100 + 0.5 * (a - 100)
    found = bootstrap_cv_ratio(a, half, seed=3)
    cv = [values.std(ddof=1) / values.mean() for values in (a, half)]
    assert found.estimate == pytest.approx(math.log(cv[1] / cv[0]))
    assert found.low < found.estimate < found.high < 0
    assert found.p < 0.01
    assert found == bootstrap_cv_ratio(a, half, seed=3)
    assert found.low != bootstrap_cv_ratio(a, half, seed=4).low
    unrelated = bootstrap_cv_ratio(a, rng.normal(100, 10, 24))
    assert unrelated.low < 0 < unrelated.high
    assert unrelated.p > 0.05


def test_bootstrap_without_evidence():
    assert "three pairs" in bootstrap_cv_ratio([1.0, 2.0, math.nan], [1.0, 2.0, 3.0]).note
    assert "no spread" in bootstrap_cv_ratio([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]).note
    assert "above 0" in bootstrap_cv_ratio([1.0, 2.0, 3.0], [-1.0, -2.0, -3.0]).note
