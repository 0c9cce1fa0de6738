"""Where a scan's masks lie in a dataset: BIDS derivatives, or nnU-Net's labelsTr."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

from score_jax import data
from score_jax._types import PathLike
from score_jax.active.records import LABELS, Record
from score_jax.errors import DatasetError
from score_jax.imaging import read_json
from score_jax.imaging.bids import derivatives, parse, stem

# `discover` looks for masks in these folders below derivatives, in this order
_USUAL = ("truth", "labels")
_NEW = "labels"


@final
@dataclass(frozen=True, slots=True)
class Place:
    """Where a scan and its masks lie in a dataset, or will.

    Args:
      images: its images.
      to_add: images that are not there yet: source and target.
      masks: by region, or one label map (`LABELS`).
      present: those of `masks` that exist.
      predictions: where the model's masks go, by the keys of `masks`.
    """

    images: tuple[Path, ...]
    to_add: tuple[tuple[Path, Path], ...]
    masks: Mapping[str, Path]
    predictions: Mapping[str, Path]

    @property
    def present(self) -> list[Path]:
        return [path for path in self.masks.values() if path.exists()]


@final
@dataclass(frozen=True, slots=True)
class Store:
    """A dataset that takes masks in.

    Args:
      dataset: as it is now; its cases have every mask of the regions asked for.
      folder: of BIDS masks, below which ``sub-*`` lies; the dataset itself for nnU-Net.
    """

    dataset: data.Dataset
    folder: Path

    @property
    def root(self) -> Path:
        return self.dataset.root

    @property
    def replaced(self) -> Path:
        """Where masks go that others replace."""
        bids = self.root / "derivatives" / "replaced"
        return bids if self.dataset.kind == "bids" else self.root / "replaced"

    @property
    def predicted_phases(self) -> list[int]:
        """The phases of the models whose predictions are kept in the dataset."""
        above, start = _predicted(self, 0).parent, _predicted(self, 0).name[:-1]
        numbers = [path.name.removeprefix(start) for path in above.glob(f"{start}*")]
        return sorted(int(number) for number in numbers if number.isdecimal())

    def place(self, record: Record, phase: int) -> Place:
        """Where the masks of a scan go.

        Args:
          record: the scan.
          phase: of the model that predicted.

        Raises:
          DatasetError: it is a test scan or a test subject's, or its images cannot be added.
        """
        if self.dataset.kind == "bids":
            return _in_bids(self, record, phase)
        return _in_nnunet(self, record, phase)

    def prediction(self, case: data.Case, phase: int) -> data.Case:
        """A case with the masks that the model of a phase found in it, whether they exist or not.

        Args:
          case: of this dataset, with its masks.
          phase: of the model.
        """
        below = _predicted(self, phase)
        if self.dataset.kind == "bids":
            masks = {n: below / p.relative_to(self.folder) for n, p in case.region_masks.items()}
            return replace(case, region_masks=masks)
        assert case.labels is not None
        return replace(case, labels=below / case.labels.name)


def open_store(
    path: PathLike,
    regions: Sequence[str],
    *,
    derivative: str | None = None,
    contrast: str | None = None,
) -> Store:
    """The dataset at `path`, to put masks of `regions` in.

    Raises:
      DatasetError: no dataset, neither BIDS nor nnU-Net, or regions that do not fit.
    """
    found, _ = data.survey(path, labelled=False, contrast=contrast)
    if found.kind == "nnunet":
        declared = {region.name for region in found.regions}
        if declared != set(regions):
            raise DatasetError(
                f"{found.root}: its dataset.json declares {', '.join(sorted(declared))}; the model "
                f"finds {', '.join(sorted(regions))}; expected the same",
                hint="rank with a model trained on this dataset",
            )
        return Store(found, found.root)
    if found.kind != "bids":
        raise _other_kind(path, found)
    names = list(regions)
    found, _ = data.survey(
        path, regions=names, labelled=None, derivative=derivative, contrast=contrast
    )
    usual = [name for name in _USUAL if (found.root / "derivatives" / name).is_dir()]
    chosen = derivative or next(iter(usual), _NEW)
    return Store(found, found.root / "derivatives" / chosen)


def masks_of(case: data.Case) -> list[Path]:
    """The files of a case's masks."""
    return [case.labels] if case.labels is not None else list(case.region_masks.values())


def read_store(
    path: PathLike, *, derivative: str | None = None, contrast: str | None = None
) -> Store:
    """The labelled dataset at `path`, to read the masks of its lesions.

    Raises:
      DatasetError: no dataset, neither BIDS nor nnU-Net, nothing labelled, or no lesions.
    """
    found, _ = data.survey(path, labelled=False, contrast=contrast)
    folder = found.root
    if found.kind == "bids":
        found, _ = data.survey(path, labelled=True, derivative=derivative, contrast=contrast)
        first = next(iter(found.cases[0].region_masks.values()))
        folder = found.root.joinpath(*first.relative_to(found.root).parts[:2])
    elif found.kind != "nnunet":
        raise _other_kind(path, found)
    names = [region.name for region in found.regions]
    if "lesion" not in names or not any(case.labelled for case in found.cases):
        raise DatasetError(
            f"{path}: got masks of {', '.join(names) or 'nothing'}; expected lesions, too: volume, "
            "length and damage ratio are theirs",
            hint="a region named lesion, in every labelled case",
        )
    return Store(found, folder)


def _other_kind(path: PathLike, found: data.Dataset) -> DatasetError:
    return DatasetError(
        f"{path}: got a {found.kind}; expected a BIDS or nnU-Net dataset",
        hint="BIDS: sub-01/anat/sub-01_T2w.nii.gz, with masks in derivatives/labels; nnU-Net: "
        "dataset.json, imagesTr, labelsTr",
    )


def _predicted(store: Store, phase: int) -> Path:
    if store.dataset.kind == "bids":
        return store.root / "derivatives" / f"score-jax-phase-{phase}"
    return store.root / "predictionsTr" / f"phase-{phase}"


def _case(store: Store, record: Record) -> data.Case | None:
    every = (*store.dataset.cases, *store.dataset.unlabelled)
    return next((case for case in every if case.id == record.case), None)


def _in_bids(store: Store, record: Record, phase: int) -> Place:
    case = _case(store, record)
    to_add: tuple[tuple[Path, Path], ...] = ()
    if case is None:
        source = Path(record.images[0])
        name = parse(source)
        if len(record.images) > 1 or not name.is_bids or stem(source) != record.case:
            raise DatasetError(
                f"{record.case}: is not in {store.root} and has no BIDS name; expected e.g. "
                "sub-01/anat/sub-01_T2w.nii.gz",
                hint="put the scan into the dataset under its BIDS name, and rank it there",
            )
        to_add = ((source, store.root / _below(source) / source.name),)
        case = data.Case(id=record.case, subject=record.subject, images=(to_add[0][1],))
    image = case.images[0]
    below = image.parent.relative_to(store.root)
    near = [other.images[0] for other in (*store.dataset.cases, *store.dataset.unlabelled)]
    siblings = sorted({image, *(other for other in near if other.parent == image.parent)})
    masks, predictions = {}, {}
    for region in record.regions:
        names = dict(zip(siblings, derivatives(siblings, "mask", label=region.name), strict=True))
        usual = store.folder / below / names[image]
        masks[region.name] = case.region_masks.get(region.name, usual)
        inside = masks[region.name].relative_to(store.folder)
        predictions[region.name] = _predicted(store, phase) / inside
    return Place(case.images, to_add, masks, predictions)


def _below(image: Path) -> Path:
    entities = parse(image).entities
    session = [f"ses-{entities['ses']}"] if "ses" in entities else []
    return Path(f"sub-{entities['sub']}", *session, "anat")


def _in_nnunet(store: Store, record: Record, phase: int) -> Place:
    dataset = store.dataset
    tests = [case for case in dataset.test_cases if record.subject == case.subject]
    if tests:
        raise DatasetError(
            f"{record.case}: {record.subject} is in the test set ({tests[0].images[0]}); expected "
            "a scan of another person",
            hint="leave it out: what is tested must never be trained on",
        )
    about = read_json(store.root / "dataset.json")
    ending = about["file_ending"]
    case = _case(store, record)
    to_add: tuple[tuple[Path, Path], ...] = ()
    if case is None:
        sources = [Path(image) for image in record.images]
        wrong = [path for path in sources if not path.name.endswith(ending)]
        if wrong or "dataset" in about:
            got = f"the file {wrong[0].name}" if wrong else "a list of files in dataset.json"
            raise DatasetError(
                f"{record.case}: is not in {store.root}, and cannot be added: got {got}; expected "
                f"{ending} files in imagesTr",
                hint=f"put it there as {record.case}_0000{ending}, then ingest again",
            )
        targets = [
            store.root / "imagesTr" / f"{record.case}_{channel:04d}{ending}"
            for channel in range(len(sources))
        ]
        to_add = tuple(zip(sources, targets, strict=True))
        case = data.Case(id=record.case, subject=record.subject, images=tuple(targets))
    labels = case.labels or store.root / "labelsTr" / f"{record.case}{ending}"
    return Place(
        case.images, to_add, {LABELS: labels}, {LABELS: _predicted(store, phase) / labels.name}
    )
