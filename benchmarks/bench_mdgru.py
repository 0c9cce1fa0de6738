"""MDGRU against PyTorch's, at the reference's default widths: forward and training step.

    python benchmarks/bench_mdgru.py --torch-python PYTHON [--repeats 7] [--cases 2d-192 ...]
                                     [--processors 1] [--out benchmarks/results/mdgru_cpu.json]

PYTHON is the interpreter of an environment that holds torch (`pip install torch==2.13.0`). Both
programs run at the same time as processes that take turns, one call each, on the same shapes in
float32; what counts is the ratio. A training step is the mean cross-entropy's gradient with
DropConnect on and one update of Adadelta. Inputs are noise: the time does not depend on them.

On a machine that others use, take `--processors 1` and the ratio of processor times: PyTorch's
threads wait for each other by spinning, and with several the wait for a busy processor counts as
its time (a forward pass of 1 s took 67 s on two processors under a load of 10).
"""

import argparse
import dataclasses
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import _timing
import jax
import jax.numpy as jnp

from score_jax.benchmark import Case
from score_jax.benchmark.suites import mdgru

CASES = {
    "2d-192": {"batch": 1, "space": [192, 192], "channels": 8},
    "2d-4x96": {"batch": 4, "space": [96, 96], "channels": 8},
    "3d-16": {"batch": 1, "space": [16, 16, 16], "channels": 1},
}
CLASSES = 3
WHAT = ["forward", "training step"]


def ours(case: dict) -> Case:
    network = mdgru(case["batch"], *case["space"], channels=case["channels"])
    return dataclasses.replace(network, training=case["what"] != "forward")


def prepare(case: dict) -> Callable[[], object]:
    """The call that `case` asks to time."""
    function, arguments = ours(case).program()
    compiled = jax.jit(function).lower(*arguments).compile()
    return lambda: jax.block_until_ready(compiled(*arguments))


def serve() -> None:
    _timing.serve(prepare, {"jax": jax.__version__, "device": str(jax.devices()[0])})


def matrix_rate(size: int = 2048) -> float:
    """Multiply-adds a second of a large float32 product: the most of several tries."""
    a = jnp.ones((size, size))
    product = jax.jit(lambda a: jnp.dot(a, a, precision="highest"))
    product(a).block_until_ready()
    rates = []
    for _ in range(7):
        start = time.perf_counter()
        product(a).block_until_ready()
        rates.append(size**3 / (time.perf_counter() - start))
    return max(rates)


def compare(
    programs: dict[str, _timing.Program], names: list[str], whats: list[str], repeats: int
) -> list[dict[str, object]]:
    rows = []
    for name in names:
        for what in whats:
            case = {**CASES[name], "what": what, "classes": CLASSES}
            timed = _timing.alternate(programs, case, repeats)
            work = ours(case).multiply_adds()
            mine = timed["ours"]
            row = {"name": f"{name} {what}", "ours_s": mine["seconds"]}
            if "peer" in timed:
                peer = timed["peer"]
                row["peer_s"], row["ratio"] = peer["seconds"], peer["seconds"] / mine["seconds"]
                row["ratio_of_processor_time"] = (
                    peer["processor_seconds"] / mine["processor_seconds"]
                )
            row["floor_s"] = work / matrix_rate()
            row["multiply_adds"] = work
            row["details"] = timed
            rows.append(row)
            print(
                f"{row['name']:24} ours {row['ours_s']:.3f} s  peer {row.get('peer_s', 0):.3f} s  "
                f"ratio {row.get('ratio', 0):.2f} (processor time "
                f"{row.get('ratio_of_processor_time', 0):.2f})  floor {row['floor_s']:.3f} s  "
                f"load {mine['load']}",
                flush=True,
            )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--torch-python", metavar="PYTHON")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--what", nargs="+", choices=WHAT, default=WHAT)
    parser.add_argument("--processors", type=int, help="use so many, the first ones")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve()
        return
    if arguments.processors:  # inherited by both programs, which take as many threads
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments.processors])
    here = Path(__file__).parent
    programs = {"ours": _timing.Program([sys.executable, __file__, "--serve"])}
    if arguments.torch_python:
        peer = here / "peers" / "mdgru_torch.py"
        programs["peer"] = _timing.Program([arguments.torch_python, str(peer), "--serve"])
    try:
        rows = compare(programs, arguments.cases, arguments.what, arguments.repeats)
    finally:
        for program in programs.values():
            program.close()
    if arguments.out:
        used = len(os.sched_getaffinity(0))
        result = {"machine": _timing.machine(), "processors_used": used, "rows": rows}
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
