"""Compiled programs are kept between processes: what a second `predict` still compiles."""

import json
import os
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest

from score_jax import checkpointing, models
from score_jax.arrays.regions import Region
from score_jax.cli import _device
from score_jax.config import ModelSpec, Preprocessing, UNetConfig
from score_jax.inference import Predictor

COUNTING = """
import json, sys, warnings
warnings.simplefilter("error", UserWarning)  # such as a program that could not be written
import jax
counts = {"cache_misses": 0, "cache_hits": 0}
def count(name, **_):
    last = name.rsplit("/", 1)[-1]
    if last in counts:
        counts[last] += 1
jax.monitoring.register_event_listener(count)
from score_jax import cli
status = 0
try:
    cli.main()
except SystemExit as stop:
    status = stop.code or 0
print("counts", json.dumps(counts), file=sys.stderr)
sys.exit(status)
"""


def predict(cache, scan, model, out, devices=1):
    """Programs written to the cache, and read from it, by a process of its own."""
    environment = os.environ | {
        "XDG_CACHE_HOME": str(cache),
        "JAX_ENABLE_COMPILATION_CACHE": "1",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
    }
    words = ["predict", scan, "--model", model, "--out", out, "--device", "cpu"]
    done = subprocess.run(
        [sys.executable, "-c", COUNTING, *map(str, words)],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stderr.rsplit("counts", 1)[1])
    return counts["cache_misses"], counts["cache_hits"]


@pytest.fixture
def scan(tmp_path, rng):
    path = tmp_path / "scan.nii.gz"
    image = nib.Nifti1Image(rng.normal(size=(20, 24, 18)).astype(np.float32), np.eye(4))
    nib.save(image, path)
    return path


@pytest.fixture
def model(tmp_path):
    """The folder of a small U-Net that was never trained."""
    spec = ModelSpec(
        kind="unet",
        options=UNetConfig(features=(2, 9)).arguments(),
        in_channels=1,
        channel_names=("T2w",),
        regions=(Region("cord", (1,), 1),),
        preprocessing=Preprocessing(axcodes="RAS"),
        tile=(12, 16, 8),
    )
    weights = models.parameters(checkpointing.build_model(spec, seed=0))
    Predictor(spec, [weights]).save(tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.slow
def test_a_second_process_compiles_nothing(tmp_path, scan, model):
    cache = tmp_path / "cache"
    # two devices: no call of oneDNN, which cannot be kept
    compiled, _ = predict(cache, scan, model, tmp_path / "a", devices=2)
    assert compiled > 0
    compiled, hits = predict(cache, scan, model, tmp_path / "b", devices=2)
    assert compiled == 0
    assert hits > 0
    first, second = (nib.load(next((tmp_path / name).glob("*.nii.gz"))) for name in "ab")
    np.testing.assert_array_equal(np.asarray(first.dataobj), np.asarray(second.dataobj))


@pytest.fixture
def options(monkeypatch):
    """What `keep_compiled` sets, caught instead of set."""
    import jax

    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", None)  # a prediction in this process sets it
    found = {}
    with monkeypatch.context() as patched:
        patched.setattr(jax.config, "update", found.__setitem__)
        yield found
    jax.config.update("jax_compilation_cache_dir", before)


def test_the_folder_is_the_users_and_its_size_is_limited(tmp_path, monkeypatch, options):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "new"))
    folder = _device.keep_compiled()
    assert folder == tmp_path / "new/score-jax/compiled"
    assert folder.is_dir()
    assert options["jax_compilation_cache_dir"] == str(folder)
    assert options["jax_compilation_cache_max_size"] == _device.KEPT_BYTES
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert _device.keep_compiled() == tmp_path / ".cache/score-jax/compiled"


def test_a_folder_that_cannot_be_written_keeps_nothing(tmp_path, monkeypatch, options):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert _device.keep_compiled() is None
    assert options == {}

    def full(**_):
        raise OSError(28, "No space left on device")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(_device.tempfile, "TemporaryFile", full)
    assert _device.keep_compiled() is None
    assert options == {}
