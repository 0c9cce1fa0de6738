"""`score-jax benchmark`: how fast the networks are here, and how fast they could be."""

from pathlib import Path
from typing import Annotated

import typer

from score_jax.cli import _console, _device


def command(
    suite: Annotated[
        str, typer.Option(help="smoke (seconds), cpu (minutes) or gpu.", metavar="NAME")
    ] = "smoke",
    repeats: Annotated[int, typer.Option(min=1, help="Timed calls of each case.")] = 7,
    out: Annotated[Path | None, typer.Option(help="Also write the results to this file.")] = None,
    device: _device.DeviceOption = "auto",
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Time forward passes and training steps; the floor is their arithmetic at matrix speed."""
    from score_jax.errors import ConfigError

    where = _device.use(device)
    from score_jax import benchmark
    from score_jax.imaging import write_json

    if suite not in benchmark.SUITES:
        raise ConfigError(f"--suite: got {suite!r}; expected {', '.join(benchmark.SUITES)}")
    rate = benchmark.matrix_rate()
    rows = [
        benchmark.measure(case, training=training, repeats=repeats, rate=rate)
        for case in _console.track(
            benchmark.SUITES[suite], "benchmark", len(benchmark.SUITES[suite])
        )
        for training in (False, True)
    ]
    result = {"suite": suite, "repeats": repeats, **_machine(where, rate), "rows": rows}
    if out is not None:
        write_json(out, result)
    if json:
        _console.print_json(result)
        return
    _console.print_table(
        ("case", "seconds", "floor", "first call"),
        (
            (row["name"], f"{row['ours_s']:.4f}", f"{row['floor_s']:.4f}", f"{row['first_s']:.1f}")
            for row in rows
        ),
    )


def _machine(where: str, rate: float) -> dict[str, object]:
    import os
    import platform
    import resource

    import jax

    return {
        "device": where,
        "device_kind": jax.devices()[0].device_kind,
        "python": platform.python_version(),
        "jax": jax.__version__,
        "multiply_adds_per_second": rate,
        "load": os.getloadavg()[0],
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }
