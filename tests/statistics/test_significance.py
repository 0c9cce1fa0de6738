"""P values: corrected as statsmodels does, printed as the journals do."""

import math

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from score_jax.statistics.outcome import as_values, complete, present
from score_jax.statistics.significance import benjamini_hochberg, bonferroni, format_p, stars

P = [0.001, 0.008, 0.039, 0.041, 0.042, 0.06, 0.074, 0.205]  # Benjamini and Hochberg 1995, in part


def test_corrections_are_those_of_statsmodels():
    np.testing.assert_allclose(benjamini_hochberg(P), multipletests(P, method="fdr_bh")[1])
    np.testing.assert_allclose(bonferroni(P), multipletests(P, method="bonferroni")[1])


@pytest.mark.parametrize("function", [benjamini_hochberg, bonferroni])
def test_a_missing_p_is_no_member_of_the_family(function):
    with_gap = function([P[0], math.nan, *P[1:]])
    assert math.isnan(with_gap[1])
    np.testing.assert_allclose(np.delete(with_gap, 1), function(P))
    assert function([]).size == 0
    assert np.isnan(function([math.nan])).all()


@pytest.mark.parametrize(
    ("p", "text", "mark"),
    [
        (0.00099, "<.001", "***"), (0.001, ".001", "**"), (0.0096, ".010", "**"),
        (0.0499, ".050", "*"), (0.05, ".050", ""), (0.5, ".500", ""), (1.0, "1.000", ""),
        (math.nan, "n.a.", ""), (0.0, "<.001", "***"),
    ],
)  # fmt: skip
def test_format(p, text, mark):
    assert format_p(p) == text
    assert stars(p) == mark


def test_values():
    np.testing.assert_array_equal(as_values([1, None, math.inf]), [1, math.nan, math.nan])
    np.testing.assert_array_equal(present(np.array([3.0, math.nan, 1.0])), [3, 1])
    a, b = complete([1, math.nan, 3], [4, 5, 6])
    np.testing.assert_array_equal(a, [1, 3])
    np.testing.assert_array_equal(b, [4, 6])
    with pytest.raises(ValueError, match="one axis"):
        as_values(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="equal lengths"):
        complete([1.0], [1.0, 2.0])
