"""What a run folder says of where its numbers come from: versions, devices, code, data."""

import datetime
import importlib.metadata
import platform
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from score_jax import __version__
from score_jax.errors import DatasetError
from score_jax.imaging import read_json, write_json

RUN = "run.json"
PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy", "nibabel")


def describe_start(arguments: Sequence[str]) -> dict[str, Any]:
    """This program and this machine, now; paths of the command line are cut to their last part."""
    return {
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": " ".join(Path(a).name if "/" in a else a for a in arguments),
        "score_jax": __version__,
        "git_commit": git_commit(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "platform": platform.platform(),
        "devices": [f"{d.platform}: {d.device_kind}" for d in jax.devices()],
    }


def write_run(
    run: Path, arguments: Sequence[str], *, data: Mapping[str, Any], init: str | None
) -> None:
    """Write ``run.json``, or add this start to the one that is there.

    Args:
      run: the run folder.
      arguments: the command line.
      data: what is known of the dataset.
      init: the model that the run was started from, if any.
    """
    before = read_run(run)
    starts = [*before.get("starts", []), describe_start(arguments)]
    write_json(run / RUN, {"init": init, "data": dict(data), "starts": starts})


def read_run(run: Path) -> dict[str, Any]:
    """``run.json``; empty if there is none that can be read."""
    try:
        found = read_json(run / RUN)
    except DatasetError:
        return {}
    return found if isinstance(found, dict) else {}


def git_commit() -> str | None:
    """The commit of the checkout this package runs from, "+" after changes; None if it is none."""
    here = Path(__file__)

    def git(*words: str) -> str | None:
        command = ["git", "-C", str(here.parent), *words]
        try:
            found = subprocess.run(command, capture_output=True, text=True, timeout=10)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return None if found.returncode else found.stdout.strip()

    if git("ls-files", "--error-unmatch", here.name) is None:
        return None  # installed somewhere below another project's checkout, perhaps
    changed = git("status", "--porcelain", "--untracked-files=no", "..")
    return f"{git('rev-parse', 'HEAD')}{'+' if changed else ''}"


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
