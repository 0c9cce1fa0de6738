"""`score-jax --version`, and with `--verbose` what a report of a fault needs."""

import importlib.metadata
import platform
from pathlib import Path

from score_jax import __version__

# what most faults depend on; JAX computes on NVIDIA with the plugin, on TPU with libtpu
PACKAGES = (
    "jax", "jaxlib", "jax-cuda13-plugin", "libtpu", "flax", "optax", "orbax-checkpoint",
    "tensorstore", "grain", "numpy", "scipy", "nibabel", "typer", "onnxruntime", "distributed",
)  # fmt: skip


def line() -> str:
    """The name and the version."""
    return f"score-jax {__version__}"


def describe() -> dict[str, str]:
    """Versions, devices, folder of compiled programs and shipped models; nothing of any scan."""
    from score_jax import pretrained
    from score_jax.api import about

    facts = {
        "commit": about.git_commit() or "n/a (not a checkout)",
        "python": f"{platform.python_version()} ({platform.python_implementation()})",
        "platform": platform.platform(),
        "devices": _devices(),
        "compiled programs": _cache(),
    }
    facts |= {package: _installed(package) for package in PACKAGES}
    for name, entry in pretrained.registry().items():
        facts[f"model {name}"] = "sha256 " + ", ".join(text[:16] for text in entry["sha256"])
    return facts


def _devices() -> str:
    """What JAX sees, or why it sees nothing: a broken driver is what people report."""
    from score_jax.cli import _device

    try:
        _device.use("auto")
        import jax

        return ", ".join(f"{one.platform}: {one.device_kind}" for one in jax.devices())
    except Exception as error:  # whatever a driver does, the rest is worth printing
        return f"none ({type(error).__name__} {next(iter(str(error).splitlines()), '')})"


def _cache() -> str:
    import jax

    from score_jax.cli import _device

    if not getattr(jax.config, "jax_enable_compilation_cache", True):
        return "kept nowhere (JAX_ENABLE_COMPILATION_CACHE)"
    folder = _device.keep_compiled()
    if folder is None:
        return "kept nowhere (no folder that can be written)"
    home = Path.home()
    return f"~/{folder.relative_to(home)}" if folder.is_relative_to(home) else str(folder)


def _installed(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
