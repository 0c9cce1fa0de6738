"""Tukey's ladder of powers: the power that makes a sample most normal."""

import math
import warnings
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float64

from score_jax.statistics.outcome import Values, as_values

POWERS = np.round(np.arange(-400, 401) * 0.025, 3)  # rcompanion's transformTukey: -10 to 10
LARGEST_SAMPLE = 5000  # Shapiro and Wilk's W is known up to there


@final
@dataclass(frozen=True, slots=True)
class Ladder:
    """A transformation; larger values stay larger.

    Args:
      power: lambda: x^lambda above 0, ln x at 0, -x^lambda below.
      w: Shapiro and Wilk's W of the transformed sample; NaN if nothing was tried.
      offset: added to every value first, above 0 if the sample held zeros.
      n: values that it was found on.
    """

    power: float
    w: float
    offset: float
    n: int

    @property
    def at_bound(self) -> bool:
        """Whether the best power is the last one that was tried."""
        return bool(abs(self.power) == POWERS[-1])

    def apply(self, values: Values) -> Float64[np.ndarray, " n"]:
        """The transformed values; NaN where a value is missing or not positive."""
        array = as_values(values) + self.offset
        array[~(array > 0)] = math.nan
        return power_of(array, self.power)


def power_of(x: Float64[np.ndarray, " n"], power: float) -> Float64[np.ndarray, " n"]:
    """x^power, ln x for power 0, -x^power below 0; `x` positive."""
    if power == 0:
        return np.log(x)
    return x**power if power > 0 else -(x**power)


def tukey_ladder(values: Values) -> Ladder:
    """The power with the largest W of Shapiro and Wilk on the grid -10, -9.975 ... 10.

    W is compared at four digits and the smallest of equal powers is taken, as rcompanion does.
    Half the smallest value above zero is added to all if there are zeros. Above 5000 values W is
    taken on 5000 of them, evenly spaced in rank (rcompanion gives up there). Fewer than three
    different values: power 1, W NaN.

    Raises:
      ValueError: a negative value.

    Source: Tukey, Exploratory Data Analysis (1977); the grid is that of R's
    rcompanion::transformTukey.
    """
    array = as_values(values)
    array = np.sort(array[~np.isnan(array)])
    if array.size and array[0] < 0:
        raise ValueError(f"values: got {array[0]:g}; expected none below 0")
    offset = 0.0
    if array.size and array[0] == 0:
        above = array[array > 0]
        offset = float(above[0]) / 2 if above.size else 0.0
        array = array + offset
    n = int(array.size)
    if np.unique(array).size < 3:
        return Ladder(1.0, math.nan, offset, n)
    if n > LARGEST_SAMPLE:
        array = array[np.linspace(0, n - 1, LARGEST_SAMPLE).round().astype(int)]
    tried = [(_w(array, float(power)), float(power)) for power in POWERS]
    # at four digits the curve is flat around its top; rcompanion takes the first of equals
    w, power = max(tried, key=lambda pair: (float(f"{pair[0]:.4g}"), -pair[1]))
    return Ladder(power, w, offset, n)


def _w(array: Float64[np.ndarray, " n"], power: float) -> float:
    from scipy.stats import shapiro

    with np.errstate(over="ignore", under="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a range that is too small: its W loses anyway
        y = power_of(array, power)
        spread = np.ptp(y)
        if not math.isfinite(spread) or spread == 0:
            return -math.inf
        # W does not depend on location and scale; shapiro's sums overflow less in these units
        return float(shapiro((y - y[0]) / spread).statistic)
