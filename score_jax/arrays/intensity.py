"""Intensities of one image: normalisation and high-pass channels."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage


def zscore(
    image: Float[np.ndarray, "..."], mask: Bool[np.ndarray, "..."] | None = None
) -> Float[np.ndarray, "..."]:
    """Mean 0 and standard deviation 1 over the image, or over `mask` with 0 outside it.

    A constant image gives zeros, an empty mask too (nnU-Net divides by at least 1e-8).
    """
    if mask is None:
        return (image - image.mean()) / max(float(image.std()), 1e-8)
    out = np.zeros_like(image)
    if mask.any():
        values = image[mask]
        out[mask] = (values - values.mean()) / max(float(values.std()), 1e-8)
    return out


def rescale(image: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Values from 0 to 1; a constant image gives zeros."""
    low, high = float(image.min()), float(image.max())
    return (image - low) / max(high - low, 1e-8)


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
