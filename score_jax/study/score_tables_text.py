"""Cells of the tables: numbers as the journals print them, n.a. for what is not there."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float64

from score_jax.statistics.mixed import Estimate
from score_jax.statistics.outcome import Outcome, present
from score_jax.statistics.significance import benjamini_hochberg, format_p, stars

NONE = "n.a."
DIGITS = {"rsd": 2, "dsc": 3, "hd": 2, "area": 2}
METRIC_NAMES = {"rsd": "RSD, %", "dsc": "DSC", "hd": "HD, mm"}


@final
@dataclass(frozen=True, slots=True)
class Summary:
    """Mean, standard deviation (ddof 1) and number of values; NaN where there are none."""

    mean: float
    sd: float
    n: int


def summarise(values: Iterable[float]) -> Summary:
    """Over the values that are there."""
    array = present(values)
    mean = float(array.mean()) if array.size else math.nan
    return Summary(mean, float(array.std(ddof=1)) if array.size > 1 else math.nan, int(array.size))


def number(value: float, digits: int = 2) -> str:
    """A number with fixed decimals."""
    return NONE if not math.isfinite(value) else f"{value:.{digits}f}"


def mean_sd(found: Summary, digits: int = 2) -> str:
    """``0.92 (0.03)``."""
    if not found.n:
        return NONE
    return f"{found.mean:.{digits}f} ({number(found.sd, digits)})"


def count(part: int, whole: int) -> str:
    """``817 (96 %)``."""
    return f"{part} ({100 * part / whole:.0f} %)" if whole else NONE


def interval(found: Estimate | Outcome, digits: int = 1) -> str:
    """``-9.8 (-14.1 to -5.5)``."""
    value = found.value if isinstance(found, Estimate) else found.estimate
    if math.isnan(value):
        return NONE
    if math.isnan(found.low):
        return number(value, digits)
    return f"{value:.{digits}f} ({found.low:.{digits}f} to {found.high:.{digits}f})"


def p_text(p: float) -> str:
    """``<.001 ***``."""
    return f"{format_p(p)} {stars(p)}".rstrip()


def corrected(outcomes: Iterable[Outcome]) -> Float64[np.ndarray, " n"]:
    """Their P values by Benjamini and Hochberg, as one family."""
    return benjamini_hochberg([found.p for found in outcomes])
