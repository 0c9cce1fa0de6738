"""From an image to the network's grid and back, by the rules a model carries with it.

The order is nnU-Net's: transpose, crop to non-zero, normalise, resample. Orientation comes
before it (`imaging.Volume.reoriented`), as it needs the affine.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Float32, Num, Shaped
from scipy import ndimage

from score_jax.arrays import components, intensity, resampling
from score_jax.arrays.components import Box
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
      box: where the crop lies in `full_shape` (to non-zero voxels, or a part that was asked for).
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
        return self.uncrop(self.resample_back(channel), outside=outside)

    def resample_back(
        self, channel: Float[np.ndarray, "x2 y2 z2"]
    ) -> Float32[np.ndarray, "x3 y3 z3"]:
        """One output channel on the image's voxels, in the crop and the network's axis order."""
        axis = resampling.coarse_axis(self.spacing, self.full_spacing)
        inner = resampling.resample(channel, self.crop_shape, order=1, separate=axis)
        return inner.astype(np.float32, copy=False)

    def slabs_back(
        self, outputs: Float32[np.ndarray, "x2 y2 z2 k"]
    ) -> Iterator[tuple[Box, Float32[np.ndarray, "x4 y4 z4 k"]]]:
        """`resample_back` of all channels, some planes at a time: where in the crop, and values."""
        axis = resampling.coarse_axis(self.spacing, self.full_spacing)
        return resampling.slabs(outputs, self.crop_shape, separate=axis)

    def uncrop(
        self, inner: Shaped[np.ndarray, "x3 y3 z3"], *, outside: float
    ) -> Shaped[np.ndarray, "x y z"]:
        """Values of the crop in the whole image and its axis order, `outside` beyond the crop.

        A view of `inner` if nothing was cropped.
        """
        full = inner
        if inner.shape != self.full_shape:
            full = np.full(self.full_shape, outside, inner.dtype)
            full[self.box] = inner
        return full.transpose(np.argsort(self.transpose))

    def way_back(self) -> "Prepared":
        """This without its image, which only the network needs."""
        return replace(self, image=np.zeros((0, 0, 0, 0), np.float32))


def prepare(
    image: Num[np.ndarray, "x y z c"],
    spacing: Sequence[float],
    spec: Preprocessing,
    *,
    within: Box | None = None,
) -> Prepared:
    """`image` on the network's grid.

    Args:
      image: in canonical orientation, channels last.
      spacing: its voxel size in mm.
      spec: the model's rules.
      within: the box of the image that is wanted; intensities are normalised by all of it.

    Raises:
      ConfigError: `spec` names another number of channels than the image has.
    """
    turned = image.transpose(*spec.transpose, 3).astype(np.float32, copy=False)
    here = tuple(float(spacing[axis]) for axis in spec.transpose)
    wanted = spec.spacing_mm or (0.0, 0.0, 0.0)
    target = tuple(new or old for new, old in zip(wanted, here, strict=True))
    mask = nonzero_mask(turned) if spec.crop_nonzero or spec.mask_normalization else None
    box = bounding_box(mask) if spec.crop_nonzero and mask is not None else _whole(turned.shape)
    inner = turned[box]
    part = _part(box, None if within is None else tuple(within[a] for a in spec.transpose))
    wanted_box = tuple(
        slice(b.start + p.start, b.start + p.stop) for b, p in zip(box, part, strict=True)
    )
    outside = None if mask is None or mask[wanted_box].all() else ~mask[wanted_box]
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
    cut = tuple(p.stop - p.start for p in part)
    shape = resampling.resampled_shape(cut, here, target)
    axis = resampling.coarse_axis(here, target)
    out = np.empty((*shape, len(schemes)), np.float32)
    for number, scheme in enumerate(schemes):
        # the normalised channel gets no name: `resample` can free it after its first axis
        out[..., number] = resampling.resample(
            normalize(inner[..., number], scheme, spec, number, inner_mask, part).astype(
                np.float32, copy=False
            ),
            shape,
            order=spec.order,
            separate=axis,
        )
    return Prepared(
        image=out,
        spacing=target,
        full_shape=turned.shape[:3],
        box=wanted_box,
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
    part: Box = (),
) -> Float[np.ndarray, "x2 y2 z2"]:
    """`part` of one channel normalised by its scheme; `number` picks its CT statistics."""
    if scheme == "zscore":
        return intensity.zscore(channel, mask, part=part)
    if scheme == "rescale":
        return intensity.rescale(channel, part=part)
    if scheme == "ct":
        return intensity.ct(channel[part], spec.ct_statistics[number])
    return channel[part]


def nonzero_mask(image: Num[np.ndarray, "x y z c"]) -> Bool[np.ndarray, "x y z"]:
    """Where any channel is not 0, holes filled (nnU-Net's ``create_nonzero_mask``)."""
    filled = ndimage.binary_fill_holes((image != 0).any(axis=-1))
    return np.asarray(filled, bool)


def bounding_box(mask: Bool[np.ndarray, "x y z"]) -> tuple[slice, ...]:
    """The smallest box that holds the mask; the whole array if it is empty."""
    return components.bounding_box(mask) or _whole(mask.shape)


def _part(box: Box, within: Box | None) -> Box:
    """Where `within` lies in `box`, counted from its corner; all of it where they do not meet."""
    whole = _whole([b.stop - b.start for b in box])
    if within is None:
        return whole
    part = tuple(
        slice(max(w.start - b.start, 0), min(w.stop, b.stop) - b.start)
        for b, w in zip(box, within, strict=True)
    )
    return part if all(p.start < p.stop for p in part) else whole


def _whole(shape: Sequence[int]) -> Box:
    return tuple(slice(0, n) for n in shape[:3])
