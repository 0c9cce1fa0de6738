"""A whole suite, and what there is to know about the machine it ran on."""

import contextlib
import importlib.metadata
import math
import os
import platform
import resource
import time
from collections.abc import Callable
from typing import Any

import jax

from score_jax.benchmark.parts import Part
from score_jax.benchmark.peer import Peer
from score_jax.benchmark.suites import MINUTES, SUITES, Case
from score_jax.benchmark.timing import measure, rates


def run(
    suite: str,
    *,
    repeats: int = 7,
    minutes: float | None = None,
    only: str = "",
    peer: Peer | None = None,
    on_case: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """All rows of a suite.

    Args:
      suite: a name of `SUITES`.
      repeats: timed calls of each case.
      minutes: after which no further case is begun; by default the suite's own (`MINUTES`).
      only: a text that the names of the cases hold; empty for all of them.
      peer: compared with where it has a network of the kind.
      on_case: told cases done and cases in all.

    Returns:
      The machine, versions, measured rates, ``rows`` (`measure`) and ``left_out``: cases that need
      more devices, or did not begin within the suite's minutes, with the reason.
    """
    start, best = (
        time.perf_counter(),
        rates(1024 if suite == "smoke" else 4096 if _fast() else 2048),
    )
    rows, left_out = [], []
    most = MINUTES.get(suite, math.inf) if minutes is None else minutes
    cases = [case for case in SUITES[suite] if only in _name(case)]
    for number, case in enumerate(cases):
        name = _name(case)
        spent = (time.perf_counter() - start) / 60
        if isinstance(case, Case) and case.devices > jax.device_count():
            left_out.append({"name": name, "why": f"{jax.device_count()} device"})
        elif spent > most:
            left_out.append({"name": name, "why": f"{spent:.1f} minutes were over"})
        else:
            other = peer if Peer.knows(case) else None
            rows.append(measure(case, repeats=repeats, rates=best, peer=other))
        on_case(number + 1, len(cases))
    return {
        "suite": suite,
        "repeats": repeats,
        **machine(),
        "peer": None if peer is None else peer.versions,
        "rates": {"multiply_adds_per_second": best.multiply_adds, "bytes_per_second": best.bytes},
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "device_peak_mb": _device_peak(),
        "seconds": round(time.perf_counter() - start, 1),
        "rows": rows,
        "left_out": left_out,
    }


def _name(case: Case | Part) -> str:
    return case.title if isinstance(case, Case) else case.name


def machine() -> dict[str, Any]:
    """Device, processor, versions and load."""
    first = jax.devices()[0]
    packages = ("score-jax", "jax", "jaxlib", "flax", "numpy", "scipy")
    return {
        "device": f"{jax.device_count()} x {first.device_kind} ({first.platform})",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in packages},
        },
    }


def _fast() -> bool:
    return jax.devices()[0].platform != "cpu"


def _processor() -> str:
    with contextlib.suppress(OSError, StopIteration), open("/proc/cpuinfo") as lines:
        return next(line.split(":")[1].strip() for line in lines if "model name" in line)
    return platform.processor() or platform.machine()


def _device_peak() -> int | None:
    found = jax.devices()[0].memory_stats() or {}
    return round(found["peak_bytes_in_use"] / 2**20) if "peak_bytes_in_use" in found else None
