"""One model folder of several trained models."""

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from score_jax._types import PathLike
from score_jax.api import runs
from score_jax.api.models import load_network
from score_jax.checkpointing import SPEC_FILE
from score_jax.config.postprocessing import Postprocessing
from score_jax.errors import ConfigError, DatasetError, OutputError
from score_jax.imaging import read_json
from score_jax.inference import Ensemble, Predictor, Segmenter
from score_jax.inference.ensemble import check_same_task


def ensemble(
    models: Sequence[PathLike],
    *,
    out: PathLike,
    mixed: bool = False,
    postprocessing: PathLike | None = None,
    replace: bool = False,
) -> Segmenter:
    """Write one model folder of several trained models, and return what it holds.

    Folds and seeds of one network become its members, whose logits are averaged on the network's
    grid. Networks that differ are refused, unless `mixed`: then each of `models` stays a model of
    its own (a folder of runs becomes one, with the runs as members), and their probabilities are
    averaged on the image's grid.

    Post-processing that all models share goes along; that of a `mixed` ensemble must be given.

    Args:
      models: shipped names, run or model folders, folders of runs.
      out: the model folder.
      mixed: average the probabilities of networks that differ.
      postprocessing: a ``postprocessing.json`` for the ensemble.
      replace: overwrite a model folder.

    Raises:
      ConfigError: networks that differ, or models of other regions or channels.
      ModelNotFoundError, CheckpointError: as `load_model`.
      OutputError: `out` holds something already, disk full, no permission.
    """
    target = Path(out)
    _check_free(target, replace)
    groups = [[load_network(path) for path in _expand(model)] for model in models]
    if mixed:
        joined = [_join(group, target.name) for group in groups]
        for model, path in zip(joined, models, strict=True):
            model.name = Path(path).name
        made: Segmenter = Ensemble(joined, target.name)
    else:
        made = _join([model for group in groups for model in group], target.name)
    if postprocessing is not None:
        made.postprocessing = _read_rules(postprocessing, made)
    made.save(target)
    return made


def _expand(model: PathLike) -> Sequence[PathLike]:
    """The runs in a folder of runs; anything else as it is."""
    folder = Path(model)
    if not folder.is_dir() or (folder / "checkpoints").exists() or any(folder.glob("*.json")):
        return [model]
    return runs.runs_in(folder)


def _join(models: Sequence[Predictor], name: str) -> Predictor:
    """Models of one network as members of one."""
    first = models[0]
    for other in models[1:]:
        check_same_task(first, other)
        for entry in fields(first.spec):
            ours, theirs = (getattr(m.spec, entry.name) for m in (first, other))
            if ours != theirs:
                raise ConfigError(
                    f"{other.name}: got {_difference(entry.name, theirs, ours)}; expected the "
                    f"network and grid of {first.name}: {_difference(entry.name, ours, theirs)}",
                    hint="--mixed averages probabilities of networks that differ",
                )
    rules = {str(model.postprocessing.rules): model.postprocessing for model in models}
    shared = next(iter(rules.values())) if len(rules) == 1 else Postprocessing()
    members = [params for model in models for params in model.members]
    return Predictor(first.spec, members, name, shared)


def _difference(name: str, value: Any, other: Any) -> str:
    """Of two values that differ, what is different in the first; tables by their entries."""
    if hasattr(value, "__dataclass_fields__"):
        value, other = ({f.name: getattr(v, f.name) for f in fields(v)} for v in (value, other))
    if isinstance(value, dict) and isinstance(other, dict):
        keys = [key for key in {**value, **other} if value.get(key) != other.get(key)]
        return ", ".join(f"{name}.{key} = {value.get(key)}" for key in keys)
    return f"{name} = {value}"


def _read_rules(path: PathLike, model: Segmenter) -> Postprocessing:
    try:
        found = Postprocessing.from_json(read_json(path), str(path))
    except DatasetError as error:
        raise ConfigError(error.message, hint=error.hint) from None
    found.check(model.regions, str(path))
    return found


def _check_free(out: Path, replace: bool) -> None:
    """Refuse to write over anything but, when told so, a model folder."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    known = Ensemble.is_folder(out) or (out / SPEC_FILE).is_file()
    if not known:
        raise OutputError(f"{out}: exists and is no model folder; choose another --out")
    if not replace:
        raise OutputError(f"{out}: holds a model already", hint="--replace overwrites it")
