import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from score_jax.arrays.grid import gaussian_window, tile_starts
from score_jax.inference import tiling


def identity(tiles):
    return np.concatenate([tiles, -tiles], axis=-1)


@settings(deadline=None, max_examples=40)
@given(
    shape=st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9)),
    batch=st.integers(1, 3),
    mirror=st.sampled_from([(), (0,), (0, 2)]),
)
def test_a_pointwise_network_comes_back_exactly(shape, batch, mirror):
    image = np.random.default_rng(0).normal(size=(*shape, 1)).astype(np.float32)
    out = tiling.sliding_window(
        identity, image, (4, 3, 5), outputs=2, batch=batch, mirror_axes=mirror
    )
    np.testing.assert_allclose(out, np.concatenate([image, -image], -1), atol=1e-5)


def test_weights_against_a_loop():
    """A network that answers with the tile's number: every voxel by an independent sum."""
    image = np.zeros((7, 5, 1), np.float32)
    calls = []

    def network(tiles):
        calls.append(len(calls))
        return np.full((*tiles.shape[:-1], 1), calls[-1], np.float32)

    out = tiling.sliding_window(network, image, (4, 4), outputs=1)
    window = gaussian_window((4, 4)).astype(np.float64)
    top, bottom, number = np.zeros((7, 5)), np.zeros((7, 5)), 0
    for x in tile_starts(7, 4):
        for y in tile_starts(5, 4):
            top[x : x + 4, y : y + 4] += number * window
            bottom[x : x + 4, y : y + 4] += window
            number += 1
    np.testing.assert_allclose(out[..., 0], top / bottom, rtol=1e-5)
    assert len(calls) == number


def test_mirroring_averages_flips():
    tiles = np.random.default_rng(0).normal(size=(1, 3, 4, 1)).astype(np.float32)

    def network(x):
        return x * np.arange(3, dtype=np.float32).reshape(1, 3, 1, 1)

    got = tiling.mirrored(network, tiles, (0,))
    np.testing.assert_allclose(got, tiles * (0 + 2) / 2 * np.ones((1, 3, 1, 1)), atol=1e-6)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_of_a_2d_network(axis, rng):
    image = rng.normal(size=(5, 6, 7, 1)).astype(np.float32)
    seen = []
    out = tiling.slice_by_slice(
        identity, image, (4, 4), axis=axis, outputs=2, progress=lambda *n: seen.append(n)
    )
    np.testing.assert_allclose(out[..., :1], image, atol=1e-5)
    assert seen[-1] == (image.shape[axis], image.shape[axis])
