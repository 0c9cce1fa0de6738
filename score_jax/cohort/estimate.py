"""How long a run may take, from what earlier scans of it took."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import final

import numpy as np

from score_jax.arrays.grid import tile_starts
from score_jax.arrays.resampling import resampled_shape
from score_jax.cohort import state
from score_jax.cohort.state import Job
from score_jax.errors import DatasetError, ScoreError
from score_jax.imaging import Volume, load_header, read_json
from score_jax.inference import Ensemble, Predictor, Segmenter

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


def estimate(jobs: Sequence[Job], out: Path, model: Segmenter | None = None) -> Estimate:
    """Guess the time of `jobs`: the median seconds a voxel of finished scans, times theirs.

    Before any scan is finished, `model` computes one tile, and the tiles of all scans are counted.
    That is the network alone, on whole scans: scans that are cropped take less, measuring and
    drawing come on top. Only headers of the scans are read. A run over several workers takes the
    sum divided by their number.

    Args:
      jobs: to be done.
      out: the output folder, with the records of earlier scans.
      model: what would segment.
    """
    if not jobs:
        return Estimate(0.0, "nothing to do")
    headers = [header for job in jobs if (header := _header(job)) is not None]
    known = [rate for path in _records(out) if (rate := _rate(path)) is not None]
    if known:
        voxels = sum(int(np.prod(header.shape)) for header in headers)
        return Estimate(
            median(known) * voxels,
            f"from {len(known)} finished scans, {median(known) * 1e6:.2g} s a million voxels",
        )
    if model is None:
        return Estimate(None, "no scan was done here yet")
    parts = model.models if isinstance(model, Ensemble) else [model]
    seconds = sum(_seconds_a_tile(part) * _tiles(part, headers) for part in parts)
    return Estimate(seconds, "the network alone, on whole scans; from the time of one tile")


def _seconds_a_tile(model: Predictor) -> float:
    tile = np.zeros((1, *model.spec.tile, model.spec.in_channels), np.float32)
    model.tile_logits(tile)  # compiles
    started = time.perf_counter()
    model.tile_logits(tile)
    return time.perf_counter() - started


def _tiles(model: Predictor, headers: Sequence[Volume]) -> int:
    return sum(tiles_of(model, header) for header in headers)


def tiles_of(model: Predictor, header: Volume) -> int:
    """How many tiles the network sees of a whole image."""
    spec = model.spec
    turned = header.reoriented(spec.preprocessing.axcodes) if spec.preprocessing.axcodes else header
    order = spec.preprocessing.transpose
    here = tuple(turned.spacing[axis] for axis in order)
    wanted = spec.preprocessing.spacing_mm or (0.0, 0.0, 0.0)
    space = list(resampled_shape([turned.shape[axis] for axis in order], here, wanted))
    slices = space.pop(spec.slice_axis) if len(spec.tile) == 2 else 1
    counts = [
        len(tile_starts(max(n, t), t, spec.tile_step))
        for n, t in zip(space, spec.tile, strict=True)
    ]
    return slices * math.prod(counts)


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


def _header(job: Job) -> Volume | None:
    try:
        return load_header(job.scan.images[0])
    except ScoreError:
        return None
