"""Patches of training images: which case, which place, which voxels.

A batch is a pure function of the seed and the step, so a run that resumes at step n draws what
an uninterrupted one would have drawn.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, final

import numpy as np
from jaxtyping import Float32, Int, UInt8

from score_jax.config import SamplingConfig
from score_jax.data.prepared import PreparedDataset
from score_jax.data.stored import StoredSample, shares


@final
@dataclass(frozen=True, slots=True)
class Member:
    """Whose batches: one network of an ensemble, or the only one.

    Args:
      seed: of its order of cases and places.
      cases: ids of its training cases.
      rater: number of the rater whose masks it learns, "any" (one drawn for every patch), or "mean"
        (the share of raters that marked a voxel); None where each case was drawn on once.
    """

    seed: int
    cases: tuple[str, ...]
    rater: int | Literal["any", "mean"] | None = None


@final
@dataclass(frozen=True, slots=True)
class Patch:
    """A box of one case.

    Args:
      case: its id.
      rater: whose masks; None for the mean of all.
      starts: its first voxel; negative where it hangs over.
      shape: voxels along each axis.
    """

    case: str
    rater: int | None
    starts: tuple[int, ...]
    shape: tuple[int, ...]


def choose_patches(
    prepared: PreparedDataset,
    member: Member,
    sampling: SamplingConfig,
    *,
    shape: Sequence[int],
    slice_axis: int,
    step: int,
) -> list[Patch]:
    """The patches of one training step, a function of the member's seed and the step alone.

    Every case is as likely as another. The last patches of a batch are centred on a voxel of a
    region: the share ``sampling.foreground`` of them, rounded, and at least one where that share
    is above 0. Each region that the case has is as likely as another, so that a lesion nested in
    the cord is not drowned by it. The other patches lie anywhere.

    Args:
      prepared: holds the member's cases.
      member: whose batch.
      sampling: patch size and batch size; a 2-D patch is one slice.
      shape: what to cut, at least the patch: augmentation turns and shrinks the larger box and
        keeps the patch in its middle.
      slice_axis: the axis across the slices, for 2-D patches.
      step: of the run.

    Source: nnU-Net's ``nnUNetDataLoader``.
    """
    rng = np.random.default_rng([member.seed, step])
    forced = round(sampling.batch * sampling.foreground)
    forced = max(forced, 1) if sampling.foreground > 0 else 0
    patches = []
    for slot in range(sampling.batch):
        sample = prepared[member.cases[int(rng.integers(len(member.cases)))]]
        rater = member.rater or 0
        if isinstance(rater, str):
            rater = int(rng.integers(sample.raters))
        centre = None
        if slot >= sampling.batch - forced:
            centre = choose_centre(sample, rater, rng)
        starts = [
            place(n, inner, outer, None if centre is None else int(centre[axis]), rng)
            for axis, (n, inner, outer) in enumerate(
                zip(
                    sample.shape,
                    in_space(sampling.patch, slice_axis),
                    in_space(shape, slice_axis),
                    strict=True,
                )
            )
        ]
        patches.append(
            Patch(
                sample.id,
                None if member.rater == "mean" else rater,
                tuple(starts),
                in_space(shape, slice_axis),
            )
        )
    return patches


def choose_centre(
    sample: StoredSample, rater: int, rng: np.random.Generator
) -> Int[np.ndarray, " 3"] | None:
    """A voxel of one of the regions that a rater drew; None if there is none."""
    counts = sample.voxels[rater]
    present = np.flatnonzero(counts)
    if not len(present):
        return None
    region = int(present[rng.integers(len(present))])
    return sample.voxel(rater, region, int(rng.integers(counts[region])))


def place(size: int, patch: int, shape: int, centre: int | None, rng: np.random.Generator) -> int:
    """First voxel, along one axis, of a box whose middle holds the patch.

    Without a centre the patch lies anywhere in the image, and in its middle where the image is
    smaller. With one, the box has it in the middle, except near the lower border, where the patch
    does not hang over; it may beyond the upper one (as in nnU-Net).

    Args:
      size: voxels of the image.
      patch: voxels of the patch.
      shape: voxels of the box, at least those of the patch.
      centre: a voxel of the image, or None.
      rng: used only without a centre.
    """
    around = max(shape - patch, shape - size)
    low = -((around + 1) // 2)
    if centre is not None:
        return max(low, centre - shape // 2)
    return int(rng.integers(low, size + (around + 1) // 2 - shape + 1))


def in_space(shape: Sequence[int], slice_axis: int) -> tuple[int, ...]:
    """A patch's size along the three axes of an image; one voxel across a 2-D patch."""
    if len(shape) == 3:
        return tuple(shape)
    return (*shape[:slice_axis], 1, *shape[slice_axis:])


def read_patches(
    prepared: PreparedDataset, patches: Sequence[Patch]
) -> tuple[
    Float32[np.ndarray, "b x y z c"],
    UInt8[np.ndarray, "b x y z r"] | Float32[np.ndarray, "b x y z r"],
]:
    """Images and masks of patches of one shape; 0 beyond the image.

    Masks are bytes of 0 or 1, or if some patch has the mean of several raters float32: their share.
    The last channel marks voxels to ignore where the dataset declares a label for them.
    """
    soft = any(patch.rater is None for patch in patches)
    shape, some = patches[0].shape, prepared[patches[0].case]
    images = np.zeros((len(patches), *shape, some.image_channels), np.float32)
    masks = np.empty((len(patches), *shape, some.channels), np.float32 if soft else np.uint8)
    reading = []  # all begin before the first is waited for
    for patch, image in zip(patches, images, strict=True):
        sample = prepared[patch.case]
        reading.append(
            (
                sample.begin_image(patch.starts, image),
                sample.begin_masks(patch.starts, patch.shape, patch.rater),
            )
        )
    for (image, packed), mask in zip(reading, masks, strict=True):
        image()
        shares(packed(), mask)
    return images, masks
