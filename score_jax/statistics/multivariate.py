"""MANOVA over the three scores of a slice, and Tukey's comparisons of all pairs."""

import math
import warnings
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float64

from score_jax.statistics.outcome import Values, as_values


@final
@dataclass(frozen=True, slots=True)
class Effect:
    """What a MANOVA says of one factor.

    Args:
      factor: its name.
      pillai: Pillai's trace.
      f: the approximate F that belongs to it.
      df: numerator and denominator degrees of freedom of it.
      p: of Pillai's F.
      wilks: Wilks' lambda.
      p_wilks: of its F.
      n: complete rows.
    """

    factor: str
    pillai: float
    f: float
    df: tuple[float, float]
    p: float
    wilks: float
    p_wilks: float
    n: int


def manova(frame: pd.DataFrame, scores: list[str], factors: list[str]) -> tuple[Effect, ...]:
    """Each factor's effect on all scores together, the other factors held fixed.

    Rows with a missing score are left out list-wise (a compartment without a defined distance
    loses all of them). Factors with one level are left out. Nothing to test: no effects.

    Args:
      frame: a row a slice; columns `scores` (numbers) and `factors` (any labels).
      scores: the dependent variables, transformed.
      factors: main effects, all categorical.

    Source: statsmodels' MANOVA.
    """
    from statsmodels.multivariate.manova import MANOVA

    rows: Any = frame[[*scores, *factors]].dropna()
    used = [factor for factor in factors if rows[factor].nunique() > 1]
    columns = 1 + sum(rows[factor].nunique() - 1 for factor in used)
    if not used or len(rows) <= columns + len(scores):
        return ()
    y = rows[scores].to_numpy(np.float64)
    if np.linalg.matrix_rank(y - y.mean(axis=0)) < len(scores):
        return ()
    x, places = _dummies(rows, used)
    if np.linalg.matrix_rank(x) < x.shape[1]:
        return ()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tests = MANOVA((y - y.mean(axis=0)) / y.std(axis=0), x).mv_test(
            [(factor, np.eye(x.shape[1])[places[factor]]) for factor in used]
        )
    found = []
    for factor in used:
        table = tests.results[factor]["stat"]
        pillai, wilks = table.loc["Pillai's trace"], table.loc["Wilks' lambda"]
        found.append(Effect(
            factor, float(pillai["Value"]), float(pillai["F Value"]),
            (float(pillai["Num DF"]), float(pillai["Den DF"])), float(pillai["Pr > F"]),
            float(wilks["Value"]), float(wilks["Pr > F"]), len(rows),
        ))  # fmt: skip
    return tuple(found)


@final
@dataclass(frozen=True, eq=False, slots=True)
class Comparisons:
    """All pairs of groups.

    Args:
      names: of the groups, by rising mean.
      means: of the values, NaN for an empty group (which is left out).
      p: symmetric, corrected for all pairs; NaN on the diagonal.
    """

    names: tuple[str, ...]
    means: Float64[np.ndarray, " k"]
    p: Float64[np.ndarray, "k k"]

    def order(self, alpha: float = 0.05) -> str:
        """The groups by rising mean: ``<`` where neighbours differ, ``~`` where they do not."""
        if not self.names:
            return "n.a."
        text = self.names[0]
        for i in range(1, len(self.names)):
            text += (" < " if self.p[i - 1, i] < alpha else " ~ ") + self.names[i]
        return text

    def between(self, a: str, b: str) -> tuple[float, float]:
        """mean(b) - mean(a) and its P; NaN if either is not there."""
        if a not in self.names or b not in self.names:
            return math.nan, math.nan
        i, j = self.names.index(a), self.names.index(b)
        return float(self.means[j] - self.means[i]), float(self.p[i, j])


def tukey(values: Values, groups: Values) -> Comparisons:
    """Tukey and Kramer's honestly significant differences of all pairs of groups.

    Groups with fewer than two values are left out; fewer than two groups: no P.

    Source: Kramer, Biometrics 12 (1956) 307.
    """
    array, labels = as_values(values), np.asarray([str(name) for name in groups])
    kept: Bool[np.ndarray, " n"] = ~np.isnan(array)
    by_name = {str(name): array[kept & (labels == name)] for name in np.unique(labels)}
    by_name = {name: found for name, found in by_name.items() if found.size > 1}
    names = sorted(by_name, key=lambda name: float(by_name[name].mean()))
    means = np.array([by_name[name].mean() for name in names], np.float64)
    return Comparisons(tuple(names), means, _tukey_kramer([by_name[name] for name in names]))


def _tukey_kramer(samples: list[np.ndarray]) -> Float64[np.ndarray, "k k"]:
    """P of each pair; scipy's `tukey_hsd` integrates every pair twice and each with itself."""
    from scipy.stats import studentized_range

    k = len(samples)
    p = np.full((k, k), math.nan)
    df = sum(sample.size for sample in samples) - k
    within = sum(float(((sample - sample.mean()) ** 2).sum()) for sample in samples)
    if k < 2 or within == 0:
        return p
    for i, j in zip(*np.triu_indices(k, 1), strict=True):
        a, b = samples[i], samples[j]
        se = math.sqrt(within / df / 2 * (1 / a.size + 1 / b.size))
        p[i, j] = p[j, i] = float(studentized_range.sf(abs(a.mean() - b.mean()) / se, k, df))
    return p


def _dummies(
    rows: Any, factors: list[str]
) -> tuple[Float64[np.ndarray, "n p"], dict[str, list[int]]]:
    columns, places = [np.ones(len(rows))], {}
    for factor in factors:
        labels = rows[factor].astype(str).to_numpy()
        levels = np.unique(labels)[1:]
        places[factor] = list(range(len(columns), len(columns) + levels.size))
        columns += [(labels == level).astype(np.float64) for level in levels]
    return np.stack(columns, axis=1), places
