"""From an image to the network's grid and back, by the rules a model carries with it.

The order is nnU-Net's: transpose, crop to non-zero, normalise, resample. Orientation comes
before it (`imaging.Volume.reoriented`), as it needs the affine.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Num
from scipy import ndimage

from score_jax.arrays import intensity, resampling
from score_jax.config import Preprocessing
from score_jax.errors import ConfigError
from score_jax.planning import labels


@dataclass(frozen=True, slots=True)
class Prepared:
    """An image on the network's grid, and the way back.

    Args:
      image: ``(x, y, z, c)`` in the network's axis order.
      spacing: its voxel size in mm (as planned; the extent decides the shape).
      full_shape: the shape before cropping, in the network's axis order.
      box: where the crop lies in `full_shape`.
      full_spacing: voxel size before resampling, in the network's axis order.
      transpose: the network's axis order in terms of the image's.
      outside: voxels of the crop that are 0 in every channel and not enclosed; None if there are
        none or they were not looked for.
    """

    image: Float32[np.ndarray, "x y z c"]
    spacing: tuple[float, ...]
    full_shape: tuple[int, ...]
    box: tuple[slice, ...]
    full_spacing: tuple[float, ...]
    transpose: tuple[int, ...]
    outside: Bool[np.ndarray, "x3 y3 z3"] | None = None

    @property
    def crop_shape(self) -> tuple[int, ...]:
        return tuple(s.stop - s.start for s in self.box)

    def targets(self, masks: Bool[np.ndarray, "x y z r"]) -> Bool[np.ndarray, "x2 y2 z2 r"]:
        """Region masks of the image on the network's grid.

        Resampled as the label map they came from: a voxel goes to the combination of regions
        with the largest share (`labels.resample_labels`).
        """
        turned = np.ascontiguousarray(masks.transpose(*self.transpose, 3)[self.box])
        shape = self.image.shape[:3]
        if shape == turned.shape[:3]:
            return turned
        packed = labels.pack(turned)
        if self.outside is not None:
            packed[(packed == 0) & self.outside] = -1  # nnU-Net: not even background
        axis = resampling.coarse_axis(self.full_spacing, self.spacing)
        return labels.unpack(labels.resample_labels(packed, shape, separate=axis), masks.shape[-1])

    def restore(
        self, channel: Float[np.ndarray, "x2 y2 z2"], *, outside: float
    ) -> Float32[np.ndarray, "x y z"]:
        """One output channel back on the image's grid and axis order.

        Args:
          channel: logits (or probabilities) of one region on the network's grid.
          outside: the value beyond the crop.
        """
        axis = resampling.coarse_axis(self.spacing, self.full_spacing)
        inner = resampling.resample(channel, self.crop_shape, order=1, separate=axis)
        full = np.full(self.full_shape, outside, np.float32)
        full[self.box] = inner
        return full.transpose(np.argsort(self.transpose))


def prepare(
    image: Num[np.ndarray, "x y z c"], spacing: Sequence[float], spec: Preprocessing
) -> Prepared:
    """`image` on the network's grid.

    Args:
      image: in canonical orientation, channels last.
      spacing: its voxel size in mm.
      spec: the model's rules.

    Raises:
      ConfigError: `spec` names another number of channels than the image has.
    """
    turned = image.transpose(*spec.transpose, 3).astype(np.float32)
    here = tuple(float(spacing[axis]) for axis in spec.transpose)
    wanted = spec.spacing_mm or (0.0, 0.0, 0.0)
    target = tuple(new or old for new, old in zip(wanted, here, strict=True))
    mask = nonzero_mask(turned) if spec.crop_nonzero or spec.mask_normalization else None
    box = bounding_box(mask) if spec.crop_nonzero and mask is not None else _whole(turned.shape)
    inner = turned[box]
    outside = None if mask is None or mask[box].all() else ~mask[box]
    inner_mask = mask[box] if spec.mask_normalization and mask is not None else None
    if spec.highpass_sigma_mm:
        high = [
            intensity.highpass(c, here, spec.highpass_sigma_mm) for c in np.moveaxis(inner, 3, 0)
        ]
        inner = np.concatenate([inner, np.stack(high, axis=-1)], axis=-1)
    schemes = spec.normalization
    if len(schemes) == 1:
        schemes = schemes * inner.shape[-1]
    if len(schemes) != inner.shape[-1]:
        raise ConfigError(
            f"preprocessing.normalization: got {len(schemes)} entries for {inner.shape[-1]} "
            "channels; expected one, or one a channel"
        )
    shape = resampling.resampled_shape(inner.shape[:3], here, target)
    axis = resampling.coarse_axis(here, target)
    channels = []
    for number, scheme in enumerate(schemes):
        channel = normalize(inner[..., number], scheme, spec, number, inner_mask)
        channels.append(
            resampling.resample(channel.astype(np.float32), shape, order=spec.order, separate=axis)
        )
    return Prepared(
        image=np.stack(channels, axis=-1),
        spacing=target,
        full_shape=turned.shape[:3],
        box=box,
        full_spacing=here,
        transpose=spec.transpose,
        outside=outside,
    )


def normalize(
    channel: Float32[np.ndarray, "x y z"],
    scheme: str,
    spec: Preprocessing,
    number: int,
    mask: Bool[np.ndarray, "x y z"] | None,
) -> Float[np.ndarray, "x y z"]:
    """One channel normalised by its scheme; `number` picks its CT statistics."""
    if scheme == "zscore":
        return intensity.zscore(channel, mask)
    if scheme == "rescale":
        return intensity.rescale(channel)
    if scheme == "ct":
        return intensity.ct(channel, spec.ct_statistics[number])
    return channel


def nonzero_mask(image: Num[np.ndarray, "x y z c"]) -> Bool[np.ndarray, "x y z"]:
    """Where any channel is not 0, holes filled (nnU-Net's ``create_nonzero_mask``)."""
    filled = ndimage.binary_fill_holes((image != 0).any(axis=-1))
    return np.asarray(filled, bool)


def bounding_box(mask: Bool[np.ndarray, "x y z"]) -> tuple[slice, ...]:
    """The smallest box that holds the mask; the whole array if it is empty."""
    if not mask.any():
        return _whole(mask.shape)
    box = []
    for axis in range(mask.ndim):
        rest = tuple(a for a in range(mask.ndim) if a != axis)
        index = np.flatnonzero(mask.any(axis=rest))
        box.append(slice(int(index[0]), int(index[-1]) + 1))
    return tuple(box)


def _whole(shape: tuple[int, ...]) -> tuple[slice, ...]:
    return tuple(slice(0, n) for n in shape[:3])
