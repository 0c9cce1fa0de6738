"""`score-jax benchmark`: how fast the library is here, and how fast it could be."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from score_jax.cli import _console, _device


def command(
    suite: Annotated[
        str, typer.Option(help="smoke (seconds), cpu (minutes) or gpu.", metavar="NAME")
    ] = "smoke",
    repeats: Annotated[int, typer.Option(min=1, help="Timed calls of each case.")] = 7,
    minutes: Annotated[
        float | None,
        typer.Option(min=0, help="Begin nothing new after so many; gpu: 7, others: no limit."),
    ] = None,
    only: Annotated[
        str, typer.Option(help="Only the cases whose name holds this text.", metavar="TEXT")
    ] = "",
    peers: Annotated[
        bool,
        typer.Option("--peers", help="Beside nnU-Net's network in PyTorch (score-jax[peers])."),
    ] = False,
    peer_python: Annotated[
        Path | None,
        typer.Option(help="Interpreter that has PyTorch; this one by default. Means --peers."),
    ] = None,
    peer_compile: Annotated[
        bool,
        typer.Option("--peer-compile", help="torch.compile on a CPU too; on a GPU it always is."),
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Also write the results to this file.")] = None,
    device: _device.DeviceOption = "auto",
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Time networks, augmentation, prediction, metrics and phantom; say what their floor is."""
    from score_jax.errors import ConfigError

    # the peer needs memory of the accelerator too
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    where = _device.use(device)
    from score_jax import benchmark
    from score_jax.imaging import write_json

    if suite not in benchmark.SUITES:
        raise ConfigError(f"--suite: got {suite!r}; expected {', '.join(benchmark.SUITES)}")
    peer = None
    if peers or peer_python is not None:
        python = None if peer_python is None else str(peer_python)
        peer = benchmark.Peer(python, compiled=peer_compile)
    _console.say(f"Suite {suite} on {where}; other work on the machine distorts its seconds")
    try:
        with _console.counting("benchmark") as count:
            result = benchmark.run(
                suite, repeats=repeats, minutes=minutes, only=only, peer=peer, on_case=count
            )
    finally:
        if peer is not None:
            peer.close()
    if out is not None:
        write_json(out, result)
    if json:
        _console.print_json(result)
        return
    _console.print_table(
        ("case", "seconds", "floor", "share", "peer", "ratio", "first call"),
        (
            (
                row["name"],
                f"{row['ours_s']:.4f}",
                _number(row["floor_s"], ".4f"),
                _number(row.get("roofline_share"), ".0%"),
                _number(row["peer_s"], ".4f"),
                _number(row["ratio"], ".2f"),
                f"{row['first_s']:.1f}",
            )
            for row in result["rows"]
        ),
    )
    for case in result["left_out"]:
        _console.say(f"left out: {case['name']} ({case['why']})")


def _number(value: Any, form: str) -> str:
    return "" if value is None else format(value, form)
