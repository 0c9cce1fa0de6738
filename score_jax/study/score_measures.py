"""The frames of a SCORE study: areas and agreement of every slice, and what happened to it.

`score_tables` says what is made of them. Slices count from the head, from 1.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import pandas as pd
from jaxtyping import Bool

from score_jax.arrays.components import bounding_box
from score_jax.fusion import majority
from score_jax.imaging import atomic
from score_jax.metrics import areas, by_slice, rsd
from score_jax.study.failures import failed, flags
from score_jax.study.score_alignment import align, moved
from score_jax.study.score_cases import Masks, Worked, read_masks
from score_jax.study.score_input import COVARIATES
from score_jax.study.score_masks import (
    COMPARTMENTS,
    PARTS,
    completed,
    divided,
    normal_appearing,
)
from score_jax.study.score_options import StudyOptions
from score_jax.study.score_segmenting import Votes, consensus, read_votes

FRAMES = ("subjects", "slices", "areas", "pairs")
_COLUMNS = {
    "subjects": (
        "subject", "group", "type", "sex", "age", "duration", "edss", "tiv", "canal",
    ),
    "slices": (
        "subject", "scan", "slice", "excluded", "excluded_reason", "flagged", "reasons",
        "truth_failure",
    ),
    "areas": (
        "subject", "group", "scan", "slice", "compartment", "tissue", "method", "rater", "area",
        "ok",
    ),
    "pairs": (
        "subject", "group", "slice", "comparison", "compartment", "tissue", "method", "rsd", "dsc",
        "hd", "hd95", "ok",
    ),
}  # fmt: skip
_SHARED = ("cord", "gm", "lesion")  # what several raters draw; the first one draws the rest

Row = dict[str, Any]
Compartments = dict[tuple[str, str], Bool[np.ndarray, "x y z"]]  # (compartment, tissue) -> mask


@final
@dataclass(frozen=True, eq=False, slots=True)
class Reading:
    """One segmentation of one scan.

    Args:
      method: ``manual``, ``score`` or ``truth``.
      rater: ``1``, ``2``, ``3`` or ``consensus``.
      masks: by compartment and tissue.
      slices: those that count, from the feet.
    """

    method: str
    rater: str
    masks: Compartments
    slices: frozenset[int]


@final
@dataclass(frozen=True, eq=False, slots=True)
class Read:
    """All that is known of one scan.

    Args:
      scan: the scan.
      readings: its segmentations.
      reasons: why each slice of SCORE's is flagged, from the feet; none without SCORE's.
      failed: whether it failed against the truth; None where that is unknown.
    """

    scan: Worked
    readings: tuple[Reading, ...]
    reasons: Sequence[str]
    failed: Bool[np.ndarray, " z"] | None

    def of(self, method: str, rater: str = "consensus") -> Reading | None:
        """The reading of a method and rater, if there is one."""
        return next((r for r in self.readings if (r.method, r.rater) == (method, rater)), None)

    def ok(self, z: int, method: str) -> bool:
        """Whether slice `z` counts in the main tables: no artefact and, of SCORE's, no flag."""
        flagged = method == "score" and bool(self.reasons) and bool(self.reasons[z])
        return z not in self.scan.excluded and not flagged


def measure(
    scans: Sequence[Worked], root: Path, folders: Sequence[Path],
    people: Mapping[str, Mapping[str, Any]], options: StudyOptions,
    on_scan: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, pd.DataFrame]:  # fmt: skip
    """The four frames.

    Args:
      scans: all of the study, on its grid.
      root: of their folders.
      folders: of the segmentations, one a target.
      people: covariates by subject.
      options: of the study.
      on_scan: told scans done and scans in all.
    """
    rows: dict[str, list[Row]] = {name: [] for name in FRAMES}
    done = 0
    for subject in sorted({scan.subject for scan in scans}):
        own = [scan for scan in scans if scan.subject == subject]
        read = {}
        for scan in own:
            read[scan.number] = read_scan(scan, root, folders, options)
            rows["slices"] += list(_slices(read[scan.number]))
            rows["areas"] += list(_areas(read[scan.number]))
            done += 1
            on_scan(done, len(scans))
        rows["pairs"] += list(_pairs(read, options))
        rows["subjects"].append(_subject(subject, people[subject], rows["areas"]))
    return {name: pd.DataFrame(rows[name], columns=list(_COLUMNS[name])) for name in FRAMES}


def write_frames(folder: Path, frames: Mapping[str, pd.DataFrame]) -> None:
    """The frames as TSV; a missing number is ``n/a``."""
    for name, frame in frames.items():
        with atomic(folder / f"{name}.tsv") as temporary:
            frame.to_csv(temporary, sep="\t", index=False, na_rep="n/a")


def read_frames(folder: Path) -> dict[str, pd.DataFrame]:
    """What `write_frames` wrote; the tissue ``NA`` stays text."""
    text = {
        name: str for columns in _COLUMNS.values() for name in columns if name in _TEXT
    }  # "1" of a rater is no number, and a column of empty cells is text
    found = {}
    for name in FRAMES:
        frame = pd.read_csv(
            folder / f"{name}.tsv", sep="\t", na_values=["n/a"], keep_default_na=False, dtype=text
        )
        known = [column for column in frame.columns if column in text]
        found[name] = frame.assign(**{column: frame[column].fillna("") for column in known})
    return found


_TEXT = {
    "subject", "group", "type", "sex", "excluded_reason", "reasons", "compartment", "tissue",
    "method", "rater", "comparison",
}  # fmt: skip


def read_scan(scan: Worked, root: Path, folders: Sequence[Path], options: StudyOptions) -> Read:
    """Every segmentation of a scan: raters', their consensus, SCORE's, the truth."""
    masks = read_masks(root, scan)
    votes, likely = read_votes(folders, scan)
    readings = list(_manual(scan, masks, options))
    automatic = consensus(votes, likely)
    every = frozenset(range(scan.slices))
    if automatic:
        readings.append(Reading("score", "consensus", _compartments(automatic, scan), every))
    truth = completed(masks.get(options.truth, {}))
    if truth:
        readings.append(Reading("truth", "consensus", _compartments(truth, scan), every))
    reasons = _reasons(automatic, votes, options)
    lost = None
    if {"cord", "gm"} <= set(automatic) and {"cord", "gm"} <= set(truth):
        bounds = options.failure_truth
        lost = failed(
            automatic["cord"], automatic["gm"], truth["cord"], truth["gm"],
            least_cord=bounds.dice_cord, least_gm=bounds.dice_gm,
        )  # fmt: skip
    return Read(scan, tuple(readings), reasons, lost)


def _reasons(automatic: dict[str, np.ndarray], votes: Votes, options: StudyOptions) -> list[str]:
    if not {"cord", "gm"} <= set(automatic):
        return []
    return flags(
        automatic["cord"], automatic["gm"], automatic.get("lesion"),
        votes_cord=votes.get("cord", []), votes_gm=votes.get("gm", []), rules=options.failures,
    )  # fmt: skip


def _manual(scan: Worked, masks: Masks, options: StudyOptions) -> Iterator[Reading]:
    """Each rater's masks, and their majority where several drew."""
    first = options.raters[0]
    drawn: dict[str, dict[str, np.ndarray]] = {}
    slices: dict[str, frozenset[int]] = {}
    for number, rater in enumerate(options.raters, 1):
        own = masks.get(rater, {})
        if "cord" not in own:
            continue
        wanted = {n: m for n, m in own.items() if n in _SHARED or rater == first}
        drawn[rater] = completed(wanted)
        slices[rater] = frozenset(scan.drawn.get(rater, {}).get("cord", ()))
        yield Reading("manual", str(number), _compartments(drawn[rater], scan), slices[rater])
    if len(drawn) > 1 or len(options.raters) == 1:  # one of several raters is no consensus
        voted = {}
        for region in _SHARED:
            given = [by[region] for by in drawn.values() if region in by]
            if given:
                voted[region] = np.asarray(majority(given)) if len(given) > 1 else given[0]
        voted = completed(voted)
        theirs = drawn.get(first, {})
        if "canal" in theirs:
            voted["canal"] = theirs["canal"]
        if set(PARTS) <= set(theirs) and "gm" in voted:
            voted |= divided(voted["gm"], theirs)
        common = frozenset.intersection(*slices.values())
        yield Reading("manual", "consensus", _compartments(voted, scan), common)


def _compartments(masks: Mapping[str, np.ndarray], scan: Worked) -> Compartments:
    """Total and, in patients, normal-appearing compartments; controls have no lesions."""
    patient = scan.group == "MS"
    found: Compartments = {
        (name, "total"): masks[region]
        for name, region in COMPARTMENTS.items()
        if region in masks and (patient or name != "lesion")
    }
    if patient:
        found |= {(name, "NA"): mask for name, mask in normal_appearing(masks).items()}
    return found


def _slices(read: Read) -> Iterator[Row]:
    scan = read.scan
    for z in reversed(range(scan.slices)):
        excluded = z in scan.excluded
        known = read.failed is not None and not excluded
        yield {
            "subject": scan.subject, "scan": scan.number, "slice": scan.label(z),
            "excluded": excluded, "excluded_reason": "artefact" if excluded else "",
            "flagged": bool(read.reasons) and bool(read.reasons[z]),
            "reasons": read.reasons[z] if read.reasons else "",
            "truth_failure": float(read.failed[z]) if known and read.failed is not None
            else math.nan,
        }  # fmt: skip


def _areas(read: Read) -> Iterator[Row]:
    scan = read.scan
    for reading in read.readings:
        for (name, tissue), mask in reading.masks.items():
            found = areas(mask, scan.spacing)
            for z in sorted(reading.slices, reverse=True):
                yield {
                    "subject": scan.subject, "group": scan.group, "scan": scan.number,
                    "slice": scan.label(z), "compartment": name, "tissue": tissue,
                    "method": reading.method, "rater": reading.rater, "area": float(found[z]),
                    "ok": read.ok(z, reading.method),
                }  # fmt: skip


def _pairs(read: Mapping[int, Read], options: StudyOptions) -> Iterator[Row]:
    """Comparisons within a subject: rescans, SCORE against the raters, raters with each other."""
    first = read.get(1)
    if first is not None:
        yield from _accuracy(first)
        yield from _interrater(first, options)
    one, other = (int(number) for number in options.inter.split("-"))
    for comparison, a, b in (("intra", 1, 2), ("inter", one, other)):
        if a in read and b in read:
            for method, rater in (("manual", "1"), ("score", "consensus")):
                pair = read[a].of(method, rater), read[b].of(method, rater)
                if pair[0] is not None and pair[1] is not None:
                    yield from _repeated(read[a], read[b], (pair[0], pair[1]), comparison, options)


def _accuracy(read: Read) -> Iterator[Row]:
    manual, score = read.of("manual"), read.of("score")
    if manual is None or score is None:
        return
    for key in [key for key in manual.masks if key in score.masks]:
        found = _scores(score.masks[key], manual.masks[key], read.scan.spacing)
        for z in sorted(manual.slices):
            if z in found:
                yield _pair(read, z, "accuracy", key, "score", found[z], read.ok(z, "score"))


def _interrater(read: Read, options: StudyOptions) -> Iterator[Row]:
    """The mean over all pairs of raters, slice by slice."""
    readings = [r for n in range(1, len(options.raters) + 1) if (r := read.of("manual", str(n)))]
    pairs = [(a, b) for k, a in enumerate(readings) for b in readings[k + 1 :]]
    keys = dict.fromkeys(key for a, b in pairs for key in a.masks if key in b.masks)
    for key in keys:
        if key[1] != "total":
            continue
        by_slice_: dict[int, list[Row]] = {}
        for a, b in pairs:
            if key not in a.masks or key not in b.masks:
                continue
            for z, row in _scores(a.masks[key], b.masks[key], read.scan.spacing).items():
                if z in a.slices & b.slices:
                    by_slice_.setdefault(z, []).append(row)
        for z, rows in sorted(by_slice_.items()):
            mean = {name: _mean([row[name] for row in rows]) for name in rows[0]}
            yield _pair(read, z, "interrater", key, "manual", mean, read.ok(z, "manual"))


def _repeated(
    fixed: Read, moving: Read, pair: tuple[Reading, Reading], comparison: str,
    options: StudyOptions,
) -> Iterator[Row]:  # fmt: skip
    """Two scans of one method, the second laid on the first; areas as they are."""
    first, second = pair
    spacing, shape = fixed.scan.spacing, fixed.scan.shape[:2]
    labels = {moving.scan.label(z): z for z in second.slices}
    for z in sorted(first.slices):
        there = labels.get(fixed.scan.label(z))
        if there is None:
            continue
        ok = fixed.ok(z, first.method) and moving.ok(there, first.method)
        motion = align(_outline(first, z), _outline(second, there), spacing[0], options.alignment)
        for key in [key for key in first.masks if key in second.masks]:
            own, other = first.masks[key][..., z], second.masks[key][..., there]
            laid = moved(other, motion, shape)
            found = _scores(laid[..., None], own[..., None], spacing)
            sizes = areas(np.stack([own], -1), spacing)[0], areas(other[..., None], spacing)[0]
            if 0 not in found:
                continue
            row = {**found[0], "RSD": float(rsd(sizes))}
            yield _pair(fixed, z, comparison, key, first.method, row, ok)


def _outline(reading: Reading, z: int) -> tuple[np.ndarray, np.ndarray]:
    cord = reading.masks["SC", "total"][..., z]
    return cord, reading.masks.get(("GM", "total"), reading.masks["SC", "total"])[..., z]


def _scores(
    found: Bool[np.ndarray, "x y z"], wanted: Bool[np.ndarray, "x y z"],
    spacing: tuple[float, float, float],
) -> dict[int, Row]:  # fmt: skip
    """RSD, DSC, HD, HD95 of the slices in which either is not empty, and a stand-in distance."""
    rows = {}
    for row in by_slice(found, wanted, spacing)[1]:
        z = int(row["slice"])
        rows[z] = {name: row[name] for name in ("RSD", "DSC", "HD", "HD95")}
        rows[z]["diagonal"] = _diagonal(found[..., z] | wanted[..., z], spacing)
    return rows


def _pair(
    read: Read, z: int, comparison: str, key: tuple[str, str], method: str, row: Row, ok: bool
) -> Row:
    """A row; where failures are included, a missing distance is the diagonal of what is there."""
    hd, hd95 = row["HD"], row["HD95"]
    if not ok and math.isnan(hd):
        hd = hd95 = row["diagonal"]
    return {
        "subject": read.scan.subject, "group": read.scan.group, "slice": read.scan.label(z),
        "comparison": comparison, "compartment": key[0], "tissue": key[1], "method": method,
        "rsd": row["RSD"], "dsc": row["DSC"], "hd": hd, "hd95": hd95, "ok": ok,
    }  # fmt: skip


def _diagonal(mask: Bool[np.ndarray, "x y"], spacing: tuple[float, float, float]) -> float:
    box = bounding_box(mask)
    if box is None:
        return math.nan
    sides = [(s.stop - s.start - 1) * mm for s, mm in zip(box, spacing[:2], strict=True)]
    return math.hypot(*sides)


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def _subject(subject: str, person: Mapping[str, Any], rows: Sequence[Row]) -> Row:
    canal = [
        row["area"]
        for row in rows
        if row["subject"] == subject and row["compartment"] == "canal" and row["scan"] == 1
        and row["ok"] and (row["method"], row["rater"]) == ("manual", "1")
    ]  # fmt: skip
    known = {name: person[name] for name in COVARIATES}
    return {"subject": subject, "group": person["group"], **known, "canal": _mean(canal)}
