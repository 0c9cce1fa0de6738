"""A model as StableHLO: one file that JAX alone can run, on any of its platforms.

`jax.export` serialises the traced network with its weights; ``jax.export.deserialize(data).call``
takes images ``(batch, *space, channels)`` float32 and gives logits ``(batch, *space, outputs)``; of
an ensemble, the mean over its members.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
from flax import nnx

from score_jax import checkpointing, models
from score_jax.config import ModelSpec
from score_jax.models import convolution

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")
LEAST = 8  # voxels of an axis whose size is free


def serialise(spec: ModelSpec, members: Sequence[Mapping[Any, Any]]) -> bytearray:
    """The model for every platform of `PLATFORMS`, weights inside.

    The batch is free; so is the size of an MDGRU's image, from `LEAST` voxels a side. A U-Net takes
    windows of ``spec.tile``. No custom calls are in it but the checks of free sizes that
    `jax.export` writes itself and XLA removes, so that it needs no library beside XLA.

    Args:
      spec: the model's specification.
      members: weights of one network, or of several whose logits are averaged.
    """
    apply = models.functional(nnx.eval_shape(lambda: checkpointing.build_model(spec)))

    def traced(form: str) -> Any:
        # a new function for each form: what JAX traced once it would not trace again
        def mean(weights: Sequence[Any], image: jax.Array) -> jax.Array:
            with convolution.form(form):
                return sum(apply(own, image) for own in weights) / jnp.float32(len(weights))

        return mean

    def network(image: jax.Array) -> jax.Array:
        weights = [jax.tree.map(jnp.asarray, params) for params in members]
        if spec.kind == "unet" and len(spec.tile) == 3:
            # XLA's own 3-D convolution is slow on CPUs (models/convolution.py)
            return jax.lax.platform_dependent(
                weights, image, cpu=traced("over_first_axis"), default=traced("direct")
            )
        return traced("direct")(weights, image)

    free = spec.kind == "mdgru"
    names = [f"size_{n}" for n in range(len(spec.tile))]
    sizes = names if free else [str(n) for n in spec.tile]
    scope = jax.export.SymbolicScope([f"{name} >= {LEAST}" for name in names] if free else [])
    shape = jax.export.symbolic_shape(
        ", ".join(["batch", *sizes, str(spec.in_channels)]), scope=scope
    )
    exported = jax.export.export(jax.jit(network), platforms=PLATFORMS)(
        jax.ShapeDtypeStruct(shape, jnp.float32)
    )
    return exported.serialize()
