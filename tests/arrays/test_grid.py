import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from score_jax.arrays import grid


def test_starts_by_hand():
    assert grid.tile_starts(10, 4) == [0, 2, 4, 6]
    assert grid.tile_starts(11, 4) == [0, 2, 4, 5, 7]  # 3.5 and 5.25 rounded, half to even
    assert grid.tile_starts(7, 4, 1.0) == [0, 3]
    assert grid.tile_starts(4, 4) == [0]


@given(
    size=st.integers(1, 300), tile=st.integers(1, 100), step=st.sampled_from([0.25, 0.5, 0.9, 1.0])
)
def test_tiles_cover_every_voxel(size, tile, step):
    if size < tile:
        with pytest.raises(ValueError, match="expected size >= tile"):
            grid.tile_starts(size, tile, step)
        return
    starts = grid.tile_starts(size, tile, step)
    covered = np.zeros(size, int)
    for start in starts:
        covered[start : start + tile] += 1
    assert starts[0] == 0
    assert starts[-1] == size - tile
    assert covered.min() >= 1


def test_starts_and_windows_of_nnunet(fixtures):
    folder = fixtures / "nnunet/window"
    for case in json.loads((folder / "steps.json").read_text()):
        got = [
            grid.tile_starts(n, t, case["step_size"])
            for n, t in zip(case["image"], case["tile"], strict=True)
        ]
        assert got == case["steps"]
    windows = np.load(folder / "gaussian.npz")
    names = [name for name in windows.files if name.endswith("f32")]
    assert names
    for name in names:
        got = grid.gaussian_window(windows[name].shape)
        np.testing.assert_allclose(got, windows[name], rtol=1e-5)


def test_window_is_a_gaussian_and_never_zero():
    window = grid.gaussian_window((5, 8, 3))
    point = np.zeros((5, 8, 3))
    point[2, 4, 1] = 1
    expected = ndimage.gaussian_filter(point, (5 / 8, 1, 3 / 8), mode="constant")
    np.testing.assert_allclose(window, 10 * expected / expected.max(), rtol=1e-4, atol=1e-6)
    assert grid.gaussian_window((96, 4)).min() > 0


def test_padding_and_back():
    array = np.arange(2 * 5 * 3.0).reshape(2, 5, 3)
    padded, where = grid.pad_to(array, (5, 4))
    assert padded.shape == (5, 5, 3)
    np.testing.assert_array_equal(padded[where], array)
    assert padded.sum() == array.sum()
    assert where[0] == slice(1, 3)  # the extra voxel is at the end
    assert grid.pad_to(array, (2, 5))[0] is array
