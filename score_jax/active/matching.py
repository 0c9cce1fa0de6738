"""Which scan a corrected file belongs to, told by the name it was handed out with."""

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from score_jax._types import PathLike
from score_jax.active.records import SCORES, TO_CORRECT, Record
from score_jax.errors import DatasetError, ScoreError
from score_jax.imaging.bids import stem


@final
@dataclass(frozen=True, slots=True)
class Refused:
    """A file or case that was not taken in, and why."""

    where: str
    error: ScoreError


def ranking_folder(corrected: Sequence[PathLike], given: PathLike | None) -> Path:
    """The folder of `rank` that the corrected files belong to.

    Raises:
      DatasetError: a corrected file that does not exist; no ranking where it is expected, or
        several.
    """
    _refuse_missing(corrected)
    if given is not None:
        candidates = {Path(given)}
    else:
        candidates = {
            folder
            for path in map(Path, corrected)
            for folder in (path, *list(path.absolute().parents)[:2])
            if (folder / SCORES).is_dir()
        }
    if len(candidates) != 1 or not (next(iter(candidates)) / SCORES).is_dir():
        found = ", ".join(sorted(map(str, candidates))) or "none beside the corrected masks"
        raise DatasetError(
            f"ranking: got {found}; expected the --out folder of one `score-jax active rank`",
            hint="name it with --ranking; it holds what the model found, and by which weights",
        )
    return candidates.pop()


def find_files(
    corrected: Sequence[PathLike], records: Sequence[Record]
) -> tuple[dict[str, dict[str, Path]], list[Refused]]:
    """The corrected files by case and region, and the files that belong nowhere.

    Folders are searched below; the folder of a ranking stands for its ``to_correct``. Copies of the
    images are passed over.

    Raises:
      DatasetError: no NIfTI file at all.
    """
    known = {stem(m.file): (r, key) for r in records for key, m in r.files.items()}
    images = {stem(image) for record in records for image in record.images}
    found: dict[str, dict[str, Path]] = {}
    refused = []
    for path in _niftis(corrected):
        if stem(path) in images and stem(path) not in known:
            continue
        try:
            record, key = _owner(path, known)
            if key in (own := found.setdefault(record.case, {})):
                raise DatasetError(
                    f"{path}: got a second {key} of {record.case}, also in {own[key]}; expected "
                    "one",
                    hint="keep the corrected one and remove the other",
                )
            own[key] = path
        except DatasetError as error:
            refused.append(Refused(str(path), error))
    return {case: files for case, files in found.items() if files}, refused


def _niftis(corrected: Sequence[PathLike]) -> list[Path]:
    paths: list[Path] = []
    for path in map(Path, corrected):
        folder = path / TO_CORRECT if (path / SCORES).is_dir() else path
        below = sorted(folder.rglob("*")) if folder.is_dir() else [folder]
        paths += [p for p in below if _is_nifti(p) or p == path]
    if not paths:
        raise DatasetError(
            f"{', '.join(map(str, corrected))}: got no NIfTI file; expected corrected masks "
            "(.nii.gz)"
        )
    return list(dict.fromkeys(paths))


def _refuse_missing(corrected: Sequence[PathLike]) -> None:
    for path in map(Path, corrected):
        if not path.exists():
            raise DatasetError(
                f"{path}: no such file or folder; expected corrected masks",
                hint="name the folder to_correct of `score-jax active rank`, or files in it",
            )


def _is_nifti(path: Path) -> bool:
    return path.name.lower().endswith((".nii", ".nii.gz")) and not path.name.startswith(".")


def _owner(path: Path, known: Mapping[str, tuple[Record, str]]) -> tuple[Record, str]:
    if stem(path) not in known:
        near = difflib.get_close_matches(stem(path), known, 1)
        raise DatasetError(
            f"{path}: got a name that no ranked scan's mask has; expected the name it was handed "
            "out with",
            hint=f"is it {near[0]}.nii.gz? rename it" if near else "rename it as in to_correct",
        )
    record, key = known[stem(path)]
    folders = [part for part in path.parts[:-1] if re.fullmatch(r"sub-[a-zA-Z0-9]+", part)]
    if record.subject.startswith("sub-") and folders and folders[-1] != record.subject:
        raise DatasetError(
            f"{path}: got a mask named after {record.subject} in the folder of {folders[-1]}; "
            "expected one subject",
            hint="find out whose it is, then rename or move it",
        )
    return record, key
