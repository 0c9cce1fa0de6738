"""Tiles of a volume: where they start, how they are weighted, padding and its inverse."""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Num
from scipy import ndimage


def tile_starts(size: int, tile: int, step: float = 0.5) -> list[int]:
    """Starts of the tiles along one axis, evenly spread, first at 0 and last at the end.

    Args:
      size: voxels along the axis, at least `tile`.
      tile: voxels of a tile.
      step: largest distance between starts as a share of the tile, in (0, 1].

    Source: nnU-Net, ``compute_steps_for_sliding_window`` (numpy's round, half to even).

    >>> tile_starts(10, 4)
    [0, 2, 4, 6]
    >>> tile_starts(4, 4)
    [0]
    """
    if size < tile or not 0 < step <= 1:
        raise ValueError(
            f"size {size}, tile {tile}, step {step}: expected size >= tile, 0 < step <= 1"
        )
    count = math.ceil((size - tile) / (tile * step)) + 1
    distance = (size - tile) / (count - 1) if count > 1 else 0.0
    return [int(np.round(distance * i)) for i in range(count)]


def gaussian_window(
    tile: Sequence[int], *, sigma: float = 1 / 8, peak: float = 10.0
) -> Float[np.ndarray, "*tile"]:
    """Weights of a tile's voxels, float32: largest in the middle, never zero.

    Args:
      tile: its size.
      sigma: standard deviation as a share of the tile.
      peak: largest weight (it cancels; nnU-Net's value keeps float16 readers alive).

    Source: nnU-Net, ``compute_gaussian``: the response of scipy's ``gaussian_filter`` to a
    point at ``tile // 2``; zeros become the smallest non-zero value.
    """
    # float32 as the reference computes it, so that the smallest values agree
    window = np.zeros(tuple(tile), np.float32)
    window[tuple(n // 2 for n in tile)] = 1
    window = ndimage.gaussian_filter(window, [n * sigma for n in tile], 0, mode="constant", cval=0)
    window = (window / (window.max() / peak)).astype(np.float32)
    window[window == 0] = window[window > 0].min()
    return window


def pad_to(
    array: Num[np.ndarray, "..."], shape: Sequence[int]
) -> tuple[Num[np.ndarray, "..."], tuple[slice, ...]]:
    """`array` with its leading axes padded with zeros up to `shape`, and where it lies in it.

    Centred, the extra voxel at the end (nnU-Net). Axes that are long enough stay; axes beyond
    ``len(shape)`` (channels) are not touched.
    """
    pads, where = [], []
    for size, wanted in zip(array.shape, shape, strict=False):
        extra = max(wanted - size, 0)
        pads.append((extra // 2, extra - extra // 2))
        where.append(slice(extra // 2, extra // 2 + size))
    pads += [(0, 0)] * (array.ndim - len(pads))
    return np.pad(array, pads) if any(map(any, pads)) else array, tuple(where)
