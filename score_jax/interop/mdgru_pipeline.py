"""MD-GRU's own way from an image to a label map, to repeat its published numbers.

High-pass channels, whitening with the statistics of the whole image (background included),
overlapping windows that may reach outside the image, and ramps at their borders (MD-GRU at
791ee4f). For new work `score_jax.Predictor` does better: Gaussian weights, no zeros in the
windows, orientation and spacing handled.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from jaxtyping import Float, Float32, Integer, Num, UInt8
from scipy import ndimage

Network = Callable[[Float32[np.ndarray, "1 *window c"]], Any]


@final
@dataclass(frozen=True, slots=True)
class Preprocessed:
    """Channels a network of MD-GRU sees.

    Args:
      image: ``(*space, c)``; all originals, then all high-passed channels.
      outside: what each channel is beyond the image (zero before whitening).
    """

    image: Float32[np.ndarray, "*space c"]
    outside: Float32[np.ndarray, " c"]


def preprocess(
    images: Num[np.ndarray, "*space f"],
    voxel_size: Sequence[float],
    *,
    sigma_mm: Sequence[float] = (5.0,),
    originals: bool = True,
    whiten: bool = True,
) -> Preprocessed:
    """The channels of one case.

    Args:
      images: one feature image a channel, 2-D or 3-D.
      voxel_size: mm along each axis.
      sigma_mm: of the Gaussian that is subtracted, one or one an axis; empty leaves the
        high-passed channels out.
      originals: keep the originals too.
      whiten: subtract the mean and divide by the (population) standard deviation of the whole
        image; a constant channel gives zeros (the reference: NaN).
    """
    features = images.astype(np.float32)
    ndim = features.ndim - 1
    channels = [features] if originals or not sigma_mm else []
    if sigma_mm:
        sigma = tuple(sigma_mm) * (ndim if len(sigma_mm) == 1 else 1)
        voxels = [s / size for s, size in zip(sigma, voxel_size, strict=True)]
        smooth = [ndimage.gaussian_filter(f, voxels) for f in np.moveaxis(features, -1, 0)]
        channels.append(features - np.stack(smooth, axis=-1).astype(np.float32))
    image = np.concatenate(channels, axis=-1)
    outside = np.zeros(image.shape[-1], np.float32)
    if whiten:
        axes = tuple(range(ndim))
        mean, std = image.mean(axes, dtype=np.float64), image.std(axes, dtype=np.float64)
        std = np.where(std > 0, std, 1.0)
        image = ((image - mean) / std).astype(np.float32)
        outside = (-mean / std).astype(np.float32)
    return Preprocessed(image, outside)


def window_starts(
    shape: Sequence[int], window: Sequence[int], padding: Sequence[int]
) -> list[tuple[int, ...]]:
    """Where the windows start, last axis fastest; the first ones lie `padding` outside.

    Raises:
      ValueError: a padding below 0 or not below the window, or of 1 (its ramp is undefined).

    >>> window_starts((5,), (4,), (0,))
    [(0,), (4,)]
    >>> window_starts((5,), (4,), (2,))
    [(-2,), (0,), (2,), (4,)]
    """
    starts = []
    for size, extent, pad in zip(shape, window, padding, strict=True):
        if not 0 <= pad < extent or pad == 1:
            raise ValueError(f"padding {pad} of window {extent}: expected 0 or 2 to {extent - 1}")
        step = extent - pad
        starts.append([k * step - pad for k in range(math.ceil((size + pad) / step))])
    return list(itertools.product(*starts))


def ramp(window: Sequence[int], padding: Sequence[int]) -> Float32[np.ndarray, "*window"]:
    """Weights of a window's voxels: 1 inside, rising over `padding` voxels at both ends.

    >>> ramp((7,), (2,)).tolist()[:3]
    [0.5, 0.8333333134651184, 1.0]
    """
    weights = np.ones((), np.float64)
    for extent, pad in zip(window, padding, strict=True):
        profile = np.ones(extent)
        if pad:
            rise = 1 / pad + np.arange(pad) / (pad + 1)
            profile[:pad] *= rise
            profile[extent - pad :] *= rise[::-1]
        weights = np.multiply.outer(weights, profile)
    return weights.astype(np.float32)


def windows(
    case: Preprocessed, starts: Sequence[tuple[int, ...]], window: Sequence[int]
) -> Iterator[Float32[np.ndarray, "*window c"]]:
    """The window at each start, filled with `case.outside` beyond the image."""
    for start in starts:
        found = np.empty((*window, case.image.shape[-1]), np.float32)
        found[:] = case.outside
        inside, there = _overlap(case.image.shape[:-1], start, window)
        found[there] = case.image[inside]
        yield found


def _overlap(
    shape: Sequence[int], start: Sequence[int], window: Sequence[int]
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """The part of the image under a window, and where that part lies in the window."""
    inside, there = [], []
    for size, at, extent in zip(shape, start, window, strict=True):
        low, high = min(max(at, 0), size), max(min(at + extent, size), 0)
        inside.append(slice(low, high))
        there.append(slice(low - at, high - at))
    return tuple(inside), tuple(there)


def predict(
    network: Network,
    images: Num[np.ndarray, "*space f"],
    voxel_size: Sequence[float],
    *,
    window: Sequence[int],
    padding: Sequence[int],
    sigma_mm: Sequence[float] = (5.0,),
    originals: bool = True,
    whiten: bool = True,
) -> tuple[Float32[np.ndarray, "*space k"], UInt8[np.ndarray, "*space"]]:
    """Class probabilities and label map of a whole image.

    Args:
      network: ``(1, *window, c) -> (1, *window, k)`` logits, such as a jitted `MDGRU`.
      images: see `preprocess`.
      voxel_size: mm along each axis.
      window: size of the windows (MD-GRU's ``-w``).
      padding: their overlap (``-p``), also how far the first lies outside.
      sigma_mm: see `preprocess`.
      originals: see `preprocess`.
      whiten: see `preprocess`.
    """
    case = preprocess(images, voxel_size, sigma_mm=sigma_mm, originals=originals, whiten=whiten)
    starts = window_starts(case.image.shape[:-1], window, padding)
    weights = ramp(window, padding)[..., None]
    total = None
    for start, patch in zip(starts, windows(case, starts, window), strict=True):
        logits = np.asarray(network(patch[None]))[0]
        share = np.exp(logits - logits.max(axis=-1, keepdims=True))
        share = weights * (share / share.sum(axis=-1, keepdims=True))
        if total is None:
            total = np.zeros((*case.image.shape[:-1], logits.shape[-1]), np.float32)
        inside, there = _overlap(case.image.shape[:-1], start, window)
        total[inside] += share[there]
    assert total is not None
    probabilities = total / total.sum(axis=-1, keepdims=True)
    return probabilities, probabilities.argmax(axis=-1).astype(np.uint8)


def scores(
    probabilities: Float[np.ndarray, "*space k"], labels: Integer[np.ndarray, "*space"]
) -> dict[str, Any]:
    """The scores MD-GRU logs: F0.5, F1 (Dice) and F2 a class, "cross_entropy" and "l2".

    As in the reference, ``cross_entropy`` has no minus sign. A class that is neither predicted
    nor present scores 0.
    """
    classes = probabilities.shape[-1]
    small = 1e-8
    predicted = probabilities.argmax(axis=-1)[..., None] == np.arange(classes)
    truth = labels[..., None] == np.arange(classes)
    axes = tuple(range(labels.ndim))
    both = (predicted & truth).sum(axes)
    found, wanted = predicted.sum(axes), truth.sum(axes)
    precision, recall = both / (found + small), both / (wanted + small)

    def f(beta: float) -> Float[np.ndarray, " k"]:
        return (1 + beta**2) * precision * recall / (beta**2 * precision + recall + small)

    likelihood = (truth * np.log(probabilities + small)).sum(axis=-1)
    return {
        "f05": f(0.5),
        "f1": 2 * both / (found + wanted + small),
        "f2": f(2.0),
        "cross_entropy": float(likelihood.mean()),
        "l2": float(((truth - probabilities) ** 2).sum(axis=-1).mean()),
    }
