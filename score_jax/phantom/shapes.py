"""Signed distances to plane shapes, mm, negative inside; elementwise on any array.

The forms are those the butterfly numbers were fitted with (phantom tables), so they are not to be
swapped for exact distances: the ellipse's is first-order, the polar contour's is scaled.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

Plane = Float[Array, "*points"]
Number = Float[Array, "*points"] | Float[Array, ""] | float
_TINY = 1e-9


def smooth_min(a: Plane, b: Plane, k: Number) -> Plane:
    """The lesser distance, the crease filled over a width `k` (polynomial smooth minimum)."""
    h = jnp.clip(0.5 + 0.5 * (b - a) / k, 0.0, 1.0)
    return b + (a - b) * h - k * h * (1 - h)


def capsule(
    x: Plane, y: Plane, start: tuple[Number, Number], end: tuple[Number, Number],
    radius: tuple[Number, Number],
) -> Plane:  # fmt: skip
    """Distance to a stick whose radius changes linearly from `start` to `end`."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    px, py = x - start[0], y - start[1]
    h = jnp.clip((px * dx + py * dy) / (dx * dx + dy * dy + _TINY), 0.0, 1.0)
    gap = jnp.sqrt((px - h * dx) ** 2 + (py - h * dy) ** 2 + _TINY)
    return gap - (radius[0] + (radius[1] - radius[0]) * h)


def ellipse(x: Plane, y: Plane, a: Number, b: Number) -> Plane:
    """First-order distance to an ellipse of semi-axes `a` along x and `b` along y."""
    u, v = x / a, y / b
    r2 = u * u + v * v + _TINY
    slope = jnp.sqrt((u / a) ** 2 + (v / b) ** 2 + _TINY)
    return (r2 - jnp.sqrt(r2)) / slope


def turned_ellipse(
    x: Plane, y: Plane, centre: tuple[Number, Number], a: Number, b: Number, angle: Number
) -> Plane:
    """`ellipse` about `centre`, turned by `angle` radians."""
    c, s = jnp.cos(jnp.asarray(angle)), jnp.sin(jnp.asarray(angle))
    px, py = x - centre[0], y - centre[1]
    return ellipse(c * px + s * py, c * py - s * px, a, b)


def polar_ellipse(x: Plane, y: Plane, a: Number, b: Number, tau: Number, four: Number) -> Plane:
    """Ellipse whose radius is scaled by ``m = 1 - tau cos 3(t - 90 deg) + four cos 4t``.

    `tau` > 0 flattens the anterior side and draws out a posterior apex. Harmonics are written in
    sines and cosines, so no angle is computed.
    """
    radius = jnp.sqrt(x * x + y * y + 1e-6)
    cos, sin = x / radius, y / radius
    sin3 = sin * (3 - 4 * sin * sin)
    cos4 = 1 - 8 * cos * cos * sin * sin
    m = 1 + tau * sin3 + four * cos4
    return m * ellipse(x / m, y / m, a, b)


def coverage(distance: Plane, pixel: Number) -> Plane:
    """Share of a pixel inside a border at `distance`: 1 deep inside, one half on the border."""
    return jnp.clip(0.5 - distance / pixel, 0.0, 1.0)
