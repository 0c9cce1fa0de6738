"""Losses of segmentation networks, pure functions of logits and targets.

Logits and targets are ``(batch, *space, channels)``. Region losses take one channel a region
(sigmoid); class losses take a background channel first (softmax). None of them has the "1 -" in
front of Dice: a perfect network reaches -1 with `dice_bce`, as nnU-Net's does.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

EPSILON = 1e-8


def soft_dice(
    probabilities: Float[Array, "b *space k"],
    targets: Float[Array, "b *space k"],
    *,
    smooth: float = 1e-5,
    batch_dice: bool = True,
    beta: float = 0.5,
    weights: Sequence[float] = (),
    mask: Float[Array, "b *space 1"] | None = None,
) -> Float[Array, ""]:
    """Mean over channels (and samples, without `batch_dice`) of (2 I + s) / max(P + T + s, 1e-8).

    An empty channel that is predicted empty gives 1 with `smooth` above 0, and 0 without.

    Args:
      probabilities: of each channel.
      targets: 0 to 1.
      smooth: s.
      batch_dice: sum over the batch before the quotient.
      beta: weight of missed voxels against false ones; another than 0.5 gives the Tversky index,
        P + T becoming 2 (1 - beta) P + 2 beta T.
      weights: of the channels in the mean; empty = equal.
      mask: 1 where a voxel counts.

    Source: nnU-Net ``MemoryEfficientSoftDiceLoss`` (without its minus sign); Salehi et al., 2017,
    equation 3, for `beta`.
    """
    axes = tuple(range(0 if batch_dice else 1, probabilities.ndim - 1))
    if mask is not None:
        probabilities, targets = probabilities * mask, targets * mask
    overlap = (probabilities * targets).sum(axes)
    total = 2 * ((1 - beta) * probabilities.sum(axes) + beta * targets.sum(axes))
    dice = (2 * overlap + smooth) / jnp.maximum(total + smooth, EPSILON)
    return _weighted(dice, weights).mean()


def _weighted(values: Float[Array, "*a k"], weights: Sequence[float]) -> Float[Array, "*a k"]:
    """Values times the weights of their channels, which are scaled to mean 1; empty = equal."""
    if not weights:
        return values
    count = values.shape[-1]
    if len(weights) != count:
        raise ValueError(f"weights: got {len(weights)} for {count} channels")
    relative = jnp.asarray(weights, values.dtype) * (count / sum(weights))
    return values * relative.reshape((1,) * (values.ndim - 1) + (count,))


def dice_bce(
    logits: Float[Array, "b *space r"],
    targets: Float[Array, "b *space r"],
    *,
    smooth: float = 1e-5,
    batch_dice: bool = True,
    dice_weight: float = 1.0,
    beta: float = 0.5,
    gamma: float = 0.0,
    weights: Sequence[float] = (),
    mask: Float[Array, "b *space 1"] | None = None,
) -> Float[Array, ""]:
    """Binary cross-entropy minus Dice, for sigmoid regions that may overlap.

    With `mask` (1 where a voxel counts) the cross-entropy is a sum over regions divided by the
    masked voxels, as nnU-Net's is.

    Args:
      logits: of each region.
      targets: 0 to 1.
      smooth: see `soft_dice`.
      batch_dice: see `soft_dice`.
      dice_weight: of the Dice part.
      beta: see `soft_dice`.
      gamma: above 0, each voxel's entropy is multiplied by (1 - probability of the truth)^gamma.
      weights: of the regions, in both parts; empty = equal.
      mask: 1 where a voxel counts.

    Source: nnU-Net ``DC_and_BCE_loss``; Lin et al., 2017, equation 4, for `gamma`.
    """
    if gamma:
        entropy = optax.losses.sigmoid_focal_loss(logits, targets, gamma=gamma)
    else:
        entropy = optax.sigmoid_binary_cross_entropy(logits, targets)
    entropy = _weighted(entropy, weights)
    if mask is None:
        entropy = entropy.mean()
    else:
        entropy = (entropy * mask).sum() / jnp.maximum(mask.sum(), EPSILON)
    dice = soft_dice(
        jax.nn.sigmoid(logits),
        targets,
        smooth=smooth,
        batch_dice=batch_dice,
        beta=beta,
        weights=weights,
        mask=mask,
    )
    return entropy - dice_weight * dice


def dice_ce(
    logits: Float[Array, "b *space k"],
    targets: Float[Array, "b *space k"],
    *,
    smooth: float = 1e-5,
    batch_dice: bool = True,
    dice_weight: float = 1.0,
    beta: float = 0.5,
    gamma: float = 0.0,
    weights: Sequence[float] = (),
    mask: Float[Array, "b *space 1"] | None = None,
) -> Float[Array, ""]:
    """Cross-entropy minus the Dice of the foreground classes, for softmax classes.

    Args: as `dice_bce`; `weights` are those of the foreground classes, the background weighs as
    much as their mean. With `mask` the cross-entropy is the mean over the masked voxels.

    Source: nnU-Net ``DC_and_CE_loss`` (background in the cross-entropy only).
    """
    mean = (sum(weights) / len(weights),) if weights else ()
    logs = jax.nn.log_softmax(logits)
    focus = (1 - jnp.exp(logs)) ** gamma if gamma else 1.0
    entropy = -_weighted(targets * focus * logs, (*mean, *weights)).sum(-1, keepdims=True)
    if mask is None:
        entropy = entropy.mean()
    else:
        entropy = (entropy * mask).sum() / jnp.maximum(mask.sum(), EPSILON)
    dice = soft_dice(
        jax.nn.softmax(logits)[..., 1:],
        targets[..., 1:],
        smooth=smooth,
        batch_dice=batch_dice,
        beta=beta,
        weights=weights,
        mask=mask,
    )
    return entropy - dice_weight * dice


def mdgru_dice_ce(
    logits: Float[Array, "b *space k"],
    targets: Float[Array, "b *space k"],
    *,
    labels: Sequence[int],
    weights: Sequence[float],
    generalized: bool = False,
    autoweighted: bool = False,
    mask: Float[Array, "b *space 1"] | None = None,
) -> Float[Array, ""]:
    """MD-GRU's family of Dice plus cross-entropy losses.

    Args:
      logits: softmax classes, background first.
      targets: one-hot classes.
      labels: classes the Dice part is made of.
      weights: their weights w; with `autoweighted` only their sum counts.
      generalized: one quotient of weighted sums (Sudre et al., 2017) instead of a sum of
        quotients.
      autoweighted: weights 1 / (voxels of the class^2 + 1) of each sample.
      mask: 1 where a voxel counts.

    Source: MD-GRU's TensorFlow losses (equations in docs/models.md). The Dice part of
    `generalized` without `autoweighted` is not multiplied by the sum of weights, as there.
    """
    entropy = optax.softmax_cross_entropy(logits, targets)
    counts = jnp.ones((*logits.shape[:-1], 1), logits.dtype) if mask is None else mask
    entropy = (entropy * counts[..., 0]).sum() / jnp.maximum(counts.sum(), EPSILON)
    chosen = jnp.asarray(labels, jnp.int32)
    axes = tuple(range(1, logits.ndim - 1))
    probabilities = jnp.take(jax.nn.softmax(logits), chosen, axis=-1) * counts
    truth = jnp.take(targets, chosen, axis=-1) * counts
    overlap = (probabilities * truth).sum(axes)
    total, volume = probabilities.sum(axes) + truth.sum(axes), truth.sum(axes)
    share = sum(weights)
    if autoweighted:
        weight = 1 / (volume**2 + 1)
        scale = share
    else:
        weight = jnp.broadcast_to(jnp.asarray([weights], logits.dtype), overlap.shape)
        scale = 1.0
    if generalized:
        top, bottom = 2 * (weight * overlap).sum(-1), (weight * total).sum(-1)
        dice = (top + EPSILON) / (bottom + EPSILON)
    else:
        dice = weight * (2 * overlap + EPSILON) / (total + EPSILON)
        dice = dice.sum(-1) / (weight.sum(-1) if autoweighted else 1.0)
    return (1 - share) * entropy - scale * dice.mean()


def deep_supervision_weights(outputs: int) -> tuple[float, ...]:
    """Weights of the outputs, finest first: 1, 1/2, 1/4, ..., the last 0, their sum 1.

    A single output weighs 1.

    >>> deep_supervision_weights(3)
    (0.6666666666666666, 0.3333333333333333, 0.0)
    """
    if outputs == 1:
        return (1.0,)
    raw = [0.5**level for level in range(outputs - 1)]
    return (*(weight / sum(raw) for weight in raw), 0.0)


def nearest(
    targets: Float[Array, "b *space k"], shape: Sequence[int]
) -> Float[Array, "b *shape k"]:
    """`targets` at another size, the value at each new voxel's centre (torch "nearest-exact")."""
    for axis, size in enumerate(shape, 1):
        old = targets.shape[axis]
        if old != size:
            index = jnp.floor((jnp.arange(size) + 0.5) * (old / size)).astype(jnp.int32)
            targets = jnp.take(targets, index, axis=axis)
    return targets
