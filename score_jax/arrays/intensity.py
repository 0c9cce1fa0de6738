"""Intensities of one image: normalisation and high-pass channels."""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

Part = tuple[slice, ...]  # a box of the image, () all of it


def zscore(
    image: Float[np.ndarray, "..."],
    mask: Bool[np.ndarray, "..."] | None = None,
    *,
    part: Part = (),
) -> Float[np.ndarray, "..."]:
    """Mean 0 and standard deviation 1 over the image, or over `mask` with 0 outside it.

    A constant image gives zeros, an empty mask too (nnU-Net divides by at least 1e-8).

    Args:
      image: any shape.
      mask: which voxels count.
      part: the box that is returned; mean and deviation are always those of the whole.
    """
    shown = image[part]
    if mask is None:
        mean, std = _mean_std(image)
        out = np.asarray(shown - image.dtype.type(mean))
        out /= image.dtype.type(max(std, 1e-8))  # in place: one image less in memory
        return out
    out = np.zeros_like(shown)
    if mask.any():
        values = image[mask]
        inside = mask[part]
        out[inside] = (shown[inside] - values.mean()) / max(float(values.std()), 1e-8)
    return out


def _mean_std(image: Float[np.ndarray, "..."]) -> tuple[float, float]:
    """Mean and standard deviation in double precision, without a second image in memory."""
    slabs = image if image.ndim > 1 else image[None]
    mean = sum(float(slab.sum(dtype=np.float64)) for slab in slabs) / image.size
    spread = 0.0
    for slab in slabs:
        away = slab.astype(np.float64).ravel() - mean
        spread += float(away @ away)
    return mean, math.sqrt(spread / image.size)


def rescale(image: Float[np.ndarray, "..."], *, part: Part = ()) -> Float[np.ndarray, "..."]:
    """Values from 0 to 1; a constant image gives zeros. `part` as in `zscore`."""
    low, high = float(image.min()), float(image.max())
    return (image[part] - low) / max(high - low, 1e-8)


def ct(image: Float[np.ndarray, "..."], statistics: Sequence[float]) -> Float[np.ndarray, "..."]:
    """nnU-Net's CT scheme: clip to the data set's 0.5 and 99.5 percentiles, then its z-score.

    Args:
      image: any shape.
      statistics: mean, standard deviation, 0.5 % and 99.5 % percentile of the training data.
    """
    mean, std, low, high = statistics
    return ((np.clip(image, low, high) - mean) / max(std, 1e-8)).astype(image.dtype)


def highpass(
    image: Float[np.ndarray, "..."], spacing: Sequence[float], sigma_mm: float
) -> Float[np.ndarray, "..."]:
    """``image - gaussian(image)``, the Gaussian's sigma in mm (MD-GRU's second set of channels)."""
    sigma = [sigma_mm / size for size in spacing]
    return image - ndimage.gaussian_filter(image, sigma)
