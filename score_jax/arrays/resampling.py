"""Resampling between voxel grids by nnU-Net's rules, with scipy's splines.

Voxels are areas, not points: sample i of n covers [i / n, (i + 1) / n) of the axis (half-pixel
centres), edges are repeated.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Num
from scipy import ndimage

ANISOTROPY = 3.0  # ratio of spacings above which the coarse axis is resampled on its own


def resampled_shape(
    shape: Sequence[int], spacing: Sequence[float], target: Sequence[float]
) -> tuple[int, ...]:
    """Voxels along each axis after resampling, at least 1; a target of 0 keeps the axis."""
    return tuple(
        n if new == 0 else max(1, round(old / new * n))
        for n, old, new in zip(shape, spacing, target, strict=True)
    )


def coarse_axis(current: Sequence[float], new: Sequence[float]) -> int | None:
    """The axis resampled on its own: the coarsest of the first anisotropic spacing, or None.

    None also where several axes share the largest spacing.

    Source: nnU-Net, ``determine_do_sep_z_and_axis``.
    """
    for spacing in (current, new):
        if max(spacing) / min(spacing) > ANISOTROPY:
            axes = [axis for axis, size in enumerate(spacing) if size == max(spacing)]
            return axes[0] if len(axes) == 1 else None
    return None


def resample(
    image: Num[np.ndarray, "x y z"],
    shape: Sequence[int],
    *,
    order: int,
    separate: int | None = None,
    order_separate: int = 0,
) -> Float[np.ndarray, "x2 y2 z2"]:
    """`image` on a grid of `shape` voxels over the same extent, in its own float type.

    Args:
      image: one channel.
      shape: voxels wanted.
      order: spline order, 0 to 3; values stay within the input's range.
      separate: an axis resampled on its own, after the planes across it.
      order_separate: spline order along that axis.

    Source: nnU-Net's ``resample_data_or_seg`` (equal to skimage's ``resize(mode="edge",
    anti_aliasing=False)`` to the last bit).
    """
    shape = tuple(shape)
    dtype = image.dtype if image.dtype.kind == "f" else np.float32
    if shape == image.shape:
        return image.astype(dtype)
    if separate is None:
        return _zoom(image, shape, order).astype(dtype)
    planes = np.moveaxis(image, separate, 0)
    in_plane = tuple(n for axis, n in enumerate(shape) if axis != separate)
    out = np.stack([_zoom(plane, in_plane, order) for plane in planes]).astype(dtype)
    depth = shape[separate]
    if depth != len(out):
        out = _zoom(out, (depth, *in_plane), order_separate, only_first=True)
    return np.moveaxis(out, 0, separate).astype(dtype)


def _zoom(
    image: Num[np.ndarray, "..."], shape: tuple[int, ...], order: int, *, only_first: bool = False
) -> Num[np.ndarray, "..."]:
    if shape == image.shape:
        return image
    if only_first and order == 0:
        # half-pixel centres; map_coordinates rounds x.5 up
        scale = image.shape[0] / shape[0]
        at = np.floor(scale * (np.arange(shape[0]) + 0.5) - 0.5 + 0.5).astype(int)
        return image[np.clip(at, 0, image.shape[0] - 1)]
    factors = [new / old for new, old in zip(shape, image.shape, strict=True)]
    wide = image.astype(np.float64)
    out = np.asarray(ndimage.zoom(wide, factors, order=order, mode="nearest", grid_mode=True))
    assert out.shape == shape, f"{out.shape=} {shape=}"
    return np.clip(out, wide.min(), wide.max()) if order > 1 else out
