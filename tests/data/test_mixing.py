"""Simulated batches among others: which, and the same ones again."""

import numpy as np

from score_jax.data.mixing import mix
from score_jax.phantom.randomise import Patches, training_batch

SEEDS = (5, 6)


def draw(seed):
    source = Patches(seed=seed, shape=(16, 18), spacing_mm=1.0, contrast="T2w")
    return lambda step: training_batch(source, step, size=3, regions=("cord", "gm"))


def plain(first, last):
    for _ in range(first, last):
        yield np.full((2, 3, 16, 18, 1), 7, np.float32), np.full((2, 3, 16, 18, 3), 1, np.float32)


def mixed(share, first=0, last=6):
    draws = [draw(seed) for seed in SEEDS]
    return list(mix(plain(first, last), draws, share=share, seeds=SEEDS, first_step=first))


def test_none_and_all():
    for images, masks in mixed(0.0, last=2):
        assert (images == 7).all()
        assert (masks == 1).all()
    images, masks = mixed(1.0, last=1)[0]
    for member, seed in enumerate(SEEDS):
        want = draw(seed)(0)
        np.testing.assert_array_equal(images[member], want[0])
        np.testing.assert_array_equal(masks[member][..., :2], want[1])
    assert (masks[..., 2] == 0).all()  # nothing to ignore


def test_a_share_is_drawn_by_seed_and_step():
    whole = mixed(0.5)
    from_phantom = np.array([[(image != 7).any() for image in images] for images, _ in whole])
    assert 0 < from_phantom.sum() < from_phantom.size
    for (images, masks), (again, others) in zip(mixed(0.5, first=3), whole[3:], strict=True):
        np.testing.assert_array_equal(images, again)
        np.testing.assert_array_equal(masks, others)
