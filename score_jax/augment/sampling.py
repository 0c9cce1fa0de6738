"""Values between voxels. Points are voxel indices ``(d, *patch)``; outside the array is 0."""

import math
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import product

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Num

SPLINE_POLE = math.sqrt(3) - 2
SPLINE_REACH = 12  # voxels after which a sample counts for less than 2e-7
NEAR_TIE = 2.5e-4  # shares closer than nnU-Net's float16 tells apart: the nearest voxel decides


def crop(array: Num[Array, "..."], patch: Sequence[int]) -> Num[Array, "..."]:
    """The middle of the array's first axes (an odd voxel over is cut where nnU-Net cuts it)."""
    cut = tuple(
        slice(n // 2 - p // 2, n // 2 - p // 2 + p)
        for n, p in zip(array.shape, patch, strict=False)
    )
    return array[cut]


def linear(
    array: Float[Array, "*space c"], points: Float[Array, " d *patch"]
) -> Float[Array, "*patch c"]:
    """Linear interpolation; a neighbour outside counts as 0."""
    flat = array.reshape(-1, array.shape[-1])
    total = jnp.zeros((), array.dtype)
    for index, weight, _ in _corners(points, array.shape[:-1]):
        total = total + flat[index] * weight[..., None]
    return total


def majority(
    codes: Int[Array, "*space"], points: Float[Array, " d *patch"]
) -> Int[Array, "*patch"]:
    """The code with the largest linear share; outside is code 0. Ties go to the nearest voxel.

    Source: nnU-Net's (batchgeneratorsv2) segmentation sampling: argmax over interpolated one-hot
    labels, with the outside as a label of its own.
    """
    flat = codes.reshape(-1)
    corners = [
        (jnp.where(inside, flat[index], 0), share)
        for index, share, inside in _corners(points, codes.shape, outside=True)
    ]
    near = nearest(codes, points)
    best, most = near, jnp.full(near.shape, -1.0)
    for code, _ in corners:
        share = sum(jnp.where(other == code, weight, 0.0) for other, weight in corners)
        share = share + NEAR_TIE * (code == near)
        better = share > most
        best, most = jnp.where(better, code, best), jnp.maximum(share, most)
    return best


def nearest(codes: Int[Array, "*space"], points: Float[Array, " d *patch"]) -> Int[Array, "*patch"]:
    """The code of the nearest voxel; beyond half a voxel outside it is 0."""
    index, inside = _flat([jnp.floor(p + 0.5).astype(jnp.int32) for p in points], codes.shape)
    return jnp.where(inside, codes.reshape(-1)[index], 0)


def cubic(
    array: Float[Array, "*space c"], points: Float[Array, " d *patch"]
) -> Float[Array, "*patch c"]:
    """Cubic B-spline interpolation; 0 at points beyond the outermost voxels' centres.

    Equal to scipy's ``map_coordinates(order=3, mode="constant")``.
    """
    shape = array.shape[:-1]
    inside = within(points, shape)
    needed = inside.any()
    for axis in range(len(shape)):
        # A condition also keeps XLA from computing the sums of one axis again in each of the next
        # (six times slower on a CPU, where it removes optimisation barriers).
        filtered = partial(_spline_coefficients, axis=axis)
        array = jax.lax.cond(needed, filtered, lambda same: same, array)
    flat = array.reshape(-1, array.shape[-1])
    bases = [jnp.floor(p).astype(jnp.int32) for p in points]
    taps = [_spline_weights(p - b) for p, b in zip(points, bases, strict=True)]
    total = jnp.zeros((), array.dtype)
    for offsets in product(range(4), repeat=len(shape)):
        at = [_mirrored(b + o - 1, n) for b, o, n in zip(bases, offsets, shape, strict=True)]
        index, _ = _flat(at, shape)
        weight = jnp.asarray(1.0)
        for axis, offset in enumerate(offsets):
            weight = weight * taps[axis][offset]
        total = total + flat[index] * weight[..., None]
    return jnp.where(inside[..., None], total, 0.0)


def within(points: Float[Array, " d *patch"], shape: Sequence[int]) -> Bool[Array, "*patch"]:
    """Whether each point lies between the outermost voxels' centres."""
    inside = jnp.asarray(True)
    for p, n in zip(points, shape, strict=True):
        inside = inside & (p >= 0) & (p <= n - 1)
    return inside


def _corners(
    points: Float[Array, " d *patch"], shape: Sequence[int], *, outside: bool = False
) -> Iterator[tuple[Array, Array, Array]]:
    """Flat index, weight and whether it is inside, of each voxel around the points.

    A voxel outside has weight 0, or keeps its own with `outside`.
    """
    bases = [jnp.floor(p).astype(jnp.int32) for p in points]
    shares = [p - b for p, b in zip(points, bases, strict=True)]
    for far in product((0, 1), repeat=len(shape)):
        index, inside = _flat([b + f for b, f in zip(bases, far, strict=True)], shape)
        weight = jnp.asarray(1.0)
        for share, f in zip(shares, far, strict=True):
            weight = weight * (share if f else 1 - share)
        yield index, weight if outside else jnp.where(inside, weight, 0.0), inside


def _flat(at: Sequence[Array], shape: Sequence[int]) -> tuple[Array, Array]:
    """Row-major indices, clamped into the array, and whether they were inside."""
    index, inside = jnp.zeros((), jnp.int32), jnp.asarray(True)
    for i, n in zip(at, shape, strict=True):
        inside = inside & (i >= 0) & (i < n)
        index = index * n + jnp.clip(i, 0, n - 1)
    return index, inside


def _mirrored(at: Array, n: int) -> Array:
    """Indices beyond the ends reflected at the outermost voxels; within one length of them."""
    at = jnp.abs(at)
    return jnp.clip(jnp.where(at > n - 1, 2 * (n - 1) - at, at), 0, n - 1)


def _spline_weights(t: Array) -> tuple[Array, ...]:
    return (
        (1 - t) ** 3 / 6,
        (4 - 6 * t**2 + 3 * t**3) / 6,
        (4 - 6 * (1 - t) ** 2 + 3 * (1 - t) ** 3) / 6,
        t**3 / 6,
    )


def _spline_coefficients(array: Array, axis: int) -> Array:
    """Cubic B-spline coefficients along one axis, the samples mirrored at its ends.

    Source: Unser, IEEE Signal Processing Magazine 16 (1999), 22-38, equation 21, as a sum over the
    samples that count in float32 instead of a recursion.
    """
    n = array.shape[axis]
    if n == 1:
        return array
    pad = [(SPLINE_REACH,) * 2 if a == axis else (0, 0) for a in range(array.ndim)]
    padded = jnp.pad(array, pad, mode="reflect")
    total = jnp.zeros_like(array)
    for start in range(2 * SPLINE_REACH + 1):
        tap = math.sqrt(3) * SPLINE_POLE ** abs(start - SPLINE_REACH)
        total = total + tap * jax.lax.slice_in_dim(padded, start, start + n, axis=axis)
    return total
