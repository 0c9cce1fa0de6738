"""Turbo spin echo: what field strength does to the signal, and the echo train to sharpness.

A line of k-space is read the later, the further it lies from the centre, so tissues of short T2
lose their fine detail: ``w(k) = exp(-|k| / k_max * span / T2)`` with the echoes' time from the
middle of k-space to its edge as `span` (phantom.md 3).
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from score_jax.phantom import tissues as ts
from score_jax.phantom.acquisition import Acquisition
from score_jax.phantom.scene import Scene
from score_jax.phantom.tables import tables

TABLE_T = 3.0  # field strength the tables' T1 hold for
# T1 x .75 at half the field (phantom.md 3) as a power law; free water's T1 hardly changes
_POWER = np.log(0.75) / np.log(0.5)
_FREE_WATER = (ts.CSF, ts.CYST)
_LEAST_T2_MS = 20.0  # below it nothing is left to blur


def t1_at(field_t: float) -> Float[np.ndarray, " t"]:
    """T1 of all tissues at a field strength, ms: 3 T values times ``(B0 / 3)^.415``."""
    t1 = ts.relaxation().t1.copy()
    bound = np.setdiff1d(np.arange(len(t1)), _FREE_WATER)
    t1[bound] *= (field_t / TABLE_T) ** _POWER
    return t1


def saturation(field_t: float) -> Float[np.ndarray, " t"]:
    """T2w signals at a field strength as shares of those at 3 T: ``1 - exp(-TR / T1)``."""
    repetition = tables()["sci_image"]["T2w_TR_ms"]
    recovered = [1 - np.exp(-repetition / t1_at(field)) for field in (field_t, TABLE_T)]
    return recovered[0] / recovered[1]


def decay_matrices(
    count: int, spacing_mm: float, resolution_mm: float, span_ms: float
) -> Float[np.ndarray, "t n n"]:
    """What the echo train does to each tissue's map along the phase-encoded axis.

    Args:
      count: voxels along the axis.
      spacing_mm: their distance.
      resolution_mm: acquired resolution; ``k_max = 1 / (2 resolution)``.
      span_ms: from the echo at the middle of k-space to that at its edge.

    Returns:
      One matrix a tissue of `TISSUES`, for band-limited maps. Rows sum to 1: what is uniform stays.
    """
    lag = spacing_mm * np.arange(count)
    k = (np.arange(512) + 0.5) / 512 / (2 * spacing_mm)
    edge = np.minimum(2 * k * resolution_mm, 1.0)
    decay = span_ms / np.maximum(ts.relaxation().t2, _LEAST_T2_MS)
    kernel = np.exp(-decay[:, None] * edge) @ np.cos(2 * np.pi * k[:, None] * lag[None, :])
    gap = np.abs(np.arange(count)[:, None] - np.arange(count)[None, :])
    matrix = kernel[:, gap]
    return (matrix / matrix.sum(-1, keepdims=True)).astype(np.float32)


def echo_train(scene: Scene, scan: Acquisition, *, axis: int, span_ms: float) -> Scene:
    """The scene as an echo train sees it, phase-encoded along `axis` (`decay_matrices`)."""
    spacing = scan.spacing_mm[axis]
    resolution = max(spacing, scan.resolution_mm or 0.0)
    matrices = decay_matrices(scan.shape[axis], spacing, resolution, span_ms)[list(scene.tissues)]
    return scene._replace(fractions=_along(scene.fractions, jnp.asarray(matrices), axis))


@partial(jax.jit, static_argnums=2)
def _along(
    maps: Float[Array, "t x y z"], matrices: Float[Array, "t n n"], axis: int
) -> Float[Array, "t x y z"]:
    last = jnp.moveaxis(maps, axis + 1, -1)
    return jnp.moveaxis(jnp.einsum("tabn,tmn->tabm", last, matrices), -1, axis + 1)
