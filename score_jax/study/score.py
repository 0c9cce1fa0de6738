"""The SCORE study: from a dataset, or from simulated scans, to tables, figures and a report.

Stages, each kept by content (`stages`): the cohort (if simulated), the scans on the study's grid,
then for each kind of network its training and what it finds in the scans it never saw, the frames.
Tables, figures and the page are made anew each time.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import pandas as pd

from score_jax._types import PathLike
from score_jax.config import TrainConfig
from score_jax.data.simulated import write_cohort
from score_jax.errors import ConfigError, DatasetError
from score_jax.phantom import amira_cohort
from score_jax.study import score_measures, score_segmenting, score_training
from score_jax.study.report import write_report
from score_jax.study.results import Table
from score_jax.study.score_cases import Worked, read_cases, write_cases
from score_jax.study.score_input import Input, Issue, read_input
from score_jax.study.score_options import StudyOptions, read_options
from score_jax.study.score_page import Done, make_report
from score_jax.study.stages import Stage, Stages, What, files_sha256
from score_jax.training import events

SIMULATED = "simulated"

OnStage = Callable[[str, What], None]
OnCount = Callable[[str, int, int], None]


@final
@dataclass(frozen=True, eq=False, slots=True)
class Studied:
    """What a study left.

    Args:
      page: ``report.html``.
      tables: as in the report.
      frames: subjects, slices, areas, pairs.
      issues: what was wrong with the input.
      networks: how many were trained.
      seconds: of each stage when it was made.
    """

    page: Path
    tables: Sequence[Table]
    frames: Mapping[str, pd.DataFrame]
    issues: Sequence[Issue]
    networks: int
    seconds: Mapping[str, float]


@final
@dataclass(frozen=True, eq=False, slots=True)
class _Work:
    """A study while it goes."""

    stages: Stages
    options: StudyOptions
    config: TrainConfig
    seed: int
    count: OnCount

    def counted(self, what: str) -> Callable[[int, int], None]:
        return lambda done, total: self.count(what, done, total)

    def told(self, what: str) -> Callable[[events.Event], None]:
        """Progress of a training; its steps are counted."""
        steps = 0

        def tell(event: events.Event) -> None:
            nonlocal steps
            if isinstance(event, events.Prepared):
                self.count(f"{what}: scans prepared", event.done, event.total)
            elif isinstance(event, events.Stepped):
                self.count(f"{what}: steps", event.step, steps)
            elif isinstance(event, events.Started):
                steps = event.steps

        return tell


def run_score(
    dataset: PathLike,
    out: PathLike,
    *,
    scale: str = "small",
    overrides: Sequence[str] = (),
    joint: bool = False,
    seed: int = 0,
    arguments: Sequence[str] = (),
    on_stage: OnStage = lambda name, what: None,
    on_count: OnCount = lambda what, done, total: None,
) -> Studied:
    """Do the SCORE study; called again after whatever ended it, it goes on.

    Args:
      dataset: a BIDS folder (`score_input.read_input`), or ``simulated``.
      out: ``report.html``, ``tables/``, ``figures/``, ``frames/`` and ``stages/``.
      scale: ``smoke``, ``small`` or ``full``: how many are simulated, how large the networks are.
      overrides: ``key=value`` (`score_options`).
      joint: one network a stage instead of one a target.
      seed: of the simulated people, the networks and the bootstrap.
      arguments: the command line, for the report.
      on_stage: told of stages (`Stages`).
      on_count: told what is counted, how many are done, and in all.

    Raises:
      ConfigError: an option that does not exist or cannot be.
      DatasetError: nothing in the dataset can be studied.
      Interrupted: a signal ended a training; what it learned is kept.
      OutputError: disk full, no permission, another study in this folder.
    """
    options, config = read_options(scale, overrides, joint=joint, seed=seed)
    folder = Path(out)
    simulated = str(dataset) == SIMULATED
    if simulated and options.subjects < 2:
        raise ConfigError(f"subjects: got {options.subjects}; expected at least 2 of each group")
    with Stages(folder / "stages", on_stage=on_stage) as stages:
        work = _Work(stages, options, config, seed, on_count)
        root, content = _dataset(dataset, work)
        given = read_input(root, options)
        work = dataclasses.replace(work, options=_with_raters(options, given))
        if not simulated:
            content = {"files": files_sha256(given.files, root)}
        cases = stages.run(
            "scans",
            {**content, "raters": work.options.raters, "truth": options.truth,
             "grid_mm": options.grid_mm},
            lambda place: write_cases(place, given, work.options, work.counted("scans")),
        )  # fmt: skip
        scans, found = read_cases(cases.folder)
        if not scans:
            raise DatasetError(f"{root}: got no scan that can be read; expected some")
        trained, more = _networks(work, given, cases, scans)
        segmented = _segmentations(work, cases, scans, trained)
        done = Done(
            name=root.name, simulated=simulated, scale=scale, seed=seed, options=work.options,
            scans=scans, root=cases.folder, trained=trained, segmented=segmented,
            stages=stages.finished, frames=_frames(work, given, cases, scans, segmented),
            issues=(*given.issues, *found, *more),
        )  # fmt: skip
        report = make_report(done, arguments)
        score_measures.write_frames(folder / "frames", done.frames)
        page = write_report(folder, report)
        seconds = {stage.name: stage.seconds for stage in stages.finished}
    return Studied(page, report.tables, done.frames, done.issues, len(done.networks), seconds)


def _dataset(dataset: PathLike, work: _Work) -> tuple[Path, dict[str, Any]]:
    """Where the scans are; simulated ones are made, and depend on their settings only."""
    if str(dataset) != SIMULATED:
        return Path(dataset), {}
    o = work.options
    settings = {
        "seed": work.seed, "subjects": o.subjects, "scans": o.scans,
        "field_of_view_mm": o.field_of_view_mm, "grid_mm": o.grid_mm,
    }  # fmt: skip

    def make(folder: Path) -> None:
        if (folder / "dataset").exists():  # written whole, and killed then
            return
        cohort = amira_cohort(
            work.seed, o.subjects, scans=o.scans, grid_mm=o.grid_mm,
            field_of_view_mm=o.field_of_view_mm,
        )  # fmt: skip
        write_cohort(folder / "dataset", cohort, on_patient=work.counted("people simulated"))

    stage = work.stages.run("cohort", settings, make)
    return stage.folder / "dataset", {"cohort": stage}


def _with_raters(options: StudyOptions, given: Input) -> StudyOptions:
    """The raters who drew anything."""
    there = tuple(r for r in options.raters if any(r in scan.masks for scan in given.scans))
    return dataclasses.replace(options, raters=there)


def _networks(
    work: _Work, given: Input, cases: Stage, scans: Sequence[Worked]
) -> tuple[list[Stage], list[Issue]]:
    """The trainings, one stage a kind of network."""
    issues: list[Issue] = []
    stages = []
    drawn = {region for scan in scans for by in scan.drawn.values() for region in by}
    subjects = {
        group: sorted({scan.subject for scan in scans if scan.group == group})
        for group in {scan.group for scan in scans}
    }
    for target in score_training.targets(work.options, drawn):
        learned = score_training.cases_of(target, scans, work.options)
        networks, more = score_training.networks_of(target, learned, work.options, subjects)
        issues += more
        if not networks:
            continue
        config = score_training.settings_of(target, work.config, work.options, len(networks))
        needed = {case for network in networks for case in network.train}
        used = [case for case in learned if case.id in needed]

        def make(
            folder: Path, target: score_training.Target = target,
            used: Sequence[score_training.Case] = used,
            networks: Sequence[score_training.Network] = networks, config: TrainConfig = config,
        ) -> None:  # fmt: skip
            score_training.train(
                folder, cases.folder, target, used, networks, config, work.told(target.name)
            )

        stages.append(
            work.stages.run(
                f"networks/{target.name}",
                {"scans": cases, "target": target, "networks": networks, "config": config,
                 "cases": [[case.id, case.drawn_by, case.slices] for case in used]},
                make,
            )
        )  # fmt: skip
    if not stages:
        raise DatasetError(
            f"{given.root}: got nothing that a network could learn; expected masks of the cord or "
            "the grey matter of at least two people of a group"
        )
    return stages, issues


def _segmentations(
    work: _Work, cases: Stage, scans: Sequence[Worked], trained: Sequence[Stage]
) -> list[Stage]:
    found = []
    for stage in trained:
        name = stage.name.rpartition("/")[2]

        def make(folder: Path, stage: Stage = stage, name: str = name) -> None:
            score_segmenting.segment(
                folder, stage.folder, cases.folder, scans, work.counted(f"{name}: scans segmented")
            )

        found.append(work.stages.run(f"segmentations/{name}", {"networks": stage}, make))
    return found


def _frames(
    work: _Work, given: Input, cases: Stage, scans: Sequence[Worked], segmented: Sequence[Stage]
) -> dict[str, pd.DataFrame]:
    o = work.options
    folders = [stage.folder for stage in segmented]

    def make(folder: Path) -> None:
        frames = score_measures.measure(
            scans, cases.folder, folders, given.people, o, work.counted("scans measured")
        )
        score_measures.write_frames(folder, frames)

    people = {s: {k: str(v) for k, v in row.items()} for s, row in given.people.items()}
    stage = work.stages.run(
        "frames",
        {"scans": cases, "segmentations": list(segmented), "people": people, "inter": o.inter,
         "alignment": o.alignment, "failures": o.failures, "failure_truth": o.failure_truth},
        make,
    )  # fmt: skip
    return score_measures.read_frames(stage.folder)
