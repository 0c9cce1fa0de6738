"""Many items over workers that may die: each is done once, and one that kills is named.

What counts as done is on disk, not in the scheduler's memory: an item whose worker, or whose
scheduler, went away is handed out again, and the work itself finds out that it had been done.
"""

import itertools
import math
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from score_jax.cohort.cluster import ClusterOptions, connected
from score_jax.errors import ConfigError, ScoreError

Item = TypeVar("Item")
Result = TypeVar("Result")

IN_FLIGHT = 4  # items that the scheduler knows of at once, for each thread of its workers
LEAST_IN_FLIGHT = 64  # also while most workers are still to come
PATIENCE_S = 120.0  # to wait for a scheduler that went away
_ASK_EACH_S = 1.0


class KilledError(ScoreError):
    """The worker died whenever it did this item."""


def distribute(
    work: Callable[[Item], Result],
    items: Mapping[str, Item],
    options: ClusterOptions,
    *,
    on_start: Callable[[str, int], None] = lambda dashboard, workers: None,
    patience_s: float = PATIENCE_S,
) -> Iterator[tuple[str, Result | Exception]]:
    """Results by key as they come, every key once; an exception in place of one that failed.

    An item whose worker died is tried `options.retries` times more. If that does not help, it may
    have been beside the culprit: it is tried once more when all others are done, alone; if its
    worker dies again, it is named (`KilledError`). A scheduler that goes away (``tcp://``) is
    waited for, and gets what is left.

    Args:
      work: importable in the workers; must find out itself if an item was done before.
      items: by key.
      options: the workers.
      on_start: told the dashboard's address (empty: none) and the workers that are there.
      patience_s: how long to wait for a scheduler.

    Raises:
      ConfigError: no scheduler or no worker comes within the patience.
    """
    left, suspects = dict(items), {}
    while left or suspects:
        try:
            with connected(options) as client:
                on_start(client.dashboard_link or "", _wait_for_workers(client, patience_s))
                for key, result in _drained(client, work, left, options):
                    if _killed(result):
                        suspects[key] = left.pop(key)
                        continue
                    del left[key]
                    yield key, result
                for key in list(suspects):
                    ((_, result),) = _drained(client, work, {key: suspects[key]}, options)
                    del suspects[key]
                    yield key, _named(key) if _killed(result) else result
        except _SchedulerLostError:
            _wait_for_scheduler(options, patience_s)


class _SchedulerLostError(Exception):
    """The scheduler forgot what it was given, or is gone."""


def _drained(
    client: Any,
    work: Callable[[Item], Result],
    items: Mapping[str, Item],
    options: ClusterOptions,
) -> Iterator[tuple[str, Result | Exception]]:
    from distributed import as_completed

    waiting = iter(list(items.items()))
    keys: dict[str, str] = {}
    coming: Any = as_completed(loop=client.loop, raise_errors=False)
    asked = -math.inf
    room = 0
    while True:
        if time.monotonic() - asked > _ASK_EACH_S:  # workers come and go
            room, asked = _room(client), time.monotonic()
        for key, item in itertools.islice(waiting, max(0, room - len(keys))):
            future = _submitted(client, work, key, item)
            keys[future.key] = key
            coming.add(future)
            del future  # one that is held keeps its result
        if not keys:
            return
        future = next(coming)
        if future.status == "pending":  # its result died with a worker and is computed again
            coming.add(future)
            del future
            continue
        key = keys.pop(future.key)
        if future.status not in ("finished", "error"):
            raise _SchedulerLostError
        result: Any = future.result() if future.status == "finished" else future.exception()
        del future
        yield key, result


def _room(client: Any) -> int:
    """How many items the scheduler should know of."""
    try:
        threads = sum(client.nthreads().values())
    except Exception as error:  # the connection broke: whatever Dask calls it
        raise _SchedulerLostError from error
    return max(LEAST_IN_FLIGHT, IN_FLIGHT * threads)


def _submitted(client: Any, work: Callable[[Item], Result], key: str, item: Item) -> Any:
    # a name of its own for every attempt: a scheduler remembers what failed
    name = f"score-jax-{key}-{time.time_ns()}"
    try:
        return client.submit(work, item, key=name, pure=False)
    except Exception as error:
        raise _SchedulerLostError from error


def _killed(result: object) -> bool:
    from distributed import KilledWorker

    return isinstance(result, KilledWorker)


def _named(key: str) -> KilledError:
    return KilledError(
        f"{key}: the worker died whenever it did it",
        hint="out of memory? give a worker more, and see the worker's log",
    )


def _wait_for_workers(client: Any, patience_s: float) -> int:
    try:
        client.wait_for_workers(1, timeout=patience_s)
    except TimeoutError:
        raise ConfigError(
            f"cluster: no worker came within {patience_s:g} s; expected one",
            hint="see the queue, and the settings of the jobs",
        ) from None
    except Exception as error:
        raise _SchedulerLostError from error
    return len(client.scheduler_info(n_workers=-1)["workers"])


def _wait_for_scheduler(options: ClusterOptions, patience_s: float) -> None:
    """Until a scheduler answers where one was; one of our own is simply started again."""
    if "://" not in options.kind:
        return
    deadline = time.monotonic() + patience_s
    while True:
        try:
            with connected(options):
                return
        except ConfigError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_ASK_EACH_S)
