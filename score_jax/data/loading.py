"""Reading one case: the image, its region masks and its grid, with every check."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

import numpy as np
from jaxtyping import Bool, Float32

from score_jax._types import Axcodes
from score_jax.arrays.regions import masks_from_labels
from score_jax.data.cases import Case, Dataset
from score_jax.errors import DatasetError, ImageError
from score_jax.imaging import Volume, load, load_labels, load_mask, same_grid


@final
@dataclass(frozen=True, slots=True)
class LoadedCase:
    """A case in memory.

    Args:
      case: what was read.
      image: all channels, last; NIfTI's values, not normalised.
      targets: one mask a region of the dataset, or None for a case without masks.
      ignore: voxels that take no part in training, or None.
      volume: the image with its grid (the first file's), for writing back.
    """

    case: Case
    image: Float32[np.ndarray, "x y z c"]
    targets: Bool[np.ndarray, "x y z r"] | None
    ignore: Bool[np.ndarray, "x y z"] | None
    volume: Volume


def load_case(case: Case, dataset: Dataset, *, axcodes: Axcodes | None = None) -> LoadedCase:
    """Read a case of `dataset`.

    Masks stored in another orientation are turned to the image's, never resampled.

    Args:
      case: one of the dataset's.
      dataset: says channels and regions.
      axcodes: turn everything to this orientation; by default the image's own.

    Raises:
      ImageError: an unreadable file, a channel too few or too many, or values that mean nothing.
      GeometryError: files of the case on different grids.
      DatasetError: labels that the dataset does not declare, or a missing mask.
    """
    volume = load_image(case, dataset.channel_names)
    if axcodes is not None:
        volume = volume.reoriented(axcodes)
    image = np.ascontiguousarray(volume.channels_last)
    if not dataset.regions or not case.labelled:
        return LoadedCase(case, image, None, None, volume)
    targets, ignore = load_targets(case, dataset, volume)
    return LoadedCase(case, image, targets, ignore, volume)


def load_image(case: Case, channel_names: tuple[str, ...] = ()) -> Volume:
    """All channels of a case in one volume, in the orientation of its first file.

    Args:
      case: whose images to read.
      channel_names: what is expected; empty accepts any number of channels.

    Raises:
      ImageError: as `imaging.load`; another number of channels; a constant channel.
      GeometryError: files on different grids.
    """
    first, *others = (load(path) for path in case.images)
    parts = [first.channels_last]
    for other in others:
        turned = other.like(first)
        same_grid(first, turned, what=f"channels of {case.id}")
        parts.append(turned.channels_last)
    data = np.concatenate(parts, axis=-1) if others else parts[0]
    if channel_names and data.shape[-1] != len(channel_names):
        raise ImageError(
            f"{case.images[0]}: got {data.shape[-1]} channels; expected {len(channel_names)} "
            f"({', '.join(channel_names)})"
        )
    flat = [c for c in range(data.shape[-1]) if data[..., c].min() == data[..., c].max()]
    if flat:
        raise ImageError(
            f"{case.images[min(flat[0], len(case.images) - 1)]}: channel {flat[0]} is constant; "
            "expected an image with contrast"
        )
    return replace(first, data=data)


def load_targets(
    case: Case, dataset: Dataset, volume: Volume
) -> tuple[Bool[np.ndarray, "x y z r"], Bool[np.ndarray, "x y z"] | None]:
    """The mask of each region on the grid of `volume`, and the voxels to ignore.

    From binary masks, a region also gets what lies inside it (a lesion is cord). An all-zero mask
    or label map is valid and gives empty targets.

    Raises:
      ImageError, GeometryError: as `load_case`.
      DatasetError: undeclared labels, or a missing mask.
    """
    if case.labels is not None:
        labels = load_labels(case.labels).like(volume)
        same_grid(volume, labels)
        check_labels(labels.data, dataset, case.labels)
        ignore = None if dataset.ignore is None else labels.data == dataset.ignore
        return masks_from_labels(labels.data, dataset.regions), ignore
    masks: dict[int, np.ndarray] = {}
    for region in dataset.regions:
        path = case.region_masks.get(region.name)
        if path is None:
            raise DatasetError(f"{case.id}: got no mask of {region.name!r}; expected one")
        mask = load_mask(path).like(volume)
        same_grid(volume, mask)
        masks[region.value] = mask.data
    joined = [
        np.logical_or.reduce([masks[label] for label in region.labels if label in masks])
        for region in dataset.regions
    ]
    return np.stack(joined, axis=-1), None


def load_raters(
    raters: Sequence[tuple[Case, Dataset]], volume: Volume
) -> Bool[np.ndarray, "k x y z r"]:
    """What each rater drew on one image, on the grid of `volume`.

    Args:
      raters: the case and the dataset of each (`discover_raters`).
      volume: the image.

    Raises:
      ImageError, GeometryError, DatasetError: as `load_targets`.
    """
    return np.stack([load_targets(case, dataset, volume)[0] for case, dataset in raters])


def check_labels(labels: np.ndarray, dataset: Dataset, path: Path) -> None:
    """Refuse a label map with values that the dataset does not declare.

    Raises:
      DatasetError: names the file, the values found and those declared.
    """
    found = np.unique(labels).tolist()
    strange = [value for value in found if value not in dataset.declared_labels]
    if strange:
        raise DatasetError(
            f"{path}: got the labels {found}; expected only {list(dataset.declared_labels)}, so "
            f"{strange} mean nothing",
            hint="declare them, or correct the label map",
        )
