"""Analytic random fields: smooth noise that has a value at every point of a subject.

``g(r) = sqrt(2/n) sum_i cos(k_i . r + phi_i)``, ``k`` normal with standard deviation 1/length,
phases uniform: mean 0, variance 1, covariance ``exp(-d^2 / 2 length^2)``. No grid is stored, so two
scans of one subject at any resolution see the same field.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

WAVES = 18


class Fields(NamedTuple):
    """A stack of independent fields: wave vectors (rad/mm; x, y, s) and phases (rad)."""

    waves: Float[Array, "f n 3"]
    phases: Float[Array, "f n"]


class Frame(NamedTuple):
    """Affine coordinates on a plane: ``value = origin + along_x X + along_y Y`` for x, y, s."""

    origin: Float[Array, "3"]
    along_x: Float[Array, "3"]
    along_y: Float[Array, "3"]


def draw_fields(key: PRNGKeyArray, lengths: Float[Array, "f 2"]) -> Fields:
    """Fields of the given correlation lengths, mm: column 0 in x and y, column 1 along s."""
    waves_key, phases_key = jax.random.split(key)
    count = lengths.shape[0]
    scale = 1 / jnp.stack([lengths[:, 0], lengths[:, 0], lengths[:, 1]], axis=-1)
    waves = jax.random.normal(waves_key, (count, WAVES, 3)) * scale[:, None, :]
    phases = jax.random.uniform(phases_key, (count, WAVES), maxval=2 * jnp.pi)
    return Fields(waves, phases)


def on_plane(
    fields: Fields, frame: Frame, x: Float[Array, " x"], y: Float[Array, " y"]
) -> Float[Array, "f x y"]:
    """Every field on the grid `x` by `y` of a plane.

    The cosine of a sum splits into a product, so the grid costs one matrix product instead of a
    cosine a point and wave.
    """
    start = fields.waves @ frame.origin + fields.phases
    phase_x = start[..., None] + (fields.waves @ frame.along_x)[..., None] * x[None, None, :]
    phase_y = (fields.waves @ frame.along_y)[..., None] * y[None, None, :]
    left = jnp.concatenate([jnp.cos(phase_x), -jnp.sin(phase_x)], axis=1)
    right = jnp.concatenate([jnp.cos(phase_y), jnp.sin(phase_y)], axis=1)
    return jnp.sqrt(2.0 / WAVES) * jnp.einsum("fnx,fny->fxy", left, right)


def at_points(fields: Fields, points: Float[Array, "p 3"]) -> Float[Array, "f p"]:
    """Every field at scattered points (x, y, s), mm."""
    phase = jnp.einsum("fnd,pd->fpn", fields.waves, points) + fields.phases[:, None, :]
    return jnp.sqrt(2.0 / WAVES) * jnp.cos(phase).sum(-1)
