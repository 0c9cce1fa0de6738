"""Centres, tilts and their two smoothings."""

import numpy as np
import pytest

from score_jax.morphometry.centerline import level, slice_centres, tilt

from .scans import tube

SPACING = (0.5, 0.75, 3.0)


def test_centres_by_a_loop(rng):
    mask = rng.random((5, 6, 7)) < 0.3
    mask[..., 2] = False
    z, x, y = slice_centres(mask * rng.random(mask.shape))  # values do not weigh
    assert 2 not in z
    for i, k in enumerate(z):
        places = np.argwhere(mask[..., k])
        np.testing.assert_allclose([x[i], y[i]], places.mean(axis=0))


def test_a_crop_is_told_by_its_corner():
    mask = tube()
    cropped = slice_centres(mask[2:, 3:], (2, 3))
    for whole, part in zip(slice_centres(mask), cropped, strict=True):
        np.testing.assert_allclose(part, whole)


@pytest.mark.parametrize("method", ["bspline", "linear"])
def test_a_straight_line_has_one_slope(method):
    mask = np.zeros((30, 40, 12), bool)
    for z in range(12):
        mask[5 + z : 8 + z, 6 + 2 * z : 9 + 2 * z, z] = True
    found = tilt(mask, SPACING, method=method)
    np.testing.assert_allclose(found.slope_x, 1 * 0.5 / 3.0, rtol=1e-9)
    np.testing.assert_allclose(found.slope_y, 2 * 0.75 / 3.0, rtol=1e-9)
    np.testing.assert_allclose(np.tan(found.angle_ap), 0.5 / 3)
    np.testing.assert_allclose(np.tan(found.angle_rl), 1.5 / 3)
    np.testing.assert_allclose(found.cos_sagittal, 3 / np.hypot(3, 1.5))
    np.testing.assert_allclose(found.cos_3d, 3 / np.sqrt(9 + 1.5**2 + 0.5**2))


@pytest.mark.parametrize("slices", [0, 1])
def test_too_little_cord_is_upright(slices):
    mask = tube((9, 10, 6), (4, 5), (3, 3), (0.5, 0.5))
    mask[..., slices:] = False
    np.testing.assert_array_equal(tilt(mask, SPACING).cos_3d, level(6).cos_3d)


@pytest.mark.parametrize("slices", [2, 3])
def test_two_or_three_slices_give_a_line(slices):
    mask = np.zeros((9, 9, 7), bool)
    for z in range(slices):
        mask[3 + z, 4, 2 + z] = True
    np.testing.assert_allclose(tilt(mask, SPACING).slope_x, 0.5 / 3.0)


def test_four_slices_give_a_cubic():
    mask = np.zeros((9, 9, 4), bool)
    for z, x in enumerate((3, 5, 4, 7)):
        mask[x, 4, z] = True
    cubic = np.polynomial.Polynomial.fit(range(4), (3, 5, 4, 7), 3).deriv()
    np.testing.assert_allclose(tilt(mask, (1.0, 1.0, 1.0)).slope_x, cubic(np.arange(4)), atol=1e-9)


def test_an_empty_slice_is_bridged():
    mask = tube((20, 20, 15), (10, 10), (4, 4), (0.3, 0.2))
    gap = mask.copy()
    gap[..., 7] = False
    np.testing.assert_allclose(tilt(gap, SPACING).cos_3d, tilt(mask, SPACING).cos_3d, atol=5e-3)


def test_the_field_of_view_matters_unless_told_otherwise():
    x, y, z = np.ogrid[:40, :40, :80]
    mask = np.hypot(x - 20 - 8 * np.sin(z / 6), y - 20) < 4
    small = np.concatenate([np.zeros((40, 40, 80), bool), mask], axis=2)
    here = {"slices": 80}
    # a quarter of the allowed residual: the curve follows the bends
    assert np.abs(tilt(mask, (1, 1, 1)).slope_x - tilt(small, (1, 1, 1)).slope_x[80:]).max() > 0.1
    np.testing.assert_allclose(
        tilt(mask, (1.0, 1.0, 1.0), **here).slope_x,
        tilt(small, (1.0, 1.0, 1.0), **here).slope_x[80:],
        atol=1e-6,
    )


def test_linear_is_level_beyond_the_cord():
    mask = tube((20, 20, 15), (10, 10), (4, 4), (0.5, 0.3))
    mask[..., :3] = mask[..., 12:] = False
    slope = tilt(mask, (1.0, 1.0, 1.0), method="linear", smoothing=5).slope_x
    assert (slope[3:12] > 0.3).all()
    assert not slope[:3].any()
    assert not slope[12:].any()
