"""Where the workers of a run come from: this machine, Slurm or PBS, or a scheduler that is there.

Dask starts and watches them (`distributed`, `dask_jobqueue`: the extra ``cluster``). Nothing
listens beyond the loopback address unless the user names an address or a network interface.
"""

import contextlib
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, final

from score_jax.errors import ConfigError

LOOPBACK = "127.0.0.1"
KINDS = ("local", "slurm", "pbs")
CPUS = "SCORE_JAX_CPUS"  # processors that a worker keeps to, e.g. "0,1"
_LISTS = ("job_extra_directives", "job_script_prologue", "worker_extra_args")
_STARTS = 3  # times that workers on this machine are tried to be started


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterOptions:
    """Which workers, and how they are treated.

    Args:
      kind: one of `KINDS`, or the address of a scheduler (``tcp://host:8786``).
      workers: how many; 0: locally one for each GPU or two processors, else one.
      threads: scans at a time in each worker; they take turns on its device.
      host: address that the scheduler of this run listens on; not used with ``tcp://``.
      dashboard: port of the dashboard; 0 for any that is free, None for no dashboard.
      retries: how often a scan is tried again after its worker died with it.
      settings: for Slurm and PBS, arguments of `dask_jobqueue` (queue, walltime, cores, memory,
        interface, job_extra_directives ...); lists are separated by semicolons.
      environment: of the workers that this run starts.

    Raises:
      ConfigError: an unknown kind, a negative number, or settings of a cluster that takes none.
    """

    kind: str
    workers: int = 0
    threads: int = 1
    host: str = LOOPBACK
    dashboard: int | None = 0
    retries: int = 2
    settings: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind not in KINDS and "://" not in self.kind:
            raise ConfigError(
                f"cluster: got {self.kind!r}; expected {', '.join(KINDS)} or an address such as "
                "tcp://host:8786"
            )
        if self.workers < 0 or self.threads < 1 or self.retries < 0:
            raise ConfigError(
                f"cluster: got {self.workers} workers, {self.threads} threads and {self.retries} "
                "retries; expected 0, 1 and 0 or more"
            )
        if self.settings and self.kind not in ("slurm", "pbs"):
            raise ConfigError(
                f"cluster: got settings ({', '.join(self.settings)}) for {self.kind}; expected "
                "none: they are for slurm and pbs"
            )


@contextlib.contextmanager
def connected(options: ClusterOptions) -> Iterator[Any]:
    """A client of the workers (`distributed.Client`, untyped); those that this run started end too.

    Raises:
      ConfigError: Dask is not installed, no scheduler answers, a setting is wrong.
    """
    dask, distributed = _dask()
    config = {
        "distributed.scheduler.allowed-failures": options.retries,
        # a scan waits at the scheduler, not at a worker, whose death would be blamed on it
        "distributed.scheduler.worker-saturation": 1.0,
        "distributed.comm.timeouts.connect": "20s",
    }
    with dask.config.set(config), _quiet(), contextlib.ExitStack() as stack:
        if "://" in options.kind:
            address: Any = options.kind
        else:
            make = _local if options.kind == "local" else _queued
            address = stack.enter_context(make(options))
        try:
            client = stack.enter_context(distributed.Client(address, set_as_default=False))
        except OSError as error:
            raise ConfigError(
                f"{options.kind}: no scheduler answers there ({error})",
                hint="start one with `dask scheduler --host ADDRESS`",
            ) from None
        yield client


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Dask tells its whole life; what a user can act on is said by us."""
    log = logging.getLogger("distributed")
    before = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(before)


def _dask() -> tuple[Any, Any]:
    try:
        import dask
        import distributed
    except ImportError:
        raise ConfigError(
            "cluster: needs Dask, which is not installed", hint="pip install 'score-jax[cluster]'"
        ) from None
    return dask, distributed


def _dashboard(options: ClusterOptions) -> dict[str, Any]:
    address = f"{options.host}:{options.dashboard or 0}"
    return {"dashboard_address": address, "dashboard": options.dashboard is not None}


def _local(options: ClusterOptions) -> Any:
    """Workers on this machine: each has a GPU of its own, or its share of the processors."""
    from distributed import Nanny, Scheduler, SpecCluster

    gpus = [] if options.environment.get("JAX_PLATFORMS") == "cpu" else visible_gpus()
    processors = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    count = options.workers or len(gpus) or max(1, len(processors) // 2)
    common = {
        "nthreads": options.threads,
        "host": options.host,
        "memory_limit": 0,  # a scan may need all there is; the system says when it is too much
        "dashboard": False,
    }
    workers = {
        number: {
            "cls": Nanny,
            "options": common | {"env": _environment(options, number, count, gpus, processors)},
        }
        for number in range(count)
    }
    scheduler = {
        "cls": Scheduler,
        "options": {"host": options.host, "port": 0, **_dashboard(options)},
    }
    for left in reversed(range(_STARTS)):  # a worker may be killed while it starts
        try:
            return SpecCluster(workers=workers, scheduler=scheduler, name="score-jax")
        except RuntimeError as error:
            if not left:
                raise ConfigError(
                    f"{options.kind}: {count} workers could not be started ({error})",
                    hint="ask for fewer with --workers, or look at the machine's memory",
                ) from None
    raise AssertionError("the last start returns or raises")


def _environment(
    options: ClusterOptions, number: int, count: int, gpus: list[str], processors: list[int]
) -> dict[str, str]:
    own = dict(options.environment)
    if gpus:
        return own | {"CUDA_VISIBLE_DEVICES": gpus[number % len(gpus)]}
    share = len(processors) // count
    if share:
        mine = processors[number * share : (number + 1) * share]
        own[CPUS] = ",".join(map(str, mine))
    return own


def visible_gpus() -> list[str]:
    """Numbers or names of the GPUs of this machine that the user lets us see; JAX is not asked."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [part for part in named.split(",") if part.strip() not in ("", "-1")]
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    told = subprocess.run([program, "-L"], capture_output=True, text=True, check=False)
    lines = [line for line in told.stdout.splitlines() if line.startswith("GPU ")]
    return [str(number) for number in range(len(lines))]


def _queued(options: ClusterOptions) -> Any:
    """Jobs of a batch system, a worker each; those that end early are asked for again."""
    try:
        import dask_jobqueue
    except ImportError:
        raise ConfigError(
            f"cluster: {options.kind} needs dask-jobqueue, which is not installed",
            hint="pip install 'score-jax[cluster]'",
        ) from None
    names = {"slurm": "SLURMCluster", "pbs": "PBSCluster"}
    make: Any = getattr(dask_jobqueue, names[options.kind])
    try:
        cluster = make(**queue_arguments(options))
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"cluster: {options.kind} refuses its settings ({error}); expected arguments of "
            "dask_jobqueue",
            hint="e.g. --cluster-set queue=gpu --cluster-set walltime=04:00:00",
        ) from None
    count = options.workers or 1
    cluster.adapt(minimum_jobs=count, maximum_jobs=count)
    return cluster


def queue_arguments(options: ClusterOptions) -> dict[str, Any]:
    """What `dask_jobqueue` is called with: a job is one worker, with the GPU that it asks for.

    Without ``interface`` among the settings, scheduler and workers listen on `options.host`: they
    find each other on one machine only.
    """
    given: dict[str, Any] = dict(options.settings)
    for name in _LISTS:
        if name in given:
            given[name] = [part.strip() for part in given[name].split(";") if part.strip()]
    for name in ("cores", "job_cpu"):
        if name in given:
            given[name] = _number(name, given[name])
    exports = [f"export {name}={value}" for name, value in options.environment.items()]
    extra = [
        "--nthreads",
        str(options.threads),
        "--no-dashboard",
        *given.pop("worker_extra_args", []),
    ]
    scheduler: dict[str, Any] = _dashboard(options)
    if "interface" not in given:
        scheduler["host"] = options.host
        extra += ["--host", options.host]
    return {
        "cores": 1,
        "memory": "8GB",
        "processes": 1,
        "python": sys.executable,
        **given,
        "job_script_prologue": [*exports, *given.get("job_script_prologue", [])],
        "worker_extra_args": extra,
        "scheduler_options": scheduler,
    }


def _number(name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ConfigError(f"cluster: got {name}={text}; expected a whole number") from None


def keep_to_own_processors() -> None:
    """Let this process use the processors that `CPUS` names; JAX counts them when it starts."""
    named = os.environ.get(CPUS)
    if not named or not hasattr(os, "sched_setaffinity"):
        return
    mine = {int(part) for part in named.split(",")}
    for thread in os.listdir("/proc/self/task"):  # those that run already, too
        os.sched_setaffinity(int(thread), mine)
