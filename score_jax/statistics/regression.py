"""Hierarchical multiple linear regression with backward elimination, on standardised variables."""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float64


@final
@dataclass(frozen=True, slots=True)
class Predictor:
    """A predictor of a model.

    Args:
      name: its name.
      beta: standardised coefficient.
      se: its standard error.
      p: two-sided, of t.
      low: lower end of the 95 % interval of `beta`.
      high: upper end.
      vif: variance inflation factor; 1 for a predictor that is alone.
    """

    name: str
    beta: float
    se: float
    p: float
    low: float
    high: float
    vif: float


@final
@dataclass(frozen=True, slots=True)
class Model:
    """A least-squares model of standardised variables.

    Args:
      predictors: in the order given; none: the mean alone.
      r2: share of variance.
      adjusted_r2: corrected for the number of predictors.
      loo_r2: 1 - PRESS / SS, each row predicted from the others: what R2 promises too much.
      n: rows.
    """

    predictors: tuple[Predictor, ...]
    r2: float
    adjusted_r2: float
    loo_r2: float
    n: int


@final
@dataclass(frozen=True, slots=True)
class Step:
    """One removal: which predictor, its P, and R2 before it went."""

    removed: str
    p: float
    r2: float


@final
@dataclass(frozen=True, slots=True)
class Elimination:
    """A hierarchical regression.

    Args:
      blocks: block name to (R2, its rise) as the blocks enter one after the other, all kept.
      steps: the removals.
      final: what is left.
    """

    blocks: Mapping[str, tuple[float, float]]
    steps: tuple[Step, ...]
    final: Model


def fit_linear(
    y: Float64[np.ndarray, " n"], columns: Mapping[str, Float64[np.ndarray, " n"]]
) -> Model:
    """Ordinary least squares of z scores (ddof 1); rows must be complete.

    Raises:
      ValueError: a constant variable, collinear predictors, or no row to spare.
    """
    from statsmodels.api import OLS

    names, n = tuple(columns), y.size
    if not names:
        return Model((), 0.0, 0.0, _loo(_standard(y, "y"), np.ones((n, 1))), n)
    z = np.stack([_standard(columns[name], name) for name in names], axis=1)
    x = np.column_stack([np.ones(n), z])
    if n <= x.shape[1] or np.linalg.matrix_rank(x) < x.shape[1]:
        raise ValueError(f"{', '.join(names)}: got {n} rows; expected more, without collinearity")
    target = _standard(y, "y")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = OLS(target, x).fit()
        interval = np.asarray(fit.conf_int())
    inflation = np.diag(np.linalg.inv(np.corrcoef(z.T).reshape(len(names), -1)))
    found = tuple(
        Predictor(name, float(fit.params[i]), float(fit.bse[i]), float(fit.pvalues[i]),
                  float(interval[i, 0]), float(interval[i, 1]), float(inflation[i - 1]))
        for i, name in enumerate(names, 1)
    )  # fmt: skip
    return Model(found, float(fit.rsquared), float(fit.rsquared_adj), _loo(target, x), n)


def hierarchical(
    y: Float64[np.ndarray, " n"],
    blocks: Mapping[str, Mapping[str, Float64[np.ndarray, " n"]]],
    *,
    p_remove: float = 0.05,
) -> Elimination:
    """Blocks enter in their order; then the predictor with the largest P goes until all are below.

    Args:
      y: outcome, complete.
      blocks: block name to its predictors.
      p_remove: a predictor stays below it. .05 is our choice; SPSS removes above .10.

    Raises:
      ValueError: see `fit_linear`.
    """
    entered: dict[str, Float64[np.ndarray, " n"]] = {}
    rises, last = {}, 0.0
    for name, block in blocks.items():
        entered |= block
        r2 = fit_linear(y, entered).r2
        rises[name] = (r2, r2 - last)
        last = r2
    steps: list[Step] = []
    model = fit_linear(y, entered)
    while model.predictors:
        worst = max(model.predictors, key=lambda predictor: predictor.p)
        if worst.p < p_remove:
            break
        steps.append(Step(worst.name, worst.p, model.r2))
        del entered[worst.name]
        model = fit_linear(y, entered)
    return Elimination(rises, tuple(steps), model)


def without_collinear(
    columns: Mapping[str, Float64[np.ndarray, " n"]], sequence: Sequence[str]
) -> tuple[dict[str, Float64[np.ndarray, " n"]], list[str]]:
    """The columns that add something to those before them, and the names of the others."""
    kept: dict[str, Float64[np.ndarray, " n"]] = {}
    dropped = []
    for name in sequence:
        column = columns[name]
        tried = [*kept.values(), column]
        spreads = np.stack([c - c.mean() for c in tried], axis=1)
        size = np.abs(spreads).max(axis=0)
        if size[-1] < 1e-12 or np.linalg.matrix_rank(spreads / size) < len(tried):
            dropped.append(name)
        else:
            kept[name] = column
    return kept, dropped


def _standard(values: Float64[np.ndarray, " n"], name: str) -> Float64[np.ndarray, " n"]:
    sd = float(values.std(ddof=1)) if values.size > 1 else 0.0
    if not math.isfinite(sd) or sd < 1e-12 * max(1.0, float(np.abs(values).max())):
        raise ValueError(f"{name}: got a constant; expected values that differ")
    return (values - values.mean()) / sd


def _loo(y: Float64[np.ndarray, " n"], x: Float64[np.ndarray, "n p"]) -> float:
    """PRESS through the hat matrix: e_i / (1 - h_ii) is the error of row i left out."""
    q, _ = np.linalg.qr(x)
    leverage = (q**2).sum(axis=1)
    errors = (y - q @ (q.T @ y)) / np.maximum(1 - leverage, 1e-12)
    return 1 - float((errors**2).sum() / ((y - y.mean()) ** 2).sum())
