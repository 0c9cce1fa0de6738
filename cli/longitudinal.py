"""`score-jax longitudinal`: what changed between the sessions of a dataset that was run."""

import enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from score_jax.cli import _console

if TYPE_CHECKING:
    from score_jax.cohort.longitudinal import Compared


class Against(enum.StrEnum):
    """What a session is compared with."""

    first = "first"
    previous = "previous"


def command(
    bids_dir: Annotated[Path, typer.Argument(help="The BIDS dataset.")],
    out: Annotated[Path, typer.Argument(help="What `score-jax run` wrote of it.")],
    participant_label: Annotated[
        list[str] | None, typer.Option("--participant-label", help="Only these; repeat it.")
    ] = None,
    contrast: Annotated[
        str | None, typer.Option(help="Suffix of the images to use, e.g. T2w.")
    ] = None,
    against: Annotated[
        Against, typer.Option(help="Compare each session with the first, or the previous one.")
    ] = Against.first,
    repeat_session: Annotated[
        list[str] | None,
        typer.Option(help="A session that only repeats the first: it gives the error. Repeat it."),
    ] = None,
    align: Annotated[
        bool,
        typer.Option("--align/--header", help="Find the shift along the cord, or believe headers."),
    ] = True,
    reach: Annotated[
        float, typer.Option(min=0, help="mm: lesions this near belong together.")
    ] = 1.0,
    share: Annotated[
        float, typer.Option(min=0, help="A lesion changed by more than this share of its volume.")
    ] = 0.25,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Compare the sessions of each subject: areas, lesions, and the error of measuring them."""
    from score_jax.cohort import longitudinal
    from score_jax.cohort.scans import find_scans

    scans = find_scans(bids_dir, participants=participant_label or (), contrast=contrast)
    options = longitudinal.LongitudinalOptions(
        against=against.value,
        repeats=tuple(repeat_session or ()),
        by_image=align,
        reach_mm=reach,
        share=share,
    )
    pairs = longitudinal.find_pairs(scans, options)
    with _console.counting("pairs") as count:
        compared = longitudinal.compare_pairs(pairs, out, options, on_pair=count)
    written = longitudinal.write_longitudinal(compared, out)
    doubts = {_name(one): text for one in compared if (text := longitudinal.doubts_of(one))}
    if json:
        errors = longitudinal.errors_of(compared)
        _console.print_json(
            {
                "pairs": sum(not one.pair.repeat for one in compared),
                "repeats": sum(one.pair.repeat for one in compared),
                "errors": {
                    f"{measure} {region}": {"sd": e.sd, "df": e.df, "detectable": e.detectable}
                    for (measure, region), e in errors.items()
                },
                "doubts": doubts,
                "outputs": written,
            }
        )
    for name, text in doubts.items():
        _console.say(f"warning: {name}: {text}")
    if not any(one.pair.repeat for one in compared):
        _console.say(
            "no repeats: the error of measuring is unknown [runs of one session, or "
            "--repeat-session, give it]"
        )
    for path in written.values():
        _console.say(f"wrote {path}")
    if any(one.error for one in compared):
        raise typer.Exit(2)


def _name(one: "Compared") -> str:
    return f"{one.pair.before.id} and {one.pair.after.id}"
