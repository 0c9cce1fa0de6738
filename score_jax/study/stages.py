"""Work that is done once: the stages of a study, kept by the content of what they depend on.

Each stage has a folder of its own below the study's. `Stages.run` makes it, or keeps it if it was
made before from the same inputs. However a study ends, kill -9 included, the next one in the same
folder keeps what was finished and hands a half-made folder back to the stage that made it, which
may go on from there (a training does, from its last checkpoint) or start anew.
"""

import dataclasses
import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, final

import filelock

from score_jax import __version__
from score_jax._types import PathLike
from score_jax.errors import DatasetError, OutputError, errors_of_disk
from score_jax.imaging import read_json, write_json

STARTED, DONE = "stage-started.json", "stage-done.json"
_NOTES = {STARTED, DONE}

What = Literal["kept", "started", "resumed", "done"]


@final
@dataclasses.dataclass(frozen=True, slots=True)
class Stage:
    """A finished stage.

    Args:
      name: of the stage, and of its folder.
      folder: what it made.
      key: checksum of all it depends on; give the stage itself among the inputs of the next one.
      seconds: that it took when it was made (of the last attempt, if it was resumed).
      kept: whether it was made by an earlier run.
    """

    name: str
    folder: Path
    key: str
    seconds: float
    kept: bool


@final
class Stages:
    """The stages of one study; holds the study's folder against other processes.

    ::

        with Stages("out/stages") as stages:
            cohort = stages.run("cohort", {"seed": 0}, make_cohort)
            stages.run("networks", {"cohort": cohort, "config": config}, train)

    Args:
      folder: made if it is not there.
      on_stage: told a stage's name and what became of it: ``kept``, or ``started`` (``resumed``
        if a half-made folder was found) and then ``done``.
    """

    def __init__(
        self, folder: PathLike, *, on_stage: Callable[[str, What], None] = lambda name, what: None
    ) -> None:
        self.folder = Path(folder)
        self.finished: list[Stage] = []  # in the order of `run`
        self._tell = on_stage
        self._lock = filelock.FileLock(self.folder / ".lock")

    def __enter__(self) -> "Stages":
        with errors_of_disk(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(timeout=0)  # the system lets go of it when the process ends
        except filelock.Timeout:
            raise OutputError(
                f"{self.folder}: another study is at work here; expected none",
                hint="wait for it, or choose another --out",
            ) from None
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        del kind, error, trace
        self._lock.release()

    def run(self, name: str, inputs: Mapping[str, Any], make: Callable[[Path], None]) -> Stage:
        """The stage `name`: made now, unless it was made before from the same inputs.

        A stage counts as made if its inputs are the same and every file it left is still there,
        with its size. With other inputs its folder is emptied first; with the same inputs but
        unfinished, `make` finds what it left.

        Args:
          name: a folder's name, ``/`` allowed; not within the folder of another stage.
          inputs: all that the result depends on: plain values, dataclasses, arrays' checksums,
            earlier stages. Not paths: what is in the files counts (`files_sha256`).
          make: called with the folder to fill. It must do nothing twice, or all anew, where the
            folder is not empty; if it raises, the stage stays unfinished.

        Raises:
          OutputError: disk full, no permission. Whatever `make` raises.
        """
        folder, key = self.folder / name, content_key({"stage": name, **inputs})
        done = _note(folder / DONE)
        if done.get("key") == key and done.get("files") == _files(folder):
            stage = Stage(name, folder, key, float(done["seconds"]), kept=True)
            self._tell(name, "kept")
            self.finished.append(stage)
            return stage
        resumed = not done and _note(folder / STARTED).get("key") == key
        with errors_of_disk(folder):
            if not resumed and folder.exists():
                shutil.rmtree(folder)
            folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / STARTED, {"key": key})
        self._tell(name, "resumed" if resumed else "started")
        start = time.perf_counter()
        make(folder)
        seconds = time.perf_counter() - start
        write_json(
            folder / DONE,
            {
                "key": key,
                "seconds": round(seconds, 3),
                "inputs": _plain(inputs),
                "files": _files(folder),
            },
        )
        self._tell(name, "done")
        stage = Stage(name, folder, key, seconds, kept=False)
        self.finished.append(stage)
        return stage


def content_key(value: Any) -> str:
    """SHA-256 over `value` and this library's version.

    Mappings count whatever their order; dataclasses by their fields; a `Stage` by its key.

    Raises:
      TypeError: a value without content of its own (a path, a function).
    """
    text = json.dumps({"score_jax": __version__, "value": _plain(value)}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def files_sha256(paths: Iterable[PathLike], root: PathLike) -> str:
    """One checksum over the names (below `root`) and the bytes of files.

    Raises:
      DatasetError: a file that cannot be read.
    """
    total = hashlib.sha256()
    for path in sorted(map(Path, paths)):
        try:
            with path.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as error:
            raise DatasetError(f"{path}: could not be read: {error.strerror}") from None
        total.update(f"{path.relative_to(root).as_posix()} {digest}\n".encode())
    return total.hexdigest()


def _files(folder: Path) -> dict[str, int]:
    """Sizes of the files of a stage, by their place in it."""
    return {
        path.relative_to(folder).as_posix(): path.stat().st_size
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in _NOTES and not path.name.endswith(".lock")
    }


def _note(path: Path) -> dict[str, Any]:
    """What is written there; nothing if there is none that can be read."""
    try:
        found = read_json(path)
    except DatasetError:
        return {}
    return found if isinstance(found, dict) else {}


def _plain(value: Any) -> Any:
    if isinstance(value, Stage):
        return value.key
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        return {"type": type(value).__name__, **_plain(fields)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"{type(value).__name__} {value!r}: has no content of its own to be kept by")
