"""One optimiser step: augmentation, network, loss, gradient, update; pure and jitted."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Float, Key

from score_jax import losses
from score_jax._types import Params
from score_jax.augment import augment
from score_jax.config import LossConfig, TrainConfig

Apply = Callable[..., Any]
Batch = Array | np.ndarray


class TrainState(NamedTuple):
    """Everything a step changes; every leaf has the members of the ensemble as its first axis.

    Args:
      params: weights.
      optimizer: the optimiser's memory.
      average: exponential average of the weights; empty without one.
    """

    params: Any
    optimizer: Any
    average: Any = ()

    @property
    def weights(self) -> Any:
        """What is validated and used: the averaged weights if there are any."""
        return self.average or self.params


def classes(targets: Float[Array, "b *space r"]) -> Float[Array, "b *space k"]:
    """Classes that exclude each other, background first: a voxel goes to its last region."""
    free = jnp.cumprod(1 - targets[..., ::-1], axis=-1)[..., ::-1]  # no region from here on
    later = jnp.concatenate([free[..., 1:], jnp.ones_like(free[..., :1])], axis=-1)
    return jnp.concatenate([free[..., :1], targets * later], axis=-1)


def output_loss(
    logits: Float[Array, "b *space k"],
    targets: Float[Array, "b *space r"],
    config: LossConfig,
    mask: Float[Array, "b *space 1"] | None = None,
) -> Float[Array, ""]:
    """The configured loss of one output against region masks of its size.

    Args:
      logits: one channel a region, or a class with the background first.
      targets: one channel a region, 0 to 1.
      config: which loss.
      mask: 1 where a voxel counts.
    """
    truth = targets if config.kind == "dice_bce" else classes(targets)
    if config.kind != "generalized_dice_ce":
        loss = losses.dice_bce if config.kind == "dice_bce" else losses.dice_ce
        return loss(
            logits,
            truth,
            smooth=config.smooth,
            batch_dice=config.batch_dice,
            dice_weight=config.dice_weight,
            beta=config.tversky_beta,
            gamma=config.focal_gamma,
            weights=config.region_weights,
            mask=mask,
        )
    count = truth.shape[-1]
    share = config.dice_weight / (1 + config.dice_weight) / count
    return losses.mdgru_dice_ce(
        logits,
        truth,
        labels=range(count),
        weights=[share] * count,
        generalized=True,
        autoweighted=True,
        mask=mask,
    )


def total_loss(
    outputs: Array | tuple[Array, ...],
    targets: Float[Array, "b *space r"],
    config: LossConfig,
    mask: Float[Array, "b *space 1"] | None = None,
) -> Float[Array, ""]:
    """Weighted sum over the deep-supervision outputs, or the loss of the only one."""
    if not isinstance(outputs, tuple):
        return output_loss(outputs, targets, config, mask)
    weights = losses.deep_supervision_weights(len(outputs))
    total = jnp.zeros(())
    for weight, logits in zip(weights, outputs, strict=True):
        if weight:
            size = logits.shape[1:-1]
            smaller = None if mask is None else losses.nearest(mask, size)
            level = output_loss(logits, losses.nearest(targets, size), config, smaller)
            total = total + weight * level
    return total


def make_step(
    apply: Apply,
    optimizer: optax.GradientTransformation,
    config: TrainConfig,
    *,
    ignore: bool = False,
    mesh: Mesh | None = None,
) -> Callable[[TrainState, Batch, Batch, Key[Array, " m"]], tuple[TrainState, dict[str, Array]]]:
    """The jitted step ``(state, images, masks, keys) -> (state, metrics)``; `state` is donated.

    Images are ``(m, b, *space, c)``, masks ``(m, b, *space, r)``, bytes or float32: the members of
    the ensemble come first, here and in every leaf of state and metrics.

    Args:
      apply: the network as a pure function of weights, images and key.
      optimizer: Optax's.
      config: of the run.
      ignore: the masks' last channel marks voxels that take no part in the loss.
      mesh: devices by the axes "members", "batch" and "space"; None for one device.
    """
    member = _member_step(apply, optimizer, config, ignore)
    if mesh is None and jax.default_backend() == "cpu":
        return _one_after_another(member)

    @partial(jax.jit, donate_argnums=0)
    def step(
        state: TrainState, images: Batch, masks: Batch, keys: Array
    ) -> tuple[TrainState, dict[str, Array]]:
        each = partial(over_members, member)
        if mesh is not None and mesh.shape["members"] > 1:
            spec = PartitionSpec("members")
            # not checked: scans start from zeros, which belong to no device in particular
            each = jax.shard_map(
                each,
                mesh=mesh,
                in_specs=spec,
                out_specs=spec,
                axis_names={"members"},
                check_vma=False,
            )
        return each(state, jnp.asarray(images), jnp.asarray(masks), keys)

    return step


def _member_step(
    apply: Apply, optimizer: optax.GradientTransformation, config: TrainConfig, ignore: bool
) -> Callable[[TrainState, Array, Array, Array], tuple[TrainState, dict[str, Array]]]:
    """The step of one member: ``(state, images, masks, key) -> (state, metrics)``."""
    compute = config.compute
    half = compute.precision == "bfloat16"
    soft = config.data.rater_choice == "mean" and not config.ensemble.raters

    def loss_of(params: Params, images: Array, masks: Array, key: Array) -> Array:
        key_augment, key_model = jax.random.split(key)
        patch, masks = config.sampling.patch, masks.astype(jnp.float32)  # sent as bytes
        images, masks = augment(key_augment, images, masks, config.augment, patch, soft=soft)
        targets, mask = (masks[..., :-1], 1 - masks[..., -1:]) if ignore else (masks, None)
        if half:
            params, images = jax.tree.map(lambda a: a.astype(jnp.bfloat16), (params, images))
        outputs = apply(params, images, key_model)
        outputs = jax.tree.map(lambda a: a.astype(jnp.float32), outputs)
        return total_loss(outputs, targets, config.loss, mask)

    def gradient_of(params: Params, images: Array, masks: Array, key: Array) -> tuple[Array, Any]:
        parts = compute.accumulate
        if parts == 1:
            return jax.value_and_grad(loss_of)(params, images, masks, key)

        def add(total: Any, part: tuple[Array, Array, Array]) -> tuple[Any, None]:
            found = jax.value_and_grad(loss_of)(params, *part)
            return jax.tree.map(jnp.add, total, found), None

        # part p takes slots p, p + parts, ...: forced patches are the last, each part gets some
        cut_images, cut_masks = (
            jnp.stack([a[p::parts] for p in range(parts)]) for a in (images, masks)
        )
        keys = jax.random.split(key, parts)
        zero = (jnp.zeros(()), jax.tree.map(jnp.zeros_like, params))
        total, _ = jax.lax.scan(add, zero, (cut_images, cut_masks, keys), unroll=in_order())
        return jax.tree.map(lambda a: a / parts, total)

    def member(
        state: TrainState, images: Array, masks: Array, key: Array
    ) -> tuple[TrainState, dict[str, Array]]:
        loss, gradient = gradient_of(state.params, images, masks, key)
        updates, memory = optimizer.update(gradient, state.optimizer, state.params)
        params = optax.apply_updates(state.params, updates)
        average: Any = ()
        if config.weights_ema:
            average = optax.incremental_update(params, state.average, 1 - config.weights_ema)
        metrics = {"loss": loss, "gradient_norm": optax.tree.norm(gradient)}
        return TrainState(params, memory, average), metrics

    return member


def over_members(function: Callable[..., Any], *arguments: Any) -> Any:
    """`function` of each member's slice of `arguments`, results stacked, in one program."""
    count = len(jax.tree.leaves(arguments)[0])
    if count > 1 and not in_order():
        return jax.vmap(function)(*arguments)
    results = [function(*jax.tree.map(lambda a, m=m: a[m], arguments)) for m in range(count)]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *results)


def in_order() -> bool:
    """Whether repeated work is written out one after another, as a CPU wants it.

    There vmap turns the members' convolutions into grouped ones and a loop in the program keeps
    them to one core: 6 and 16 times slower for a 3-D U-Net (docs/benchmarks.md). Accelerators
    are kept busy by doing all of it at once.
    """
    return jax.default_backend() == "cpu"


def _one_after_another(member: Callable[..., Any]) -> Callable[..., Any]:
    """A step on a CPU: one program, compiled once, called for each member in turn."""

    @partial(jax.jit, donate_argnums=0)
    def update(
        state: TrainState, number: Array, images: Batch, masks: Batch, key: Array
    ) -> tuple[TrainState, dict[str, Array]]:
        own = jax.tree.map(lambda a: a[number], state)
        own, metrics = member(own, jnp.asarray(images), jnp.asarray(masks), key)
        state = jax.tree.map(lambda a, new: a.at[number].set(new), state, own)
        return state, metrics

    def step(
        state: TrainState, images: Batch, masks: Batch, keys: Array
    ) -> tuple[TrainState, dict[str, Array]]:
        metrics = []
        for number in range(len(images)):
            state, found = update(
                state, np.int32(number), images[number], masks[number], keys[number]
            )
            metrics.append(found)
        return state, jax.tree.map(lambda *leaves: jnp.stack(leaves), *metrics)

    return step
