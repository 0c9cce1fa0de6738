"""Imports point down the layers (docs/architecture.md); this reads them from the source."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LAYERS = {
    "errors": 0, "_types": 0, "strict": 0.5,
    "arrays": 0.7, "config": 1, "configs": 1,
    "metrics": 2, "morphometry": 2, "fusion": 2, "augment": 2, "phantom": 2, "models": 2,
    "losses": 2, "statistics": 2,
    "imaging": 3, "checkpointing": 3,
    "planning": 4, "data": 4.5, "web": 4,
    "training": 5, "inference": 5, "export": 5, "qc": 5, "evaluation": 5,
    "morphometry_tables": 5.5,
    "interop": 6, "benchmark": 6, "active": 6,
    "api": 7, "pretrained": 3, "cohort": 7.5,
    "study": 7.5,
    "cli": 8,
}  # fmt: skip
PURE = {"arrays", "models", "losses", "metrics", "morphometry", "fusion", "augment",
        "statistics"}  # fmt: skip
FORBIDDEN_IN_PURE = {"nibabel", "typer", "rich", "logging", "tomllib", "orbax"}


def modules():
    for folder, package in (("score_jax", ""), ("cli", "cli"), ("checkpoints", "pretrained")):
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = [package, *path.relative_to(ROOT / folder).with_suffix("").parts]
            yield path, [part for part in parts if part]


def imported(path: Path):
    """Every module `path` imports, functions included, except under TYPE_CHECKING."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize(
    ("path", "parts"), [pytest.param(*m, id=".".join(m[1])) for m in modules()]
)
def test_imports_point_down(path, parts):
    if parts == ["__init__"]:
        return  # the public names, loaded on first use
    own = parts[0]
    assert own in LAYERS, f"{path}: give {own!r} a layer"
    for name in imported(path):
        words = name.split(".")
        if words[0] != "score_jax":
            if own in PURE:
                assert words[0] not in FORBIDDEN_IN_PURE, f"{path} computes but imports {name}"
            continue
        other = words[1] if len(words) > 1 else "__init__"
        if other in LAYERS and other != own:
            assert LAYERS[other] < LAYERS[own], f"{path} (layer {LAYERS[own]}) imports {name}"
