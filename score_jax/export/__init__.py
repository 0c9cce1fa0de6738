"""Models that leave Python: StableHLO for JAX alone, ONNX for everything else."""

from collections.abc import Mapping, Sequence
from typing import Any

from score_jax import __version__, checkpointing
from score_jax.config import ModelSpec
from score_jax.config.exported import FORMAT
from score_jax.config.postprocessing import Postprocessing


def describe(
    spec: ModelSpec,
    members: Sequence[Mapping[Any, Any]],
    postprocessing: Postprocessing,
    *,
    name: str,
    weights: str = "float32",
    licence: str = "",
) -> dict[str, Any]:
    """All that a program needs to use an exported model, as plain values for JSON.

    Args:
      spec: regions, spacing, orientation, normalisation, window.
      members: their checksums are taken, of the weights before any rounding.
      postprocessing: rules that belong to the masks.
      name: how users call the model.
      weights: how they are stored.
      licence: of the weights.
    """
    return {
        "format": FORMAT,
        "name": name,
        "made_by": f"score-jax {__version__}",
        "licence": licence,
        "weights": weights,
        "sha256": [checkpointing.weights_sha256(params) for params in members],
        "spec": spec.to_json(),
        "postprocessing": postprocessing.to_json(),
    }
