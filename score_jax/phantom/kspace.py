"""AMIRA images from tissue fractions: 16 shots, each line with its own contrast, then magnitude.

The fractions arrive transformed along the phase-encoded axis (anterior), in a hybrid space of x and
192 lines. An image is their sum with one weight a tissue, inversion time and line, so a new flip
angle, noise or motion costs no new transform of the anatomy.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from score_jax.phantom import tissues as ts
from score_jax.phantom.acquisition import Acquisition, band_limited
from score_jax.phantom.bloch import IMAGES, LookUp, basis
from score_jax.phantom.tables import tables

MATRIX, SHOTS, FOV_MM = 192, 16, 128.0
_PULSATILE = (ts.CSF, ts.BLOOD)


class Fields2D(NamedTuple):
    """Smooth maps of one session over the slice: off-resonance (Hz), transmit, receive."""

    off_hz: Float[Array, "x y"]
    transmit: Float[Array, "x y"]
    receive: Float[Array, "x y"]


class Disturbance(NamedTuple):
    """What one slice's measurement suffers."""

    sigma: Float[Array, ""]  # noise of each complex channel, units of M0
    motion_mm: Float[Array, ""]  # SD of the body's place between shots, along the phase axis
    pulsation: Float[Array, ""]  # SD of the amplitude of CSF and blood between shots


def line_frequencies() -> Float[np.ndarray, " k"]:
    """Cycles a mm of the 192 lines, in the order of k-space."""
    return (np.arange(MATRIX) - MATRIX // 2) / FOV_MM


def to_lines(scan: Acquisition) -> Float[np.ndarray, "k g"]:
    """Matrix from fine samples along anterior to real, then imaginary parts of the lines."""
    y = scan.fine_line(1)
    phase = 2 * np.pi * line_frequencies()[:, None] * (y - scan.centre_mm[1])[None, :]
    pitch = y[1] - y[0]
    return (np.concatenate([np.cos(phase), -np.sin(phase)]) * pitch).astype(np.float32)


def _from_lines(y: Float[Array, " y"]) -> tuple[Float[Array, "y k"], Float[Array, "y k"]]:
    """Real and imaginary part of the matrix from lines to image rows, with the raw-data filter."""
    k = jnp.asarray(line_frequencies(), jnp.float32)
    edge = jnp.clip((jnp.abs(k) * FOV_MM / (MATRIX / 2) - 0.75) / 0.25, 0.0, 1.0)
    keep = 0.5 * (1 + jnp.cos(jnp.pi * edge)) / FOV_MM
    phase = 2 * jnp.pi * y[:, None] * k[None, :]
    return keep[None, :] * jnp.cos(phase), keep[None, :] * jnp.sin(phase)


def noise_matrix(centres: Float[np.ndarray, " n"]) -> Float[np.ndarray, "n m"]:
    """From white noise on the acquired grid to the (interpolated) image, variance kept."""
    resolution = FOV_MM / MATRIX
    extent = centres[-1] - centres[0] + 12 * resolution
    own = np.arange(0, extent, resolution) + centres[0] - 6 * resolution
    weight = band_limited(centres[:, None] - own[None, :], resolution)
    return (weight / np.sqrt((weight**2).sum(1, keepdims=True))).astype(np.float32)


def draw_fields2d(key: PRNGKeyArray, x: Float[Array, " x"], y: Float[Array, " y"]) -> Fields2D:
    """A session's maps on positions in mm from the middle of the field of view."""
    table = tables()["amira"]
    b0, coil = table["B0_Hz"], table["coil"]
    u, v = jnp.meshgrid(x / (FOV_MM / 2), y / (FOV_MM / 2), indexing="ij")
    n = jax.random.normal(key, (8,))
    off = b0["offset_sd"] * n[0] + b0["linear_sd"] * (n[1] * u + n[2] * v)
    off = off + b0["cross_sd"] * (n[3] * u * v + n[4] * (u * u - v * v))
    wave = b0["ripple_frequency_rad_per_half_fov"]
    off = off + b0["ripple"] * jnp.sin(wave * (u + v) + 2 * n[5])
    off = off + 50 * jnp.exp(-((v - 0.62) ** 2 + u * u) / 0.06)  # beside the airway
    transmit = table["B1"]["centre"] + table["B1"]["r2"] * (u * u + v * v)
    transmit = transmit + table["B1"]["linear_sd"] * (n[6] * u + n[7] * v)

    def sensitivity(a: Array, b: Array) -> Array:
        total = coil["base"] * jnp.ones_like(a)
        for amplitude, (cx, cy), width in coil["lobes_amplitude_centre_width"]:
            total = total + amplitude * jnp.exp(-0.5 * ((a - cx) ** 2 + (b - cy) ** 2) / width**2)
        return total

    receive = sensitivity(u, v) / sensitivity(jnp.zeros(()), jnp.zeros(()))
    return Fields2D(off, transmit, receive)


@partial(jax.jit, static_argnames=("tissues", "real"))
def form(
    lines: Float[Array, "t x k z"], tissues: tuple[int, ...], table: LookUp, fields: Fields2D,
    noise_x: Float[Array, "x m"], noise_y: Float[Array, "y n"], y: Float[Array, " y"],
    disturbance: Disturbance, key: PRNGKeyArray, *, real: bool = False,
) -> Float[Array, "x y z c"]:  # fmt: skip
    """Images of a stack at the eight inversion times.

    Args:
      lines: fractions in hybrid space (`to_lines`), as `scene.rasterise` gives them.
      tissues: index of each map.
      table: signals of all tissues.
      fields: of the session.
      noise_x: `noise_matrix` along right.
      noise_y: and along anterior.
      y: rows of the image, mm from the middle of the field of view.
      disturbance: of each slice; leaves have the slices as their axis.
      key: of noise, pulsation and motion.
      real: the signed image instead of the magnitude (no coil phase).
    """
    index = np.array(tissues)
    own = LookUp(table.lines[index], table.change[index])
    pulsatile = jnp.asarray(np.isin(index, _PULSATILE), jnp.float32)
    keys = jax.random.split(key, lines.shape[-1])
    one = partial(_slice, own, pulsatile, fields, (noise_x, noise_y), _from_lines(y), real)
    stack = (jnp.moveaxis(lines, -1, 0), disturbance, keys)
    image = jax.lax.map(lambda item: one(*item), stack)
    return jnp.moveaxis(image, 0, 2)


def _slice(
    table: LookUp, pulsatile: Array, fields: Fields2D, noise: tuple[Array, Array],
    back: tuple[Array, Array], real: bool, lines: Float[Array, "t x k"], bad: Disturbance,
    key: PRNGKeyArray,
) -> Float[Array, "x y c"]:  # fmt: skip
    keys = jax.random.split(key, 3)
    shot = np.arange(MATRIX) % SHOTS
    beat = (bad.pulsation * jax.random.normal(keys[0], (SHOTS,)))[shot]
    place = (bad.motion_mm * jax.random.normal(keys[1], (SHOTS,)))[shot]
    h = (lines[:, :, :MATRIX], lines[:, :, MATRIX:])
    # line = shot + 16 j: the j-th pulse of a segment fills sixteen neighbouring lines
    weight = jnp.repeat(table.lines, SHOTS, axis=-1)
    pulse = 1 + pulsatile[:, None, None] * beat[None, None, :]
    s_re, s_im = (jnp.einsum("tik,txk->ixk", weight * pulse, part) for part in h)
    angle = 2 * jnp.pi * jnp.asarray(line_frequencies(), jnp.float32) * place
    cos, sin = jnp.cos(angle)[None, None, :], jnp.sin(angle)[None, None, :]
    s_re, s_im = s_re * cos + s_im * sin, s_im * cos - s_re * sin
    back_re, back_im = back
    image_re = jnp.einsum("ixk,yk->ixy", s_re, back_re) - jnp.einsum("ixk,yk->ixy", s_im, back_im)
    image_im = jnp.einsum("ixk,yk->ixy", s_re, back_im) + jnp.einsum("ixk,yk->ixy", s_im, back_re)
    share = jnp.einsum("txk,yk->txy", h[0], back_re) - jnp.einsum("txk,yk->txy", h[1], back_im)
    bend = basis(fields.off_hz, fields.transmit)
    image_re = image_re + jnp.einsum("tib,txy,xyb->ixy", table.change, share, bend, optimize=True)
    white = bad.sigma * jax.random.normal(
        keys[2], (2, IMAGES, noise[0].shape[1], noise[1].shape[1])
    )
    grain = jnp.einsum("cimn,xm,yn->cixy", white, noise[0], noise[1], optimize=True)
    image_re = image_re * fields.receive[None] + grain[0]
    image_im = image_im * fields.receive[None] + grain[1]
    image = image_re if real else jnp.sqrt(image_re**2 + image_im**2)
    return jnp.moveaxis(image, 0, -1)
