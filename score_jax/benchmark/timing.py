"""Seconds of a call, and of the arithmetic it cannot do without."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from score_jax.benchmark.suites import Case


def measure(case: Case, *, training: bool, repeats: int, rate: float) -> dict[str, Any]:
    """One row of results.

    Args:
      case: what to time.
      training: a training step instead of a forward pass; its floor is three forward passes.
      repeats: timed calls, after a first that compiles and a second that warms up.
      rate: multiply-adds a second that this machine reaches, `matrix_rate`.

    Returns:
      ``name``, ``ours_s`` (median), ``first_s`` (compilation included), ``floor_s`` (multiply-adds
      over `rate`), ``multiply_adds``.
    """
    what = "training step" if training else "forward"
    call = case.call(training=training)
    first, *seconds = (_seconds(call) for _ in range(2 + repeats))
    work = case.multiply_adds() * (3 if training else 1)
    return {
        "name": f"{case.name}, {what}",
        "ours_s": statistics.median(seconds[1:]),
        "first_s": first,
        "floor_s": work / rate,
        "multiply_adds": work,
    }


def matrix_rate(size: int = 2048, repeats: int = 7) -> float:
    """Float32 multiply-adds a second of a large matrix product: the most of several tries."""
    a = jnp.ones((size, size))
    product = jax.jit(lambda a: jnp.dot(a, a, precision="highest"))

    def call() -> Any:
        return jax.block_until_ready(product(a))

    call()
    return size**3 / min(_seconds(call) for _ in range(repeats))


def _seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
