"""Models by name or folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from score_jax import pretrained
from score_jax._types import PathLike
from score_jax.errors import CheckpointError, ModelNotFoundError
from score_jax.inference import Ensemble, Predictor, Segmenter, exported


def load_model(name_or_path: PathLike) -> Segmenter:
    """A model ready to predict: a shipped one by name, a model or run folder, an exported file.

    An `Ensemble` is what a folder of several configurations gives (``score-jax ensemble --mixed``);
    everything else gives a `Predictor`.

    Raises:
      ModelNotFoundError: no such name or folder.
      CheckpointError: unreadable, or of another architecture than it says.
    """
    name = str(name_or_path)
    if name in pretrained.registry():
        return Predictor.from_folder(pretrained.path_of(name), name)
    path = Path(name_or_path)
    if not path.exists():
        known = ", ".join(pretrained.registry()) or "none"
        raise ModelNotFoundError(
            f"model {name!r}: no such folder or file and no shipped model of that name",
            hint=f"shipped: {known}; or give the folder of a trained model",
        )
    if exported.is_exported(path):
        return exported.load(path)
    if Ensemble.is_folder(path):
        return Ensemble.from_folder(path)
    return Predictor.from_folder(path)


def load_network(name_or_path: PathLike) -> Predictor:
    """As `load_model`, for what needs one network: its weights, its logits, its specification.

    Raises:
      CheckpointError: also for an ensemble of configurations.
    """
    model = load_model(name_or_path)
    if isinstance(model, Ensemble):
        raise CheckpointError(
            f"{name_or_path}: an ensemble of {len(model.models)} configurations; expected one "
            "network",
            hint=f"name one of them, e.g. {Path(name_or_path, model.folders[0])}",
        )
    return model


def load_models(names_or_paths: Sequence[PathLike]) -> Segmenter:
    """One model as `load_model` gives it; several as an `Ensemble` of them.

    Raises:
      ConfigError: models of other regions or channels.
      ModelNotFoundError, CheckpointError: as `load_model`.
    """
    if len(names_or_paths) == 1:
        return load_model(names_or_paths[0])
    models = [load_network(name) for name in names_or_paths]
    return Ensemble(models, " + ".join(model.name for model in models))


def list_models() -> dict[str, dict[str, Any]]:
    """The shipped models by name, with their regions, licence and checksum."""
    return pretrained.registry()
