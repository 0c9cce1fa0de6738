"""Many comparisons in parallel processes, and their summary."""

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from typing import Any, Literal, final

import numpy as np

from score_jax._types import PathLike
from score_jax.arrays.regions import Region
from score_jax.errors import ConfigError, ScoreError
from score_jax.evaluation.matching import Job, match
from score_jax.evaluation.scoring import Failure, Score, Settings, region_name, score
from score_jax.metrics import PRESETS
from score_jax.metrics.inputs import Empty
from score_jax.metrics.lesionwise import Detection
from score_jax.metrics.presets import Preset
from score_jax.metrics.surface import Edge

CASES_A_WORKER = 4  # starting a process costs about as much as scoring this many

Statistics = dict[str, float]


@final
@dataclass(frozen=True, slots=True)
class Evaluation:
    """Scores of every case, and what went wrong.

    Args:
      preset: which scores.
      scores: one a case and region, sorted by case.
      failures: cases without scores, by name.
      notes: choices made on the way.
    """

    preset: Preset
    scores: tuple[Score, ...]
    failures: tuple[Failure, ...]
    notes: tuple[str, ...]

    @property
    def summary(self) -> dict[str, dict[str, Statistics]]:
        """Region -> score -> mean, sd, median, min, max, n, n_missing.

        Over the cases that have a value; ``n_missing`` counts those that have none, so an empty
        prediction counts as 0 in Dice and nowhere in a distance. ``sd`` is that of a sample (NaN
        for one case).
        """
        regions = dict.fromkeys(s.region for s in self.scores)
        return {region: self._of_region(region) for region in regions}

    def as_dict(self) -> dict[str, Any]:
        """The JSON object that `score-jax evaluate --json` prints."""
        return {
            "preset": self.preset,
            "cases": [
                {
                    "case": s.case,
                    "region": s.region,
                    "prediction": str(s.prediction),
                    "reference": str(s.reference),
                    "spacing_mm": s.spacing,
                    "values": s.values,
                    **({"slices": s.slices} if s.slices else {}),
                    "notes": s.notes,
                }
                for s in self.scores
            ],
            "summary": self.summary,
            "failed": [
                {"case": f.case, "region": f.region, "message": f.message, "hint": f.hint}
                for f in self.failures
            ],
            "notes": self.notes,
        }

    def _of_region(self, region: str) -> dict[str, Statistics]:
        rows = [s.values for s in self.scores if s.region == region]
        names = dict.fromkeys(name for row in rows for name in row)
        return {name: statistics([row.get(name, np.nan) for row in rows]) for name in names}


def statistics(values: Sequence[float]) -> Statistics:
    """Mean, sd (ddof 1), median, min, max, n and n_missing of the values that are numbers."""
    array = np.asarray(values, np.float64)
    known = array[np.isfinite(array)]
    n = known.size
    return {
        "mean": float(known.mean()) if n else np.nan,
        "sd": float(known.std(ddof=1)) if n > 1 else np.nan,
        "median": float(np.median(known)) if n else np.nan,
        "min": float(known.min()) if n else np.nan,
        "max": float(known.max()) if n else np.nan,
        "n": n,
        "n_missing": array.size - n,
    }


def evaluate(
    pred: PathLike,
    ref: PathLike,
    *,
    preset: Preset = "all",
    labels: Sequence[Region] | Literal["each"] | None = None,
    lesions: bool | None = None,
    edge: Edge = "closed",
    empty: Empty = "nan",
    min_lesion_mm3: float = 3.0,
    alpha: float = 0.10,
    beta: float = 0.70,
    gamma: float = 0.65,
    jobs: int = 1,
    on_case: Callable[[int, int, str], None] = lambda done, total, case: None,
) -> Evaluation:
    """Score predictions against references; a bad case is reported and the rest go on.

    Args:
      pred: a mask, a folder of masks or a BIDS dataset.
      ref: what to compare with; files of two folders are matched by name.
      preset: ``anima``, ``sciseg``, ``score`` or ``all`` (`metrics.presets`).
      labels: regions of label maps; ``"each"`` for every value by itself; by default what a
        dataset.json beside the masks declares, else every value by itself. ``anima`` compares
        whole label maps unless `labels` is given.
      lesions: lesion detection; by default on for ``all``, on for lesions in ``sciseg``, else off.
      edge: whether the image border closes a surface, for our own distances.
      empty: rule for empty masks, for our own scores (`metrics.inputs.settle`).
      min_lesion_mm3: lesions of this volume or less are ignored.
      alpha: thresholds of detection, `metrics.anima`.
      beta: as `alpha`.
      gamma: as `alpha`.
      jobs: processes; 0 for as many as there are processors and work. The results do not depend
        on it.
      on_case: told each case when it is done: number done, total, name.

    Raises:
      DatasetError: nothing to compare.
      ConfigError: an unknown preset, or an impossible threshold.
    """
    if preset not in PRESETS:
        raise ConfigError(f"preset: got {preset!r}; expected one of {', '.join(PRESETS)}")
    try:
        detection = Detection(min_lesion_mm3=min_lesion_mm3, alpha=alpha, beta=beta, gamma=gamma)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    settings = Settings(
        preset=preset,
        each_label=labels == "each",
        lesions=lesions,
        edge=edge,
        empty=empty,
        detection=detection,
    )
    regions = None if labels is None or isinstance(labels, str) else labels
    matched = match(pred, ref, regions=regions, declared=labels is None and preset != "anima")
    workers = _workers(jobs, len(matched.jobs))
    results: list[list[Score] | Failure] = []
    for job, result in run(matched.jobs, settings, workers):
        results.append(result)
        on_case(len(results), len(matched.jobs), job.case)
    results = _same_labels(matched.jobs, results, settings, workers)
    failures = [
        Failure(m.case, m.region, f"{m.case}: {m.message}", m.hint) for m in matched.missing
    ]
    failures += [result for result in results if isinstance(result, Failure)]
    scores = [s for result in results if not isinstance(result, Failure) for s in result]
    return Evaluation(preset, tuple(scores), tuple(failures), matched.notes)


def _same_labels(
    jobs: Sequence[Job],
    results: list[list[Score] | Failure],
    settings: Settings,
    workers: int,
) -> list[list[Score] | Failure]:
    """Every label that occurs anywhere gets a row in every case; a single one gets a plain name."""
    held = {
        number: [s.label for s in result if s.label is not None]
        for number, result in enumerate(results)
        if not isinstance(result, Failure)
    }
    labels = tuple(sorted({label for found in held.values() for label in found if label}))
    if len(labels) <= 1 and not settings.each_label:
        return [
            result
            if isinstance(result, Failure)
            else [s if s.label is None else replace(s, region=region_name(job)) for s in result]
            for job, result in zip(jobs, results, strict=True)
        ]
    again = [number for number, found in held.items() if found and tuple(found) != labels]
    more = run([jobs[number] for number in again], settings, workers, labels)
    for number, (_, result) in zip(again, more, strict=True):
        results[number] = result
    return results


def run(
    jobs: Sequence[Job], settings: Settings, workers: int, labels: tuple[int, ...] = ()
) -> Iterator[tuple[Job, list[Score] | Failure]]:
    """The result of each job, in their order whatever the number of processes."""
    if workers <= 1:
        for job in jobs:
            yield job, attempt(job, settings, labels)
        return
    # a fresh interpreter each: a fork of a process that runs JAX's threads may hang
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        futures = [pool.submit(attempt, job, settings, labels) for job in jobs]
        try:
            for job, future in zip(jobs, futures, strict=True):
                yield job, _result(job, future)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def attempt(job: Job, settings: Settings, labels: tuple[int, ...] = ()) -> list[Score] | Failure:
    """The scores of a job, or why there are none; bugs of ours are raised."""
    try:
        return score(job, settings, labels)
    except ScoreError as error:
        return Failure(job.case, job.region, error.message, error.hint)
    except MemoryError:
        return Failure(job.case, job.region, f"{job.pred}: too large for the memory there is")


def _result(job: Job, future: "Future[list[Score] | Failure]") -> list[Score] | Failure:
    try:
        return future.result()
    except BrokenProcessPool:
        message = f"{job.pred}: the process that scored it, or one beside it, was killed"
        return Failure(job.case, job.region, message, "out of memory? try --jobs 1")


def _workers(jobs: int, cases: int) -> int:
    if jobs < 0:
        raise ConfigError(f"jobs: got {jobs}; expected 0 (automatic) or more")
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
    automatic = min(available or os.cpu_count() or 1, cases // CASES_A_WORKER)
    return min(jobs or automatic, cases)
