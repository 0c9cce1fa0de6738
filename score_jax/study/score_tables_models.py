"""Rows and designs of the mixed models: areas of one compartment with their covariates."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import pandas as pd
from jaxtyping import Float64

from score_jax.statistics.mixed import (
    CrossedFit,
    Estimate,
    estimate,
    fit_crossed,
    percent_change,
)
from score_jax.statistics.normalisation import Normaliser, normaliser
from score_jax.statistics.regression import without_collinear
from score_jax.study.score_tables_frames import Frame, Study, select

_UNKNOWN = Estimate(math.nan, math.nan, math.nan, math.nan, math.nan, math.nan)


def model_rows(
    study: Study, compartment: str, tissue: str = "total", *, method: str = "score",
    groups: tuple[str, ...] = ("HC", "MS"),
) -> Frame:  # fmt: skip
    """Areas of the first scan, one row a slice, with `group`, covariates and `progressive`.

    Sex is 0 (F) and 1 (M). Normal-appearing tissue of controls is all of it. The canal is the
    subject's mean or the slice's own area, as the options say.
    """
    rows = select(study.areas, compartment=compartment, method=method, scan=1.0, ok=True)
    hc = select(rows, group="HC", tissue="total")
    ms = select(rows, group="MS", tissue=tissue)
    rows = pd.concat([part for name, part in (("HC", hc), ("MS", ms)) if name in groups])
    people = study.subjects.set_index("subject")
    columns = {
        name: rows["subject"].map(people[name]).astype(float)
        for name in ("age", "tiv", "canal", "progressive")
    }
    columns["sex"] = rows["subject"].map(people["sex"].map({"F": 0.0, "M": 1.0})).astype(float)
    rows = rows.assign(**columns)
    return _own_canal(study, rows) if study.options.canal == "slice" else rows


def _own_canal(study: Study, rows: Frame) -> Frame:
    canal = select(study.areas, compartment="canal", tissue="total", scan=1.0)
    method = "score" if (canal["method"] == "score").any() else "manual"
    canal = select(canal, method=method)[["subject", "slice", "area"]]
    merged = rows.drop(columns="canal").merge(
        canal.rename(columns={"area": "canal"}), on=["subject", "slice"], how="left"
    )
    return merged


def areas_of(rows: Frame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Area, subject and slice as arrays."""
    return (
        rows["area"].to_numpy(np.float64),
        rows["subject"].to_numpy(str),
        rows["slice"].to_numpy(np.float64),
    )


def normaliser_of(study: Study, compartment: str, factors: Sequence[str]) -> Normaliser:
    """The residual method's slopes of these factors in the controls.

    Raises:
      ValueError: they cannot be estimated (a factor that is missing or constant).
    """
    rows = model_rows(study, compartment, groups=("HC",))
    area, subject, level = areas_of(rows)
    return normaliser(area, covariates(rows, factors), subject, level)


def covariates(rows: Frame, names: Sequence[str]) -> dict[str, Float64[np.ndarray, " n"]]:
    """Columns as arrays."""
    return {name: rows[name].to_numpy(np.float64) for name in names}


@final
@dataclass(frozen=True, slots=True)
class GroupEffect:
    """Two groups' areas by a mixed model with both random intercepts.

    Args:
      base: marginal mean of the reference group, mm2, covariates at the pooled means.
      other: of the other group.
      difference: other - base, mm2.
      percent: of `base`.
      subjects: how many in each group.
      singular: intercepts without variance.
      why: why there is nothing, or which covariates were left out; empty otherwise.
    """

    base: Estimate
    other: Estimate
    difference: Estimate
    percent: Estimate
    subjects: tuple[int, int]
    singular: tuple[str, ...] = ()
    why: str = ""


def group_effect(rows: Frame, flag: Float64[np.ndarray, " n"], names: Sequence[str]) -> GroupEffect:
    """Compare the rows with `flag` 1 with those with 0, covariates `names` held fixed.

    Rows with a missing covariate are left out; a covariate that is missing for all, constant or
    collinear is left out of the model and named in `why`.
    """
    told = [name for name in names if rows[name].isna().all()]
    names = [name for name in names if name not in told]
    kept = rows[list(names)].notna().all(axis=1).to_numpy(bool) & np.isfinite(flag)
    rows, flag = rows.loc[kept], flag[kept]
    area, subject, level = areas_of(rows)
    sizes = (np.unique(subject[flag == 0]).size, np.unique(subject[flag == 1]).size)
    if min(sizes) < 2:
        return _no_effect(sizes, "fewer than two subjects in a group")
    columns, dropped = without_collinear(
        {"group": flag, **covariates(rows, names)}, ["group", *names]
    )
    told += dropped
    if "group" not in columns:
        return _no_effect(sizes, "the groups do not differ")
    x = np.column_stack([np.ones(len(flag)), *columns.values()])
    try:
        fit = fit_crossed(area, x, subject, level, ("1", *columns))
    except ValueError as error:
        return _no_effect(sizes, str(error))
    base, other = _marginal(fit, x, subject, 0.0), _marginal(fit, x, subject, 1.0)
    why = f"without {', '.join(told)}" if told else ""
    return GroupEffect(
        estimate(fit, base), estimate(fit, other), estimate(fit, other - base),
        percent_change(fit, base, other), sizes, fit.singular, why,
    )  # fmt: skip


def _no_effect(sizes: tuple[int, int], why: str) -> GroupEffect:
    return GroupEffect(_UNKNOWN, _UNKNOWN, _UNKNOWN, _UNKNOWN, sizes, why=why)


def _marginal(
    fit: CrossedFit, x: Float64[np.ndarray, "n p"], subject: np.ndarray, flag: float
) -> Float64[np.ndarray, " p"]:
    """Weights of a group's mean; covariates at their mean over subjects of both groups."""
    _, place = np.unique(subject, return_inverse=True)
    counts = np.bincount(place)
    means = np.array([(np.bincount(place, column) / counts).mean() for column in x.T])
    means[fit.names.index("group")] = flag
    return means
