"""`score-jax postprocess`: rules that improve the masks, found on held-out cases."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from score_jax.cli import _console
from score_jax.cli.validate import DataOption

if TYPE_CHECKING:
    from score_jax.evaluation.postprocessing import Found

MinSizeOption = Annotated[
    list[str] | None,
    typer.Option(
        "--min-size",
        help="Also look for a smallest volume of this region's components; repeatable.",
    ),
]


def command(
    runs: Annotated[
        list[Path], typer.Argument(help="Validated runs, or folders of them: all folds together.")
    ],
    dataset: DataOption = None,
    min_size: MinSizeOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only report; write no postprocessing.json.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Find post-processing on held-out cases; `predict` applies it from then on.

    nnU-Net's rule: only the largest component of everything, then of each region, wherever that
    improves Dice. The number of lesions found before and after is reported, too.
    """
    from score_jax import api

    found = api.find_postprocessing(runs, dataset, min_size=min_size or (), write=not dry_run)
    if json:
        _console.print_json(record(found))
        return
    report(found)
    if not dry_run:
        for folder in runs:
            for run in api.runs_in(folder):
                _console.say(f"wrote {run / 'postprocessing.json'}")


def record(found: "Found") -> dict[str, Any]:
    """A search as the commands print it with --json."""
    return {
        "rules": [str(rule) for rule in found.rules],
        "tried": [
            {"rule": str(t.rule), "before": t.before, "after": t.after, "accepted": t.accepted}
            for t in found.trials
        ],
        "scores": {
            name: {
                "dice": [old.dice, found.after[name].dice],
                "sensitivity": [old.sensitivity, found.after[name].sensitivity],
                "false": [old.false, found.after[name].false],
            }
            for name, old in found.before.items()
        },
    }


def report(found: "Found") -> None:
    """Print what was tried, what was taken, and what it does to Dice and to lesions."""
    _console.print_table(
        ["rule", "Dice before", "after", ""],
        [
            [str(t.rule), t.before, t.after, "taken" if t.accepted else "not taken"]
            for t in found.trials
        ],
    )
    rows = []
    for name, old in found.before.items():
        new = found.after[name]
        pairs = [(f"{old.dice:.4f}", f"{new.dice:.4f}")]
        pairs += [(f"{old.found}/{old.lesions}", f"{new.found}/{new.lesions}")]
        pairs += [(str(old.false), str(new.false))]
        rows.append([name, *(f"{a} -> {b}" for a, b in pairs)])
    _console.print_table(["region", "mean Dice", "components found", "false ones"], rows)
    if not found.rules:
        _console.say("No rule improves the held-out masks; they stay as the network finds them.")
