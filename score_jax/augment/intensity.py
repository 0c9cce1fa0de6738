"""Changes of single values: noise, brightness, contrast, gamma. One sample; vmap for a batch.

Factors and exponents are drawn for every channel, as nnU-Net draws them.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from score_jax.config.augment import FactorConfig, GammaConfig, NoiseConfig, Range


class Noise(NamedTuple):
    """Standard deviation of the noise, and the key of its voxels."""

    on: Bool[Array, ""]
    std: Float[Array, ""]
    key: Key[Array, ""]


class PerChannel(NamedTuple):
    """A factor or exponent for each channel."""

    on: Bool[Array, ""]
    value: Float[Array, " c"]


def draw_noise(key: Key[Array, ""], config: NoiseConfig) -> Noise:
    """A standard deviation for all channels."""
    key_noise, key_draw = jax.random.split(key)
    chance, share = jax.random.uniform(key_draw, (2,))
    return Noise(chance < config.probability, share * config.std, key_noise)


def noise(
    image: Float[Array, "*space c"], std: Float[Array, ""], key: Key[Array, ""]
) -> Float[Array, "*space c"]:
    """`image` plus Gaussian noise of its own in every voxel and channel."""
    return image + std * jax.random.normal(key, image.shape, image.dtype)


def draw_factor(key: Key[Array, ""], config: FactorConfig, channels: int) -> PerChannel:
    """A factor of brightness or contrast for each channel."""
    return _draw_two_sided(key, config.probability, config.factor, channels)


def draw_gamma(key: Key[Array, ""], config: GammaConfig, channels: int) -> PerChannel:
    """An exponent for each channel."""
    return _draw_two_sided(key, config.probability, config.exponent, channels)


def _draw_two_sided(key: Array, probability: float, bounds: Range, channels: int) -> PerChannel:
    """Uniform below 1 or above 1, each half of the time where the bounds allow both."""
    chance, *shares = jax.random.uniform(key, (1 + 2 * channels,))
    share, side = jnp.stack(shares).reshape(2, channels)
    low, high = bounds
    down = low + share * (min(high, 1.0) - low)
    up = max(low, 1.0) + share * (high - max(low, 1.0))
    below = 0.5 if low < 1 < high else float(low < 1)
    return PerChannel(chance < probability, jnp.where(side < below, down, up))


def brightness(
    image: Float[Array, "*space c"], factor: Float[Array, " c"]
) -> Float[Array, "*space c"]:
    """Each channel times its factor."""
    return image * factor.reshape((1,) * (image.ndim - 1) + (-1,))


def contrast(
    image: Float[Array, "*space c"], factor: Float[Array, " c"]
) -> Float[Array, "*space c"]:
    """Each channel stretched about its mean, kept within its old range.

    Source: batchgeneratorsv2 ``ContrastTransform(preserve_range=True)``.
    """

    def change(rows: Array) -> Array:
        mean = rows.mean(1, keepdims=True)
        low, high = rows.min(1, keepdims=True), rows.max(1, keepdims=True)
        return jnp.clip((rows - mean) * factor[:, None] + mean, low, high)

    return _by_channel(change, image)


def gamma(
    image: Float[Array, "*space c"], exponent: Float[Array, " c"], *, inverted: bool = False
) -> Float[Array, "*space c"]:
    """Each channel, scaled to 0..1, to the power of its exponent; mean and deviation restored.

    A constant channel stays as it is.

    Args:
      image: of one sample.
      exponent: of each channel.
      inverted: the power is taken of the negative image.

    Source: batchgeneratorsv2 ``GammaTransform(p_retain_stats=1)``.
    """
    sign = -1 if inverted else 1

    def change(rows: Array) -> Array:
        rows = sign * rows
        mean, std = rows.mean(1, keepdims=True), rows.std(1, keepdims=True, ddof=1)
        low = rows.min(1, keepdims=True)
        width = rows.max(1, keepdims=True) - low
        scaled = (rows - low) / jnp.maximum(width, 1e-7)
        powered = scaled ** exponent[:, None] * width + low
        now = jnp.maximum(powered.std(1, keepdims=True, ddof=1), 1e-7)
        restored = (powered - powered.mean(1, keepdims=True)) * (std / now) + mean
        return sign * restored

    return _by_channel(change, image)


def _by_channel(change: Callable[[Array], Array], image: Array) -> Array:
    """`change` of the image with one row a channel: statistics of long rows are quick."""
    channels_first = jnp.moveaxis(image, -1, 0)
    rows = change(channels_first.reshape(len(channels_first), -1))
    return jnp.moveaxis(rows.reshape(channels_first.shape), 0, -1)
