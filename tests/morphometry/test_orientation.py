"""The working axes against nibabel's arithmetic, for all 48 ways to store an array."""

import nibabel as nib
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from score_jax.errors import GeometryError
from score_jax.morphometry.orientation import anatomy, as_stated

from .scans import affine, every_orientation, stored

SHAPE, SPACING = (3, 4, 5), (0.5, 0.75, 2.0)


@pytest.mark.parametrize(("axes", "flips"), every_orientation())
def test_every_orientation(axes, flips, rng):
    array = rng.random(SHAPE)
    turned, matrix = stored(array, affine(SPACING), axes, flips)
    where = anatomy(matrix, turned.shape)
    np.testing.assert_array_equal(where.turn(turned), array)
    np.testing.assert_array_equal(where.back(array), turned)
    assert where.shape == SHAPE
    assert where.spacing == SPACING
    marked = np.argwhere(where.back(np.arange(60).reshape(SHAPE) == 33))[0]
    working = np.unravel_index(33, SHAPE)
    for axis in range(3):
        assert where.index(axis, int(working[axis])) == marked[where.axes[axis]]
        assert where.position(axis, working[axis] + 0.25) == pytest.approx(
            marked[where.axes[axis]] + (-0.25 if where.flips[axis] else 0.25)
        )


def test_oblique_scans_go_to_the_nearest_axes(rng):
    for _ in range(200):
        rotation = Rotation.random(rng=rng).as_matrix()
        matrix = np.eye(4)
        matrix[:3, :3] = rotation @ np.diag(rng.uniform(0.2, 4, 3))
        where = anatomy(matrix, SHAPE)
        codes = nib.aff2axcodes(matrix)
        named = "".join(codes[axis] for axis in where.axes)
        back = {"R": "L", "L": "R", "A": "P", "P": "A", "S": "I", "I": "S"}
        turned = [back[c] if flip else c for c, flip in zip(named, where.flips, strict=True)]
        assert turned == ["L", "A", "S"]


def test_the_sizes_are_those_the_header_meant():
    for size in (0.8, 0.5, 1.0, 3.3, 17.0, 0.84375):
        assert as_stated(float(np.float32(size))) == size
    assert as_stated(0.8000011444091797) == 0.8000011  # a real affine; SCT takes it as it is
    assert anatomy(affine(), SHAPE, (0.5, 0.6, 0.7)).spacing == (0.5, 0.6, 0.7)


@pytest.mark.parametrize(
    ("matrix", "shape", "message"),
    [
        (np.zeros((4, 4)), SHAPE, "expected a regular matrix"),
        (np.full((4, 4), np.nan), SHAPE, "expected a regular matrix"),
        (np.eye(4), (3, 4), "expected three axes"),
        (np.eye(4), (3, 4, 5, 6), "expected three axes"),
    ],
)
def test_what_is_no_grid_is_refused(matrix, shape, message):
    with pytest.raises(GeometryError, match=message):
        anatomy(matrix, shape)
