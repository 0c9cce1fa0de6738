"""Errors a user can act on. Each says what was found, what was expected and how to mend it."""

import contextlib
import os
from collections.abc import Iterator


class ScoreError(Exception):
    """A mistake in the input, not in the program; the command line exits with status 2.

    Args:
      message: *which file or leaf: got ...; expected ...*, in one line.
      hint: the command or the change that mends it, in one line; may be empty.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} [{self.hint}]" if self.hint else self.message


class ConfigError(ScoreError, ValueError):
    """A configuration that names an unknown key or holds an impossible value."""


class GeometryError(ScoreError, ValueError):
    """An image whose grid is broken, or two images that do not share a grid."""


class ImageError(ScoreError, ValueError):
    """A file that is not a readable image, or an image without usable values."""


class DatasetError(ScoreError, ValueError):
    """A dataset that is empty, ambiguous or contradicts itself."""


class CheckpointError(ScoreError, ValueError):
    """A checkpoint that cannot be read or belongs to another architecture."""


class OutputError(ScoreError, OSError):
    """A result that could not be written (disk full, no permission)."""


class ModelNotFoundError(ScoreError, LookupError):
    """No shipped, trained or imported model has this name or path."""


class DivergedError(ScoreError, FloatingPointError):
    """Training produced a loss that is not finite; the last good checkpoint is kept."""


@contextlib.contextmanager
def errors_of_disk(where: str | os.PathLike[str]) -> Iterator[None]:
    """Turn a full disk or a missing permission into a message that names the folder.

    Raises:
      OutputError: any OSError inside, or what tensorstore and Orbax tell of one as text.
    """
    try:
        yield
    except OutputError:
        raise
    except OSError as error:
        raise _cannot_write(where, os.strerror(error.errno) if error.errno else error) from None
    except ValueError as error:
        told = [line for line in str(error).splitlines() if any(word in line for word in _SYSTEM)]
        if not told:
            raise
        what = told[0].partition(" [os_error_code")[0].rpartition(": ")[2]
        raise _cannot_write(where, what) from None


_SYSTEM = ("os_error_code", "No space left", "Permission denied", "quota")  # the system speaks


def _cannot_write(where: str | os.PathLike[str], what: object) -> OutputError:
    return OutputError(
        f"{where}: cannot be written ({what})", hint="free space or choose another folder"
    )
