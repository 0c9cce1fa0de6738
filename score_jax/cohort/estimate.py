"""How long a run may take, from what earlier scans of it took."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import final

from score_jax.cohort import state
from score_jax.cohort.state import Job
from score_jax.errors import DatasetError, ScoreError
from score_jax.imaging import load_header, read_json

_MOST = 200  # records looked at


@final
@dataclass(frozen=True, slots=True)
class Estimate:
    """A guess at the time of a run.

    Args:
      seconds: of this machine, one scan after another; None if nothing is known.
      basis: where it comes from, in words.
    """

    seconds: float | None
    basis: str

    def __str__(self) -> str:
        if self.seconds is None:
            return f"unknown ({self.basis})"
        minutes, seconds = divmod(round(self.seconds), 60)
        hours, minutes = divmod(minutes, 60)
        return f"about {hours}:{minutes:02d}:{seconds:02d} ({self.basis})"


def estimate(jobs: Sequence[Job], out: Path) -> Estimate:
    """Guess the time of `jobs`: the median seconds a voxel of finished scans, times theirs.

    Only headers are read. Scans that are cropped cost less than their voxels say; the earlier
    scans were cropped alike, so that is in the figure. A run over several workers takes the sum
    divided by their number.

    Args:
      jobs: to be done.
      out: the output folder, with the records of earlier scans.
    """
    if not jobs:
        return Estimate(0.0, "nothing to do")
    known = [rate for path in _records(out) if (rate := _rate(path)) is not None]
    if not known:
        return Estimate(None, "no scan was done here yet; run one with --participant-label")
    voxels = [count for job in jobs if (count := _voxels(job)) is not None]
    return Estimate(
        median(known) * sum(voxels),
        f"from {len(known)} finished scans, {median(known) * 1e6:.2g} s a million voxels",
    )


def _records(out: Path) -> list[Path]:
    return sorted((out / state.FOLDER).glob("*/*.json"))[:_MOST]


def _rate(path: Path) -> float | None:
    try:
        record = read_json(path)
        if record["Status"] != state.DONE:
            return None
        # compiling is done once a process
        return (record["Seconds"]["total"] - record["Seconds"].get("compile", 0)) / record["Voxels"]
    except (DatasetError, KeyError, TypeError, ZeroDivisionError):
        return None


def _voxels(job: Job) -> int | None:
    try:
        x, y, z = load_header(job.scan.images[0]).shape
    except ScoreError:
        return None
    return x * y * z
