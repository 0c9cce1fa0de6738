"""The phases of a dataset: how many scans joined in each, and what correcting and learning changed.

Source: SCIseg (Naga Karthik, Valosek et al., 2024), its comparison of phases: lesion volume, length
and maximal axial damage ratio, paired by scan, Wilcoxon's signed-rank test.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, final

import numpy as np
from jaxtyping import Bool

from score_jax import data, morphometry
from score_jax._types import PathLike
from score_jax.active.comparison import Paired, paired
from score_jax.active.places import Store, masks_of, read_store
from score_jax.active.provenance import FIRST, Origin, origin
from score_jax.active.records import PREDICTIONS, SCORES, sha256_of_file
from score_jax.errors import ConfigError, DatasetError, ScoreError
from score_jax.imaging import Volume, load_header
from score_jax.imaging.bids import derivative as derivative_name
from score_jax.morphometry.extent import DAMAGE, LENGTH, VOLUME

LESION, CORD = "lesion", "cord"
MEASURES = (VOLUME, LENGTH, DAMAGE)
_AS_STATED = "LAS"  # as `score-jax lesions`: the header's voxel sizes count in this orientation


@final
@dataclass(frozen=True, slots=True)
class Phase:
    """What joined a dataset in one phase.

    Args:
      number: 1 is what was drawn by hand.
      scans: how many.
      subjects: of how many people.
      raters: who corrected, as told.
      models: whose predictions were corrected.
      dice: mean over scans of Dice between prediction and correction, by region; scans where both
        are empty do not count.
      unchanged: scans whose prediction was confirmed as it was.
    """

    number: int
    scans: int
    subjects: int
    raters: tuple[str, ...]
    models: tuple[str, ...]
    dice: Mapping[str, float]
    unchanged: int


@final
@dataclass(frozen=True, slots=True)
class Comparison:
    """One measure of the same scans, twice.

    Args:
      what: e.g. "phase 2: predicted -> corrected".
      measure: name and unit.
      result: the numbers.
    """

    what: str
    measure: str
    result: Paired


@final
@dataclass(frozen=True, slots=True)
class Status:
    """The record of a dataset's phases.

    Args:
      phases: in order.
      comparisons: predictions against corrections, and models of several phases.
      measures: what was measured of each scan: scan, source, measures.
      unlabelled: scans of the dataset without masks.
      problems: scans that could not be measured, and why.
      notes: one line each.
    """

    phases: tuple[Phase, ...]
    comparisons: tuple[Comparison, ...]
    measures: tuple[Mapping[str, Any], ...]
    unlabelled: int
    problems: tuple[str, ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "phases": [asdict(phase) for phase in self.phases],
            "comparisons": [
                {"what": c.what, "measure": c.measure, **asdict(c.result)} for c in self.comparisons
            ],
            "scans": [dict(row) for row in self.measures],
            "unlabelled": self.unlabelled,
            "problems": list(self.problems),
            "notes": list(self.notes),
        }


def status(
    dataset: PathLike,
    *,
    predictions: Mapping[int, PathLike] | None = None,
    derivative: str | None = None,
    contrast: str | None = None,
    on_case: Callable[[int, int, str], None] = lambda number, total, case: None,
) -> Status:
    """What joined a dataset in each phase, and how the lesions' numbers changed.

    Each phase's predictions are compared with their corrections; two models with each other on the
    scans that both have segmented, and their distances from the masks of the dataset. Of several
    lesions volumes and lengths are summed and the largest damage ratio is taken; a scan without a
    lesion counts with zeros. Lesion outside the cord is added to the cord, as for training.

    Args:
      dataset: BIDS or nnU-Net.
      predictions: phase of a model -> folder with its masks of scans of this dataset (from
        `predict`, `validate` or `rank`), besides those that `ingest` kept.
      derivative: BIDS: the folder below ``derivatives`` with the masks.
      contrast: BIDS: the suffix of the images.
      on_case: told each scan before it is measured: number, total, case.

    Raises:
      DatasetError: neither kind of dataset, nothing labelled, or a folder that is not there.
      ConfigError: a phase below 1.
    """
    store = read_store(dataset, derivative=derivative, contrast=contrast)
    folders = {phase: _masks_below(phase, path) for phase, path in (predictions or {}).items()}
    scans: list[_Scan] = []
    problems: list[str] = []
    cases = [case for case in store.dataset.cases if case.labelled]
    for number, case in enumerate(cases):
        on_case(number, len(cases), case.id)
        try:
            scans.append(_scan(case, store, folders, problems))
        except ScoreError as error:
            problems.append(f"{case.id}: {error}")
    return Status(
        tuple(_phases(scans)),
        tuple([*_corrections(scans), *_models(scans)]),
        tuple(_rows(scans)),
        len(store.dataset.unlabelled) + len(store.dataset.cases) - len(cases),
        tuple(problems),
        tuple(_changed_since(scans)),
    )


def biomarkers(
    lesion: Bool[np.ndarray, "x y z"], cord: Bool[np.ndarray, "x y z"] | None, volume: Volume
) -> dict[str, float]:
    """Volume (mm³), length (mm) and maximal axial damage ratio of all lesions of a scan together.

    No lesion: 0 each. Without a cord, length and damage ratio are NaN.

    Args:
      lesion: the mask, on the grid of `volume`.
      cord: likewise, or None.
      volume: the scan, for its grid.
    """
    spacing = volume.spacing if volume.axcodes == _AS_STATED else None
    rows = morphometry.lesions(lesion, cord, affine=volume.affine, spacing=spacing)
    return {
        VOLUME: float(sum(row[VOLUME] for row in rows)),
        LENGTH: float(sum(row[LENGTH] for row in rows)),
        DAMAGE: float(np.max([row[DAMAGE] for row in rows])),
    }


@final
@dataclass(frozen=True, slots=True)
class _Scan:
    """A labelled scan: the numbers of its masks, and of each model's by the model's phase."""

    case: data.Case
    origins: Mapping[Path, Origin]
    own: Mapping[str, float]
    predicted: Mapping[int, Mapping[str, float]]

    @property
    def phase(self) -> int:
        return max((found.phase for found in self.origins.values()), default=FIRST)


def _scan(
    case: data.Case,
    store: Store,
    folders: Mapping[int, Mapping[str, Path]],
    problems: list[str],
) -> _Scan:
    found = {path: origin(path) for path in masks_of(case)}
    origins = {path: one for path, one in found.items() if one is not None}
    own = _measured(case, store.dataset)
    predicted: dict[int, Mapping[str, float]] = {}
    kept = {phase: store.prediction(case, phase) for phase in store.predicted_phases}
    given = {phase: _in_folder(case, names) for phase, names in folders.items()}
    for phase, other in [*kept.items(), *given.items()]:
        if other is None or not all(path.exists() for path in masks_of(other)):
            continue
        try:
            predicted[phase] = _measured(other, store.dataset)
        except ScoreError as error:
            problems.append(f"{case.id}, predicted in phase {phase}: {error}")
    scan = _Scan(case, origins, own, predicted)
    if origins and scan.phase - 1 not in predicted:
        problems.append(
            f"{case.id}: what the model of phase {scan.phase - 1} found in it is not there any "
            "more; the scan is left out of that comparison"
        )
    return scan


def _measured(case: data.Case, dataset: data.Dataset) -> dict[str, float]:
    volume = load_header(case.images[0])
    targets, _ = data.load_targets(case, dataset, volume)
    by_name = {region.name: targets[..., n] for n, region in enumerate(dataset.regions)}
    cord = by_name.get(CORD)
    if cord is not None:  # binary masks of a dataset need not lie in each other
        cord |= by_name[LESION]
    return biomarkers(by_name[LESION], cord, volume)


def _masks_below(phase: int, path: PathLike) -> dict[str, Path]:
    """The masks in a folder of predictions, by file name; two of one name are refused."""
    if phase < FIRST:
        raise ConfigError(f"predictions: got phase {phase}; expected {FIRST} or more")
    folder = Path(path)
    if not folder.is_dir():
        raise DatasetError(
            f"{folder}: no such folder; expected the masks that the model of phase {phase} found",
            hint="make it with `score-jax predict ... --out FOLDER`",
        )
    if (folder / SCORES).is_dir():  # of a ranking, whose to_correct holds the same names
        folder = folder / PREDICTIONS
    found: dict[str, Path] = {}
    for mask in sorted(folder.rglob("*.nii*")):
        if (first := found.setdefault(mask.name, mask)) != mask:
            raise DatasetError(
                f"{folder}: got two masks of one name, {first.relative_to(folder)} and "
                f"{mask.relative_to(folder)}; expected those of one model",
                hint="name the folder below it that holds the masks of this model alone",
            )
    if not found:
        raise DatasetError(f"{folder}: got no mask; expected those of the model of phase {phase}")
    return found


def _in_folder(case: data.Case, names: Mapping[str, Path]) -> data.Case | None:
    """The case with the masks of this folder, or None if it is not among them."""
    image = f"{case.id}.nii.gz"
    if case.labels is not None:
        wanted = (case.labels.name, derivative_name(image, "dseg"))
        labels = next((names[name] for name in wanted if name in names), None)
        return None if labels is None else replace(case, labels=labels)
    masks = {}
    for region, path in case.region_masks.items():
        wanted = (path.name, derivative_name(image, "mask", label=region))
        mask = next((names[name] for name in wanted if name in names), None)
        if mask is None:
            return None
        masks[region] = mask
    return replace(case, region_masks=masks)


def _phases(scans: Sequence[_Scan]) -> list[Phase]:
    found = []
    for number in range(FIRST, max((scan.phase for scan in scans), default=FIRST) + 1):
        joined = [scan for scan in scans if scan.phase == number]
        told = [one for scan in joined for one in scan.origins.values()]
        found.append(
            Phase(
                number=number,
                scans=len(joined),
                subjects=len({scan.case.subject for scan in joined}),
                raters=tuple(sorted({one.rater for one in told if one.rater is not None})),
                models=tuple(sorted({one.model for one in told})),
                dice=_mean_dice(told),
                unchanged=sum(_unchanged(scan) for scan in joined),
            )
        )
    return found


def _unchanged(scan: _Scan) -> bool:
    return bool(scan.origins) and all(one.unchanged for one in scan.origins.values())


def _mean_dice(told: Sequence[Origin]) -> dict[str, float]:
    values: dict[str, list[float]] = {}
    for one in told:
        for name, value in one.dice.items():
            values.setdefault(name, []).extend([] if np.isnan(value) else [value])
    return {name: float(np.mean(v)) if v else float("nan") for name, v in values.items()}


def _corrections(scans: Sequence[_Scan]) -> list[Comparison]:
    """Each phase's predictions against what people made of them."""
    found = []
    for phase in sorted({scan.phase for scan in scans} - {FIRST}):
        both = [scan for scan in scans if scan.phase == phase and phase - 1 in scan.predicted]
        before = [scan.predicted[phase - 1] for scan in both]
        found += _compare(f"phase {phase}: predicted -> corrected", before, [s.own for s in both])
    return found


def _models(scans: Sequence[_Scan]) -> list[Comparison]:
    """Each pair of models on the scans that both have segmented, and their errors there."""
    known = sorted({phase for scan in scans for phase in scan.predicted})
    found = []
    for one, other in itertools.combinations(known, 2):
        both = [scan for scan in scans if {one, other} <= scan.predicted.keys()]
        if not both:
            continue
        before, after = ([scan.predicted[phase] for scan in both] for phase in (one, other))
        found += _compare(f"model of phase {one} -> {other}", before, after)
        errors = [
            [{m: abs(scan.predicted[phase][m] - scan.own[m]) for m in MEASURES} for scan in both]
            for phase in (one, other)
        ]
        found += _compare(f"error of model {one} -> {other}", *errors)
    return found


def _compare(
    what: str, before: Sequence[Mapping[str, float]], after: Sequence[Mapping[str, float]]
) -> list[Comparison]:
    return [
        Comparison(
            what,
            measure,
            paired(
                np.array([row[measure] for row in before], np.float64),
                np.array([row[measure] for row in after], np.float64),
            ),
        )
        for measure in MEASURES
    ]


def _rows(scans: Sequence[_Scan]) -> list[dict[str, Any]]:
    rows = []
    for scan in scans:
        sources = {"dataset": scan.own} | {
            f"model of phase {phase}": scan.predicted[phase] for phase in sorted(scan.predicted)
        }
        rows += [
            {"case": scan.case.id, "phase": scan.phase, "masks": name, **values}
            for name, values in sources.items()
        ]
    return rows


def _changed_since(scans: Sequence[_Scan]) -> list[str]:
    return [
        f"{path.name}: was changed after it was ingested; its sidecar tells of another mask"
        for scan in scans
        for path, one in scan.origins.items()
        if sha256_of_file(path) != one.sha256
    ]
