"""Resampling between voxel grids by nnU-Net's rules, with the splines of scipy.

Voxels are areas, not points: sample i of n covers [i / n, (i + 1) / n) of the axis (half-pixel
centres), edges are repeated.
"""

import functools
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from jaxtyping import Float, Integer, Num
from scipy import ndimage, sparse

_BLOCK = 2**17  # numbers in double precision held at a time: they stay in the cache
_SLAB = 2**18  # voxels of some planes of an image
_NOTHING = 1e-9  # weights below it
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

    A spline along an axis is a matrix, and one of several axes a matrix an axis: products do what
    scipy's `zoom` does a voxel at a time, equal to rounding (`zoom` is the slow form).

    Args:
      image: one channel.
      shape: voxels wanted.
      order: spline order, 0 to 3; values stay within the input's range.
      separate: an axis resampled on its own, after the planes across it.
      order_separate: spline order along that axis.

    Source: nnU-Net's ``resample_data_or_seg`` (skimage's ``resize(mode="edge",
    anti_aliasing=False)``).
    """
    shape = tuple(shape)
    dtype = image.dtype if image.dtype.kind == "f" else np.dtype(np.float32)
    if shape == image.shape:
        return image.astype(dtype)
    image = image.astype(dtype, copy=False)  # no name for the one before: its memory is free
    axes = [axis for axis in range(3) if axis != separate]
    alone = [] if separate is None else [separate]
    for together, degree in ((axes, order), (alone, order_separate)):
        changed = [axis for axis in together if shape[axis] != image.shape[axis]]
        bounds: list[np.ndarray] = []
        if changed and degree > 1:
            # nnU-Net's range is that of what it resamples at once: the volume, or each plane
            kept = tuple(together) if alone else None
            bounds = [f(image, axis=kept, keepdims=True) for f in (np.min, np.max)]
        # axes that shrink come first: fewer voxels are left for the others
        for axis in sorted(changed, key=_growth(image.shape, shape)):
            image = _along(image, axis, shape[axis], degree)
        if bounds:
            np.clip(image, *bounds, out=image)
    return image


def slabs(
    image: Float[np.ndarray, "x y z k"], shape: Sequence[int], *, separate: int | None = None
) -> Iterator[tuple[tuple[slice, ...], Float[np.ndarray, "x2 y2 z2 k"]]]:
    """Channels resampled linearly as by `resample`, some planes at a time, equal to the last bit.

    Args:
      image: channels last.
      shape: voxels wanted.
      separate: as in `resample`.

    Yields:
      Where in `shape` the planes lie, and their values.
    """
    axes = [axis for axis in range(3) if axis != separate]
    first = min(axes, key=_growth(image.shape, shape))  # what `resample` begins with
    step = max(1, _SLAB * shape[first] // math.prod(shape))
    for start in range(0, shape[first], step):
        rows = slice(start, min(start + step, shape[first]))
        wanted = [rows if axis == first else slice(0, n) for axis, n in enumerate(shape)]
        size = [side.stop - side.start for side in wanted]
        parts = [
            resample(
                _along(channel, first, shape[first], 1, rows), size, order=1, separate=separate
            )
            for channel in np.moveaxis(image, -1, 0)
        ]
        yield tuple(wanted), np.stack(parts, axis=-1)


def _growth(old: Sequence[int], new: Sequence[int]) -> Callable[[int], float]:
    return lambda axis: new[axis] / old[axis]


def zoom(
    image: Num[np.ndarray, "x y z"],
    shape: Sequence[int],
    *,
    order: int,
    separate: int | None = None,
) -> Float[np.ndarray, "x2 y2 z2"]:
    """As `resample`, in double precision and equal to scipy's and skimage's to the last bit.

    For shares of labels, where two may be equal and the last bit would decide.

    Args:
      image: one channel.
      shape: voxels wanted.
      order: spline order, 0 or 1.
      separate: the planes across this axis are resampled one by one, and it keeps its length.
    """
    planes = image[None] if separate is None else np.moveaxis(image, separate, 0)
    wanted = [n for axis, n in enumerate(shape) if axis != separate]
    factors = [new / old for new, old in zip(wanted, planes.shape[1:], strict=True)]
    out = np.stack([_scipys(plane, factors, order) for plane in planes])
    return out[0] if separate is None else np.moveaxis(out, 0, separate)


def _along(
    image: Float[np.ndarray, "x y z"], axis: int, new: int, order: int, rows: slice = slice(None)
) -> Float[np.ndarray, "x2 y2 z2"]:
    """`image` with `new` samples along one axis, or those `rows` of them."""
    planes = np.moveaxis(image, axis, 0)
    if len(planes) == new:
        planes = planes[rows]
    elif order == 0:
        planes = planes[nearest(len(planes), new)[rows]]
    else:
        matrix = spline_matrix(len(planes), new, order)[rows]
        read = slice(matrix.indices.min(), matrix.indices.max() + 1)
        planes = _product(matrix[:, read], planes[read], image.dtype)
    return np.moveaxis(planes, 0, axis)


def _product(
    matrix: sparse.csr_array, image: Num[np.ndarray, "old y z"], dtype: np.dtype
) -> Float[np.ndarray, "new y z"]:
    """``matrix @ image`` in double precision, some planes at a time: no second copy of it all."""
    new, old = len(matrix.indptr) - 1, image.shape[0]
    out = np.empty((new, *image.shape[1:]), dtype)
    step = max(1, _BLOCK // ((new + old) * max(1, image.shape[2])))
    for start in range(0, image.shape[1], step):
        block = image[:, start : start + step].astype(np.float64)
        product = matrix @ block.reshape(old, -1)
        out[:, start : start + step] = product.reshape(new, *block.shape[1:])
    return out


def nearest(old: int, new: int) -> Integer[np.ndarray, " new"]:
    """Which of `old` samples of a line each of `new` ones takes; the later of two as near."""
    # half-pixel centres; map_coordinates rounds x.5 up
    at = np.floor(old / new * (np.arange(new) + 0.5) - 0.5 + 0.5).astype(int)
    return np.clip(at, 0, old - 1)


@functools.lru_cache(32)
def spline_matrix(old: int, new: int, order: int) -> sparse.csr_array:
    """What makes `new` samples of a line out of `old`: a spline through them, edges repeated.

    A sample of a cubic spline depends on all others, but ever less with the distance: weights below
    1e-9 are left out.
    """
    lines = np.eye(old)
    matrix = np.stack([_scipys(line, [new / old], order) for line in lines], axis=1)
    assert matrix.shape == (new, old), f"{matrix.shape=} {new=} {old=}"
    return sparse.csr_array(np.where(np.abs(matrix) > _NOTHING, matrix, 0))


def _scipys(
    image: Num[np.ndarray, "*old"], factors: Sequence[float], order: int
) -> Float[np.ndarray, "*new"]:
    wide = image.astype(np.float64, copy=False)
    return np.asarray(ndimage.zoom(wide, factors, order=order, mode="nearest", grid_mode=True))
