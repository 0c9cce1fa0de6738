"""What was done, known by content: a record a scan, written when everything else of it is there.

A record holds a key: a checksum over the image, the weights and specification of the model, and
the options. A scan is finished if its record holds the key of today and its files are there; a
changed image, model or option gives another key, and the scan is done again.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from score_jax.cohort.options import Options
from score_jax.cohort.scans import Scan
from score_jax.errors import DatasetError, ImageError
from score_jax.imaging import read_json, write_json
from score_jax.imaging.tables import plain
from score_jax.inference import Ensemble, Segmenter

FORMAT = 1  # raised when the same image, model and options give other files
FOLDER = ".score-jax"  # a name with a dot: BIDS does not look at it
DONE, FAILED = "done", "failed"
_PARTS = {"Key", "Status", "Inputs", "Outputs"}
Record = dict[str, Any]


@final
@dataclass(frozen=True, slots=True)
class Job:
    """A scan with its key and the stamps of its files.

    Args:
      scan: what is to be done.
      key: of image, model and options.
      inputs: what the record says of the files.
    """

    scan: Scan
    key: str
    inputs: tuple[Record, ...]


def model_key(model: Segmenter, options: Options) -> str:
    """Checksum of everything but the image: weights, specification, rules, options."""
    parts = model.models if isinstance(model, Ensemble) else [model]
    about = {
        "format": FORMAT,
        "weights": model.sha256,
        "kind": type(model).__name__,
        "specs": [part.spec.to_json() for part in parts],
        "rules": [str(rule) for rule in model.postprocessing.rules],
        "options": options.parameters(),
    }
    return _digest(about)


def job_of(scan: Scan, model: str, record: Record | None, *, verify: bool = False) -> Job:
    """The scan's job today.

    Args:
      scan: the scan.
      model: `model_key`.
      record: what an earlier run left. Files whose size and time are those it names are not read
        again.
      verify: read them all the same.

    Raises:
      ImageError: a file that cannot be read.
    """
    known = {} if record is None or verify else {i["Name"]: i for i in record["Inputs"]}
    inputs = tuple(_stamped(path, known.get(path.name)) for path in scan.images)
    key = _digest([model, scan.id, [entry["SHA256"] for entry in inputs]])
    return Job(scan, key, inputs)


def record_path(out: Path, scan: Scan) -> Path:
    """Where the record of `scan` is."""
    return out / FOLDER / scan.subject / f"{scan.id}.json"


def read_record(out: Path, scan: Scan) -> Record | None:
    """The record of `scan`; None if there is none, or one of another form."""
    try:
        found = read_json(record_path(out, scan))
    except DatasetError:
        return None
    if not isinstance(found, dict) or found.get("Format") != FORMAT:
        return None
    return found if set(found) >= _PARTS else None


def write_record(out: Path, scan: Scan, record: Record) -> None:
    """Write the record, after the files that it names.

    Raises:
      OutputError: disk full, no permission.
    """
    write_json(record_path(out, scan), record)


def is_finished(out: Path, job: Job, record: Record | None) -> bool:
    """Whether `record` is of this very job, it went well, and its files are there in full size."""
    if record is None or record["Status"] != DONE or record["Key"] != job.key:
        return False
    return all(_is_there(out / path, size) for path, size in record["Outputs"].items())


def remove_outputs(out: Path, record: Record | None, keep: Iterable[str] = ()) -> None:
    """Remove files that an earlier record names and the new one does not: they would be stale."""
    if record is None:
        return
    for path in set(record["Outputs"]) - set(keep):
        target = (out / path).resolve()
        if target.is_relative_to(out.resolve()):  # a record edited by hand removes nothing else
            target.unlink(missing_ok=True)


def sizes_of(out: Path, paths: Iterable[Path]) -> dict[str, int]:
    """What a record says of its files: path below `out` -> bytes."""
    return {path.relative_to(out).as_posix(): path.stat().st_size for path in sorted(paths)}


def _is_there(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except OSError:
        return False


def _stamped(path: Path, known: Record | None) -> Record:
    try:
        stat = path.stat()
        stamp = {"Name": path.name, "Size": stat.st_size, "TimeNS": stat.st_mtime_ns}
        if known is not None and all(known[name] == value for name, value in stamp.items()):
            return {**stamp, "SHA256": known["SHA256"]}
        with path.open("rb") as stream:
            return {**stamp, "SHA256": hashlib.file_digest(stream, "sha256").hexdigest()}
    except OSError as error:
        raise ImageError(f"{path}: could not be read: {error.strerror}") from None


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(plain(value), sort_keys=True).encode()).hexdigest()
