"""What is timed: networks by kind and shape of input, and the other stages of the library."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from score_jax import models
from score_jax.benchmark.parts import PARTS, Part
from score_jax.benchmark.places import stages
from score_jax.benchmark.work import multiply_adds

Program = tuple[Callable[..., Any], tuple[Any, ...]]  # a function to compile, and its arguments


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One network on one shape of input.

    Args:
      name: as the tables show it.
      kind, options: as `models.build` takes them.
      batch, space, channels: shape of the input.
      classes: outputs.
      members: networks of an ensemble, computed in one program.
      devices: over which the batch is spread.
      precision: of weights and activations; the loss and the update stay in float32.
      training: a training step and not a forward pass.
    """

    name: str
    kind: str
    options: Mapping[str, Any]
    batch: int
    space: tuple[int, ...]
    channels: int
    classes: int
    members: int = 1
    devices: int = 1
    precision: Literal["float32", "bfloat16"] = "float32"
    training: bool = False

    @property
    def title(self) -> str:
        """The name, and how this case differs from the plain forward pass."""
        words = [self.name]
        words += [f"{self.members} members"] if self.members > 1 else []
        words += [f"{self.devices} devices"] if self.devices > 1 else []
        words += ["bfloat16"] if self.precision == "bfloat16" else []
        return ", ".join([*words, "training step" if self.training else "forward"])

    def program(self) -> Program:
        """What is compiled: forward, or one training step.

        A training step is the mean cross-entropy's gradient, with DropConnect where the network has
        it, and one update of Adadelta (MD-GRU's defaults). The image is noise.
        """
        model = self._network()
        apply, params = models.functional(model), models.parameters(model)
        x = jax.random.normal(jax.random.key(0), (self.batch, *self.space, self.channels))
        labels = jax.random.randint(jax.random.key(1), x.shape[:-1], 0, self.classes)
        x, labels = self._placed(x), self._placed(labels)
        if self.members > 1:
            params = jax.tree.map(lambda a: jnp.stack([a] * self.members), params)
        half = jnp.bfloat16 if self.precision == "bfloat16" else jnp.float32

        def logits(params: Any, x: Any, key: Any = None) -> Any:
            params, x = jax.tree.map(lambda a: a.astype(half), (params, x))
            if self.members == 1:
                return apply(params, x, key=key)
            return jax.vmap(lambda p: apply(p, x, key=key))(params)

        if not self.training:
            return logits, (params, x)
        optimizer = optax.adadelta(1.0, rho=0.9, eps=1e-6)

        def step(params: Any, memory: Any, x: Any, labels: Any, key: Any) -> tuple[Any, ...]:
            def loss(params: Any) -> Any:
                out = logits(params, x, key).astype(jnp.float32)
                target = jnp.broadcast_to(labels, out.shape[:-1])
                return optax.softmax_cross_entropy_with_integer_labels(out, target).mean()

            value, gradient = jax.value_and_grad(loss)(params)
            updates, memory = optimizer.update(gradient, memory, params)
            return value, optax.apply_updates(params, updates), memory

        return step, (params, optimizer.init(params), x, labels, jax.random.key(2))

    def multiply_adds(self) -> int:
        """Multiply-adds of products and convolutions; a training step has three passes' worth."""
        model = nnx.eval_shape(self._network)
        x = jax.ShapeDtypeStruct((self.batch, *self.space, self.channels), jnp.float32)
        one = multiply_adds(models.functional(model), models.parameters(model), x)
        return one * self.members * (3 if self.training else 1)

    def least_bytes(self) -> int:
        """Bytes that have to be moved: the weights, the image and the logits, once each.

        In a training step the weights are also written, and their gradient and the optimiser's two
        averages are read and written.
        """
        model = nnx.eval_shape(self._network)
        weights = sum(
            int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(models.parameters(model))
        )
        voxels = self.batch * int(np.prod(self.space))
        size = 2 if self.precision == "bfloat16" else 4
        moved = 7 * 4 if self.training else size
        shown = voxels * (self.channels + self.members * self.classes)
        return weights * self.members * moved + shown * size

    def _placed(self, array: Any) -> Any:
        if self.devices == 1:
            return array
        mesh = Mesh(np.array(jax.devices()[: self.devices]), ("batch",))
        return jax.device_put(array, NamedSharding(mesh, PartitionSpec("batch")))

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


def both(*cases: Case) -> list[Case]:
    """Forward and training step of each."""
    return [replace(case, training=t) for case in cases for t in (False, True)]


def scaled(case: Case, **fields: Sequence[Any]) -> list[Case]:
    """`case` with one field after another at other values, named after them."""
    return [
        replace(case, **{field: value}, name=f"{case.name}, {field} {value}")
        for field, values in fields.items()
        for value in values
    ]


_SMALL = mdgru(1, 24, 20, channels=2, hidden=(4,), linear=(), kernel=3)
_UNET = unet(1, 32, 96, 96, features=(32, 64, 128, 256))
_PRESET = unet(1, 48, 48, 48, features=(8, 16, 32, 64))
_STAGES = stages((64, 320, 320), (58, 256, 256), (48, 48, 48))
_BIG = unet(2, 64, 160, 160, features=(32, 64, 128, 256, 320))

SUITES: Mapping[str, Sequence[Case | Part]] = {
    "smoke": (
        *both(_SMALL, unet(1, 8, 16, 16, features=(4, 8))),
        replace(_SMALL, members=2),
        *PARTS["smoke"],
    ),
    "cpu": (  # what compiles quickly first
        *PARTS["cpu"],
        *_STAGES,
        *both(_PRESET, _UNET),
        *both(mdgru(1, 192, 192), mdgru(4, 96, 96), mdgru(1, 16, 16, 16, channels=1)),
        *scaled(mdgru(1, 96, 96), batch=(2, 4, 8), channels=(1, 16), space=((48, 48), (144, 144))),
        *scaled(_PRESET, batch=(2, 4), space=((32, 32, 32), (64, 64, 64))),
        replace(mdgru(1, 96, 96), members=3),
        replace(mdgru(2, 96, 96), devices=2),
    ),
    "gpu": (
        # the comparisons first: the suite ends after its minutes, whatever is left
        *(
            replace(case, precision=precision)
            for precision in ("bfloat16", "float32")
            for case in both(_BIG, mdgru(12, 192, 192))
        ),
        *PARTS["gpu"],
        *_STAGES,
        *both(mdgru(1, 64, 64, 64, channels=1)),
        *scaled(replace(_BIG, precision="bfloat16"), batch=(1, 4, 8)),
        *scaled(replace(mdgru(12, 192, 192), precision="bfloat16"), batch=(1, 48), members=(3, 9)),
        replace(mdgru(24, 192, 192), devices=2),
    ),
}
MINUTES = {"gpu": 7.0}  # after which nothing new is begun
