"""What every metric accepts: two masks of one shape, a spacing, and a rule for empty masks."""

import math
from collections.abc import Sequence
from typing import Literal, SupportsFloat

import numpy as np
from jaxtyping import Bool, Float64, Shaped

from score_jax.errors import GeometryError, ImageError

# SupportsFloat: nibabel gives voxel sizes as numpy.float32
Spacing = Sequence[SupportsFloat] | Shaped[np.ndarray, " n"]

Empty = Literal["nan", "worst", "anima", "metrics_reloaded"]
EMPTY_POLICIES: tuple[Empty, ...] = ("nan", "worst", "anima", "metrics_reloaded")


def as_mask(image: Shaped[np.ndarray, "*space"], name: str = "mask") -> Bool[np.ndarray, "*space"]:
    """`image` as a mask: whatever is not zero.

    Labels are merged. Fractions are refused, because where to cut a soft mask is not ours to say.

    Raises:
      ImageError: a value that is not a whole number.
    """
    array = np.asarray(image)
    if array.dtype == bool:
        return array
    if array.dtype.kind == "f" and not np.array_equal(array, np.rint(array)):
        raise ImageError(
            f"{name}: got values that are not whole numbers; expected a mask of 0 and 1",
            hint="threshold a soft mask first, e.g. mask > 0.5",
        )
    return array != 0


def as_pair(
    pred: Shaped[np.ndarray, "..."], ref: Shaped[np.ndarray, "..."]
) -> tuple[Bool[np.ndarray, "*space"], Bool[np.ndarray, "*space"]]:
    """Two masks of one shape.

    Raises:
      GeometryError: the shapes differ.
      ImageError: as `as_mask`.
    """
    check_shapes(pred, ref)
    return as_mask(pred, "prediction"), as_mask(ref, "reference")


def check_shapes(pred: Shaped[np.ndarray, "..."], ref: Shaped[np.ndarray, "..."]) -> None:
    """Refuse two arrays of different shapes.

    Raises:
      GeometryError: prints both.
    """
    if np.shape(pred) != np.shape(ref):
        raise GeometryError(
            f"masks: got a prediction of shape {np.shape(pred)} and a reference of shape "
            f"{np.shape(ref)}; expected the same grid",
            hint="resample one to the other",
        )


def as_spacing(spacing: Spacing, ndim: int) -> Float64[np.ndarray, " n"]:
    """Voxel sizes in mm, one an axis.

    Raises:
      GeometryError: another number of them, or one that is not a positive finite number.
    """
    sizes = np.asarray(spacing, np.float64)
    if sizes.shape != (ndim,) or not (np.isfinite(sizes).all() and (sizes > 0).all()):
        raise GeometryError(
            f"spacing: got {np.asarray(spacing).tolist()}; expected {ndim} voxel sizes above 0 mm"
        )
    return sizes


def settle(
    value: float,
    *,
    n_pred: int,
    n_ref: int,
    best: float,
    worst: float,
    empty: Empty = "nan",
) -> float:
    """Decide a metric's value where a mask is empty; `value` itself where neither is.

    Args:
      value: what the formula gives, with 0/0 as NaN.
      n_pred: voxels of the prediction.
      n_ref: voxels of the reference.
      best: the value of perfect agreement.
      worst: the worst value there is (for distances the diagonal of the image).
      empty: ``nan`` keeps `value`, and gives NaN if both are empty (nobody drew anything: no
        evidence). ``worst`` gives `worst` if one is empty and `best` if both are.
        ``anima`` gives NaN whenever the reference is empty, as the tool then computes nothing.
        ``metrics_reloaded`` gives `best` if both are empty, and 0 for a score that an empty
        prediction leaves undefined (snapshot cb38dfc, June 2025).

    Raises:
      ValueError: an unknown rule.
    """
    if empty not in EMPTY_POLICIES:
        raise ValueError(f"empty: got {empty!r}; expected one of {', '.join(EMPTY_POLICIES)}")
    if n_pred and n_ref:
        return value
    if not n_pred and not n_ref:
        return best if empty in ("worst", "metrics_reloaded") else math.nan
    if empty == "worst":
        return worst
    if empty == "anima" and not n_ref:
        return math.nan
    if empty == "metrics_reloaded" and not n_pred and math.isnan(value) and worst == 0:
        return 0.0
    return value


def ratio(numerator: float, denominator: float) -> float:
    """The quotient; 0/0 is NaN, x/0 infinite with the sign of x."""
    if denominator:
        return float(numerator / denominator)
    return math.nan if not numerator else math.copysign(math.inf, numerator)
