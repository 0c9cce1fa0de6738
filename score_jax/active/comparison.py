"""Paired numbers of the same scans, compared as SCIseg compared its phases."""

from dataclasses import dataclass
from typing import Any, final

import numpy as np
from jaxtyping import Float64
from scipy.stats import wilcoxon

_EXACT_UP_TO = 50  # pairs; scipy's own limit
_ALL_SIGNS_UP_TO = 13
_DIGITS = 9  # differences are rounded to these, so that rounding errors make no ties or zeros


@final
@dataclass(frozen=True, slots=True)
class Paired:
    """Two numbers of each scan, compared.

    Args:
      n: pairs of which both numbers are known.
      missing: pairs left out because one is not.
      zeros: pairs without a difference; they take no part in the test.
      ties: whether differences of equal size share ranks.
      median_before: of the pairs.
      median_after: of the pairs.
      mean_difference: after less before.
      statistic: the smaller sum of ranks; NaN if undefined.
      p: two-sided; NaN if no pair differs.
      method: how p was computed, or why not.
    """

    n: int
    missing: int
    zeros: int
    ties: bool
    median_before: float
    median_after: float
    mean_difference: float
    statistic: float
    p: float
    method: str


def paired(before: Float64[np.ndarray, " n"], after: Float64[np.ndarray, " n"]) -> Paired:
    """Compare pairs by Wilcoxon's signed-rank test, two-sided (scipy, as SCIseg's analysis).

    Pairs without a difference are dropped (Wilcoxon's way). Up to 50 pairs without ties and zeros p
    is exact; with them it is exact over all signs up to 13 pairs (older versions of scipy take the
    normal approximation there), else the normal approximation without continuity correction.

    No pair gives NaN everywhere; pairs of which none differs give a difference of 0 and p NaN.

    Args:
      before: one number a scan; NaN if it is not known.
      after: the same scans.
    """
    known = ~(np.isnan(before) | np.isnan(after))
    x, y = before[known], after[known]
    difference = np.round(y - x, _DIGITS)
    zeros = int(np.count_nonzero(difference == 0))
    sizes = np.abs(difference[difference != 0])
    ties = np.unique(sizes).size < sizes.size
    statistic, p, method = float("nan"), float("nan"), "undefined: no scan differs"
    if sizes.size:
        test: Any = wilcoxon(difference)
        statistic, p = float(test.statistic), float(test.pvalue)
        method = _method(len(x), plain=not ties and not zeros)
    return Paired(
        n=len(x),
        missing=int(np.count_nonzero(~known)),
        zeros=zeros,
        ties=ties,
        median_before=_median(x),
        median_after=_median(y),
        mean_difference=float((y - x).mean()) if len(x) else float("nan"),
        statistic=statistic,
        p=p,
        method=method,
    )


def _method(pairs: int, *, plain: bool) -> str:
    if plain and pairs <= _EXACT_UP_TO:
        return "exact"
    return "all signs" if pairs <= _ALL_SIGNS_UP_TO else "normal approximation"


def _median(values: np.ndarray) -> float:
    return float(np.median(values)) if len(values) else float("nan")
