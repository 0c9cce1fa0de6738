"""The six rules of automatic failure detection, each by hand, and the counts against a truth."""

import math

import numpy as np
import pytest

from score_jax.study.failures import (
    REASONS,
    Detection,
    FailureRules,
    detection,
    failed,
    flags,
)

SHAPE = (40, 44, 5)


def box(x, y, z=slice(None)):
    mask = np.zeros(SHAPE, bool)
    mask[x[0] : x[1], y[0] : y[1], z] = True
    return mask


@pytest.fixture
def good():
    """A square cord of 400 pixels with grey matter of 80 (a share of .20) in five slices."""
    return box((10, 30), (10, 30)), box((16, 26), (16, 24))


def test_nothing_is_wrong_with_good_slices(good):
    cord, gm = good
    assert flags(cord, gm, votes_cord=[cord, cord], votes_gm=[gm, gm]) == [""] * 5
    assert set(REASONS) == set("abcdef")


def test_a_an_empty_cord_and_only_that_rule_speaks(good):
    cord, gm = good
    cord[..., 2], gm[..., 2] = False, False
    assert flags(cord, gm)[2] == "a"


def test_a_a_second_piece_counts_above_its_share(good):
    cord, gm = good
    cord[34:39, 34:37, 1] = True  # 15 of 415 pixels: 3.6 %
    cord[34:39, 34:39, 3] = True  # 25 of 425: 5.9 %
    found = flags(cord, gm, rules=FailureRules(solidity=0.0))
    assert found == ["", "", "", "a", ""]
    assert "a" not in flags(cord, gm, rules=FailureRules(piece=0.06))[3]


@pytest.mark.parametrize("where", [(0, 20), (39, 20), (20, 0), (20, 43)])
def test_a_a_pixel_at_the_border(good, where):
    cord, gm = good
    cord[(*where, 0)] = True
    assert flags(cord, gm)[0].split(";")[0] == "a"


def test_b_the_area_is_compared_with_the_median_of_four_neighbours(good):
    cord, gm = good
    cord[10:30, 26:30, 2] = False  # 320 of 400: ln = -.223
    assert flags(cord, gm)[2] == ""
    cord[10:30, 25:30, 2] = False  # 300: ln = -.288
    assert flags(cord, gm)[2] == "b"
    # two slices alone see each other: the larger one is odd, too
    assert flags(cord[..., 1:3], gm[..., 1:3]) == ["b", "b"]
    assert flags(cord[..., 2:3], gm[..., 2:3]) == [""]  # nothing to compare with


def test_b_the_share_of_grey_matter(good):
    cord, gm = good
    gm[..., 0] = False
    gm[12:18, 12:18, 0] = True  # 36 of 400 = .09
    gm[12:28, 12:21, 4] = True  # more than .32
    found = flags(cord, gm)
    assert [row == "b" for row in found] == [True, False, False, False, True]


def test_c_grey_matter_outside_the_cord_or_in_pieces(good):
    cord, gm = good
    gm[31, 31, 1] = True
    gm[..., 2] = False
    for k in range(5):  # five pieces of 12 pixels
        gm[10 + 4 * k : 12 + 4 * k, 12:18, 2] = True
    for k in range(4):
        gm[10 + 4 * k : 13 + 4 * k, 12:17, 3] = False
    found = flags(cord, gm)
    assert found[1] == "c"
    assert found[2] == "c"
    gm[..., 4] = False
    assert flags(cord, gm)[4] == "b;c"  # no grey matter at all


def test_d_networks_that_disagree(good):
    cord, gm = good
    other = cord.copy()
    other[10:14, :, 3] = False  # Dice 2 x 320 / 720 = .889
    assert flags(cord, gm, votes_cord=[cord, other])[3] == "d"
    # the mean over the three pairs: (1 + .889 + .889) / 3 = .926
    assert flags(cord, gm, votes_cord=[cord, cord, other]) == [""] * 5
    assert flags(cord, gm, votes_cord=[other]) == [""] * 5  # one alone agrees
    half = gm.copy()
    half[16:22, :, 0] = False  # 32 of 80: Dice 64 / 112 = .571
    assert flags(cord, gm, votes_gm=[gm, half])[0] == "d"
    nothing = np.zeros_like(gm)
    assert flags(cord, gm, votes_gm=[nothing, nothing]) == [""] * 5  # both find nothing: agreed


def test_e_a_cord_that_is_not_convex(good):
    cord, gm = good
    cord[10:18, 10:17, 1] = False  # a corner: 344 of about 372
    cord[18:22, 10:26, 3] = False  # a slit of 64 pixels
    found = flags(cord, gm, rules=FailureRules(gm_pieces=(0, 9), gm_share=(0, 1)))
    assert "e" not in found[0] + found[1]
    assert "e" in found[3].split(";")
    assert "e" not in flags(cord, gm, rules=FailureRules(solidity=0.5))[3].split(";")


def test_f_a_lesion_that_fills_the_cord(good):
    cord, gm = good
    lesion = box((10, 30), (10, 22), 2)  # 240 of 400 = .60: not above
    assert flags(cord, gm, lesion)[2] == ""
    lesion[10:30, 22, 2] = True
    assert flags(cord, gm, lesion)[2] == "f"
    lesion[:, :, 2] = True  # outside the cord it does not count
    lesion[10:30, 16:30, 2] = False
    assert flags(cord, gm, lesion)[2] == ""


def test_failures_against_the_truth(good):
    cord, gm = good
    found, grey = cord.copy(), gm.copy()
    found[10:14, :, 1] = False  # .889 < .90
    grey[16:22, :, 2] = False  # .571 < .60
    grey[16:21, :, 3] = False  # 40 of 80: .667
    assert failed(found, grey, cord, gm).tolist() == [False, True, True, False, False]
    assert not failed(found, grey, cord, gm, least_cord=0.8, least_gm=0.5).any()
    empty = np.zeros_like(cord)
    assert not failed(empty, empty, empty, empty).any()
    assert failed(empty, empty, cord, gm).all()


def test_detection_by_hand():
    flagged = np.array([1, 1, 0, 0, 0, 1], bool)
    truth = np.array([1, 0, 1, 0, 0, 1], bool)
    found = detection(flagged, truth)
    assert found == Detection(found=2, missed=1, false=1, passed=2)
    assert found.sensitivity == pytest.approx(2 / 3)
    assert found.specificity == pytest.approx(2 / 3)
    nobody = detection(flagged, np.zeros(6, bool))
    assert math.isnan(nobody.sensitivity)
    assert nobody.specificity == 0.5
    assert math.isnan(detection(flagged, np.ones(6, bool)).specificity)
