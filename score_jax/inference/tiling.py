"""A network over a volume larger than its window: overlapping tiles, Gaussian weights."""

import itertools
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float32

from score_jax.arrays import grid

# (batch, *tile, channels) -> (batch, *tile, outputs)
Network = Callable[[Float32[np.ndarray, "b *tile c"]], Float32[np.ndarray, "b *tile k"]]
Progress = Callable[[int, int], None]


def sliding_window(
    network: Network,
    image: Float32[np.ndarray, "*space c"],
    tile: Sequence[int],
    *,
    outputs: int,
    step: float = 0.5,
    mirror_axes: Sequence[int] = (),
    progress: Progress | None = None,
    batch: int = 1,
) -> Float32[np.ndarray, "*space k"]:
    """Logits of every voxel: tiles weighted by a Gaussian, sums in float32.

    An image smaller than the tile is padded with zeros, centred (nnU-Net). Images larger than
    memory's share are no trouble: only the sums are held, the tiles come and go.

    Args:
      network: called with `batch` tiles at a time, always the same shape (one compilation).
      image: normalised, on the network's grid.
      tile: window of the network.
      outputs: channels the network returns.
      step: distance of the tiles as a share of the tile.
      mirror_axes: test-time mirroring: the mean over all flips of these axes, the identity too.
      progress: called with tiles done and tiles in all.
      batch: tiles a call.
    """
    padded, where = grid.pad_to(image, tile)
    space = padded.shape[:-1]
    starts = list(
        itertools.product(*(grid.tile_starts(n, t, step) for n, t in zip(space, tile, strict=True)))
    )
    window = grid.gaussian_window(tile)
    sums = np.zeros((*space, outputs), np.float32)
    for first in range(0, len(starts), batch):
        chosen = starts[first : first + batch]
        boxes = [
            tuple(slice(s, s + t) for s, t in zip(start, tile, strict=True)) for start in chosen
        ]
        tiles = np.zeros((batch, *tile, padded.shape[-1]), np.float32)
        for number, box in enumerate(boxes):
            tiles[number] = padded[box]
        logits = mirrored(network, tiles, mirror_axes)
        for number, box in enumerate(boxes):
            sums[box] += logits[number] * window[..., None]
        if progress is not None:
            progress(min(first + batch, len(starts)), len(starts))
    _divide(sums, starts, window)
    return np.ascontiguousarray(sums[where])


def _divide(
    sums: Float32[np.ndarray, "*space k"],
    starts: Sequence[tuple[int, ...]],
    window: Float32[np.ndarray, "*tile"],
) -> None:
    """`sums` by the weights of all tiles, in place and plane by plane: no image of weights."""
    for number, plane in enumerate(sums):
        weights = np.zeros(plane.shape[:-1], np.float32)
        for first, *others in starts:
            if first <= number < first + len(window):
                box = tuple(slice(s, s + t) for s, t in zip(others, window.shape[1:], strict=True))
                weights[box] += window[number - first]
        plane /= weights[..., None]


def slice_by_slice(
    network: Network,
    image: Float32[np.ndarray, "x y z c"],
    tile: Sequence[int],
    *,
    axis: int,
    outputs: int,
    step: float = 0.5,
    mirror_axes: Sequence[int] = (),
    progress: Progress | None = None,
) -> Float32[np.ndarray, "x y z k"]:
    """Logits of a 2-D network for every slice along `axis`; see `sliding_window`."""
    slices = np.moveaxis(image, axis, 0)
    out = []
    for number, plane in enumerate(slices):
        out.append(
            sliding_window(
                network, plane, tile, outputs=outputs, step=step, mirror_axes=mirror_axes
            )
        )
        if progress is not None:
            progress(number + 1, len(slices))
    return np.moveaxis(np.stack(out), 0, axis)


def mirrored(
    network: Network, tiles: Float32[np.ndarray, "b *tile c"], axes: Sequence[int]
) -> Float32[np.ndarray, "b *tile k"]:
    """Mean logits over every combination of flips of `axes` (none: the network's own)."""
    total, count = None, 0
    for size in range(len(axes) + 1):
        for chosen in itertools.combinations(axes, size):
            flips = tuple(axis + 1 for axis in chosen)
            logits = np.flip(network(np.ascontiguousarray(np.flip(tiles, flips))), flips)
            total = logits.copy() if total is None else total + logits
            count += 1
    assert total is not None
    return total / count
