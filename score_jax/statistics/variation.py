"""Whether coefficients of variation differ."""

import math

import numpy as np
from jaxtyping import Float64

from score_jax.statistics.outcome import Outcome, Values, as_values, impossible


def feltz_miller(n: Values, sd: Values, mean: Values) -> Outcome:
    """Feltz and Miller's asymptotic test that k *independent* groups share one CV; D'AD ~ chi2.

    With m_j = n_j - 1, CV_j = sd_j / mean_j and D = sum(m_j CV_j) / sum(m_j):
    D'AD = sum(m_j (CV_j - D)^2) / (D^2 (1/2 + D^2)), k - 1 degrees of freedom.

    Raw and normalised areas of the same subjects are *not* independent: with a correlation of .8
    the test's size is .003 and it hardly finds anything. `bootstrap_cv_ratio` respects the pairs.

    Args:
      n: sizes of the groups; those below 2 are left out.
      sd: standard deviations (ddof 1).
      mean: means, above 0.

    Source: Feltz and Miller, Statistics in Medicine 15 (1996) 647; as R's cvequality.
    """
    from scipy.stats import chi2

    sizes, spreads, means = as_values(n), as_values(sd), as_values(mean)
    with np.errstate(invalid="ignore"):
        kept = (sizes >= 2) & (means > 0) & ~np.isnan(spreads)
    total = int(sizes[kept].sum())
    if np.count_nonzero(kept) < 2:
        return impossible(total, "fewer than two groups")
    m, cv = sizes[kept] - 1, spreads[kept] / means[kept]
    pooled = float(m @ cv / m.sum())
    if pooled == 0:
        return impossible(total, "no spread")
    statistic = float(m @ (cv - pooled) ** 2 / (pooled**2 * (0.5 + pooled**2)))
    df = m.size - 1.0
    return Outcome(statistic, float(chi2.sf(statistic, df)), total, df)


def bootstrap_cv_ratio(a: Values, b: Values, *, seed: int = 0, draws: int = 2000) -> Outcome:
    """ln(CV(b) / CV(a)) of paired values with a 95 % percentile interval; subjects are resampled.

    `statistic` and `estimate` are the log ratio (below 0: `b` varies less), `p` is two-sided: twice
    the smaller share of draws on one side of 0. Fewer than three pairs: NaN.

    Args:
      a: one value a subject, e.g. the mean area.
      b: the same subjects, e.g. normalised.
      seed: of the draws.
      draws: how many.
    """
    first, second = as_values(a), as_values(b)
    kept = ~(np.isnan(first) | np.isnan(second))
    pairs = np.stack([first[kept], second[kept]], axis=1)
    n = len(pairs)
    if n < 3:
        return impossible(n, "fewer than three pairs")
    if not np.all(np.ptp(pairs, axis=0) > 0) or not np.all(pairs.mean(axis=0) > 0):
        return impossible(n, "no spread, or a mean that is not above 0")
    chosen = np.random.default_rng(seed).integers(0, n, (draws, n))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = _log_ratio(pairs[chosen])
    ratios = ratios[np.isfinite(ratios)]  # a draw of one subject alone has no spread
    low, high = np.quantile(ratios, [0.025, 0.975])
    above = float(np.mean(ratios > 0))
    estimate = float(_log_ratio(pairs[None])[0])
    p = min(1.0, 2 * min(above, float(np.mean(ratios < 0))) + 2 / len(ratios))
    return Outcome(estimate, p, n, math.nan, estimate, float(low), float(high))


def _log_ratio(pairs: Float64[np.ndarray, "draws n 2"]) -> Float64[np.ndarray, " draws"]:
    cv = pairs.std(axis=1, ddof=1) / pairs.mean(axis=1)
    return np.log(cv[:, 1] / cv[:, 0])
