"""The tables of the SCI study, from its frames."""

from typing import Any

import pandas as pd

from score_jax.study.results import Table
from score_jax.study.sci_numbers import NONE, mean_sd, number, numbers_of
from score_jax.study.sci_options import SciOptions
from score_jax.study.sci_table_paper import paper_table
from score_jax.study.sci_tables_biomarkers import manual_table, phases_table, spearman_table
from score_jax.study.sci_tables_cohort import cohort_table
from score_jax.study.sci_tables_scores import (
    accuracy_table,
    baselines_table,
    new_site_table,
    normality_table,
    planes_table,
)


def sci_tables(
    sessions: pd.DataFrame,
    scores: pd.DataFrame,
    biomarkers: pd.DataFrame,
    *,
    options: SciOptions | None = None,
    active: pd.DataFrame | None = None,
) -> list[Table]:
    """Tables 1 to 9, S1 (normality) and S2 (active learning).

    Partial frames are fine: what cannot be computed is n.a., and a note says why.

    Args:
      sessions: a row a scan: participant, session, site, plane, age, sex, origin, level, implant,
        field, days_to_mri, pinprick_initial ... lems_discharge.
      scores: a row for each scan, seed, method (``3d``, ``2d``, a baseline), structure (``cord``,
        ``lesion``), phase and reference (``manual``, ``truth``): Dice, RVE (percent),
        SurfaceDistance (ANIMA's, mm), ASSD (mm), PPV_L, Sens_L, F1_L.
      biomarkers: a row for each scan, seed, method (``manual``, ``predicted``, ``truth``) and
        phase: volume (mm³), length (mm), adr (ratio). Nothing predicted is 0 in all three.
      options: the named choices.
      active: a row for each scan that the ranking listed: seed, case, place, score, taken, and
        Dice between prediction and correction (dice_cord, dice_lesion).
    """
    numbers = numbers_of(sessions, scores, biomarkers, options or SciOptions())
    return [
        cohort_table(numbers),
        accuracy_table(numbers),
        planes_table(numbers),
        new_site_table(numbers),
        phases_table(numbers),
        manual_table(numbers),
        spearman_table(numbers),
        baselines_table(numbers),
        paper_table(numbers),
        normality_table(numbers),
        active_table(active),
    ]


def active_table(active: pd.DataFrame | None) -> Table:
    """Table S2: what the first network's ranking handed out, seed by seed."""
    title = "Active learning: what was ranked, corrected and taken in"
    columns = ["seed", "ranked", "taken in", "score", "Dice before correction, cord",
               "Dice before correction, lesion"]  # fmt: skip
    if active is None or active.empty:
        note = "No scan of another plane of a training patient: nothing to rank."
        return Table("Table S2", title, pd.DataFrame(columns=columns), (note,))
    rows = []
    for seed, own in active.groupby("seed"):
        taken: Any = own[own["taken"].astype(bool)]
        scores: Any = own["score"].astype(float)
        rows.append(
            {
                "seed": seed,
                "ranked": len(own),
                "taken in": len(taken),
                "score": f"{number(scores.min())} to {number(scores.max())}",
                "Dice before correction, cord": _dice(taken, "dice_cord"),
                "Dice before correction, lesion": _dice(taken, "dice_lesion"),
            }
        )
    notes = (
        "Ranked by the phase-1 network of the seed (score-jax active rank); the correction of a "
        "scan is its manual mask, which the network had not seen.",
    )
    return Table("Table S2", title, pd.DataFrame(rows, columns=columns), notes)


def _dice(taken: pd.DataFrame, column: str) -> str:
    return mean_sd(taken[column].astype(float)) if column in taken else NONE
