"""Taking corrected masks into a dataset: all of a case or nothing of it, and never over a mask."""

import datetime
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from score_jax import __version__, data
from score_jax._types import PathLike
from score_jax.active import admission
from score_jax.active.corrections import Allowed
from score_jax.active.matching import Refused, find_files, ranking_folder
from score_jax.active.places import Store, masks_of, open_store
from score_jax.active.provenance import FIRST, origin
from score_jax.active.records import Record, read_records
from score_jax.errors import ConfigError, DatasetError, OutputError, ScoreError
from score_jax.imaging import read_json, write_json
from score_jax.imaging.bids import parse, region_of, write_description


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class IngestOptions:
    """What is known of corrections, and what may happen to them.

    Args:
      ranking: folder of the ranking; by default the one the masks lie in.
      rater: who corrected.
      date: YYYY-MM-DD; by default of the corrected file.
      phase: that the cases join, 2 or more; by default the phase that already holds corrections of
        the same model, else the next one.
      accept_unchanged: take masks that are the prediction's to the voxel.
      accept_empty: take masks without a voxel.
      replace: put them in the place of masks that are there; those are kept aside.
      derivative: BIDS: the folder below ``derivatives`` to put masks in.
      contrast: BIDS: the suffix of the images.

    Raises:
      ConfigError: a phase below 2, or a date of another form.
    """

    ranking: PathLike | None = None
    rater: str | None = None
    date: str | None = None
    phase: int | None = None
    accept_unchanged: bool = False
    accept_empty: bool = False
    replace: bool = False
    derivative: str | None = None
    contrast: str | None = None

    def __post_init__(self) -> None:
        if self.phase is not None and self.phase <= FIRST:
            raise ConfigError(
                f"phase: got {self.phase}; expected {FIRST + 1} or more: phase {FIRST} is what was "
                "drawn by hand"
            )
        if self.date is not None:
            try:
                datetime.date.fromisoformat(self.date)
            except ValueError:
                raise ConfigError(
                    f"date: got {self.date!r}; expected YYYY-MM-DD, e.g. 2026-03-31"
                ) from None


@final
@dataclass(frozen=True, slots=True)
class Taken:
    """A case that is in the dataset now.

    Args:
      case: its id.
      phase: it joined.
      masks: where its masks are.
      added: images that were copied into the dataset with it.
      replaced: masks kept aside.
      dice: of prediction and correction, by region.
      warnings: what a person should look at.
      new: False if the very same correction was there already; then nothing was written.
    """

    case: str
    phase: int
    masks: tuple[Path, ...]
    added: tuple[Path, ...]
    replaced: tuple[Path, ...]
    dice: Mapping[str, float]
    warnings: tuple[str, ...]
    new: bool = True


@final
@dataclass(frozen=True, slots=True)
class Ingested:
    """What became of corrected masks.

    Args:
      taken: cases that are in the dataset now.
      refused: files and cases that are not.
      notes: of the dataset, one line each.
    """

    taken: tuple[Taken, ...]
    refused: tuple[Refused, ...]
    notes: tuple[str, ...]


def ingest(
    corrected: Sequence[PathLike],
    dataset: PathLike,
    options: IngestOptions | None = None,
    *,
    on_case: Callable[[int, int, str], None] = lambda number, total, case: None,
) -> Ingested:
    """Check corrected masks and take the good ones into a dataset.

    A case goes in whole or not at all; a bad one is reported and the rest go on. Each mask gets a
    sidecar that says who corrected what model's prediction when, and the prediction is kept in the
    dataset, for `status`. The same files taken in twice change nothing.

    Args:
      corrected: files, or folders of them, named as they were handed out.
      dataset: BIDS or nnU-Net; a scan that is not in it yet is copied into it.
      options: what is known of the corrections.
      on_case: told each case before it starts: number, total, case.

    Raises:
      DatasetError: no corrected mask, no ranking they belong to, or a dataset that cannot take any.
      OutputError: disk full, no permission.
    """
    options = options or IngestOptions()
    folder = ranking_folder(corrected, options.ranking)
    records = {record.case: record for record in read_records(folder)}
    files, refused = find_files(corrected, list(records.values()))
    regions = {tuple(records[case].regions) for case in files}
    if len(regions) > 1:
        raise DatasetError(
            f"{folder}: got masks by models of different regions; expected one kind",
            hint="give each model its own ranking folder",
        )
    names = [region.name for region in next(iter(regions), ())]
    store = open_store(dataset, names, derivative=options.derivative, contrast=options.contrast)
    phases = known_phases(store.dataset)
    allowed = Allowed(unchanged=options.accept_unchanged, empty=options.accept_empty)
    taken: list[Taken] = []
    for number, (case, own) in enumerate(sorted(files.items())):
        on_case(number, len(files), case)
        record = records[case]
        phase = options.phase or phase_of(record, phases)
        try:
            found = admission.examine(
                record,
                own,
                store,
                phase,
                folder=folder,
                others=records,
                allowed=allowed,
                replace=options.replace,
            )
            if found.new:
                admission.admit(found, rater=options.rater, date=options.date)
            taken.append(_taken(found))
            phases.setdefault(phase, set()).add(record.weights_sha256)
        except ScoreError as error:
            if isinstance(error, OutputError):
                raise
            refused.append(Refused(case, error))
    if any(one.new for one in taken):
        _complete(store)
    return Ingested(tuple(taken), tuple(refused), tuple(_left_out(store, names)))


def known_phases(dataset: data.Dataset) -> dict[int, set[tuple[str, ...]]]:
    """The weights whose predictions were corrected in each phase of a dataset.

    Raises:
      DatasetError: a sidecar of another form.
    """
    phases: dict[int, set[tuple[str, ...]]] = {}
    for case in dataset.cases:
        for mask in masks_of(case):
            if (found := origin(mask)) is not None:
                phases.setdefault(found.phase, set()).add(found.weights_sha256)
    return phases


def phase_of(record: Record, phases: Mapping[int, set[tuple[str, ...]]]) -> int:
    """The phase that corrections of this model's predictions join.

    The one that holds such corrections already; else one more than the last.
    """
    same = [phase for phase, weights in phases.items() if record.weights_sha256 in weights]
    return min(same) if same else max(phases, default=FIRST) + 1


def _taken(found: admission.Admission) -> Taken:
    correction, place = found.correction, found.place
    there = None if found.new else origin(next(iter(place.masks.values())))
    return Taken(
        correction.record.case,
        found.phase if there is None else there.phase,
        tuple(place.masks.values()),
        tuple(target for _, target in place.to_add),
        tuple(found.kept.values()),
        correction.dice,
        correction.warnings,
        found.new,
    )


def _complete(store: Store) -> None:
    """What a dataset says of itself, after cases joined it."""
    root = store.root
    if store.dataset.kind == "bids":
        below = root / "derivatives"
        for folder in (store.folder, *sorted(below.glob("score-jax-phase-*")), store.replaced):
            if folder.is_dir() and not (folder / "dataset_description.json").exists():
                name = f"{root.name}: {folder.name}"
                write_description(folder, name, version=__version__, derived=True)
        return
    value = read_json(root / "dataset.json")
    labelled = len(data.survey(root)[0].cases)
    if value.get("numTraining") != labelled:  # nnU-Net refuses a dataset that counts otherwise
        write_json(root / "dataset.json", {**value, "numTraining": labelled})


def _left_out(store: Store, names: Sequence[str]) -> list[str]:
    """Regions that other cases have and these do not: training would leave them out silently."""
    if store.dataset.kind != "bids":
        return []
    there = {
        region_of(path)
        for path in store.folder.glob("sub-*/**/*.nii*")
        if parse(path).suffix != "dseg"
    }
    missing = sorted(name for name in there - {None, *names} if name)
    if not missing:
        return []
    return [
        f"other cases also have {', '.join(missing)}, the corrected ones do not: training on all "
        f"takes {', '.join(names)} alone"
    ]
