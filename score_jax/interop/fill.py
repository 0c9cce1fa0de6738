"""Stored arrays put into a network that exists as shapes only."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from score_jax.errors import CheckpointError


def abstract(build: Callable[[nnx.Rngs], Any], where: str) -> Any:
    """The network of `build` without values: its initial weights would be thrown away.

    Raises:
      CheckpointError: options that the network refuses.
    """
    try:
        return nnx.eval_shape(lambda: build(nnx.Rngs(0)))
    except ValueError as error:
        raise CheckpointError(f"{where}: {error}") from None


def put(param: Any, value: np.ndarray, where: str) -> None:
    """Give `param` its value, in float32.

    Raises:
      CheckpointError: values that are not finite floats, or of another shape than the network's.
    """
    wanted = tuple(param.get_value().shape)
    if value.dtype.kind != "f":
        raise CheckpointError(f"{where}: got {value.dtype}; expected floats")
    if wanted != value.shape:
        raise CheckpointError(f"{where}: got shape {value.shape}; expected {wanted}")
    if not np.isfinite(value).all():
        raise CheckpointError(
            f"{where}: holds values that are not finite; expected a trained model"
        )
    param.set_value(jnp.asarray(value, jnp.float32))
