"""`--version --verbose`: what a report of a fault needs, also where something is broken."""

import jax
import pytest

from score_jax import __version__, pretrained
from score_jax.cli import _version


def test_the_version_alone_is_one_line(run):
    assert run("--version") == (0, f"score-jax {__version__}\n", "")


@pytest.mark.parametrize("words", [("--version", "--verbose"), ("--verbose", "--version")])
def test_verbose_says_what_a_report_needs(run, words):
    status, out, _ = run(*words)
    assert status == 0
    first, *lines = out.splitlines()
    assert first == f"score-jax {__version__}"
    facts = dict(line.split(": ", 1) for line in lines)
    assert facts["jax"] == jax.__version__
    assert facts["devices"].startswith("cpu")
    assert facts["compiled programs"] == "kept nowhere (JAX_ENABLE_COMPILATION_CACHE)"
    assert {"commit", "python", "platform", "numpy"} <= set(facts)
    for name, entry in pretrained.registry().items():
        assert facts[f"model {name}"].startswith(f"sha256 {entry['sha256'][0][:16]}")


def test_what_is_missing_is_said(monkeypatch):
    monkeypatch.setattr(_version, "PACKAGES", ("numpy", "no-such-package"))

    def broken():
        raise RuntimeError("driver too old\nand more")

    monkeypatch.setattr(jax, "devices", broken)
    facts = _version.describe()
    assert facts["no-such-package"] == "not installed"
    # `use` says it in the words of --device
    assert "driver too old" in facts["devices"]
    assert "and more" not in facts["devices"]


def test_the_folder_is_named_from_home(monkeypatch, tmp_path):
    monkeypatch.setattr(_version.Path, "home", lambda: tmp_path)
    monkeypatch.setattr(_version, "_devices", lambda: "")
    from score_jax.cli import _device

    before = jax.config.jax_enable_compilation_cache
    jax.config.update("jax_enable_compilation_cache", True)
    try:
        for folder, said in (
            (tmp_path / "kept", "~/kept"),
            ("/other", "/other"),
            (None, "kept nowhere (no folder that can be written)"),
        ):
            where = None if folder is None else _version.Path(folder)
            monkeypatch.setattr(_device, "keep_compiled", lambda where=where: where)
            assert _version.describe()["compiled programs"] == said
    finally:
        jax.config.update("jax_enable_compilation_cache", before)


@pytest.mark.parametrize(
    ("words", "message"), [(["--verbose"], "goes with --version"), (["--verbose", "check"], "goes")]
)
def test_verbose_alone_is_refused(run, words, message):
    status, out, err = run(*words)
    assert status == 2
    assert out == ""
    assert message in err
