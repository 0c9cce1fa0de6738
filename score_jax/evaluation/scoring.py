"""Scores of one pair of files: read, grids compared, values computed."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, final

import numpy as np
from jaxtyping import Bool, Shaped

from score_jax.errors import ImageError
from score_jax.evaluation.matching import FOREGROUND, Job
from score_jax.imaging import Volume, load, load_labels, same_grid
from score_jax.imaging.bids import region_of
from score_jax.metrics import anima, by_slice, everything
from score_jax.metrics.inputs import Empty
from score_jax.metrics.lesionwise import Detection
from score_jax.metrics.presets import Preset
from score_jax.metrics.surface import Edge


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How to score.

    Args:
      preset: which scores.
      each_label: score every value of a label map by itself.
      lesions: lesion detection; None decides by preset and region.
      edge: whether the image border closes a surface (not for ANIMA's own).
      empty: rule for empty masks (not for ANIMA's own).
      detection: smallest lesion and thresholds.
    """

    preset: Preset = "all"
    each_label: bool = False
    lesions: bool | None = None
    edge: Edge = "closed"
    empty: Empty = "nan"
    detection: Detection = field(default_factory=Detection)


@final
@dataclass(frozen=True, slots=True)
class Score:
    """The values of one region of one case.

    Args:
      case: name of the case.
      region: name of the structure; ``foreground`` if nothing tells it.
      prediction: the file.
      reference: the file.
      spacing: voxel sizes in mm of the grid on which everything was measured.
      values: by name (`metrics.DEFINITIONS`); NaN where there is no value.
      slices: a row a slice, for the preset ``score``.
      notes: what to know about the files, one line each.
      label: the value in a label map whose regions nobody declared, 0 if it holds none; else None.
    """

    case: str
    region: str
    prediction: Path
    reference: Path
    spacing: tuple[float, float, float]
    values: dict[str, float]
    slices: tuple[dict[str, float], ...] = ()
    notes: tuple[str, ...] = ()
    label: int | None = None


@final
@dataclass(frozen=True, slots=True)
class Failure:
    """A case that has no scores, and why."""

    case: str
    region: str | None
    message: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.message} [{self.hint}]" if self.hint else self.message


def score(job: Job, settings: Settings, labels: tuple[int, ...] = ()) -> list[Score]:
    """The scores of a comparison: one, or one a label.

    Args:
      job: what to compare.
      settings: how.
      labels: of label maps without declared regions, the labels to score; by default those that
        either file holds.

    Raises:
      ImageError: an unreadable file, or values that mean nothing.
      GeometryError: prediction and reference on different grids.
    """
    whole = not (job.pred_values or job.ref_values or settings.each_label)
    if settings.preset == "anima" and whole:
        ref, pred, notes = _read(job, raw=True)
        notes += _anima_notes(pred.data, ref.data)
        return [_scored(job, region_name(job), (pred.data, ref.data), ref, settings, notes)]
    ref, pred, notes = _read(job, raw=False)
    if job.ignore is not None:
        kept = ref.data != job.ignore
        pred, ref = pred.with_data(pred.data * kept), ref.with_data(ref.data * kept)
    if job.region is not None:
        masks = (
            _region_mask(pred, job.pred_values, job.region),
            _region_mask(ref, job.ref_values, job.region),
        )
        return [_scored(job, job.region, masks, ref, settings, notes)]
    if not labels:
        pred, ref, labels = _common_labels(pred, ref)
    return [
        _scored(job, f"label {v}", (pred.data == v, ref.data == v), ref, settings, notes, label=v)
        if v
        else _scored(
            job, region_name(job), (pred.data > 0, ref.data > 0), ref, settings, notes, label=v
        )
        for v in labels
    ]


def _scored(
    job: Job,
    region: str,
    masks: tuple[Shaped[np.ndarray, "x y z"], Shaped[np.ndarray, "x y z"]],
    ref: Volume,
    settings: Settings,
    notes: list[str],
    label: int | None = None,
) -> Score:
    rows: list[dict[str, float]] = []
    lesions = settings.lesions
    values: dict[str, Any]
    if settings.preset == "score":
        values, rows = by_slice(*masks, ref.spacing, axis=_slice_axis(ref), edge=settings.edge)
    elif settings.preset == "all":
        values = everything(
            *masks,
            ref.spacing,
            lesions=lesions is not False,
            edge=settings.edge,
            empty=settings.empty,
            rule=settings.detection,
        )
    else:
        if lesions is None:
            lesions = settings.preset == "sciseg" and "lesion" in region
        values = anima(*masks, ref.spacing, lesions=lesions, **asdict(settings.detection))
    values = {name: float(value) for name, value in values.items()}
    return Score(
        job.case,
        region,
        job.pred,
        job.ref,
        ref.spacing,
        values,
        tuple(rows),
        tuple(notes),
        label,
    )


def _read(job: Job, *, raw: bool) -> tuple[Volume, Volume, list[str]]:
    ref, pred = (_load_raw(path) if raw else load_labels(path) for path in (job.ref, job.pred))
    notes = [f"{volume.name} {note}" for volume in (pred, ref) for note in volume.notes]
    if pred.axcodes != ref.axcodes:
        notes.append(f"{pred.name} turned from {pred.axcodes} to the reference's {ref.axcodes}")
        pred = pred.like(ref)
    same_grid(ref, pred, what="reference and prediction")
    return ref, pred, notes


def _load_raw(path: Path) -> Volume:
    volume = load(path, check=False)
    if volume.channels != 1:
        raise ImageError(f"{path}: got {volume.channels} channels; expected a mask of one")
    if not np.isfinite(volume.data).all():
        raise ImageError(f"{path}: got values that are not finite; expected labels")
    return volume


def region_name(job: Job) -> str:
    """What a comparison of whole files is called: as its files say, else ``foreground``."""
    return job.region or region_of(job.ref) or region_of(job.pred) or FOREGROUND


def _common_labels(pred: Volume, ref: Volume) -> tuple[Volume, Volume, tuple[int, ...]]:
    """The labels that either holds, (0,) if none; 255 alone is a way to write 1."""
    pred, ref = (
        v.with_data((v.data > 0).astype(np.int32)) if _labels(v) == {255} else v
        for v in (pred, ref)
    )
    return pred, ref, tuple(sorted(_labels(pred) | _labels(ref))) or (0,)


def _region_mask(volume: Volume, values: tuple[int, ...], region: str) -> Bool[np.ndarray, "x y z"]:
    if values:
        return np.isin(volume.data, values)
    labels = _labels(volume)
    if len(labels) > 1:
        raise ImageError(
            f"{volume.name}: got the labels {sorted(labels)}; expected a mask of {region}",
            hint=f"say which labels it has, e.g. --labels {region}={max(labels)}",
        )
    return volume.data > 0


def _labels(volume: Volume) -> set[int]:
    return set(np.unique(volume.data[volume.data > 0]).tolist())


def _anima_notes(pred: Shaped[np.ndarray, "x y z"], ref: Shaped[np.ndarray, "x y z"]) -> list[str]:
    notes = []
    counts = []
    for name, data in (("prediction", pred), ("reference", ref)):
        lost = int(np.count_nonzero((data > 0) & (data < 1)))
        if lost:
            notes.append(f"{name}: {lost} voxels between 0 and 1 are background for ANIMA")
        counts.append(np.unique(np.trunc(data[data >= 1])).size)
    if min(counts) > 0 and counts[0] != counts[1]:
        notes.append(f"{counts[0]} and {counts[1]} labels: merged to one, as ANIMA does")
    return notes


def _slice_axis(volume: Volume) -> int:
    """Where slices follow each other: the only axis of length 1, else the one from feet to head."""
    single = [axis for axis, length in enumerate(volume.shape) if length == 1]
    if len(single) == 1:
        return single[0]
    return next(axis for axis, code in enumerate(volume.axcodes) if code in "SI")
