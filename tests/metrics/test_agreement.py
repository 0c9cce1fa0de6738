"""Published worked examples of each coefficient, and slow versions of the formulas."""

import math

import numpy as np
import pytest

from score_jax.errors import GeometryError
from score_jax.metrics import assd, dice, fleiss_kappa, icc, kappa, pairwise, rsd

# Shrout and Fleiss 1979, table 2: six targets, four judges
JUDGES = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]


@pytest.mark.parametrize(
    ("form", "value"),
    [
        ("1,1", 0.166),
        ("A,1", 0.290),
        ("C,1", 0.715),
        ("1,k", 0.443),
        ("A,k", 0.620),
        ("C,k", 0.909),
    ],
)
def test_icc_of_the_paper(form, value):
    assert icc(JUDGES, form) == pytest.approx(value, abs=5e-4)


def test_icc_leaves_out_incomplete_rows():
    assert icc([*JUDGES, [1, 2, math.nan, 4]]) == pytest.approx(icc(JUDGES))
    assert icc(JUDGES) == icc(JUDGES, "A,1")


def test_icc_without_evidence():
    assert math.isnan(icc([[1.0, 2.0]]))
    assert math.isnan(icc([[1.0], [2.0]]))
    assert math.isnan(icc([[3.0, 3.0], [3.0, 3.0]]))
    assert icc([[1.0, 1.0], [2.0, 2.0], [4.0, 4.0]]) == pytest.approx(1)
    with pytest.raises((ValueError, TypeError), match="ratings"):
        icc(np.arange(3.0))
    with pytest.raises((ValueError, TypeError), match="form"):
        icc(JUDGES, "2,1")


def test_rsd():
    assert rsd([3.0, 5.0]) == pytest.approx(100 * math.sqrt(2) * 2 / 8)
    assert rsd([3.0, 5.0], ddof=0) == pytest.approx(100 * 2 / 8)
    assert rsd([0.0, 7.0]) == pytest.approx(141.421356, rel=1e-6)
    assert math.isnan(rsd([0.0, 0.0]))
    assert math.isnan(rsd([4.0]))
    assert math.isnan(rsd([1.0, math.nan]))
    table = np.array([[1.0, 2, 3], [2, 2, 2], [0, 0, 0]])
    np.testing.assert_allclose(rsd(table), [50, 0, math.nan])
    np.testing.assert_allclose(rsd(table.T, axis=0), [50, 0, math.nan])
    assert rsd(table[:, :1]).shape == (3,)


def test_kappa_of_a_table():
    # 20 both yes, 5 first only, 10 second only, 15 neither: po 0.7, pe 0.5
    a = np.array([1] * 25 + [0] * 25)
    b = np.array([1] * 20 + [0] * 5 + [1] * 10 + [0] * 15)
    assert kappa(a, b) == pytest.approx(0.4)
    assert kappa(a.astype(bool), b > 0) == pytest.approx(0.4)
    assert kappa(a * 3, b * 3) == pytest.approx(0.4)


def test_kappa_of_labels_and_of_nothing():
    a, b = np.array([0, 0, 1, 1, 2, 2]), np.array([0, 1, 1, 1, 2, 0])
    # po = 4/6; pe = (2*2 + 2*3 + 2*1) / 36
    assert kappa(a, b) == pytest.approx((4 / 6 - 12 / 36) / (1 - 12 / 36))
    zeros = np.zeros(6, int)
    assert kappa(zeros, b > 0) == 0
    assert math.isnan(kappa(zeros, zeros))
    with pytest.raises(GeometryError, match=r"\(6,\).*\(5,\)"):
        kappa(a, b[:-1])


def test_fleiss_of_the_textbook():
    # ten subjects, fourteen raters, five categories: kappa 0.210
    table = [
        *([0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1]),
        *([7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7]),
    ]
    votes = np.array([np.repeat(np.arange(5), row) for row in table]).T
    assert fleiss_kappa(votes) == pytest.approx(0.210, abs=5e-4)
    assert fleiss_kappa(list(votes)) == fleiss_kappa(votes)


def test_fleiss_at_the_ends(rng):
    mask = rng.random((4, 5, 3)) > 0.5
    assert fleiss_kappa([mask, mask, mask]) == pytest.approx(1)
    assert math.isnan(fleiss_kappa([np.zeros(3), np.zeros(3)]))
    with pytest.raises(ValueError, match="got 1; expected two or more"):
        fleiss_kappa([mask])


def test_pairs_of_raters(rng):
    masks = rng.random((3, 4, 5, 6)) > 0.5
    table = pairwise(masks)
    assert table[0, 2] == table[2, 0] == dice(masks[0], masks[2])
    assert np.diag(table).tolist() == [1, 1, 1]
    distances = pairwise(list(masks), lambda a, b: assd(a, b, (1, 1, 2)))
    assert distances[1, 2] == assd(masks[1], masks[2], (1, 1, 2))
    with pytest.raises(GeometryError, match=r"\(4, 5, 6\) first and \(4, 5, 5\) as number 2"):
        pairwise([masks[0], masks[1][..., :-1]])
