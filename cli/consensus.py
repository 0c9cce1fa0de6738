"""`score-jax consensus`: one mask out of several of the same image."""

import enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from score_jax.cli import _console

if TYPE_CHECKING:
    from score_jax.evaluation import Consensus


class Method(enum.StrEnum):
    """How to fuse."""

    majority = "majority"
    staple = "staple"


def command(
    masks: Annotated[list[Path], typer.Argument(help="Two or more masks or label maps.")],
    method: Annotated[
        Method,
        typer.Option(
            help="majority: the value most raters gave, ties to the lowest label; staple: the most "
            "probable one if each rater errs at a rate of its own."
        ),
    ] = Method.majority,
    out: Annotated[
        Path | None, typer.Option(help="The fused mask (.nii.gz), a JSON sidecar beside it.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Fuse masks of raters, networks or folds, and say how far they agree."""
    from score_jax.evaluation import consensus

    if out is None and not json:
        from score_jax.errors import ConfigError

        raise ConfigError(
            "consensus: got no place for the result; expected --out", hint="e.g. --out mask.nii.gz"
        )
    found = consensus(masks, method.value)
    written = [] if out is None else found.save(out)
    if json:
        _console.print_json(
            {
                "method": found.method,
                "sources": [str(path) for path in found.sources],
                "out": None if out is None else str(out),
                "agreement": found.agreement,
            }
        )
    else:
        _print(found)
    for path in written:
        _console.say(f"wrote {path}")


def _print(found: "Consensus") -> None:
    names = [path.name for path in found.sources]
    dice, volumes = found.agreement["dice"], found.agreement["volumes_mm3"]
    _console.print_table(
        ("Dice with", *(f"{number}" for number in range(1, len(names) + 1)), "mm3"),
        [
            [f"{i + 1} {name}", *(float(value) for value in dice[i]), float(volumes[i])]
            for i, name in enumerate(names)
        ],
    )
    _console.say(
        f"Fleiss' kappa {found.agreement['fleiss_kappa']:.4f}; consensus "
        f"({found.method}) {found.agreement['consensus_mm3']:.1f} mm3"
    )
    for k, value in enumerate(found.agreement.get("values", ())):
        rates = ", ".join(
            f"{number + 1}: {s:.4f} / {p:.4f}"
            for number, (s, p) in enumerate(
                zip(
                    found.agreement["sensitivity"][k],
                    found.agreement["specificity"][k],
                    strict=True,
                )
            )
        )
        _console.say(f"label {value}, sensitivity / specificity: {rates}")
