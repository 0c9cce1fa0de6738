"""The SCIseg study end to end: scans, splits, phases, networks, scores, tables, figures, report."""

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import pandas as pd

from score_jax._types import PathLike
from score_jax.config import TrainConfig
from score_jax.errors import DatasetError
from score_jax.imaging import read_json, write_json, write_tsv
from score_jax.study import sci_active, sci_scoring, sci_training
from score_jax.study.report import write_report
from score_jax.study.results import Figure, Table
from score_jax.study.sci_baselines import Baseline, masks_of, read_baselines
from score_jax.study.sci_cohort import Scan, SciCohort, check_scans, problem, read_cohort, without
from score_jax.study.sci_numbers import PREDICTED, THREE_D, TWO_D
from score_jax.study.sci_options import SciOptions
from score_jax.study.sci_report import Given, report_of
from score_jax.study.sci_splits import Split, split
from score_jax.study.sci_training import Lesson
from score_jax.study.stages import Stage, Stages, What, files_sha256
from score_jax.training import events

SIMULATED = "simulated"
_RATER, _TRUTH = "rater1", "truth"


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """Who is told what while the study runs.

    Args:
      stage: a stage's name and what became of it.
      count: what is counted, how many are done, of how many.
    """

    stage: Callable[[str, What], None] = lambda name, what: None
    count: Callable[[str, int, int], None] = lambda what, done, total: None


@final
@dataclass(frozen=True, eq=False, slots=True)
class SciStudy:
    """What a study left behind.

    Args:
      page: the report.
      tables: as printed there.
      figures: likewise.
      problems: of the input.
      stages: in order, those that were kept from an earlier run too.
    """

    page: Path
    tables: Sequence[Table]
    figures: Sequence[Figure]
    problems: Sequence[Mapping[str, str]]
    stages: Sequence[Stage]


@final
@dataclass(kw_only=True, slots=True)
class _Work:
    """What all steps share."""

    out: Path
    stages: Stages
    cohort: SciCohort
    key: str  # of all files
    options: SciOptions
    recipes: Mapping[str, TrainConfig]
    told: Told
    problems: list[dict[str, str]] = field(default_factory=list)


@final
@dataclass(frozen=True, slots=True)
class _Trained:
    """The networks of one method and phase."""

    method: str
    phase: int
    stage: Stage


def study_sci(
    out: PathLike,
    options: SciOptions,
    recipes: Mapping[str, TrainConfig],
    *,
    data: PathLike = SIMULATED,
    seed: int = 0,
    masks: str | None = None,
    truth: str | None = None,
    contrast: str | None = None,
    baselines: Sequence[str] = (),
    scale: str = "",
    command: Sequence[str] = (),
    told: Told | None = None,
) -> SciStudy:
    """Run the SCI study, or what of it was not done yet in this folder.

    Args:
      out: the study's folder: ``report.html``, ``tables/``, ``figures/``, ``frames/`` and the
        stages, which another call with the same inputs keeps.
      options: the choices and sizes (`read_options`).
      recipes: of the networks ``3d`` and ``2d``.
      data: a BIDS dataset with ``participants.tsv``, or ``simulated``.
      seed: of the simulated people.
      masks: folder below ``derivatives`` with the manual masks.
      truth: folder with true masks beside them, if there are any.
      contrast: suffix of the images, if there are several.
      baselines: ``NAME=FOLDER`` each (`read_baselines`).
      scale: for the report.
      command: as typed, for the report.
      told: progress.

    Raises:
      ConfigError, DatasetError: something is wrong with the options or with all of the input.
      Interrupted: a signal ended a training; call again to go on.
      OutputError: another study is at work in the folder, or the disk is full.
    """
    told, folder = told or Told(), Path(out)
    for name, recipe in recipes.items():
        sci_training.check_recipe(recipe, name)
    others = read_baselines(baselines)
    with Stages(folder / "stages", on_stage=told.stage) as stages:
        simulated = str(data) == SIMULATED
        if simulated:
            data = _simulate(stages, options, seed, told)
            masks, truth = _RATER, _TRUTH
        cohort = read_cohort(data, masks=masks, truth=truth, contrast=contrast)
        work = _checked(folder, stages, cohort, options, recipes, told)
        splits = [split(work.cohort.scans, options, s, work.problems) for s in options.seeds]
        trained, active = _train_all(work, splits)
        frames = _frames(work, splits, trained, others)
        shown = [{k: v for k, v in row.items() if k != "masks"} for row in active]
        frames["active"] = pd.DataFrame(shown)
        given = Given(seed if simulated else None, scale, tuple(command))
        return _report(work, frames, given, others)


def _simulate(stages: Stages, options: SciOptions, seed: int, told: Told) -> Path:
    from score_jax.data.simulated import write_cohort
    from score_jax.phantom import sci_cohort

    given: dict[str, Any] = {"subjects": options.subjects, "raters": 1}
    if options.grid_mm:
        given["grid_mm"] = options.grid_mm
    if options.thickness_mm:
        given["thickness_mm"] = options.thickness_mm
    if options.field_of_view_mm:
        given["field_of_view_mm"] = options.field_of_view_mm

    def make(folder: Path) -> None:
        for begun in folder.glob(".bids.*"):  # by a run that was killed
            shutil.rmtree(begun)
        people = sci_cohort(seed, **given)
        write_cohort(
            folder / "bids", people, on_patient=lambda n, total: told.count("simulate", n, total)
        )

    return stages.run("cohort", {"seed": seed, **given}, make).folder / "bids"


def _checked(
    out: Path,
    stages: Stages,
    cohort: SciCohort,
    options: SciOptions,
    recipes: Mapping[str, TrainConfig],
    told: Told,
) -> _Work:
    """Every scan read once; those that cannot be used are left out."""
    files = [file for scan in cohort.scans for file in scan.files]
    key = files_sha256(files, cohort.dataset.root)

    def make(folder: Path) -> None:
        found = check_scans(cohort, on_scan=lambda n, total: told.count("check", n, total))
        write_json(folder / "problems.json", found)

    stage = stages.run("check", {"files": key}, make)
    usable = without(cohort, read_json(stage.folder / "problems.json"))
    return _Work(
        out=out, stages=stages, cohort=usable, key=key, options=options, recipes=recipes,
        told=told, problems=[dict(row) for row in usable.problems],
    )  # fmt: skip


def _train_all(work: _Work, splits: Sequence[Split]) -> tuple[list[_Trained], list[dict[str, Any]]]:
    """The 3-D networks of every phase with the active learning between, the 2-D ones at the end."""
    scans: dict[str, Scan] = {scan.case.id: scan for scan in work.cohort.scans}
    lessons = [Lesson(s.seed, _ids(s.first)) for s in splits]
    trained = [_train(work, THREE_D, 1, scans, lessons)]
    phase, rows = 1, []
    if any(s.pool for s in splits):
        phase = 2
        more, rows = _learn_actively(work, splits, trained[0].stage, scans)
        lessons = [Lesson(own.seed, (*own.cases, *more[own.seed])) for own in lessons]
        if work.options.middle_phase == "train":
            trained.append(_train(work, THREE_D, phase, scans, lessons))
    if any(s.last for s in splits):
        phase = 3
        lessons = [
            Lesson(own.seed, (*own.cases, *_ids(s.last)))
            for own, s in zip(lessons, splits, strict=True)
        ]
    if phase == 1:
        row = problem("phases", "no scan joins after phase 1", "only phase 1 is trained")
        work.problems.append(row)
    elif trained[-1].phase != phase:
        trained.append(_train(work, THREE_D, phase, scans, lessons))
    trained.append(_train(work, TWO_D, phase, scans, lessons))
    return trained, rows


def _train(
    work: _Work, method: str, phase: int, scans: Mapping[str, Scan], lessons: Sequence[Lesson]
) -> _Trained:
    config = work.recipes[method]
    on_event = _counted(f"{method}, phase {phase}", work.told)

    def make(folder: Path) -> None:
        sci_training.train(
            folder, list(scans.values()), lessons, config, work.options,
            prepared=work.out / "prepared" / method, on_event=on_event,
        )  # fmt: skip

    inputs = {
        "files": work.key,
        "lessons": list(lessons),
        "config": config,
        "checkpoints": work.options.checkpoints,
    }
    return _Trained(method, phase, work.stages.run(f"{method}-phase-{phase}", inputs, make))


def _counted(what: str, told: Told) -> Callable[[events.Event], None]:
    """Events of a training as counts: scans prepared, steps done."""
    steps = 0

    def on_event(event: events.Event) -> None:
        nonlocal steps
        if isinstance(event, events.Prepared):
            told.count(f"{what}: prepare", event.done, event.total)
        elif isinstance(event, events.Started):
            steps = event.steps
        elif isinstance(event, events.Stepped):
            told.count(f"{what}: train", event.step, steps)

    return on_event


def _learn_actively(
    work: _Work, splits: Sequence[Split], first: Stage, scans: dict[str, Scan]
) -> tuple[dict[int, tuple[str, ...]], list[dict[str, Any]]]:
    """What each seed takes in; `scans` then has the masks that were taken in."""
    networks = None
    more: dict[int, tuple[str, ...]] = {}
    rows: list[dict[str, Any]] = []
    for own in splits:

        def make(folder: Path, own: Split = own) -> None:
            nonlocal networks
            networks = networks or sci_training.networks_of(first.folder)
            sci_active.learn_actively(
                folder, work.cohort, networks[own.seed], first=own.first, pool=own.pool,
                seed=own.seed, options=work.options,
                on_case=lambda n, total: work.told.count(f"rank, seed {own.seed}", n, total),
            )  # fmt: skip

        inputs = {
            "network": first, "first": _ids(own.first), "pool": _ids(own.pool), "seed": own.seed,
            "scans": work.options.active_scans,
        }  # fmt: skip
        stage = work.stages.run(f"active/seed-{own.seed}", inputs, make)
        taken = sci_active.taken_scans(stage.folder, own.pool)
        more[own.seed] = _ids(taken)
        scans.update((scan.case.id, scan) for scan in taken)
        record = read_json(stage.folder / sci_active.RECORD)
        rows += record["scans"]
        work.problems += record["problems"]
    return more, rows


def _frames(
    work: _Work,
    splits: Sequence[Split],
    trained: Sequence[_Trained],
    others: Sequence[Baseline],
) -> dict[str, pd.DataFrame]:
    scores: list[dict[str, Any]] = []
    measured: list[dict[str, Any]] = []
    by_case = {scan.case.id: scan for scan in work.cohort.scans}

    def add(folder: Path, about: Mapping[str, Any], seeds: Mapping[str, Sequence[int]]) -> None:
        rows = sci_scoring.read_rows(folder)
        work.problems.extend(row for row in rows["problems"] if row not in work.problems)
        for kind, into in (("scores", scores), ("biomarkers", measured)):
            for row in rows[kind]:
                scan = by_case[row["case"]]
                who = {
                    "participant": scan.participant, "session": scan.session, "site": scan.site,
                }  # fmt: skip
                rest = {k: v for k, v in row.items() if k != "case"}
                if kind == "biomarkers" and "method" not in row:
                    if about["method"] != THREE_D:
                        continue  # the paper measures the 3-D network's masks only
                    rest["method"] = PREDICTED
                into += [{**who, **about, **rest, "seed": s} for s in seeds[row["case"]]]

    for one in trained:
        networks = None
        for own in splits:

            def make(folder: Path, one: _Trained = one, own: Split = own) -> None:
                nonlocal networks
                networks = networks or sci_training.networks_of(one.stage.folder)
                what = f"{one.method}, phase {one.phase}, seed {own.seed}"
                sci_scoring.predict_and_score(
                    folder, work.cohort, own.asked, networks[own.seed],
                    on_case=lambda n, total: work.told.count(what, n, total),
                )  # fmt: skip

            inputs = {"network": one.stage, "cases": _ids(own.asked), "seed": own.seed}
            name = f"scores/{one.method}-phase-{one.phase}-seed-{own.seed}"
            stage = work.stages.run(name, inputs, make)
            seeds = {case: [own.seed] for case in _ids(own.asked)}
            add(stage.folder, {"method": one.method, "phase": one.phase}, seeds)
    asked = _asked(splits)
    every = [by_case[case] for case in asked]
    manual = work.stages.run(
        "scores/references",
        {"files": work.key, "cases": list(asked)},
        lambda folder: sci_scoring.measure_references(folder, work.cohort, every),
    )
    add(manual.folder, {"phase": None}, {key: [-1] for key in asked})
    last = max(one.phase for one in trained)
    for baseline in others:
        stage = work.stages.run(
            f"scores/baseline-{baseline.name}",
            {"weights": baseline.sha256, "files": work.key, "cases": list(asked)},
            lambda folder, b=baseline: _score_baseline(folder, work, b, every),
        )
        add(stage.folder, {"method": baseline.name, "phase": last}, asked)
    return {
        "sessions": work.cohort.sessions,
        "scores": pd.DataFrame(scores),
        "biomarkers": pd.DataFrame(measured),
    }


def _score_baseline(folder: Path, work: _Work, baseline: Baseline, scans: Sequence[Scan]) -> None:
    if baseline.model is not None:
        sci_scoring.predict_and_score(
            folder, work.cohort, scans, baseline.model,
            on_case=lambda n, total: work.told.count(baseline.name, n, total),
        )  # fmt: skip
        return
    problems: list[dict[str, str]] = []
    files = masks_of(baseline, scans, problems)
    sci_scoring.score_files(folder, work.cohort, scans, files, problems)


def _asked(splits: Sequence[Split]) -> dict[str, list[int]]:
    """Every scan that is tested, with the seeds in whose test set it is."""
    found: dict[str, list[int]] = {}
    for own in splits:
        for case in _ids(own.asked):
            found.setdefault(case, []).append(own.seed)
    return dict(sorted(found.items()))


def _report(
    work: _Work, frames: Mapping[str, pd.DataFrame], given: Given, others: Sequence[Baseline]
) -> SciStudy:
    if frames["scores"].empty:
        first = work.problems[-1] if work.problems else {"where": "", "problem": ""}
        raise DatasetError(
            f"{work.cohort.dataset.root}: no scan could be scored; expected some",
            hint=f"{first['where']}: {first['problem']}",
        )
    report = report_of(
        frames, work.problems, given, cohort=work.cohort, options=work.options,
        recipes=work.recipes, stages=work.stages.finished, others=others, key=work.key,
    )  # fmt: skip
    for name, frame in frames.items():
        write_tsv(work.out / "frames" / f"{name}.tsv", frame.to_dict("records"))
    page = write_report(work.out, report)
    stages = tuple(work.stages.finished)
    return SciStudy(page, report.tables, report.figures, work.problems, stages)


def _ids(scans: Iterable[Scan]) -> tuple[str, ...]:
    return tuple(scan.case.id for scan in scans)
