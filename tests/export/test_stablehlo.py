"""StableHLO artifacts against the networks they were written from, in a process of JAX alone."""

import re
import subprocess
import sys
from pathlib import Path

import jax.export
import numpy as np
import pytest

from score_jax.export import stablehlo
from tests.export.networks import CASES, network_of, spec_of

DATA = Path(__file__).parent / "data"
ALONE = """
import sys
for name in ("score_jax", "flax", "orbax", "nibabel"):
    sys.modules[name] = None  # an import of it fails
import jax.export, numpy as np
images = np.load(sys.argv[2])
network = jax.export.deserialize(bytearray(open(sys.argv[1], "rb").read())).call
np.savez(sys.argv[3], **{name: network(image) for name, image in images.items()})
"""


@pytest.mark.parametrize("name", ["unet 3-D", "mdgru 2-D"])
def test_jax_alone_gives_the_same_logits(name, tmp_path):
    spec = spec_of(*CASES[name])
    (a, apply), (b, _) = (network_of(spec, seed) for seed in (1, 2))
    data = stablehlo.serialise(spec, [a, b])
    (tmp_path / "model").write_bytes(data)
    rng = np.random.default_rng(0)
    sizes = [(2, *spec.tile)]
    sizes.append((1, 8, 14) if spec.kind == "mdgru" else (1, *spec.tile))
    images = {str(n): rng.normal(size=(*s, 2)).astype(np.float32) for n, s in enumerate(sizes)}
    np.savez(tmp_path / "in.npz", **images)
    paths = [str(tmp_path / name) for name in ("model", "in.npz", "out.npz")]
    subprocess.run([sys.executable, "-c", ALONE, *paths], check=True, timeout=300)
    found = np.load(tmp_path / "out.npz")
    for key, image in images.items():
        want = (np.asarray(apply(a, image)) + np.asarray(apply(b, image))) / 2
        np.testing.assert_allclose(found[key], want, atol=1e-4 * np.abs(want).max())


@pytest.mark.parametrize("name", ["unet 2-D", "unet 3-D", "mdgru 3-D"])
def test_one_artifact_for_every_platform_and_no_library(name):
    spec = spec_of(*CASES[name])
    exported = jax.export.deserialize(stablehlo.serialise(spec, [network_of(spec, 1)[0]]))
    assert exported.platforms == ("cpu", "cuda", "rocm", "tpu")
    calls = set(re.findall(r"custom_call @(\w+)", exported.mlir_module()))
    assert calls <= {"shape_assertion"}


def wave(shape):
    """An image that can be written down: no file of numbers beside the artifact."""
    at = np.indices(shape).astype(np.float32)
    return np.sin(0.7 * at[1] + 0.3 * at[2] ** 2 - at[0]).astype(np.float32)


# logits of one voxel when the artifacts were written, by jax 0.10.2 on 2026-11-21
STORED = {"mdgru": (-0.0663666, 0.2732352), "unet": (0.1962374, -0.0595161)}


@pytest.mark.parametrize("kind", STORED)
def test_a_stored_artifact_still_runs(kind):
    data = (DATA / f"{kind}.stablehlo").read_bytes()
    exported = jax.export.deserialize(bytearray(data))
    assert exported.calling_convention_version == 10
    logits = exported.call(wave((2, 8, 10, 1)) if kind == "mdgru" else wave((2, 4, 8, 1)))
    np.testing.assert_allclose(logits[1, 2, 3], STORED[kind], atol=1e-5)
