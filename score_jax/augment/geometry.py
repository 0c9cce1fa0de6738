"""Where every voxel of a patch is taken from: rotation, scaling, shift, deformation.

Points are columns of voxel indices ``(d, *patch)`` in the source's array. Each function of a
transform draws its parameters or applies given ones, never both.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key

from score_jax.config import AugmentConfig
from score_jax.config.augment import DeformConfig, SpatialConfig

ANISOTROPY = 3  # nnU-Net's ratio of the longest axis to the first, above which slices turn as one
ELONGATION = 1.5  # nnU-Net's ratio of axes above which a 2-D patch turns little
ZOOM_OUT = 0.85  # nnU-Net's room for scaling in the source patch


class Affine(NamedTuple):
    """Source = matrix @ (voxel - centre + shift) + centre of the source.

    Args:
      on: whether anything changes; if not, the middle of the source is cut out.
      matrix: linear part.
      shift: in voxels, before it.
    """

    on: Bool[Array, ""]
    matrix: Float[Array, "d d"]
    shift: Float[Array, " d"]


def turns_slices(config: SpatialConfig, patch: Sequence[int]) -> bool:
    """Whether a 3-D patch turns within its slices (across axis 0) only."""
    return config.slices_as_one and len(patch) == 3 and patch[0] * ANISOTROPY < max(patch)


def largest_angle(config: SpatialConfig, patch: Sequence[int]) -> float:
    """Bound of the rotation angles in radians; `patch` has the axes that turn (2 or 3)."""
    if not config.rotation_probability:
        return 0.0
    if len(patch) == 3:
        return math.radians(config.rotation_deg)
    long = max(patch) / min(patch) > ELONGATION
    return math.radians(config.elongated_deg if long else config.in_plane_deg)


def source_shape(config: AugmentConfig, patch: Sequence[int]) -> tuple[int, ...]:
    """How large a patch has to be cut from the image so that `patch` is filled after `augment`.

    Equal to `patch` where nothing turns, grows or moves. Scaling by more than 1 / 0.85 can still
    reach beyond it, as in nnU-Net.

    Source: nnU-Net's ``get_patch_size``; the deformation adds three standard deviations.
    """
    patch = tuple(patch)
    config.check_axes(len(patch))
    if not config.enabled:
        return patch
    spatial, deform = config.spatial, config.deform
    if turns_slices(spatial, patch) and not deform.active:
        turned = turned_shape(patch[1:], in_plane_angle(spatial, patch), spatial)
        return (patch[0], *turned)
    room = turned_shape(patch, largest_angle(spatial, patch), spatial)
    return _room_for_deformation(deform, room)


def in_plane_angle(config: SpatialConfig, patch: Sequence[int]) -> float:
    """Bound in radians of the angle that the slices of an anisotropic patch turn by."""
    return math.radians(config.in_plane_deg) if config.rotation_probability else 0.0


def turned_shape(patch: Sequence[int], angle: float, config: SpatialConfig) -> tuple[int, ...]:
    """What a patch covers when turned by up to `angle` about one axis at a time, and scaled."""
    angle = min(angle, math.pi / 2)
    size = np.array(patch, float)
    about = np.eye(3) * angle if len(patch) == 3 else np.array([[angle, 0, 0]])
    turned = [np.abs(np.asarray(patch) @ _numpy_rotation(a, len(patch))) for a in about]
    size = np.max([size, *turned], axis=0)
    if config.scaling_probability:
        size = size / ZOOM_OUT
    return tuple(int(n) for n in size)


def _numpy_rotation(angles: np.ndarray, ndim: int) -> np.ndarray:
    (a, b, c), (sin, cos) = angles, (np.sin, np.cos)
    if ndim == 2:
        return np.array([[cos(a), -sin(a)], [sin(a), cos(a)]])
    about_0 = np.array([[1, 0, 0], [0, cos(a), -sin(a)], [0, sin(a), cos(a)]])
    about_1 = np.array([[cos(b), 0, sin(b)], [0, 1, 0], [-sin(b), 0, cos(b)]])
    about_2 = np.array([[cos(c), -sin(c), 0], [sin(c), cos(c), 0], [0, 0, 1]])
    return about_0 @ about_1 @ about_2


def _room_for_deformation(config: DeformConfig, patch: Sequence[int]) -> tuple[int, ...]:
    if not config.active:
        return tuple(patch)
    angle = min(math.radians(config.rotation_deg), math.pi / 2)
    axes = range(len(patch))
    grown = [n * s for n, s in zip(patch, config.scaling or (1.0,) * len(patch), strict=True)]
    # an angle about any axis moves at most sin(angle) of the other axes' extent in here
    others = [math.hypot(*(grown[j] for j in axes if j != i)) for i in axes]
    turned = [
        max(n, n * math.cos(angle) + o * math.sin(angle))
        for n, o in zip(grown, others, strict=True)
    ]
    moved = [3 * s for s in config.sigma or (0.0,) * len(patch)]
    shift = config.shift or (0.0,) * len(patch)
    return tuple(
        math.ceil(t + 2 * m + s * max(config.scaling, default=1.0))
        for t, m, s in zip(turned, moved, shift, strict=True)
    )


def rotation(angles: Float[Array, " a"]) -> Float[Array, "d d"]:
    """Rotation about axes 0, 1, 2 in turn by three angles, or in the plane by one (radians)."""
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    if len(angles) == 1:
        return jnp.array([[cos[0], -sin[0]], [sin[0], cos[0]]])
    about_0 = jnp.array([[1, 0, 0], [0, cos[0], -sin[0]], [0, sin[0], cos[0]]])
    about_1 = jnp.array([[cos[1], 0, sin[1]], [0, 1, 0], [-sin[1], 0, cos[1]]])
    about_2 = jnp.array([[cos[2], -sin[2], 0], [sin[2], cos[2], 0], [0, 0, 1]])
    return about_2 @ about_1 @ about_0


def rotation_about(
    axis: Float[Array, " 3"], angle: Float[Array, ""], *, reference: bool = False
) -> Float[Array, "3 3"]:
    """Rotation by `angle` radians about the unit vector `axis` (Rodrigues).

    Args:
      axis: unit vector.
      angle: in radians.
      reference: with MD-GRU's slip: entry (0, 2) takes the sine's term of axis 2 for axis 1.
    """
    x, y, z = axis
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    cross = jnp.array([[0, -z, z if reference else y], [z, 0, -x], [-y, x, 0]])
    return cos * jnp.eye(3) + sin * cross + (1 - cos) * jnp.outer(axis, axis)


def draw_spatial(key: Key[Array, ""], config: SpatialConfig, ndim: int, angle: float) -> Affine:
    """A rotation and a scaling, each with its own probability (nnU-Net).

    Args:
      key: randomness.
      config: probabilities and the bounds of the scaling.
      ndim: axes that turn, 2 or 3.
      angle: bound of the rotation in radians.
    """
    turn, scale, factor, *turns = jax.random.uniform(key, (6 if ndim == 3 else 4,))
    turn, scale = turn < config.rotation_probability, scale < config.scaling_probability
    angles = angle * (2 * jnp.stack(turns) - 1) * turn
    low, high = config.scaling
    factor = jnp.where(scale, low + (high - low) * factor, 1.0)
    return Affine(turn | scale, rotation(angles) * factor, jnp.zeros(ndim))


def draw_deform(key: Key[Array, ""], config: DeformConfig, ndim: int) -> Affine:
    """MD-GRU's affine map: shift, then scaling of each axis, then one rotation."""
    key_affine, key_axis = jax.random.split(key)
    drawn = jax.random.uniform(key_affine, (2 * ndim + 1,))
    width = jnp.asarray(config.shift or (0.0,) * ndim)
    shift = (drawn[:ndim] - 0.5) * width
    bound = jnp.log(jnp.asarray(config.scaling or (1.0,) * ndim))
    scales = jnp.exp(bound * (2 * drawn[ndim:-1] - 1))
    limit = math.radians(config.rotation_deg)
    angle = limit * (2 * drawn[-1] - 1)
    if ndim == 2:
        turn = mdgru_rotation_2d(angle)
    elif config.reference_rotation:
        axis = jax.random.uniform(key_axis, (3,))
        turn = rotation_about(axis / jnp.linalg.norm(axis), angle, reference=True)
    else:
        axis = jax.random.normal(key_axis, (3,))
        turn = rotation_about(axis / jnp.linalg.norm(axis), angle)
    return Affine(jnp.asarray(True), turn * scales[None], shift)


def mdgru_rotation_2d(angle: Float[Array, ""]) -> Float[Array, "2 2"]:
    """In-plane rotation in MD-GRU's sense of turning, radians."""
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    return jnp.array([[cos, sin], [-sin, cos]])


def points(
    affine: Affine, source: Sequence[int], patch: Sequence[int]
) -> Float[Array, " d *patch"]:
    """Where each voxel of the patch lies in the source, both centred on each other."""
    axes = [jnp.arange(n, dtype=jnp.float32) - (n - 1) / 2 for n in patch]
    grid = jnp.stack(jnp.meshgrid(*axes, indexing="ij"))
    column = (-1,) + (1,) * len(patch)
    centre = jnp.asarray([(n - 1) / 2 for n in source], jnp.float32).reshape(column)
    moved = jnp.tensordot(
        affine.matrix, grid + affine.shift.reshape(column), 1, precision="highest"
    )
    return moved + centre


def node_counts(config: DeformConfig, patch: Sequence[int]) -> tuple[int, ...]:
    """Nodes along each axis of the deformation's grid."""
    return tuple(n // step + 4 for n, step in zip(patch, config.spacing, strict=True))


def draw_nodes(
    key: Key[Array, ""], config: DeformConfig, patch: Sequence[int]
) -> Float[Array, " d *nodes"]:
    """Displacements of the grid's nodes in voxels, one strength for the whole patch."""
    key_strength, key_nodes = jax.random.split(key)
    shape = (len(patch), *node_counts(config, patch))
    if config.truncated:
        normals = jax.random.truncated_normal(key_nodes, -3.0, 3.0, shape)
    else:
        normals = jax.random.normal(key_nodes, shape)
    sigma = jnp.asarray(config.sigma).reshape((-1,) + (1,) * len(patch))
    return jax.random.uniform(key_strength) * sigma * normals


def deformation(
    nodes: Float[Array, " d *nodes"], spacing: Sequence[int], patch: Sequence[int]
) -> Float[Array, " d *patch"]:
    """Displacement of every voxel: Catmull-Rom splines through the nodes.

    Voxel x lies between nodes x // spacing + 1 and + 2.
    """
    field = nodes
    for step, n in zip(spacing, patch, strict=True):
        weights = jnp.asarray(_catmull_rom(step, n))
        # contracting the first space axis each time brings them round to their order
        field = jnp.tensordot(field, weights, ((1,), (1,)), precision="highest")
    return field


def _catmull_rom(spacing: int, voxels: int) -> np.ndarray:
    at, t = np.arange(voxels) // spacing, (np.arange(voxels) % spacing) / spacing
    taps = 0.5 * np.array(
        [
            -t + 2 * t**2 - t**3,
            2 - 5 * t**2 + 3 * t**3,
            t + 4 * t**2 - 3 * t**3,
            -(t**2) + t**3,
        ]
    )
    weights = np.zeros((voxels, voxels // spacing + 4), np.float32)
    for tap, row in enumerate(taps):
        weights[np.arange(voxels), at + tap] = row
    return weights
