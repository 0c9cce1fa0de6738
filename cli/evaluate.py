"""`score-jax evaluate`: score predictions against references."""

import enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from score_jax.cli import _console

if TYPE_CHECKING:
    from score_jax.arrays.regions import Region
    from score_jax.evaluation import Evaluation


class Preset(enum.StrEnum):
    """Which scores (named as `score_jax.metrics.PRESETS`)."""

    anima = "anima"
    sciseg = "sciseg"
    score = "score"
    all = "all"


class Edge(enum.StrEnum):
    """What lies beyond the image border."""

    closed = "closed"
    open = "open"


class Empty(enum.StrEnum):
    """Rule for empty masks."""

    nan = "nan"
    worst = "worst"
    anima = "anima"
    metrics_reloaded = "metrics_reloaded"


def command(
    pred: Annotated[Path, typer.Argument(help="Predictions: a mask, a folder, a BIDS dataset.")],
    ref: Annotated[Path, typer.Argument(help="References, matched to predictions by name.")],
    preset: Annotated[
        Preset,
        typer.Option(
            help="anima: the tool's output; sciseg: the same by region; score: slice by slice "
            "in 2-D; all: everything."
        ),
    ] = Preset.all,
    labels: Annotated[
        list[str] | None,
        typer.Option(
            "--labels",
            help="Regions of label maps: NAME=1,2 (repeat it), 1,2 for each of these by itself, "
            "or 'each' for every value. By default what dataset.json declares.",
        ),
    ] = None,
    lesions: Annotated[
        bool | None,
        typer.Option(
            "--lesions/--no-lesions",
            help="Count lesions as well (the tool's -l). By default with 'all', and for lesions "
            "with 'sciseg'.",
        ),
    ] = None,
    min_lesion_mm3: Annotated[
        float, typer.Option(help="Ignore lesions of this volume or less, mm3 (-v).")
    ] = 3.0,
    alpha: Annotated[float, typer.Option(help="Lesion detection: least share covered (-x).")] = 0.1,
    beta: Annotated[float, typer.Option(help="Largest share outside (-y).")] = 0.7,
    gamma: Annotated[float, typer.Option(help="Share of the overlap looked at (-z).")] = 0.65,
    edge: Annotated[
        Edge, typer.Option(help="Does the image border close a surface? ANIMA's own: open.")
    ] = Edge.closed,
    empty: Annotated[
        Empty, typer.Option(help="Our scores where a mask is empty. ANIMA's keep its rule.")
    ] = Empty.nan,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for summary.json, summary.tsv, scores.tsv and scores.xlsx."),
    ] = None,
    jobs: Annotated[
        int, typer.Option(min=0, help="Processes; 0: as many as there are processors and work.")
    ] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Score predictions against references; exit 2 if a case could not be scored."""
    from score_jax.evaluation import evaluate, write

    with _console.progress_bar() as bar:
        task = bar.add_task("scoring", total=None, note="")

        def on_case(done: int, total: int, case: str) -> None:
            bar.update(task, completed=done, total=total, note=case)
            if not _console.console.is_terminal and total > 1 and _tells(done, total):
                _console.say(f"scored {done}/{total}")

        found = evaluate(
            pred,
            ref,
            preset=preset.value,
            labels=_regions(labels),
            lesions=lesions,
            edge=edge.value,
            empty=empty.value,
            min_lesion_mm3=min_lesion_mm3,
            alpha=alpha,
            beta=beta,
            gamma=gamma,
            jobs=jobs,
            on_case=on_case,
        )
    written = write(found, out) if out is not None and found.scores else []
    if json:
        _console.print_json(found.as_dict())
    elif found.scores:
        _print(found)
    for path in written:
        _console.say(f"wrote {path}")
    for failure in found.failures:
        _console.say(f"score-jax: not scored: {failure}")
    if found.failures:
        raise typer.Exit(2)


def _regions(texts: list[str] | None) -> "list[Region] | Literal['each'] | None":
    from score_jax.arrays.regions import Region
    from score_jax.errors import ConfigError

    if not texts:
        return None
    if texts == ["each"]:
        return "each"
    named: list[tuple[str, tuple[int, ...]]] = []
    for text in texts:
        name, equals, numbers = text.rpartition("=")
        try:
            values = tuple(int(number) for number in numbers.split(","))
        except ValueError:
            raise ConfigError(
                f"--labels: got {text!r}; expected e.g. cord=1,2 or 1,2 or each"
            ) from None
        named += [(name.strip(), values)] if equals else [(f"label {v}", (v,)) for v in values]
    if len({name for name, _ in named}) < len(named):
        raise ConfigError(f"--labels: got {' '.join(texts)}; expected each region once")
    return [Region(name, values, number) for number, (name, values) in enumerate(named, 1)]


def _tells(done: int, total: int) -> bool:
    return done == total or done % max(1, total // 10) == 0


def _print(found: "Evaluation") -> None:
    """A row a score, a column a region: the value of one case, or mean, SD and number of many."""
    summary = found.summary
    names = list(dict.fromkeys(name for by_name in summary.values() for name in by_name))
    rows = [[name, *(_cell(summary[r].get(name)) for r in summary)] for name in names]
    _console.print_table((found.preset, *summary), rows)
    cases = len({score.case for score in found.scores})
    if cases > 1:
        _console.say(f"{cases} cases; mean (sd), and [n] where some have no value")
    if found.preset == "score":
        grids = sorted({tuple(round(mm, 3) for mm in score.spacing) for score in found.scores})
        text = "; ".join(" x ".join(f"{mm:g}" for mm in grid) for grid in grids)
        _console.say(f"distances on the masks' own grid: {text} mm (the paper's: 0.333 mm)")
    for note in dict.fromkeys([*found.notes, *(n for score in found.scores for n in score.notes)]):
        _console.say(f"note: {note}")


def _cell(statistics: "dict[str, float] | None") -> str:
    if statistics is None or not statistics["n"]:
        return "n/a"
    if statistics["n"] + statistics["n_missing"] == 1:
        return f"{statistics['mean']:.4g}"
    text = f"{statistics['mean']:.4g} ({statistics['sd']:.3g})"
    return text + (f" [{statistics['n']}]" if statistics["n_missing"] else "")
