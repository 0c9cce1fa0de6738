"""Metal implants: signal voids, bright rims and displaced voxels around screws.

A model of the appearance, not a simulation: voids of 6 to 12 mm, a displacement along the read-out
that follows a dipole's field (3 cos^2 - 1) / r^3, cut at one and a half voxels (phantom.md 1.9).
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from score_jax.phantom import tissues as ts
from score_jax.phantom.acquisition import Acquisition
from score_jax.phantom.anatomy import S_GRID
from score_jax.phantom.posture import Posture
from score_jax.phantom.scene import Scene

_MOST = 10  # screws a body can carry


class Implants(NamedTuple):
    """Screws in canal coordinates (x, y, s; mm) and the radius of their voids (mm; 0 = none)."""

    place: Float[np.ndarray, "n 3"]
    radius: Float[np.ndarray, " n"]


def draw_implants(rng: np.random.Generator, *, s: float, strength: float = 1.0) -> Implants:
    """Pairs of screws at two to four levels about `s`, or an anterior plate.

    Args:
      rng: source of chance.
      s: middle of the instrumented levels, mm.
      strength: factor on the radius of the voids (field strength, alloy, sequence).
    """
    place, radius = np.zeros((_MOST, 3), np.float32), np.zeros(_MOST, np.float32)
    levels = int(rng.integers(2, 5))
    heights = s + 17.5 * (np.arange(levels) - 0.5 * (levels - 1)) + rng.normal(0, 2)
    anterior = rng.uniform() < 0.3
    size = strength * rng.uniform(6, 12)
    count = 0
    for height in heights:
        for side in (-1, 1):
            x = side * (6 if anterior else rng.uniform(12, 15))
            y = rng.uniform(22, 26) if anterior else rng.uniform(-14, -8)
            place[count] = x, y, height
            radius[count] = size * rng.uniform(0.7, 1.0) * (0.8 if anterior else 1.0)
            count += 1
    return Implants(place, radius)


def spoil(
    image: Float[np.ndarray, "x y z c"], implants: Implants, posture: Posture, scan: Acquisition
) -> Float[np.ndarray, "x y z c"]:
    """The image with the implants' voids, rims and displacement (right, anterior, superior axes).

    The read-out runs along anterior; an image far from every screw comes back as it is.
    """
    centres = screw_centres(implants, posture)
    lines = [jnp.asarray(scan.centres(axis), jnp.float32) for axis in range(3)]
    radius = jnp.asarray(implants.radius)
    return np.asarray(distort(jnp.asarray(image), jnp.asarray(centres, jnp.float32), radius, lines))


def screw_centres(implants: Implants, posture: Posture) -> Float[np.ndarray, "n 3"]:
    """Screws in the scan's own axes, mm."""
    course = np.asarray(posture.course)
    at = np.stack([np.interp(implants.place[:, 2], S_GRID, course[:, k]) for k in range(3)], -1)
    return at + implants.place * np.array([1, 1, 0])


def unsaturated_fat(
    scene: Scene, implants: Implants, posture: Posture, scan: Acquisition, gain: float
) -> Scene:
    """The scene with fat `gain` times brighter near metal, where its suppression fails.

    Within about three radii of a void the field is off by more than the pulse's band width.
    """
    centres = jnp.asarray(screw_centres(implants, posture), jnp.float32)
    lines = [jnp.asarray(scan.centres(axis), jnp.float32) for axis in range(3)]
    near = _near(centres, jnp.asarray(implants.radius), lines)
    at = scene.tissues.index(ts.FAT)
    return scene._replace(fractions=scene.fractions.at[at].multiply(1 + (gain - 1) * near))


@jax.jit
def _near(centres: Array, radius: Array, lines: Sequence[Array]) -> Float[Array, "x y z"]:
    """1 within three radii of a screw, falling to 0 over half a radius."""
    x, y, z = jnp.meshgrid(*lines, indexing="ij")

    def add(i: Array, near: Array) -> Array:
        place = centres[i]
        away = jnp.sqrt((x - place[0]) ** 2 + (y - place[1]) ** 2 + (z - place[2]) ** 2)
        own = jax.nn.sigmoid((3.0 - away / jnp.maximum(radius[i], 0.1)) / 0.15)
        return jnp.maximum(near, own * (radius[i] > 0))

    return jax.lax.fori_loop(0, radius.size, add, jnp.zeros_like(x))


@jax.jit
def distort(
    image: Float[Array, "x y z c"], centres: Float[Array, "n 3"], radius: Float[Array, " n"],
    lines: Sequence[Array],
) -> Float[Array, "x y z c"]:  # fmt: skip
    """`spoil` on the device: screws at `centres` and voxels at `lines`, both mm of one system."""
    x, y, z = (
        line.reshape([-1 if k == axis else 1 for k in range(3)]) * jnp.ones(image.shape[:3])
        for axis, line in enumerate(lines)
    )

    def add(i: Array, total: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        keep, rim, shift = total
        dx, dy, dz = x - centres[i, 0], y - centres[i, 1], z - centres[i, 2]
        r2 = dx * dx + dy * dy + dz * dz + 1.0
        r = jnp.sqrt(r2) / jnp.maximum(radius[i], 0.1)
        here = radius[i] > 0
        lobes = 3 * dz * dz / r2 - 1
        edge = r * (1 - 0.15 * lobes)  # voids follow the dipole's lobes
        keep = keep * jnp.where(here, jax.nn.sigmoid((edge - 1) / 0.08), 1.0)
        ring = jnp.exp(-(((edge - 1.18) / 0.09) ** 2)) * (dy > 0)
        return keep, rim + here * ring, shift + here * lobes / jnp.maximum(r, 0.7) ** 3

    zero = jnp.zeros(image.shape[:3])
    keep, rim, shift = jax.lax.fori_loop(0, radius.size, add, (zero + 1, zero, zero))
    voxels = jnp.clip(1.2 * shift, -1.5, 1.5)
    where = jnp.arange(image.shape[1], dtype=jnp.float32)[None, :, None] + voxels
    where = jnp.clip(where, 0.0, image.shape[1] - 1.0)
    low = jnp.minimum(jnp.floor(where).astype(jnp.int32), image.shape[1] - 2)
    part = (where - low)[..., None]
    first = jnp.take_along_axis(image, low[..., None], axis=1)
    second = jnp.take_along_axis(image, low[..., None] + 1, axis=1)
    moved = (1 - part) * first + part * second
    return moved * (keep * (1 + 0.7 * jnp.minimum(rim, 1.5)))[..., None]
