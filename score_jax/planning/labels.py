"""Label maps on another grid: every label on its own, the strongest wins.

Source: nnU-Net's ``resample_data_or_seg`` for segmentations with batchgenerators 0.25.5 or newer
(older ones gave a voxel to the last label that reached one half).
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int32, Integer

from score_jax.arrays import resampling


def resample_labels(
    labels: Integer[np.ndarray, "x y z"], shape: Sequence[int], *, separate: int | None = None
) -> Integer[np.ndarray, "x2 y2 z2"]:
    """`labels` on a grid of `shape` voxels over the same extent.

    Each label's mask is interpolated linearly and the largest share wins; where the largest is
    shared, the label of the nearest voxel if it is among them, else the smallest.

    Args:
      labels: any integers, negative ones too.
      shape: voxels wanted.
      separate: an axis whose slices are resampled one by one; along it the nearest slice is taken.
    """
    shape = tuple(shape)
    if shape == labels.shape:
        return labels
    in_plane = shape
    if separate is not None:
        in_plane = (*shape[:separate], labels.shape[separate], *shape[separate + 1 :])
    out = _strongest(labels, in_plane, separate)
    if separate is None or shape == in_plane:
        return out
    deep = resampling.resample(out.astype(np.float64), shape, order=0, separate=separate)
    return deep.astype(labels.dtype)


def _strongest(
    labels: Integer[np.ndarray, "x y z"], shape: tuple[int, ...], separate: int | None
) -> Integer[np.ndarray, "x2 y2 z2"]:
    present = np.unique(labels)
    if len(present) == 1:
        return np.full(shape, present[0], labels.dtype)

    def resize(values: np.ndarray, order: int) -> np.ndarray:
        return resampling.zoom(values.astype(np.float64), shape, order=order, separate=separate)

    nearest = np.rint(resize(labels, 0)).astype(labels.dtype)
    best = np.full(shape, -np.inf)
    winner = np.full(shape, present[0], labels.dtype)
    for label in present:
        share = resize(labels == label, 1)
        better = (share > best) | ((share == best) & (nearest == label))
        winner[better] = label
        np.maximum(best, share, out=best)
    return winner


def pack(masks: Bool[np.ndarray, "x y z r"]) -> Int32[np.ndarray, "x y z"]:
    """One integer a voxel for the regions it belongs to: bit r is region r (at most 31)."""
    weights = 1 << np.arange(masks.shape[-1], dtype=np.int32)
    return (masks @ weights).astype(np.int32)


def unpack(packed: Int32[np.ndarray, "x y z"], regions: int) -> Bool[np.ndarray, "x y z r"]:
    """The masks that `pack` joined; negative numbers belong to no region."""
    bits = np.maximum(packed, 0)[..., None] >> np.arange(regions, dtype=np.int32)
    return (bits & 1).astype(bool)
