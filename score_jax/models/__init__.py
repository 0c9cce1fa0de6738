"""The two networks, as nnx modules, and how a stored configuration becomes one of them."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
from flax import nnx

from score_jax.models.mdgru import MDGRU
from score_jax.models.unet import UNet3D

MODELS: dict[str, type[MDGRU] | type[UNet3D]] = {"mdgru": MDGRU, "unet": UNet3D}


def build(
    kind: str,
    in_channels: int,
    out_channels: int,
    options: Mapping[str, Any],
    *,
    seed: int | jax.Array = 0,
) -> MDGRU | UNet3D:
    """A network with fresh weights from its stored name and options.

    Args:
      kind: one of `MODELS`.
      in_channels: of the images.
      out_channels: of the logits.
      options: the network's own arguments.
      seed: of the weights; it may be traced, to draw several networks by one program.

    Raises:
      ValueError: an unknown kind, or options the network refuses.
    """
    if kind not in MODELS:
        raise ValueError(f"model: got {kind!r}; expected one of {sorted(MODELS)}")
    try:
        # rbg keys: threefry would take ten seconds to compile for sixty shapes of weights
        rngs = nnx.Rngs(jax.random.key(seed, impl="rbg"))
        return MODELS[kind](in_channels, out_channels, rngs=rngs, **options)
    except TypeError as error:
        raise ValueError(f"model {kind!r}: {error}") from None


def parameters(model: nnx.Module) -> dict[Any, Any]:
    """The network's weights as nested dicts of arrays, named by their place in the module."""
    return nnx.to_pure_dict(nnx.state(model, nnx.Param))


def functional(model: nnx.Module) -> Callable[..., Any]:
    """The network as a pure function ``apply(params, x, key=None)`` for jit, grad and vmap.

    Args:
      model: with weights, or abstract (from ``nnx.eval_shape``); they are not used.
    """
    graph, template = nnx.split(model, nnx.Param)

    def apply(params: Mapping[Any, Any], x: Any, key: Any = None) -> Any:
        state = jax.tree.map(lambda leaf: leaf, template)
        nnx.replace_by_pure_dict(state, dict(params))
        return nnx.merge(graph, state)(x, key=key)

    return apply


__all__ = ["MDGRU", "MODELS", "UNet3D", "build", "functional", "parameters"]
