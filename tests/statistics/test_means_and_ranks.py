"""t tests and rank tests: scipy's numbers where all is there, a reason where it is not."""

import math

import numpy as np
import pytest
from scipy import stats

from score_jax.statistics.means import paired_t, paired_t_of_subjects, subject_means, welch_t
from score_jax.statistics.ranks import (
    friedman,
    kruskal,
    mann_whitney,
    normality,
    partial_spearman,
    spearman,
    trend,
    wilcoxon,
)

A = [1.1, 2.9, 3.2, math.nan, 5.6, 7.1, 2.2, 9.0, 4.4, 6.5]
B = [0.9, 3.3, 2.2, 4.0, 4.1, 6.0, math.nan, 8.2, 4.9, 6.1]
KEPT = [0, 1, 2, 4, 5, 7, 8, 9]
X, Y = np.array(A)[KEPT], np.array(B)[KEPT]


def test_paired_t():
    found, wanted = paired_t(A, B), stats.ttest_rel(X, Y)
    assert found.statistic == pytest.approx(wanted.statistic)
    assert found.p == pytest.approx(wanted.pvalue)
    assert (found.n, found.df) == (8, 7)
    interval = wanted.confidence_interval()
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.estimate == pytest.approx((X - Y).mean())


def test_paired_t_of_subjects_by_hand():
    # differences 1, 3 | 2 | 6, nan: means 2, 2, 6
    found = paired_t_of_subjects([2, 4, 3, 7, math.nan], [1, 1, 1, 1, 1], list("aabcc"))
    wanted = stats.ttest_1samp([2, 2, 6], 0)
    assert (found.n, found.estimate) == (3, pytest.approx(10 / 3))
    assert found.p == pytest.approx(wanted.pvalue)
    np.testing.assert_allclose(subject_means([1, 3, 5], ["b", "b", "a"]), [5, 2])


def test_welch():
    found, wanted = welch_t(A, B), stats.ttest_ind(A, B, equal_var=False, nan_policy="omit")
    assert found.p == pytest.approx(wanted.pvalue)
    assert found.df == pytest.approx(wanted.df)
    assert found.n == 18


def test_t_tests_that_cannot_be_made():
    assert "two pairs" in paired_t([1.0], [2.0]).note
    same = paired_t([1.0, 2.0, 3.0], [0.0, 1.0, 2.0])
    assert (math.isnan(same.p), same.estimate) == (True, 1.0)
    assert "the same" in same.note
    assert "two values" in welch_t([1.0], [2.0, 3.0]).note
    assert "spread" in welch_t([1.0, 1.0], [2.0, 2.0]).note
    assert paired_t_of_subjects([], [], []).n == 0


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (lambda: wilcoxon(A, B), lambda: stats.wilcoxon(X, Y)),
        (lambda: mann_whitney(A, B), lambda: stats.mannwhitneyu(A, B, nan_policy="omit")),
        (lambda: kruskal(A, B, [2.0]), lambda: stats.kruskal(A, B, [2.0], nan_policy="omit")),
        (lambda: friedman(X, Y, X * Y), lambda: stats.friedmanchisquare(X, Y, X * Y)),
        (lambda: normality(A), lambda: stats.normaltest(np.array(A)[~np.isnan(A)])),
        (lambda: spearman(A, B), lambda: stats.spearmanr(X, Y)),
    ],
    ids=["wilcoxon", "mann-whitney", "kruskal", "friedman", "normality", "spearman"],
)
def test_scipy_on_what_is_there(ours, theirs):
    found, wanted = ours(), theirs()
    assert found.statistic == pytest.approx(wanted.statistic)
    assert found.p == pytest.approx(wanted.pvalue)


@pytest.mark.parametrize(
    ("outcome", "why"),
    [
        (wilcoxon([1.0, 2.0], [1.0, 2.0]), "no pair differs"),
        (mann_whitney([], [1.0]), "empty"),
        (mann_whitney([1.0], [1.0]), "equal"),
        (kruskal([1.0, 2.0], []), "fewer than two"),
        (kruskal([1.0], [1.0]), "equal"),
        (friedman([1.0, 2.0], [2.0, 1.0]), "fewer than three"),
        (friedman([1.0, math.nan], [2.0, 1.0], [3.0, 4.0]), "two complete rows"),
        (friedman([1.0, 2.0], [1.0, 2.0], [1.0, 2.0]), "do not differ"),
        (normality([1.0] * 7), "fewer than 8"),
        (normality([1.0] * 9), "no spread"),
        (spearman([1.0, 2.0], [1.0, 2.0]), "three pairs"),
        (spearman([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]), "constant"),
        (trend([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]), "constant"),
        (partial_spearman([1.0, 2.0, 3.0], [3.0, 1.0, 2.0], [[1.0, 2.0, 3.0]]), "too few rows"),
        (partial_spearman(range(6), [3, 1, 2, 5, 4, 6], [range(6)]), "nothing is left"),
    ],
)
def test_reasons(outcome, why):
    assert math.isnan(outcome.p)
    assert why in outcome.note


def test_small_samples_are_told():
    assert "cannot fall below" in wilcoxon([1.0, 2.0, 3.0], [0.0, 0.5, 0.1]).note
    assert "rough" in normality(A).note
    assert normality(np.random.default_rng(0).normal(size=30)).note == ""


def test_partial_spearman_by_the_formula_of_one_covariate(rng):
    x, y, z = rng.normal(size=(3, 25))
    y = y + x + z
    xy, xz, yz = (stats.spearmanr(a, b).statistic for a, b in ((x, y), (x, z), (y, z)))
    wanted = (xy - xz * yz) / math.sqrt((1 - xz**2) * (1 - yz**2))
    found = partial_spearman(x, y, [z])
    assert found.statistic == pytest.approx(wanted)
    t = wanted * math.sqrt(22 / (1 - wanted**2))
    assert found.p == pytest.approx(2 * stats.t.sf(abs(t), 22))
    assert (found.n, found.df) == (25, 22)
    assert partial_spearman(x, y, []).p == pytest.approx(stats.spearmanr(x, y).pvalue)


def test_trend(rng):
    x = np.repeat(np.arange(1.0, 7), 4)
    y = 3 - 0.5 * x + rng.normal(size=x.size)
    import statsmodels.api as sm

    fit = sm.OLS(y, sm.add_constant(x)).fit()
    found = trend(x, y)
    assert found.estimate == pytest.approx(fit.params[1])
    assert (found.low, found.high) == pytest.approx(tuple(fit.conf_int()[1]))
    assert found.statistic == pytest.approx(stats.spearmanr(x, y).statistic)
