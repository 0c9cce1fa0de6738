"""Tables 6, 7 and 8: areas by method, what explains them in controls, and normalised areas."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import pandas as pd

from score_jax.statistics.mixed import coefficient, fit_crossed, nakagawa_r2
from score_jax.statistics.normalisation import choose, combinations, normaliser, spread
from score_jax.statistics.outcome import Outcome, impossible
from score_jax.statistics.significance import benjamini_hochberg, format_p
from score_jax.statistics.variation import bootstrap_cv_ratio, feltz_miller
from score_jax.study.results import Table
from score_jax.study.score_tables_agreement import DEPENDENT, STARRED
from score_jax.study.score_tables_frames import COMPARTMENTS, PARTS, Frame, Study, select
from score_jax.study.score_tables_models import areas_of, covariates, model_rows
from score_jax.study.score_tables_scores import paired
from score_jax.study.score_tables_text import NONE, mean_sd, number, p_text, summarise

Found = dict[tuple[str, ...], Any]
FACTOR_NAMES = {"tiv": "TIV", "canal": "canal", "age": "age", "sex": "sex"}
RAW: tuple[str, ...] = ()


def areas_table(study: Study) -> tuple[Table, Found]:
    """Table 6: areas of the first scan, manual, SCORE and true.

    Found: ``("area", group, compartment, tissue, method)`` to a `Summary`,
    ``("area SCORE-manual", group, compartment, tissue)`` to (`Difference`, corrected P of slices,
    of subjects), ``("area bias", group, compartment, tissue)`` in percent of the truth.
    """
    rows = select(study.areas, scan=1.0, ok=True)
    found: Found = {}
    places = [
        (group, compartment, tissue)
        for compartment in COMPARTMENTS
        for tissue in ("total", "NA")
        for group in ("HC", "MS")
        if len(select(rows, group=group, compartment=compartment, tissue=tissue))
        and not (group == "HC" and tissue == "NA")
    ]
    for place in places:
        _area(rows, place, found)
    for group in ("HC", "MS"):
        keys = [place for place in places if place[0] == group]
        tests = [found["area SCORE-manual", *key] for key in keys]
        slices = benjamini_hochberg([one.slices.p for one in tests])
        people = benjamini_hochberg([one.subjects.p for one in tests])
        for key, one, p, q in zip(keys, tests, slices, people, strict=True):
            found["area SCORE-manual", *key] = (one, float(p), float(q))
    lines = []
    for compartment in COMPARTMENTS:
        for tissue in ("total", "NA"):
            if not any(place[1:] == (compartment, tissue) for place in places):
                continue
            line = {"compartment": f"NA-{compartment}" if tissue == "NA" else compartment}
            for group in ("HC", "MS"):
                line |= _area_cells(found, (group, compartment, tissue))
            lines.append(line)
    notes = (
        "First scan, mm2, mean (SD) over slices; failures excluded. P: paired t of areas, SCORE "
        "against the manual consensus. Bias: SCORE less truth, percent of the mean truth.",
        STARRED.replace("over the table", "over the compartments of a group"),
        DEPENDENT,
    )
    return Table("Table 6", "Areas", pd.DataFrame(lines), notes), found


def _area(rows: Frame, place: tuple[str, str, str], found: Found) -> None:
    group, compartment, tissue = place
    part = select(rows, group=group, compartment=compartment, tissue=tissue)
    by = {name: select(part, method=name) for name in ("manual", "score", "truth")}
    for name, these in by.items():
        found["area", *place, name] = summarise(these["area"])
    found["area SCORE-manual", *place] = paired(by["score"], by["manual"], "area")
    both = paired(by["score"], by["truth"], "area").slices
    truth = by["truth"].merge(by["score"][["subject", "slice"]], on=["subject", "slice"])["area"]
    mean = float(truth.mean()) if len(truth) else math.nan
    found["area bias", *place] = 100 * both.estimate / mean if mean else math.nan


def _area_cells(found: Found, place: tuple[str, str, str]) -> dict[str, str]:
    group = place[0]
    labels = [f"{group} {name}" for name in
              ("manual", "SCORE", "truth", "bias, %", "P, slices", "P, subjects")]  # fmt: skip
    if ("area", *place, "score") not in found:
        return dict.fromkeys(labels, NONE)
    values = [mean_sd(found["area", *place, name]) for name in ("manual", "score", "truth")]
    _, p, q = found["area SCORE-manual", *place]
    values += [number(found["area bias", *place], 1), p_text(p), p_text(q)]
    return dict(zip(labels, values, strict=True))


def factors_table(study: Study) -> tuple[Table, Found]:
    """Table 7: what explains areas in controls; one mixed model a compartment and factor.

    Found: ``("factor", compartment, factor)`` to (`Estimate`, marginal R2).
    """
    found: Found = {}
    lines, told = [], []
    for compartment in PARTS:
        rows = model_rows(study, compartment, groups=("HC",))
        line = {"compartment": compartment}
        for factor in study.options.factors:
            label = FACTOR_NAMES[factor]
            try:
                beta, r2, mark = _factor(rows, factor)
            except ValueError as error:
                told.append(f"{compartment}, {label}: n.a. ({error}).")
                line |= {f"{label} beta (SE)": NONE, f"{label} P": NONE, f"{label} R2m": NONE}
                continue
            found["factor", compartment, factor] = (beta, r2)
            line[f"{label} beta (SE)"] = f"{number(beta.value)} ({number(beta.se)}){mark}"
            line[f"{label} P"] = p_text(beta.p)
            line[f"{label} R2m"] = number(r2)
        lines.append(line)
    notes = (
        "Controls, first scan, SCORE; area ~ factor with random intercepts of subjects and slices "
        "(crossed, REML). Beta in mm2 an SD of the factor (sex: M - F), P of t with subjects - 2 "
        "degrees of freedom, not corrected. R2m: marginal R2 (Nakagawa and Schielzeth). "
        f"Canal: the {'slice' if study.options.canal == 'slice' else 'subject'}'s area. "
        "†: an intercept has no variance (singular fit).",
        *told,
    )
    return Table("Table 7", "Factors of the area in controls", pd.DataFrame(lines), notes), found


def _factor(rows: Frame, factor: str) -> tuple[Any, float, str]:
    rows = rows.loc[rows[factor].notna()]
    if rows["subject"].nunique() < 4:
        raise ValueError(f"{factor}: known for {rows['subject'].nunique()} controls; expected 4")
    area, subject, level = areas_of(rows)
    values = rows[factor].to_numpy(np.float64)
    each = rows.groupby("subject")[factor].mean()
    # an SD between subjects, so that the slope can be compared with the spread of areas
    scale = 1.0 if factor == "sex" else float(each.std(ddof=1))
    if not scale > 0 or np.ptp(values) == 0:
        raise ValueError(f"{factor}: the same for all controls")
    z = (values - float(each.mean())) / scale
    fit = fit_crossed(area, np.column_stack([np.ones(len(z)), z]), subject, level, ("1", factor))
    return coefficient(fit, factor), nakagawa_r2(fit)[0], "†" if fit.singular else ""


@final
@dataclass(frozen=True, eq=False, slots=True)
class Strategy:
    """What normalisation gains in one compartment.

    Args:
      rsd: percent between controls at a slice, averaged over slices, of each combination; ``()``
        is raw.
      p_slices: Feltz and Miller's P of each against raw, every slice taken for a subject.
      best: the combination with the least RSD.
      by_subjects: Feltz and Miller's test of `best`, n subjects.
      by_slices: the same, n slices.
      ratio: bootstrap of ln(CV best / CV raw) of the subjects' means.
      chosen: by the rule (`normalisation.choose`); none: raw.
    """

    rsd: Mapping[tuple[str, ...], float]
    p_slices: Mapping[tuple[str, ...], float]
    best: tuple[str, ...]
    by_subjects: Outcome
    by_slices: Outcome
    ratio: Outcome
    chosen: tuple[str, ...]


def strategy(study: Study, compartment: str) -> Strategy:
    """Every combination of the factors, tried on the controls in whom all factors are known."""
    rows = model_rows(study, compartment, groups=("HC",))
    usable = [name for name in study.options.factors if rows[name].notna().any()]
    usable = [name for name in usable if rows[name].dropna().nunique() > 1]
    rows = rows.loc[rows[usable].notna().all(axis=1).to_numpy(bool)]
    area, subject, level = areas_of(rows)
    known = covariates(rows, usable)
    tried = {RAW: area}
    for factors in combinations(usable):
        chosen = {name: known[name] for name in factors}
        try:
            tried[factors] = normaliser(area, chosen, subject, level).apply(area, chosen)
        except ValueError:  # collinear, or more factors than subjects
            continue
    spreads = {name: spread(values, subject, level) for name, values in tried.items()}
    raw = spreads[RAW]
    people, n = int(np.unique(subject).size), area.size

    def test(name: tuple[str, ...], attribute: str, size: int) -> Outcome:
        cv = [getattr(raw, attribute), getattr(spreads[name], attribute)]
        return feltz_miller([size, size], cv, [100, 100])

    rsd = {name: found.by_slice for name, found in spreads.items()}
    p = {name: test(name, "rows", n).p for name in spreads if name}
    best = min((name for name in rsd if name), key=lambda name: rsd[name], default=RAW)
    if not best:
        nothing = impossible(people, "no factor is known")
        return Strategy(rsd, p, RAW, nothing, nothing, nothing, RAW)
    means = [_means(tried[name], subject) for name in (RAW, best)]
    ratio = bootstrap_cv_ratio(*means, seed=study.seed, draws=study.options.draws)
    return Strategy(rsd, p, best, test(best, "subjects", people), test(best, "rows", n), ratio,
                    choose(rsd, p))  # fmt: skip


def _means(area: np.ndarray, subject: np.ndarray) -> np.ndarray:
    return np.array([area[subject == who].mean() for who in np.unique(subject)])


def normalisation_table(study: Study) -> tuple[Table, Found]:
    """Table 8: a column a compartment. Found: ``("strategy", compartment)`` to a `Strategy`."""
    found: Found = {("strategy", name): strategy(study, name) for name in PARTS}
    plans: dict[str, Strategy] = {name: found["strategy", name] for name in PARTS}
    lines = []
    for factors in (RAW, *combinations(study.options.factors)):
        values = {name: plan.rsd.get(factors, math.nan) for name, plan in plans.items()}
        lines.append({"RSD, %": _label(factors), **{k: number(v) for k, v in values.items()}})
    closing = {
        "least RSD": lambda plan: _label(plan.best) if plan.best else NONE,
        "Feltz-Miller, n = subjects": lambda plan: _chi2(plan.by_subjects),
        "Feltz-Miller, n = slices": lambda plan: _chi2(plan.by_slices),
        "ln CV ratio (95 % CI)": lambda plan: _ratio(plan.ratio),
        "chosen": lambda plan: _label(plan.chosen),
    }
    for label, text in closing.items():
        lines.append({"RSD, %": label, **{name: text(plan) for name, plan in plans.items()}})
    notes = (
        "Residual method: A + sum of a (mean - x), slopes a by the mixed model in the controls "
        "(first scan, SCORE); RSD between controls at each slice, averaged. In the same subjects "
        "that gave the slopes, so the gain is optimistic.",
        "Feltz and Miller's chi2 (P) of the combination with the least RSD against raw, with the "
        "subjects' means as n and with every slice as n. The test takes raw and normalised areas "
        "for independent: with the same subjects its size is far below .05 (.003 at a correlation "
        "of .8), and it sees a gain only if slices are taken for subjects. The bootstrap of the "
        "subjects' means respects the pairs; its slopes are held fixed.",
        "Chosen: of the combinations with P < .05 (n = slices) the least RSD, or fewer factors if "
        "that costs no more than 2 %; else raw.",
    )
    return Table("Table 8", "Normalisation", pd.DataFrame(lines), notes), found


def _label(factors: tuple[str, ...]) -> str:
    return " + ".join(FACTOR_NAMES[name] for name in factors) or "raw"


def _chi2(test: Outcome) -> str:
    return NONE if math.isnan(test.p) else f"{test.statistic:.2f} (P {format_p(test.p)})"


def _ratio(test: Outcome) -> str:
    if math.isnan(test.estimate):
        return NONE
    return f"{test.estimate:.2f} ({test.low:.2f} to {test.high:.2f})"
