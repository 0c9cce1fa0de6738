"""Tukey's ladder of powers: the power that makes a sample most normal."""

import math
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float64
from scipy import special

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
    tried = list(zip(_w(array, POWERS), POWERS.tolist(), strict=True))
    # at four digits the curve is flat around its top; rcompanion takes the first of equals
    w, power = max(tried, key=lambda pair: (float(f"{pair[0]:.4g}"), -pair[1]))
    return Ladder(power, w, offset, n)


def _w(ordered: Float64[np.ndarray, " n"], powers: Float64[np.ndarray, " k"]) -> list[float]:
    """Shapiro and Wilk's W of sorted positive values raised to each power; -inf if it overflows.

    The weights do not depend on the values, so all powers share them (scipy's `shapiro`, which
    makes them anew, is slower by a factor of ten).
    """
    weights = _weights(ordered.size)
    found = []
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        logs = np.log(ordered)
        logs -= logs.max()  # a common factor changes nothing, and keeps x^10 within range
        for power in powers.tolist():
            y = logs if power == 0 else math.copysign(1.0, power) * np.exp(power * logs)
            y = y - y.mean()
            squares = float(y @ y)
            usable = math.isfinite(squares) and squares > 1e-24 * float(np.abs(y).max() + 1) ** 2
            found.append(float(weights @ y) ** 2 / squares if usable else -math.inf)
    return found


def _weights(n: int) -> Float64[np.ndarray, " n"]:
    """Royston's approximation, Applied Statistics 44 (1995) R94."""
    if n == 3:
        return np.array([-math.sqrt(0.5), 0.0, math.sqrt(0.5)])
    m = special.ndtri((np.arange(1, n + 1) - 0.375) / (n + 0.25))
    squares, u = float(m @ m), 1 / math.sqrt(n)
    root = math.sqrt(squares)
    last = m[-1] / root + np.polyval([-2.706056, 4.434685, -2.07119, -0.147981, 0.221157, 0.0], u)
    ends, left = [last], squares - 2 * m[-1] ** 2
    if n > 5:
        ends.insert(0, m[-2] / root + np.polyval(
            [-3.582633, 5.682633, -1.752461, -0.293762, 0.042981, 0.0], u
        ))  # fmt: skip
        left -= 2 * m[-2] ** 2
    weights = m / math.sqrt(left / (1 - 2 * float(np.square(ends).sum())))
    weights[-len(ends) :] = ends
    weights[: len(ends)] = [-end for end in reversed(ends)]
    return weights
