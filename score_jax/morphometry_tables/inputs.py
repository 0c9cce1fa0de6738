"""Reading the masks, images and atlases of a case onto one grid."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
from numpy.typing import DTypeLike

from score_jax.errors import DatasetError, ImageError
from score_jax.imaging import Volume, load, same_grid
from score_jax.morphometry import Atlas

_TRACT = re.compile(r"_(\d\d)\.nii(\.gz)?$")
_TRACTS = 36  # files of an atlas from here on are not tracts (SCT: CSF)
_GROUP = re.compile(r"^\s*\d+\s*,\s*(?P<name>.+?)\s*,\s*(?P<members>[\d:,\s]+)$")
_WHOLE = "spinal cord"  # the group of all tracts: the sheets have it as their total


@final
@dataclass(frozen=True, slots=True)
class MaskFile:
    """A mask on disk: a file of its own, or some values of a label map.

    Args:
      path: the file.
      values: labels that make up the mask; empty if the file is the mask.
    """

    path: Path
    values: tuple[int, ...] = ()


def read_mask(file: MaskFile, like: Volume | None = None) -> Volume:
    """A mask with whatever values it has; turned to the orientation of `like`, never resampled.

    Raises:
      ImageError: unreadable, or more than one channel.
      GeometryError: another grid than that of `like`.
    """
    volume = read_on_grid(file.path, like, "masks")
    if not file.values:
        return volume
    return volume.with_data(np.isin(np.rint(volume.data), file.values))


def read_on_grid(
    path: Path, like: Volume | None, what: str, *, dtype: DTypeLike = np.float32
) -> Volume:
    """An image of one channel on the grid of `like`; its values are not checked.

    Raises:
      ImageError: unreadable, or more than one channel.
      GeometryError: another grid than that of `like`.
    """
    volume = load(path, dtype=dtype, check=False)
    if volume.channels != 1:
        raise ImageError(f"{path}: got {volume.channels} channels; expected one")
    if volume.data.ndim == 4:
        volume = volume.with_data(volume.data[..., 0])
    if like is None:
        return volume
    turned = volume.like(like)
    same_grid(like, turned, what=what)
    return turned


def read_atlas(folder: Path, like: Volume) -> Atlas:
    """The warped atlas that `sct_warp_template` leaves in its folder ``label``.

    Reads ``atlas/*_NN.nii.gz`` with NN below 36, the groups of ``atlas/info_label.txt`` (all but
    the whole cord) and ``template/PAM50_levels.nii.gz``.

    Raises:
      DatasetError: one of them is missing, or the list of labels cannot be read.
      ImageError, GeometryError: as `read_on_grid`.
    """
    tracts = {int(m[1]): p for p in sorted((folder / "atlas").glob("*")) if (m := _match(p))}
    levels = next(iter(sorted((folder / "template").glob("*_levels.nii*"))), None)
    if not tracts or levels is None:
        lacks = "atlas/*_NN.nii.gz" if not tracts else "template/PAM50_levels.nii.gz"
        raise DatasetError(
            f"{folder}: got no {lacks}; expected the folder of a warped atlas",
            hint="make it with sct_warp_template, and give its folder label",
        )
    numbers = sorted(tracts)
    data = [read_on_grid(tracts[k], like, "mask and atlas", dtype=np.float64) for k in numbers]
    return Atlas(
        np.stack([volume.data for volume in data], axis=-1),
        tuple(f"PAM50_{k:02d}" for k in numbers),
        read_on_grid(levels, like, "mask and levels", dtype=np.float64).data,
        _groups(folder / "atlas" / "info_label.txt", numbers),
    )


def _match(path: Path) -> re.Match[str] | None:
    match = _TRACT.search(path.name)
    return match if match and int(match[1]) < _TRACTS else None


def _groups(path: Path, numbers: list[int]) -> dict[str, tuple[int, ...]]:
    """The combined labels of an atlas: name to positions among its tracts."""
    if not path.is_file():
        raise DatasetError(f"{path}: not there; expected the list of the atlas's labels")
    section = path.read_text(encoding="utf-8", errors="replace").partition("CombinedLabels")[2]
    groups: dict[str, tuple[int, ...]] = {}
    for line in section.partition("Keyword=")[0].splitlines():
        match = _GROUP.match(line)
        if line.startswith("#") or match is None or match["name"] == _WHOLE:
            continue
        members: set[int] = set()
        for part in match["members"].split(","):
            first, _, last = part.partition(":")
            members |= set(range(int(first), int(last or first) + 1))
        groups[match["name"]] = tuple(i for i, k in enumerate(numbers) if k in members)
    return groups
