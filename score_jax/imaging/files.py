"""Writing a file whole or not at all; every output of the package goes through here."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from score_jax._types import PathLike
from score_jax.errors import OutputError

_FULL = {28, 122}  # ENOSPC, EDQUOT


@contextmanager
def atomic(path: PathLike) -> Iterator[Path]:
    """A temporary path beside `path`; it becomes `path` when the block ends without an error.

    The temporary name keeps all suffixes (``.nii.gz``), its content is forced to disk before the
    rename, and it is removed if the block fails or is interrupted, so a reader sees the old file,
    the new one or none. Missing folders are made.

    Raises:
      OutputError: the disk is full, the folder is not writable, `path` is a folder.
    """
    target = Path(path)
    temporary = target.parent / f".{secrets.token_hex(6)}{''.join(target.suffixes[-2:])}"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        os.replace(temporary, target)
    except OSError as error:
        _remove(temporary)
        ours = {None, *map(str, (temporary, target, *target.parents))}
        if isinstance(error, OutputError) or error.filename not in ours:
            raise
        raise _output_error(target, error) from error
    except BaseException:
        _remove(temporary)
        raise


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink(missing_ok=True)


def _output_error(target: Path, error: OSError) -> OutputError:
    full = error.errno in _FULL
    return OutputError(
        f"{target}: could not be written: {error.strerror or error}",
        hint="free space or choose another folder" if full else "choose another output path",
    )
