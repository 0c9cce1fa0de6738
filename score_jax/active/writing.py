"""Several files that belong together, written all or none."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from score_jax.errors import errors_of_disk


@contextmanager
def together(root: Path) -> Iterator[Callable[[Path], Path]]:
    """Gives a function that says where to write what is to become a file.

    What was written is moved into place, in that order, when the block ends; if it ends with an
    error, or a move fails, everything is as it was. Missing folders are made.

    Args:
      root: folder on the same disk as the files.

    Raises:
      OutputError: disk full, no permission.
    """
    with errors_of_disk(root):
        staging = Path(tempfile.mkdtemp(prefix=".ingest-", dir=root))
    files: list[tuple[Path, Path]] = []

    def stage(target: Path) -> Path:
        temporary = staging / "new" / str(len(files)) / target.name
        with errors_of_disk(root):
            temporary.parent.mkdir(parents=True)
        files.append((target, temporary))
        return temporary

    try:
        yield stage
        with errors_of_disk(root):
            _move(files, staging / "old")
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def copy(source: Path, target: Path) -> None:
    """Copy a file's bytes.

    Raises:
      OutputError: disk full, no permission.
    """
    with errors_of_disk(target):
        shutil.copyfile(source, target)


def _move(files: Sequence[tuple[Path, Path]], old: Path) -> None:
    done: list[tuple[Path, Path]] = []
    try:
        for number, (target, temporary) in enumerate(files):
            target.parent.mkdir(parents=True, exist_ok=True)
            kept = old / str(number)
            if target.exists():
                old.mkdir(exist_ok=True)
                shutil.copy2(target, kept)
            os.replace(temporary, target)
            done.append((target, kept))
    except BaseException:
        for target, kept in reversed(done):
            if kept.exists():
                os.replace(kept, target)
            else:
                target.unlink(missing_ok=True)
        raise
