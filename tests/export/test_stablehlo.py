"""StableHLO artifacts against the networks they were written from, in a process of JAX alone."""

import re
import subprocess
import sys

import jax.export
import numpy as np
import pytest

from score_jax.export import stablehlo
from tests.export.networks import CASES, network_of, spec_of

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
