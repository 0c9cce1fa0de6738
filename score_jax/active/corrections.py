"""Corrected masks: whether they may be believed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
from jaxtyping import Bool

from score_jax.active.records import (
    LABELS,
    PREDICTIONS,
    TO_CORRECT,
    MaskFile,
    Record,
    sha256_of_file,
)
from score_jax.arrays.regions import written_values
from score_jax.errors import DatasetError, GeometryError
from score_jax.imaging import Volume, load_labels, load_mask, same_grid
from score_jax.metrics import dice

_ALIKE = 0.5  # Dice above which a mask is taken for that of another scan


@final
@dataclass(frozen=True, slots=True)
class Allowed:
    """What a person may say of corrections that would otherwise be refused.

    Args:
      unchanged: masks that are the prediction's to the voxel.
      empty: masks without a voxel.
    """

    unchanged: bool = False
    empty: bool = False


@final
@dataclass(frozen=True, slots=True)
class Correction:
    """A scan's corrected masks, checked.

    Args:
      record: what the model found.
      files: the corrected files by region, or one label map (`LABELS`).
      masks: one a region of the record, on the image's grid as stored.
      predicted: likewise, as the model found them.
      dice: of prediction and correction, by region; NaN if both are empty.
      outside_cord: share of the lesion's voxels outside the cord; 0 without either.
      warnings: what a person should look at, one line each.
    """

    record: Record
    files: Mapping[str, Path]
    masks: Bool[np.ndarray, "x y z r"]
    predicted: Bool[np.ndarray, "x y z r"]
    dice: Mapping[str, float]
    outside_cord: float
    warnings: tuple[str, ...]

    @property
    def unchanged(self) -> bool:
        """Whether nobody changed a voxel."""
        return np.array_equal(self.masks, self.predicted)


def read_correction(
    record: Record,
    files: Mapping[str, Path],
    image: Volume,
    folder: Path,
    allowed: Allowed,
    others: Sequence[Record] = (),
) -> Correction:
    """A scan's corrected masks, with every check that needs no dataset.

    Args:
      record: of the scan.
      files: from `matching.find_files`.
      image: the scan, as stored.
      folder: of the ranking, which holds the predictions.
      allowed: what was said in advance.
      others: records of further scans, to find a mask of the wrong one.

    Raises:
      DatasetError: a mask is missing, empty, unchanged or another scan's; undeclared labels.
      ImageError: an unreadable file, or values that mean nothing.
      GeometryError: another grid than the image's.
    """
    masks = _read_masks(record, files, image)
    names = [region.name for region in record.regions]
    predicted = predicted_masks(record, folder)
    if predicted.shape != masks.shape:
        raise DatasetError(f"{record.case}: its prediction has another shape; rank it again")
    _refuse_empty(record, files, masks, allowed)
    _refuse_foreign(record, files, masks, predicted, folder, others)
    both = {n: (predicted[..., k], masks[..., k]) for k, n in enumerate(names)}
    outside, warnings = _outside_cord(names, masks)
    correction = Correction(
        record,
        files,
        masks,
        predicted,
        {name: dice(*pair) for name, pair in both.items()},
        outside,
        tuple(warnings),
    )
    if correction.unchanged and not allowed.unchanged:
        raise DatasetError(
            f"{_shown(files)}: got the prediction, no voxel changed; expected a correction",
            hint="correct it; or, if you looked and it is right, say --accept-unchanged",
        )
    return correction


def predicted_masks(record: Record, folder: Path) -> Bool[np.ndarray, "x y z r"]:
    """What the model found in a scan, a mask a region.

    Raises:
      DatasetError: the prediction is gone or somebody changed it.
      ImageError: unreadable.
    """
    found = []
    for region in record.regions:
        path = prediction_path(record.files[region.name], folder)
        found.append(load_mask(path).data)
    return np.stack(found, axis=-1)


def prediction_path(mask: MaskFile, folder: Path) -> Path:
    """Where a predicted mask lies, after a look whether it is still the one that was written.

    Raises:
      DatasetError: it is gone or was changed.
    """
    path = folder / PREDICTIONS / mask.file
    if not path.is_file() or sha256_of_file(path) != mask.sha256:
        raise DatasetError(
            f"{path}: got {'another file' if path.is_file() else 'no file'}; expected what the "
            "model found, as it was written",
            hint=f"corrections belong in {folder / TO_CORRECT}; remove this file and run "
            "`score-jax active rank` again",
        )
    return path


def _read_masks(
    record: Record, files: Mapping[str, Path], image: Volume
) -> Bool[np.ndarray, "x y z r"]:
    names = [region.name for region in record.regions]
    given = sorted(files)
    if LABELS in files and len(files) > 1:
        raise DatasetError(
            f"{record.case}: got a label map and masks ({_shown(files)}); expected one or the "
            "other",
            hint="remove those you did not correct",
        )
    if LABELS not in files and set(given) != set(names):
        missing = [record.files[name].file for name in names if name not in files]
        raise DatasetError(
            f"{record.case}: got a mask of {', '.join(given)} alone; expected {', '.join(names)}",
            hint=f"add {', '.join(missing)} from {TO_CORRECT}, corrected or confirmed",
        )
    if LABELS in files:
        labels = _on_grid(load_labels(files[LABELS]), image).data
        declared = [0, *(region.value for region in record.regions)]
        found = np.unique(labels).tolist()
        if strange := [value for value in found if value not in declared]:
            meaning = ", ".join(f"{r.value} = {r.name}" for r in record.regions)
            raise DatasetError(
                f"{files[LABELS]}: got the labels {found}; expected only {declared}, so {strange} "
                "mean nothing",
                hint=f"paint with {meaning}",
            )
        count = len(record.regions)
        parts = [np.isin(labels, written_values(record.regions, n)) for n in range(count)]
    else:
        parts = [_on_grid(load_mask(files[name]), image).data for name in names]
    return np.stack(parts, axis=-1)


def _on_grid(mask: Volume, image: Volume) -> Volume:
    turned = mask.like(image)
    try:
        same_grid(image, turned, what="the scan and its corrected mask")
    except GeometryError as error:
        raise GeometryError(
            error.message,
            hint="correct the mask from to_correct on the scan itself, without resampling or "
            "cropping either; is it a mask of another scan?",
        ) from None
    return turned


def _refuse_empty(
    record: Record, files: Mapping[str, Path], masks: np.ndarray, allowed: Allowed
) -> None:
    for number, region in enumerate(record.regions):
        if not allowed.empty and not masks[..., number].any():
            path = files.get(region.name, files.get(LABELS))
            raise DatasetError(
                f"{path}: got no {region.name} at all; expected voxels",
                hint=f"if there is no {region.name} in this scan, say --accept-empty; if not, was "
                "it saved?",
            )


def _refuse_foreign(
    record: Record,
    files: Mapping[str, Path],
    masks: np.ndarray,
    predicted: np.ndarray,
    folder: Path,
    others: Sequence[Record],
) -> None:
    """Masks that are far from their own prediction and near another scan's are swapped."""
    own = _overlap(masks, predicted)
    if not own < _ALIKE:  # NaN, too: nothing drawn and nothing found
        return
    for other in others:
        if other.subject == record.subject:
            continue
        theirs = predicted_masks(other, folder)
        if theirs.shape == masks.shape and (alike := _overlap(masks, theirs)) > max(own, _ALIKE):
            raise DatasetError(
                f"{_shown(files)}: looks like a mask of {other.case} (Dice {alike:.2f} with what "
                f"was found there, {own:.2f} with what was found in {record.case}); expected "
                f"{record.case}",
                hint="find out whose it is, and rename it",
            )


def _overlap(masks: np.ndarray, predicted: np.ndarray) -> float:
    return dice(np.asarray(predicted.any(axis=-1)), np.asarray(masks.any(axis=-1)))


def _outside_cord(names: Sequence[str], masks: np.ndarray) -> tuple[float, list[str]]:
    if not {"cord", "lesion"} <= set(names):
        return 0.0, []
    cord, lesion = (masks[..., names.index(name)] for name in ("cord", "lesion"))
    total, outside = np.count_nonzero(lesion), np.count_nonzero(lesion & ~cord)
    if not outside:
        return 0.0, []
    share = outside / total
    return share, [
        f"{100 * share:.1f} % of the lesion ({outside} of {total} voxels) lies outside the cord; "
        "training adds it to the cord: look whether the cord is drawn too small"
    ]


def _shown(files: Mapping[str, Path]) -> str:
    return ", ".join(str(path) for path in files.values())
