"""The grey matter: 14 numbers a level, fitted to the PAM50 template's probability map.

Fit: Dice >= .98 at every level C1 to T12 (phantom tables; De Leener 2018 for the template).
"""

from collections.abc import Mapping

import jax.numpy as jnp
from jaxtyping import Array, Float

from score_jax.phantom.shapes import capsule, smooth_min, turned_ellipse

Row = Mapping[str, Float[Array, ""]]


def butterfly_coordinates(
    x: Float[Array, "x y"], y: Float[Array, "x y"], row: Row, side: Float[Array, "2"]
) -> tuple[Float[Array, "x y"], Float[Array, "x y"]]:
    """Cord coordinates in the butterfly's own mm: u >= 0 away from the midline, v anterior.

    `side` makes the right half wider (0) and higher (1) than the left; both vanish on the midline.
    """
    right = jnp.clip(x / 0.5, -1.0, 1.0)
    u = jnp.abs(x) / (row["gsx"] * (1 + 0.5 * side[0] * right))
    v = y / row["gsy"] - 0.5 * side[1] * right * u
    return u, v


def grey_matter(u: Float[Array, "x y"], v: Float[Array, "x y"], row: Row) -> Float[Array, "x y"]:
    """Signed distance (mm) to the grey matter, not yet kept below the cord's surface."""
    base, tip = (row["xb"], row["yb"]), (row["xt"], row["yt"])
    centre, k = (row["xa"], row["ya"]), row["k"]
    horn = turned_ellipse(u, v, centre, row["a1"] + 0.1, row["a2"] + 0.1, row["ta"])
    neck = capsule(u, v, centre, base, (0.7 * row["a2"], row["rb"]))
    posterior = capsule(u, v, base, tip, (row["rb"], row["rt"]))
    middle = jnp.zeros_like(row["yc"])
    commissure = capsule(u, v, (middle, row["yc"]), base, (row["hc"], row["hc"]))
    d = smooth_min(smooth_min(smooth_min(horn, neck, k), posterior, k), commissure, k)
    return d * jnp.sqrt(row["gsx"] * row["gsy"])


def part_borders(
    u: Float[Array, "x y"], v: Float[Array, "x y"], row: Row
) -> tuple[Float[Array, "x y"], Float[Array, "x y"]]:
    """Signed distances (mm) to the cuts between the parts.

    First: negative in the grey commissure; second: negative in the anterior horn, where it is not
    commissure. The rest of the grey matter is posterior horn (laminae VI-IX, I-V and X).
    """
    scale = jnp.sqrt(row["gsx"] * row["gsy"])
    commissure = u - (0.34 * row["xb"] + 0.16)
    anterior = (row["yc"] - row["hc"] - 0.42 - 0.12 * (u - row["xb"])) - v
    return commissure * scale, anterior * scale
