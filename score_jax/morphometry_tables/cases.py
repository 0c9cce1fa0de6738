"""Which files belong together: a lesion mask, its cord, its image."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import final

from score_jax.data import Case as DatasetCase
from score_jax.data import Dataset, survey
from score_jax.errors import DatasetError
from score_jax.imaging.bids import KINDS, belongs_to, parse, region_of, source_stem, stem
from score_jax.morphometry_tables.inputs import MaskFile

_PLAIN = re.compile(r"(_label-[^_]+)?(_desc-[^_]+)?_(mask|dseg|probseg)$")
_CORD = ("cord", "sc", "spinalcord")
_NIFTI = (".nii", ".nii.gz")


@final
@dataclass(frozen=True, slots=True)
class Case:
    """The files of one scan.

    Args:
      name: unique among its cases.
      mask: of the lesions, or whatever is measured.
      cord: its cord, or None.
      image: the scan, or None.
      folder: where its results belong below the output folder.
    """

    name: str
    mask: MaskFile
    cord: MaskFile | None = None
    image: Path | None = None
    folder: PurePath = field(default=PurePath())


@final
@dataclass(frozen=True, slots=True)
class Failure:
    """A case without results, and why.

    Args:
      case: its name.
      message: got ...; expected ...
      hint: the remedy; may be empty.
      bug: whether it is our fault, not the input's.
    """

    case: str
    message: str
    hint: str = ""
    bug: bool = False

    def __str__(self) -> str:
        return f"{self.case}: {self.message}" + (f" [{self.hint}]" if self.hint else "")


@final
@dataclass(frozen=True, slots=True)
class Found:
    """The cases of a path.

    Args:
      cases: sorted by name.
      failures: cases that lack a file.
      many: whether the path was a folder or a dataset, not one file.
    """

    cases: tuple[Case, ...]
    failures: tuple[Failure, ...] = ()
    many: bool = True


def find_cases(
    mask: Path,
    *,
    region: str,
    cord: Path | None = None,
    image: Path | None = None,
    derivative: str | None = None,
    contrast: str | None = None,
) -> Found:
    """The cases at a path: one mask, a folder of masks, or a dataset with masks.

    In a folder, masks of `region` are told by their names (``label-lesion``, ``_lesion-manual``);
    if no name tells, every file is one. Cords and images are matched by name, in folders of their
    own or beside the masks. In a dataset (nnU-Net, BIDS, table) the masks of `region` and, for
    lesions, of the cord are used.

    Args:
      mask: the path.
      region: what is measured: ``lesion`` or ``cord``.
      cord: mask or folder of masks of the cord.
      image: scan or folder of scans.
      derivative: BIDS: the folder below ``derivatives`` that holds the masks.
      contrast: BIDS: the suffix of the images to use.

    Raises:
      DatasetError: nothing there, or no mask of `region`.
    """
    for path in (mask, cord, image):
        if path is not None and not path.exists():
            raise DatasetError(f"{path}: no such file or folder")
    if mask.is_file() and mask.name.lower().endswith(_NIFTI):
        partners = [_single(mask, path, what) for path, what in ((cord, "cord"), (image, "image"))]
        other = None if partners[0] is None else MaskFile(partners[0])
        return Found((Case(stem(mask), MaskFile(mask), other, partners[1]),), many=False)
    if cord is None and _is_dataset(mask):
        return _from_dataset(mask, region, derivative, contrast)
    return _from_folder(mask, region, cord, image)


def _single(mask: Path, other: Path | None, what: str) -> Path | None:
    if other is None or other.is_file():
        return other
    match = _partner(mask, PurePath(), other, _masks(other) if what == "cord" else _niftis(other))
    if match is None:
        raise DatasetError(f"{other}: got no {what} named like {mask.name}; expected one")
    return match


def _is_dataset(path: Path) -> bool:
    if path.is_file() or (path / "dataset.json").is_file():
        return True
    return (path / "derivatives").is_dir() and any(path.glob("sub-*"))


def _from_dataset(path: Path, region: str, derivative: str | None, contrast: str | None) -> Found:
    wanted = [region] if region == "cord" else [region, "cord"]
    dataset, problems = survey(path, regions=wanted, derivative=derivative, contrast=contrast)
    lacking = {problem.where: problem for problem in problems}
    cases, failures = [], []
    for case in (*dataset.cases, *dataset.test_cases):
        files = [_mask_of(case, dataset, name) for name in wanted]
        if case.id in lacking or files[0] is None:
            problem = lacking.get(case.id)
            message = problem.message if problem else f"has no mask of {region!r}"
            failures.append(Failure(case.id, message, problem.hint if problem else ""))
            continue
        name = parse(case.images[0])
        below = [f"{key}-{name.entities[key]}" for key in ("sub", "ses") if key in name.entities]
        one_image = case.images[0] if len(case.images) == 1 else None
        cords = files[1] if len(files) > 1 else None
        cases.append(Case(case.id, files[0], cords, one_image, PurePath(*below)))
    elsewhere = [p for p in problems if p.where not in {case.id for case in dataset.cases}]
    failures += [Failure(p.where, p.message, p.hint) for p in elsewhere]
    return Found(tuple(cases), tuple(failures))


def _mask_of(case: DatasetCase, dataset: Dataset, name: str) -> MaskFile | None:
    if name in case.region_masks:
        return MaskFile(case.region_masks[name])
    if case.labels is None:
        return None
    for region in dataset.regions:
        words = re.sub("[^a-z]", "", region.name.lower())
        if words in _CORD if name == "cord" else name in words:
            return MaskFile(case.labels, region.labels)
    raise DatasetError(
        f"{dataset.root}: got the regions {', '.join(r.name for r in dataset.regions)}; expected "
        f"one named {name}"
    )


def _from_folder(root: Path, region: str, cord: Path | None, image: Path | None) -> Found:
    files = _masks(root)
    told = [path for path in files if region_of(path) == region]
    chosen = told or [path for path in files if region_of(path) is None]
    if not chosen:
        raise DatasetError(
            f"{root}: got no mask of {region!r}; expected e.g. *_label-{region}_mask.nii.gz"
        )
    wants_cord = region != "cord"
    cords = [] if not wants_cord else _masks(cord or root)
    cords = [p for p in cords if region_of(p) == "cord"] or (cords if cord else [])
    scans = [] if image is None else _niftis(image)
    cases, failures = [], []
    for path in chosen:
        below = path.parent.relative_to(root)
        name = (below / stem(path)).as_posix()
        partner = _partner(path, below, cord or root, cords)
        if partner is None and cord is not None:
            failures.append(
                Failure(name, f"got no cord mask named like it in {cord}; expected one")
            )
            continue
        scan = next((p for p in scans if belongs_to(path, p) or stem(p) == stem(path)), None)
        other = None if partner is None else MaskFile(partner)
        cases.append(Case(name, MaskFile(path), other, scan, below))
    return Found(tuple(sorted(cases, key=lambda case: case.name)), tuple(failures))


def _partner(path: Path, below: PurePath, root: Path, others: Sequence[Path]) -> Path | None:
    """The file named after the same image; one in the same sub-folder goes before others."""
    same = [other for other in others if _key(other) == _key(path)]
    near = [other for other in same if other.parent.relative_to(root) == below]
    candidates = near or same
    return candidates[0] if len(candidates) == 1 else None


def _key(path: Path) -> str:
    """What a mask's name shares with other masks of its image."""
    name = parse(path)
    if not name.is_bids:
        plain, count = _PLAIN.subn("", stem(path))
        return plain if count else source_stem(path)
    own = parse(source_stem(path)).suffix
    kept = sorted((k, v) for k, v in name.entities.items() if k not in ("label", "seg"))
    return f"{kept}{'' if own in KINDS else own}"


def _masks(root: Path) -> list[Path]:
    return [path for path in _niftis(root) if not stem(path).endswith("_probseg")]


def _niftis(root: Path) -> list[Path]:
    return sorted(
        path
        for path in root.rglob("*")
        if path.name.lower().endswith(_NIFTI)
        and not any(part.startswith(".") for part in path.relative_to(root).parts)
    )
