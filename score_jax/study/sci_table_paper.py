"""Table 9 of the SCI study: every number the paper reports beside ours."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from score_jax.statistics.outcome import Outcome
from score_jax.statistics.significance import format_p
from score_jax.study import sci_published as published
from score_jax.study.results import Table
from score_jax.study.sci_cohort import CORD
from score_jax.study.sci_numbers import (
    MANUAL,
    NONE,
    PREDICTED,
    TRUTH,
    Numbers,
    column_title,
    compare,
    count,
    mean_sd,
    method_title,
    number,
)
from score_jax.study.sci_tables_biomarkers import phase_test, spearman_test
from score_jax.study.sci_tables_scores import TITLES, baseline_tests, planes_test

_ROUNDING = 0.005  # half of the last printed digit
_FEWEST = 10  # values; the interval of fewer is so wide that it agrees with everything
_LESS_IS_BETTER = {"SurfaceDistance"}
INSIDE, OUTSIDE = "yes", "no"


def paper_table(numbers: Numbers) -> Table:
    """Every published number, ours, whether it lies inside its bound, and the truth's."""
    rows = [*_cohort(numbers), *_scores(numbers), *_claims(numbers)]
    bound = {
        "interval": "the 95 % intervals of the two means overlap (the published one widened by "
        f"its rounding); with fewer than {_FEWEST} scans, our mean lies in the published one",
        "sd": "the means differ by no more than the published SD",
    }[numbers.options.bound]
    notes = [
        f"Inside: of a mean, {bound}; of a count, it is the same; of a "
        "covariate, what chance gives two cohorts of the published size (95 %); of a test, P on "
        "the side that the paper states. The paper itself names no bounds (option bound).",
        "Truth: the same number against the phantom's true masks instead of the manual ones, or "
        "what was planted; empty for data without a known truth.",
        "RVE in percent, distances in mm, days and ages as in the paper's Table 1.",
    ]
    if not any(row["truth"] for row in rows):
        notes.append("No truth is known for these data.")
    columns = ["what", "where", "paper", "here", "n", "inside", "truth"]
    frame = pd.DataFrame(rows, columns=columns)
    found = frame["inside"].str.partition(" ")[0].value_counts()
    told = f"{found.get(INSIDE, 0)} inside, {found.get(OUTSIDE, 0)} outside"
    notes.append(f"{told}, {found.get(NONE, 0)} not available, of {len(frame)}.")
    return Table("Table 9", "Against the paper", frame, tuple(notes))


def verdict(
    ours: np.ndarray, mean: float, sd: float, n: int, *, rule: str, better: str = "more"
) -> str:
    """Whether our mean agrees with a published one: ``yes``, ``no (better)``, ``no (worse)``.

    Args:
      ours: values; NaN are left out. None at all gives n.a.
      mean: published.
      sd: published.
      n: of the published values.
      rule: ``interval`` or ``sd``, see `SciOptions.bound`.
      better: ``more``, ``less``, or ``zero`` for values that are best at 0.
    """
    known = ours[np.isfinite(ours)]
    if not known.size:
        return NONE
    own = float(known.mean())
    half = 0.0
    if rule == "sd":
        reach = sd
    else:
        reach = float(stats.t.ppf(0.975, n - 1)) * sd / math.sqrt(n)
        if known.size >= _FEWEST:
            error = float(known.std(ddof=1)) / math.sqrt(known.size)
            half = float(stats.t.ppf(0.975, known.size - 1)) * error
    if abs(own - mean) <= reach + half + _ROUNDING:
        return INSIDE
    improved = {
        "more": own > mean, "less": own < mean, "zero": abs(own) < abs(mean), "": None,
    }[better]  # fmt: skip
    if improved is None:
        return OUTSIDE
    return f"{OUTSIDE} ({'better' if improved else 'worse'})"


def _row(what: str, where: str, paper: str, here: str, n: object, inside: str, truth: str = ""):
    return {
        "what": what, "where": where, "paper": paper, "here": here, "n": n, "inside": inside,
        "truth": truth,
    }  # fmt: skip


def _scores(numbers: Numbers) -> list[dict[str, object]]:
    rows = []
    for (structure, method, metric), columns in published.SCORES.items():
        for column, (mean, sd) in columns.items():
            values = numbers.score(structure, method, metric, column)
            true = numbers.score(structure, method, metric, column, reference=TRUTH)
            better = "zero" if metric == "RVE" else "less" if metric in _LESS_IS_BETTER else "more"
            inside = verdict(
                values.to_numpy(float), mean, sd, published.TEST_SCANS[column],
                rule=numbers.options.bound, better=better,
            )  # fmt: skip
            what = f"{structure} {TITLES.get(metric, metric)}, {method_title(method)}"
            rows.append(
                _row(what, column_title(column), f"{mean:.2f} ± {sd:.2f}", mean_sd(values),
                     count(values), inside, mean_sd(true) if count(true) else "")
            )  # fmt: skip
    return rows


def _claims(numbers: Numbers) -> list[dict[str, object]]:
    rows = []
    for claim in published.CLAIMS:
        found, planted = _TESTS[claim.key[0]](numbers, *claim.key[1:])
        if math.isnan(found.p):
            inside = NONE
        elif claim.above:
            inside = INSIDE if found.p >= published.ALPHA else OUTSIDE
        else:
            inside = INSIDE if found.p < claim.bound else OUTSIDE
        here = NONE if math.isnan(found.p) else f"P {_equals(format_p(found.p))}"
        if claim.key[0] == "spearman" and not math.isnan(found.p):
            here = f"rho {number(found.statistic)}, {here}"
        rows.append(_row(claim.what, "", claim.stated, here, found.n, inside, planted))
    return rows


def _equals(p: str) -> str:
    return p if p.startswith("<") else f"= {p}"


def _planes(numbers: Numbers, site: str, metric: str) -> tuple[Outcome, str]:
    return planes_test(numbers, site, metric), ""


def _manual(numbers: Numbers, column: str, measure: str) -> tuple[Outcome, str]:
    manual, predicted, true = (
        numbers.biomarker(method, measure, column) for method in (MANUAL, PREDICTED, TRUTH)
    )
    planted = f"P {_equals(format_p(compare(true, predicted).p))}" if count(true) else ""
    return compare(manual, predicted), planted


def _phases(numbers: Numbers, site: str, measure: str) -> tuple[Outcome, str]:
    return phase_test(numbers, site, measure), ""


def _spearman(numbers: Numbers, method: str, score: str, measure: str) -> tuple[Outcome, str]:
    found = spearman_test(numbers, method, score, "initial", measure)
    true = spearman_test(numbers, TRUTH, score, "initial", measure)
    if not true.n:
        return found, ""
    planted = f"rho {number(true.statistic)}"
    if measure == "adr":
        planted += f" (planted: about {published.PLANTED_RHO:g})"
    return found, planted


def _baselines(numbers: Numbers, metric: str) -> tuple[Outcome, str]:
    raw = [
        corrected
        for site in numbers.sites
        for name, (corrected, _) in baseline_tests(numbers, site, metric).items()
        if name != "2d" and not math.isnan(corrected)
    ]
    n = min((count(numbers.score(CORD, "3d", metric, site)) for site in numbers.sites), default=0)
    return Outcome(math.nan, max(raw, default=math.nan), n), ""


_TESTS: dict[str, Callable[..., tuple[Outcome, str]]] = {
    "planes": _planes,
    "manual": _manual,
    "phases": _phases,
    "spearman": _spearman,
    "baselines": _baselines,
}


def _cohort(numbers: Numbers) -> list[dict[str, object]]:
    rows = []
    for what, values in published.COHORT.items():
        for site, paper in zip(("site1", "site2", "site3"), values, strict=True):
            own: Any = numbers.sessions[numbers.sessions["site"] == site]
            here = _of_site(own, what)
            same = NONE if math.isnan(here) else INSIDE
            if not math.isnan(here) and abs(here - paper) > _tolerance(what, site):
                same = OUTSIDE
            digits = 0 if what in ("patients", "scans", "implants") else 1
            rows.append(
                _row(what, column_title(site), f"{paper:g}", number(here, digits), "", same)
            )
    return rows


def _of_site(scans: pd.DataFrame, what: str) -> float:
    people: Any = scans.drop_duplicates("participant")
    if not len(scans):
        return math.nan
    age, days = (people[name].astype(float) for name in ("age", "days_to_mri"))
    known = people["implant"].dropna().astype(str).str.lower()
    values = {
        "patients": float(len(people)),
        "scans": float(len(scans)),
        "implants": float(known.isin(["yes", "y", "1", "1.0", "true"]).sum())
        if len(known)
        else math.nan,
        "age, mean": float(age.mean()),
        "age, SD": float(age.std()),
        "days to MRI, mean": float(days.mean()),
        "days to MRI, median": float(days.median()),
    }
    return values[what]


# Table 1 of the paper: patients, SD of age, SD of days, median and mean of days
_SPREAD = {
    "site1": (97, 19.1, 1364.4, 41.5, 376.2),
    "site2": (80, 16.4, 212.1, 21.0, 84.0),
    "site3": (14, 16.7, 714.1, 407.0, 579.1),
}


def _tolerance(what: str, site: str) -> float:
    """How far chance puts two cohorts of the published size apart (95 %); none for counts."""
    n, age, days, median, mean = _SPREAD[site]
    error = 1.96 * math.sqrt(2 / n)
    log_sd = math.sqrt(2 * math.log(mean / median))  # of a log-normal distribution
    return {
        "age, mean": error * age,
        "age, SD": error * age / math.sqrt(2),
        "days to MRI, mean": error * days,
        "days to MRI, median": error * math.sqrt(math.pi / 2) * log_sd * median,
    }.get(what, 0.0)
