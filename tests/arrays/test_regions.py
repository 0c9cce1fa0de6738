import numpy as np
import pytest
from scipy import special

from score_jax.arrays import regions
from score_jax.arrays.regions import Region
from score_jax.errors import ConfigError

CORD, LESION = Region("cord", (1, 2), 1), Region("lesion", (2,), 2)


def test_there_and_back():
    labels = np.array([[0, 1, 2], [2, 1, 0]])
    masks = regions.masks_from_labels(labels, [CORD, LESION])
    np.testing.assert_array_equal(masks[..., 0], labels > 0)
    np.testing.assert_array_equal(masks[..., 1], labels == 2)
    np.testing.assert_array_equal(regions.labels_from_masks(masks, [CORD, LESION]), labels)


def test_a_lesion_outside_the_cord_stays_a_lesion():
    masks = np.array([[False, True]])
    np.testing.assert_array_equal(regions.labels_from_masks(masks, [CORD, LESION]), [2])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([LESION, CORD], "cord = .1, 2. -> 1 is written after lesion = .2. -> 2 and hides it"),
        ([], "got none"),
        ([CORD, Region("cord", (2,), 2)], "name 'cord' is used twice"),
        ([CORD, Region("lesion", (2,), 1)], "value 1 is used twice"),
    ],
)
def test_regions_that_cannot_be_written_are_refused(given, message):
    with pytest.raises(ConfigError, match=message):
        regions.check_regions(given)


@pytest.mark.parametrize("arguments", [("a", (), 1), ("a", (0,), 1), ("a", (1,), 0)])
def test_impossible_regions_are_refused(arguments):
    with pytest.raises(ConfigError, match="expected"):
        Region(*arguments)


def test_classes_go_to_the_last_region():
    masks = np.array([[True, False], [True, True], [False, False], [False, True]])
    got = regions.classes_from_masks(masks)
    np.testing.assert_array_equal(got.argmax(-1), [1, 2, 0, 2])
    assert (got.sum(-1) == 1).all()


def test_sigmoid_logits_to_masks_and_probabilities(rng):
    logits = rng.normal(0, 30, (3, 4, 5)).astype(np.float32)
    logits[0, 0, 0] = 0  # a probability of one half is not above one half
    five = [Region(str(n), (n,), n) for n in range(1, 6)]
    masks = regions.masks_from_logits(logits, five, exclusive=False)
    np.testing.assert_array_equal(masks, special.expit(logits) > 0.5)
    np.testing.assert_allclose(
        regions.probabilities(logits, five, exclusive=False), special.expit(logits), atol=1e-6
    )


def test_softmax_logits_and_what_lies_in_what(rng):
    logits = rng.normal(0, 3, (3, 4, 5)).astype(np.float32)
    four = [Region("cord", (1, 2, 3), 1), Region("gm", (2, 3), 2)]
    four += [Region("ah", (3,), 3), Region("lesion", (4,), 4)]
    masks = regions.masks_from_logits(logits, four, exclusive=True)
    winner = logits.argmax(-1)
    for number, classes in enumerate([(1, 2, 3), (2, 3), (3,), (4,)]):
        np.testing.assert_array_equal(masks[..., number], np.isin(winner, classes))
    shares = special.softmax(logits, -1)
    got = regions.probabilities(logits, four, exclusive=True)
    for number, classes in enumerate([(1, 2, 3), (2, 3), (3,), (4,)]):
        np.testing.assert_allclose(got[..., number], shares[..., classes].sum(-1), atol=1e-6)
    np.testing.assert_array_equal(regions.labels_from_masks(masks, four), winner)


def test_regions_are_written_and_read():
    for region in (CORD, LESION):
        assert Region.parse(str(region)) == region
    for text in ("cord", "cord = 1 -> 1", "cord = [] -> 1", "cord = [1] ->", "a b = [1] -> 1"):
        with pytest.raises(ConfigError, match=r"expected e\.g\. 'cord = "):
            Region.parse(text)
