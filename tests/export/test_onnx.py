"""ONNX graphs against the networks they were written from, in onnxruntime."""

import numpy as np
import onnxruntime
import pytest

from score_jax.export import onnx as export
from tests.export.networks import CASES, network_of, spec_of


def graph(spec, *members, weights="float32"):
    return export.graph_of(spec, members, weights=weights, metadata={})


def run(model, image):
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (logits,) = session.run(None, {"image": np.moveaxis(image, -1, 1)})
    return np.moveaxis(logits, 1, -1)


@pytest.mark.parametrize("name", CASES)
def test_logits_are_those_of_the_network(name):
    spec = spec_of(*CASES[name])
    params, apply = network_of(spec, 1)
    model = graph(spec, params)
    rng = np.random.default_rng(2)
    # an MDGRU takes any size
    sizes = [spec.tile, tuple(n + 2 for n in spec.tile)] if spec.kind == "mdgru" else [spec.tile]
    for batch, size in zip((3, 1), sizes, strict=False):
        image = rng.normal(size=(batch, *size, 2)).astype(np.float32)
        want = np.asarray(apply(params, image))
        np.testing.assert_allclose(run(model, image), want, atol=1e-4 * np.abs(want).max())


def test_members_are_averaged():
    spec = spec_of(*CASES["unet 2-D"])
    (a, apply), (b, _) = (network_of(spec, seed) for seed in (1, 2))
    image = np.random.default_rng(3).normal(size=(1, *spec.tile, 2)).astype(np.float32)
    want = (np.asarray(apply(a, image)) + np.asarray(apply(b, image))) / 2
    np.testing.assert_allclose(run(graph(spec, a, b), image), want, atol=1e-4)


@pytest.mark.parametrize(("weights", "size", "error"), [("float16", 0.6, 2e-3), ("int8", 0.4, 0.1)])
@pytest.mark.parametrize("name", ["unet 3-D", "mdgru 2-D"])
def test_smaller_weights_cost_little(name, weights, size, error):
    kind, tile, options = CASES[name]
    wide = {"features": (16, 24)} if kind == "unet" else {"hidden": (16, 24), "linear": (20,)}
    spec = spec_of(kind, tile, options | wide)
    params, apply = network_of(spec, 1)
    whole = graph(spec, params)
    small = graph(spec, params, weights=weights)
    assert small.ByteSize() < size * whole.ByteSize()
    image = np.random.default_rng(2).normal(size=(1, *tile, 2)).astype(np.float32)
    want = np.asarray(apply(params, image))
    off = np.abs(run(small, image) - want).max() / np.abs(want).max()
    assert 0 < off < error
