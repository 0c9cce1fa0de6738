"""Tukey's ladder: rcompanion's published example, a slow loop, its edges."""

import math

import numpy as np
import pytest
from scipy.stats import shapiro

from score_jax.statistics.ladder import POWERS, Ladder, _w, tukey_ladder

# "Transforming data", Summary and Analysis of Extension Program Evaluation in R: lambda -0.1
TURBIDITY = [
    1.0, 1.2, 1.1, 1.1, 2.4, 2.2, 2.6, 4.1, 5.0, 10.0, 4.0, 4.1, 4.2, 4.1, 5.1, 4.5, 5.0, 15.2,
    10.0, 20.0, 1.1, 1.1, 1.2, 1.6, 2.2, 3.0, 4.0, 10.5,
]  # fmt: skip


def test_the_published_example():
    found = tukey_ladder(TURBIDITY)
    assert found.power == pytest.approx(-0.1)
    assert found.w == pytest.approx(0.935, abs=5e-4)
    assert (found.offset, found.n, found.at_bound) == (0.0, 28, False)
    np.testing.assert_allclose(found.apply([2.0, 4.0]), [-(2**-0.1), -(4**-0.1)])


def test_a_slow_loop_agrees(rng):
    x = rng.gamma(2.0, 3.0, 40)
    tried = []
    for power in POWERS:
        y = np.log(x) if power == 0 else np.sign(power) * x**power
        if np.isfinite(y).all() and np.ptp(y) > 0:
            tried.append((round(shapiro(y / np.abs(y).max()).statistic, 4), -power))
    w, power = max(tried)
    found = tukey_ladder(x)
    assert found.power == -power
    assert found.w == pytest.approx(w, abs=5.1e-5)


def test_order_survives_every_power(rng):
    x = np.sort(rng.uniform(0.1, 3.0, 20))
    for power in (-2.0, 0.0, 0.5, 3.0):
        assert np.all(np.diff(Ladder(power, 1.0, 0.0, 20).apply(x)) > 0)
    np.testing.assert_allclose(Ladder(0.0, 1.0, 0.0, 1).apply([math.e]), [1])


def test_zeros_are_lifted_by_half_the_least():
    found = tukey_ladder([0.0, 0.4, 1.0, 3.0, 9.0])
    assert found.offset == 0.2
    assert np.isfinite(found.apply([0.0])).all()
    assert np.isnan(tukey_ladder([1.0, 2.0, 5.0]).apply([0.0, math.nan, -1.0])).all()


def test_near_one_the_power_is_at_the_bound(rng):
    normal_at_20 = np.clip(rng.normal(3.5, 1, 300), 0.2, None)
    assert tukey_ladder(normal_at_20 ** (1 / 20)).at_bound


def test_many_values_are_thinned_by_rank(rng):
    x = rng.lognormal(size=12000)
    found = tukey_ladder(x)
    assert found.n == 12000
    assert abs(found.power) <= 0.05


@pytest.mark.parametrize("values", [[], [3.0], [2.0, 2.0, 2.0], [0.0, 0.0], [1.0, 2.0, 1.0]])
def test_too_little_to_choose_from(values):
    found = tukey_ladder(values)
    assert found.power == 1
    assert math.isnan(found.w)


def test_negative_values_are_refused():
    with pytest.raises(ValueError, match="below 0"):
        tukey_ladder([1.0, -2.0, 3.0])


@pytest.mark.parametrize("n", [3, 4, 5, 6, 11, 300, 5000])
def test_w_is_that_of_scipy(rng, n):
    x = np.sort(rng.gamma(3.0, size=n))
    wanted = [shapiro(x).statistic, shapiro(np.log(x)).statistic, shapiro(-1 / x).statistic]
    np.testing.assert_allclose(_w(x, np.array([1.0, 0.0, -1.0])), wanted, rtol=1e-6)
