"""Signals of the tissues in each contrast, and the image they make."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from score_jax.phantom import tissues as ts
from score_jax.phantom.tables import tables


class Contrast(NamedTuple):
    """What turns fractions into an image; the channel axis holds AMIRA's inversion times."""

    weights: Float[Array, "t c"]
    texture: Float[Array, " t"]  # relative amplitude of each tissue's texture
    sigma: Float[Array, ""]  # noise of each of the two complex channels, in units of the weights
    bias: Float[Array, ""]  # strength of the coil's shading; 1 = the tables'
    gamma: Float[Array, ""]


CONTRASTS = ("T2w", "T2starw", "random")
_T2W_BLOOD = 0.12  # most vessels flow slowly
FAT_SUPPRESSED = 0.25  # share of T2w scans (assumption)
SUPPRESSED_FAT = 0.15  # of its signal is left


def inversion_recovery_bssfp(
    t1: Float[Array, " t"], t2: Float[Array, " t"], pd: Float[Array, " t"],
    flip_deg: Float[Array, ""] | float,
) -> Float[Array, "t c"]:  # fmt: skip
    """Signed AMIRA signals at the eight inversion times, M0 = 1.

    Transient balanced SSFP after an inversion (Schmitt et al., 2004; phantom.md 2.2), with the
    magnetisation before each inversion iterated to its steady state.
    """
    timing = tables()["amira"]
    times = jnp.asarray(timing["TI_ms"])
    start = jnp.asarray(timing["readout_start_ms"])
    alpha = jnp.deg2rad(jnp.asarray(flip_deg))
    cos2, sin2 = jnp.cos(alpha / 2) ** 2, jnp.sin(alpha / 2) ** 2
    rate = cos2 / t1 + sin2 / t2
    steady = jnp.sin(alpha) / ((t1 / t2 + 1) - jnp.cos(alpha) * (t1 / t2 - 1))
    initial = jnp.sin(alpha / 2)
    end = times[-1] + 0.5 * timing["lines_per_image_per_shot"] * timing["TR_ms"]
    before = jnp.ones_like(t1)
    efficiency, repetition = timing["inversion_efficiency"], timing["inversion_repetition_ms"]
    for _ in range(12):
        at_start = 1 - (1 + efficiency * before) * jnp.exp(-start / t1)
        last = steady + (initial * at_start - steady) * jnp.exp(-(end - start) * rate)
        before = 1 - (1 - cos2 * last / initial) * jnp.exp(-(repetition - end) / t1)
    at_start = 1 - (1 + efficiency * before) * jnp.exp(-start / t1)
    decay = jnp.exp(-(times - start)[None, :] * rate[:, None])
    signal = steady[:, None] + (initial * at_start - steady)[:, None] * decay
    return (pd * jnp.exp(-timing["TE_ms"] / t2))[:, None] * signal


def amira_contrast(key: PRNGKeyArray, *, flip_deg: float = 60.0) -> Contrast:
    """AMIRA's eight inversion times for one subject's tissue parameters."""
    values = ts.relaxation()
    n = jax.random.normal(key, (3, len(ts.TISSUES)))
    t1 = jnp.asarray(values.t1) * jnp.exp(0.03 * n[0])
    t2 = jnp.asarray(values.t2) * jnp.exp(0.06 * n[1])
    pd = jnp.asarray(values.pd) * jnp.exp(0.02 * n[2])
    weights = inversion_recovery_bssfp(t1, t2, pd, flip_deg)
    amplitude = jnp.asarray(ts.texture_amplitude("AMIRA"))
    return Contrast(weights, amplitude, jnp.asarray(0.006), jnp.asarray(0.6), jnp.asarray(1.0))


@partial(jax.jit, static_argnums=0)
def contrast(name: str, key: PRNGKeyArray) -> Contrast:
    """A random instance of a contrast: ``T2w``, ``T2starw`` or ``random`` (any weights)."""
    makers = {"T2w": _t2w, "T2starw": _t2starw, "random": _random}
    return makers[name](key)


def typical(name: str) -> Contrast:
    """The contrast that `contrast` varies about; ``random`` varies about ``T2starw``.

    Half-way settings: T2w CSF 3.65 and GM 1.16 times WM, signal-to-noise 20; T2*w 1.65 and 1.2, 22.
    """
    t2w = name == "T2w"
    weights = ts.t2w_weights() if t2w else ts.t2starw_weights()
    if t2w:
        weights[ts.BLOOD] = _T2W_BLOOD
    csf, gm, snr = (3.65, 1.16, 20.0) if t2w else (1.65, 1.20, 22.0)
    weights[[ts.CSF, ts.GM]] = csf * weights[ts.WM], gm * weights[ts.WM]
    texture = jnp.asarray(ts.texture_amplitude("T2w" if t2w else "AMIRA"))
    one = jnp.ones(())
    return Contrast(jnp.asarray(weights)[:, None], texture, weights[ts.WM] / snr * one, one, one)


def blend(fixed: Contrast, drawn: Contrast, strength: float) -> Contrast:
    """A contrast between `fixed` (0) and `drawn` (1): geometric means, weighted."""
    return jax.tree.map(
        lambda a, b: jnp.maximum(a, 1e-6) ** (1 - strength) * jnp.maximum(b, 1e-6) ** strength,
        fixed, drawn,
    )  # fmt: skip


def _jittered(weights: np.ndarray, key: PRNGKeyArray, spread: np.ndarray) -> Array:
    n = jax.random.normal(key, (len(ts.TISSUES),))
    return jnp.asarray(weights) * jnp.exp(jnp.asarray(spread) * n)


def _spread(cord: float, around: float) -> np.ndarray:
    spread = np.full(len(ts.TISSUES), around, np.float32)
    spread[list(ts.CORD_TISSUES)] = cord
    return spread


def _t2w(key: PRNGKeyArray) -> Contrast:
    keys = jax.random.split(key, 4)
    spread = _spread(0.04, 0.25)
    spread[ts.BLOOD] = 0.6  # in-flow differs from scan to scan
    usual = ts.t2w_weights()
    usual[ts.BLOOD] = _T2W_BLOOD
    weights = _jittered(usual, keys[0], spread)
    n, u = jax.random.normal(keys[1], (2,)), jax.random.uniform(keys[2], (5,))
    weights = weights.at[ts.FAT].multiply(jnp.where(u[4] < FAT_SUPPRESSED, SUPPRESSED_FAT, 1.0))
    weights = weights.at[ts.CSF].set(weights[ts.WM] * (3.4 + 0.5 * u[0]) * jnp.exp(0.1 * n[0]))
    weights = weights.at[ts.GM].set(weights[ts.WM] * (1.08 + 0.16 * u[1]))
    snr = 15 + 10 * u[2]
    amplitude = jnp.asarray(ts.texture_amplitude("T2w")) * (0.6 + 0.8 * u[3])
    return Contrast(
        weights[:, None], amplitude, weights[ts.WM] / snr, jnp.exp(0.4 * n[1]), jnp.asarray(1.0)
    )


def _t2starw(key: PRNGKeyArray) -> Contrast:
    keys = jax.random.split(key, 4)
    weights = _jittered(ts.t2starw_weights(), keys[0], _spread(0.04, 0.25))
    n, u = jax.random.normal(keys[1], (2,)), jax.random.uniform(keys[2], (5,))
    weights = weights.at[ts.GM].set(weights[ts.WM] * (1.12 + 0.16 * u[0]))
    weights = weights.at[ts.CSF].set(weights[ts.WM] * (1.4 + 0.5 * u[1]))
    snr = 14 + 16 * u[2]
    amplitude = jnp.asarray(ts.texture_amplitude("AMIRA")) * (0.8 + 1.6 * u[3])
    return Contrast(
        weights[:, None], amplitude, weights[ts.WM] / snr, jnp.exp(0.4 * n[1]), jnp.asarray(1.0)
    )


def _random(key: PRNGKeyArray) -> Contrast:
    """Any contrast at all (phantom.md 6): weights uniform, one in ten without grey matter."""
    keys = jax.random.split(key, 5)
    weights = jax.random.uniform(keys[0], (len(ts.TISSUES),), minval=0.02)
    weights = weights.at[ts.AIR].set(0.05 * weights[ts.AIR])
    u, n = jax.random.uniform(keys[1], (10,)), jax.random.normal(keys[2], (3,))
    # cord against CSF decides whether anything can be seen at all: keep them apart
    ratio = jnp.where(u[0] < 0.7, 1.3 + 3.0 * u[1], 0.25 + 0.5 * u[1])
    white = 0.2 + 0.4 * u[2]
    csf = white * ratio
    grey = jnp.where(u[3] < 0.1, 1.0, 1 + (0.08 + 0.3 * u[4]) * jnp.where(n[0] > -0.8, 1.0, -0.6))
    # water in a lesion makes it look like CSF, blood makes it dark; neither looks like cord
    wet = white + (csf - white) * (0.2 + 0.7 * u[5:8])
    weights = weights.at[jnp.array([ts.WM, ts.GM, ts.CSF])].set(
        jnp.stack([white, white * grey, csf])
    )
    weights = weights.at[jnp.array([ts.MS, ts.OEDEMA, ts.CYST])].set(wet)
    weights = weights.at[ts.HAEMORRHAGE].set(white * (0.2 + 0.5 * u[8]))
    sigma = 0.005 + 0.045 * u[9]
    amplitude = jnp.asarray(ts.texture_amplitude("AMIRA")) * jnp.exp(0.6 * n[1])
    return Contrast(
        weights[:, None], amplitude, sigma, jnp.exp(0.5 * n[2]),
        jnp.exp(0.2 * jax.random.normal(keys[3])),
    )  # fmt: skip


@partial(jax.jit, static_argnums=1)
def measure(
    fractions: Float[Array, "t x y z"],
    tissues: tuple[int, ...],
    texture: Float[Array, "g x y z"],
    contrast: Contrast,
    key: PRNGKeyArray,
) -> Float[Array, "x y z c"]:
    """Magnitude image: weighted fractions with texture, coil shading, Rician noise.

    What no fraction claims is air.
    """
    index = np.array(tissues)
    weights = contrast.weights[index] - contrast.weights[ts.AIR][None, :]
    grain = contrast.texture[index][:, None, None, None] * texture[ts.TEXTURE_OF[index]]
    signal = jnp.einsum("txyz,tc->xyzc", fractions * (1 + grain), weights)
    signal = signal + contrast.weights[ts.AIR][None, None, None, :]
    shade_key, noise_key = jax.random.split(key)
    signal = signal * _shading(signal.shape[:3], contrast.bias, shade_key)[..., None]
    noise = contrast.sigma * jax.random.normal(noise_key, (2, *signal.shape))
    image = jnp.sqrt((signal + noise[0]) ** 2 + noise[1] ** 2)
    top = jnp.max(image) + 1e-9
    return jnp.where(contrast.gamma == 1.0, image, top * (image / top) ** contrast.gamma)


def _shading(
    shape: tuple[int, ...], strength: Float[Array, ""], key: PRNGKeyArray
) -> Float[Array, "x y z"]:
    """Receive field of a posterior neck coil and a smooth random part."""
    lines = [jnp.linspace(-1, 1, n) if n > 1 else jnp.zeros(1) for n in shape]
    x, y, z = jnp.meshgrid(*lines, indexing="ij")
    coil = jnp.clip(1.25 - 0.55 * (y + 0.5) ** 2 - 0.25 * x**2, 0.2, None)
    n = 0.12 * jax.random.normal(key, (7,))
    smooth = n[0] * x + n[1] * y + n[2] * z + n[3] * x * y + n[4] * y * z + n[5] * z * z
    return jnp.exp(strength * (jnp.log(coil) + smooth))
