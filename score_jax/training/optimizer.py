"""Optax optimisers of the two recipes."""

import jax
import optax

from score_jax._types import Params
from score_jax.config import OptimizerConfig


def schedule(config: OptimizerConfig, steps: int) -> optax.Schedule:
    """Learning rate of each step: linear warm-up, then constant, poly (0.9) or cosine to 0."""
    warmup = min(config.warmup_steps, max(steps - 1, 0))
    rest = steps - warmup
    peak = config.learning_rate
    main = {
        "constant": optax.constant_schedule(peak),
        "poly": optax.polynomial_schedule(peak, 0.0, 0.9, rest),
        "cosine": optax.cosine_decay_schedule(peak, rest),
    }[config.schedule]
    if not warmup:
        return main
    return optax.join_schedules([optax.linear_schedule(0.0, peak, warmup), main], [warmup])


def build(
    config: OptimizerConfig, steps: int, frozen: Params | None = None
) -> optax.GradientTransformation:
    """The optimiser of `config` for a run of `steps`.

    Args:
      config: kind and numbers.
      steps: the run's length, for the schedule.
      frozen: tree of booleans like the parameters: True for those that never change (nnU-Net's
        lowest deep-supervision head has weight 0 in the loss, and is not decayed either).
    """
    rate = schedule(config, steps)
    clip = [optax.clip_by_global_norm(config.clip_norm)] if config.clip_norm else []
    if config.kind == "sgd":
        # torch's order: clip, then L2 into the gradient, then momentum
        decay = [optax.add_decayed_weights(config.weight_decay)] if config.weight_decay else []
        chain = [*clip, *decay, optax.sgd(rate, momentum=config.momentum, nesterov=True)]
    elif config.kind == "adamw":
        chain = [*clip, optax.adamw(rate, weight_decay=config.weight_decay)]
    else:
        # PyTorch's epsilon, as MD-GRU's PyTorch version trains
        chain = [*clip, optax.adadelta(rate, rho=config.momentum, eps=1e-6)]
    if frozen is not None and any(jax.tree.leaves(frozen)):
        chain.append(optax.masked(optax.set_to_zero(), frozen))
    return optax.chain(*chain)
