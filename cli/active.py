"""`score-jax active`: which scans to correct next, corrected masks taken in, the phases' record."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from score_jax.cli import _console, _device

if TYPE_CHECKING:
    from score_jax.active import Ingested, Ranking, Status
    from score_jax.errors import ScoreError

app = typer.Typer(
    help="Active learning: a model picks the scans whose correction teaches it most.",
    no_args_is_help=True,
)

DerivativeOption = Annotated[
    str | None, typer.Option(help="BIDS: folder below derivatives that holds the masks.")
]
ContrastOption = Annotated[
    str | None, typer.Option(help="BIDS: suffix of the images to use, e.g. T2w.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.command("rank")
def rank_command(
    unlabelled: Annotated[
        Path, typer.Argument(help="Scans without masks: a folder, a dataset, or a table of paths.")
    ],
    model: Annotated[
        list[str],
        typer.Option("--model", help="A model or run folder; repeat it: folds that may disagree."),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the list and the masks to correct.")],
    top: Annotated[int, typer.Option(min=0, help="How many scans to hand out.")] = 10,
    samples: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Draws of each network's DropConnect; by default 8 of a single network that has "
            "it.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the draws.")] = 0,
    tta: Annotated[
        bool, typer.Option("--tta", help="Average every network over flips: slower.")
    ] = False,
    label_map: Annotated[
        bool,
        typer.Option("--label-map", help="Hand out one label map a scan, not a mask a region."),
    ] = False,
    weights: Annotated[
        str, typer.Option(help="Weights of disagreement, entropy and lesion size.")
    ] = "2,1,1",
    derivative: DerivativeOption = None,
    contrast: ContrastOption = None,
    device: _device.DeviceOption = "auto",
    json: JsonOption = False,
) -> None:
    """Segment every scan without masks and list first what the networks disagree about most.

    Correct the masks in OUT/to_correct, then take them in with `score-jax active ingest`. Run
    again, the command goes on where it stopped.
    """
    where = _device.use(device)
    from score_jax import active, api
    from score_jax.api.prediction import provenance

    options = active.RankOptions(
        top=top,
        samples=samples,
        seed=seed,
        tta=tta,
        label_map=label_map,
        weights=_weights(weights),
        derivative=derivative,
        contrast=contrast,
    )
    asked = api.load_models(model)
    arguments = ["score-jax", *sys.argv[1:]]
    _console.say(f"Model {asked.name}; computing on {where}")
    known = 0
    with _console.progress_bar() as bar:
        task = bar.add_task("rank", total=None, note="")

        def on_case(number: int, total: int, case: str, scored: bool) -> None:
            nonlocal known
            known += scored
            bar.update(task, description=f"{number + 1}/{total} {case}", completed=0)

        def on_tile(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        ranking = active.rank(
            unlabelled,
            asked,
            out,
            options,
            about=provenance(asked, arguments, postprocess=True),
            on_case=on_case,
            on_tile=on_tile,
        )
    if known:
        _console.say(f"{known} scans were scored before by the same weights; not run again")
    for note in ranking.notes:
        _console.say(f"note: {note}")
    _report_ranking(ranking, out, max(top, 1), json=json)
    for scan in ranking.unscored:
        _console.say(f"score-jax: not scored: {_located(str(scan.image), scan.error)}")
    if ranking.unscored:
        raise typer.Exit(2)


def _weights(text: str) -> dict[str, float]:
    from score_jax.active import WEIGHTS
    from score_jax.errors import ConfigError

    try:
        return dict(zip(WEIGHTS, map(float, text.split(",")), strict=True))
    except ValueError:
        raise ConfigError(
            f"--weights: got {text!r}; expected {len(WEIGHTS)} numbers ({', '.join(WEIGHTS)}), "
            "e.g. 2,1,1"
        ) from None


def _located(where: str, error: "ScoreError") -> str:
    """What is wrong where, in one line; the file is not said twice."""
    text = str(error)
    return text if where in text else f"{where}: {text}"


def _report_ranking(ranking: "Ranking", out: Path, shown: int, *, json: bool) -> None:
    if json:
        from score_jax.imaging import read_json

        _console.print_json(read_json(out / "ranking.json"))
    elif ranking.ranked:
        _console.print_table(
            ["place", "scan", "score", "disagreement", "entropy", "lesion mm3", "lesions"],
            [
                [
                    item.place,
                    item.record.case,
                    item.score,
                    item.record.means["disagreement"],
                    item.record.means["entropy"],
                    f"{item.record.lesion_mm3:.0f}",
                    "n/a" if item.record.lesions is None else item.record.lesions,
                ]
                for item in ranking.ranked[:shown]
            ],
        )
        if len(ranking.ranked) > shown:
            _console.say(f"... and {len(ranking.ranked) - shown} more in ranking.tsv")
    _console.say(f"wrote {out / 'ranking.tsv'}, ranking.json, predictions")
    if not ranking.to_correct:
        return
    case, paths = next(iter(ranking.to_correct.items()))
    image = next(item.record.images[0] for item in ranking.ranked if item.record.case == case)
    count = f"{len(ranking.to_correct)} of {len(ranking.ranked)} scans"
    _console.say(f"To correct: the masks of {count}, in {out / 'to_correct'}")
    _console.say(f"  a picture of each is in {out / 'pictures'}")
    _console.say(f"  the first, e.g. in ITK-SNAP: itksnap -g {image} -s {paths[-1]}")
    _console.say("  save each mask under its own name; leave the folder predictions alone")
    _console.say(
        f"Then: score-jax active ingest {out / 'to_correct'} --dataset DATASET --rater INITIALS"
    )


@app.command("ingest")
def ingest_command(
    corrected: Annotated[
        list[Path], typer.Argument(help="Corrected masks, or folders of them (OUT/to_correct).")
    ],
    dataset: Annotated[
        Path, typer.Option(help="The BIDS or nnU-Net dataset that takes the masks in.")
    ],
    rater: Annotated[str | None, typer.Option(help="Who corrected, e.g. initials.")] = None,
    date: Annotated[
        str | None, typer.Option(help="Of the correction, YYYY-MM-DD; by default the files' own.")
    ] = None,
    phase: Annotated[
        int | None,
        typer.Option(help="The cases join, from 2; by default the next one of a new model."),
    ] = None,
    ranking: Annotated[
        Path | None,
        typer.Option(help="The --out of `active rank`; by default where the masks lie."),
    ] = None,
    accept_unchanged: Annotated[
        bool,
        typer.Option("--accept-unchanged", help="Also take masks that need no correction."),
    ] = False,
    accept_empty: Annotated[
        bool, typer.Option("--accept-empty", help="Also take masks without a voxel (no lesion).")
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace masks that are there; they are kept aside.")
    ] = False,
    derivative: DerivativeOption = None,
    contrast: ContrastOption = None,
    json: JsonOption = False,
) -> None:
    """Check corrected masks and take the good ones into a dataset, with their provenance.

    A scan goes in whole or not at all. Bad files are listed with what mends them.
    """
    from score_jax import active

    options = active.IngestOptions(
        ranking=ranking,
        rater=rater,
        date=date,
        phase=phase,
        accept_unchanged=accept_unchanged,
        accept_empty=accept_empty,
        replace=replace,
        derivative=derivative,
        contrast=contrast,
    )
    with _console.progress_bar() as bar:
        task = bar.add_task("ingest", total=None, note="")

        def on_case(number: int, total: int, case: str) -> None:
            bar.update(task, description=case, completed=number, total=total)

        found = active.ingest(corrected, dataset, options, on_case=on_case)
    _report_ingested(found, dataset, json=json, rater=rater)
    if found.refused:
        raise typer.Exit(2)


def _report_ingested(found: "Ingested", dataset: Path, *, json: bool, rater: str | None) -> None:
    if json:
        _console.print_json(_ingested_record(found))
    elif found.taken:
        regions = list(found.taken[0].dice)
        _console.print_table(
            ["scan", "phase", *(f"Dice {name}" for name in regions), ""],
            [
                [
                    one.case,
                    one.phase,
                    *(one.dice[name] for name in regions),
                    "taken in" if one.new else "was in already",
                ]
                for one in found.taken
            ],
        )
    _tell_of_files(found)
    new = [one for one in found.taken if one.new]
    if found.refused:
        _console.say(
            f"{len(new)} scans taken in, {len(found.refused)} refused: mend these, then run the "
            "same command again"
        )
    if new and rater is None:
        _console.say("note: no --rater was given; the sidecars do not say who corrected")
    if new:
        _console.say(
            f"Next: score-jax active status {dataset}; then train the next phase: score-jax train "
            f"{dataset} --out RUN"
        )


def _tell_of_files(found: "Ingested") -> None:
    for one in found.taken:
        for text in one.warnings:
            _console.say(f"warning: {one.case}: {text}")
        for path in one.added if one.new else ():
            _console.say(f"{one.case}: added the scan, {path}")
        for path in one.replaced:
            _console.say(f"{one.case}: kept the mask that was there, {path}")
    for note in found.notes:
        _console.say(f"note: {note}")
    for item in found.refused:
        _console.say(f"score-jax: not taken in: {_located(item.where, item.error)}")


def _ingested_record(found: "Ingested") -> dict[str, Any]:
    return {
        "taken": [
            {
                "case": one.case,
                "phase": one.phase,
                "new": one.new,
                "dice": dict(one.dice),
                "masks": one.masks,
                "added": one.added,
                "replaced": one.replaced,
                "warnings": one.warnings,
            }
            for one in found.taken
        ],
        "refused": [
            {"where": r.where, "message": r.error.message, "hint": r.error.hint}
            for r in found.refused
        ],
        "notes": found.notes,
    }


@app.command("status")
def status_command(
    dataset: Annotated[Path, typer.Argument(help="The BIDS or nnU-Net dataset.")],
    predictions: Annotated[
        list[str] | None,
        typer.Option(
            "--predictions",
            metavar="PHASE=FOLDER",
            help="Masks by the model of a phase, e.g. 3=masks (from `predict`); repeatable.",
        ),
    ] = None,
    derivative: DerivativeOption = None,
    contrast: ContrastOption = None,
    json: JsonOption = False,
) -> None:
    """Show how many scans joined in each phase, and what correction and learning changed.

    Lesion volume, length and maximal axial damage ratio of the same scans, before and after;
    Wilcoxon's signed-rank test, two-sided.
    """
    from score_jax import active

    with _console.progress_bar() as bar:
        task = bar.add_task("measure", total=None, note="")

        def on_case(number: int, total: int, case: str) -> None:
            bar.update(task, description=case, completed=number, total=total)

        found = active.status(
            dataset,
            predictions=dict(map(_phase_folder, predictions or [])),
            derivative=derivative,
            contrast=contrast,
            on_case=on_case,
        )
    if json:
        _console.print_json(found.to_json())
    else:
        _report_status(found)
    for text in (*found.notes, *found.problems):
        _console.say(f"note: {text}")


def _phase_folder(text: str) -> tuple[int, str]:
    from score_jax.errors import ConfigError

    number, _, folder = text.partition("=")
    if not number.isdecimal() or not folder:
        raise ConfigError(f"--predictions: got {text!r}; expected PHASE=FOLDER, e.g. 1=masks")
    return int(number), folder


_NO_BRACKETS = str.maketrans("", "", "[]")  # rich would take them for markup


def _report_status(found: "Status") -> None:
    regions = list(dict.fromkeys(name for phase in found.phases for name in phase.dice))
    total = 0
    rows = []
    for phase in found.phases:
        total += phase.scans
        rows.append(
            [
                phase.number,
                phase.scans,
                phase.subjects,
                total,
                ", ".join(phase.raters) or ("by hand" if phase.number == 1 else "not named"),
                ", ".join(phase.models) or "-",
                *(phase.dice.get(name, float("nan")) for name in regions),
            ]
        )
    heads = ["phase", "scans", "people", "in all", "corrected by", "predicted by"]
    _console.print_table([*heads, *(f"Dice {name}" for name in regions)], rows)
    if found.unlabelled:
        _console.say(f"{found.unlabelled} scans have no masks yet")
    if not found.comparisons:
        _console.say(
            "Nothing to compare yet: rank and ingest (score-jax active rank, ingest), or name "
            "masks of two models with --predictions 1=FOLDER --predictions 2=FOLDER"
        )
        return
    _console.say("")
    _console.print_table(
        ["comparison", "measure", "n", "median before", "after", "mean change", "P", "how"],
        [
            [
                c.what,
                c.measure.replace(" []", "").translate(_NO_BRACKETS),
                c.result.n,
                c.result.median_before,
                c.result.median_after,
                c.result.mean_difference,
                _p(c.result.p),
                c.result.method + f"; {c.result.zeros} without change" * bool(c.result.zeros),
            ]
            for c in found.comparisons
        ],
    )


def _p(value: float) -> str:
    if value != value:
        return "n/a"
    return "<.001" if value < 0.001 else f"{value:.3f}"
