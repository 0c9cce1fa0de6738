"""Linear mixed models with two crossed random intercepts, by restricted maximum likelihood.

y = X beta + u[subject] + v[level] + e; the levels are the slices' positions. REML is profiled over
the two variance ratios, so each step is one Cholesky factor of (subjects + levels) squared.
"""

import math
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from jaxtyping import Float64, Int, Shaped
from scipy import linalg, optimize, stats

SINGULAR = -8.0  # ln(variance of an intercept / residual variance) below it: none was found
_START, _LOWEST, _HIGHEST = -0.5, -20.0, 20.0


@final
@dataclass(frozen=True, eq=False, slots=True)
class CrossedFit:
    """A fitted model.

    Args:
      names: of the columns of X.
      beta: their coefficients.
      covariance: of `beta`.
      df: of the t tests: subjects less the rank of X's means over subjects.
      sd_subject: of the subjects' intercepts; 0 if singular.
      sd_level: of the levels' intercepts; 0 if singular.
      sd_residual: of what is left.
      subjects: their names, sorted.
      u: best linear unbiased predictions of the subjects' intercepts.
      levels: their names, sorted.
      v: predictions of the levels' intercepts.
      singular: which intercepts have no variance (``subject``, ``level``).
      n: rows.
      log_likelihood: restricted, as statsmodels' `llf`.
      fixed_variance: variance of X beta over the rows (ddof 1).
    """

    names: tuple[str, ...]
    beta: Float64[np.ndarray, " p"]
    covariance: Float64[np.ndarray, "p p"]
    df: float
    sd_subject: float
    sd_level: float
    sd_residual: float
    subjects: tuple[Any, ...]
    u: Float64[np.ndarray, " subjects"]
    levels: tuple[Any, ...]
    v: Float64[np.ndarray, " levels"]
    singular: tuple[str, ...]
    n: int
    log_likelihood: float
    fixed_variance: float


@final
@dataclass(frozen=True, slots=True)
class Estimate:
    """A linear combination of the coefficients.

    Args:
      value: the estimate.
      se: its standard error.
      p: two-sided, of t with `df`; NaN without degrees of freedom.
      low: lower end of the 95 % interval.
      high: upper end.
      df: degrees of freedom.
    """

    value: float
    se: float
    p: float
    low: float
    high: float
    df: float


def fit_crossed(
    y: Float64[np.ndarray, " n"],
    x: Float64[np.ndarray, "n p"],
    subject: Shaped[np.ndarray, " n"],
    level: Shaped[np.ndarray, " n"],
    names: tuple[str, ...] = (),
) -> CrossedFit:
    """Fit y = x beta + u[subject] + v[level] + e; rows may be missing, nothing need be balanced.

    Args:
      y: without NaN.
      x: with its column of ones; full rank.
      subject: whose row it is.
      level: which slice it is.
      names: of the columns of `x`.

    Raises:
      ValueError: NaN, a rank-deficient `x`, fewer than two subjects, or no row more than columns.

    Source: Patterson and Thompson, Biometrika 58 (1971) 545; Henderson's equations for u and v.
    """
    n, p = x.shape
    if not (np.isfinite(y).all() and np.isfinite(x).all()):
        raise ValueError("y, x: got a missing value; expected complete rows")
    subjects, s = np.unique(subject, return_inverse=True)
    levels, k = np.unique(level, return_inverse=True)
    if subjects.size < 2:
        raise ValueError(f"subject: got {subjects.size} of them; expected two or more")
    if n <= p or np.linalg.matrix_rank(x) < p:
        raise ValueError(f"x: got rank {np.linalg.matrix_rank(x)}, {n} rows; expected rank {p}")
    scale = np.abs(x).max(axis=0)  # columns such as TIV and 1 differ in size by thousands
    columns = x / scale
    start = np.linalg.lstsq(columns, y, rcond=None)[0]
    sums = _sums(columns, y - columns @ start, s, k, subjects.size, levels.size)
    logs = _minimise(sums, one_level=levels.size < 2)
    state = _profile(logs, sums)
    assert state is not None
    ratios = np.exp(logs)
    flags = logs < SINGULAR
    if levels.size < 2:
        flags[1] = True
    sigma2 = state.sigma2
    beta = (start + state.delta) / scale
    sds = np.where(flags, 0.0, np.sqrt(ratios * sigma2))
    fitted = x @ beta
    return CrossedFit(
        names or tuple(f"x{i}" for i in range(p)), beta,
        sigma2 * state.inverse / np.outer(scale, scale), _degrees(columns, s, subjects.size),
        float(sds[0]), float(sds[1]), math.sqrt(sigma2),
        tuple(subjects.tolist()), state.blup[: subjects.size],
        tuple(levels.tolist()), state.blup[subjects.size :],
        tuple(name for name, flag in zip(("subject", "level"), flags, strict=True) if flag),
        n, -0.5 * state.deviance - float(np.log(scale).sum()), float(fitted.var(ddof=1)),
    )  # fmt: skip


def estimate(fit: CrossedFit, weights: Float64[np.ndarray, " p"]) -> Estimate:
    """`weights` times the coefficients, e.g. a marginal mean or a difference of two."""
    value = float(weights @ fit.beta)
    return _estimate(value, math.sqrt(max(float(weights @ fit.covariance @ weights), 0.0)), fit.df)


def coefficient(fit: CrossedFit, name: str) -> Estimate:
    """One coefficient by its name."""
    weights = np.zeros(fit.beta.size)
    weights[fit.names.index(name)] = 1.0
    return estimate(fit, weights)


def percent_change(
    fit: CrossedFit, of: Float64[np.ndarray, " p"], to: Float64[np.ndarray, " p"]
) -> Estimate:
    """100 (to - of) / of for two marginal means; interval by the delta method, P of the difference.

    Of a mean of 0 (a part that was never found) nothing is a percentage: NaN, but for P.

    Args:
      fit: the model.
      of: weights of the reference mean (controls).
      to: weights of the other mean.
    """
    base, other = float(of @ fit.beta), float(to @ fit.beta)
    if base == 0:
        p, nan = estimate(fit, to - of).p, math.nan
        return Estimate(nan, nan, p, nan, nan, fit.df)
    gradient = 100 * (to / base - of * other / base**2)
    se = math.sqrt(max(float(gradient @ fit.covariance @ gradient), 0.0))
    found = _estimate(100 * (other / base - 1), se, fit.df)
    return Estimate(found.value, se, estimate(fit, to - of).p, found.low, found.high, fit.df)


def nakagawa_r2(fit: CrossedFit) -> tuple[float, float]:
    """Marginal and conditional R2: the share of the fixed effects, and with both intercepts.

    Source: Nakagawa and Schielzeth, Methods in Ecology and Evolution 4 (2013) 133.
    """
    random = fit.sd_subject**2 + fit.sd_level**2
    total = fit.fixed_variance + random + fit.sd_residual**2
    return fit.fixed_variance / total, (fit.fixed_variance + random) / total


def subject_intercepts(
    y: Float64[np.ndarray, " n"], subject: Shaped[np.ndarray, " n"], level: Shaped[np.ndarray, " n"]
) -> dict[Any, float]:
    """Mean of each subject by the model without fixed effects: intercept + u, shrunk to the mean.

    A subject whose caudal slices are missing is compared by the slices it has (v takes the rest).
    """
    fit = fit_crossed(y, np.ones((y.size, 1)), subject, level, ("1",))
    return {name: float(fit.beta[0] + u) for name, u in zip(fit.subjects, fit.u, strict=True)}


@final
@dataclass(frozen=True, eq=False, slots=True)
class _Sums:
    """Products of the columns, so that a step does not depend on the number of rows."""

    zz: np.ndarray
    zx: np.ndarray
    zr: np.ndarray
    xx: np.ndarray
    xr: np.ndarray
    rr: float
    n: int
    sizes: tuple[int, int]


@final
@dataclass(frozen=True, eq=False, slots=True)
class _State:
    deviance: float
    sigma2: float
    delta: np.ndarray
    inverse: np.ndarray
    blup: np.ndarray


def _sums(
    x: np.ndarray, r: np.ndarray, s: np.ndarray, k: np.ndarray, subjects: int, levels: int
) -> _Sums:
    z = np.zeros((len(r), subjects + levels))
    rows = np.arange(len(r))
    z[rows, s] = 1
    z[rows, subjects + k] = 1
    return _Sums(z.T @ z, z.T @ x, z.T @ r, x.T @ x, x.T @ r, float(r @ r), len(r),
                 (subjects, levels))  # fmt: skip


def _profile(logs: np.ndarray, sums: _Sums) -> _State | None:
    """-2 restricted log likelihood at two log ratios, beta and sigma profiled out.

    V / sigma^2 = I + Z L L Z', inverted by Woodbury's identity with M = I + L Z'Z L.
    """
    root = np.repeat(np.exp(0.5 * np.clip(logs, _LOWEST, _HIGHEST)), sums.sizes)
    m = root[:, None] * sums.zz * root + np.eye(root.size)
    try:
        factor = linalg.cho_factor(m, lower=True, check_finite=False)
    except linalg.LinAlgError:
        return None
    lx, lr = root[:, None] * sums.zx, root * sums.zr
    solved = linalg.cho_solve(factor, np.column_stack([lx, lr]), check_finite=False)
    xvx = sums.xx - lx.T @ solved[:, :-1]
    xvr = sums.xr - lx.T @ solved[:, -1]
    inverse = np.linalg.inv(xvx)
    delta = inverse @ xvr
    df = sums.n - len(delta)
    sigma2 = max(float(sums.rr - lr @ solved[:, -1] - xvr @ delta), 1e-300) / df
    log_v = 2 * float(np.log(np.diag(factor[0])).sum())
    deviance = df * (math.log(2 * math.pi * sigma2) + 1) + log_v + float(np.linalg.slogdet(xvx)[1])
    blup = root * (solved[:, -1] - solved[:, :-1] @ delta)
    return _State(deviance, sigma2, delta, inverse, blup)


def _minimise(sums: _Sums, *, one_level: bool) -> np.ndarray:
    """The two log ratios: a simplex finds the valley, a quasi-Newton method its floor."""

    def value(logs: np.ndarray) -> float:
        both = np.array([logs[0], _LOWEST]) if one_level else logs
        state = _profile(both, sums)
        # a weak slope beyond the bounds keeps the simplex from wandering where nothing changes
        beyond = float(np.abs(logs - np.clip(logs, _LOWEST, _HIGHEST)).sum())
        return (state.deviance if state else math.inf) + 1e-3 * beyond

    start = np.full(1 if one_level else 2, _START)
    rough = optimize.minimize(
        value, start, method="Nelder-Mead", options={"xatol": 1e-2, "fatol": 1e-4}
    )
    fine = optimize.minimize(value, rough.x, method="BFGS", jac="3-point", options={"gtol": 1e-7})
    best = fine.x if fine.fun < rough.fun else rough.x
    best = np.clip(best, _LOWEST, _HIGHEST)
    return np.array([best[0], _LOWEST]) if one_level else best


def _degrees(x: np.ndarray, s: Int[np.ndarray, " n"], subjects: int) -> float:
    means = np.stack([np.bincount(s, column, subjects) for column in x.T], axis=1)
    means /= np.bincount(s, minlength=subjects)[:, None]
    return float(subjects - np.linalg.matrix_rank(means))


def _estimate(value: float, se: float, df: float) -> Estimate:
    if df < 1 or se == 0:
        return Estimate(value, se, math.nan, math.nan, math.nan, df)
    half = se * float(stats.t.ppf(0.975, df))
    p = 2 * float(stats.t.sf(abs(value) / se, df))
    return Estimate(value, se, p, value - half, value + half, df)
