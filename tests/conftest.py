"""Settings of every test: no silent broadcasting of ranks, the fixtures' folder, a seed."""

import os
from pathlib import Path

# Tests compile hundreds of tiny programs once each: quick compilation matters, quick code does not.
os.environ["XLA_FLAGS"] = " ".join(
    [
        os.environ.get("XLA_FLAGS", ""),
        "--xla_backend_optimization_level=0",
        "--xla_llvm_disable_expensive_passes=true",
    ]
)
# Commands run in this process too, and would keep what they compile in the user's own folder.
os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "0"

import jax
import numpy as np
import pytest

from score_jax import cli

from .phantoms import write_table

jax.config.update("jax_numpy_rank_promotion", "raise")

SHARED = Path(__file__).parent.parent.parent / "shared" / "fixtures"


@pytest.fixture(scope="session")
def fixtures() -> Path:
    """Numbers made by the original programs; beside the checkout, not in it."""
    if not SHARED.is_dir():
        pytest.skip("the folder of reference fixtures is not beside this checkout")
    return SHARED


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20231)


@pytest.fixture
def run(monkeypatch, capsys):
    """Run a command in this process: exit status, standard output, standard error."""

    def call(*words):
        monkeypatch.setattr("sys.argv", ["score-jax", *map(str, words)])
        capsys.readouterr()
        try:
            cli.main()
            status = 0
        except SystemExit as stop:
            status = 0 if stop.code is None else stop.code
        out, err = capsys.readouterr()
        return status, out, err

    return call


# A tiny run that several files of tests share: it takes longer than all of their asking
SMALL = (
    "unet.features=[4, 8]",
    "sampling.patch=[16, 16, 16]",
    "sampling.batch=2",
    "steps=12",
    "validate_each=6",
    "optimizer.warmup_steps=2",
    # the dear ones take long to compile and a small network long to learn with
    "augment.spatial.rotation_probability=0.0",
    "augment.spatial.scaling_probability=0.0",
    "augment.blur.probability=0.0",
    "augment.low_resolution.probability=0.0",
    "augment.gamma_inverted.probability=0.0",
)


@pytest.fixture(scope="session")
def dataset(tmp_path_factory):
    return write_table(tmp_path_factory.mktemp("data"), 4)


@pytest.fixture(scope="session")
def trained(dataset, tmp_path_factory):
    import score_jax as sj

    seen = []
    out = tmp_path_factory.mktemp("runs") / "run"
    run = sj.train(
        dataset, sj.load_config(overrides=(*SMALL, "steps=60")), out=out, on_event=seen.append
    )
    return run, seen
