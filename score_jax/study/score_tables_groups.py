"""Tables 9, 10 and 11: patients against controls, progressive against relapsing, and EDSS."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from score_jax.statistics.mixed import Estimate, subject_intercepts
from score_jax.statistics.ranks import partial_spearman
from score_jax.statistics.regression import Elimination, hierarchical, without_collinear
from score_jax.statistics.significance import benjamini_hochberg, format_p
from score_jax.study.results import Table
from score_jax.study.score_tables_frames import PARTS, Frame, Study, named, select
from score_jax.study.score_tables_models import (
    GroupEffect,
    areas_of,
    covariates,
    group_effect,
    model_rows,
    normaliser_of,
)
from score_jax.study.score_tables_text import NONE, interval, number, p_text

Found = dict[tuple[str, ...], Any]
PAPERS = {"SC": ("tiv",), "WM": ("tiv",)}  # the paper's normalisation; raw elsewhere
Flag = Callable[[Frame], np.ndarray]


def patients_table(study: Study, chosen: Mapping[str, tuple[str, ...]]) -> tuple[Table, Found]:
    """Table 9: patients against controls.

    Args:
      study: judged frames.
      chosen: compartment to the factors that table 8 chose.

    Found: ``("MS-HC", compartment, tissue, "raw" | "normalised")`` to (`GroupEffect`, corrected P),
    ``("MS-HC true", compartment)`` to the `GroupEffect` of the true areas.
    """

    def patients(rows: Frame) -> np.ndarray:
        return (rows["group"] == "MS").to_numpy(np.float64)

    return _effects_table(study, "Table 9", ("HC", "MS"), ("HC", "MS"), patients, chosen)


def types_table(study: Study, chosen: Mapping[str, tuple[str, ...]]) -> tuple[Table, Found]:
    """Table 10: progressive against relapsing-remitting patients; found as of table 9."""

    def progressive(rows: Frame) -> np.ndarray:
        return rows["progressive"].to_numpy(np.float64)

    return _effects_table(study, "Table 10", ("RR", "progressive"), ("MS",), progressive, chosen)


def _effects_table(
    study: Study, title: str, names: tuple[str, str], groups: tuple[str, ...], flag: Flag,
    chosen: Mapping[str, tuple[str, ...]],
) -> tuple[Table, Found]:  # fmt: skip
    what = f"{names[1]}-{names[0]}"
    factors = PAPERS if study.options.normalisation == "paper" else chosen
    found: Found = {}
    told: list[str] = []
    for tissue in ("total", "NA"):
        for areas in ("raw", "normalised"):
            effects = {}
            for compartment in PARTS:
                by = tuple(factors.get(compartment, ())) if areas == "normalised" else ()
                if areas == "normalised" and not by:
                    continue
                effects[compartment] = compartment_effect(
                    study, compartment, tissue, groups=groups, flag=flag, factors=by
                )
            ps = benjamini_hochberg([one.difference.p for one in effects.values()])
            for (compartment, one), p in zip(effects.items(), ps, strict=True):
                found[what, compartment, tissue, areas] = (one, float(p))
    for compartment in PARTS:
        found[f"{what} true", compartment] = compartment_effect(
            study, compartment, "total", groups=groups, flag=flag, method="truth"
        )
    lines = []
    for key, value in found.items():
        if key[0] == what:
            lines.append(_effect_line(study, names, key, value, found, told))
    covariate = ", ".join(study.options.group_covariates) or "no covariate"
    notes = (
        f"SCORE's areas (first scan, failures excluded) ~ group + {covariate}, random intercepts "
        "of subjects and slices (crossed, REML); t with n subjects - rank degrees of freedom; "
        "marginal means at the pooled covariates. Percent of the first group, 95 % CI (delta "
        "method). Corrected P: Benjamini-Hochberg over the compartments, total and NA apart.",
        "Normalised: by the factors of "
        + ("the paper" if study.options.normalisation == "paper" else "table 8")
        + " ("
        + (named(f"{name} {'+'.join(by)}" for name, by in factors.items() if by) or "none")
        + ").",
        "In the truth: the same model on the true areas, where they are known. Planted: what the "
        "simulation took away; recovered if it lies in the 95 % CI.",
        *told,
    )
    text = f"{'Progressive against relapsing' if what != 'MS-HC' else 'Patients against controls'}"
    return Table(title, text, pd.DataFrame(lines), notes), found


def compartment_effect(
    study: Study, compartment: str, tissue: str, *, groups: tuple[str, ...], flag: Flag,
    factors: tuple[str, ...] = (), method: str = "score",
) -> GroupEffect:  # fmt: skip
    """One compartment's difference of two groups, on raw areas or normalised by `factors`."""
    rows = model_rows(study, compartment, tissue, method=method, groups=groups)
    told = ""
    if factors:
        try:
            tool = normaliser_of(study, compartment, factors)
            values = tool.apply(rows["area"].to_numpy(np.float64), covariates(rows, factors))
            rows = rows.assign(area=values).dropna(subset=["area"])
        except ValueError as error:
            told = f"not normalised ({error})"
    found = group_effect(rows, flag(rows), study.options.group_covariates)
    why = "; ".join(text for text in (told, found.why) if text)
    return dataclasses.replace(found, why=why)


def _effect_line(
    study: Study, names: tuple[str, str], key: tuple[str, ...], value: tuple[GroupEffect, float],
    found: Found, told: list[str],
) -> dict[str, str]:  # fmt: skip
    what, compartment, tissue, areas = key
    one, p = value
    label = f"NA-{compartment}" if tissue == "NA" else compartment
    if one.why:
        told.append(f"{label}, {areas}: {one.why}.")
    planted = study.options.planted.get(f"{compartment} {what}", math.nan)
    known = tissue == "total" and math.isfinite(planted) and math.isfinite(one.percent.low)
    true = found[f"{what} true", compartment].percent
    return {
        "compartment": label,
        "areas": areas + ("†" if one.singular else ""),
        f"{names[0]}, mm2 (SE)": _mean(one.base),
        f"{names[1]}, mm2 (SE)": _mean(one.other),
        "difference, mm2": number(one.difference.value),
        "difference, % (95 % CI)": interval(one.percent),
        "P": p_text(one.difference.p),
        "P corrected": p_text(p),
        "in the truth, %": interval(true) if tissue == "total" and areas == "raw" else NONE,
        "planted, %": number(planted, 1) if tissue == "total" else NONE,
        "recovered": ("yes" if one.percent.low <= planted <= one.percent.high else "no")
        if known
        else NONE,
    }


def _mean(found: Estimate) -> str:
    return NONE if math.isnan(found.value) else f"{found.value:.2f} ({number(found.se)})"


def edss_rows(study: Study) -> tuple[Frame, dict[str, tuple[str, ...]]]:
    """A row a patient with all candidates, and the blocks they enter in.

    Areas are the model's subject means (`subject_intercepts`) of total tissue; a slice in which
    SCORE drew no lesion counts as 0 mm2.
    """
    areas = ("WM", "GM") if study.options.edss_areas == "whole" else ("WM", "AH", "PH", "GC")
    ms = select(study.subjects, group="MS").set_index("subject")
    table = ms[["edss", "age", "duration", "progressive"]].astype(float)
    table = table.assign(sex=ms["sex"].map({"F": 0.0, "M": 1.0}).astype(float))
    for compartment in (*areas, "lesion"):
        rows = model_rows(study, compartment, groups=("MS",))
        if compartment == "lesion" and len(rows):
            rows = _with_empty_slices(study, rows)
        table[compartment] = table.index.map(_intercepts(rows)).astype(float)
    blocks = {
        "covariates": ("age", "sex", "duration", "progressive"),
        "areas": areas,
        "lesion": ("lesion",),
    }
    return table, blocks


def _with_empty_slices(study: Study, rows: Frame) -> Frame:
    cord = model_rows(study, "SC", groups=("MS",))[["subject", "slice"]]
    lesion = rows.groupby(["subject", "slice"], as_index=False)["area"].sum()
    return cord.merge(lesion, on=["subject", "slice"], how="left").fillna({"area": 0.0})


def _intercepts(rows: Frame) -> dict[str, float]:
    try:
        return subject_intercepts(*areas_of(rows))
    except ValueError:
        return {}


def edss_table(study: Study) -> tuple[Table, Found]:
    """Table 11: the EDSS model. Found: ``("EDSS model",)`` to an `Elimination`."""
    title = "EDSS: hierarchical regression with backward elimination"
    table, blocks = edss_rows(study)
    lacking = [name for name in table.columns if table[name].isna().all()]
    names = [name for block in blocks.values() for name in block if name not in lacking]
    rows = table[["edss", *names]].dropna()
    told = [f"Not there, left out: {named(lacking)}."] if lacking else []
    if len(rows) < len(table):
        out = sorted(set(table.index) - set(rows.index))
        told.append(f"{len(out)} patients with a missing value are left out: {named(out)}.")
    if "edss" in lacking or len(rows) <= len(names) + 1 or rows["edss"].nunique() < 2:
        why = f"n.a.: {len(rows)} patients with all values, {len(names)} candidates."
        return Table("Table 11", title, pd.DataFrame([{"step": NONE}]), (why, *told)), {}
    columns, dropped = without_collinear(covariates(rows, names), names)
    if dropped:
        told.append(f"Constant or collinear, left out: {named(dropped)}.")
    used = {
        label: {name: columns[name] for name in block if name in columns}
        for label, block in blocks.items()
    }
    y = rows["edss"].to_numpy(np.float64)
    model = hierarchical(y, used, p_remove=study.options.p_remove)
    lines = _edss_lines(model)
    others = [name for name in columns if name in blocks["covariates"]]
    ranks = []
    for name in columns:
        if name in others:
            continue
        test = partial_spearman(rows[name], y, [columns[other] for other in others])
        ranks.append(f"{name} {number(test.statistic)} (P {format_p(test.p)})")
    notes = (
        f"{len(rows)} patients; every variable standardised; areas: subject means of a mixed model "
        f"with intercepts of subjects and slices. A predictor stays if P < "
        f"{study.options.p_remove:g}; progressive: SP or PP.",
        f"LOO R2: each patient predicted from the others; with {len(rows)} patients and "
        f"{len(names)} candidates R2 alone promises too much.",
        "EDSS is ordinal; Spearman's correlation with it, covariates held fixed: "
        + (", ".join(ranks) or NONE)
        + ".",
        *told,
    )
    return Table("Table 11", title, pd.DataFrame(lines), notes), {("EDSS model",): model}


def _edss_lines(model: Elimination) -> list[dict[str, str]]:
    blank = dict.fromkeys(
        ("step", "what", "beta (95 % CI)", "SE", "P", "VIF", "R2", "rise of R2"), ""
    )
    lines = []
    for name, (r2, rise) in model.blocks.items():
        lines.append({**blank, "step": "block", "what": name, "R2": number(r2),
                      "rise of R2": number(rise)})  # fmt: skip
    for i, step in enumerate(model.steps, 1):
        lines.append({**blank, "step": f"removal {i}", "what": step.removed, "P": p_text(step.p),
                      "R2": number(step.r2)})  # fmt: skip
    for one in model.final.predictors:
        lines.append({
            **blank, "step": "final", "what": one.name,
            "beta (95 % CI)": f"{one.beta:.2f} ({one.low:.2f} to {one.high:.2f})",
            "SE": number(one.se), "P": p_text(one.p), "VIF": number(one.vif),
        })  # fmt: skip
    final = model.final
    lines.append({**blank, "step": "final", "what": "model", "R2": f"{number(final.r2)} (adjusted "
                  f"{number(final.adjusted_r2)}, LOO {number(final.loo_r2)})"})  # fmt: skip
    return lines
