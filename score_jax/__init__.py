"""Spinal cord MRI segmentation and its numbers, in JAX.

Import as ``import score_jax as sj``. Names are loaded on first use (PEP 562), so that the
command line answers ``--help`` at once.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# public name -> the module that defines it; a module alone is a namespace
_NAMESPACES = ("fusion", "interop", "losses", "metrics", "morphometry", "phantom")
_NAMES = {
    "MDGRU": "score_jax.models",
    "UNet3D": "score_jax.models",
    "Volume": "score_jax.imaging",
    "load": "score_jax.imaging",
    "save": "score_jax.imaging",
    "Predictor": "score_jax.inference",
    "TrainConfig": "score_jax.config",
    "load_config": "score_jax.config",
    "ScoreError": "score_jax.errors",
    "train": "score_jax.api",
    "predict": "score_jax.api",
    "evaluate": "score_jax.api",
    "load_model": "score_jax.api",
    "list_models": "score_jax.api",
}

if TYPE_CHECKING:
    from score_jax import fusion as fusion
    from score_jax import interop as interop
    from score_jax import losses as losses
    from score_jax import metrics as metrics
    from score_jax import morphometry as morphometry
    from score_jax import phantom as phantom
    from score_jax.api import evaluate as evaluate
    from score_jax.api import list_models as list_models
    from score_jax.api import load_model as load_model
    from score_jax.api import predict as predict
    from score_jax.api import train as train
    from score_jax.config import TrainConfig as TrainConfig
    from score_jax.config import load_config as load_config
    from score_jax.errors import ScoreError as ScoreError
    from score_jax.imaging import Volume as Volume
    from score_jax.imaging import load as load
    from score_jax.imaging import save as save
    from score_jax.inference import Predictor as Predictor
    from score_jax.models import MDGRU as MDGRU
    from score_jax.models import UNet3D as UNet3D


def __getattr__(name: str) -> Any:
    if name in _NAMESPACES:
        return importlib.import_module(f"score_jax.{name}")
    if name in _NAMES:
        return getattr(importlib.import_module(_NAMES[name]), name)
    raise AttributeError(f"module 'score_jax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*_NAMES, *_NAMESPACES, "__version__"])
