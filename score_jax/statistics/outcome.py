"""What every test gives back, and how values come in."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from jaxtyping import Float64

# a list, an array or a column of a frame; NaN is a missing value
Values = Iterable[Any]


@final
@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one test; NaN where it could not be made, and `note` says why.

    Args:
      statistic: t, W, U, H, chi2, rho ... as the test's docstring says.
      p: two-sided unless the docstring says otherwise.
      n: values (or pairs) that entered.
      df: degrees of freedom, where there are any.
      estimate: mean difference, in the unit of the values, where there is one.
      low: lower end of its 95 % confidence interval.
      high: upper end.
      note: why there is no result, or what to mind.
    """

    statistic: float
    p: float
    n: int
    df: float = math.nan
    estimate: float = math.nan
    low: float = math.nan
    high: float = math.nan
    note: str = ""


def impossible(n: int, why: str) -> Outcome:
    """An outcome without numbers."""
    return Outcome(math.nan, math.nan, n, note=why)


def as_values(values: Values) -> Float64[np.ndarray, " n"]:
    """One axis of float64; anything that is no number becomes NaN, infinities too.

    Raises:
      ValueError: more than one axis.
    """
    array = np.asarray(values if isinstance(values, np.ndarray) else list(values))
    if array.ndim != 1:
        raise ValueError(f"values: got shape {array.shape}; expected one axis")
    if array.dtype == object:
        array = np.array([math.nan if value is None else value for value in array])
    array = array.astype(np.float64)
    return np.where(np.isfinite(array), array, math.nan)


def present(values: Values) -> Float64[np.ndarray, " m"]:
    """The values that are there, in their order."""
    array = as_values(values)
    return array[~np.isnan(array)]


def complete(*columns: Values) -> tuple[Float64[np.ndarray, " m"], ...]:
    """The rows in which no column misses a value.

    Raises:
      ValueError: columns of unequal length.
    """
    arrays = [as_values(column) for column in columns]
    if len({array.size for array in arrays}) > 1:
        raise ValueError(f"columns: got {[a.size for a in arrays]} values; expected equal lengths")
    kept = ~np.isnan(np.stack(arrays)).any(axis=0)
    return tuple(array[kept] for array in arrays)
