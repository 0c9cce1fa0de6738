"""Simulated patches among those of a dataset: endless anatomies, contrasts, artefacts."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from score_jax.data.batches import Batch
from score_jax.phantom.randomise import Patches, training_batch


def mix(
    batches: Iterator[Batch],
    source: Patches,
    *,
    share: float,
    seeds: Sequence[int],
    regions: Sequence[str],
    first_step: int,
) -> Iterator[Batch]:
    """`batches` with a share of them replaced by simulated ones.

    Which ones, and what is in them, is a function of each member's seed and the step.

    Args:
      batches: of the steps from `first_step` on; images of one channel, 2-D.
      source: what to simulate; each member has its own seed.
      share: of the batches, 0 to 1.
      seeds: one a member.
      regions: names that the phantom knows, in the order of the masks' channels.
      first_step: of `batches`.
    """
    for step, (images, masks) in enumerate(batches, first_step):
        new_images, new_masks = images.copy(), masks.copy()
        for member, seed in enumerate(seeds):
            if np.random.default_rng([seed, step, 1]).random() >= share:
                continue
            own = dataclasses.replace(source, seed=seed)
            drawn = training_batch(own, step, size=images.shape[1], regions=regions)
            new_images[member] = drawn[0]
            new_masks[member] = 0  # also of the voxels to ignore: there are none
            new_masks[member][..., : len(regions)] = drawn[1]
        yield new_images, new_masks
