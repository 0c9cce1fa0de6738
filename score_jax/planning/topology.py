"""The shape of an nnU-Net: where it strides, how wide its kernels are, and what it costs.

Isensee et al., Nature Methods 2021 (supplement, "experiment planning"), in the details of nnU-Net
2.8.1. Pure functions of spacings and sizes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, prod
from typing import final

MIN_EDGE = 4  # voxels of the smallest feature map along an axis that was halved


@final
@dataclass(frozen=True, slots=True)
class Topology:
    """Strides and kernels of each stage, for one patch size.

    Args:
      strides: one tuple a stage, the first all ones.
      kernels: one tuple a stage, the last all threes.
      patch: the patch, enlarged to a multiple of `divisor`.
      divisor: 2 to the number of halvings, along each axis.
    """

    strides: tuple[tuple[int, ...], ...]
    kernels: tuple[tuple[int, ...], ...]
    patch: tuple[int, ...]
    divisor: tuple[int, ...]

    @property
    def stages(self) -> int:
        return len(self.strides)


def topology(spacing: Sequence[float], patch: Sequence[float]) -> Topology:
    """The deepest network for a patch: halve the fine axes until they are as coarse as the rest.

    Args:
      spacing: mm along each axis.
      patch: voxels along each axis (a half voxel, from a median, counts as more).

    >>> topology((3.0, 0.5, 0.5), (14, 40, 40)).strides
    ((1, 1, 1), (1, 2, 2), (1, 2, 2), (2, 2, 2))
    """
    axes = range(len(spacing))
    width, size = list(spacing), [float(n) for n in patch]
    kernel, halvings = [1] * len(spacing), [0] * len(spacing)
    strides, kernels = [(1,) * len(spacing)], []
    while True:
        large = [axis for axis in axes if size[axis] >= 2 * MIN_EDGE]
        fine = min((width[axis] for axis in large), default=0.0)
        chosen = [axis for axis in large if width[axis] / fine < 2]
        if not chosen or (len(chosen) == 1 and size[chosen[0]] < 3 * MIN_EDGE):
            break
        for axis in axes:  # once an axis is nearly isotropic, its kernel stays at three taps
            if width[axis] / min(width) < 2:
                kernel[axis] = 3
        kernels.append(tuple(kernel))
        strides.append(tuple(2 if axis in chosen else 1 for axis in axes))
        for axis in chosen:
            halvings[axis] += 1
            width[axis] *= 2
            size[axis] = ceil(size[axis] / 2)
    kernels.append((3,) * len(spacing))
    divisor = tuple(2**n for n in halvings)
    padded = tuple(int(ceil(n / d) * d) for n, d in zip(patch, divisor, strict=True))
    return Topology(tuple(strides), tuple(kernels), padded, divisor)


def feature_maps(
    shape: Topology,
    features: Sequence[int],
    convs_encoder: Sequence[int],
    convs_decoder: Sequence[int],
    outputs: int,
    *,
    residual: bool,
    deep_supervision: bool = False,
) -> int:
    """Numbers in all feature maps of one forward pass on one patch.

    nnU-Net's stand-in for the memory of a training step (``compute_conv_feature_map_size``); its
    planner leaves deep supervision off.

    Args:
      shape: strides and patch.
      features: channels of each stage.
      convs_encoder: convolutions (or residual blocks) of each stage.
      convs_decoder: convolutions of each decoder stage, from the lowest up.
      outputs: channels of the logits.
      residual: residual encoder with a stem.
      deep_supervision: count the logits of every decoder stage, not of the last alone.
    """
    size, voxels = list(shape.patch), []
    total = features[0] * prod(size) if residual else 0
    for stage, (stride, width) in enumerate(zip(shape.strides, features, strict=True)):
        size = [n // step for n, step in zip(size, stride, strict=True)]
        voxels.append(prod(size))
        maps = convs_encoder[stage]
        if residual:
            # the skip of a stage's first block has a map of its own unless it is the identity
            changed = width != features[max(stage - 1, 0)] or prod(stride) != 1
            maps = 2 * maps + int(changed)
        total += maps * width * voxels[-1]
    for stage, convs in enumerate(convs_decoder):
        level = shape.stages - 2 - stage
        total += (convs + 1) * features[level] * voxels[level]  # and the transposed convolution
    return total + outputs * sum(voxels[: shape.stages - 1] if deep_supervision else voxels[:1])
