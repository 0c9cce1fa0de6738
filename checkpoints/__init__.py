"""Models that ship with the package: `registry.toml` names them, with their checksums."""

import tomllib
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent


def registry() -> dict[str, dict[str, Any]]:
    """The shipped models by name: sha256 of the weights, licence, regions, one-line summary."""
    return tomllib.loads((FOLDER / "registry.toml").read_text())


def path_of(name: str) -> Path:
    """The model folder of a shipped model."""
    return FOLDER / name
