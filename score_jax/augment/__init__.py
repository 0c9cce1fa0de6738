"""Random changes of training patches: keyed, batched, jittable, on the device.

Every transform is two pure functions: one draws its parameters from a key, one applies given
parameters, so each can be held against its original with fixed numbers. `augment` composes them in
nnU-Net's order (docs/augmentation.md).
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from score_jax.augment import artefacts, geometry, intensity, sampling, separable
from score_jax.augment.geometry import source_shape as source_shape
from score_jax.config import AugmentConfig

MOST_REGIONS = 30  # bits of the whole number that stands for a voxel's regions


def augment(
    key: Key[Array, ""],
    images: Float[Array, "b *source c"],
    targets: Float[Array, "b *source r"],
    config: AugmentConfig,
    patch: Sequence[int],
    *,
    soft: bool = False,
) -> tuple[Float[Array, "b *patch c"], Float[Array, "b *patch r"]]:
    """A batch of patches, every one changed by its own draw; targets follow what moves.

    The same key gives the same bits. With ``config.enabled`` false the middle is cut out.

    Args:
      key: randomness.
      images: normalised patches of `source_shape` (or any size from `patch` on; what is asked for
        beyond them is 0).
      targets: region masks, 0 or 1; they stay so.
      config: which transforms.
      patch: size wanted.
      soft: targets are shares of raters between 0 and 1, and are interpolated linearly.

    Raises:
      ConfigError: axes of the configuration that the patch does not have.
      ValueError: sources smaller than the patch, or more than 30 regions.
    """
    patch = tuple(patch)
    source = images.shape[1:-1]
    if len(source) != len(patch) or any(n < p for n, p in zip(source, patch, strict=True)):
        raise ValueError(f"images: got patches of {source}; expected at least {patch}")
    config.check_axes(len(patch))
    if not config.enabled:
        cut = jax.vmap(partial(sampling.crop, patch=patch))
        return cut(images), cut(targets)
    one = partial(_one, config, patch, soft)
    return _over_batch(one, jax.random.split(key, len(images)), images, targets)


def _over_batch(one: Callable[..., Any], *arguments: Array) -> Any:
    """`one` of each sample; on a CPU in turn, so that what is not drawn is not computed.

    Under vmap a condition becomes a choice between results: good on an accelerator, where it saves
    waiting for the draw.
    """
    if jax.default_backend() == "cpu":
        return jax.lax.map(lambda sample: one(*sample), arguments)
    return jax.vmap(one)(*arguments)


def _one(
    config: AugmentConfig,
    patch: tuple[int, ...],
    soft: bool,
    key: Key[Array, ""],
    image: Float[Array, "*source c"],
    target: Float[Array, "*source r"],
) -> tuple[Float[Array, "*patch c"], Float[Array, "*patch r"]]:
    key_space, key_values, key_mirror = jax.random.split(key, 3)
    regions = target.shape[-1]
    if config.masked:
        inside = (image != 0).any(-1, keepdims=True)
        target = jnp.concatenate([target, inside.astype(target.dtype)], axis=-1)
    truth = target if soft else pack(target)
    image, truth = _move(key_space, image, truth, config, patch)
    image, truth = _mirror(key_mirror, *_disturb(key_values, image, truth, config, patch), config)
    target = truth if soft else unpack(truth, target.shape[-1]).astype(target.dtype)
    if config.masked:
        image = jnp.where(target[..., regions:] > 0.5, image, 0.0)
    return image, target[..., :regions]


def pack(target: Float[Array, "*space r"]) -> Int[Array, "*space"]:
    """The regions of each voxel as the bits of one number."""
    if target.shape[-1] > MOST_REGIONS:
        raise ValueError(f"targets: got {target.shape[-1]} regions; expected <= {MOST_REGIONS}")
    bits = [jnp.where(region > 0.5, 1 << n, 0) for n, region in enumerate(_last_first(target))]
    return sum(bits, jnp.zeros(target.shape[:-1], jnp.int32))


def unpack(codes: Int[Array, "*space"], regions: int) -> Int[Array, "*space r"]:
    """The bits of each voxel's number as region masks, 0 or 1."""
    return jnp.stack([(codes >> n) & 1 for n in range(regions)], axis=-1)


def _last_first(array: Array) -> Array:
    return jnp.moveaxis(array, -1, 0)


def _move(
    key: Array, image: Array, truth: Array, config: AugmentConfig, patch: tuple[int, ...]
) -> tuple[Array, Array]:
    """Image and truth turned, scaled, deformed and cut to the patch."""
    spatial, deform = config.spatial, config.deform
    if geometry.turns_slices(spatial, patch) and not deform.active:
        return _move_slices(key, image, truth, config, patch)
    key_spatial, key_deform, key_nodes = jax.random.split(key, 3)
    angle = geometry.largest_angle(spatial, patch)
    affine = geometry.draw_spatial(key_spatial, spatial, len(patch), angle)
    if not deform.active:
        return _warp(affine, None, image, truth, patch, spatial.order)
    own = geometry.draw_deform(key_deform, deform, len(patch))
    matrix = jnp.matmul(affine.matrix, own.matrix, precision="highest")
    moved = None
    if any(deform.sigma):
        nodes = geometry.draw_nodes(key_nodes, deform, patch)
        moved = geometry.deformation(nodes, deform.spacing, patch)
    return _warp(own._replace(matrix=matrix), moved, image, truth, patch, spatial.order)


def _move_slices(
    key: Array, image: Array, truth: Array, config: AugmentConfig, patch: tuple[int, ...]
) -> tuple[Array, Array]:
    """As `_move`, with the slices of an anisotropic patch turned alike."""
    spatial = config.spatial
    affine = geometry.draw_spatial(key, spatial, 2, geometry.in_plane_angle(spatial, patch))
    start = image.shape[0] // 2 - patch[0] // 2
    slices = slice(start, start + patch[0])

    def turn(image: Array, truth: Array) -> tuple[Array, Array]:
        return _warp(affine, None, image, truth, patch[1:], spatial.order)

    return jax.vmap(turn)(image[slices], truth[slices])


def _warp(
    affine: geometry.Affine,
    moved: Array | None,
    image: Array,
    truth: Array,
    patch: tuple[int, ...],
    order: int,
) -> tuple[Array, Array]:
    space = len(patch)

    def sample(image: Array, truth: Array) -> tuple[Array, Array]:
        points = geometry.points(affine, image.shape[:space], patch)
        points = points if moved is None else points + moved
        values = (sampling.linear if order == 1 else sampling.cubic)(image, points)
        if truth.ndim > space:
            return values, sampling.linear(truth, points)
        if order == 1:
            return values, sampling.majority(truth, points)
        inside = sampling.within(points, truth.shape)  # as scipy's order 0 has it
        return values, jnp.where(inside, sampling.nearest(truth, points), 0)

    def cut(image: Array, truth: Array) -> tuple[Array, Array]:
        return sampling.crop(image, patch), sampling.crop(truth, patch)

    return jax.lax.cond(affine.on, sample, cut, image, truth)


def _disturb(
    key: Array, image: Array, truth: Array, config: AugmentConfig, patch: tuple[int, ...]
) -> tuple[Array, Array]:
    """Artefacts of the scan, then nnU-Net's changes of intensity in its order."""
    key_metal, key = jax.random.split(key)
    if config.metal.probability:
        drawn = artefacts.draw_metal(key_metal, config.metal, patch)
        image, truth = _implant(drawn, image, truth)
    steps = _steps(config, patch, image.shape[-1])
    for own, (settings, draw, change) in zip(jax.random.split(key, len(steps)), steps, strict=True):
        if settings.probability:
            on, *drawn = draw(own, settings)
            # on a CPU only the branch taken is computed
            image = jax.lax.cond(on, change, lambda image, *_: image, image, *drawn)
    return image, truth


def _steps(
    config: AugmentConfig, patch: tuple[int, ...], channels: int
) -> tuple[tuple[Any, Callable[..., Any], Callable[..., Array]], ...]:
    """In order: the settings of a transform, how it is drawn, how it is applied."""
    ndim = len(patch)
    sizes = {"channels": channels, "ndim": ndim}
    factor = partial(intensity.draw_factor, channels=channels)
    exponent = partial(intensity.draw_gamma, channels=channels)
    flat = geometry.turns_slices(config.spatial, patch)
    return (
        (config.ghost, partial(artefacts.draw_ghost, shape=patch), artefacts.ghost),
        (config.bias_field, partial(artefacts.draw_bias_field, ndim=ndim), artefacts.bias_field),
        (
            config.thick_slices,
            partial(separable.draw_thick_slices, ndim=ndim),
            separable.thick_slices,
        ),
        (config.noise, intensity.draw_noise, intensity.noise),
        (
            config.blur,
            partial(separable.draw_blur, **sizes),
            partial(separable.blur, largest=config.blur.sigma[1]),
        ),
        (config.brightness, factor, intensity.brightness),
        (config.contrast, factor, intensity.contrast),
        (
            config.low_resolution,
            partial(separable.draw_low_resolution, **sizes, keep_first=flat),
            separable.low_resolution,
        ),
        (config.gamma_inverted, exponent, partial(intensity.gamma, inverted=True)),
        (config.gamma, exponent, intensity.gamma),
    )


def _implant(drawn: artefacts.Metal, image: Array, truth: Array) -> tuple[Array, Array]:
    soft = truth.ndim == image.ndim

    def change(image: Array, truth: Array) -> tuple[Array, Array]:
        if not soft:
            return artefacts.metal(image, truth, *drawn[1:])
        each = jax.vmap(lambda t: artefacts.metal(image, t, *drawn[1:]), -1, (None, -1))
        return each(truth)

    return jax.lax.cond(drawn.on, change, lambda *unchanged: unchanged, image, truth)


def _mirror(key: Array, image: Array, truth: Array, config: AugmentConfig) -> tuple[Array, Array]:
    axes = config.mirror_axes
    for axis, flip in zip(axes, draw_mirror(key, axes), strict=True):
        image, truth = jax.lax.cond(
            flip, partial(_flipped, axis), lambda *unchanged: unchanged, image, truth
        )
    return image, truth


def _flipped(axis: int, *arrays: Array) -> tuple[Array, ...]:
    return tuple(jnp.flip(array, axis) for array in arrays)


def draw_mirror(key: Key[Array, ""], axes: Sequence[int]) -> Array:
    """Whether to mirror each of the axes, with probability one half."""
    return jax.random.bernoulli(key, 0.5, (len(axes),))
