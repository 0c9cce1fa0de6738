"""How the body lies in a scanner: the cord's course through the scan's own axes."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from score_jax.phantom.anatomy import S_GRID, S_MIN

Number = float | Float[Array, ""]
LORDOSIS_CHANGE = 0.1  # SD of the factor between visits
KYPHOSIS_MM = 60.0  # how far the cord at L1 lies behind that at T1


class Posture(NamedTuple):
    """The canal's middle line in scan coordinates, at each position of `S_GRID`.

    Columns of `course`: right and anterior position, height (all mm), and the two slopes
    (mm right or anterior a mm of height).
    """

    course: Float[Array, "s 5"]
    roll: Float[Array, ""]  # about the height axis, radians


@partial(jax.jit, static_argnames=("curved",))
def draw_posture(
    key: PRNGKeyArray,
    *,
    body: PRNGKeyArray | None = None,
    curved: bool = True,
    tilt_deg: Number = 3.0,
    shift_mm: Number = 0.0,
    roll_deg: Number = 2.0,
) -> Posture:
    """A random posture.

    Args:
      key: source of chance of this visit.
      body: of the person, whose spine keeps its bends from visit to visit; None is `key`.
      curved: with the bends of `spine`; else straight.
      tilt_deg: standard deviation of the tilt about each of the two axes across the cord.
      shift_mm: standard deviation of the in-plane shift.
      roll_deg: standard deviation of the turn about the cord.
    """
    n = jax.random.normal(key, (5,))
    s = jnp.asarray(S_GRID)
    bend = spine(key if body is None else body, key)
    slope = jnp.tan(jnp.deg2rad(tilt_deg) * n[3:])
    right = float(curved) * bend[0] + slope[0] * s + shift_mm * n[1]
    anterior = float(curved) * bend[1] + slope[1] * s + shift_mm * n[0]
    return laid_along(right, anterior, jnp.deg2rad(roll_deg) * n[2])


def spine(body: PRNGKeyArray, visit: PRNGKeyArray) -> tuple[Float[Array, " s"], Float[Array, " s"]]:
    """Bends of the spine, mm right and mm anterior: scoliosis; lordosis and kyphosis.

    Those of a person stay, but for the lordosis, whose depth changes by a tenth (standard
    deviation) from one visit to the next, as the neck is bedded anew (phantom.md 1.6, 4.2).
    """
    n, s = jax.random.normal(jax.random.fold_in(body, 71), (5,)), jnp.asarray(S_GRID)
    again = 1 + LORDOSIS_CHANGE * jax.random.normal(jax.random.fold_in(visit, 72))
    lordosis = 14.0 * (1 + 0.45 * n[0]) * again * jnp.sin((s + 20 + 12 * n[1]) / 120)
    fade = jnp.clip((s + 260) / 120, 0.0, 1.0)
    lordosis = lordosis * fade * fade * (3 - 2 * fade)  # without a kink
    lordosis = lordosis - lordosis[-S_MIN]
    # the tables' power law never turns; this has its slope at mid-thorax and is upright at L1
    down = jnp.clip((-90 - s) / 340, 0.0, 1.0)
    kyphosis = -KYPHOSIS_MM * (1 + 0.2 * n[2]) * 0.5 * (1 - jnp.cos(jnp.pi * down))
    return 2.0 * n[3] * jnp.sin(s / 90 + n[4]), lordosis + kyphosis


def laid_along(
    right: Float[Array, " s"], anterior: Float[Array, " s"], roll: Float[Array, ""]
) -> Posture:
    """A posture whose middle line has these positions; heights follow, as s is its length."""
    along = jnp.stack([_gradient(right), _gradient(anterior)], axis=-1)
    climb = jnp.sqrt(jnp.clip(1 - (along**2).sum(-1), 0.25, 1.0))
    height = jnp.cumsum(climb)
    height = height - height[-S_MIN]
    slopes = along / climb[:, None]
    return Posture(jnp.stack([right, anterior, height, slopes[:, 0], slopes[:, 1]], axis=-1), roll)


def _gradient(curve: Float[Array, " s"]) -> Float[Array, " s"]:
    slope = jnp.gradient(curve)
    assert isinstance(slope, jax.Array)
    return slope
