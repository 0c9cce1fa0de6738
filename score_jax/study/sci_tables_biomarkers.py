"""Tables 5, 6 and 7 of the SCI study: lesion biomarkers by phase, by mask, and by score."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from score_jax.statistics.outcome import Outcome
from score_jax.statistics.ranks import spearman
from score_jax.statistics.significance import benjamini_hochberg, format_p
from score_jax.study.results import Table
from score_jax.study.sci_numbers import (
    FIRST_PHASE,
    MANUAL,
    MEASURES,
    PREDICTED,
    TRUTH,
    Numbers,
    by_scan,
    column_title,
    compare,
    count,
    median_iqr,
    number,
    p_text,
    paired,
)
from score_jax.study.sci_published import CLINICAL, TIMES

UNITS = {"volume": "volume [mm³]", "length": "length [mm]", "adr": "max axial damage ratio"}
_DIGITS = {"volume": 1, "length": 1, "adr": 3}
_RULES = {
    "drop": "Scans in which nothing was predicted are left out (no_lesion = drop).",
    "zero": "Scans in which nothing was predicted count with zeros (no_lesion = zero).",
}


def phases_table(numbers: Numbers) -> Table:
    """Table 5: the first phase's network against the last one's, and their errors."""
    rows = []
    for site in numbers.sites:
        for measure in MEASURES:
            before, after = phase_values(numbers, site, measure)
            errors = phase_errors(numbers, site, measure)
            digits = _DIGITS[measure]
            rows.append(
                {
                    "site": column_title(site),
                    "biomarker": UNITS[measure],
                    f"phase {FIRST_PHASE}": median_iqr(before, digits),
                    f"phase {numbers.last}": median_iqr(after, digits),
                    "P": p_text(compare(before, after)),
                    "n": compare(before, after).n,
                    f"|error|, phase {FIRST_PHASE}": median_iqr(errors[0], digits),
                    f"|error|, phase {numbers.last}": median_iqr(errors[1], digits),
                    "P of |error|": p_text(compare(*errors)),
                }
            )
    notes = [
        "Median (quartiles); Wilcoxon's signed-rank test. The paper compares the predictions; "
        "|error| is their distance from the manual mask's value.",
        _RULES[numbers.options.no_lesion_phases].replace("no_lesion", "no_lesion_phases"),
    ]
    if numbers.last == FIRST_PHASE:
        notes.append("Only one phase was trained: nothing to compare.")
    title = "Biomarkers before and after the active learning"
    return Table("Table 5", title, pd.DataFrame(rows), tuple(notes))


def phase_values(numbers: Numbers, site: str, measure: str) -> tuple[pd.Series, pd.Series]:
    """A predicted biomarker of the first and of the last phase."""
    first, last = (
        numbers.biomarker(PREDICTED, measure, site, phase=phase)
        for phase in (FIRST_PHASE, numbers.last)
    )
    return first, last


def phase_errors(numbers: Numbers, site: str, measure: str) -> tuple[pd.Series, pd.Series]:
    """Distance of both phases' values from the manual ones."""
    manual = numbers.biomarker(MANUAL, measure, site, phase=FIRST_PHASE)
    first, last = ((found - manual).abs() for found in phase_values(numbers, site, measure))
    return first, last


def phase_test(numbers: Numbers, site: str, measure: str) -> Outcome:
    """The first phase against the last; not made where there is only one."""
    first, last = phase_values(numbers, site, measure)
    return compare(first, last)


def manual_table(numbers: Numbers) -> Table:
    """Table 6: biomarkers of the manual and the predicted masks."""
    rows = []
    for column in (*numbers.sites, "all"):
        for measure in MEASURES:
            manual, predicted = (
                numbers.biomarker(method, measure, column) for method in (MANUAL, PREDICTED)
            )
            true = numbers.biomarker(TRUTH, measure, column)
            found = compare(manual, predicted)
            row = {
                "site": column_title(column),
                "biomarker": UNITS[measure],
                "manual": median_iqr(_shared(manual, predicted), _DIGITS[measure]),
                "predicted": median_iqr(_shared(predicted, manual), _DIGITS[measure]),
                "P": p_text(found),
                "n": found.n,
            }
            if count(true):
                row["true"] = median_iqr(_shared(true, predicted), _DIGITS[measure])
                row["P, true against predicted"] = p_text(compare(true, predicted))
            rows.append(row)
    notes = (
        f"Median (quartiles) of the scans that have both; networks of phase {numbers.last}, "
        "averaged over seeds; Wilcoxon's signed-rank test. Of several lesions volume and length "
        "are summed and the largest ratio is taken.",
        _RULES[numbers.options.no_lesion],
    )
    return Table("Table 6", "Biomarkers: manual against predicted", pd.DataFrame(rows), notes)


def spearman_table(numbers: Numbers) -> Table:
    """Table 7: clinical scores against biomarkers, both masks."""
    found = {
        (method, *key): spearman_test(numbers, method, *key)
        for key in _keys()
        for method in (MANUAL, PREDICTED)
    }
    corrected = {
        method: dict(
            zip(_keys(), benjamini_hochberg([found[method, *k].p for k in _keys()]), strict=True)
        )
        for method in (MANUAL, PREDICTED)
    }
    rows, absent = [], []
    for key in _keys():
        if not count(clinical(numbers, key[0], key[1])):
            absent.append(f"{key[0]} {key[1]}")
            continue
        row: dict[str, object] = {"score": key[0], "when": key[1], "biomarker": UNITS[key[2]]}
        for method in (MANUAL, PREDICTED):
            one = found[method, *key]
            row |= {
                f"{method}, rho": number(one.statistic),
                f"{method}, P": p_text(one),
                f"{method}, P (BH)": format_p(float(corrected[method][key])),
                f"{method}, n": one.n,
            }
        rows.append(row)
    notes = [
        f"Spearman's rank correlation, {column_title(_where(numbers))}; people with a missing "
        "value leave that correlation alone. The paper corrects nothing; P (BH) is "
        "Benjamini-Hochberg's over the table.",
        _RULES[numbers.options.no_lesion],
    ]
    if absent:
        notes.append(f"Not known for anybody: {', '.join(dict.fromkeys(absent))}")
    return Table("Table 7", "Clinical scores and biomarkers", pd.DataFrame(rows), tuple(notes))


def spearman_test(numbers: Numbers, method: str, score: str, when: str, measure: str) -> Outcome:
    """Rank correlation of a clinical score with a biomarker of the manual or predicted masks."""
    return spearman(*spearman_values(numbers, method, score, when, measure))


def spearman_values(
    numbers: Numbers, method: str, score: str, when: str, measure: str
) -> tuple[np.ndarray, np.ndarray]:
    """The pairs behind `spearman_test`: score, biomarker."""
    values = numbers.biomarker(method, measure, _where(numbers))
    return paired(clinical(numbers, score, when), values)


def clinical(numbers: Numbers, score: str, when: str) -> pd.Series:
    """A clinical score by scan: initial, at discharge, or discharge less initial."""
    where = numbers.sites_of(_where(numbers))
    scans: Any = numbers.sessions[numbers.sessions["site"].isin(where)]

    def at(time: str) -> pd.Series:
        name = f"{score}_{time}"
        return by_scan(scans if name in scans else scans.assign(**{name: math.nan}), name)

    return at("discharge") - at("initial") if when == "difference" else at(when)


def _where(numbers: Numbers) -> str:
    """The site of the correlations; all of them if the named one is not tested."""
    site = numbers.options.spearman_site
    return site if site in numbers.sites else "all"


def _keys() -> Iterator[tuple[str, str, str]]:
    for score in CLINICAL:
        for when in TIMES:
            for measure in MEASURES:
                yield score, when, measure


def _shared(values: pd.Series, other: pd.Series) -> pd.Series:
    """The values of the scans for which the other one is known, too."""
    return values.loc[values.index.intersection(other.dropna().index, sort=False)]
