"""t tests of means: paired (of slices and of subjects) and unpaired."""

import math
from typing import Any

import numpy as np
from jaxtyping import Float64

from score_jax.statistics.outcome import Outcome, Values, as_values, complete, impossible, present


def paired_t(a: Values, b: Values) -> Outcome:
    """Two-sided paired t test of a - b; `estimate` is the mean difference with its 95 % interval.

    Pairs with a missing value are left out. Fewer than two pairs, or no difference at all: NaN.
    """
    first, second = complete(a, b)
    return _one_sample(first - second)


def paired_t_of_subjects(a: Values, b: Values, subject: Values) -> Outcome:
    """The same on one mean difference a subject.

    Slices of one subject are not independent (of 8 mm slices at 4 mm half of each is its
    neighbour's), so the test over slices finds too much: its size was .28 in place of .05 where
    the differences correlate by .2 within subjects. `n` counts subjects.
    """
    return _one_sample(subject_means(as_values(a) - as_values(b), subject))


def subject_means(values: Values, subject: Values) -> Float64[np.ndarray, " subjects"]:
    """Mean of each subject's values, subjects sorted; those without a value are left out."""
    array, names = as_values(values), np.asarray(list(subject), dtype=str)
    kept = ~np.isnan(array)
    _, place = np.unique(names[kept], return_inverse=True)
    return np.bincount(place, array[kept]) / np.bincount(place)


def welch_t(a: Values, b: Values) -> Outcome:
    """Two-sided unpaired t test of mean(a) - mean(b) with unequal variances.

    Fewer than two values in either, or no spread in both: NaN. `n` counts both samples.

    Source: Welch, Biometrika 34 (1947) 28 (scipy's `ttest_ind(equal_var=False)`).
    """
    first, second = present(a), present(b)
    n = first.size + second.size
    if min(first.size, second.size) < 2:
        return impossible(n, "fewer than two values in a group")
    if np.ptp(first) == 0 and np.ptp(second) == 0:
        return impossible(n, "no spread")
    from scipy.stats import ttest_ind

    found: Any = ttest_ind(first, second, equal_var=False)
    low, high = found.confidence_interval(0.95)
    difference = float(first.mean() - second.mean())
    return Outcome(float(found.statistic), float(found.pvalue), n, float(found.df), difference,
                   float(low), float(high))  # fmt: skip


def _one_sample(differences: Float64[np.ndarray, " n"]) -> Outcome:
    n = differences.size
    if n < 2:
        return impossible(n, "fewer than two pairs")
    mean = float(differences.mean())
    if np.ptp(differences) == 0:
        return Outcome(math.nan, math.nan, n, n - 1.0, mean, note="every difference is the same")
    from scipy.stats import ttest_1samp

    found: Any = ttest_1samp(differences, 0.0)
    low, high = found.confidence_interval(0.95)
    return Outcome(float(found.statistic), float(found.pvalue), n, n - 1.0, mean, float(low),
                   float(high))  # fmt: skip
