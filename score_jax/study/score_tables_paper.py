"""Table 13: every published number beside ours, and beside what was planted."""

import math
from typing import Any

import pandas as pd

from score_jax.study.results import Table
from score_jax.study.score_tables_anchors import anchors
from score_jax.study.score_tables_frames import Study, select
from score_jax.study.score_tables_judging import OTHER
from score_jax.study.score_tables_models import model_rows
from score_jax.study.score_tables_options import table_choices
from score_jax.study.score_tables_text import NONE, number, summarise

Found = dict[tuple[str, ...], Any]


def paper_table(study: Study, found: Found) -> Table:
    """Table 13, from what the other tables found."""
    found = {**found, **_more(study)}
    lines = []
    for anchor in anchors(study.options):
        verdict = anchor.judge(found, study.options)
        planted = study.options.planted.get(anchor.key, math.nan)
        lines.append({
            "part": anchor.section, "what": anchor.text, "paper": anchor.paper,
            "bound": anchor.bound, "here": verdict.here,
            "inside": NONE if verdict.inside is None else "yes" if verdict.inside else "no",
            "planted": number(planted, anchor.digits),
        })  # fmt: skip
    counted = [line for line in lines if OTHER not in line["what"]]
    judged = [line["inside"] for line in counted if line["inside"] != NONE]
    notes = (
        f"{judged.count('yes')} of {len(judged)} inside their bounds; {len(counted) - len(judged)} "
        "cannot be told here. Where the paper contradicts itself the other reading is not counted.",
        "Where the paper gives a number without a bound, ours is inside if it is "
        "as good or better (scores), if the published one is in our 95 % CI (shares, differences "
        "of groups, EDSS), or within two standard errors of it (people). Two P: of slices / of "
        "subjects; the verdict takes that of slices, as the paper did.",
        "A significance is one draw: with these effects planted, 24 + 24 people give the paper's "
        "exact pattern (SC, WM, AH yes; GM, PH, GC no) in about a quarter of cohorts.",
        *(f"Choice {one.option} = {one.value}: {one.why}" for one in table_choices(study.options)),
    )
    return Table("Table 13", "Against the paper", pd.DataFrame(lines), notes)


def _more(study: Study) -> Found:
    """What only this table asks for."""
    found: Found = {}
    for name in ("GM", "WM"):
        rows = model_rows(study, name, groups=("HC",))
        found["area subjects", "HC", name] = summarise(rows.groupby("subject")["area"].mean())
    found["AH slices",] = _by_half(study)
    slices = study.slices
    for group in ("HC", "MS"):
        of = select(slices, group=group)
        if len(of):
            found["design", f"scans {group}"] = int(of["scan"].max())
    if len(slices):
        found["design", "slices a scan"] = int(slices["slice"].max())
    return found


def _by_half(study: Study) -> tuple[float, float]:
    """Difference of AH of patients to controls, percent, in slices 1 to 6 and 7 to 12."""
    rows = model_rows(study, "AH")
    halves = []
    for low, high in ((1, 6), (7, 12)):
        part = rows.loc[(rows["slice"] >= low) & (rows["slice"] <= high)]
        means = [
            float(select(part, group=group).groupby("subject")["area"].mean().mean())
            for group in ("HC", "MS")
        ]
        halves.append(100 * (means[1] / means[0] - 1) if means[0] > 0 else math.nan)
    return halves[0], halves[1]
