"""Reorientation: codes, the inverse, and refusals (the 48 turns stand in test_volume.py)."""

import itertools

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from score_jax.errors import GeometryError
from score_jax.imaging import Reorientation, axcodes_of, check_axcodes, reorientation

ALL = [
    "".join(letters)
    for order in itertools.permutations([("L", "R"), ("P", "A"), ("I", "S")])
    for letters in itertools.product(*order)
]
TURNS = st.builds(
    Reorientation,
    st.permutations(range(3)).map(lambda p: (p[0], p[1], p[2])),
    st.tuples(st.booleans(), st.booleans(), st.booleans()),
)


def test_identity_is_ras_and_a_negative_first_axis_is_las():
    assert axcodes_of(np.eye(4)) == "RAS"
    assert axcodes_of(np.diag([-1.0, 1, 1, 1])) == "LAS"


@pytest.mark.parametrize("start", ALL[::7])
@pytest.mark.parametrize("end", ALL)
def test_affine_by_hand_voxel_by_voxel(start, end):
    shape = (3, 4, 5)
    have = reorientation(np.diag([2.0, 3, 4, 1]), start).affine(np.diag([2.0, 3, 4, 1]), shape)
    shape = tuple(
        int(n) for n in np.array(shape)[[["LR", "PA", "IS"].index(_pair(c)) for c in start]]
    )
    assert axcodes_of(have) == start
    turn = reorientation(have, end)
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    world = nib.affines.apply_affine(have, index)
    after = turn.affine(have, shape)
    turned = turn.apply(world)  # x, y, z, 3: the last axis stays
    new = np.stack(np.meshgrid(*map(np.arange, turned.shape[:3]), indexing="ij"), -1)
    np.testing.assert_allclose(nib.affines.apply_affine(after, new), turned, atol=1e-12)


def _pair(letter):
    return next(pair for pair in ("LR", "PA", "IS") if letter in pair)


@settings(deadline=None, max_examples=60)
@given(turn=TURNS)
def test_inverse_undoes(turn):
    array = np.arange(3 * 4 * 5 * 2).reshape(3, 4, 5, 2)
    back = turn.inverse().apply(turn.apply(array))
    np.testing.assert_array_equal(back, array)
    affine = np.array([[0.5, 0.1, 0, 3], [-0.1, 0.7, 0, 4], [0, 0, 2, 5], [0, 0, 0, 1.0]])
    again = turn.inverse().affine(turn.affine(affine, array.shape), turn.apply(array).shape)
    np.testing.assert_allclose(again, affine, atol=1e-12)


@pytest.mark.parametrize("bad", ["", "RA", "RAX", "RLS", "RASA", "RRR", "1AS"])
def test_impossible_codes_are_refused(bad):
    with pytest.raises(GeometryError, match="one of each pair"):
        check_axcodes(bad)


def test_small_letters_are_understood():
    assert check_axcodes("lpi") == "LPI"
