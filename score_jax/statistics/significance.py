"""P values: corrected for their number, and as text."""

import math

import numpy as np
from jaxtyping import Float64

from score_jax.statistics.outcome import Values, as_values


def benjamini_hochberg(p: Values) -> Float64[np.ndarray, " n"]:
    """P values corrected by the false discovery rate; NaN stays NaN and is not counted.

    Source: Benjamini and Hochberg, J R Stat Soc B 57 (1995) 289.
    """
    from scipy.stats import false_discovery_control

    raw = as_values(p)
    found = ~np.isnan(raw)
    corrected = np.full(raw.shape, math.nan)
    if found.any():
        corrected[found] = false_discovery_control(raw[found], method="bh")
    return corrected


def bonferroni(p: Values) -> Float64[np.ndarray, " n"]:
    """P values times their number, at most 1; NaN stays NaN and is not counted."""
    raw = as_values(p)
    return np.minimum(1.0, raw * np.count_nonzero(~np.isnan(raw)))


def format_p(p: float) -> str:
    """As the journals print it: ``<.001`` or three decimals without the zero; ``n.a.`` for NaN.

    >>> format_p(0.0004), format_p(0.0316), format_p(1.0)
    ('<.001', '.032', '1.000')
    """
    if math.isnan(p):
        return "n.a."
    return "<.001" if p < 0.001 else f"{p:.3f}".removeprefix("0")


def stars(p: float) -> str:
    """``***`` below .001, ``**`` below .01, ``*`` below .05, else nothing."""
    return next(
        (mark for limit, mark in ((0.001, "***"), (0.01, "**"), (0.05, "*")) if p < limit), ""
    )
