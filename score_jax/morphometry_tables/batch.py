"""Many scans in parallel processes; a bad one is reported and the rest go on."""

import multiprocessing
import os
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from score_jax.errors import ConfigError, ScoreError
from score_jax.morphometry_tables.cases import Case, Failure

CASES_A_WORKER = 4  # starting a process costs about as much as measuring this many

T = TypeVar("T")


def run(
    cases: Sequence[Case], measure: Callable[[Case], T], jobs: int = 0
) -> Iterator[tuple[Case, T | Failure]]:
    """The result of each case, in their order whatever the number of processes.

    Args:
      cases: to measure.
      measure: a function that can be sent to another process.
      jobs: processes; 0 for as many as there are processors and work.

    Raises:
      ConfigError: a negative number of processes.
    """
    workers = _workers(jobs, len(cases))
    if workers <= 1:
        for case in cases:
            yield case, attempt(case, measure)
        return
    # a fresh interpreter each: a fork of a process that runs JAX's threads may hang
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        futures = [pool.submit(attempt, case, measure) for case in cases]
        try:
            for case, future in zip(cases, futures, strict=True):
                yield case, _result(case, future)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def attempt(case: Case, measure: Callable[[Case], T]) -> T | Failure:
    """The result of a case, or why there is none; a bug of ours takes no other case with it."""
    try:
        return measure(case)
    except ScoreError as error:
        return Failure(case.name, error.message, error.hint)
    except MemoryError:
        return Failure(case.name, f"{case.mask.path}: too large for the memory there is")
    except Exception:
        return Failure(case.name, traceback.format_exc(), bug=True)


def _result(case: Case, future: "Future[T | Failure]") -> T | Failure:
    try:
        return future.result()
    except BrokenProcessPool:
        message = f"{case.mask.path}: the process that measured it, or one beside it, was killed"
        return Failure(case.name, message, "out of memory? try --jobs 1")


def _workers(jobs: int, cases: int) -> int:
    if jobs < 0:
        raise ConfigError(f"jobs: got {jobs}; expected 0 (automatic) or more")
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
    automatic = min(available or os.cpu_count() or 1, cases // CASES_A_WORKER)
    return min(jobs or automatic, cases)
