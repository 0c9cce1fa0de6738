"""One corrected scan on its way into a dataset: every check first, then every file or none."""

import datetime
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np

from score_jax import __version__, data
from score_jax.active.corrections import Allowed, Correction, read_correction
from score_jax.active.places import Place, Store
from score_jax.active.provenance import KEY, Origin, origin, sidecar
from score_jax.active.records import LABELS, Record, sha256_of_file, sha256_of_values
from score_jax.active.writing import copy, together
from score_jax.arrays.regions import labels_from_masks
from score_jax.errors import DatasetError
from score_jax.imaging import Volume, load_labels, save, write_json

_GENERATED = [{"Name": "score-jax", "Version": __version__}]


@final
@dataclass(frozen=True, slots=True)
class Admission:
    """A corrected scan that may go into a dataset.

    Args:
      correction: its masks.
      store: the dataset.
      place: where in it.
      phase: the scan joins.
      image: as stored.
      corrected: what is written, by the keys of `place`.
      kept: masks that it replaces, and where each is kept: under its checksum, so that nothing
        there is ever overwritten.
      new: False if the very same masks were ingested before.
    """

    correction: Correction
    store: Store
    place: Place
    phase: int
    image: Volume
    corrected: Mapping[str, np.ndarray]
    kept: Mapping[Path, Path]
    new: bool


def examine(
    record: Record,
    files: Mapping[str, Path],
    store: Store,
    phase: int,
    *,
    folder: Path,
    others: Mapping[str, Record],
    allowed: Allowed,
    replace: bool,
) -> Admission:
    """Every check of a corrected scan.

    Args:
      record: what the model found.
      files: the corrected files by region, or one label map.
      store: the dataset.
      phase: the scan would join.
      folder: of the ranking.
      others: every record of the ranking.
      allowed: what was said in advance.
      replace: whether masks may be replaced.

    Raises:
      DatasetError: as `Store.place` and `read_correction`; another image under this name; masks
        that are there already.
      ImageError, GeometryError: as `read_correction`.
    """
    place = store.place(record, phase - 1)
    image = _image(record, place)
    correction = read_correction(record, files, image, folder, allowed, list(others.values()))
    corrected = _arrays(correction.masks, record, store, place)
    same = [path for key, path in place.masks.items() if _is_in(path, corrected[key], image)]
    in_the_way = [path for path in place.present if path not in same]
    if in_the_way and not replace:
        raise DatasetError(
            f"{in_the_way[0]}: is there already ({_history(in_the_way[0])}); expected no mask yet",
            hint="to put the correction in its place, say --replace: the old one is kept in "
            f"{store.replaced.relative_to(store.root)}",
        )
    kept = {
        path: store.replaced / sha256_of_file(path)[:12] / path.relative_to(store.root)
        for path in in_the_way
    }
    new = len(same) < len(place.masks)
    return Admission(correction, store, place, phase, image, corrected, kept, new)


def admit(case: Admission, *, rater: str | None, date: str | None) -> None:
    """Write a case into its dataset, whole or not at all.

    Args:
      case: from `examine`, new.
      rater: who corrected.
      date: YYYY-MM-DD; None for the corrected files' own.

    Raises:
      OutputError: disk full, no permission.
    """
    with together(case.store.root) as stage:
        for mask, aside in case.kept.items():
            copy(mask, stage(aside))
            if sidecar(mask).exists():
                copy(sidecar(mask), stage(sidecar(aside)))
        for source, target in case.place.to_add:
            copy(source, stage(target))
        for key, mask in case.place.masks.items():
            found = _write_prediction(case, key, stage)
            # first the sidecar: should the power fail between the two, no mask passes for drawn by
            # hand
            tell, written = stage(sidecar(mask)), stage(mask)
            save(written, case.corrected[key], case.image)
            told = _origin(case, key, found, written, case.kept.get(mask), rater, date)
            write_json(tell, {**_about(case), KEY: told.to_json()})


def _image(record: Record, place: Place) -> Volume:
    """The scan, in the dataset or still to be added.

    Raises:
      DatasetError: it is not the one that was segmented.
    """
    sources = {target: source for source, target in place.to_add}
    images = tuple(sources.get(image, image) for image in place.images)
    volume = data.load_image(data.Case(id=record.case, subject=record.subject, images=images))
    if sha256_of_values(volume) != record.image_sha256:
        raise DatasetError(
            f"{images[0]}: holds another image than the one that was segmented under this name "
            f"({record.images[0]}); expected the same",
            hint="find out which of the two is this person's, then rank again",
        )
    return volume


def _is_in(path: Path, mask: np.ndarray, image: Volume) -> bool:
    """Whether this very mask was ingested before."""
    if not path.exists() or origin(path) is None:
        return False
    return np.array_equal(load_labels(path).like(image).data, mask)


def _history(mask: Path) -> str:
    found = origin(mask)
    if found is None:
        return "drawn by hand, or of unknown origin"
    return f"ingested in phase {found.phase}, {found.date}, by {found.rater or 'a rater not named'}"


def _write_prediction(case: Admission, key: str, stage: Callable[[Path], Path]) -> Path:
    """Write what the model had found; returns where it is for now."""
    record, target = case.correction.record, case.place.predictions[key]
    found = stage(target)
    arrays = _arrays(case.correction.predicted, record, case.store, case.place)
    save(found, arrays[key], case.image)
    model = {"Name": record.model, "WeightsSHA256": record.weights_sha256}
    write_json(stage(sidecar(target)), {**_about(case), "Model": model})
    return found


def _about(case: Admission) -> dict[str, object]:
    return {"GeneratedBy": _GENERATED, "Sources": [path.name for path in case.place.images]}


def _origin(
    case: Admission,
    key: str,
    found: Path,
    written: Path,
    kept: Path | None,
    rater: str | None,
    date: str | None,
) -> Origin:
    correction, root = case.correction, case.store.root
    record, dice = correction.record, correction.dice
    given = [correction.files[key]] if key in correction.files else [*correction.files.values()]
    return Origin(
        phase=case.phase,
        rater=rater,
        date=date or max(map(_date_of, given)),
        model=record.model,
        weights_sha256=record.weights_sha256,
        prediction=case.place.predictions[key].relative_to(root).as_posix(),
        prediction_sha256=sha256_of_file(found),
        correction={path.name: sha256_of_file(path) for path in given},
        sha256=sha256_of_file(written),
        dice={key: dice[key]} if key in dice else dice,
        lesion_outside_cord=correction.outside_cord,
        unchanged=correction.unchanged,
        replaced=None if kept is None else kept.relative_to(root).as_posix(),
        replaced_sha256=None if kept is None else sha256_of_file(case.place.masks[key]),
    )


def _date_of(path: Path) -> str:
    return datetime.date.fromtimestamp(path.stat().st_mtime).isoformat()


def _arrays(masks: np.ndarray, record: Record, store: Store, place: Place) -> dict[str, np.ndarray]:
    """What is written for each key of `place`: masks of regions, or the dataset's label map."""
    by_name = {region.name: masks[..., n] for n, region in enumerate(record.regions)}
    if LABELS not in place.masks:
        return by_name
    declared = store.dataset.regions
    ordered = np.stack([by_name[region.name] for region in declared], axis=-1)
    return {LABELS: labels_from_masks(ordered, declared)}
