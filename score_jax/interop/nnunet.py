"""Published nnU-Net v2 models, folders or zips, as a `score_jax.Predictor`.

A model folder is ``{trainer}__{plans}__{configuration}/`` with ``plans.json``, ``dataset.json``
and ``fold_*/checkpoint_final.pth`` (or ``_best``); SCIseg and other models of the Spinal Cord
Toolbox are such folders. Only arrays and plain values are read from them.
"""

import contextlib
import json
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final, final

from score_jax._types import PathLike
from score_jax.config import ModelSpec
from score_jax.errors import CheckpointError, ConfigError, DatasetError
from score_jax.inference import Predictor
from score_jax.interop import nnunet_weights, torch_file
from score_jax.interop.archive import Archive
from score_jax.interop.pickle_machine import printable
from score_jax.models import parameters
from score_jax.planning import plans as plan_files

MAX_JSON_BYTES: Final = 64 << 20
MAX_DEPTH: Final = 4  # of a model folder below the folder that is named
_WANTED: Final = frozenset(
    ("network_weights", "init_args", "trainer_name", "inference_allowed_mirroring_axes")
)

Folds = int | str | Sequence[int | str] | None


@final
@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A model folder, opened: what its files say and which folds it has.

    Args:
      where: for messages.
      name: the folder's name.
      plans: ``plans.json``.
      dataset: ``dataset.json``.
      folds: available folds, by the checkpoint ("final", "best") each has.
    """

    where: str
    name: str
    plans: Mapping[str, Any]
    dataset: Mapping[str, Any]
    folds: Mapping[str, tuple[str, ...]]


def load(
    folder_or_zip: PathLike,
    folds: Folds = None,
    checkpoint: str = "final",
) -> Predictor:
    """A published nnU-Net model, ready to predict; the folds' logits are averaged.

    Args:
      folder_or_zip: the model folder, a folder that holds one, or the zip it is shared as.
      folds: which ones, e.g. ``0``, ``(0, 1)`` or ``"all"``; by default every numbered fold
        there is, else the fold trained on all cases.
      checkpoint: "final" or "best": ``checkpoint_final.pth`` or ``checkpoint_best.pth``.

    Raises:
      CheckpointError: no model or several, a fold or checkpoint that is missing, damaged or
        hostile files, weights that do not fit the plans, a feature we do not have (by name).
    """
    if checkpoint not in ("final", "best"):
        raise CheckpointError(f"checkpoint: got {checkpoint!r}; expected 'final' or 'best'")
    with _opened(Path(folder_or_zip)) as source:
        found = _model_folder(source)
        chosen = choose_folds(found, folds, checkpoint)
        members, first = [], None
        for fold in chosen:
            file = f"fold_{fold}/checkpoint_{checkpoint}.pth"
            where = f"{found.where}/{file}"
            with source.file(found.name, file) as path:
                spec, weights = _member(path, where, found)
            if first is not None and spec != first:
                raise CheckpointError(f"{where}: trained differently from fold {chosen[0]}")
            first = spec
            members.append(weights)
    assert first is not None
    return Predictor(first, members, PurePosixPath(found.name).name or Path(found.where).name)


def inspect(folder_or_zip: PathLike) -> ModelFolder:
    """What a model folder or zip says about itself, without reading any weights.

    Raises:
      CheckpointError: no model or several, or files that cannot be read.
    """
    with _opened(Path(folder_or_zip)) as source:
        return _model_folder(source)


def choose_folds(found: ModelFolder, folds: Folds, checkpoint: str) -> tuple[str, ...]:
    """The folds to read, as text.

    Raises:
      CheckpointError: none, or one that is not there with this checkpoint.
    """
    there = [fold for fold, kinds in found.folds.items() if checkpoint in kinds]
    if folds is None:
        numbered = sorted((fold for fold in there if fold.isdigit()), key=int)
        chosen = tuple(numbered or there)
    else:
        asked = folds if isinstance(folds, list | tuple) else [folds]
        chosen = tuple(str(fold) for fold in asked)
    missing = [fold for fold in chosen if fold not in there]
    if missing or not chosen:
        other = "best" if checkpoint == "final" else "final"
        others = [fold for fold, kinds in found.folds.items() if other in kinds]
        raise CheckpointError(
            f"{found.where}: no checkpoint_{checkpoint}.pth of fold "
            f"{printable(', '.join(missing)) or 'any'}; there is {', '.join(there) or 'none'}",
            hint=f"checkpoint={other!r} is there for fold {', '.join(others)}" if others else "",
        )
    return chosen


def _member(path: Path, where: str, found: ModelFolder) -> tuple[ModelSpec, dict[Any, Any]]:
    """Specification and weights of one fold."""
    stored = torch_file.read(path, only=_WANTED, where=where)
    weights = stored.get("network_weights") if isinstance(stored, dict) else None
    if not isinstance(weights, dict):
        raise CheckpointError(f"{where}: no network_weights; expected a checkpoint of nnU-Net v2")
    mirror = stored.get("inference_allowed_mirroring_axes") or ()
    if not isinstance(mirror, tuple | list):
        raise CheckpointError(f"{where}: inference_allowed_mirroring_axes: expected a tuple")
    try:
        spec = plan_files.model_spec(
            found.plans, found.dataset, _configuration(stored, found), mirror_axes=mirror,
            where=found.where,
        )  # fmt: skip
    except (ConfigError, DatasetError) as error:
        raise CheckpointError(error.message, hint=error.hint) from None
    network = nnunet_weights.network(
        weights, spec.in_channels, spec.out_channels, spec.options, where
    )
    return spec, parameters(network)


def _configuration(stored: Mapping[str, Any], found: ModelFolder) -> str:
    """The configuration a checkpoint was trained with; old ones name it in the folder only."""
    arguments = stored.get("init_args")
    named = arguments.get("configuration") if isinstance(arguments, dict) else None
    if isinstance(named, str):
        return named
    last = PurePosixPath(found.name or found.where).name.split("__")[-1]
    table = found.plans.get("configurations", {})
    return last if last in table or len(table) != 1 else next(iter(table))


# Where the files are: a folder, or a zip from which single files are taken.


@contextlib.contextmanager
def _opened(path: Path) -> "Iterator[_Folder | _Zip]":
    if path.is_dir():
        yield _Folder(path)
    elif path.is_file():
        with Archive(path) as archive:
            yield _Zip(archive, str(path))
    else:
        raise CheckpointError(
            f"{path}: no such file or folder; expected an nnU-Net model folder or its zip"
        )


@final
class _Folder:
    """Model files under a folder, a few levels deep."""

    def __init__(self, path: Path) -> None:
        self.where = str(path)
        self._path = path

    def names(self) -> Iterator[str]:
        for depth in range(MAX_DEPTH + 1):
            for leaf in ("plans.json", "dataset.json", "fold_*/checkpoint_*.pth"):
                for path in sorted(self._path.glob("*/" * depth + leaf)):
                    yield path.relative_to(self._path).as_posix()

    @contextlib.contextmanager
    def file(self, folder: str, name: str) -> Iterator[Path]:
        yield self._path / folder / name

    def text(self, folder: str, name: str) -> bytes:
        with open(self._path / folder / name, "rb") as file:
            return file.read(MAX_JSON_BYTES + 1)


@final
class _Zip:
    """Model files in a zip; a checkpoint is unpacked on its own, under a name of ours."""

    def __init__(self, archive: Archive, where: str) -> None:
        self.where, self._archive = where, archive

    def names(self) -> Iterator[str]:
        yield from self._archive.names

    @contextlib.contextmanager
    def file(self, folder: str, name: str) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="score-jax-") as scratch:
            path = Path(scratch) / "checkpoint.pth"
            self._archive.unpack(str(PurePosixPath(folder, name)), path)
            yield path

    def text(self, folder: str, name: str) -> bytes:
        return self._archive.read(str(PurePosixPath(folder, name)), MAX_JSON_BYTES)


def _model_folder(source: _Folder | _Zip) -> ModelFolder:
    names = set(source.names())
    homes = sorted(
        str(PurePosixPath(name).parent)
        for name in names
        if PurePosixPath(name).name == "plans.json"
        and str(PurePosixPath(name).parent / "dataset.json") in names
    )
    if len(homes) != 1:
        raise CheckpointError(
            f"{source.where}: holds {len(homes)} nnU-Net models; expected one folder with "
            "plans.json and dataset.json",
            hint="name one of them: " + ", ".join(printable(h) for h in homes[:5]) if homes else "",
        )
    home = homes[0]
    folds: dict[str, list[str]] = {}
    prefix = "" if home == "." else f"{home}/"
    pattern = re.compile(re.escape(prefix) + r"fold_(\d{1,4}|all)/checkpoint_(final|best)\.pth")
    for name in sorted(names):
        if match := pattern.fullmatch(name):
            folds.setdefault(match[1], []).append(match[2])
    where = source.where if home == "." else f"{source.where}/{printable(home)}"
    return ModelFolder(
        where=where,
        name=home if home != "." else "",
        plans=_json(source, home, "plans.json", where),
        dataset=_json(source, home, "dataset.json", where),
        folds={fold: tuple(kinds) for fold, kinds in folds.items()},
    )


def _json(source: _Folder | _Zip, home: str, name: str, where: str) -> dict[str, Any]:
    try:
        content = source.text(home, name)
        if len(content) > MAX_JSON_BYTES:
            raise CheckpointError(f"{where}/{name}: larger than {MAX_JSON_BYTES} bytes")
        found = json.loads(content)
    except (OSError, ValueError, RecursionError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{where}/{name}: cannot be read as JSON ({error})") from None
    if not isinstance(found, dict):
        raise CheckpointError(f"{where}/{name}: got a {type(found).__name__}; expected a table")
    return found
