"""Areas normalised by the residual method: what healthy covariates explain is taken away."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float64, Shaped

from score_jax.statistics.mixed import fit_crossed


@final
@dataclass(frozen=True, slots=True)
class Normaliser:
    """A_norm = A + sum over k of slope_k (mean_k - x_k), slopes and means of the controls.

    Args:
      slopes: mm2 a unit of each covariate.
      means: each covariate's mean over the controls, one value a subject.
    """

    slopes: Mapping[str, float]
    means: Mapping[str, float]

    def apply(
        self, area: Float64[np.ndarray, " n"], covariates: Mapping[str, Float64[np.ndarray, " n"]]
    ) -> Float64[np.ndarray, " n"]:
        """Normalised areas; NaN where a covariate is missing."""
        found = area.astype(np.float64)
        for name, slope in self.slopes.items():
            found = found + slope * (self.means[name] - covariates[name])
        return found


def normaliser(
    area: Float64[np.ndarray, " n"],
    covariates: Mapping[str, Float64[np.ndarray, " n"]],
    subject: Shaped[np.ndarray, " n"],
    level: Shaped[np.ndarray, " n"],
) -> Normaliser:
    """Slopes by the mixed model area ~ covariates in the rows given (the controls' first scan).

    Args:
      area: mm2, a row a slice.
      covariates: name to a value a row (a subject's values repeat; sex as 0 and 1). Rows with a
        missing value are left out; none at all: areas stay as they are.
      subject: whose row it is.
      level: which slice it is.

    Raises:
      ValueError: a constant covariate or too few subjects (see `fit_crossed`).

    Source: Papinutto et al., J Neurol 262 (2015) 1614, and PMC7153493 eq. 1; refs 24, 25 of SCORE.
    """
    if not covariates:
        return Normaliser({}, {})
    names = tuple(covariates)
    x = np.stack([covariates[name] for name in names], axis=1)
    kept = np.isfinite(x).all(axis=1) & np.isfinite(area)
    x, who = x[kept], subject[kept]
    _, place, count = np.unique(who, return_inverse=True, return_counts=True)
    weight = 1 / count[place]  # each subject once, whatever slices it has
    means = x.T @ weight / weight.sum()
    fit = fit_crossed(
        area[kept], np.column_stack([np.ones(len(x)), x - means]), who, level[kept], ("1", *names)
    )
    slopes = {name: float(value) for name, value in zip(names, fit.beta[1:], strict=True)}
    return Normaliser(slopes, dict(zip(names, map(float, means), strict=True)))


def combinations(names: Sequence[str]) -> list[tuple[str, ...]]:
    """Every non-empty choice of the factors, singles first.

    >>> combinations(["tiv", "sex"])
    [('tiv',), ('sex',), ('tiv', 'sex')]
    """
    return [
        chosen
        for size in range(1, len(names) + 1)
        for chosen in itertools.combinations(names, size)
    ]


@final
@dataclass(frozen=True, slots=True)
class Spread:
    """How much areas vary between subjects, in percent of the mean (SD with ddof 1).

    Args:
      by_slice: at each slice over subjects, then averaged over slices.
      subjects: of the subjects' means.
      rows: of all rows together.
    """

    by_slice: float
    subjects: float
    rows: float


def spread(
    area: Float64[np.ndarray, " n"],
    subject: Shaped[np.ndarray, " n"],
    level: Shaped[np.ndarray, " n"],
) -> Spread:
    """RSD of areas between subjects; slices with fewer than two subjects are left out.

    `area` has no NaN; nothing to compute from: NaN.
    """
    each = [_rsd(area[level == which]) for which in np.unique(level)]
    each = [value for value in each if not math.isnan(value)]
    by_slice = float(np.mean(each)) if each else math.nan
    means = np.array([area[subject == who].mean() for who in np.unique(subject)])
    return Spread(by_slice, _rsd(means), _rsd(area))


def choose(
    rsd: Mapping[tuple[str, ...], float], p: Mapping[tuple[str, ...], float], *,
    alpha: float = 0.05, margin: float = 0.02,
) -> tuple[str, ...]:  # fmt: skip
    """The combination to use: of those with P < alpha the least RSD, fewest factors within 2 %.

    Args:
      rsd: of each combination, percent.
      p: that its CV differs from the raw one.
      alpha: level.
      margin: relative; a simpler combination that loses no more than this is preferred.

    Returns:
      The factors; none if no combination is significantly better (raw areas).
    """
    better = {name: value for name, value in rsd.items() if name and p.get(name, 1.0) < alpha
              and value < rsd.get((), math.inf)}  # fmt: skip
    if not better:
        return ()
    least = min(better.values())
    near = [name for name, value in better.items() if value <= least * (1 + margin)]
    return min(near, key=lambda name: (len(name), better[name]))


def _rsd(values: Float64[np.ndarray, " n"]) -> float:
    mean = float(values.mean()) if values.size else 0.0
    if values.size < 2 or mean == 0:
        return math.nan
    return 100 * float(values.std(ddof=1)) / mean
