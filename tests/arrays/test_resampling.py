import json
from unittest import mock

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from score_jax.arrays import resampling


def test_shapes_and_axes_by_hand():
    assert resampling.resampled_shape((10, 11, 12), (1, 2, 0.5), (2, 0, 1)) == (5, 11, 6)
    assert resampling.resampled_shape((1, 1, 1), (0.1, 1, 1), (3, 1, 1)) == (1, 1, 1)
    assert resampling.coarse_axis((0.5, 0.5, 3.3), (1, 1, 1)) == 2
    assert resampling.coarse_axis((1, 1, 3), (1, 1, 3)) is None  # not above 3
    assert resampling.coarse_axis((1, 1, 1), (4, 1, 1)) == 0
    assert resampling.coarse_axis((4, 4, 1), (1, 1, 1)) is None  # two axes share the largest


def test_half_pixel_centres_by_hand():
    line = np.array([0.0, 1, 2, 3], np.float32).reshape(4, 1, 1)
    halved = resampling.resample(line, (2, 1, 1), order=1)
    np.testing.assert_allclose(halved.ravel(), [0.5, 2.5])
    doubled = resampling.resample(halved, (4, 1, 1), order=1)
    np.testing.assert_allclose(doubled.ravel(), [0.5, 1.0, 2.0, 2.5])


@settings(deadline=None, max_examples=30)
@given(order=st.integers(0, 3), x=st.integers(1, 9), y=st.integers(1, 9), z=st.integers(1, 9))
def test_constant_stays_and_range_is_kept(order, x, y, z):
    constant = np.full((3, 4, 5), 2.5, np.float32)
    np.testing.assert_allclose(resampling.resample(constant, (x, y, z), order=order), 2.5)
    noise = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32)
    out = resampling.resample(noise, (x, y, z), order=order)
    assert out.shape == (x, y, z)
    assert out.dtype == np.float32
    assert out.min() >= noise.min()
    assert out.max() <= noise.max()


@settings(deadline=None, max_examples=40)
@given(
    order=st.integers(0, 3),
    old=st.tuples(*[st.integers(1, 40)] * 3),
    new=st.tuples(*[st.integers(1, 40)] * 3),
    apart=st.sampled_from([None, 0, 1, 2]),
)
def test_products_of_matrices_are_scipys_zoom(order, old, new, apart):
    image = np.random.default_rng(1).normal(size=old).astype(np.float32)
    kept = image.copy()

    def zoom(array, shape, order):
        factors = [n / o for n, o in zip(shape, array.shape, strict=True)]
        wide = array.astype(np.float64)
        out = ndimage.zoom(wide, factors, order=order, mode="nearest", grid_mode=True)
        return np.clip(out, wide.min(), wide.max()) if order > 1 and array.shape != shape else out

    if apart is None:
        want = zoom(image, new, order)
    else:
        planes = np.moveaxis(image, apart, 0)
        flat = tuple(n for axis, n in enumerate(new) if axis != apart)
        want = np.moveaxis(np.stack([zoom(plane, flat, order) for plane in planes]), 0, apart)
        want = np.take(want, resampling.nearest(old[apart], new[apart]), axis=apart)
    got = resampling.resample(image, new, order=order, separate=apart)
    np.testing.assert_allclose(got, want, atol=2e-6)
    np.testing.assert_array_equal(image, kept)


@settings(deadline=None, max_examples=30)
@given(
    old=st.tuples(*[st.integers(1, 12)] * 3),
    new=st.tuples(*[st.integers(1, 12)] * 3),
    apart=st.sampled_from([None, 0, 1, 2]),
    voxels=st.sampled_from([1, 40, 5000]),
)
def test_slabs_are_the_whole_to_the_last_bit(old, new, apart, voxels):
    image = np.random.default_rng(2).normal(size=(*old, 2)).astype(np.float32)
    got, seen = np.zeros((*new, 2), np.float32), np.zeros(new, int)
    with mock.patch.object(resampling, "_SLAB", voxels):
        for box, part in resampling.slabs(image, new, separate=apart):
            got[box] = part
            seen[box] += 1
            assert part[..., 0].size <= voxels or 1 in part.shape
    channels = np.moveaxis(image, -1, 0)
    whole = [resampling.resample(c, new, order=1, separate=apart) for c in channels]
    np.testing.assert_array_equal(got, np.stack(whole, axis=-1))
    assert (seen == 1).all()


def test_nearest_by_hand():
    assert resampling.nearest(4, 2).tolist() == [1, 3]  # half way: the later
    assert resampling.nearest(2, 5).tolist() == [0, 0, 1, 1, 1]


def test_nnunet(fixtures):
    folder = fixtures / "nnunet/resample"
    arrays = np.load(folder / "resample.npz")
    cases = json.loads((folder / "resample.json").read_text())
    checked = 0
    for number, case in cases.items():
        if case["is_seg"]:
            continue
        source, expected = arrays[f"in{number}"], arrays[f"out{number}"]
        axis = resampling.coarse_axis(case["cur"], case["new"])
        assert axis == (case["axis"] if case["separate_z"] else None)
        shape = resampling.resampled_shape(case["shape"], case["cur"], case["new"])
        assert list(shape) == case["computed_new_shape"]
        for channel, want in zip(source, expected, strict=True):
            got = resampling.resample(channel, want.shape, order=case["order"], separate=axis)
            np.testing.assert_allclose(got, want, atol=1e-5)
            checked += 1
    assert checked >= 3
