"""Simulated patches among those of a dataset: endless anatomies, contrasts, artefacts."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from jaxtyping import Float32

from score_jax.data.batches import Batch

# images (b, *shape, 1) and masks (b, *shape, r) of a step
Draw = Callable[[int], tuple[Float32[np.ndarray, " b *s 1"], Float32[np.ndarray, " b *s r"]]]


def mix(
    batches: Iterator[Batch],
    draws: Sequence[Draw],
    *,
    share: float,
    seeds: Sequence[int],
    first_step: int,
) -> Iterator[Batch]:
    """`batches` with a share of them replaced by simulated ones.

    Which ones, and what is in them, is a function of each member's seed and the step.

    Args:
      batches: of the steps from `first_step` on; images of one channel.
      draws: one a member: the simulated images and masks of a step, as many as in a batch.
      share: of the batches, 0 to 1.
      seeds: one a member.
      first_step: of `batches`.
    """
    for step, (images, masks) in enumerate(batches, first_step):
        new_images, new_masks = images.copy(), masks.copy()
        for member, (seed, draw) in enumerate(zip(seeds, draws, strict=True)):
            if np.random.default_rng([seed, step, 1]).random() >= share:
                continue
            drawn = draw(step)
            new_images[member] = drawn[0]
            new_masks[member] = 0  # also of the voxels to ignore: there are none
            new_masks[member][..., : drawn[1].shape[-1]] = drawn[1]
        yield new_images, new_masks
