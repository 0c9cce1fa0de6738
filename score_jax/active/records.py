"""What `rank` keeps of each scan, and the folder it lies in."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import final
from urllib.parse import quote

import numpy as np

from score_jax import strict
from score_jax._types import PathLike
from score_jax.arrays.regions import Region
from score_jax.errors import ConfigError, DatasetError
from score_jax.imaging import Volume, read_json, write_json

FORMAT = 1
PREDICTIONS, TO_CORRECT, PICTURES, SCORES = "predictions", "to_correct", "pictures", "scores"
LABELS = "labels"  # the label map among a record's files; the others are called as their region
LESION = "lesion"
_BY_REGION = ("disagreement", "entropy", "mutual_information", "volumes_mm3")


@final
@dataclass(frozen=True, slots=True)
class MaskFile:
    """A predicted mask.

    Args:
      file: its name, the same in ``predictions`` and ``to_correct``.
      sha256: of the file as it was written.
    """

    file: str
    sha256: str


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A scan after the model was asked about it.

    Args:
      case: its id.
      subject: the person.
      images: its files, absolute.
      image_sha256: of the voxel values, so that a copy compressed anew is the same image.
      made_with: checksum of all that decides the numbers: weights, draws, post-processing.
      model: name of what was asked.
      weights_sha256: of each of its members.
      regions: of the model, in the order in which they are written into a label map.
      opinions: how many there were.
      disagreement: one minus the mean pairwise Dice, by region; NaN for one opinion.
      entropy: predictive entropy in bits, by region.
      mutual_information: in bits, by region; NaN for one opinion.
      volumes_mm3: of each predicted region.
      lesions: how many are predicted; None if the model knows no region of that name.
      files: the predicted masks by region, and their label map (`LABELS`).
    """

    case: str
    subject: str
    images: tuple[str, ...]
    image_sha256: str
    made_with: str
    model: str
    weights_sha256: tuple[str, ...]
    regions: tuple[Region, ...]
    opinions: int
    disagreement: Mapping[str, float]
    entropy: Mapping[str, float]
    mutual_information: Mapping[str, float]
    volumes_mm3: Mapping[str, float]
    lesions: int | None
    files: Mapping[str, MaskFile]

    @property
    def means(self) -> dict[str, float]:
        """Disagreement, entropy and mutual information, averaged over the regions."""
        tables = {
            "disagreement": self.disagreement,
            "entropy": self.entropy,
            "mutual_information": self.mutual_information,
        }
        return {name: float(np.mean([*by_region.values()])) for name, by_region in tables.items()}

    @property
    def lesion_mm3(self) -> float:
        """Volume of the predicted lesions; NaN if the model knows no region of that name."""
        return self.volumes_mm3.get(LESION, float("nan"))

    def write(self, folder: Path) -> None:
        """Keep it in a folder of `rank`; NaN becomes null.

        Raises:
          OutputError: disk full, no permission.
        """
        write_json(_path(folder, self.case), {"format": FORMAT, **asdict(self)})

    def edited(self, folder: Path, within: str) -> list[Path]:
        """Its masks in `within` (``predictions``, ``to_correct``) that differ from the written."""
        paths = [(folder / within / mask.file, mask) for mask in self.files.values()]
        return [path for path, m in paths if path.exists() and sha256_of_file(path) != m.sha256]


def read_record(folder: Path, case: str) -> Record | None:
    """The record of a case in a folder of `rank`, or None if it was never scored there.

    Raises:
      DatasetError: a file of another form; names it and the key.
    """
    path = _path(folder, case)
    return _read(path) if path.exists() else None


def read_records(folder: PathLike) -> list[Record]:
    """Every record in a folder of `rank`, by case.

    Raises:
      DatasetError: none there, or a file of another form.
    """
    paths = sorted((Path(folder) / SCORES).glob("*.json"))
    if not paths:
        raise DatasetError(
            f"{folder}: got no {SCORES}/*.json; expected the --out folder of `score-jax active "
            "rank`"
        )
    return sorted((_read(path) for path in paths), key=lambda record: record.case)


def _path(folder: Path, case: str) -> Path:
    return folder / SCORES / f"{quote(case, safe='')}.json"


def _read(path: Path) -> Record:
    value = read_json(path)
    hint = "remove this file and run `score-jax active rank` again"
    if not isinstance(value, dict) or value.pop("format", None) != FORMAT:
        raise DatasetError(f"{path}: got another form; expected format {FORMAT}", hint=hint)
    try:
        by_region = {name: _numbers(value.pop(name)) for name in _BY_REGION}
        files = {
            name: strict.read(MaskFile, entry, f"{path}: files.{name}")
            for name, entry in value.pop("files").items()
        }
        # read without the tables by name, which have no fixed keys
        empty = {name: {} for name in (*_BY_REGION, "files")}
        return replace(strict.read(Record, {**value, **empty}, str(path)), **by_region, files=files)
    except (ConfigError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise DatasetError(f"{path}: got another form ({error})", hint=hint) from None


def _numbers(value: Mapping[str, float | None]) -> dict[str, float]:
    return {name: float("nan") if v is None else float(v) for name, v in value.items()}


def sha256_of_values(volume: Volume) -> str:
    """Checksum of an image's shape and values, whatever file they came from."""
    digest = hashlib.sha256(repr(volume.channels_last.shape).encode())
    digest.update(np.ascontiguousarray(volume.channels_last, np.float32).data)
    return digest.hexdigest()


def sha256_of_file(path: Path) -> str:
    """Checksum of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_of_parts(*parts: str | int | bool | Sequence[str]) -> str:
    """Checksum of plain values."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()
