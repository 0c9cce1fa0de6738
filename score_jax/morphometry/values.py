"""What the values of a mask mean: binary, labelled, or a probability."""

import numpy as np
from jaxtyping import Bool, Float64, Shaped

from score_jax.errors import ImageError

_NEAR = 1e-3  # how far a stored value may lie from the integer it means (as in `imaging.masks`)
HALF = 0.5


def probabilities(
    values: Shaped[np.ndarray, "x y z"], name: str
) -> tuple[Float64[np.ndarray, "x y z"] | Bool[np.ndarray, "x y z"], str]:
    """A mask's values as bool (binary or labelled) or as float64 in [0, 1] (soft).

    Integers above 0 are inside, whatever they are: a labelled cord is a cord.

    Args:
      values: of a mask, on any grid; all zeros is an empty mask.
      name: of the mask, for messages.

    Returns:
      The mask, and a remark if its values were not plain 0 and 1 ("" otherwise).

    Raises:
      ImageError: values that are not finite, below 0, or above 1 without being integers.
    """
    if values.dtype == bool:
        return values, ""
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ImageError(
            f"{name}: got values that are not finite; expected a mask",
            hint="replace them, e.g. with fslmaths IMAGE -nan IMAGE",
        )
    if low < -_NEAR:
        raise ImageError(f"{name}: got values from {low:g} to {high:g}; expected 0 or more")
    nearest = values if values.dtype.kind in "iu" else np.rint(values)
    if values.dtype.kind in "iu" or bool((np.abs(values - nearest) <= _NEAR).all()):
        remark = f"{name} holds values up to {high:g}; read as one mask" if high > 1.5 else ""
        return nearest > 0, remark
    if high > 1 + _NEAR:
        raise ImageError(
            f"{name}: got values from {low:g} to {high:g}; expected 0 and 1, labels, or "
            "probabilities"
        )
    return np.clip(values, 0, 1).astype(np.float64), ""
