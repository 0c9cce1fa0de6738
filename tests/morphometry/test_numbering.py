"""Lesion numbers against scipy's labelling, which is SCT's."""

import numpy as np
import pytest
from scipy import ndimage

from score_jax.morphometry.numbering import number_lesions


@pytest.mark.parametrize("density", [0.02, 0.1, 0.3, 0.6])
def test_as_scipy_labels(rng, density):
    mask = rng.random((9, 10, 11)) < density
    expected, _ = ndimage.label(mask, ndimage.generate_binary_structure(3, 2))
    np.testing.assert_array_equal(number_lesions(mask), expected)
    turned = mask.transpose(2, 0, 1)  # memory order must not matter
    expected, _ = ndimage.label(turned, ndimage.generate_binary_structure(3, 2))
    np.testing.assert_array_equal(number_lesions(turned), expected)


def test_an_edge_joins_and_a_corner_does_not():
    mask = np.zeros((3, 4, 5), bool)
    mask[0, 0, 0] = mask[1, 1, 0] = mask[2, 2, 1] = True
    assert number_lesions(mask)[[0, 1, 2], [0, 1, 2], [0, 0, 1]].tolist() == [1, 1, 2]


def test_nothing_has_no_number():
    assert not number_lesions(np.zeros((3, 4, 5), bool)).any()
