"""Tables 3, 4, 5 and 12: raters, reproducibility, accuracy, and the same with the failures."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from score_jax.metrics.agreement import icc
from score_jax.statistics.multivariate import tukey
from score_jax.statistics.ranks import spearman, trend
from score_jax.statistics.significance import benjamini_hochberg, format_p
from score_jax.study.results import Table
from score_jax.study.score_tables_frames import COMPARTMENTS, METRICS, PARTS, Frame, Study, select
from score_jax.study.score_tables_scores import (
    NOTHING,
    Difference,
    digits,
    effects_note,
    joint_effects,
    paired,
    ranking,
    scale_of,
    summaries,
    unpaired,
)
from score_jax.study.score_tables_text import METRIC_NAMES, NONE, Summary, mean_sd, number, p_text

Found = dict[tuple[str, ...], Any]
_EMPTY = Summary(float("nan"), float("nan"), 0)
DEPENDENT = (
    "P of slices treats neighbouring slices as independent, as the paper did; they share half of "
    "their tissue, and such a test finds too much (size .28 in place of .05 where differences "
    "correlate by .2 within subjects). P of subjects is of one mean a subject."
)
STARRED = "* P < .05, ** P < .01, *** P < .001, corrected (Benjamini-Hochberg) over the table."


def raters_table(study: Study) -> tuple[Table, Found]:
    """Table 3: agreement of the raters, pairs of raters averaged."""
    rows = select(study.pairs, comparison="interrater")
    found: Found = {}
    for group in ("HC", "MS"):
        for key, value in summaries(select(rows, group=group), ("compartment", "tissue")).items():
            found["interrater", group, *key] = value
    lines = []
    for compartment, tissue in _present(rows):
        line = {"compartment": _name(compartment, tissue)}
        for group in ("HC", "MS"):
            for metric in METRICS:
                value = found.get(("interrater", group, compartment, tissue, metric), _EMPTY)
                line[f"{group} {METRIC_NAMES[metric]}"] = mean_sd(value, digits(metric))
        lines.append(line)
    notes = ["Mean (SD) over slices; the pairs of raters are averaged first."]
    if not lines:
        notes.append("n.a.: no compartment was drawn by two raters.")
    return Table("Table 3", "Inter-rater agreement", pd.DataFrame(lines), tuple(notes)), found


def reproducibility_table(study: Study) -> tuple[Table, Found]:
    """Table 4: rescans of controls.

    Found: ``("repro", method, comparison, compartment, metric)`` to a `Summary`,
    ``("score-manual" | "intra-inter", compartment, metric)`` to (`Difference`, corrected P of
    slices, of subjects), ``("repro order", metric)`` to Tukey's comparisons,
    ``("slice trend", compartment, metric)``, ``("ICC", compartment)``.
    """
    rows = select(study.pairs, comparison=("intra", "inter"), group="HC", tissue="total", ok=True)
    scale = scale_of(rows, study.options.dsc_scale)
    rows = scale.apply(rows)
    names = [name for name in COMPARTMENTS if (rows["compartment"] == name).any()]
    found: Found = {
        ("repro", *key): value
        for key, value in summaries(rows, ("method", "comparison", "compartment")).items()
    }
    for metric in METRICS:
        methods = {name: _methods(rows, name, metric) for name in names}
        sessions = {name: _sessions(rows, name, metric) for name in names}
        for what, by_name in (("score-manual", methods), ("intra-inter", sessions)):
            _store(found, what, by_name, metric)
    lines = []
    for name in names:
        for metric in METRICS:
            line = {"compartment": name, "metric": METRIC_NAMES[metric]}
            for method in ("score", "manual"):
                for comparison in ("intra", "inter"):
                    value = found.get(("repro", method, comparison, name, metric), _EMPTY)
                    label = "SCORE" if method == "score" else "manual"
                    line[f"{label} {comparison}"] = mean_sd(value, digits(metric))
            for what, label in (("score-manual", "SCORE-manual"), ("intra-inter", "intra-inter")):
                line |= _p_cells(found, (what, name, metric), label)
            lines.append(line)
    notes = [
        f"Controls, scans 1 and 2 (intra) and {_scans(study)} (inter); failures excluded; mean "
        "(SD) over slices.",
        STARRED,
        DEPENDENT,
        *_footer(rows, scale, names, found),
        _icc_note(study, found),
    ]
    return Table("Table 4", "Reproducibility", pd.DataFrame(lines), tuple(notes)), found


def _footer(rows: Frame, scale: Any, names: Sequence[str], found: Found) -> list[str]:
    if not len(rows):
        return ["n.a.: no rescans of controls."]
    joint, apart, alone = joint_effects(rows, ("method", "comparison", "compartment", "slice"))
    found["repro manova",] = joint
    notes = [scale.note(), f"MANOVA: {effects_note(joint)}."]
    for name in apart:
        notes.append(
            f"{name} is left out of it, as a metric is missing in over a tenth of its rows; by "
            f"itself: {effects_note(alone[name])}."
        )
    score = select(rows, method="score")
    for metric in METRICS:
        order = ranking(score, metric, [name for name in names if name in PARTS])
        found["repro order", metric] = order
        notes.append(f"SCORE by {metric.upper()}, worst first (Tukey, P < .05): {order.order()}.")
    levels = tukey(score["dsc_t"], score["slice"])
    pairs = levels.p[np.triu_indices(len(levels.names), 1)]
    found["repro slices",] = (int(np.sum(pairs < 0.05)), int(pairs.size))
    notes.append(
        f"SCORE by slice (DSC, Tukey): {np.sum(pairs < 0.05)} of {pairs.size} pairs of slices "
        "differ (P < .05)."
    )
    for metric in METRICS:
        parts = []
        for name in names:
            part = select(score, compartment=name)
            test = trend(part["slice"], part[metric])
            found["slice trend", name, metric] = test
            parts.append(
                f"{name} {number(test.statistic)} (P {format_p(test.p)}; "
                f"{number(test.estimate, 4)}, CI {number(test.low, 4)} to {number(test.high, 4)})"
            )
        notes.append(
            f"{metric.upper()} towards caudal slices, Spearman's rho (P; slope a slice): "
            + ", ".join(parts)
            + "."
        )
    return notes


def accuracy_table(study: Study) -> tuple[Table, Found]:
    """Table 5: SCORE against the manual consensus.

    Found: ``("accuracy", group, compartment, tissue, metric)`` to a `Summary`,
    ``("HC-MS" | "NA-total" | "RR-progressive", "GM total", metric)`` to (`Difference`, corrected P
    of slices, of subjects), ``("accuracy order", group, last of the set, metric)``,
    ``("EDSS", compartment, tissue)`` to the correlations of slices and of subjects.
    """
    rows = select(study.pairs, comparison="accuracy", ok=True)
    scale = scale_of(rows, study.options.dsc_scale)
    rows = scale.apply(rows)
    people = study.subjects.set_index("subject")
    rows = rows.assign(
        progressive=rows["subject"].map(people["progressive"]),
        edss=rows["subject"].map(people["edss"]),
    )
    found: Found = {
        ("accuracy", *key): value
        for key, value in summaries(rows, ("group", "compartment", "tissue")).items()
    }
    for kind, name in ((0.0, "RR"), (1.0, "progressive")):
        part = select(rows, progressive=kind)
        for key, value in summaries(part, ("compartment", "tissue")).items():
            found["accuracy", name, *key] = value
    places = _present(rows)
    for metric in METRICS:
        groups = {f"{c} {t}": _groups(rows, c, t, metric) for c, t in places}
        tissues = {f"{c} {t}": _tissues(rows, c, t, metric) for c, t in places}
        types = {f"{c} {t}": _types(rows, c, t, metric) for c, t in places}
        for what, by in (("HC-MS", groups), ("NA-total", tissues), ("RR-progressive", types)):
            _store(found, what, by, metric)
    lines = []
    for compartment, tissue in places:
        for metric in METRICS:
            key = (compartment, tissue, metric)
            line = {"compartment": _name(compartment, tissue), "metric": METRIC_NAMES[metric]}
            for group in ("HC", "MS", "RR", "progressive"):
                # controls have no lesions: all their tissue is normal-appearing
                of = (compartment, "total", metric) if group == "HC" else key
                value = found.get(("accuracy", group, *of), _EMPTY)
                line[group] = mean_sd(value, digits(metric))
            for what in ("HC-MS", "NA-total", "RR-progressive"):
                line |= _p_cells(found, (what, f"{compartment} {tissue}", metric), what)
            lines.append(line)
    notes = [
        "SCORE's consensus against the manual consensus; NA: normal-appearing, without lesions "
        "(controls: total). Failures excluded; mean (SD) over slices.",
        STARRED,
        DEPENDENT,
        *_accuracy_footer(rows, scale, places, found),
    ]
    return Table("Table 5", "Accuracy", pd.DataFrame(lines), tuple(notes)), found


def _accuracy_footer(
    rows: Frame, scale: Any, places: Sequence[tuple[str, str]], found: Found
) -> list[str]:
    if not len(rows):
        return ["n.a.: no manual masks to compare with."]
    joint, apart, _ = joint_effects(select(rows, tissue="total"), ("group", "compartment", "slice"))
    notes = [scale.note(), f"MANOVA: {effects_note(joint)}."]
    if apart:
        notes.append(f"Left out of it, as their distances are often undefined: {', '.join(apart)}.")
    for group, tissue_sets in (
        ("HC", (("SC", "WM", "GM"), ("AH", "PH", "GC"))),
        ("MS", (("SC", "WM", "GM", "lesion"), ("AH", "PH", "GC"))),
    ):
        part = select(rows, group=group, tissue="total")
        for names in tissue_sets:
            for metric in METRICS:
                found["accuracy order", group, names[-1], metric] = ranking(part, metric, names)
            order = found["accuracy order", group, names[-1], "dsc"]
            notes.append(f"{group} by DSC, worst first (Tukey, P < .05): {order.order()}.")
    parts = []
    for compartment, tissue in places:
        part = select(rows, compartment=compartment, tissue=tissue, group="MS")
        means = part.groupby("subject")[["dsc", "edss"]].mean()
        slices, people = spearman(part["edss"], part["dsc"]), spearman(means["edss"], means["dsc"])
        found["EDSS", compartment, tissue] = (slices, people)
        parts.append(
            f"{_name(compartment, tissue)} {number(slices.statistic)} "
            f"(P {format_p(slices.p)} / {format_p(people.p)})"
        )
    notes.append(
        "DSC with EDSS, Spearman's rho (P of slices / subjects): " + ", ".join(parts) + "."
    )
    return notes


def sensitivity_table(study: Study) -> tuple[Table, Found]:
    """Table 12: the means of tables 4 and 5 without and with the failures."""
    rows = select(study.pairs, comparison=("intra", "inter", "accuracy"))
    rows = rows.loc[(rows["comparison"] == "accuracy") | (rows["group"] == "HC")]
    place = ("group", "comparison", "method", "compartment", "tissue")
    without = summaries(rows.loc[rows["ok"].to_numpy(bool)], place)
    within = summaries(rows, place)
    lines = []
    for key, value in within.items():
        group, comparison, method, compartment, tissue, metric = key
        if comparison != "accuracy" and tissue != "total":
            continue
        before = without.get(key, _EMPTY)
        lines.append({
            "group": group, "comparison": comparison,
            "method": "SCORE" if method == "score" else method,
            "compartment": _name(compartment, tissue), "metric": METRIC_NAMES[metric],
            "failures excluded": mean_sd(before, digits(metric)), "n excluding": str(before.n),
            "failures included": mean_sd(value, digits(metric)), "n including": str(value.n),
        })  # fmt: skip
    notes = (
        "Slices excluded for artefacts are in neither. Included failures count as segmented: an "
        "empty mask has area 0, DSC 0, RSD 141 % against any other, and as HD the diagonal of the "
        "box around the mask that is there (else it is missing, and n differs between metrics).",
    )
    found: Found = {("sensitivity", *key): value for key, value in within.items()}
    title = "Tables 4 and 5 with the failures included"
    return Table("Table 12", title, pd.DataFrame(lines), notes), found


def _methods(rows: Frame, name: str, metric: str) -> Difference:
    part = select(rows, compartment=name)
    on = ("subject", "slice", "comparison")
    a, b = select(part, method="score"), select(part, method="manual")
    return paired(a, b, f"{metric}_t", on)


def _sessions(rows: Frame, name: str, metric: str) -> Difference:
    part = select(rows, compartment=name, method="score")
    return paired(select(part, comparison="intra"), select(part, comparison="inter"), f"{metric}_t")


def _groups(rows: Frame, compartment: str, tissue: str, metric: str) -> Difference:
    """Controls have no lesions: their normal-appearing tissue is all of it."""
    if compartment == "lesion":
        return NOTHING
    hc = select(rows, group="HC", compartment=compartment, tissue="total")
    ms = select(rows, group="MS", compartment=compartment, tissue=tissue)
    return unpaired(hc, ms, f"{metric}_t")


def _tissues(rows: Frame, compartment: str, tissue: str, metric: str) -> Difference:
    if tissue != "NA":
        return NOTHING
    part = select(rows, group="MS", compartment=compartment)
    return paired(select(part, tissue="NA"), select(part, tissue="total"), f"{metric}_t")


def _types(rows: Frame, compartment: str, tissue: str, metric: str) -> Difference:
    part = select(rows, group="MS", compartment=compartment, tissue=tissue)
    return unpaired(select(part, progressive=0.0), select(part, progressive=1.0), f"{metric}_t")


def _store(found: Found, what: str, by_name: dict[str, Difference], metric: str) -> None:
    """Each difference with its P values corrected over the names of this metric."""
    slices = benjamini_hochberg([one.slices.p for one in by_name.values()])
    people = benjamini_hochberg([one.subjects.p for one in by_name.values()])
    for (name, one), p, q in zip(by_name.items(), slices, people, strict=True):
        found[what, name, metric] = (one, float(p), float(q))


def _p_cells(found: Found, key: tuple[str, ...], label: str) -> dict[str, str]:
    one, p, q = found[key]
    known = bool(np.isfinite(one.slices.p))
    return {
        f"P {label}, slices": p_text(p) if known else NONE,
        f"P {label}, subjects": p_text(q) if known else NONE,
    }


def _icc_note(study: Study, found: Found) -> str:
    """Agreement of SCORE's areas over the scans, targets being subjects x slices."""
    rows = select(study.areas, group="HC", method="score", tissue="total", ok=True)
    parts = []
    for name in COMPARTMENTS:
        part = select(rows, compartment=name)
        if not len(part) or part["scan"].nunique() < 2:
            continue
        wide = part.pivot_table(index=["subject", "slice"], columns="scan", values="area")
        found["ICC", name] = icc(wide.to_numpy(np.float64))
        parts.append(f"{name} {number(found['ICC', name])}")
    listed = ", ".join(parts) if parts else NONE
    return f"ICC(A,1) of SCORE's areas over the scans, subjects x slices: {listed}."


def _present(rows: Frame) -> list[tuple[str, str]]:
    """(compartment, tissue) in the usual order."""
    there = set(zip(rows["compartment"], rows["tissue"], strict=True))
    return [(c, t) for c in COMPARTMENTS for t in ("total", "NA") if (c, t) in there]


def _name(compartment: str, tissue: str) -> str:
    return f"NA-{compartment}" if tissue == "NA" else compartment


def _scans(study: Study) -> str:
    first, second = study.options.inter_scans
    return f"{first} and {second}"
