"""Configuration: frozen dataclasses, read strictly from TOML, written into every checkpoint.

`TrainConfig` says how to train; `ModelSpec` is what a trained model needs to be used and travels
with its weights.
"""

from score_jax.config.augment import AugmentConfig as AugmentConfig
from score_jax.config.model import FORMAT as FORMAT
from score_jax.config.model import ModelSpec as ModelSpec
from score_jax.config.model import Preprocessing as Preprocessing
from score_jax.config.reading import load_config as load_config
from score_jax.config.reading import override as override
from score_jax.config.reading import preset as preset
from score_jax.config.reading import set_value as set_value
from score_jax.config.reading import to_toml as to_toml
from score_jax.config.training import ComputeConfig as ComputeConfig
from score_jax.config.training import DataConfig as DataConfig
from score_jax.config.training import EnsembleConfig as EnsembleConfig
from score_jax.config.training import LossConfig as LossConfig
from score_jax.config.training import MDGRUConfig as MDGRUConfig
from score_jax.config.training import OptimizerConfig as OptimizerConfig
from score_jax.config.training import SamplingConfig as SamplingConfig
from score_jax.config.training import TrainConfig as TrainConfig
from score_jax.config.training import UNetConfig as UNetConfig
