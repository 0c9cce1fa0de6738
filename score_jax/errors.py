"""Errors a user can act on. Each says what was found, what was expected and how to mend it."""


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
