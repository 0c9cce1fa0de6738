"""Changes of resolution: each axis of a patch times a matrix of its own.

Blur, lower resolution and thick slices are linear along every axis, so a matrix ``(new, old)`` an
axis says all of it, with edges and sizes that are drawn; products of matrices are what CPUs and
accelerators do best.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from score_jax.config.augment import BlurConfig, LowResolutionConfig, ThickSlicesConfig


class Blur(NamedTuple):
    """Standard deviations in voxels, ``(c, d)``; 0 leaves a channel as it is."""

    on: Bool[Array, ""]
    sigma: Float[Array, "c d"]


class LowResolution(NamedTuple):
    """Zoom of each axis of each channel, ``(c, d)``; 1 leaves it as it is."""

    on: Bool[Array, ""]
    zoom: Float[Array, "c d"]


class ThickSlices(NamedTuple):
    """Which axis has slices how many voxels thick."""

    on: Bool[Array, ""]
    axis: Int[Array, ""]
    thickness: Float[Array, ""]


def along_axes(
    image: Float[Array, "*space c"], matrices: Sequence[Float[Array, "..."] | None]
) -> Float[Array, "*new c"]:
    """`image` with each of its space axes multiplied by a matrix.

    Args:
      image: of one sample.
      matrices: one an axis, ``(new, old)`` for all channels or ``(c, new, old)`` for each its own;
        None leaves the axis as it is.
    """
    turned = jnp.moveaxis(image, -1, 0)
    for axis, matrix in enumerate(matrices, 1):
        if matrix is None:
            continue
        # as (c, before, axis, after), so that each case is a plain product of matrices
        shape = turned.shape
        matrix = jnp.broadcast_to(matrix, (shape[0], *matrix.shape[-2:]))
        new = (*shape[:axis], matrix.shape[1], *shape[axis + 1 :])
        if axis == 1:
            turned = _product(matrix, turned.reshape(shape[0], shape[1], -1))
        elif axis == turned.ndim - 1:
            turned = _product(turned.reshape(shape[0], -1, shape[-1]), matrix.mT)
        else:
            middle = turned.reshape(shape[0], -1, shape[axis], math.prod(shape[axis + 1 :]))
            turned = _product(matrix[:, None], middle)
        turned = turned.reshape(new)
    return jnp.moveaxis(turned, 0, -1)


def _product(left: Array, right: Array) -> Array:
    return jnp.matmul(left, right, precision="highest")


def draw_blur(key: Key[Array, ""], config: BlurConfig, channels: int, ndim: int) -> Blur:
    """Which channels are blurred, and how much along each axis."""
    drawn = jax.random.uniform(key, (channels + 1, ndim + 1))
    low, high = config.sigma
    sigma = low + (high - low) * drawn[1:, 1:]
    hit = drawn[1:, :1] < config.channel_probability
    return Blur(drawn[0, 0] < config.probability, sigma * hit)


def blur(
    image: Float[Array, "*space c"], sigma: Float[Array, "c d"], largest: float
) -> Float[Array, "*space c"]:
    """Gaussian blur with reflected edges.

    Args:
      image: of one sample.
      sigma: standard deviation in voxels of each axis of each channel; 0 = none.
      largest: no sigma is above it.

    Source: batchgeneratorsv2 ``blur_dimension``: taps within the odd number nearest 6 sigma + 0.5.
    """
    reach = int(3 * largest + 0.25)

    def matrices(n: int, axis: int) -> Array:
        return jax.vmap(lambda s: gaussian_matrix(n, s, reach))(sigma[:, axis])

    return along_axes(image, [matrices(n, a) for a, n in enumerate(image.shape[:-1])])


def gaussian_matrix(n: int, sigma: Float[Array, ""], reach: int) -> Float[Array, "n n"]:
    """Gaussian blur of one axis; edges reflected without repeating the outermost voxel."""
    offsets = np.arange(-reach, reach + 1)
    half = jnp.floor((6 * sigma + 0.5) / 2)
    spread = jnp.maximum(sigma, 1e-6)
    taps = jnp.exp(-0.5 * (offsets / spread) ** 2) * (np.abs(offsets) <= half)
    taps = taps / taps.sum()
    at = np.arange(n)[:, None] + offsets
    period = max(2 * (n - 1), 1)
    at = np.abs((at + period // 2) % period - period // 2) if n > 1 else np.zeros_like(at)
    hits = np.zeros((n, len(offsets), n), np.float32)
    hits[np.arange(n)[:, None], np.arange(len(offsets)), np.minimum(at, n - 1)] = 1
    return jnp.einsum("ito,t->io", jnp.asarray(hits), taps, precision="highest")


def draw_low_resolution(
    key: Key[Array, ""],
    config: LowResolutionConfig,
    channels: int,
    ndim: int,
    *,
    keep_first: bool,
) -> LowResolution:
    """Which channels are sampled down, and how far; the first axis stays with `keep_first`."""
    drawn = jax.random.uniform(key, (channels + 1, 2))
    low, high = config.zoom
    hit = drawn[1:, :1] < config.channel_probability
    zoom = jnp.where(hit, low + (high - low) * drawn[1:, 1:], 1.0)
    zoom = jnp.broadcast_to(zoom, (channels, ndim))
    return LowResolution(
        drawn[0, 0] < config.probability, zoom.at[:, 0].set(1.0) if keep_first else zoom
    )


def low_resolution(
    image: Float[Array, "*space c"], zoom: Float[Array, "c d"]
) -> Float[Array, "*space c"]:
    """Sampled down (nearest voxel) and up again (linear).

    Source: batchgeneratorsv2 ``SimulateLowResolutionTransform``.
    """

    def matrices(n: int, axis: int) -> Array:
        return jax.vmap(lambda z: low_resolution_matrix(n, z))(zoom[:, axis])

    return along_axes(image, [matrices(n, a) for a, n in enumerate(image.shape[:-1])])


def low_resolution_matrix(n: int, zoom: Float[Array, ""]) -> Float[Array, "n n"]:
    """Down to round(n zoom) voxels and up again along one axis."""
    size = jnp.maximum(jnp.round(n * zoom), 1.0)
    low, high, share = _between(n, size)
    voxel = jnp.arange(n)

    def taken(coarse: Array) -> Array:
        return jnp.minimum(jnp.floor((coarse + 0.5) * (n / size)), n - 1).astype(jnp.int32)

    near, far = (taken(c)[:, None] == voxel[None] for c in (low, high))
    return near * (1 - share)[:, None] + far * share[:, None]


def _between(n: int, size: Float[Array, ""]) -> tuple[Array, Array, Array]:
    """Neighbours on a grid of `size` of each of n voxels over the same extent; the far share."""
    at = jnp.maximum((jnp.arange(n) + 0.5) * (size / n) - 0.5, 0.0)
    low = jnp.minimum(jnp.floor(at), size - 1)
    return low, jnp.minimum(low + 1, size - 1), at - low


def draw_thick_slices(key: Key[Array, ""], config: ThickSlicesConfig, ndim: int) -> ThickSlices:
    """An axis and a thickness."""
    chance, which, share = jax.random.uniform(key, (3,))
    low, high = config.thickness
    return ThickSlices(
        chance < config.probability,
        one_of(which, config.axes or tuple(range(ndim))),
        low + (high - low) * share,
    )


def one_of(share: Float[Array, ""], choices: Sequence[int]) -> Int[Array, ""]:
    """One of `choices` for a number uniform in [0, 1)."""
    return jnp.asarray(choices, jnp.int32)[(share * len(choices)).astype(jnp.int32)]


def thick_slices(
    image: Float[Array, "*space c"], axis: Int[Array, ""], thickness: Float[Array, ""]
) -> Float[Array, "*space c"]:
    """What slices `thickness` voxels thick along `axis` would show, interpolated back.

    The slice profile is a Gaussian whose full width at half maximum is the thickness.
    """

    def along(number: int) -> Array:
        matrices: list[Array | None] = [None] * (image.ndim - 1)
        matrices[number] = thick_slice_matrix(image.shape[number], thickness)
        return along_axes(image, matrices)

    return jax.lax.switch(axis, [lambda k=k: along(k) for k in range(image.ndim - 1)])


def thick_slice_matrix(n: int, thickness: Float[Array, ""]) -> Float[Array, "n n"]:
    """Averages over round(n / thickness) slices of one axis, interpolated linearly to n voxels."""
    size = jnp.maximum(jnp.round(n / thickness), 1.0)
    width = n / size
    slices = jnp.arange(n)  # more than there are; those beyond `size` are never asked for
    centres = (slices + 0.5) * width - 0.5
    distance = (jnp.arange(n)[None] - centres[:, None]) / width
    # 2.355 standard deviations make the full width at half maximum
    profile = jnp.exp(-0.5 * (distance * 2.355) ** 2)
    profile = profile / jnp.maximum(profile.sum(1, keepdims=True), 1e-12)
    low, high, share = _between(n, size)
    near, far = (profile[at.astype(jnp.int32)] for at in (low, high))
    whole = near * (1 - share)[:, None] + far * share[:, None]
    return jnp.where(size == n, jnp.eye(n), whole)
