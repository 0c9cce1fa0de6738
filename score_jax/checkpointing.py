"""Weights on disk: Orbax trees with the model's specification beside them.

A *model folder* holds ``model.json`` (`config.ModelSpec`) and ``params/`` (an Orbax tree); an
ensemble has its other members in ``params-1/``, ``params-2/``, ... A *run folder* holds
``checkpoints/<step>/`` with the items ``params``, ``optimizer``, ``average`` (if asked for) and
``best`` (the best weights so far), all with the members as first axis, ``model`` (the same
specification as JSON) and ``position`` (step, scores).
"""

import contextlib
import hashlib
import json
import logging
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from flax import nnx

from score_jax import models
from score_jax._types import PathLike
from score_jax.config import ModelSpec
from score_jax.errors import CheckpointError, ConfigError, ModelNotFoundError, errors_of_disk

SPEC_FILE = "model.json"
PARAMS = "params"


def build_model(spec: ModelSpec, *, seed: int | jax.Array = 0) -> models.MDGRU | models.UNet3D:
    """The network of `spec` with fresh weights.

    Raises:
      CheckpointError: options that the network refuses.
    """
    try:
        return models.build(spec.kind, spec.in_channels, spec.out_channels, spec.options, seed=seed)
    except ValueError as error:
        raise CheckpointError(f"model options: {error}") from None


def weights_sha256(params: Mapping[Any, Any]) -> str:
    """SHA-256 over names, shapes, types and values of the weights, whatever their container."""
    digest = hashlib.sha256()
    for path, leaf in sorted(_named_leaves(params).items()):
        value = np.asarray(leaf)
        digest.update(f"{path} {value.shape} {value.dtype.str}\n".encode())
        digest.update(np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()


def save_model(
    folder: PathLike, spec: ModelSpec, params: Mapping[Any, Any], *more: Mapping[Any, Any]
) -> None:
    """Write a model folder, whole or not at all; an existing one is replaced.

    Args:
      folder: where.
      spec: the model's specification.
      params: its weights.
      more: weights of the other members of an ensemble.

    Raises:
      OutputError: disk full or no permission.
    """
    folder = Path(folder)
    with errors_of_disk(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        with errors_of_disk(folder):
            (temporary / SPEC_FILE).write_text(json.dumps(spec.to_json(), indent=1) + "\n")
            with quiet(), ocp.StandardCheckpointer() as checkpointer:
                for number, member in enumerate((params, *more)):
                    checkpointer.save((temporary / _member(number)).absolute(), dict(member))
            for mark in temporary.glob("*/commit_success.txt"):
                mark.unlink()  # names this folder; what is here was renamed into place, so is whole
            if folder.exists():
                shutil.rmtree(folder)
            temporary.replace(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def load_model(folder: PathLike) -> tuple[ModelSpec, list[dict[Any, Any]]]:
    """Specification and weights of a model folder, or the best weights of a run folder.

    The weights are a list: one entry, or one for each member of an ensemble.

    Raises:
      ModelNotFoundError: neither kind of folder.
      CheckpointError: unreadable, or weights of another architecture than it says.
    """
    folder = Path(folder)
    if (folder / SPEC_FILE).is_file():
        spec = read_spec(folder / SPEC_FILE)
        members = [restore_params(folder / PARAMS, spec)]
        while (folder / _member(len(members))).is_dir():
            members.append(restore_params(folder / _member(len(members)), spec))
        return spec, members
    if (folder / "checkpoints").is_dir():
        return _best_of_run(folder / "checkpoints")
    foreign = any(folder.glob("fold_*/checkpoint_*.pth")) or any(folder.glob("*/plans.json"))
    raise ModelNotFoundError(
        f"{folder}: got no {SPEC_FILE} and no checkpoints/; expected a model or a run folder",
        hint=f"an nnU-Net model: `score-jax import nnunet {folder} --out MODEL` first"
        if foreign
        else "`score-jax models list` names the models at hand",
    )


def _member(number: int) -> str:
    return PARAMS if number == 0 else f"{PARAMS}-{number}"


def _best_of_run(checkpoints: Path) -> tuple[ModelSpec, list[dict[Any, Any]]]:
    steps = finished_steps(checkpoints)
    if not steps:
        raise CheckpointError(
            f"{checkpoints}: got no finished checkpoint; expected at least one",
            hint="let `score-jax train` reach its first validation",
        )
    newest = checkpoints / str(steps[-1])
    spec = read_spec(newest / "model" / "metadata")
    try:
        count = len(json.loads((newest / "position" / "metadata").read_text())["score"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{newest}/position: unreadable ({_first_line(error)})") from None
    stacked = restore_params(newest / "best", spec, members=count)
    return spec, [jax.tree.map(lambda a, m=m: np.asarray(a)[m], stacked) for m in range(count)]


def finished_steps(checkpoints: Path) -> list[int]:
    """Steps whose checkpoint was written to the end, in order (Orbax renames when done)."""
    if not checkpoints.is_dir():
        return []
    return sorted(int(p.name) for p in checkpoints.iterdir() if p.is_dir() and p.name.isdigit())


def read_spec(path: Path) -> ModelSpec:
    """The specification in a JSON file.

    Raises:
      CheckpointError: missing, not JSON, or not a specification.
    """
    try:
        return ModelSpec.from_json(json.loads(path.read_text()), str(path))
    except ConfigError as error:
        raise CheckpointError(error.message, hint=error.hint) from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read as JSON ({error})") from None


def restore_params(folder: Path, spec: ModelSpec, *, members: int = 0) -> dict[Any, Any]:
    """The weights in an Orbax tree, checked leaf by leaf against the network of `spec`.

    With `members`, every leaf has so many networks as its first axis.

    Raises:
      CheckpointError: unreadable, or leaves that are missing, unknown or of another shape.
    """
    model = nnx.eval_shape(lambda: build_model(spec))
    wanted = models.parameters(model)
    if members:
        wanted = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct((members, *leaf.shape), leaf.dtype), wanted
        )
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: no such folder; expected the weights of the model")
    try:
        with quiet(), ocp.StandardCheckpointer() as checkpointer:
            metadata = checkpointer.metadata(folder.absolute()).item_metadata.tree
    except Exception as error:
        raise CheckpointError(
            f"{folder}: unreadable checkpoint ({_first_line(error)})",
            hint="copy the model folder again, or train again",
        ) from None
    _check_leaves(folder, _named_leaves(metadata), _named_leaves(wanted))
    try:
        with quiet(), ocp.StandardCheckpointer() as checkpointer:
            abstract = jax.tree.map(on_one_device, wanted)
            return checkpointer.restore(folder.absolute(), abstract)
    except Exception as error:
        raise CheckpointError(
            f"{folder}: damaged checkpoint ({_first_line(error)})",
            hint="copy the model folder again, or train again",
        ) from None


@dataclass(frozen=True, slots=True)
class Adopted:
    """Weights to start from, and how much of them is another model's.

    Args:
      params: the weights.
      fresh: names of the tensors that took nothing and stay as they were drawn.
      kept: regions whose outputs were taken over.
      new: regions whose outputs were not.
    """

    params: Any
    fresh: tuple[str, ...]
    kept: tuple[str, ...]
    new: tuple[str, ...]


def adopt(
    params: Mapping[Any, Any], spec: ModelSpec, other: Mapping[Any, Any], other_spec: ModelSpec
) -> Adopted:
    """`params` with what `other` knows: weights by name and shape, outputs by the region's name.

    The outputs of a region that both models have are copied wherever they stand; those of another
    region stay fresh. Softmax classes take the background's too. A softmax output says
    nothing to a sigmoid (its level is arbitrary), so between the two all outputs stay fresh.

    Args:
      params: fresh weights of `spec`.
      spec: the model to be trained.
      other: weights of `other_spec`.
      other_spec: the model to start from.
    """
    source, outputs, fresh = _named_leaves(other), _output_weights(spec), []
    rows = _common_outputs(spec, other_spec)

    def choose(path: Any, leaf: Any) -> Any:
        name = _name(path)
        found, shape = source.get(name), tuple(leaf.shape)
        if name in outputs and rows and found is not None and found.shape[:-1] == shape[:-1]:
            here, there = (np.asarray(places) for places in zip(*rows, strict=True))
            return leaf.at[..., here].set(jax.numpy.asarray(found, leaf.dtype)[..., there])
        if name in outputs or found is None or tuple(found.shape) != shape:
            fresh.append(name)
            return leaf
        return jax.numpy.asarray(found, leaf.dtype)

    adopted = jax.tree_util.tree_map_with_path(choose, params)
    known = {region.name for region in other_spec.regions}
    if not rows or outputs.intersection(fresh):
        known = set()
    names = [region.name for region in spec.regions]
    kept = tuple(name for name in names if name in known)
    return Adopted(adopted, tuple(fresh), kept, tuple(n for n in names if n not in known))


def _common_outputs(spec: ModelSpec, other: ModelSpec) -> list[tuple[int, int]]:
    """Places of the regions that both models have, in the one and in the other."""
    if spec.exclusive != other.exclusive:
        return []
    first = int(spec.exclusive)  # the background is class 0 of both
    places = {region.name: number for number, region in enumerate(other.regions, first)}
    common = [
        (number, places[region.name])
        for number, region in enumerate(spec.regions, first)
        if region.name in places
    ]
    return [(0, 0), *common] if common and first else common


def _output_weights(spec: ModelSpec) -> set[str]:
    """Names of the weights whose last axis is the model's outputs: one more output changes them."""

    def shapes(outputs: int) -> dict[str, tuple[int, ...]]:
        network = nnx.eval_shape(
            lambda: models.build(spec.kind, spec.in_channels, outputs, spec.options)
        )
        return {n: tuple(v.shape) for n, v in _named_leaves(models.parameters(network)).items()}

    one, more = shapes(spec.out_channels), shapes(spec.out_channels + 1)
    return {name for name, shape in one.items() if more[name] != shape}


def on_one_device(leaf: Any) -> jax.ShapeDtypeStruct:
    """Shape, type and a device of here; else Orbax asks for the devices of the training."""
    sharding = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)


def _check_leaves(folder: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    for name, leaf in wanted.items():
        if name not in found:
            raise CheckpointError(
                f"{folder}: no weights {name}; expected shape {tuple(leaf.shape)}",
                hint="the checkpoint belongs to another architecture",
            )
        if tuple(found[name].shape) != tuple(leaf.shape):
            raise CheckpointError(
                f"{folder}: weights {name} have shape {tuple(found[name].shape)}; expected "
                f"{tuple(leaf.shape)}",
                hint="the checkpoint belongs to another architecture",
            )
    for name in found:
        if name not in wanted:
            raise CheckpointError(
                f"{folder}: unknown weights {name}; the model has none of that name",
                hint="the checkpoint belongs to another architecture",
            )


def _named_leaves(tree: Any) -> dict[str, Any]:
    """Leaves by dotted name; Orbax turns list indices into strings, so do we."""
    return {_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def _name(path: Any) -> str:
    return ".".join(str(getattr(key, "key", getattr(key, "idx", key))) for key in path)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)[:200]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Orbax logs at INFO and warns about threads of its own; users need neither."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
