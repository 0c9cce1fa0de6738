"""Looking through a dataset, file by file: what is there and everything that is wrong."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import final

import numpy as np

from score_jax.data.cases import Case, Dataset, Problem
from score_jax.data.loading import check_labels
from score_jax.errors import ScoreError
from score_jax.imaging import Volume, load, load_labels, load_mask, same_grid


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class CaseReport:
    """What one case holds and what is wrong with it.

    Args:
      case: which.
      shape: voxels of the first readable image, or None if there is none.
      spacing: its voxel size, mm.
      axcodes: its orientation.
      channels: how many all its images have.
      voxels: voxels of each region that was readable.
      problems: what must be mended.
      notes: what is worth knowing: forms that disagree, empty masks, lesions outside the cord.
    """

    case: Case
    shape: tuple[int, ...] | None = None
    spacing: tuple[float, ...] | None = None
    axcodes: str | None = None
    channels: int = 0
    voxels: Mapping[str, int] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing must be mended."""
        return not self.problems


def inspect(dataset: Dataset) -> Iterator[CaseReport]:
    """A report for each case of `dataset`, training and test cases alike, as they are read.

    Two cases of different subjects with the very same image are reported: one would leak into
    the other's test.
    """
    seen: dict[str, Case] = {}
    for case in (*dataset.cases, *dataset.test_cases, *dataset.unlabelled):
        report, digest = _inspect_case(case, dataset)
        first = seen.setdefault(digest, case) if digest else case
        if first.subject != case.subject:
            twin = Problem(
                str(case.images[0]),
                f"holds the same values as {first.images[0]} of subject {first.subject}; expected "
                "images that differ",
                "remove one, or give both the same subject",
            )
            report = replace(report, problems=(*report.problems, twin))
        yield report


def _inspect_case(case: Case, dataset: Dataset) -> tuple[CaseReport, str]:
    problems: list[Problem] = []
    notes: list[str] = []
    images = [v for path in case.images if (v := _try(problems, path, load)) is not None]
    notes += [f"{volume.name}: {note}" for volume in images for note in volume.notes]
    for volume in images[1:]:
        _same(problems, images[0], volume)
    channels = sum(volume.channels for volume in images)
    expected = len(dataset.channel_names)
    if len(images) == len(case.images) and expected and channels != expected:
        found = f"got {channels} channels; expected {expected}"
        problems.append(
            Problem(str(case.images[0]), f"{found} ({', '.join(dataset.channel_names)})")
        )
    problems += _constant_channels(images)
    voxels = _inspect_masks(case, dataset, images[0] if images else None, problems, notes)
    report = CaseReport(
        case=case,
        shape=images[0].shape if images else None,
        spacing=images[0].spacing if images else None,
        axcodes=images[0].axcodes if images else None,
        channels=channels,
        voxels=voxels,
        problems=tuple(problems),
        notes=tuple(notes),
    )
    return report, _digest(images) if len(images) == len(case.images) else ""


def _inspect_masks(
    case: Case,
    dataset: Dataset,
    image: Volume | None,
    problems: list[Problem],
    notes: list[str],
) -> dict[str, int]:
    masks: dict[str, np.ndarray] = {}
    if case.labels is not None and dataset.regions:
        labels = _try(problems, case.labels, load_labels)
        if labels is not None:
            _same(problems, image, labels)
            try:
                check_labels(labels.data, dataset, case.labels)
            except ScoreError as error:
                problems.append(Problem.of(case.labels, error))
            masks = {r.name: np.isin(labels.data, r.labels) for r in dataset.regions}
    elif dataset.regions:
        for name, path in case.region_masks.items():
            mask = _try(problems, path, load_mask)
            if mask is not None:
                _same(problems, image, mask)
                masks[name] = (mask if image is None else mask.like(image)).data
    notes += [f"{name}: empty mask" for name, mask in masks.items() if not mask.any()]
    cord, lesion = masks.get("cord"), masks.get("lesion")
    if cord is not None and lesion is not None and cord.shape == lesion.shape:
        outside = int(np.count_nonzero(lesion & ~cord))
        if outside:
            notes.append(f"lesion: {outside} voxels outside the cord (training adds them to it)")
    return {name: int(np.count_nonzero(mask)) for name, mask in masks.items()}


def _try(problems: list[Problem], path: Path, read) -> Volume | None:
    try:
        return read(path)
    except ScoreError as error:
        problems.append(Problem.of(path, error))
        return None


def _same(problems: list[Problem], image: Volume | None, other: Volume) -> None:
    if image is None:
        return
    try:
        same_grid(image, other.like(image))
    except ScoreError as error:
        problems.append(Problem.of(other.name, error))


def _constant_channels(images: list[Volume]) -> list[Problem]:
    return [
        Problem(volume.name, f"channel {channel} is constant; expected contrast")
        for volume in images
        for channel in range(volume.channels)
        if np.ptp(volume.channels_last[..., channel]) == 0
    ]


def _digest(images: list[Volume]) -> str:
    digest = hashlib.sha256()
    for volume in images:
        digest.update(repr(volume.data.shape).encode())
        digest.update(np.ascontiguousarray(volume.data).data)
    return digest.hexdigest()
