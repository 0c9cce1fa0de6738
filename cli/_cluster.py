"""The options of commands that may hand their work to a cluster."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from score_jax.cohort.cluster import ClusterOptions

KindOption = Annotated[
    str | None,
    typer.Option(
        "--cluster", help="Workers: local, slurm, pbs, or a Dask scheduler's tcp://HOST:PORT."
    ),
]
WorkersOption = Annotated[
    int, typer.Option(min=0, help="How many; 0: one for each GPU or two processors.")
]
ThreadsOption = Annotated[
    int, typer.Option(min=1, help="Scans at a time in a worker; 2 or 3 keep a GPU busy.")
]
RetriesOption = Annotated[
    int, typer.Option(min=0, help="How often a scan whose worker died is tried again.")
]
HostOption = Annotated[
    str, typer.Option("--cluster-host", help="Address that the scheduler listens on.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--cluster-set", help="Slurm, PBS: KEY=VALUE for dask-jobqueue. Repeat it."),
]


def options(
    kind: str,
    *,
    workers: int,
    threads: int,
    retries: int,
    host: str,
    settings: list[str] | None,
    device: str,
    compiled: Path | None,
) -> "ClusterOptions":
    """The cluster that the command line asks for; its workers compute on `device`.

    Raises:
      ConfigError: a setting that is no KEY=VALUE, or as `ClusterOptions`.
    """
    from score_jax.cohort.cluster import ClusterOptions
    from score_jax.errors import ConfigError

    named: dict[str, str] = {}
    for text in settings or []:
        key, equals, value = text.partition("=")
        if not (key and equals):
            raise ConfigError(f"--cluster-set: got {text!r}; expected KEY=VALUE")
        named[key] = value
    environment = {"TF_CPP_MIN_LOG_LEVEL": os.environ.get("TF_CPP_MIN_LOG_LEVEL", "2")}
    if device != "auto":
        environment["JAX_PLATFORMS"] = {"gpu": "cuda,rocm"}.get(device, device)
    if compiled is not None:
        environment["JAX_COMPILATION_CACHE_DIR"] = str(compiled)
    return ClusterOptions(
        kind=kind,
        workers=workers,
        threads=threads,
        retries=retries,
        host=host,
        settings=named,
        environment=environment,
    )
