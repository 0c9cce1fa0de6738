"""Sessions of one subject paired: what changed in areas and lesions, beside the error of measuring.

The masks are those that a run left. Two scans of one person are brought on each other
(`alignment`), compared where both of them look, and joined lesion by lesion.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, final

import numpy as np

from score_jax.cohort import state
from score_jax.cohort.alignment import LEAST_LIKENESS, Alignment, Side, align
from score_jax.cohort.scans import Scan
from score_jax.cohort.state import Record
from score_jax.cohort.tables import Row, write_table
from score_jax.errors import DatasetError, ScoreError
from score_jax.imaging import load, load_mask
from score_jax.imaging.bids import parse
from score_jax.morphometry.longitudinal import (
    STATES,
    LesionChange,
    RepeatError,
    lesion_changes,
    repeat_error,
)
from score_jax.morphometry.numbering import number_lesions
from score_jax.qc.report_flags import LESION, cord_of

Against = Literal["first", "previous"]
AREA, VOLUME = "area [mm2]", "lesion volume [mm3]"
_COLUMNS = {
    "session_before": "session of the first scan",
    "session_after": "session of the second scan",
    "scan_before": "name of the first image",
    "scan_after": "name of the second image",
    "kind": "change: two sessions; repeat: nothing changed between them, they give the error",
    "measure": "what is compared; areas over the axial slices that both scans show",
    "before": "in the first scan",
    "after": "in the second scan",
    "change": "after minus before",
    "change [%]": "as a share of before",
    "error_sd": "within-subject standard deviation of the measure, from the repeats",
    "error_df": "its degrees of freedom",
    "detectable": "1.96 sqrt(2) error_sd: 95 % of unchanged pairs differ by less",
    "beyond_error": "whether the change is larger than that; n/a without repeats",
    "state": "what became of the lesion: new, enlarging, stable, shrinking, resolved, not covered",
    "lesions_before": "its number, or numbers, in the first scan; joined by +",
    "lesions_after": "in the second scan",
    "volume_before [mm3]": "in the first scan, not cut at the cord; 0 for a new lesion",
    "volume_after [mm3]": "in the second scan; 0 for a resolved lesion",
    "shift [mm]": "how much further up the second scan shows the same place",
    "likeness": "correlation along the cord of the images around it, at this shift",
    "cord_dice": "of the cords, one brought on the other, where both look",
    "slices": "axial slices of the first scan with cord that both scans show",
    "error": "why the pair could not be compared",
} | {name: f"number of lesions that are {name}" for name in STATES}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class LongitudinalOptions:
    """How two scans are compared.

    Args:
      against: each session with the subject's first one, or with the one before it.
      repeats: sessions that only repeat the first one: nothing changed between them.
      by_image: look for the shift along the cord; else believe the scanner's heights.
      reach_mm: lesions this near belong together.
      share: of a lesion's volume that a change must exceed.
    """

    against: Against = "first"
    repeats: tuple[str, ...] = ()
    by_image: bool = True
    reach_mm: float = 1.0
    share: float = 0.25


@final
@dataclass(frozen=True, slots=True)
class Pair:
    """Two scans of one subject with the same name but for session and run.

    Args:
      before: the first scan.
      after: the second.
      repeat: whether nothing changed between them.
    """

    before: Scan
    after: Scan
    repeat: bool


@final
@dataclass(slots=True)
class Compared:
    """What a pair gave.

    Args:
      pair: the scans.
      measures: name -> before and after.
      lesions: joined; None if nobody looked for lesions.
      about: how well the scans lie on each other.
      error: why there is nothing else.
    """

    pair: Pair
    measures: dict[tuple[str, str], tuple[float, float]] = field(default_factory=dict)
    lesions: list[LesionChange] | None = None
    about: Row = field(default_factory=dict)
    error: str = ""


def find_pairs(scans: Sequence[Scan], options: LongitudinalOptions) -> list[Pair]:
    """The pairs of a dataset: changes between sessions, and repeats within one.

    Scans belong together if their names are equal but for ``ses`` and ``run``. A session counts by
    its first run; its further runs, and the sessions `options.repeats` names, are repeats.

    Raises:
      DatasetError: no pair at all.
    """
    groups: dict[tuple[Any, ...], list[Scan]] = {}
    for scan in scans:
        name = parse(scan.images[0])
        rest = tuple(sorted((k, v) for k, v in name.entities.items() if k not in ("ses", "run")))
        groups.setdefault((rest, name.suffix), []).append(scan)
    again = {"ses-" + name.removeprefix("ses-") for name in options.repeats}
    pairs: list[Pair] = []
    for group in groups.values():
        sessions = {
            session: sorted(runs, key=lambda scan: scan.id)
            for session, runs in itertools.groupby(
                sorted(group, key=lambda scan: (scan.session, scan.id)), key=lambda s: s.session
            )
        }
        for first, *runs in sessions.values():
            pairs += [Pair(first, run, repeat=True) for run in runs]
        firsts = [runs[0] for runs in sessions.values()]
        pairs += [Pair(firsts[0], s, repeat=True) for s in firsts[1:] if s.session in again]
        kept = [s for s in firsts if s is firsts[0] or s.session not in again]
        befores = kept[:1] * (len(kept) - 1) if options.against == "first" else kept[:-1]
        pairs += [Pair(b, a, repeat=False) for b, a in zip(befores, kept[1:], strict=True)]
    if not pairs:
        raise DatasetError(
            f"got {len(scans)} scans and no two of one subject with the same name but for session "
            "and run; expected sessions to compare"
        )
    return sorted(pairs, key=lambda p: (p.repeat, p.before.id, p.after.id))


def compare_pairs(
    pairs: Sequence[Pair],
    out: Path,
    options: LongitudinalOptions,
    *,
    on_pair: Callable[[int, int], None] = lambda done, total: None,
) -> list[Compared]:
    """Compare every pair from the masks in `out`; one that cannot be says why.

    Args:
      pairs: from `find_pairs`.
      out: the output folder of a run.
      options: how.
      on_pair: told pairs done and pairs in all.
    """
    compared = []
    for number, pair in enumerate(pairs, 1):
        try:
            compared.append(_compare(pair, out, options))
        except ScoreError as error:
            compared.append(Compared(pair, error=str(error)))
        on_pair(number, len(pairs))
    return compared


def _compare(pair: Pair, out: Path, options: LongitudinalOptions) -> Compared:
    records = [_record(out, scan) for scan in (pair.before, pair.after)]
    cord = cord_of(list(records[0]["Masks"]))
    if cord is None:
        raise DatasetError(f"{pair.before.id}: its model has no cord; expected one to align by")
    sides = [
        Side.of(load(scan.images[0]), load_mask(out / record["Masks"][cord]))
        for scan, record in zip((pair.before, pair.after), records, strict=True)
    ]
    found = align(sides[0], sides[1], by_image=options.by_image)
    shared = found.covered & sides[0].cord
    brought = found.bring(sides[1].cord.astype(np.uint8)) > 0
    result = Compared(pair, about=_about(found, shared, brought))
    slices = np.flatnonzero(shared.any(axis=(0, 1)))
    result.measures |= _areas(records, sides, found, slices)
    if all(LESION in record["Masks"] for record in records):
        maps = [_numbered(out / record["Masks"][LESION]) for record in records]
        volumes = [
            np.bincount(labels.ravel())[1:] * float(np.prod(side.spacing))
            for labels, side in zip(maps, sides, strict=True)
        ]
        result.lesions = lesion_changes(
            maps[0],
            found.bring(maps[1]),
            *volumes,
            spacing=sides[0].spacing,
            covered=found.covered,
            reach_mm=options.reach_mm,
            share=options.share,
        )
        seen = [c for c in result.lesions if c.state != "not covered"]
        total = (sum(c.before_mm3 for c in seen), sum(c.after_mm3 for c in seen))
        result.measures[VOLUME, LESION] = total
    return result


def _record(out: Path, scan: Scan) -> Record:
    record = state.read_record(out, scan)
    if record is None or record["Status"] != state.DONE:
        raise DatasetError(
            f"{scan.id}: was not done", hint="run the participant level, and see why it failed"
        )
    return record


def _about(found: Alignment, shared: np.ndarray, brought: np.ndarray) -> Row:
    both = 2 * float((shared & brought).sum())
    total = float(shared.sum() + brought.sum())
    return {
        "shift [mm]": found.shift_mm,
        "likeness": found.likeness,
        "cord_dice": both / total if total else math.nan,
        "slices": int(shared.any(axis=(0, 1)).sum()),
    }


def _areas(
    records: Sequence[Record], sides: Sequence[Side], found: Alignment, slices: np.ndarray
) -> dict[tuple[str, str], tuple[float, float]]:
    """Mean area of every region but the lesions over the slices that both scans show."""
    measures = {}
    place = (sides[0].heights + found.shift_mm - sides[1].heights[0]) / sides[1].rise
    for region in records[0].get("AreasMM2", {}):
        if region == LESION or region not in records[1].get("AreasMM2", {}):
            continue
        one, two = (
            np.array([math.nan if v is None else v for v in record["AreasMM2"][region]])
            for record in records
        )
        pairs = np.stack([one[slices], np.interp(place[slices], np.arange(two.size), two)])
        pairs = pairs[:, ~np.isnan(pairs).any(axis=0)]
        if pairs.shape[1]:
            before, after = pairs.mean(axis=1)
            measures[AREA, region] = (float(before), float(after))
    return measures


def _numbered(path: Path) -> np.ndarray:
    """Lesions numbered as in the tables, axes from right to left, back to front and up."""
    return number_lesions(np.ascontiguousarray(load_mask(path).reoriented("LAS").data > 0.5))


def errors_of(compared: Iterable[Compared]) -> dict[tuple[str, str], RepeatError]:
    """The error of each measure, from the pairs between which nothing changed.

    Each pair counts as one subject measured twice.
    """
    repeats: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for one in compared:
        for measure, values in one.measures.items():
            repeats.setdefault(measure, [])
            repeats[measure] += [values] if one.pair.repeat else []
    return {measure: repeat_error(values) for measure, values in repeats.items()}


def error_of_a_lesion(compared: Iterable[Compared]) -> RepeatError:
    """The error of one lesion's volume, mm3, from those found in both scans of a repeat."""
    joined = [c for one in compared if one.pair.repeat for c in one.lesions or []]
    return repeat_error([(c.before_mm3, c.after_mm3) for c in joined if c.before and c.after])


def write_longitudinal(compared: Sequence[Compared], out: Path) -> dict[str, Path]:
    """Write ``longitudinal_pairs.tsv``, ``longitudinal_changes.tsv``, ``longitudinal_lesions.tsv``.

    Repeats stand in the tables, too; ``kind`` tells them.

    Raises:
      OutputError: disk full, no permission.
    """
    errors, each = errors_of(compared), error_of_a_lesion(compared)
    tables = {
        "pairs": [_pair_row(one) for one in compared],
        "changes": [row for one in compared for row in _change_rows(one, errors)],
        "lesions": [row for one in compared for row in _lesion_rows(one, each)],
    }
    written = {}
    for name, rows in tables.items():
        path = out / f"longitudinal_{name}.tsv"
        if rows:
            written[name] = write_table(path, rows, _COLUMNS)
            continue
        for old in (path, path.with_suffix(".json")):
            old.unlink(missing_ok=True)
    return written


def _who(pair: Pair) -> Row:
    return {
        "participant_id": pair.before.subject,
        "session_before": pair.before.session or None,
        "session_after": pair.after.session or None,
        "scan_before": pair.before.id,
        "scan_after": pair.after.id,
        "kind": "repeat" if pair.repeat else "change",
    }


def _pair_row(one: Compared) -> Row:
    row = {**_who(one.pair), **one.about}
    if one.lesions is not None:
        row |= {name: sum(c.state == name for c in one.lesions) for name in STATES}
    return {**row, "error": one.error or None}


def _change_rows(one: Compared, errors: dict[tuple[str, str], RepeatError]) -> Iterable[Row]:
    for (measure, region), (before, after) in one.measures.items():
        error = errors[measure, region]
        yield {
            **_who(one.pair),
            "measure": measure,
            "region": region,
            "before": before,
            "after": after,
            "change": after - before,
            "change [%]": 100 * (after - before) / before if before else None,
            "error_sd": error.sd,
            "error_df": error.df,
            "detectable": error.detectable,
            "beyond_error": abs(after - before) > error.detectable if error.df else None,
        }


def _lesion_rows(one: Compared, error: RepeatError) -> Iterable[Row]:
    for change in one.lesions or []:
        before, after = change.before_mm3, change.after_mm3
        yield {
            **_who(one.pair),
            "state": change.state,
            "lesions_before": "+".join(map(str, change.before)) or None,
            "lesions_after": "+".join(map(str, change.after)) or None,
            "volume_before [mm3]": before,
            "volume_after [mm3]": after,
            "change": after - before,
            "change [%]": 100 * (after - before) / before if before else None,
            "error_sd": error.sd,
            "error_df": error.df,
            "detectable": error.detectable,
            "beyond_error": abs(after - before) > error.detectable if error.df else None,
        }


def doubts_of(one: Compared) -> str:
    """Why a comparison should be looked at before it is believed; empty if there is no reason."""
    if one.error:
        return one.error
    likeness, dice = one.about["likeness"], one.about["cord_dice"]
    if likeness < LEAST_LIKENESS:
        return f"the images are not alike ({likeness:.2f}); the scanner's heights were believed"
    if not dice >= 0.5:
        return f"the cords do not lie on each other (Dice {dice:.2f})"
    return ""
