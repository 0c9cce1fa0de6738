"""The four frames of the SCORE study, judged: what is wrong is named and left out."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import numpy as np
import pandas as pd

from score_jax.study.score_tables_options import TableOptions

if TYPE_CHECKING:
    # pandas has no stubs of its own, and what a checker infers from its source is mostly wrong
    Frame = Any
else:
    Frame = pd.DataFrame

PARTS = ("SC", "WM", "GM", "AH", "PH", "GC")
COMPARTMENTS = (*PARTS, "canal", "lesion")
METRICS = ("rsd", "dsc", "hd")
_COLUMNS = {
    "subjects": ("subject", "group", "type", "sex", "age", "duration", "edss", "tiv", "canal"),
    "slices": ("subject", "scan", "slice", "excluded", "excluded_reason", "flagged", "reasons",
               "truth_failure"),
    "areas": ("subject", "group", "scan", "slice", "compartment", "tissue", "method", "rater",
              "area", "ok"),
    "pairs": ("subject", "group", "slice", "comparison", "compartment", "tissue", "method", "rsd",
              "dsc", "hd", "ok"),
}  # fmt: skip
_NUMBERS = ("scan", "slice", "age", "duration", "edss", "tiv", "canal", "area", *METRICS)
_FLAGS = ("excluded", "flagged", "ok")


@final
@dataclass(frozen=True, eq=False, slots=True)
class Study:
    """The frames after judgement.

    Args:
      subjects: a row a subject, with `progressive` (SP or PP) beside the columns agreed.
      slices: a row a scanned slice.
      areas: one row a subject, scan, slice, compartment, tissue and method (`rater` is gone:
        the consensus, else the one rater who drew); `excluded` slices are not in it.
      pairs: one row a subject, slice, comparison, compartment, tissue and method; pairs of raters
        are averaged; pairs with an `excluded` slice are not in it.
      options: of the tables.
      seed: of the bootstrap.
      problems: what was wrong, a line each.
    """

    subjects: Frame
    slices: Frame
    areas: Frame
    pairs: Frame
    options: TableOptions
    seed: int
    problems: tuple[str, ...]


def read_study(
    subjects: Frame, slices: Frame, areas: Frame, pairs: Frame,
    *, options: TableOptions, seed: int,
) -> Study:  # fmt: skip
    """Judge the frames; nothing in them raises."""
    problems: list[str] = []
    frames = {
        name: _typed(name, frame, problems)
        for name, frame in zip(_COLUMNS, (subjects, slices, areas, pairs), strict=True)
    }
    people = _people(frames["subjects"], (frames["areas"], frames["pairs"]), problems)
    known = set(people["subject"])
    for name in ("slices", "areas", "pairs"):
        frames[name] = _of_known(name, frames[name], known, problems)
    group = dict(zip(people["subject"], people["group"], strict=True))
    for name in ("slices", "areas", "pairs"):
        frames[name] = frames[name].assign(group=frames[name]["subject"].map(group).astype(object))
    excluded = {
        key for key, out in zip(_keys(frames["slices"]), frames["slices"]["excluded"], strict=True)
        if out
    }  # fmt: skip
    found = Study(
        people, frames["slices"], _areas(frames["areas"], excluded, problems),
        _pairs(frames["pairs"], excluded, options), options, seed, (),
    )  # fmt: skip
    problems += _without_mask(found) + _not_drawn(found)
    return Study(found.subjects, found.slices, found.areas, found.pairs, options, seed,
                 tuple(problems))  # fmt: skip


def named(names: Iterable[Any], limit: int = 6) -> str:
    """Names in one line, the first few of many."""
    listed = [str(name) for name in names]
    more = f" and {len(listed) - limit} more" if len(listed) > limit else ""
    return ", ".join(listed[:limit]) + more


def select(frame: Frame, **wanted: Any) -> Frame:
    """Rows whose columns hold these values (a tuple: any of them)."""
    kept = np.ones(len(frame), bool)
    for column, value in wanted.items():
        values = frame[column].to_numpy()
        if isinstance(value, tuple):
            kept &= np.isin(values.astype(str), [str(one) for one in value])
        else:
            kept &= np.asarray(values == value, bool)
    return frame.loc[kept]


def _typed(name: str, frame: Frame, problems: list[str]) -> Frame:
    """Every column there, numbers as floats, flags as booleans, text without NaN."""
    found = {}
    absent = [column for column in _COLUMNS[name] if column not in frame.columns]
    # a group column is filled from the subjects
    told = [column for column in absent if not (column == "group" and name != "subjects")]
    if told and len(frame):
        problems.append(f"{name}: no column {named(told)}; taken as unknown")
    for column in _COLUMNS[name]:
        given: Any = frame[column] if column in frame.columns else pd.Series([None] * len(frame))
        if column in _NUMBERS:
            numbers: Any = pd.to_numeric(given, errors="coerce")
            values = numbers.to_numpy(np.float64)
            found[column] = np.where(np.isfinite(values), values, np.nan)
        elif column in _FLAGS:
            absent_means = column == "ok"  # unknown: analysed, neither excluded nor flagged
            values = [absent_means if pd.isna(one) else bool(one) for one in given]
            found[column] = np.array(values, bool)
        elif column == "truth_failure":
            values = [np.nan if pd.isna(one) else float(one) for one in given]
            found[column] = np.array(values, np.float64)
        else:
            found[column] = np.array(["" if pd.isna(one) else str(one) for one in given], object)
    return pd.DataFrame(found)


def _people(subjects: Frame, others: Sequence[Frame], problems: list[str]) -> Frame:
    groups: dict[str, set[str]] = {}
    for frame in (subjects, *others):
        pairs = frame[["subject", "group"]].drop_duplicates()
        for who, group in zip(pairs["subject"], pairs["group"], strict=True):
            groups.setdefault(who, set()).update({group} - {""})
    torn = sorted(who for who, found in groups.items() if len(found) > 1)
    if torn:
        problems.append(f"{len(torn)} subjects with two groups, left out: {named(torn)}")
    other = sorted(who for who, found in groups.items() if not found <= {"HC", "MS"})
    other = [who for who in other if who not in torn]
    if other:
        problems.append(f"{len(other)} subjects of neither HC nor MS, left out: {named(other)}")
    kept = subjects.loc[~subjects["subject"].isin([*torn, *other])]
    twice = sorted(set(kept["subject"][kept["subject"].duplicated()]))
    if twice:
        problems.append(f"{len(twice)} subjects listed twice, the first counts: {named(twice)}")
    kept = kept.drop_duplicates("subject").reset_index(drop=True)
    without = sorted(kept["subject"][kept["group"] == ""])
    if without:
        problems.append(f"{len(without)} subjects without a group, left out: {named(without)}")
        kept = kept.loc[kept["group"] != ""].reset_index(drop=True)
    letters = kept["sex"].str.upper().str[:1].replace({"W": "F"})
    kept = kept.assign(
        sex=np.where(letters.isin(["F", "M"]), letters, ""),
        progressive=np.where(kept["type"].isin(["SP", "PP"]), 1.0,
                             np.where(kept["type"] == "RR", 0.0, np.nan)),
    )  # fmt: skip
    return _covariates(kept, problems)


def _covariates(people: Frame, problems: list[str]) -> Frame:
    for column in ("sex", "age", "tiv", "canal", "duration", "edss", "type"):
        of = people if column in ("sex", "age", "tiv", "canal") else select(people, group="MS")
        lacking = of["subject"][(of[column] == "") | of[column].isna()]
        if len(lacking):
            problems.append(
                f"{column} is missing for {len(lacking)} of {len(of)} subjects: {named(lacking)}; "
                "models with it use the others"
            )
    return people


def _of_known(name: str, frame: Frame, known: set[str], problems: list[str]) -> Frame:
    strange = sorted(set(frame["subject"]) - known)
    if strange:
        problems.append(
            f"{name}: rows of {len(strange)} subjects that are not analysed, left out: "
            f"{named(strange)}"
        )
    return frame.loc[frame["subject"].isin(known)].reset_index(drop=True)


def _keys(frame: Frame) -> list[tuple[str, float, float]]:
    return list(zip(frame["subject"], frame["scan"], frame["slice"], strict=True))


def _areas(areas: Frame, excluded: set[tuple[str, float, float]], problems: list[str]) -> Frame:
    wrong = areas["area"] < 0
    if wrong.any():
        problems.append(f"areas: {int(wrong.sum())} negative, left out")
    kept = areas.loc[~wrong & ~areas["area"].isna()]
    kept = kept.loc[[key not in excluded for key in _keys(kept)]]
    # what one rater alone drew (canal, horns, commissure) has no consensus; several raters without
    # one are no measurement of the group's
    place = ["subject", "scan", "slice", "compartment", "tissue", "method"]
    order = kept["rater"].map({"consensus": 0, "": 1, "1": 2, "2": 3, "3": 4}).fillna(5)
    kept = kept.assign(_order=order).sort_values("_order", kind="stable")
    return kept.drop_duplicates(place).drop(columns=["_order", "rater"]).reset_index(drop=True)


def _pairs(pairs: Frame, excluded: set[tuple[str, float, float]], options: TableOptions) -> Frame:
    scans = {"intra": (1, 2), "inter": options.inter_scans}
    kept = [
        not any((who, float(scan), which) in excluded for scan in scans.get(what, (1,)))
        for who, which, what in zip(
            pairs["subject"], pairs["slice"], pairs["comparison"], strict=True
        )
    ]
    frame = pairs.loc[kept]
    place = ["subject", "group", "slice", "comparison", "compartment", "tissue", "method"]
    if not frame.duplicated(place).any():
        return frame.reset_index(drop=True)
    calls = {**dict.fromkeys(METRICS, "mean"), "ok": "all"}
    return frame.groupby(place, sort=False).agg(calls).reset_index()


def _without_mask(study: Study) -> list[str]:
    """Analysed slices for which a method has no area at all."""
    analysed = set(_keys(study.slices.loc[~study.slices["excluded"]]))
    found = []
    for method in ("manual", "score"):
        rows = select(study.areas, method=method, tissue="total")
        if not len(rows):
            found.append(f"areas: no {method} ones")
            continue
        lacking = sorted(analysed - set(_keys(rows)))
        if lacking:
            who = [f"{name} scan {scan:g} slice {which:g}" for name, scan, which in lacking]
            found.append(f"{len(lacking)} slices without a {method} mask: {named(who)}")
    return found


def _not_drawn(study: Study) -> list[str]:
    found = []
    for method in ("manual", "score"):
        drawn = set(select(study.areas, method=method)["compartment"])
        lacking = [name for name in COMPARTMENTS if name not in drawn]
        if drawn and lacking:
            found.append(f"compartments without any {method} mask: {named(lacking)}")
    return found
