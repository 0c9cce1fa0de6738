"""AMIRA's signal by Bloch simulation: inversion recovery read out by balanced SSFP.

A pulse-by-pulse simulation of the shots (inversion, ramp, 96 alternating pulses, spoiling,
recovery), for every tissue, off-resonance and transmit field. The published closed form (Schmitt et
al., 2004; `sequences.inversion_recovery_bssfp`) is its on-resonance check.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from score_jax.phantom.tables import tables

OFF_RESONANCE_HZ = np.array(tables()["amira"]["lut_off_resonance_Hz"], np.float32)
TRANSMIT = np.array(tables()["amira"]["lut_B1"], np.float32)
IMAGES, LINES = 8, 12  # inversion times, lines of each an inversion
_REPEATS = 12  # inversions until the magnetisation repeats itself


class LookUp(NamedTuple):
    """Signals (M0 = 1, proton density included), signed along the on-resonance axis."""

    lines: Float[Array, "t i l"]  # on resonance, central transmit field: each line of each image
    change: Float[Array, "t i b"]  # of the central line, by off-resonance and transmit (`basis`)


@partial(jax.jit, static_argnames="repeats")
def simulate_lines(
    t1: Float[Array, " t"], t2: Float[Array, " t"], repetition_ms: Float[Array, " t"],
    flip_deg: Float[Array, ""], off_hz: Float[Array, " f"], transmit: Float[Array, " b"],
    *, repeats: int = _REPEATS,
) -> Float[Array, "l t f b"]:  # fmt: skip
    """Signal of each of the 96 read-out pulses in the steady state of the shots; M0 = PD = 1.

    Args:
      t1: ms.
      t2: ms.
      repetition_ms: time between inversions.
      flip_deg: nominal flip angle.
      off_hz: off-resonance.
      transmit: factor on the flip angle.
      repeats: inversions simulated before the one that is returned.
    """
    timing = tables()["amira"]
    tr, te, ramp = timing["TR_ms"], timing["TE_ms"], timing["ramp_pulses"]
    pulses = ramp + IMAGES * LINES
    start = timing["readout_start_ms"] - ramp * tr
    share = jnp.clip((jnp.arange(pulses) + 1.0) / (ramp + 1), 0.0, 1.0)
    angle = jnp.deg2rad(flip_deg) * share * (1 - 2 * (jnp.arange(pulses) % 2))
    shape = (t1.size, off_hz.size, transmit.size)
    r1, r2 = (1 / t[:, None, None] * jnp.ones(shape) for t in (t1, t2))
    rest = repetition_ms - start - pulses * tr
    turn = 2 * jnp.pi * off_hz[None, :, None] * 1e-3 * jnp.ones(shape)

    def evolve(m: tuple[Array, Array, Array], time: float) -> tuple[Array, Array, Array]:
        x, y, z = m
        c, s, decay = jnp.cos(turn * time), jnp.sin(turn * time), jnp.exp(-time * r2)
        grow = jnp.exp(-time * r1)
        return decay * (c * x + s * y), decay * (c * y - s * x), 1 - (1 - z) * grow

    def pulse(m: tuple[Array, Array, Array], alpha: Array) -> tuple[tuple, Array]:
        x, y, z = m
        own = alpha * transmit[None, None, :] * jnp.ones(shape)
        c, s = jnp.cos(own), jnp.sin(own)
        echo = evolve((x, c * y + s * z, c * z - s * y), te)
        return evolve(echo, tr - te), echo[1] * jnp.sign(alpha)

    def shot(z: Array) -> tuple[Array, Array]:
        at_start = 1 - (1 + timing["inversion_efficiency"] * z) * jnp.exp(-start * r1)
        zero = jnp.zeros(shape)
        (_, _, last), echoes = jax.lax.scan(pulse, (zero, zero, at_start), angle)
        return 1 - (1 - last) * jnp.exp(-rest[:, None, None] * r1), echoes

    z = jax.lax.fori_loop(0, repeats, lambda _, m: shot(m)[0], jnp.ones(shape))
    return shot(z)[1][ramp:]


def basis(off_hz: Array, transmit: Array) -> Array:
    """Polynomials in squared off-resonance and transmit field, on a new last axis.

    All vanish on resonance at the central transmit field.
    """
    u, v = (off_hz / 60) ** 2, (transmit - tables()["amira"]["B1"]["centre"]) / 0.2
    return jnp.stack([u, u * u, u * u * u, v, v * v, u * v, u * u * v], axis=-1)


@jax.jit
def look_up(
    t1: Float[Array, " t"], t2: Float[Array, " t"], pd: Float[Array, " t"],
    repetition_ms: Float[Array, " t"], flip_deg: Float[Array, ""],
) -> LookUp:  # fmt: skip
    """Table for tissues of the given parameters; the spatial change is fitted within 75 Hz."""
    near = jnp.asarray(OFF_RESONANCE_HZ[np.abs(OFF_RESONANCE_HZ) <= 75])
    transmit = jnp.asarray(TRANSMIT)
    centre = jnp.asarray([tables()["amira"]["B1"]["centre"]])
    on = simulate_lines(t1, t2, repetition_ms, flip_deg, jnp.zeros(1), centre)[:, :, 0, 0]
    lines = pd[:, None, None] * on.T.reshape(-1, IMAGES, LINES)
    # off resonance is symmetric: half of the frequencies tell all
    half = near[near.size // 2 :]
    every = simulate_lines(t1, t2, repetition_ms, flip_deg, half, transmit)
    middle = every.reshape(IMAGES, LINES, t1.size, half.size, transmit.size)[:, 5:7].mean(1)
    middle = pd[None, :, None, None] * middle
    base = lines[:, :, 5:7].mean(-1)
    f, b = jnp.meshgrid(half, transmit, indexing="ij")
    design = basis(f.ravel(), b.ravel())
    target = (middle - base.T[:, :, None, None]).reshape(IMAGES * t1.size, -1).T
    weight = jnp.exp(-0.5 * (f.ravel() / 40) ** 2)[:, None]
    gram = design.T @ (weight * design) + 1e-6 * jnp.eye(design.shape[1])
    solution = jnp.linalg.solve(gram, design.T @ (weight * target))
    return LookUp(lines, jnp.moveaxis(solution.T.reshape(IMAGES, t1.size, -1), 0, 1))
