"""`score-jax run`: a whole BIDS dataset (a BIDS App)."""

import enum
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from score_jax.cli import _cluster, _console, _device

if TYPE_CHECKING:
    from score_jax.cohort.cluster import ClusterOptions
    from score_jax.cohort.options import Options
    from score_jax.cohort.running import Plan
    from score_jax.cohort.scans import Scan


_MANY = 200  # scans; fewer are looked at in a moment


class Level(enum.StrEnum):
    """Of a BIDS App."""

    participant = "participant"
    group = "group"


def command(
    bids_dir: Annotated[Path, typer.Argument(help="The BIDS dataset.")],
    out: Annotated[Path, typer.Argument(help="Folder for the derivatives; made if need be.")],
    level: Annotated[
        Level, typer.Argument(help="participant: do the scans; group: the tables over all.")
    ],
    more: Annotated[
        list[str] | None, typer.Argument(hidden=True, help="further participants")
    ] = None,
    participant_label: Annotated[
        list[str] | None,
        typer.Option("--participant-label", "--participant_label", help="Only these; several."),
    ] = None,
    session_label: Annotated[
        list[str] | None,
        typer.Option("--session-label", help="Only these sessions; repeat it."),
    ] = None,
    contrast: Annotated[
        str | None, typer.Option(help="Suffix of the images to use, e.g. T2w.")
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option("--model", help="As for predict, which also chooses one."),
    ] = None,
    soft: Annotated[bool, typer.Option("--soft", help="Also write probabilities.")] = False,
    tta: Annotated[bool, typer.Option("--tta", help="Average over flips.")] = False,
    crop: Annotated[bool | None, typer.Option("--crop/--no-crop", help="As for predict.")] = None,
    spread: Annotated[
        bool,
        typer.Option("--spread", help="Also how far an ensemble's networks differ, with a flag."),
    ] = False,
    no_postprocessing: Annotated[
        bool, typer.Option("--no-postprocessing", help="Leave masks as the network finds them.")
    ] = False,
    areas: Annotated[bool, typer.Option(help="Measure areas, if there is a cord.")] = True,
    lesions: Annotated[bool, typer.Option(help="Measure lesions, if the model finds any.")] = True,
    qc: Annotated[bool, typer.Option(help="Pictures and report for a person's eyes.")] = True,
    min_lesion: Annotated[
        float, typer.Option(help="Leave smaller lesions out of the tables, mm3.")
    ] = 0.0,
    ratings: Annotated[
        list[Path] | None,
        typer.Option(help="Ratings that the report exported; by default OUT/qc/ratings*.tsv."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and how long it may take.")
    ] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read every image, not only those that look changed.")
    ] = False,
    runtime: Annotated[str, typer.Option(help="jax, onnx or auto.")] = "auto",
    cluster: _cluster.KindOption = None,
    workers: _cluster.WorkersOption = 0,
    threads: _cluster.ThreadsOption = 1,
    retries: _cluster.RetriesOption = 2,
    cluster_host: _cluster.HostOption = "127.0.0.1",
    cluster_set: _cluster.SetOption = None,
    device: _device.DeviceOption = "auto",
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Segment and measure a whole BIDS dataset; finished scans are not done again."""
    from score_jax.cohort.scans import find_scans

    scans = find_scans(
        bids_dir,
        participants=_labels(participant_label, more),
        sessions=session_label or (),
        contrast=contrast,
    )
    asked = _Asked(bids_dir, out, scans, contrast, ratings, json)
    if level is Level.group:
        _group(asked)
        return
    # the device belongs to the workers, if there are any: this process only reads the model
    where = _device.use("cpu" if cluster else device)
    compiled = _device.keep_compiled()
    from score_jax.cohort.options import Options
    from score_jax.cohort.work import load

    options = Options(
        models=tuple(model or [_suitable(scans)]),
        soft=soft,
        tta=tta,
        postprocess=not no_postprocessing,
        crop="none" if crop is False else _margin() if crop else "auto",
        spread=spread,
        runtime=runtime,
        areas=areas,
        lesions=lesions,
        qc=qc,
        min_lesion_mm3=min_lesion,
    )
    network = load(options)
    plan = _planned(scans, network, options, out, verify=verify)
    if dry_run:
        _say_plan(plan, network, asked)
        return
    found = None
    if cluster:
        found = _cluster.options(
            cluster,
            workers=workers,
            threads=threads,
            retries=retries,
            host=cluster_host,
            settings=cluster_set,
            device=device,
            compiled=compiled,
        )
        where = f"workers of {cluster}"
    _console.say(f"Model {network.name}; computing on {where}")
    _participant(plan, network, options, found, asked)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the command line asks for, beside the options of the work."""

    root: Path
    out: Path
    scans: "list[Scan]"
    contrast: str | None
    ratings: list[Path] | None
    json: bool


def _labels(labels: list[str] | None, more: list[str] | None) -> list[str]:
    from score_jax.errors import ConfigError

    if more and not labels:
        raise ConfigError(
            f"run: got {more[0]!r} after the level; expected nothing there",
            hint="name participants with --participant-label",
        )
    return [part for text in [*(labels or []), *(more or [])] for part in text.split(",") if part]


def _margin() -> float:
    from score_jax.inference.cropping import MARGIN_MM

    return MARGIN_MM


def _suitable(scans: "list[Scan]") -> str:
    """The one shipped model that suits all of the scans.

    Raises:
      ConfigError: they need several.
    """
    from score_jax import api
    from score_jax.errors import ConfigError

    choices = api.choose_models([scan.images[0] for scan in scans])
    first, *others = choices
    for other in others:
        if other.model != first.model:
            raise ConfigError(
                f"{first.inputs[0]} suits the model {first.model}, {other.inputs[0]} suits "
                f"{other.model}; expected scans for one model",
                hint="name one with --model, or run one contrast at a time: --contrast T2w",
            )
    _console.say(f"Model: {first.model}, {first.why}")
    return first.model


def _planned(
    scans: "list[Scan]", model: Any, options: "Options", out: Path, *, verify: bool
) -> "Plan":
    from score_jax.cohort.running import plan

    if len(scans) < _MANY:
        return plan(scans, model, options, out, verify=verify)
    with _console.counting("looking") as count:
        return plan(scans, model, options, out, verify=verify, on_scan=count)


def _say_plan(plan: "Plan", model: Any, asked: _Asked) -> None:
    from score_jax.cohort.estimate import estimate

    guess = estimate(plan.todo, asked.out, model)
    if asked.json:
        _console.print_json(
            {
                "todo": [
                    {"scan": job.scan.id, "why": why}
                    for job, why in zip(plan.todo, plan.why, strict=True)
                ],
                "finished": len(plan.finished),
                "unreadable": {scan.id: text for scan, text in plan.unreadable},
                "seconds": guess.seconds,
                "basis": guess.basis,
            }
        )
        return
    for job, why in zip(plan.todo, plan.why, strict=True):
        typer.echo(f"{job.scan.id}\t{why}")
    for scan, text in plan.unreadable:
        _console.say(f"score-jax: {scan.id}: {text}")
    _console.say(_progress(plan, asked))
    _console.say(f"time: {guess}")


def _progress(plan: "Plan", asked: _Asked) -> str:
    total, finished = len(asked.scans), len(plan.finished)
    return f"{len(plan.todo)} of {total} scans to do, {finished} finished"


def _participant(
    plan: "Plan",
    model: Any,
    options: "Options",
    cluster: "ClusterOptions | None",
    asked: _Asked,
) -> None:
    from score_jax.cohort import state
    from score_jax.cohort.remote import run_there, settings_of
    from score_jax.cohort.running import run_here
    from score_jax.cohort.scans import open_output
    from score_jax.cohort.work import Worker

    open_output(asked.out, asked.root)
    _console.say(_progress(plan, asked))
    if cluster is None:
        records = run_here(Worker(model, options, asked.root, asked.out), plan.todo)
    else:
        settings = settings_of(options, asked.root, asked.out)
        records = run_there(settings, plan.todo, cluster, on_start=_say_workers)
    done, failed = [], []
    for record in _console.track(records, "scans", len(plan.todo)):
        # of the good ones, no more than the name is kept: there may be many
        if record["Status"] == state.FAILED:
            failed.append(record)
        else:
            done.append(record["Scan"])
    if options.qc:
        _report(asked)
    if asked.json:
        _console.print_json(
            {
                "done": sorted(done),
                "finished": len(plan.finished),
                "failed": {r["Scan"]: r["Error"]["Text"] for r in failed},
                "unreadable": {scan.id: text for scan, text in plan.unreadable},
            }
        )
    for record in failed:
        _console.say(f"score-jax: not done: {record['Scan']}: {record['Error']['Text']}")
        if "Bug" in record:
            _console.say(record["Bug"])
    for scan, text in plan.unreadable:
        _console.say(f"score-jax: not done: {scan.id}: {text}")
    _console.say(f"{len(done)} scans done; tables over all: score-jax run ... group")
    if failed or plan.unreadable:
        raise typer.Exit(1 if any("Bug" in record for record in failed) else 2)


def _say_workers(dashboard: str, workers: int) -> None:
    seen = f"; dashboard: {dashboard}" if dashboard else ""
    _console.say(f"{workers} {'worker' if workers == 1 else 'workers'} so far{seen}")


def _group(asked: _Asked) -> None:
    from score_jax.cohort.tables import records_of, write_group

    said = _ratings(asked)
    records = records_of(asked.scans, asked.out)
    written = write_group(asked.scans, records, asked.root, asked.out, said)
    page = _page(records, asked.out, said)
    if asked.json:
        _console.print_json({**written, **({"report": page} if page else {})})
        return
    for path in [*written.values(), *([page] if page else [])]:
        _console.say(f"wrote {path}")


def _report(asked: _Asked) -> None:
    """The report is over all participants, whoever was asked for."""
    from score_jax.cohort.scans import find_scans
    from score_jax.cohort.tables import records_of

    records = records_of(find_scans(asked.root, contrast=asked.contrast), asked.out)
    if page := _page(records, asked.out, _ratings(asked)):
        _console.say(f"report: {page}")


def _page(records: Any, out: Path, said: Any) -> Path | None:
    from score_jax.cohort.report import write_cohort_report

    if not any(record is not None for record in records.values()):
        return None
    return write_cohort_report(records, out, said)


def _ratings(asked: _Asked) -> Any:
    from score_jax.cohort.report import RATINGS
    from score_jax.qc.report_ratings import join_ratings

    return join_ratings(asked.ratings or sorted(asked.out.glob(RATINGS)))
