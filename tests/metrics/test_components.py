"""Labelling against scipy, and the order of labels by hand."""

import numpy as np
import pytest
from scipy import ndimage

from score_jax.arrays.components import (
    bounding_box,
    component_sizes,
    components,
    fill_holes,
    largest,
    remove_small,
    structure,
)


@pytest.mark.parametrize(
    ("shape", "connectivity"),
    [((5, 6, 7), 6), ((5, 6, 7), 18), ((5, 6, 7), 26), ((9, 8), 4), ((9, 8), 8)],
)
@pytest.mark.parametrize("order", ["C", "F"])
def test_components_are_those_of_scipy(shape, connectivity, order, rng):
    mask = np.array(rng.random(shape) > 0.7, order=order)
    labels, sizes = components(mask, connectivity)
    theirs, n = ndimage.label(mask, structure(mask.ndim, connectivity))
    assert sizes.size == n
    pairs = {(int(a), int(b)) for a, b in zip(labels.flat, theirs.flat, strict=True)}
    assert len(pairs) == n + bool((~mask).any())  # one to one
    assert (np.diff(sizes) <= 0).all()
    np.testing.assert_array_equal(sizes, component_sizes(labels))
    # of equal size, the first voxel in raster order (first axis fastest) comes first
    flat = labels.ravel(order="F").tolist()
    first = [flat.index(label) for label in range(1, n + 1)]
    assert [*zip(-sizes, first, strict=True)] == sorted(zip(-sizes, first, strict=True))


@pytest.mark.parametrize("shape", [(5, 1, 1), (1, 3, 5), (3, 5, 3), (1, 7, 1)])
def test_scattered_voxels_of_a_thin_image(shape):
    """cc3d 4.1.1 refuses these as bool with 26 neighbours."""
    mask = np.zeros(shape, bool)
    mask[::2, ::2, ::2] = True
    assert components(mask, 26)[1].size == mask.sum()


def test_views_are_labelled_as_copies(rng):
    """cc3d 4.1.1 labels some views of integers wrongly."""
    for _ in range(200):
        image = rng.random(tuple(rng.integers(3, 7, 3))) > rng.random()
        corners = [sorted(rng.choice(n + 1, 2, replace=False)) for n in image.shape]
        view = image[tuple(slice(int(a), int(b)) for a, b in corners)]
        for connectivity in (6, 18, 26):
            n = ndimage.label(view, structure(3, connectivity))[1]
            assert components(view, connectivity)[1].size == n


def test_small_ones_and_the_largest():
    mask = np.zeros((4, 5, 3), bool)
    mask[0, :3, 0] = mask[2, :2, 0] = mask[3, 4, 2] = True
    labels, sizes = components(mask, min_voxels=2)
    assert sizes.tolist() == [3, 2]
    assert labels[3, 4, 2] == 0
    assert largest(mask).sum() == 3
    assert remove_small(mask, 2).sum() == 5
    assert remove_small(mask, 1).sum() == 6


def test_nothing():
    empty = np.zeros((3, 4, 5), bool)
    labels, sizes = components(empty)
    assert labels.shape == empty.shape
    assert sizes.size == 0
    assert bounding_box(empty) is None
    assert not largest(empty).any()
    assert not fill_holes(empty).any()
    assert component_sizes(labels).size == 0


def test_boxes():
    a, b = np.zeros((2, 6, 7, 8), bool)
    a[2, 3, 4] = b[4, 3, 0] = True
    assert bounding_box(a) == (slice(2, 3), slice(3, 4), slice(4, 5))
    assert bounding_box(a, b, margin=1) == (slice(1, 6), slice(2, 5), slice(0, 6))
    assert bounding_box(a[0], b[0]) is None


def test_holes_are_closed_by_faces():
    ring = np.zeros((5, 6, 5), bool)
    ring[1:4, 1:5, 1:4] = True
    ring[2, 2:4, 2] = False
    assert fill_holes(ring).sum() == 36
    ring[2, 2, 1] = False  # a tunnel to the outside
    assert fill_holes(ring).sum() == ring.sum()


def test_a_neighbourhood_that_does_not_exist():
    with pytest.raises(ValueError, match=r"connectivity: got 6 for 2 axes; .* \[4, 8\]"):
        components(np.ones((3, 4), bool), 6)
