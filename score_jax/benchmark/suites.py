"""What is timed: a network, the shape of its input, and forward or a training step."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from score_jax import models
from score_jax.benchmark.work import multiply_adds

Call = Callable[[], Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One network on one shape of input.

    Args:
      name: as the tables show it.
      kind, options: as `models.build` takes them.
      batch, space, channels: shape of the input.
      classes: outputs.
    """

    name: str
    kind: str
    options: Mapping[str, Any]
    batch: int
    space: tuple[int, ...]
    channels: int
    classes: int

    def call(self, *, training: bool) -> Call:
        """A function of no arguments that runs once and waits for the result.

        A training step is the mean cross-entropy's gradient, with DropConnect where the network
        has it, and one update of Adadelta (MD-GRU's defaults). The image is noise.
        """
        model = self._network()
        apply, params = models.functional(model), models.parameters(model)
        x = jax.random.normal(jax.random.key(0), (self.batch, *self.space, self.channels))
        if not training:
            forward = jax.jit(apply)
            return lambda: jax.block_until_ready(forward(params, x))
        labels = jax.random.randint(jax.random.key(1), x.shape[:-1], 0, self.classes)
        optimizer = optax.adadelta(1.0, rho=0.9, eps=1e-6)

        @jax.jit
        def step(params: Any, memory: Any, x: Any, labels: Any, key: Any) -> tuple[Any, ...]:
            def loss(params: Any) -> Any:
                logits = apply(params, x, key=key)
                return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

            value, gradient = jax.value_and_grad(loss)(params)
            updates, memory = optimizer.update(gradient, memory, params)
            return value, optax.apply_updates(params, updates), memory

        state = [params, optimizer.init(params)]

        def call() -> Any:
            value, *state[:] = step(*state, x, labels, jax.random.key(2))
            return jax.block_until_ready(value)

        return call

    def multiply_adds(self) -> int:
        """Multiply-adds of one forward pass, read off the traced program."""
        model = nnx.eval_shape(self._network)
        x = jax.ShapeDtypeStruct((self.batch, *self.space, self.channels), jnp.float32)
        return multiply_adds(models.functional(model), models.parameters(model), x)

    def _network(self) -> nnx.Module:
        return models.build(self.kind, self.channels, self.classes, self.options)


def mdgru(batch: int, *space: int, channels: int = 8, **options: Any) -> Case:
    """The authors' network, at their widths unless `options` say otherwise."""
    name = f"mdgru {batch} x {' x '.join(map(str, space))} x {channels}"
    return Case(
        name=name,
        kind="mdgru",
        options={"ndim": len(space), **options},
        batch=batch,
        space=space,
        channels=channels,
        classes=3,
    )


def unet(batch: int, *space: int, features: tuple[int, ...]) -> Case:
    """A plain U-Net of nnU-Net's shape: two convolutions a stage, every axis halved."""
    stages = len(features)
    options = {
        "features": features,
        "kernels": [[3, 3, 3]] * stages,
        "strides": [[1, 1, 1]] + [[2, 2, 2]] * (stages - 1),
        "convs_encoder": [2] * stages,
        "convs_decoder": [2] * (stages - 1),
    }
    return Case(
        name=f"unet {batch} x {' x '.join(map(str, space))}, {stages} stages",
        kind="unet",
        options=options,
        batch=batch,
        space=space,
        channels=1,
        classes=2,
    )


SUITES: Mapping[str, tuple[Case, ...]] = {
    "smoke": (
        mdgru(1, 24, 20, channels=2, hidden=(4,), linear=(), kernel=3),
        unet(1, 8, 16, 16, features=(4, 8)),
    ),
    "cpu": (
        mdgru(1, 192, 192),
        mdgru(4, 96, 96),
        mdgru(1, 16, 16, 16, channels=1),
        unet(1, 32, 96, 96, features=(32, 64, 128, 256)),
    ),
    "gpu": (
        mdgru(12, 192, 192),
        mdgru(1, 64, 64, 64, channels=1),
        unet(2, 64, 160, 160, features=(32, 64, 128, 256, 320)),
    ),
}
