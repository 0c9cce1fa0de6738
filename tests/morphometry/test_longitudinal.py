"""Lesions of two scans joined by hand-made maps; the error of repeats by scipy and by hand."""

import math

import numpy as np
import pytest
from scipy import stats

from score_jax.morphometry.longitudinal import lesion_changes, repeat_error

SPACING = (1.0, 2.0, 0.5)  # a voxel is 1 mm3


def volumes(labels):
    return np.bincount(labels.ravel())[1:].astype(float)


def changes(before, after, **more):
    return lesion_changes(
        before, after, volumes(before), volumes(after), spacing=SPACING, **more
    )  # fmt: skip


def line(*runs, length=40):
    """A map of one row: (label, start, stop) each."""
    labels = np.zeros((3, 4, length), np.int32)
    for label, start, stop in runs:
        labels[1, 2, start:stop] = label
    return labels


@pytest.mark.parametrize(
    ("stop", "share", "error", "state"),
    [
        (14, 0.25, 0, "enlarging"),  # 10 to 14: 40 %
        (14, 0.4, 0, "stable"),  # a change must be more than the share
        (14, 0.25, 4, "stable"),  # and more than the error
        (14, 0.25, 3.9, "enlarging"),
        (7, 0.25, 0, "shrinking"),
        (12, 0.25, 0, "stable"),
    ],
)
def test_one_lesion(stop, share, error, state):
    (one,) = changes(line((1, 0, 10)), line((1, 0, stop)), share=share, error_mm3=error)
    assert (one.state, one.before, one.after) == (state, (1,), (1,))
    assert (one.before_mm3, one.after_mm3) == (10, stop)


def test_new_and_resolved():
    found = changes(line((1, 0, 3), (2, 10, 14)), line((1, 10, 14), (2, 20, 22)))
    assert [(c.state, c.before, c.after) for c in found] == [
        ("resolved", (1,), ()),
        ("stable", (2,), (1,)),
        ("new", (), (2,)),
    ]
    assert found[2].before_mm3 == 0
    assert found[2].after_mm3 == 2


def test_merged_and_split_ones_are_compared_as_one():
    (merged,) = changes(line((1, 0, 4), (2, 6, 10)), line((1, 0, 10)))
    assert (merged.before, merged.after) == ((1, 2), (1,))
    assert (merged.before_mm3, merged.after_mm3, merged.state) == (8, 10, "stable")
    (split,) = changes(line((1, 0, 10)), line((1, 0, 4), (2, 6, 10)))
    assert (split.before, split.after) == ((1,), (1, 2))
    # joined through others: 1-1, 1-2, 2-2
    (chain,) = changes(line((1, 0, 4), (2, 6, 12)), line((1, 0, 2), (2, 3, 8)))
    assert (chain.before, chain.after) == ((1, 2), (1, 2))


def test_reach_is_in_mm():
    before, after = line((1, 0, 10)), line((1, 12, 22))  # voxels 9 and 12: 1.5 mm apart
    assert len(changes(before, after, reach_mm=1.4)) == 2
    assert [c.state for c in changes(before, after, reach_mm=1.5)] == ["stable"]


def test_where_the_other_scan_does_not_look():
    covered = np.ones((3, 4, 40), bool)
    covered[:, :, 20:] = False
    before = line((1, 0, 5), (2, 18, 23))  # 3 of 5 voxels beyond
    found = changes(before, line(), covered=covered)
    assert [c.state for c in found] == ["resolved", "not covered"]
    found = changes(line((1, 0, 5), (2, 17, 22)), line(), covered=covered)  # 2 of 5
    assert [c.state for c in found] == ["resolved", "resolved"]
    # a lesion of the second scan that did not arrive on the first one's grid
    after = line((1, 30, 32))
    got = lesion_changes(line(), after, np.zeros(0), np.array([5.0, 7.0]), spacing=SPACING)
    assert [(c.state, c.after) for c in got] == [("not covered", (1,)), ("not covered", (2,))]
    got = lesion_changes(line(), after, np.zeros(0), np.array([4.0]), spacing=SPACING)
    assert [c.state for c in got] == ["new"]
    # one that is joined is compared, wherever it lies
    joined = changes(line((1, 18, 23)), line((1, 18, 23)), covered=covered)
    assert [c.state for c in joined] == ["stable"]


def test_nothing_before_and_after():
    assert changes(line(), line()) == []


def test_what_is_refused():
    with pytest.raises(ValueError, match="after: got shape"):
        changes(line(), line(length=41))
    with pytest.raises(ValueError, match="before: got lesion 2 and 1 volumes"):
        lesion_changes(line((2, 0, 1)), line(), np.ones(1), np.ones(0), spacing=SPACING)


def test_error_of_pairs_by_hand():
    """For pairs, the variance is the mean of half the squared differences."""
    pairs = [(10.0, 12.0), (20.0, 19.0), (5.0, 5.0)]
    error = repeat_error(pairs)
    assert error.sd == pytest.approx(math.sqrt((4 + 1 + 0) / 2 / 3))
    assert error.df == 3
    assert error.detectable == pytest.approx(1.96 * math.sqrt(2) * error.sd, rel=1e-4)


def test_error_is_the_residual_of_a_one_way_analysis(rng):
    groups = [list(rng.normal(m, 2, size=n)) for m, n in ((10, 3), (20, 2), (30, 4))]
    within = sum((len(g) - 1) * np.var(g, ddof=1) for g in groups) / (3 + 2 + 4 - 3)
    error = repeat_error([*groups, [7.0], [math.nan, 3.0]])
    assert error.sd == pytest.approx(math.sqrt(within))
    assert error.df == 6
    # scipy's F ratio is the variance between over the same variance within
    f = stats.f_oneway(*groups).statistic
    grand = np.mean(np.concatenate(groups))
    between = sum(len(g) * (np.mean(g) - grand) ** 2 for g in groups) / 2
    assert between / error.sd**2 == pytest.approx(f)


def test_without_repeats_nothing_is_known():
    error = repeat_error([[1.0], []])
    assert math.isnan(error.sd)
    assert math.isnan(error.detectable)
    assert error.df == 0
