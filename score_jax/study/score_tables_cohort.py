"""Tables 1 and 2: who was scanned, and which slices were analysed."""

import math
from typing import Any

import numpy as np
import pandas as pd

from score_jax.statistics.means import welch_t
from score_jax.statistics.ranks import mann_whitney
from score_jax.statistics.significance import format_p
from score_jax.study.failures import REASONS
from score_jax.study.results import Table
from score_jax.study.score_tables_frames import Frame, Study, select
from score_jax.study.score_tables_text import NONE, Summary, count, mean_sd, number, summarise

Found = dict[tuple[str, ...], Any]


def subjects_table(study: Study) -> tuple[Table, Found]:
    """Table 1; found: ``(group, what)`` to a count, `Summary` or number."""
    found: Found = {}
    rows = []
    for group in ("HC", "MS"):
        people = select(study.subjects, group=group)
        rows.append(_subject_row(group, people, found))
    ms = select(study.subjects, group="MS")
    relapsing, progressive = select(ms, progressive=0.0), select(ms, progressive=1.0)
    for name, people in (("RR", relapsing), ("progressive", progressive)):
        values = people["edss"].dropna()
        found["MS", f"EDSS median {name}"] = float(values.median()) if len(values) else math.nan
    test = mann_whitney(progressive["edss"], relapsing["edss"])
    found["MS", "EDSS P"] = test.p
    ages = welch_t(select(study.subjects, group="HC")["age"], ms["age"])
    notes = [
        f"Age, HC against MS: P {format_p(ages.p)} (Welch).",
        f"EDSS, progressive against RR: medians {number(found['MS', 'EDSS median progressive'], 1)}"
        f" and {number(found['MS', 'EDSS median RR'], 1)}, P {format_p(test.p)} (Mann-Whitney).",
        *(f"Problem: {line}." for line in study.problems),
    ]
    if not study.problems:
        notes.append("No problem was found in the frames.")
    return Table("Table 1", "Subjects", pd.DataFrame(rows), tuple(notes)), found


def _subject_row(group: str, people: Frame, found: Found) -> dict[str, str]:
    n = len(people)
    found[group, "n"] = n
    found[group, "women"] = int((people["sex"] == "F").sum())
    values = {name: summarise(people[name]) for name in ("age", "duration", "tiv", "canal")}
    for name, value in values.items():
        found[group, name] = value
    edss = summarise(people["edss"])
    median = float(people["edss"].median()) if edss.n else math.nan
    found[group, "EDSS median"], found[group, "EDSS SD"] = median, edss.sd
    for kind in ("RR", "SP", "PP"):
        found[group, kind] = int((people["type"] == kind).sum())
    kinds = ", ".join(f"{found[group, kind]} {kind}" for kind in ("RR", "SP", "PP"))
    return {
        "group": group,
        "n": str(n),
        "women": count(found[group, "women"], n),
        "age, y": mean_sd(values["age"], 1),
        "duration, y": mean_sd(values["duration"], 1),
        "EDSS median [SD]": f"{number(median)} [{number(edss.sd)}]" if edss.n else NONE,
        "types": kinds if group == "MS" and n else NONE,
        "TIV, L": mean_sd(values["tiv"]),
        "canal, mm2": mean_sd(values["canal"], 1),
    }


def slices_table(study: Study) -> tuple[Table, Found]:
    """Table 2; found: ``(group, what)`` to counts, ``("detector", what)`` to rates."""
    found: Found = {}
    columns = {group: _slice_column(study, group, found) for group in ("HC", "MS")}
    frame = pd.DataFrame({"": list(columns["HC"]), **{g: list(c.values()) for g, c in
                                                      columns.items()}})  # fmt: skip
    notes = [
        "Success: analysed and not flagged by the automatic detection, which takes the place of "
        "the paper's look at every slice. A slice may have several causes.",
        _detector(study, found),
    ]
    artefacts = select(study.slices, excluded=True)
    if len(artefacts):
        told = artefacts["excluded_reason"].replace("", "no reason given").value_counts()
        notes.append("Excluded: " + "; ".join(f"{reason} {n}" for reason, n in told.items()) + ".")
    return Table("Table 2", "Slices", frame, tuple(notes)), found


def _slice_column(study: Study, group: str, found: Found) -> dict[str, str]:
    rows = select(study.slices, group=group)
    analysed = rows.loc[~rows["excluded"]]
    flagged = analysed.loc[analysed["flagged"]]
    good = analysed.loc[~analysed["flagged"]]
    people = len(select(study.subjects, group=group))
    lesions = select(study.areas, group=group, compartment="lesion", tissue="total")
    method = "manual" if (lesions["method"] == "manual").any() else "truth"
    with_lesion = lesions.loc[(lesions["method"] == method) & (lesions["area"] > 0)]
    of_slice = {(s, k) for s, k in zip(with_lesion["subject"], with_lesion["slice"], strict=True)}
    kept = [(s, k) in of_slice for s, k in zip(good["subject"], good["slice"], strict=True)]
    carriers = set(with_lesion["subject"])
    counts = {
        "acquired": len(rows), "excluded": len(rows) - len(analysed), "analysed": len(analysed),
        "success": len(good), "failures": len(flagged),
        "subjects with failure": int(flagged["subject"].nunique()),
        "slices with lesion": int(np.sum(kept)), "subjects without lesion": people - len(carriers),
    }  # fmt: skip
    for name, value in counts.items():
        found[group, name] = value
    n = counts["analysed"]
    column = {
        "acquired": str(len(rows)),
        "excluded for artefact": count(counts["excluded"], len(rows)),
        "analysed": str(n),
        "success": count(counts["success"], n),
        "failures": count(counts["failures"], n),
    }
    for letter, cause in REASONS.items():
        hit = sum(letter in text.split(";") for text in flagged["reasons"])
        column[f"  {letter}: {cause}"] = str(hit)
    column["subjects with a failure"] = count(counts["subjects with failure"], people)
    ms = group == "MS" and len(lesions) > 0
    column["successful slices with lesion"] = (
        count(counts["slices with lesion"], counts["success"]) if ms else NONE
    )
    column["subjects without lesion"] = (
        count(counts["subjects without lesion"], people) if ms else NONE
    )
    return column


def _detector(study: Study, found: Found) -> str:
    rows = study.slices.loc[~study.slices["excluded"]]
    rows = rows.loc[~rows["truth_failure"].isna()]
    if not len(rows):
        return "Detector: the truth is not known here, so neither sensitivity nor specificity are."
    truth, flag = rows["truth_failure"].to_numpy() > 0, rows["flagged"].to_numpy()
    hits, failures = int((truth & flag).sum()), int(truth.sum())
    quiet, sound = int((~truth & ~flag).sum()), int((~truth).sum())
    found["detector", "sensitivity"] = hits / failures if failures else math.nan
    found["detector", "specificity"] = quiet / sound if sound else math.nan
    return (
        f"Detector against the truth: sensitivity {number(found['detector', 'sensitivity'])} "
        f"({hits} of {failures} failures), specificity "
        f"{number(found['detector', 'specificity'], 3)} ({quiet} of {sound})."
    )


def standard_error(found: Summary) -> float:
    """Of the mean."""
    return found.sd / math.sqrt(found.n) if found.n > 1 else math.nan
