"""The SCI study's frames made ready for its tables: averaged over seeds, columns completed.

Frames may be partial (no lesions, one site, an absent covariate): what is not there is NaN here and
n.a. in a table.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np
import pandas as pd

from score_jax.statistics.outcome import Outcome
from score_jax.statistics.ranks import wilcoxon
from score_jax.statistics.significance import format_p
from score_jax.study.sci_options import SciOptions

NONE = "n.a."
SCAN = ["participant", "session", "site"]
METRICS = ("Dice", "RVE", "SurfaceDistance", "ASSD", "PPV_L", "Sens_L", "F1_L")
MEASURES = ("volume", "length", "adr")
MANUAL, PREDICTED, TRUTH = "manual", "predicted", "truth"
THREE_D, TWO_D = "3d", "2d"
FIRST_PHASE = 1

_SESSIONS = (*SCAN, "plane", "age", "sex", "origin", "level", "implant", "field", "days_to_mri")
_SCORES = (*SCAN, "seed", "method", "structure", "phase", "reference")
_BIOMARKERS = (*SCAN, "seed", "method", "phase")


@final
@dataclass(frozen=True, eq=False, slots=True)
class Numbers:
    """What the tables are made of.

    Args:
      sessions: a row a scan, every column there.
      scores: a row for each scan, method, structure, phase and reference: means over seeds.
      biomarkers: a row for each scan, method and phase: means over seeds, with `options.no_lesion`.
      phases: the same biomarkers with `options.no_lesion_phases`.
      sites: the tested sites, sorted.
      new: sites that nothing was trained on.
      last: the last phase of the 3-D network.
      options: the choices.
    """

    sessions: pd.DataFrame
    scores: pd.DataFrame
    biomarkers: pd.DataFrame
    phases: pd.DataFrame
    sites: tuple[str, ...]
    new: tuple[str, ...]
    last: int
    options: SciOptions
    _kept: dict[Any, pd.Series] = field(default_factory=dict, repr=False)  # what was asked before

    @property
    def methods(self) -> tuple[str, ...]:
        """3-D, 2-D, then the baselines by name; those that scored anything."""
        there = self.scores["method"].dropna().unique().tolist()
        own = [name for name in (THREE_D, TWO_D) if name in there]
        return (*own, *sorted(set(there) - set(own)))

    def sites_of(self, column: str) -> tuple[str, ...]:
        """The sites that a table's column covers: one, ``average`` or ``all`` the tested ones."""
        return self.sites if column in ("average", "all") else (column,)

    def score(
        self, structure: str, method: str, metric: str, column: str, *, reference: str = MANUAL
    ) -> pd.Series:
        """One metric of the last networks, by scan (participant, session, site)."""
        key = (structure, method, metric, column, reference)
        if key not in self._kept:
            f = self.scores
            chosen: Any = f[
                (f["structure"] == structure)
                & (f["method"] == method)
                & (f["reference"] == reference)
                & f["site"].isin(self.sites_of(column))
                & (f["phase"] == self.last)
            ]
            self._kept[key] = by_scan(chosen, metric)
        return self._kept[key]

    def biomarker(
        self, method: str, measure: str, column: str, *, phase: int | None = None
    ) -> pd.Series:
        """One biomarker by scan; with `phase` by the rule for comparing phases.

        Manual and true ones have no phase: `phase` only chooses the rule.
        """
        key = (method, measure, column, phase)
        if key not in self._kept:
            f = self.biomarkers if phase is None else self.phases
            chosen: Any = f[(f["method"] == method) & f["site"].isin(self.sites_of(column))]
            if method == PREDICTED:
                chosen = chosen[chosen["phase"] == (self.last if phase is None else phase)]
            self._kept[key] = by_scan(chosen, measure)
        return self._kept[key]


def numbers_of(
    sessions: pd.DataFrame,
    scores: pd.DataFrame,
    biomarkers: pd.DataFrame,
    options: SciOptions,
) -> Numbers:
    """The frames with every column, averaged over seeds (NaN skipped, as the paper's code does)."""
    sessions = _complete(sessions, _SESSIONS)
    scores = _complete(scores, (*_SCORES, *METRICS))
    scores["reference"] = scores["reference"].astype(object).fillna(MANUAL)
    biomarkers = _complete(biomarkers, (*_BIOMARKERS, *MEASURES))
    if options.damage_above_one == "drop":
        biomarkers.loc[biomarkers["adr"].astype(float) > 1, "adr"] = math.nan
    own: Any = scores.loc[scores["method"] == THREE_D, "phase"].dropna()
    last = int(own.max()) if len(own) else FIRST_PHASE
    scores["phase"] = scores["phase"].fillna(last)  # a baseline has no phase
    there = set(scores["site"].dropna()) | set(biomarkers["site"].dropna())
    special = {*options.train_only, *options.generalise}
    return Numbers(
        sessions,
        _over_seeds(scores, ["method", "structure", "phase", "reference"], METRICS),
        _over_seeds(_no_lesion(biomarkers, options.no_lesion), ["method", "phase"], MEASURES),
        _over_seeds(
            _no_lesion(biomarkers, options.no_lesion_phases), ["method", "phase"], MEASURES
        ),
        tuple(sorted(there - special)),
        tuple(sorted(there & set(options.generalise))),
        last,
        options,
    )


def paired(a: pd.Series, b: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """The values of the scans that both have, in one order; NaN where one is unknown."""
    both = a.index.intersection(b.index, sort=False)
    return a.loc[both].to_numpy(float), b.loc[both].to_numpy(float)


def compare(a: pd.Series, b: pd.Series) -> Outcome:
    """Wilcoxon's signed-rank test over the scans that both have."""
    return wilcoxon(*paired(a, b))


def mean_sd(values: Iterable[float], digits: int = 2) -> str:
    """``.92 ± .07``-like text: mean and SD (n - 1) of what is known; n.a. of nothing."""
    known = _known(values)
    if not known.size:
        return NONE
    sd = f"{known.std(ddof=1):.{digits}f}" if known.size > 1 else NONE
    return f"{known.mean():.{digits}f} ± {sd}"


def median_iqr(values: Iterable[float], digits: int = 2) -> str:
    """Median and quartiles of what is known; n.a. of nothing."""
    known = _known(values)
    if not known.size:
        return NONE
    low, middle, high = np.percentile(known, [25, 50, 75])
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def count(values: Iterable[float]) -> int:
    """How many are known."""
    return int(_known(values).size)


def p_text(outcome: Outcome) -> str:
    """The P value as the tables print it."""
    return format_p(outcome.p)


def number(value: float, digits: int = 2) -> str:
    """A number as text; n.a. if it is not known."""
    return NONE if not math.isfinite(value) else f"{value:.{digits}f}"


def column_title(column: str) -> str:
    """``site1`` as ``site 1``."""
    return f"site {column[4:]}" if column[:4] == "site" and column[4:].isdigit() else column


def method_title(method: str) -> str:
    """``3d`` as ``3-D``."""
    return {THREE_D: "3-D", TWO_D: "2-D"}.get(method, method)


def by_scan(rows: pd.DataFrame, column: str) -> pd.Series:
    """One column, its index the scan: a tuple each, which costs less than three levels."""
    scans = pd.Index(list(zip(*(rows[name] for name in SCAN), strict=True)), tupleize_cols=False)
    return pd.Series(rows[column].to_numpy(float), scans, name=column)


def _known(values: Iterable[float]) -> np.ndarray:
    array = np.asarray(list(values), float)
    return array[np.isfinite(array)]


def _complete(frame: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    full = frame.copy()
    for name in columns:
        if name not in full:
            full[name] = math.nan if name != "session" else "01"
    return full


def _no_lesion(biomarkers: pd.DataFrame, rule: str) -> pd.DataFrame:
    """Scans in which nothing was predicted have zeros in the frame; `drop` makes them unknown."""
    if rule == "zero":
        return biomarkers
    out = biomarkers.copy()
    empty = (out["method"] == PREDICTED) & (out["volume"] == 0)
    out[list(MEASURES)] = out[list(MEASURES)].astype(float).mask(empty, axis=0)
    return out


def _over_seeds(frame: pd.DataFrame, keys: Sequence[str], values: Sequence[str]) -> pd.DataFrame:
    """Means over seeds; a scan whose value is NaN for one seed has the mean of the others."""
    values = list(values)
    frame = frame.astype(dict.fromkeys(values, float))
    groups = frame.groupby([*SCAN, *keys], dropna=False, sort=True)
    means: Any = groups[values].mean()
    return means.reset_index()
