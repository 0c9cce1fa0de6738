"""A scan in a worker's process: the model is loaded once and kept warm."""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from score_jax.cohort import state
from score_jax.cohort.cluster import ClusterOptions, keep_to_own_processors
from score_jax.cohort.distributing import distribute
from score_jax.cohort.options import Options
from score_jax.cohort.state import Job, Record
from score_jax.errors import OutputError, ScoreError

if TYPE_CHECKING:
    from score_jax.cohort.work import Worker

_WARM: dict["Settings", "Worker"] = {}
_LOADING = threading.Lock()


class UnfitWorkerError(ScoreError):
    """A worker cannot load the model: it would be so for every scan."""


@final
@dataclass(frozen=True, slots=True)
class Settings:
    """What is the same for every scan of a run, and travels to the workers.

    Args:
      options: what is done; models are named by absolute paths, or shipped.
      root: the dataset, absolute.
      out: the output folder, absolute.
    """

    options: Options
    root: Path
    out: Path


@final
@dataclass(frozen=True, slots=True)
class Errand:
    """A scan on its way to a worker."""

    settings: Settings
    job: Job


def settings_of(options: Options, root: Path, out: Path) -> Settings:
    """The settings with absolute paths: workers start in folders of their own."""
    models = tuple(str(Path(m).absolute()) if Path(m).exists() else m for m in options.models)
    return Settings(replace(options, models=models), root.absolute(), out.absolute())


def run_errand(errand: Errand) -> Record:
    """Do a scan in this process, unless its record says that it was done.

    Raises:
      OutputError: disk full, no permission.
      UnfitWorkerError: the model cannot be loaded here.
    """
    out, job = errand.settings.out, errand.job
    before = state.read_record(out, job.scan)
    if before is not None and state.is_finished(out, job, before):
        return before  # its worker, or the scheduler, died before it could tell
    return _worker(errand.settings)(job)


def _worker(settings: Settings) -> "Worker":
    with _LOADING:
        if settings not in _WARM:
            keep_to_own_processors()  # before the model's platform starts
            from score_jax.cohort.work import Worker, load

            _WARM.clear()
            try:
                model = load(settings.options)
            except ScoreError as error:
                raise UnfitWorkerError(f"a worker: {error.message}", hint=error.hint) from None
            _WARM[settings] = Worker(model, settings.options, settings.root, settings.out)
        return _WARM[settings]


def run_there(
    settings: Settings, jobs: Sequence[Job], cluster: ClusterOptions, **more: Any
) -> Iterator[Record]:
    """Do the jobs on a cluster; records as they come, each scan's once.

    A scan that killed its workers gets a record that says so.

    Args:
      settings: of the run.
      jobs: what is to be done.
      cluster: the workers; they see the dataset, the models and the output folder at the same
        paths as this process.
      more: as `distribute`.

    Raises:
      ConfigError: the workers cannot be had.
      UnfitWorkerError: a worker cannot load the model.
      OutputError: what a worker says of its disk.
    """
    errands = {job.scan.id: Errand(settings, _absolute(job)) for job in jobs}
    for key, result in distribute(run_errand, errands, cluster, **more):
        if isinstance(result, OutputError | UnfitWorkerError):
            raise result
        if isinstance(result, Exception):
            from score_jax.cohort.work import failed_record

            yield failed_record(settings.out, errands[key].job, result)
        else:
            yield result


def _absolute(job: Job) -> Job:
    images = tuple(path.absolute() for path in job.scan.images)
    return replace(job, scan=replace(job.scan, images=images))
