"""Table 1 of the SCI study: who was scanned, where and how."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from score_jax.study.results import Table
from score_jax.study.sci_numbers import NONE, Numbers, column_title, mean_sd, number

_MOST = 6  # kinds of one covariate that are listed


def cohort_table(numbers: Numbers) -> Table:
    """Patients, scans and covariates of each site, and of all."""
    scans: Any = numbers.sessions
    sites = sorted(scans["site"].dropna().unique())
    columns = {site: scans[scans["site"] == site] for site in sites} | {"all": scans}
    rows = [
        {"": name, **{column_title(site): show(own) for site, own in columns.items()}}
        for name, show in _ROWS.items()
    ]
    notes = ["Levels and injuries as participants.tsv names them; counts of people unless said."]
    for name in ("age", "sex", "origin", "level", "implant", "field", "days_to_mri"):
        if not len(scans) or scans[name].isna().all():
            notes.append(f"{name}: not known for anybody")
    return Table("Table 1", "The cohort by site", pd.DataFrame(rows), tuple(notes))


def _people(scans: pd.DataFrame) -> pd.DataFrame:
    return scans.drop_duplicates("participant")


def _kinds(name: str, of: Callable[[pd.DataFrame], pd.DataFrame]) -> Callable[[pd.DataFrame], str]:
    def show(scans: pd.DataFrame) -> str:
        values = of(scans)[name].dropna()
        if not len(values):
            return NONE
        found = values.map(lambda v: f"{v:g}" if isinstance(v, float) else str(v)).value_counts()
        order = sorted(found.items(), key=lambda item: (-item[1], str(item[0])))
        shown = [f"{kind} {n}" for kind, n in order[:_MOST]]
        return ", ".join(shown + [f"{len(order) - _MOST} more kinds"] * (len(order) > _MOST))

    return show


def _scans(scans: pd.DataFrame) -> pd.DataFrame:
    return scans


def _average(name: str) -> Callable[[pd.DataFrame], str]:
    return lambda scans: mean_sd(_people(scans)[name].astype(float), 1)


def _days(scans: pd.DataFrame) -> np.ndarray:
    """The known days from injury to scan, a value a person."""
    return _people(scans)["days_to_mri"].dropna().to_numpy(float)


def _implants(scans: pd.DataFrame) -> str:
    known = _people(scans)["implant"].dropna().astype(str).str.lower()
    if not len(known):
        return NONE
    return f"{int(known.isin(['yes', 'y', '1', '1.0', 'true']).sum())} of {len(known)}"


_ROWS: dict[str, Callable[[pd.DataFrame], str]] = {
    "patients": lambda scans: str(scans["participant"].nunique()),
    "scans": lambda scans: str(len(scans)),
    "plane (scans)": _kinds("plane", _scans),
    "sex": _kinds("sex", _people),
    "age, years (mean ± SD)": _average("age"),
    "origin": _kinds("origin", _people),
    "level": _kinds("level", _people),
    "implants": _implants,
    "field, T": _kinds("field", _people),
    "days to MRI (mean ± SD)": _average("days_to_mri"),
    "days to MRI (median)": lambda scans: number(
        float(np.median(_days(scans))) if len(_days(scans)) else math.nan, 1
    ),
}
