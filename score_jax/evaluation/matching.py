"""Which prediction belongs to which reference, told by their names.

Names may differ in style: ``sub-01_ses-02_acq-sag_label-lesion_mask`` (BIDS),
``sub-01_ses-02_acq-sag_T2w_lesion-manual`` (the field's own), ``case_000`` (nnU-Net).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

from score_jax._types import PathLike
from score_jax.arrays.regions import Region
from score_jax.data.nnunet_raw import declared_regions
from score_jax.errors import DatasetError
from score_jax.evaluation.finding import MaskFile, find, same_contrast
from score_jax.imaging import read_json

FOREGROUND = "foreground"  # the region of a mask whose name tells none


@final
@dataclass(frozen=True, slots=True)
class Job:
    """One comparison: two files, and which of their values to take.

    Args:
      case: the name that both share.
      region: the structure; None for label maps without declared regions.
      pred: the prediction's file.
      ref: the reference's file.
      pred_values: labels of the prediction that make up the region; empty for a binary mask.
      ref_values: labels of the reference, likewise.
      ignore: label of the reference whose voxels take no part, or None.
    """

    case: str
    region: str | None
    pred: Path
    ref: Path
    pred_values: tuple[int, ...] = ()
    ref_values: tuple[int, ...] = ()
    ignore: int | None = None


@final
@dataclass(frozen=True, slots=True)
class Missing:
    """A file without its counterpart, or files that cannot be told apart."""

    case: str
    region: str | None
    message: str
    hint: str = ""


@final
@dataclass(frozen=True, slots=True)
class Matched:
    """What there is to compare."""

    jobs: tuple[Job, ...]
    missing: tuple[Missing, ...]
    notes: tuple[str, ...]


@final
@dataclass(frozen=True, slots=True)
class _Unit:
    """All files of one case on one side."""

    masks: dict[str, Path]
    map: Path | None


def match(
    pred: PathLike,
    ref: PathLike,
    *,
    regions: Sequence[Region] | None = None,
    declared: bool = True,
) -> Matched:
    """Pair the masks of two files or folders.

    Args:
      pred: a mask, a folder of them (searched below, too), a BIDS dataset or derivative.
      ref: likewise; an nnU-Net raw folder gives its labelsTr and labelsTs, a BIDS dataset its
        derivative ``truth`` or ``labels``.
      regions: unions of labels to score in label maps.
      declared: without `regions`, take those that a dataset.json beside either side declares.

    Raises:
      DatasetError: a side that is not there or holds no mask, or nothing in common at all.
    """
    pred_root, ref_root = Path(pred), Path(ref)
    pred_files, ref_files = find(pred_root, "prediction"), find(ref_root, "reference")
    ignore = None
    notes: list[str] = []
    if regions is None and declared:
        path, regions, ignore = _declared(ref_root, pred_root)
        if path is not None:
            notes.append(f"regions from {path}: {', '.join(map(str, regions or ()))}")
    if pred_root.is_file() and ref_root.is_file():
        # whatever they are called, these two are to be compared
        case = pred_files[0].case
        pred_files, ref_files = (
            [replace(files[0], case=case, contrast=None, region=None)]
            for files in (pred_files, ref_files)
        )
    jobs, missing = _pair(pred_files, ref_files, tuple(regions or ()), ignore, notes)
    if not jobs:
        _nothing_common(pred_root, ref_root, pred_files, ref_files, missing)
    if pred_root.is_file() != ref_root.is_file():  # one file asked for: the rest is not missing
        missing = [problem for problem in missing if problem.case in {job.case for job in jobs}]
    return Matched(tuple(jobs), tuple(missing), tuple(notes))


def _pair(
    pred_files: list[MaskFile],
    ref_files: list[MaskFile],
    regions: tuple[Region, ...],
    ignore: int | None,
    notes: list[str],
) -> tuple[list[Job], list[Missing]]:
    jobs: list[Job] = []
    missing: list[Missing] = []
    used: set[Path] = set()
    regions_of = [{f.region for f in files} for files in (pred_files, ref_files)]
    one_sided: list[set[str]] = [set(), set()]
    for case, contrast in _groups(ref_files):
        theirs = [f for f in ref_files if f.case == case and same_contrast(f.contrast, contrast)]
        ours = [f for f in pred_files if f.case == case and same_contrast(f.contrast, contrast)]
        name = f"{case}_{contrast}" if contrast else case
        used |= {file.path for file in ours}
        if not ours:
            missing.append(Missing(name, None, f"has no prediction; reference {_names(theirs)}"))
            continue
        try:
            units = _unit(ours), _unit(theirs)
            found = _jobs(name, *units, regions, ignore)
        except DatasetError as error:
            missing.append(Missing(name, None, error.message, error.hint))
            continue
        jobs += found
        done = {job.region for job in found}
        for side, word in ((0, "reference"), (1, "prediction")):
            for region in sorted(units[side].masks.keys() - done):
                if region in regions_of[1 - side]:  # other cases have it
                    missing.append(Missing(name, region, f"has no {word} of {region}"))
                else:
                    one_sided[side].add(region)
    unused = [file for file in pred_files if file.path not in used]
    for case in sorted({file.case for file in unused}):
        names = _names(file for file in unused if file.case == case)
        missing.append(Missing(case, None, f"has no reference; prediction {names}"))
    for word, names in zip(("reference", "prediction"), one_sided, strict=True):
        if names:
            notes.append(f"without {word} anywhere, not scored: {', '.join(sorted(names))}")
    return jobs, sorted(missing, key=lambda problem: (problem.case, problem.region or ""))


def _groups(files: list[MaskFile]) -> list[tuple[str, str | None]]:
    """Each case, and where its images have several contrasts, each of them by itself."""
    contrasts: dict[str, set[str]] = {}
    for file in files:
        contrasts.setdefault(file.case, set()).update([file.contrast] if file.contrast else [])
    return [
        (case, contrast)
        for case, known in sorted(contrasts.items())
        for contrast in (sorted(known) if len(known) > 1 else [None])
    ]


def _jobs(
    case: str, pred: _Unit, ref: _Unit, regions: tuple[Region, ...], ignore: int | None
) -> list[Job]:
    jobs = [
        Job(case, region, pred.masks[region], ref.masks[region])
        for region in sorted(ref.masks)
        if region in pred.masks
    ]
    done = {job.region for job in jobs}
    for region in regions:
        ours, theirs = _source(pred, region), _source(ref, region)
        if region.name not in done and ours is not None and theirs is not None:
            jobs.append(Job(case, region.name, ours[0], theirs[0], ours[1], theirs[1], ignore))
    if jobs:
        return jobs
    if pred.map is not None and ref.map is not None:
        return [Job(case, None, pred.map, ref.map, ignore=ignore)]
    # a mask whose name tells nothing beside one that tells what both are
    known, unknown = (pred, ref) if pred.masks else (ref, pred)
    if len(known.masks) == 1 and unknown.map is not None:
        region = next(iter(known.masks))
        ours, theirs = pred.masks.get(region, pred.map), ref.masks.get(region, ref.map)
        assert ours is not None
        assert theirs is not None
        return [Job(case, region, ours, theirs)]
    raise DatasetError(
        f"got {_held(pred)} predicted and {_held(ref)} as reference; expected a region in common",
        hint="say which labels make up a region, e.g. --labels cord=1,2 --labels lesion=2",
    )


def _source(unit: _Unit, region: Region) -> tuple[Path, tuple[int, ...]] | None:
    if region.name in unit.masks:
        return unit.masks[region.name], ()
    return None if unit.map is None else (unit.map, region.labels)


def _unit(files: list[MaskFile]) -> _Unit:
    masks: dict[str, Path] = {}
    label_map: Path | None = None
    for file in files:
        other = label_map if file.region is None else masks.get(file.region)
        if other is not None:
            raise DatasetError(
                f"got {other} and {file.path} for one mask; expected one file",
                hint="give the folder that holds just one of them",
            )
        if file.region is None:
            label_map = file.path
        else:
            masks[file.region] = file.path
    return _Unit(masks, label_map)


def _declared(
    *roots: Path,
) -> tuple[Path | None, tuple[Region, ...] | None, int | None]:
    for root in roots:
        folder = root if root.is_dir() else root.parent
        for path in (folder / "dataset.json", folder.parent / "dataset.json"):
            if path.is_file():
                regions, ignore, _ = declared_regions(path, read_json(path))
                return path, regions, ignore
    return None, None, None


def _nothing_common(
    pred_root: Path,
    ref_root: Path,
    pred_files: list[MaskFile],
    ref_files: list[MaskFile],
    missing: list[Missing],
) -> None:
    own = next((m for m in missing if m.hint), None)
    if own is not None:
        raise DatasetError(f"{own.case}: {own.message}", hint=own.hint)
    raise DatasetError(
        f"{pred_root} and {ref_root}: got no case in common ({_names(pred_files)} and "
        f"{_names(ref_files)}); expected masks named after the same images",
        hint="rename them, or evaluate file by file",
    )


def _names(files: Iterable[MaskFile]) -> str:
    names = [file.path.name for file in files]
    return ", ".join(names[:3]) + (f" ... ({len(names)} in all)" if len(names) > 3 else "")


def _held(unit: _Unit) -> str:
    return ", ".join([*unit.masks, *(["a label map"] if unit.map else [])])
