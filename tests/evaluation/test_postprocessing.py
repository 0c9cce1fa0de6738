"""The search for rules: each decision on masks small enough to count by hand."""

import numpy as np
import pytest

from score_jax.arrays.cleaning import Rule
from score_jax.arrays.regions import Region, masks_from_labels
from score_jax.errors import ConfigError
from score_jax.evaluation.postprocessing import HeldOut, find, score

REGIONS = (Region("cord", (1, 2), 1), Region("lesion", (2,), 2))
CORD_ONLY = (Region("cord", (1,), 1),)
SPACING = (1.0, 1.0, 1.0)


def case(predicted, reference, regions=REGIONS, spacing=SPACING):
    masks = [
        masks_from_labels(np.array(list(map(int, text))).reshape(-1, 1, 1), regions)
        for text in (predicted, reference)
    ]
    return HeldOut(*masks, spacing)


def taken(found):
    return [str(rule) for rule in found.rules]


def test_a_false_island_goes():
    #            before: cord 2*6/(8+6), lesion 2*2/(3+2); after: 1 and 1
    found = find([case("1122110022"[:10], "1122110000")], REGIONS)
    assert taken(found) == ["only the largest component of cord and lesion"]
    first = found.trials[0]
    assert first.before == pytest.approx((2 * 6 / 14 + 2 * 2 / 6) / 2)
    assert first.after == 1
    assert [trial.accepted for trial in found.trials] == [True, False, False]
    assert found.before["cord"].dice == pytest.approx(12 / 14)
    assert found.after["cord"].dice == 1


def test_the_mean_must_rise_and_no_region_fall():
    # the true lesion lies apart from a larger cord: removing it raises nothing
    found = find([case("1111102", "1111102")], REGIONS)
    assert not found.rules
    # cord gains more than lesion loses: the mean rises, but one region falls
    gain = case("11110110000", "11110000000")
    loss = case("1" + 20 * "2" + "02", "1" + 20 * "2" + "02")
    found = find([gain, gain, gain, loss], REGIONS)
    first = found.trials[0]
    assert first.before == pytest.approx(((3 * 0.8 + 1) / 4 + 1) / 2)
    assert first.after == pytest.approx(((3 + 42 / 43) / 4 + 40 / 41) / 2)
    assert first.after > first.before
    assert not first.accepted
    # of a single region only its own Dice is asked, and the lesion's falls with the cord's island
    assert taken(found) == ["only the largest component of cord"]
    assert found.after["lesion"].dice == pytest.approx(40 / 41)


def test_a_region_alone_asks_only_for_its_own_dice():
    # two lesions in the cord, the small one false: nnU-Net takes it out and leaves a hole
    found = find([case("1221121", "1221111")], REGIONS)
    assert taken(found) == ["only the largest component of lesion"]
    assert found.after["lesion"].dice == 1
    assert found.after["cord"].dice == pytest.approx(2 * 6 / 13)
    assert found.before["cord"].dice == 1


def test_one_region_is_tried_once():
    found = find([case("1101", "1100", CORD_ONLY)], CORD_ONLY)
    assert taken(found) == ["only the largest component of cord"]
    assert len(found.trials) == 1


def test_equal_dice_is_not_enough():
    found = find([case("111100", "111100")], REGIONS)
    assert not found.rules
    assert [trial.after for trial in found.trials[1:2]] == [1.0]


def test_a_region_that_never_occurs_decides_nothing():
    # lesion's Dice is NaN, so is the mean over the regions: only the cord's own rule is taken
    found = find([case("110010", "110000")], REGIONS)
    assert np.isnan(found.trials[0].before)
    assert taken(found) == ["only the largest component of cord"]
    assert np.isnan(found.after["lesion"].dice)
    assert np.isnan(found.after["lesion"].sensitivity)


def test_rules_build_on_those_before():
    # after the island is gone the second lesion is tried on what is left
    found = find([case("122112100222", "122111100000")], REGIONS)
    assert taken(found) == [
        "only the largest component of cord and lesion",
        "only the largest component of lesion",
    ]
    lesion = found.trials[2]
    assert lesion.before == pytest.approx(2 * 2 / 5)  # not 4 / 8, which the island had cost
    assert lesion.after == 1


def test_the_smallest_volume_is_the_best_one_and_must_help():
    cases = [case("12111221112221", "11111221112221"), case("122211211", "122211111")]
    found = find(cases, REGIONS, min_size=["lesion"], sizes_mm3=(1.0, 2.0, 3.0))
    assert found.trials[-1].rule.min_mm3 == 2  # 1 removes nothing, 3 a true lesion
    assert taken(found)[-1] == "no component of lesion below 2 mm3"
    assert found.after["lesion"].dice == 1
    assert found.after["cord"].dice == 1  # what goes is cord again, no hole
    assert (found.before["lesion"].false, found.after["lesion"].false) == (2, 0)
    none = find(cases, REGIONS, min_size=["lesion"], sizes_mm3=(3.0,))
    assert not none.rules
    assert not find(cases, REGIONS, min_size=["lesion"], sizes_mm3=()).rules


def test_of_equally_good_volumes_the_smallest():
    twice = [case("122211211122", "122211111122")]
    found = find(twice, REGIONS, min_size=["lesion"], sizes_mm3=(2.0, 1.5, 1.0))
    assert taken(found) == ["no component of lesion below 1.5 mm3"]


def test_a_volume_that_costs_another_region_is_not_taken():
    # a lesion found where the truth is cord, and no cord found there: written, it counts as cord
    predicted = np.zeros((12, 1, 1, 2), bool)
    predicted[1:4], predicted[8:10] = True, True
    predicted[5, ..., 1] = True
    reference = predicted.copy()
    reference[5] = (True, False)
    held = HeldOut(predicted, reference, SPACING)
    found = find([held], REGIONS, min_size=["lesion"], sizes_mm3=(2.0,))
    last = found.trials[-1]
    assert (last.before, last.after) == (pytest.approx(10 / 11), 1.0)
    assert not last.accepted
    assert not found.rules


def test_components_touch_by_corners():
    predicted = np.zeros((3, 3, 3, 1), bool)
    predicted[0, 0, 0] = predicted[1, 1, 1] = True
    (scores,) = score([HeldOut(predicted, predicted, SPACING)], CORD_ONLY).values()
    assert (scores.lesions, scores.found, scores.false) == (1, 1, 0)


def test_volumes_are_millimetres():
    cases = [case("12111221", "11111221", spacing=(0.5, 1.0, 1.0))]
    found = find(cases, REGIONS, min_size=["lesion"], sizes_mm3=(0.5, 1.0, 2.0))
    # largest component first: it does the same; so look at the trial alone
    assert taken(found) == ["only the largest component of lesion"]
    kept = case("12111221", "11111221", spacing=(0.5, 1.0, 1.0)).cleaned(
        [Rule(kind="min_size", regions=("lesion",), min_mm3=1.0)], REGIONS
    )
    np.testing.assert_array_equal(kept.predicted, kept.reference)


def test_lost_lesions_are_counted():
    # a rule that raises Dice and loses a true lesion: the report must show it
    predicted = "1221112221111111112111112111"
    reference = "1111112221111111112111111111"
    found = find([case(predicted, reference)], REGIONS)
    assert taken(found) == ["only the largest component of lesion"]
    assert (found.before["lesion"].found, found.before["lesion"].lesions) == (2, 2)
    assert (found.after["lesion"].found, found.after["lesion"].lesions) == (1, 2)
    assert found.after["lesion"].sensitivity == 0.5
    assert (found.before["lesion"].false, found.after["lesion"].false) == (2, 0)


def test_scores_over_cases_are_nnunets():
    scores = score([case("1100", "1110"), case("0000", "0000"), case("2200", "1200")], REGIONS)
    assert scores["cord"].dice == pytest.approx((0.8 + 1) / 2)  # the empty case does not count
    assert scores["lesion"].dice == pytest.approx(2 / 3)
    assert scores["cord"].lesions == 2
    assert scores["lesion"].sensitivity == 1


def test_cropping_changes_no_score(rng):
    predicted = rng.random((9, 8, 7, 2)) < 0.05
    reference = rng.random((9, 8, 7, 2)) < 0.05
    for array in (predicted, reference):
        array[:2], array[:, 6:] = False, False
    whole = HeldOut(predicted, reference, (0.5, 0.7, 3.0))
    small = whole.cropped()
    assert small.predicted.size < predicted.size
    rule = Rule(kind="min_size", regions=("lesion",), min_mm3=2.0)
    for one in ([], [rule]):
        assert score([small.cleaned(one, REGIONS)], REGIONS) == score(
            [whole.cleaned(one, REGIONS)], REGIONS
        )
    empty = HeldOut(predicted & False, reference & False, SPACING).cropped()
    assert empty.predicted.shape == (1, 1, 1, 2)


def test_what_cannot_be_searched_is_refused():
    with pytest.raises(ConfigError, match="no held-out case"):
        find([], REGIONS)
    with pytest.raises(ConfigError, match=r"got the region 'tail'; expected one of cord, lesion"):
        find([case("1", "1")], REGIONS, min_size=["tail"])
