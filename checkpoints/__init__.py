"""Models that ship with the package: `registry.toml` names them, with their checksums.

A folder a model: ``model/`` (weights and specification), ``README.md`` (its card), ``train.toml``
and ``log.jsonl`` (how it was trained).
"""

import tomllib
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent


def registry() -> dict[str, dict[str, Any]]:
    """The shipped models by name: sha256 of the weights, licence, regions, one-line summary."""
    return tomllib.loads((FOLDER / "registry.toml").read_text())


def path_of(name: str) -> Path:
    """The model folder of a shipped model."""
    return FOLDER / name / "model"


def card_of(name: str) -> str:
    """The model card of a shipped model, Markdown."""
    return (FOLDER / name / "README.md").read_text()


def default() -> str:
    """The model that is used if none is named: the first of the registry."""
    return next(iter(registry()))
