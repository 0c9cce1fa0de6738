"""The participant level: what is finished, what is to be done, and doing it here."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import final

from score_jax.cohort import state
from score_jax.cohort.options import Options
from score_jax.cohort.scans import Scan
from score_jax.cohort.state import Job, Record
from score_jax.cohort.work import Worker
from score_jax.errors import ImageError
from score_jax.inference import Segmenter

AT_ONCE = 3  # as `api.predict`: one read, one with the network, one measured and written


@final
@dataclass(frozen=True, slots=True)
class Plan:
    """What a run would do.

    Args:
      todo: scans without a record of today's image, model and options.
      why: a word on each of them: ``new``, ``changed`` (image, model or options), ``failed``
        before, ``incomplete`` (a file is missing).
      finished: the others.
      unreadable: scans whose files cannot be read at all, and why.
    """

    todo: tuple[Job, ...]
    why: tuple[str, ...]
    finished: tuple[Scan, ...]
    unreadable: tuple[tuple[Scan, str], ...] = ()


def plan(
    scans: Sequence[Scan],
    model: Segmenter,
    options: Options,
    out: Path,
    *,
    verify: bool = False,
    on_scan: Callable[[int, int], None] = lambda done, total: None,
) -> Plan:
    """Compare every scan with its record.

    Args:
      scans: of the dataset.
      model: what would segment.
      options: what would be done.
      out: the output folder.
      verify: read every image, also those whose size and time are as recorded.
      on_scan: told scans looked at and scans in all.
    """
    key = state.model_key(model, options)
    todo, why, finished, unreadable = [], [], [], []
    for number, scan in enumerate(scans, 1):
        record = state.read_record(out, scan)
        try:
            job = state.job_of(scan, key, record, verify=verify)
        except ImageError as error:
            unreadable.append((scan, str(error)))
            continue
        finally:
            on_scan(number, len(scans))
        if record is not None and state.is_finished(out, job, record):
            finished.append(scan)
            continue
        todo.append(job)
        why.append(_why(job, record))
    return Plan(tuple(todo), tuple(why), tuple(finished), tuple(unreadable))


def _why(job: Job, record: Record | None) -> str:
    if record is None:
        return "new"
    if record["Status"] == state.FAILED:
        return "failed"
    return "changed" if record["Key"] != job.key else "incomplete"


def run_here(
    worker: Worker,
    jobs: Sequence[Job],
    *,
    on_tile: Callable[[int, int], None] = lambda done, total: None,
) -> Iterator[Record]:
    """Do the jobs in this process, some at once; records as they come, each scan's once.

    Args:
      worker: has the model.
      jobs: what is to be done.
      on_tile: told tiles done and tiles in all of a scan that is with the network.

    Raises:
      OutputError: disk full, no permission; scans that were begun are given up.
    """
    going = threading.Event()
    going.set()

    def progress(done: int, total: int) -> None:
        if not going.is_set():
            raise _Stopped
        on_tile(done, total)

    pool = ThreadPoolExecutor(AT_ONCE)
    try:
        # no list of them: a future that was seen is let go, with its record
        for future in as_completed({pool.submit(worker, job, progress=progress) for job in jobs}):
            yield future.result()
    finally:
        going.clear()
        pool.shutdown(cancel_futures=True)


class _Stopped(BaseException):
    """A scan's work ends early because the whole run does; no error of the scan's."""
