"""The --device option: which platform computes."""

import os
import tempfile
import warnings
from pathlib import Path
from typing import Annotated

import typer

DeviceOption = Annotated[
    str, typer.Option("--device", help="Where to compute: auto, cpu, gpu or tpu.", metavar="NAME")
]

KEPT_BYTES = 2**29  # of compiled programs; the least recently used go first

_PLATFORMS = {"cpu": "cpu", "gpu": "cuda,rocm", "tpu": "tpu"}


def use(device: str) -> str:
    """Select the platform before JAX starts one; returns what computes, in words.

    Raises:
      ConfigError: an unknown name, or a platform that is not there.
    """
    from score_jax.errors import ConfigError

    if device not in ("auto", *_PLATFORMS):
        raise ConfigError(f"--device: got {device!r}; expected auto, cpu, gpu or tpu")
    # XLA's own start-up chatter on standard error is nothing a user can act on
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import jax

    if device != "auto":
        jax.config.update("jax_platforms", _PLATFORMS[device])
    try:
        first = jax.devices()[0]
    except RuntimeError as error:
        reason = next(iter(str(error).splitlines()), "")
        raise ConfigError(
            f"--device {device}: not available here ({reason})",
            hint="install score-jax[cuda] or use --device cpu",
        ) from None
    if first.platform == "cpu":
        return f"the CPU ({os.cpu_count()} cores)"
    return f"{jax.device_count()} x {first.device_kind} ({first.platform})"


def keep_compiled() -> Path | None:
    """Keep compiled programs for the next process; the folder, or None where none can be written.

    ``score-jax`` in the user's cache folder (``XDG_CACHE_HOME``, else ``~/.cache``). JAX's own
    variables are stronger: JAX_COMPILATION_CACHE_DIR names another folder, and
    JAX_ENABLE_COMPILATION_CACHE=0 keeps nothing.
    """
    import jax

    # a program that cannot be kept (XLA runs out of room for some) or read is compiled next time
    warnings.filterwarnings("ignore", "Error (writing|reading) persistent compilation cache")
    chosen = getattr(jax.config, "jax_compilation_cache_dir", None)
    if chosen is not None:
        return Path(chosen)
    try:
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        folder = Path(home) / "score-jax" / "compiled"
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except (OSError, RuntimeError):  # read-only, full, a file in the way; no home at all
        return None
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_compilation_cache_max_size", KEPT_BYTES)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    return folder
