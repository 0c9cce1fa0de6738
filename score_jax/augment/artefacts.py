"""What goes wrong in MRI: bias field, ghosts of motion, metal. One sample; vmap for a batch.

Images here are normalised, so that air is not 0. Signal is measured from each channel's smallest
value in the patch.
"""

from collections.abc import Callable
from itertools import product
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key, Num

from score_jax.augment.separable import one_of
from score_jax.config.augment import BiasFieldConfig, GhostConfig, MetalConfig, Range

DEGREE = 3  # of the bias field's polynomial (Van Leemput et al., 1999; as TorchIO's default)


class BiasField(NamedTuple):
    """Coefficients of the monomials of degree 1 to 3, as `monomials` lists them."""

    on: Bool[Array, ""]
    coefficients: Float[Array, " m"]


class Ghost(NamedTuple):
    """One modulation of k-space along an axis; distance in voxels."""

    on: Bool[Array, ""]
    axis: Int[Array, ""]
    distance: Int[Array, ""]
    amplitude: Float[Array, ""]
    phase: Float[Array, ""]


class Metal(NamedTuple):
    """An implant; lengths in voxels."""

    on: Bool[Array, ""]
    centre: Float[Array, " d"]
    radius: Float[Array, ""]
    displacement: Float[Array, ""]
    readout: Int[Array, ""]
    field: Float[Array, " d"]


def monomials(ndim: int) -> tuple[tuple[int, ...], ...]:
    """Exponents of every monomial of degree 1 to 3 in `ndim` variables.

    >>> len(monomials(2)), len(monomials(3))
    (9, 19)
    """
    every = product(range(DEGREE + 1), repeat=ndim)
    return tuple(powers for powers in every if 0 < sum(powers) <= DEGREE)


def draw_bias_field(key: Key[Array, ""], config: BiasFieldConfig, ndim: int) -> BiasField:
    """Coefficients uniform within the strength."""
    drawn = jax.random.uniform(key, (1 + len(monomials(ndim)),))
    return BiasField(drawn[0] < config.probability, config.strength * (2 * drawn[1:] - 1))


def bias_field(
    image: Float[Array, "*space c"], coefficients: Float[Array, " m"]
) -> Float[Array, "*space c"]:
    """Signal times exp(polynomial), the patch's axes running from -1 to 1; 1 on average of logs."""
    shape = image.shape[:-1]
    axes = [jnp.linspace(-1.0, 1.0, n) for n in shape]
    log = jnp.zeros(shape)
    for number, powers in enumerate(monomials(len(shape))):
        term = coefficients[number]
        for axis, power in enumerate(powers):
            ones = [1] * len(shape)
            ones[axis] = -1
            term = term * (axes[axis] ** power).reshape(ones)
        log = log + term
    low = _air(image)
    return (image - low) * jnp.exp(log - log.mean())[..., None] + low


def draw_ghost(key: Key[Array, ""], config: GhostConfig, shape: tuple[int, ...]) -> Ghost:
    """Axis, distance, strength and phase of the motion."""
    chance, which, far, strong, phase = jax.random.uniform(key, (5,))
    axis = one_of(which, config.axes or tuple(range(len(shape))))
    share = _between(config.distance, far) * jnp.asarray(shape, jnp.float32)[axis]
    return Ghost(
        chance < config.probability,
        axis,
        jnp.maximum(jnp.round(share).astype(jnp.int32), 1),
        _between(config.amplitude, strong),
        jnp.pi * (2 * phase - 1),
    )


def ghost(
    image: Float[Array, "*space c"],
    axis: Int[Array, ""],
    distance: Int[Array, ""],
    amplitude: Float[Array, ""],
    phase: Float[Array, ""],
) -> Float[Array, "*space c"]:
    """The magnitude image after k-space line k was times 1 + a cos(2 pi k distance / n + phase).

    Periodic motion modulates the lines as they are acquired; the Fourier transform of a cosine is
    two deltas, so no transform is needed: two ghosts, `distance` voxels up and down the axis.
    """

    def along(number: int) -> Array:
        low = _air(image)
        signal = image - low
        up, down = jnp.roll(signal, distance, number), jnp.roll(signal, -distance, number)
        real = signal + amplitude / 2 * jnp.cos(phase) * (up + down)
        imaginary = amplitude / 2 * jnp.sin(phase) * (down - up)
        return jnp.hypot(real, imaginary) + low

    return _switch(axis, along, image.ndim - 1)


def draw_metal(key: Key[Array, ""], config: MetalConfig, shape: tuple[int, ...]) -> Metal:
    """Place, size, strength, readout axis and direction of the main field (one of the axes)."""
    ndim = len(shape)
    chance, size, strength, which, direction, *place = jax.random.uniform(key, (5 + ndim,))
    return Metal(
        chance < config.probability,
        jnp.stack(place) * (jnp.asarray(shape, jnp.float32) - 1),
        _between(config.radius, size),
        _between(config.displacement, strength),
        one_of(which, config.axes or tuple(range(ndim))),
        jax.nn.one_hot(one_of(direction, range(ndim)), ndim),
    )


def _between(bounds: Range, share: Array) -> Array:
    low, high = bounds
    return low + (high - low) * share


def displacement(
    shape: tuple[int, ...],
    centre: Float[Array, " d"],
    radius: Float[Array, ""],
    largest: Float[Array, ""],
    field: Float[Array, " d"],
) -> tuple[Float[Array, "*space"], Float[Array, "*space"]]:
    """How far the signal of each voxel is moved along the readout, and its distance in radii.

    The field of a magnetised sphere: (3 cos^2 - 1) (radius / distance)^3 outside it, `largest / 2`
    at its equator; smooth inside, where nothing is seen.

    Source: Schenck, Med. Phys. 23 (1996), 815-850 (field of a sphere, displacement by readout).
    """
    grid = jnp.stack(jnp.meshgrid(*(jnp.arange(float(n)) for n in shape), indexing="ij"))
    ones = (1,) * len(shape)
    away = (grid - centre.reshape(-1, *ones)) / radius
    square = (away**2).sum(0)
    along = (away * field.reshape(-1, *ones)).sum(0) ** 2
    outside = jnp.maximum(square, 1.0)
    return largest / 2 * (3 * along / outside - 1) / outside**1.5, jnp.sqrt(square)


def metal(
    image: Float[Array, "*space c"],
    codes: Num[Array, "*space"],
    centre: Float[Array, " d"],
    radius: Float[Array, ""],
    largest: Float[Array, ""],
    readout: Int[Array, ""],
    field: Float[Array, " d"],
) -> tuple[Float[Array, "*space c"], Num[Array, "*space"]]:
    """Image and truth with an implant: a void, displacement along the readout, signal piled up.

    The truth moves with what is seen (nearest voxel), also inside the void.

    Args:
      image: of one sample.
      codes: truth, one number a voxel; what comes from beyond the edge is the edge's.
      centre: of the implant, voxels.
      radius: of its void, voxels.
      largest: largest displacement, voxels.
      readout: axis of the displacement.
      field: unit vector of the main field.
    """
    shape = image.shape[:-1]
    moved, distance = displacement(shape, centre, radius, largest, field)
    seen = jax.nn.sigmoid((distance - 1) * 8)  # from nothing to all within half a radius

    def along(number: int) -> tuple[Array, Array]:
        ones = [1] * len(shape)
        ones[number] = -1
        last = shape[number] - 1
        at = jnp.clip(jnp.arange(last + 1.0).reshape(ones) - moved, 0, last)
        low = _air(image)
        before = jnp.floor(at).astype(jnp.int32)
        share = (at - before)[..., None]
        signal = image - low
        first = jnp.take_along_axis(signal, before[..., None], number)
        second = jnp.take_along_axis(signal, jnp.minimum(before + 1, last)[..., None], number)
        # signal is conserved: where voxels draw together it grows
        slope = jnp.asarray(jnp.gradient(moved, axis=number)) if last else 0.0
        pile = jnp.clip(1 - slope, 0, 3)
        new = (first * (1 - share) + second * share) * (pile * seen)[..., None] + low
        nearest = jnp.floor(at + 0.5).astype(jnp.int32)
        return new, jnp.take_along_axis(codes, nearest, number)

    return _switch(readout, along, len(shape))


def _air(image: Array) -> Array:
    return image.min(tuple(range(image.ndim - 1)), keepdims=True)


def _switch(axis: Array, along: Callable[[int], Array | tuple[Array, ...]], ndim: int):
    return jax.lax.switch(axis, [lambda k=k: along(k) for k in range(ndim)])
