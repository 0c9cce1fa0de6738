"""Seconds of a call, and of the arithmetic and the traffic it cannot do without."""

import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import jax
import jax.numpy as jnp

from score_jax.benchmark.parts import Part
from score_jax.benchmark.peer import Peer
from score_jax.benchmark.suites import Case


@final
@dataclass(frozen=True, slots=True)
class Rates:
    """What this device does in a second at best, measured.

    Args:
      multiply_adds: by precision, of a large matrix product.
      bytes: read and written by a copy.
    """

    multiply_adds: dict[str, float]
    bytes: float

    def floor(self, case: Case) -> float:
        """Seconds that `case` needs at these rates: the roofline's bound."""
        arithmetic = case.multiply_adds() / self.multiply_adds[case.precision]
        return max(arithmetic, case.least_bytes() / self.bytes)


def measure(
    case: Case | Part, *, repeats: int, rates: Rates, peer: Peer | None = None
) -> dict[str, Any]:
    """One row of results.

    Args:
      case: what to time.
      repeats: timed calls, after one that warms up.
      rates: of this machine.
      peer: nnU-Net's network in PyTorch; its calls and ours take turns, as those of a part that
        has another form (`Part.beside`).

    Returns:
      ``name``, ``ours_s`` (median), ``least_s``, ``first_s`` (compilation and the first call),
      ``floor_s``, ``load``, ``ours_cpu_s`` (processor seconds, which other work on the machine
      changes little); of a network also ``compile_s``, ``multiply_adds``, ``least_bytes``,
      ``compiled_flops`` and ``compiled_bytes`` (as XLA counts; its library calls are not counted),
      ``temporary_bytes``, ``multiply_adds_per_second`` and ``roofline_share`` (floor over time);
      with a peer ``peer_s``, ``peer_cpu_s`` and ``ratio`` (peer over ours), None without.
    """
    load, start = os.getloadavg()[0], time.perf_counter()
    if isinstance(case, Part):
        call, about, name = case.prepare(), {}, case.name
    else:
        call, about = _compiled(case)
        name = case.title
    call()
    first = time.perf_counter() - start
    other = _other(case, peer)
    call()
    ours: list[tuple[float, float]] = []
    theirs: list[tuple[float, float]] = []
    for _ in range(repeats):
        ours.append(_seconds(call))
        if other is not None:
            theirs.append(other())
    ours_s, ours_cpu_s = map(statistics.median, zip(*ours, strict=True))
    peer_s, peer_cpu_s = (
        map(statistics.median, zip(*theirs, strict=True)) if theirs else (None,) * 2
    )
    row: dict[str, Any] = {
        "name": name,
        "ours_s": ours_s,
        "peer_s": peer_s,
        "ratio": None if peer_s is None else peer_s / ours_s,
        "floor_s": rates.floor(case) if isinstance(case, Case) else None,
        "ours_cpu_s": ours_cpu_s,
        "peer_cpu_s": peer_cpu_s,
        "least_s": min(wall for wall, _ in ours),
        "first_s": first,
        "load": round(load, 1),
        **about,
    }
    if isinstance(case, Case):
        row["multiply_adds_per_second"] = row["multiply_adds"] / row["ours_s"]
        row["roofline_share"] = row["floor_s"] / row["ours_s"]
    return row


def _other(case: Case | Part, peer: Peer | None) -> Callable[[], tuple[float, float]] | None:
    """The seconds of a call of the peer, or of a part's other form; None without either."""
    if isinstance(case, Case):
        if peer is None:
            return None
        peer.prepare(case)
        return peer.seconds
    if case.beside is None:
        return None
    call = case.beside()
    call()
    return lambda: _seconds(call)


def _compiled(case: Case) -> tuple[Callable[[], Any], dict[str, Any]]:
    function, arguments = case.program()
    start = time.perf_counter()
    compiled = jax.jit(function).lower(*arguments).compile()
    seconds = time.perf_counter() - start
    costs = compiled.cost_analysis() or {}
    memory = compiled.memory_analysis()
    return lambda: jax.block_until_ready(compiled(*arguments)), {
        "compile_s": seconds,
        "multiply_adds": case.multiply_adds(),
        "least_bytes": case.least_bytes(),
        "compiled_flops": costs.get("flops"),
        "compiled_bytes": costs.get("bytes accessed"),
        "temporary_bytes": getattr(memory, "temp_size_in_bytes", None),
    }


def rates(size: int = 2048, repeats: int = 7) -> Rates:
    """The most of several tries, with matrices of `size` x `size` and an array of 32 such."""
    by_precision = {p: matrix_rate(size, repeats, p) for p in ("float32", "bfloat16")}
    array = jnp.ones((32, size, size))
    copy = jax.jit(lambda a: a + 1.0)

    def call() -> Any:
        return jax.block_until_ready(copy(array))

    call()
    return Rates(by_precision, 2 * array.nbytes / min(_seconds(call)[0] for _ in range(repeats)))


def matrix_rate(size: int = 2048, repeats: int = 7, precision: str = "float32") -> float:
    """Multiply-adds a second of a large matrix product: the most of several tries."""
    a = jnp.ones((size, size), precision)
    product = jax.jit(lambda a: jnp.dot(a, a, precision="highest"))

    def call() -> Any:
        return jax.block_until_ready(product(a))

    call()
    return size**3 / min(_seconds(call)[0] for _ in range(repeats))


def _seconds(call: Callable[[], Any]) -> tuple[float, float]:
    """Of one call: on the clock, and of this process's processors."""
    start, used = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - start, time.process_time() - used
