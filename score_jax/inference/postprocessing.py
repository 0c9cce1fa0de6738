"""The file beside a model that says how its masks are cleaned."""

from collections.abc import Sequence
from pathlib import Path

from score_jax.arrays.regions import Region
from score_jax.config.postprocessing import Postprocessing
from score_jax.errors import CheckpointError, ConfigError, DatasetError
from score_jax.imaging import read_json, write_json

FILE = "postprocessing.json"


def read(folder: Path, regions: Sequence[Region]) -> Postprocessing:
    """The rules of the model or run in `folder`; none if it has no such file.

    Raises:
      CheckpointError: not JSON, another form, or rules for other regions.
    """
    path = folder / FILE
    if not path.exists():
        return Postprocessing()
    try:
        found = Postprocessing.from_json(read_json(path), str(path))
        found.check(regions, str(path))
    except (ConfigError, DatasetError) as error:
        raise CheckpointError(error.message, hint=error.hint) from None
    return found


def write(folder: Path, postprocessing: Postprocessing) -> Path:
    """Write the file, whole or not at all, and return where it is.

    Raises:
      OutputError: disk full, no permission.
    """
    write_json(folder / FILE, postprocessing.to_json())
    return folder / FILE
