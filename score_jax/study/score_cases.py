"""The scans of a SCORE study on the grid it works on, with all that was drawn on them.

A scan becomes a folder: ``image.nii.gz`` (right, anterior, superior; square pixels of the study's
grid) and ``masks.npz`` (everybody's masks, on it).
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
from jaxtyping import Bool, Shaped

from score_jax.arrays.resampling import resample, resampled_shape
from score_jax.errors import ScoreError
from score_jax.imaging import (
    Volume,
    atomic,
    load,
    load_mask,
    read_json,
    same_grid,
    save,
    write_json,
)
from score_jax.study.score_input import REGIONS, Input, Issue, Scan
from score_jax.study.score_options import StudyOptions

AXCODES = "RAS"  # slices from the feet up
INDEX = "scans.json"
_SQUARE = 1e-2  # pixels are as wide as high, and as the grid, up to this share

Masks = dict[str, dict[str, Bool[np.ndarray, "x y z"]]]


@final
@dataclass(frozen=True, slots=True)
class Worked:
    """A scan on the study's grid.

    Args:
      subject: ``sub-...``.
      group: HC or MS.
      number: of the scan, from 1.
      folder: its name below the stage's folder.
      shape: voxels.
      spacing: mm.
      excluded: slices with a severe artefact, from the feet.
      drawn: by rater and region, the slices whose mask counts, from the feet.
    """

    subject: str
    group: str
    number: int
    folder: str
    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    excluded: tuple[int, ...]
    drawn: Mapping[str, Mapping[str, tuple[int, ...]]]

    @property
    def slices(self) -> int:
        """How many there are."""
        return self.shape[2]

    def label(self, z: int) -> int:
        """The slice's number as the study counts, from the head, from 1."""
        return self.slices - z


def write_cases(
    folder: Path, given: Input, options: StudyOptions, on_scan: Callable[[int, int], None]
) -> None:
    """Bring every scan to the grid; what was wrong is listed in ``scans.json``.

    A scan that was written before (an earlier run was killed) is kept.
    """
    scans, issues = [], []
    for number, scan in enumerate(given.scans, 1):
        note = folder / scan.name / "scan.json"
        if not note.is_file():
            try:
                made, found = _write(folder / scan.name, scan, given, options)
            except ScoreError as error:
                issue = Issue("a scan that cannot be read", scan.name, f"left out: {error.message}")
                made, found = None, [issue]
            write_json(
                note,
                {
                    "scan": None if made is None else dataclasses.asdict(made),
                    "issues": [dataclasses.asdict(i) for i in found],
                },
            )
        known = read_json(note)
        scans += [known["scan"]] if known["scan"] else []
        issues += known["issues"]
        on_scan(number, len(given.scans))
    write_json(folder / INDEX, {"scans": scans, "issues": issues})


def read_cases(folder: Path) -> tuple[list[Worked], list[Issue]]:
    """What `write_cases` left."""
    known = read_json(folder / INDEX)
    scans = [
        Worked(
            **{
                **row,
                **{key: tuple(row[key]) for key in ("shape", "spacing", "excluded")},
                "drawn": {
                    rater: {region: tuple(slices) for region, slices in by.items()}
                    for rater, by in row["drawn"].items()
                },
            }
        )
        for row in known["scans"]
    ]
    return scans, [Issue(**row) for row in known["issues"]]


def read_masks(folder: Path, scan: Worked) -> Masks:
    """By rater (or the truth's folder) and region, what was drawn on a scan."""
    masks: Masks = {}
    for key, mask in read_arrays(folder / scan.folder / "masks.npz").items():
        rater, _, region = key.rpartition("|")
        masks.setdefault(rater, {})[region] = mask.astype(bool)
    return masks


def write_arrays(path: Path, arrays: Mapping[str, Shaped[np.ndarray, "..."]]) -> None:
    """Several arrays in one compressed file, whole or not at all."""
    with atomic(path) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, **arrays)  # pyright: ignore[reportArgumentType]


def read_arrays(path: Path) -> dict[str, Shaped[np.ndarray, "..."]]:
    """What `write_arrays` wrote."""
    with np.load(path, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def _write(
    folder: Path, scan: Scan, given: Input, options: StudyOptions
) -> tuple[Worked, list[Issue]]:
    volume = load(scan.image).reoriented(AXCODES)
    issues: list[Issue] = []
    masks = _read_masks(scan, volume, issues)
    worked, worked_masks = _on_grid(volume, masks, options.grid_mm)
    drawn = _drawn(scan, worked_masks, options, worked.shape[2], issues)
    save(folder / "image.nii.gz", worked.data, worked, dtype=integers_if_whole(worked.data))
    write_arrays(
        folder / "masks.npz",
        {f"{rater}|{name}": m for rater, by in worked_masks.items() for name, m in by.items()},
    )
    made = Worked(
        subject=scan.subject, group=str(given.people[scan.subject]["group"]), number=scan.number,
        folder=folder.name, shape=worked.shape, spacing=worked.spacing, excluded=scan.excluded,
        drawn=drawn,
    )  # fmt: skip
    return made, issues


def _read_masks(scan: Scan, volume: Volume, issues: list[Issue]) -> Masks:
    masks: Masks = {}
    for rater, by in scan.masks.items():
        for region, path in by.items():
            try:
                mask = load_mask(path).like(volume)
                same_grid(volume, mask)
            except ScoreError as error:
                issues.append(Issue("a mask that cannot be read", path.name, error.message))
                continue
            masks.setdefault(rater, {})[region] = mask.data.astype(bool)
    return masks


def _on_grid(
    volume: Volume, masks: Masks, grid_mm: float
) -> tuple[Volume, dict[str, dict[str, Bool[np.ndarray, "x2 y2 z2"]]]]:
    """Image (cubic splines) and masks (linear, half counts) with square pixels of the grid."""
    data = volume.channels_last
    wanted = (grid_mm, grid_mm, 0.0)
    shape = resampled_shape(volume.shape, volume.spacing, wanted)
    near = all(abs(s / grid_mm - 1) <= _SQUARE for s in volume.spacing[:2])
    if near or shape == volume.shape:
        return dataclasses.replace(volume, data=data, header=None), masks
    scale = np.array(volume.shape) / np.array(shape)
    affine = volume.affine.copy()
    affine[:3, 3] += volume.affine[:3, :3] @ (0.5 * scale - 0.5)  # voxels are areas
    affine[:3, :3] = volume.affine[:3, :3] * scale
    channels = [resample(data[..., c], shape, order=3, separate=2) for c in range(data.shape[3])]
    moved = {
        rater: {
            name: resample(mask.astype(np.float32), shape, order=1, separate=2) >= 0.5
            for name, mask in by.items()
        }
        for rater, by in masks.items()
    }
    return Volume(np.stack(channels, axis=-1).astype(np.float32), affine), moved


def _drawn(
    scan: Scan, masks: Masks, options: StudyOptions, slices: int, issues: list[Issue]
) -> dict[str, dict[str, tuple[int, ...]]]:
    """The slices of each rater's masks that count: not excluded, and drawn on.

    The cord is everywhere, so a slice without it was not drawn; neither were grey matter and
    lesions on it. A slice without a lesion is one without a lesion.
    """
    found: dict[str, dict[str, tuple[int, ...]]] = {}
    for rater in options.raters:
        own = masks.get(rater, {})
        held = [z for z in range(slices) if z not in scan.excluded]
        cord = own.get("cord")
        whole = held if cord is None else [z for z in held if cord[..., z].any()]
        if missing := [slices - z for z in held if z not in whole]:
            numbers = ", ".join(map(str, sorted(missing)))
            issues.append(
                Issue(
                    "a slice without a mask", f"{scan.name}, {rater}: slices {numbers}",
                    "left out of training and of what was drawn", len(missing),
                )
            )  # fmt: skip
        for region in REGIONS:
            if region not in own:
                continue
            kept = whole
            if region != "lesion":
                kept = [z for z in whole if own[region][..., z].any() or region in _OPTIONAL]
            found.setdefault(rater, {})[region] = tuple(kept)
    return found


_OPTIONAL = {"ph", "gc"}  # of few pixels: a slice may have none


def integers_if_whole(values: Shaped[np.ndarray, "..."]) -> str | None:
    """The type to store `values` in: int16 for whole numbers (they compress), else `save`'s own."""
    whole = np.array_equal(values, np.rint(values)) and np.abs(values).max(initial=0) < 2**15
    return "int16" if whole else None
