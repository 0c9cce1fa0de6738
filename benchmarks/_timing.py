"""Timing of two programs side by side, for benchmarks that compare.

Each program is a process that stays alive and times one call when told to, so that calls of both
can alternate (a shared machine's speed drifts) and neither library is imported beside the other.
The protocol is one JSON object a line: the case to prepare, then `null` for every timed call.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any


def serve(prepare: Callable[[dict], Callable[[], object]], versions: dict[str, object]) -> None:
    """Answer on standard output what the driver asks on standard input, until it closes."""
    answers = sys.stdout
    sys.stdout = sys.stderr  # nothing else may write between the answers
    call: Callable[[], object] | None = None
    for line in sys.stdin:
        request = json.loads(line)
        start, processor = time.perf_counter(), time.process_time()
        if request is not None:
            call = prepare(request)
        assert call is not None, "a case comes first"
        call()
        answer: dict[str, Any] = {
            "seconds": time.perf_counter() - start,
            "processor_seconds": time.process_time() - processor,
        }
        if request is not None:
            answer["versions"] = versions
        answer["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps(answer), file=answers, flush=True)


class Program:
    """A process that runs `serve`. Its first answer includes building and compiling."""

    def __init__(self, command: Sequence[str], environment: dict[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **(environment or {})},
        )

    def ask(self, request: dict | None) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.process.args}: ended with {self.process.wait()}")
        return json.loads(line)

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def alternate(programs: dict[str, Program], case: dict, repeats: int) -> dict[str, dict[str, Any]]:
    """Time `case` in every program by turns.

    Returns a name's medians of wall and processor seconds, the wall times, the first call's seconds
    (compilation included), the process's peak memory, and the load the machine was under.
    """
    first = {name: program.ask(case) for name, program in programs.items()}
    for program in programs.values():  # a second call, not timed: caches and lazy set-up
        program.ask(None)
    answers: dict[str, list[dict[str, Any]]] = {name: [] for name in programs}
    loads = []
    for _ in range(repeats):
        loads.append(os.getloadavg()[0])
        for name, program in programs.items():
            answers[name].append(program.ask(None))
    return {
        name: {
            "seconds": statistics.median(a["seconds"] for a in rows),
            "processor_seconds": statistics.median(a["processor_seconds"] for a in rows),
            "all_seconds": [round(a["seconds"], 4) for a in rows],
            "first_seconds": first[name]["seconds"],
            "peak_mb": rows[-1]["peak_mb"],
            "load": [round(min(loads), 1), round(max(loads), 1)],
            "versions": first[name]["versions"],
        }
        for name, rows in answers.items()
    }


def machine() -> dict[str, object]:
    """The processor as the system names it, and how many of them there are."""
    name = "unknown"
    try:
        with open("/proc/cpuinfo") as lines:
            name = next(line.split(":")[1].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        pass
    return {"processor": name, "processors": os.cpu_count(), "python": sys.version.split()[0]}
