"""The SCORE study: from a dataset, or from simulated scans, to tables, figures and a report.

Stages, each kept by content (`stages`): the cohort (if simulated), the scans on the study's grid,
then for each kind of network its training and what it finds in the scans it never saw, the frames.
Tables, figures and the page are made anew each time.
"""

import dataclasses
import importlib.metadata
import resource
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import pandas as pd

from score_jax._types import PathLike
from score_jax.api import about
from score_jax.api.training import SUMMARY
from score_jax.config import TrainConfig
from score_jax.data.simulated import write_cohort
from score_jax.errors import ConfigError, DatasetError
from score_jax.imaging import load, read_json
from score_jax.phantom import amira_cohort, covariates
from score_jax.study import score_measures, score_segmenting, score_training
from score_jax.study.report import Report, write_report
from score_jax.study.results import Figure, Table
from score_jax.study.score_cases import Worked, read_cases, write_cases
from score_jax.study.score_input import Input, Issue, issues_frame, read_input
from score_jax.study.score_montage import montage
from score_jax.study.score_options import StudyOptions, choices, read_options
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

        def tell(event: events.Event) -> None:
            if isinstance(event, events.Prepared):
                self.count(f"{what}: scans prepared", event.done, event.total)
            elif isinstance(event, events.Stepped):
                self.count(f"{what}: steps", event.step, steps)
            elif isinstance(event, events.Started):
                nonlocal steps
                steps = event.steps

        steps = 0
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
        issues = (*given.issues, *found, *more)
        frames = _frames(work, given, cases, scans, segmented)
        tables, figures = _results(work, frames, simulated)
        figures = [*figures, *_montages(scans, cases.folder, segmented, work.options)]
        networks = sum(len(score_training.read_networks(s.folder)) for s in trained)
        report = Report(
            title="SCORE study",
            lead=_lead(root, simulated, scale, given, scans, networks, work),
            problems=issues_frame(issues),
            tables=tables,
            figures=figures,
            choices=choices(work.options),
            made_by=_made_by(work, arguments, scale, trained),
        )
        score_measures.write_frames(folder / "frames", frames)
        page = write_report(folder, report)
        seconds = {stage.name: stage.seconds for stage in stages.finished}
    return Studied(page, tables, frames, issues, networks, seconds)


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


def _results(
    work: _Work, frames: Mapping[str, pd.DataFrame], simulated: bool
) -> tuple[list[Table], list[Figure]]:
    from score_jax.study.score_figures import score_figures
    from score_jax.study.score_tables import score_tables

    inter = tuple(int(number) for number in work.options.inter.split("-"))
    options = {
        "inter_scans": inter, "planted": planted() if simulated else {},
        "design": {"folds": work.options.folds, "raters": len(work.options.raters)},
        **work.options.tables,
    }  # fmt: skip
    given = (frames["subjects"], frames["slices"], frames["areas"], frames["pairs"])
    tables = score_tables(*given, options=options, seed=work.seed)
    return list(tables), list(score_figures(*given, options=options, seed=work.seed))


def _montages(
    scans: Sequence[Worked], root: Path, segmented: Sequence[Stage], options: StudyOptions
) -> list[Figure]:
    """One slice of the first control and of the patient with the largest lesion drawn."""
    found = []
    folders = [stage.folder for stage in segmented]
    for group in ("HC", "MS"):
        own = [scan for scan in scans if scan.group == group and scan.number == 1]
        if not own:
            continue
        read = [score_measures.read_scan(scan, root, folders, options) for scan in own[:6]]
        place = max(
            ((n, z) for n, one in enumerate(read) for z in range(one.scan.slices)
             if z not in one.scan.excluded),
            key=lambda at: (_lesion(read[at[0]], at[1]), -at[0], -abs(at[1] - 6)),
            default=(0, 0),
        )  # fmt: skip
        one, z = read[place[0]], place[1]
        image = load(root / one.scan.folder / "image.nii.gz").channels_last[:, :, z]
        drawn = {
            label: {k[0]: m[..., z] for k, m in reading.masks.items() if k[1] == "total"}
            for label, reading in (
                ("manual", one.of("manual")), ("SCORE", one.of("score")), ("truth", one.of("truth"))
            )
            if reading is not None
        }  # fmt: skip
        if drawn:
            title = f"{one.scan.subject} ({group}), slice {one.scan.label(z)}"
            name = f"Figure 1{'A' if group == 'HC' else 'B'}"
            found.append(montage(image, drawn, one.scan.spacing, name=name, title=title))
    return found


def _lesion(read: score_measures.Read, z: int) -> int:
    reading = read.of("manual")
    mask = None if reading is None else reading.masks.get(("lesion", "total"))
    return 0 if mask is None else int(np.count_nonzero(mask[..., z]))


def _lead(
    root: Path, simulated: bool, scale: str, given: Input, scans: Sequence[Worked], networks: int,
    work: _Work,
) -> list[str]:  # fmt: skip
    o = work.options
    counts = ", ".join(f"{len(given.of(g))} {g}" for g in ("HC", "MS"))
    source = "simulated people (no human was scanned)" if simulated else f"the dataset {root.name}"
    lines = [
        f"{counts} of {source}; {len(scans)} scans; {networks} networks of {len(o.raters)} raters, "
        f"{o.folds} folds (second stage: {o.folds_parts}), controls and patients apart. Every scan "
        "was segmented only by networks that never saw any slice of its subject.",
        "Tables and figures are numbered as statistics of the SCORE study (Tsagkas et al., AJNR "
        "2023;44:218). n.a.: not available; the notes below a table say why.",
    ]
    if scale != "full":
        lines.append(
            f"Scale {scale}: few people and small networks, trained briefly. The numbers show that "
            "every step works; they are no result about AMIRA, SCORE or the paper."
        )
    return lines


def _made_by(
    work: _Work, arguments: Sequence[str], scale: str, trained: Sequence[Stage]
) -> dict[str, str]:
    start = about.describe_start(arguments)
    rows = {
        "command": start["command"], "score-jax": start["score_jax"],
        "commit": str(start["git_commit"] or "not a checkout"), "python": start["python"],
        **{name: str(version) for name, version in start["packages"].items()},
        **{name: importlib.metadata.version(name) for name in ("scipy", "pandas", "statsmodels")},
        "platform": start["platform"], "devices": ", ".join(start["devices"]),
        "written": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()), "scale": scale,
        "seed": f"{work.seed}; of the split {work.options.split_seed}",
        "peak memory of this process": f"{_peak_gb():.2f} GB",
    }  # fmt: skip
    for stage in trained:
        sums = read_json(stage.folder / score_training.RUN / SUMMARY)["weights_sha256"]
        rows[f"weights, {stage.name}"] = ", ".join(value[:12] for value in sums)
    for stage in work.stages.finished:
        kept = ", kept from an earlier run" if stage.kept else ""
        rows[f"seconds, {stage.name}"] = f"{stage.seconds:.1f}{kept}"
    return rows


def _peak_gb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # Linux: kB


def planted() -> dict[str, float]:
    """The effects of the disease that the phantom plants: percent of the controls' areas, EDSS.

    Of white and grey matter they follow from cord and horns and are the phantom's stated aims
    (docs/phantom.md).
    """
    relapsing, progressive = covariates.AH_RELAPSING, covariates.AH_PROGRESSIVE
    return {
        "SC MS-HC": 100 * covariates.MS_CORD, "WM MS-HC": -10.0, "GM MS-HC": -8.0,
        "AH MS-HC": 100 * (15 * relapsing + 9 * progressive) / 24, "PH MS-HC": 0.0,
        "GC MS-HC": 0.0,
        "AH progressive-RR": 100 * ((1 + progressive) / (1 + relapsing) - 1),
        "EDSS beta WM": covariates.EDSS_WM, "EDSS beta lesion": covariates.EDSS_LESION,
        "EDSS R2": 0.81,
    }  # fmt: skip
