"""A picture of a run: loss, validation Dice, drawn from its metrics file."""

import json
from pathlib import Path
from typing import Any

from score_jax.imaging import atomic


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """The records of ``metrics.jsonl``, in order; none if there is no such file."""
    path = run / "metrics.jsonl"
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


def draw_progress(run: Path) -> None:
    """Write ``progress.png``: loss above, Dice of each region below, over the steps."""
    from matplotlib.figure import Figure

    records = read_metrics(run)
    figure = Figure(figsize=(7, 6), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True)
    losses = [(r["step"], r["loss"]) for r in records if "loss" in r]
    if losses:
        top.plot(*zip(*losses, strict=True), color="0.3", linewidth=1)
    top.set_ylabel("training loss")
    scored = [r for r in records if "score" in r]
    names = sorted({key for r in scored for key in r if key.startswith("dice_")})
    for name in names:
        points = [(r["step"], r[name]) for r in scored if r.get(name) is not None]
        if points:
            label = name.removeprefix("dice_")
            bottom.plot(*zip(*points, strict=True), marker=".", label=label)
    bottom.set(xlabel="step", ylabel="validation Dice", ylim=(0, 1))
    if names:
        bottom.legend(loc="lower right", frameon=False)
    with atomic(run / "progress.png") as temporary:
        figure.savefig(temporary, dpi=120)
