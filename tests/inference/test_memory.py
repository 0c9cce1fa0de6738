"""What `predict` holds beside the scan: outputs go back to its grid some planes at a time."""

import tracemalloc

import numpy as np
import pytest

from score_jax.arrays import regions, resampling
from score_jax.arrays.regions import Region
from score_jax.config import ModelSpec, Preprocessing
from score_jax.imaging import Volume
from score_jax.inference import Predictor

REGIONS = (Region("cord", (1, 2), 1), Region("lesion", (2,), 2))
SPACING = (0.9, 0.8, 0.7)


def model(exclusive=False, **rules):
    """A network of known answer: brighter than two thresholds."""
    lines = np.array([0.1, 0.0, 0.3] if exclusive else [0.0, 0.3], np.float32)
    spec = ModelSpec(
        kind="unet", options={}, in_channels=1, channel_names=("T2w",), regions=REGIONS,
        exclusive=exclusive, tile=(8, 8, 8), tile_step=1.0,
        preprocessing=Preprocessing(**{"spacing_mm": (1.0, 1.1, 0.9), **rules}),
    )  # fmt: skip
    return Predictor(spec, [{}], "lines", runtime=lambda tiles: tiles - lines)


@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize("rules", [{}, {"transpose": (2, 0, 1), "crop_nonzero": True}])
def test_slabs_change_nothing(exclusive, rules, rng, monkeypatch):
    monkeypatch.setattr(resampling, "_SLAB", 200)
    image = np.pad(rng.normal(size=(9, 11, 13, 1)), ((1, 2), (0, 3), (2, 0), (0, 0)))
    predictor = model(exclusive, **rules)
    prepared = predictor.prepare(image.astype(np.float32), SPACING)
    logits = rng.normal(size=(*prepared.image.shape[:3], 3 if exclusive else 2)).astype(np.float32)
    assert len(list(prepared.slabs_back(logits))) > 3

    whole = np.stack([prepared.resample_back(c) for c in np.moveaxis(logits, -1, 0)], axis=-1)
    masks = regions.masks_from_logits(whole, REGIONS, exclusive=exclusive)
    shares = regions.probabilities(whole, REGIONS, exclusive=exclusive)
    found, soft = predictor.export(prepared.way_back(), logits, soft=True)
    for number, name in enumerate(("cord", "lesion")):
        want = prepared.uncrop(masks[..., number], outside=False)
        assert found[name].shape == image.shape[:3]
        assert want.any()
        np.testing.assert_array_equal(found[name], want)
        np.testing.assert_array_equal(soft[name], prepared.uncrop(shares[..., number], outside=0.0))
    assert predictor.export(prepared, logits, soft=False)[1] is None


def test_bytes_a_voxel(monkeypatch):
    """Beside the scan: normalised (4), along two axes (2.9, 2.3), on the network's grid (2.0).

    12.2 are measured here, as the type checks of the tests hold arguments; 8.9 are needed.
    """
    monkeypatch.setattr(resampling, "_SLAB", 2**12)
    monkeypatch.setattr(resampling, "_BLOCK", 2**12)
    data = np.random.default_rng(0).normal(size=(40, 60, 70)).astype(np.float32)
    volume = Volume(data, np.diag([*SPACING, 1.0]))
    predictor = model()
    predictor.predict(volume)  # matrices of splines, modules
    tracemalloc.start()
    try:
        predictor.predict(volume)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 14 * data.size, f"{peak / data.size:.1f} bytes a voxel"
