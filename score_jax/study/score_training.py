"""The networks of a SCORE study: what each learns, from whom, and who is held out from it."""

import dataclasses
import json
import shutil
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, final

import numpy as np

from score_jax import data
from score_jax.api import runs
from score_jax.api import train as run_training
from score_jax.api.training import SUMMARY
from score_jax.config import TrainConfig, override, to_toml
from score_jax.imaging import Volume, load, read_json, save, write_json, write_text, write_tsv
from score_jax.study.score_cases import Worked, integers_if_whole, read_masks
from score_jax.study.score_input import GROUPS, Issue
from score_jax.study.score_masks import PARTS
from score_jax.study.score_options import StudyOptions
from score_jax.training import events

RUN, MEMBERS = "run", "members.json"


class Interrupted(Exception):
    """A signal ended a training, and where it stands was saved; the same command goes on."""


@final
@dataclass(frozen=True, slots=True)
class Target:
    """What one kind of network segments.

    Args:
      name: of the kind: ``tissue``, ``lesion``, ``canal``, ``parts`` or, joined, ``first``,
        ``second``.
      regions: of one network.
      raters: one network for each rater, or for the first one only (who drew the parts).
      groups: whose scans it learns; controls and patients have networks of their own.
      folds: each person is held out from one of so many networks.
      steps: of its training.
    """

    name: str
    regions: tuple[str, ...]
    raters: Literal["all", "first"]
    groups: tuple[str, ...]
    folds: int
    steps: int


@final
@dataclass(frozen=True, slots=True)
class Network:
    """One network of a target.

    Args:
      group: whose scans it learned.
      rater: who drew what it learned.
      fold: its number.
      train: cases it learned, ``sub-01_scan-1_rater2``.
      held_out: subjects whose scans it never saw.
    """

    group: str
    rater: str
    fold: int
    train: tuple[str, ...]
    held_out: tuple[str, ...]


@final
@dataclass(frozen=True, slots=True)
class Case:
    """One drawing of one scan, to learn from.

    Args:
      id: unique; names files.
      scan: the image.
      rater: whose network learns it.
      drawn_by: whose masks they are (the first rater's, where rescans are propagated).
      slices: that are learned, from the feet.
    """

    id: str
    scan: Worked
    rater: str
    drawn_by: str
    slices: tuple[int, ...]


def targets(options: StudyOptions, drawn: Collection[str]) -> list[Target]:
    """The kinds of networks, those of the first stage first.

    Args:
      options: separate or joint networks, folds, steps.
      drawn: the regions that somebody drew; others have no network. The parts of the grey matter
        are learned together or not at all.
    """
    lengths, first, second = options.lengths, options.folds, options.folds_parts
    parts = PARTS if set(PARTS) <= set(drawn) else ()
    kinds: list[tuple[str, tuple[str, ...], Literal["all", "first"], int, int]] = [
        ("tissue", ("cord", "gm"), "all", first, lengths.tissue),
        ("lesion", ("lesion",), "all", first, lengths.lesion),
        ("canal", ("canal",), "first", second, lengths.canal),
        ("parts", parts, "first", second, lengths.parts),
    ]
    if options.joint:
        kinds = [
            ("first", ("cord", "gm", "lesion"), "all", first, lengths.tissue),
            ("second", ("canal", *parts), "first", second, lengths.parts),
        ]
    found = []
    for name, regions, raters, folds, steps in kinds:
        known = tuple(region for region in regions if region in drawn)
        groups = ("MS",) if known == ("lesion",) else GROUPS
        if known:
            found.append(Target(name, known, raters, groups, folds, steps))
    return found


def cases_of(target: Target, scans: Sequence[Worked], options: StudyOptions) -> list[Case]:
    """The drawings that a target's networks may learn, rater by rater.

    Raters have networks of their own where they drew all of the target's regions (for controls a
    missing lesion mask is one without lesions). Slices that were excluded or not drawn are not
    learned; a scan without any other is left out.
    """
    found = []
    for rater in options.raters if target.raters == "all" else options.raters[:1]:
        for scan in scans:
            author = _author(scan, rater, options)
            slices = None if author is None else _slices(target, scan, author)
            if scan.group in target.groups and author is not None and slices:
                case = f"{scan.subject}_scan-{scan.number}_{rater}"
                found.append(Case(case, scan, rater, author, slices))
    return found


def networks_of(
    target: Target, cases: Sequence[Case], options: StudyOptions, subjects: dict[str, list[str]]
) -> tuple[list[Network], list[Issue]]:
    """The networks of a target: every group, rater and fold, and what could not be.

    Args:
      target: the kind.
      cases: what there is to learn (`cases_of`).
      options: the split's seed.
      subjects: of each group, all that have a scan: each is held out once, drawn on or not.
    """
    networks: list[Network] = []
    issues: list[Issue] = []
    for group in target.groups:
        people = subjects.get(group, [])
        if not people or not any(case.scan.group == group for case in cases):
            continue
        folds = min(target.folds, len(people))
        if folds < 2:
            issues.append(
                Issue("a group of one", f"{group}: {target.name}", "no network can be tested on it")
            )
            continue
        stands = [data.Case(id=s, subject=s, images=()) for s in people]
        parts = [set(split.val) for split in data.k_fold(stands, folds, options.split_seed)]
        raters = dict.fromkeys(case.rater for case in cases if case.scan.group == group)
        for rater in raters:
            for fold, held in enumerate(parts):
                own = tuple(
                    case.id for case in cases
                    if case.rater == rater and case.scan.group == group
                    and case.scan.subject not in held
                )  # fmt: skip
                if own:
                    networks.append(Network(group, rater, fold, own, tuple(sorted(held))))
                else:
                    issues.append(
                        Issue(
                            "a network without training scans",
                            f"{target.name}, {group}, {rater}, fold {fold + 1}", "not trained",
                        )
                    )  # fmt: skip
    return networks, issues


def settings_of(
    target: Target, config: TrainConfig, options: StudyOptions, count: int
) -> TrainConfig:
    """The recipe of a target's `count` networks, which train as one ensemble."""
    grid = options.grid_mm
    return override(
        config,
        (
            f"data.regions={json.dumps(list(target.regions))}",
            "data.validation_fraction=0.0",
            f"preprocessing.spacing_mm=[{grid}, {grid}, 0.0]",
            f"steps={target.steps}",
            f"validate_each={max(1, -(-target.steps // options.checkpoints))}",
            f"ensemble.seeds={count}",
        ),
    )


def train(
    folder: Path,
    root: Path,
    target: Target,
    cases: Sequence[Case],
    networks: Sequence[Network],
    config: TrainConfig,
    on_event: Callable[[events.Event], None] = lambda event: None,
) -> None:
    """Train a target's networks in ``folder/run``; goes on where an earlier call was killed.

    Args:
      folder: the stage's.
      root: of the worked scans.
      target: the kind of network.
      cases: what there is to learn.
      networks: who learns what.
      config: from `settings_of`.
      on_event: told what happens.

    Raises:
      Interrupted: a signal came; what was learned is saved.
    """
    run, table = folder / RUN, folder / "cases.tsv"
    if (run / SUMMARY).is_file():  # killed between the end of the training and that of the stage
        _tidy(folder)
        return
    if not table.is_file():
        rows = [_files(folder, root, case, target) for case in cases]
        run.mkdir(parents=True, exist_ok=True)
        splits = [data.Split(network.train, ()) for network in networks]
        data.write_splits(run / runs.SPLIT, splits)
        write_text(run / runs.CONFIG, to_toml(config))
        write_json(folder / MEMBERS, [dataclasses.asdict(network) for network in networks])
        write_tsv(table, rows)
    # with a split of its own in its folder, a run takes that instead of drawing one
    done = run_training(table, None, out=run, resume=True, on_event=on_event)
    if not done.finished:
        raise Interrupted(f"{target.name}: stopped at step {done.step} of {config.steps}")
    _tidy(folder)


def _tidy(folder: Path) -> None:
    """Remove what can be made again."""
    for made in (folder / "cases", folder / RUN / "prepared"):
        shutil.rmtree(made, ignore_errors=True)


def read_networks(folder: Path) -> list[Network]:
    """The networks of a trained target, in the order of the run's members."""
    return [
        Network(**{**row, "train": tuple(row["train"]), "held_out": tuple(row["held_out"])})
        for row in read_json(folder / MEMBERS)
    ]


def _author(scan: Worked, rater: str, options: StudyOptions) -> str | None:
    """Whose drawing of this scan the networks of `rater` learn; None if they do not see it."""
    if scan.number == 1:
        return rater
    if options.rescans == "none" or (options.rescans == "rater1" and rater != options.raters[0]):
        return None
    return options.raters[0]


def _slices(target: Target, scan: Worked, author: str) -> tuple[int, ...]:
    """The slices on which `author` drew every region of the target."""
    drawn = scan.drawn.get(author, {})
    common: set[int] | None = None
    for region in target.regions:
        if region not in drawn:
            if region == "lesion" and scan.group == "HC":
                continue
            return ()
        common = set(drawn[region]) if common is None else common & set(drawn[region])
    return tuple(sorted(common or ()))


def _files(folder: Path, root: Path, case: Case, target: Target) -> dict[str, Any]:
    """Image and masks of a case as files of their own, with the slices that are learned."""
    place = folder / "cases" / case.id
    masks = read_masks(root, case.scan).get(case.drawn_by, {})
    volume = load(root / case.scan.folder / "image.nii.gz")
    keep = list(case.slices)
    image = volume.channels_last[:, :, keep]
    like = Volume(image, volume.affine)
    save(place / "image.nii.gz", image, like, dtype=integers_if_whole(image))
    row: dict[str, Any] = {
        "image": f"cases/{case.id}/image.nii.gz", "case": case.id, "subject": case.scan.subject,
    }  # fmt: skip
    for region in target.regions:
        mask = masks.get(region, np.zeros(volume.shape, bool))[:, :, keep]
        save(place / f"{region}.nii.gz", mask, like)
        row[region] = f"cases/{case.id}/{region}.nii.gz"
    return row
