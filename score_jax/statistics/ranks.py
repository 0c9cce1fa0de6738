"""Tests on ranks and of normality; each tells what it could not do instead of warning."""

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from score_jax.statistics.outcome import Outcome, Values, as_values, complete, impossible, present


def wilcoxon(a: Values, b: Values) -> Outcome:
    """Wilcoxon's signed-rank test of pairs, two-sided; the statistic is the smaller rank sum.

    scipy's defaults: pairs without a difference are left out (`zero_method="wilcox"`), exact up to
    50 pairs without ties or zeros, else the normal approximation without continuity correction.
    Pairs with a missing value are left out; no pair that differs: NaN.
    """
    from scipy import stats

    first, second = complete(a, b)
    n = first.size
    if not np.any(first != second):
        return impossible(n, "no pair differs")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of small samples and ties: as documented above
        found: Any = stats.wilcoxon(first, second)
    note = (
        "fewer than six pairs differ: P cannot fall below .05" if _differ(first, second) < 6 else ""
    )
    middle = float(np.median(first - second))
    return Outcome(float(found.statistic), float(found.pvalue), n, estimate=middle, note=note)


def mann_whitney(a: Values, b: Values) -> Outcome:
    """Mann and Whitney's U of `a` over `b`, two-sided; an empty sample: NaN."""
    from scipy import stats

    first, second = present(a), present(b)
    n = first.size + second.size
    if not first.size or not second.size:
        return impossible(n, "a sample is empty")
    if np.ptp(np.concatenate([first, second])) == 0:
        return impossible(n, "all values are equal")
    found = stats.mannwhitneyu(first, second, alternative="two-sided")
    return Outcome(float(found.statistic), float(found.pvalue), n)


def kruskal(*samples: Values) -> Outcome:
    """Kruskal and Wallis' H over two or more independent samples; chi2 with k - 1 degrees.

    Empty samples are left out; fewer than two left, or all values equal: NaN.
    """
    from scipy import stats

    arrays = [array for array in map(present, samples) if array.size]
    n = sum(array.size for array in arrays)
    if len(arrays) < 2:
        return impossible(n, "fewer than two samples")
    if np.ptp(np.concatenate(arrays)) == 0:
        return impossible(n, "all values are equal")
    found = stats.kruskal(*arrays)
    return Outcome(float(found.statistic), float(found.pvalue), n, len(arrays) - 1.0)


def friedman(*samples: Values) -> Outcome:
    """Friedman's chi2 over three or more related samples; `n` counts the complete rows.

    Rows with a missing value are left out; fewer than three samples or two rows: NaN.

    Raises:
      ValueError: samples of unequal length.
    """
    from scipy import stats

    if len(samples) < 3:
        return impossible(0, "fewer than three samples")
    arrays = complete(*samples)
    n = arrays[0].size
    if n < 2:
        return impossible(n, "fewer than two complete rows")
    if not np.any(np.ptp(np.stack(arrays), axis=0)):
        return impossible(n, "the samples do not differ")
    found = stats.friedmanchisquare(*arrays)
    return Outcome(float(found.statistic), float(found.pvalue), n, len(arrays) - 1.0)


def normality(values: Values) -> Outcome:
    """D'Agostino and Pearson's K2 (chi2, 2 degrees) of normality.

    Fewer than 8 values or no spread: NaN; below 20 its P is a rough one, as `note` says.

    Source: D'Agostino and Pearson, Biometrika 60 (1973) 613.
    """
    from scipy import stats

    array = present(values)
    if array.size < 8:
        return impossible(array.size, "fewer than 8 values")
    if np.ptp(array) == 0:
        return impossible(array.size, "no spread")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = stats.normaltest(array)
    note = "fewer than 20 values: P is a rough one" if array.size < 20 else ""
    return Outcome(float(found.statistic), float(found.pvalue), array.size, 2.0, note=note)


def spearman(a: Values, b: Values) -> Outcome:
    """Spearman's rank correlation, two-sided P of t with n - 2 degrees.

    Rows with a missing value are left out; fewer than three, or a constant column: NaN.
    """
    from scipy import stats

    first, second = complete(a, b)
    if first.size < 3:
        return impossible(first.size, "fewer than three pairs")
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return impossible(first.size, "a column is constant")
    found: Any = stats.spearmanr(first, second)
    return Outcome(float(found.statistic), float(found.pvalue), first.size, first.size - 2.0)


def partial_spearman(a: Values, b: Values, given: Sequence[Values]) -> Outcome:
    """Spearman's correlation of `a` and `b` with the ranks of the columns `given` held fixed.

    The ranks of a and b are regressed on those of `given` and their residuals correlated; t with
    n - 2 - k degrees of freedom. Too few rows, or nothing left beside `given`: NaN.

    Source: as R's ppcor; Kim, Commun Stat Appl Methods 22 (2015) 665.
    """
    from scipy import stats

    columns = complete(a, b, *given)
    n, df = columns[0].size, columns[0].size - 2 - len(given)
    if df < 1:
        return impossible(n, "too few rows for the columns held fixed")
    ranks = np.stack([stats.rankdata(column) for column in columns], axis=1)
    fixed = np.column_stack([np.ones(n), ranks[:, 2:]])
    left = ranks[:, :2] - fixed @ np.linalg.lstsq(fixed, ranks[:, :2], rcond=None)[0]
    spread = np.sqrt((left**2).sum(axis=0))
    if np.any(spread < 1e-9 * n):
        return impossible(n, "nothing is left beside the columns held fixed")
    rho = float(np.clip((left[:, 0] @ left[:, 1]) / (spread[0] * spread[1]), -1, 1))
    t = math.inf if abs(rho) == 1 else rho * math.sqrt(df / (1 - rho**2))
    return Outcome(rho, float(2 * stats.t.sf(abs(t), df)), n, float(df))


def trend(x: Values, y: Values) -> Outcome:
    """Spearman's rho and P of `y` over `x`; `estimate` is the least-squares slope a unit of x."""
    found = spearman(x, y)
    if math.isnan(found.p):
        return found
    from scipy import stats

    first, second = complete(x, y)
    line: Any = stats.linregress(first, second)
    half = float(stats.t.ppf(0.975, first.size - 2)) * float(line.stderr)
    slope = float(line.slope)
    return Outcome(found.statistic, found.p, found.n, found.df, slope, slope - half, slope + half)


def _differ(a: Values, b: Values) -> int:
    return int(np.count_nonzero(as_values(a) != as_values(b)))
