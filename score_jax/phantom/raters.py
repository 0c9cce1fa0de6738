"""Raters: people who draw the true borders with a habit of their own and an unsteady hand.

mask = [distance + bias + sigma (sqrt(rho) shared + sqrt(1 - rho) own) < 0], with smooth noise. The
numbers give the published agreement between raters (phantom.md 4).
"""

from typing import NamedTuple

import edt
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from score_jax.phantom.acquisition import Acquisition
from score_jax.phantom.fields import Frame, draw_fields, on_plane
from score_jax.phantom.plane import DISTANCES, TRUTH
from score_jax.phantom.scene import Scene

RATERS = ("rater1", "rater2", "rater3")
# tables: lesion sigma .45, GM length .9; on means over 8 mm slices these give their agreement
_BIAS = {"cord": (0.05, 0.0, -0.05), "gm": (0.03, 0.0, -0.03), "lesion": (0.08, 0.0, -0.08)}
_SIGMA = {"cord": 0.10, "gm": 0.12, "lesion": 0.30}
_LENGTH = {"cord": 3.0, "gm": 1.2, "lesion": 1.2}
_RHO = 0.3
_TIP, _CUT = 0.10, 0.15  # mm: posterior horn's tip and the cuts between the parts
_LEAST_SLOPE = 0.2  # of a mean distance: thin structures on oblique slices
_TIP_FROM_MM = 0.8  # the tip begins this far behind the anterior horn
_LESION_IN_GM, _GM_IN_LESION, _CAUDAL, _FALSE_LESIONS = 1.3, 2.0, 0.015, 0.02
_NOISES = ("cord", "gm", "lesion")


class _Noise(NamedTuple):
    shared: Float[Array, "f x y z"]
    own: Float[Array, "f x y z"]


@jax.jit
def _noise(x: Array, y: Array, z: Array, shared: PRNGKeyArray, own: PRNGKeyArray) -> _Noise:
    lengths = jnp.array([[_LENGTH[name], 2 * _LENGTH[name]] for name in _NOISES])

    def fields(key: PRNGKeyArray) -> Array:
        drawn = draw_fields(key, lengths)

        def plane(height: Array) -> Array:
            along = jnp.eye(3)
            return on_plane(drawn, Frame(height * along[2], along[0], along[1]), x, y)

        return jax.vmap(plane, out_axes=-1)(z)

    return _Noise(fields(shared), fields(own))


def true_masks(scene: Scene) -> dict[str, Bool[np.ndarray, "x y z"]]:
    """Truth as masks: voxels more than half inside. The parts of the cord never overlap."""
    masks = {name: scene.truth[k] > 0.5 for k, name in enumerate(TRUTH)}
    masks["gm"] &= masks["cord"]
    masks["wm"] = masks["cord"] & ~masks["gm"]
    parts = np.argmax(scene.truth[[TRUTH.index(name) for name in ("ah", "ph", "gc")]], axis=0)
    for k, name in enumerate(("ah", "ph", "gc")):
        masks[name] = masks["gm"] & (parts == k)
    masks["lesion"] &= masks["cord"]
    return masks


def rate(
    scene: Scene, scan: Acquisition, key: PRNGKeyArray, *, scan_key: PRNGKeyArray, rater: int,
    steadiness: float = 1.0,
) -> dict[str, Bool[np.ndarray, "x y z"]]:  # fmt: skip
    """The masks one rater draws on one scan; axes right, anterior, superior.

    Args:
      scene: the scanned body.
      scan: its grid.
      key: the rater's own chance in this session.
      scan_key: what all raters see alike in this scan.
      rater: 0, 1 or 2: chooses the bias.
      steadiness: factor on the unsteadiness; 0 draws the truth, but for the bias.

    Returns:
      Masks named as `TRUTH`. Without a lesion in the truth, a false one is drawn in two slices of
      a hundred.
    """
    lines = [jnp.asarray(scan.centres(axis), jnp.float32) for axis in range(3)]
    noise = _noise(*lines, scan_key, key)
    mixed = np.sqrt(_RHO) * np.asarray(noise.shared) + np.sqrt(1 - _RHO) * np.asarray(noise.own)
    g = dict(zip(_NOISES, mixed, strict=True))
    d: dict[str, np.ndarray] = dict(zip(DISTANCES, scene.distance, strict=True))
    d = {name: _true_distance(values, scan) for name, values in d.items()}
    truth = true_masks(scene)
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)).tolist())
    slices = scan.shape[2]
    # the slices run caudal to cranial; the published reproducibility falls caudally
    growth = steadiness * (1 + _CAUDAL * np.arange(slices)[::-1])
    masks: dict[str, np.ndarray] = {}
    bias = {name: values[rater] for name, values in _BIAS.items()}
    masks["cord"] = d["cord"] + bias["cord"] + _SIGMA["cord"] * growth * g["cord"] < 0
    masks["canal"] = (d["canal"] + bias["cord"] + _SIGMA["cord"] * growth * g["cord"] < 0) | masks[
        "cord"
    ]
    masks["lesion"] = _lesions(
        truth["lesion"], d["gm"], g["lesion"], bias["lesion"], growth, masks["cord"], scan, rng
    )
    at_tip = np.clip(d["anterior"] - _TIP_FROM_MM, 0, 1)
    tip = _TIP * steadiness * rng.normal(size=slices) * at_tip
    unsteady = _SIGMA["gm"] * growth * np.where(truth["lesion"], _GM_IN_LESION, 1.0)
    masks["gm"] = (d["gm"] + bias["gm"] + unsteady * g["gm"] + tip < 0) & masks["cord"]
    masks["wm"] = masks["cord"] & ~masks["gm"]
    # one rater cuts the parts apart for all (as published), anew on each scan
    cut = _CUT * steadiness * np.asarray(jax.random.normal(scan_key, (2, slices)))
    masks["gc"] = masks["gm"] & (d["commissure"] + cut[0] < 0)
    masks["ah"] = masks["gm"] & ~masks["gc"] & (d["anterior"] + cut[1] < 0)
    masks["ph"] = masks["gm"] & ~masks["gc"] & ~masks["ah"]
    return {name: masks[name] for name in TRUTH}


def _true_distance(d: np.ndarray, scan: Acquisition) -> np.ndarray:
    """`d` in mm across the border it vanishes on; means over a slice climb less steeply."""
    along = np.gradient(d, *scan.spacing_mm[:2], axis=(0, 1))
    return d / np.clip(np.hypot(*along), _LEAST_SLOPE, 1.5)


def _signed_distance(mask: Bool[np.ndarray, "x y"], scan: Acquisition) -> np.ndarray:
    """Distance to the border of a mask of one slice, negative inside, mm."""
    spacing = scan.spacing_mm[:2]
    outside = edt.edt(np.asfortranarray(~mask), anisotropy=spacing)
    inside = edt.edt(np.asfortranarray(mask), anisotropy=spacing)
    # both count from the far side of the border between two pixels
    half = 0.25 * sum(spacing)
    return np.where(mask, half - inside, outside - half)


def _lesions(
    truth: Bool[np.ndarray, "x y z"], grey: np.ndarray, g: np.ndarray, bias: float,
    growth: np.ndarray, cord: np.ndarray, scan: Acquisition, rng: np.random.Generator,
) -> Bool[np.ndarray, "x y z"]:  # fmt: skip
    """Lesions with soft borders: small ones are missed, and a few are seen that are not there."""
    pixel = scan.spacing_mm[0] * scan.spacing_mm[1]
    mask = np.zeros_like(truth)
    for z in range(truth.shape[2]):
        area = truth[:, :, z].sum() * pixel
        seen = rng.uniform() >= np.exp(-area / 2)
        if area > 0 and seen:
            sigma = _SIGMA["lesion"] * growth[z] * np.where(grey[:, :, z] < 0, _LESION_IN_GM, 1.0)
            d = _signed_distance(truth[:, :, z], scan)
            mask[:, :, z] = (d + bias + sigma * g[:, :, z] < 0) & (d < 1.0) & cord[:, :, z]
        if rng.uniform() < _FALSE_LESIONS:
            mask[:, :, z] |= _false_lesion(cord[:, :, z], scan, rng)
    return mask


def _false_lesion(
    cord: Bool[np.ndarray, "x y"], scan: Acquisition, rng: np.random.Generator
) -> Bool[np.ndarray, "x y"]:
    """A disc of about a millimetre somewhere in the cord."""
    places = np.argwhere(cord)
    if not len(places):
        return np.zeros_like(cord)
    place = places[rng.integers(len(places))]
    x, y = (
        step * (np.arange(n) - p)
        for n, p, step in zip(cord.shape, place, scan.spacing_mm[:2], strict=True)
    )
    return (np.hypot(x[:, None], y[None, :]) < rng.uniform(0.6, 1.4)) & cord
