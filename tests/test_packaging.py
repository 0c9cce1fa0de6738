"""What is installed is what lies in the folders; the list in pyproject.toml is explicit."""

import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SETUP = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_every_package_is_listed():
    found = {"score_jax", "score_jax.cli", "score_jax.pretrained"}
    for path in (ROOT / "score_jax").rglob("__init__.py"):
        found.add(".".join(path.parent.relative_to(ROOT).parts))
    assert found == set(SETUP["tool"]["setuptools"]["packages"])


@pytest.mark.parametrize(
    "pattern", ["score_jax/**/*.toml", "score_jax/**/*.json", "checkpoints/*.toml"]
)
def test_data_files_travel_with_their_package(pattern):
    package_data = SETUP["tool"]["setuptools"]["package-data"]
    for path in ROOT.glob(pattern):
        package = ".".join(path.parent.relative_to(ROOT).parts)
        package = package.replace("checkpoints", "score_jax.pretrained")
        assert any(path.match(glob) for glob in package_data.get(package, [])), path


def test_versions_agree():
    import score_jax

    assert SETUP["project"]["version"] == score_jax.__version__
    assert f"version: {score_jax.__version__}" in (ROOT / "CITATION.cff").read_text()
    assert f"## {score_jax.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_the_top_level_is_the_agreed_one():
    wanted = {"pyproject.toml", "score_jax", "cli", "checkpoints", "benchmarks", "tests", "docs"}
    wanted |= {"README.md", "CHANGELOG.md", "LICENSE", "CITATION.cff", "Makefile", ".ci"}
    assert wanted <= {path.name for path in ROOT.iterdir()}
    assert "Apache License" in (ROOT / "LICENSE").read_text()
