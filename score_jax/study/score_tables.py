"""The SCORE study's tables 1 to 13, from the four frames of its measurements."""

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from score_jax.study.results import Table
from score_jax.study.score_tables_agreement import (
    accuracy_table,
    raters_table,
    reproducibility_table,
    sensitivity_table,
)
from score_jax.study.score_tables_areas import areas_table, factors_table, normalisation_table
from score_jax.study.score_tables_cohort import slices_table, subjects_table
from score_jax.study.score_tables_frames import PARTS, Study, read_study
from score_jax.study.score_tables_groups import edss_table, patients_table, types_table
from score_jax.study.score_tables_options import TableOptions
from score_jax.study.score_tables_paper import paper_table

Found = dict[tuple[str, ...], Any]


def score_tables(
    subjects: pd.DataFrame, slices: pd.DataFrame, areas: pd.DataFrame, pairs: pd.DataFrame, *,
    options: TableOptions | Mapping[str, Any] | None = None, seed: int = 0,
) -> list[Table]:  # fmt: skip
    """Tables 1 to 13.

    Empty and partial frames give tables with n.a. and a note; what was wrong with the frames is
    named below table 1 (a subject with two groups, a missing covariate, a slice without a mask, a
    compartment that nobody drew) and the rest goes on.

    Args:
      subjects: a row a subject: subject, group (``HC``, ``MS``), type (``RR``, ``SP``, ``PP`` or
        empty), sex (``F``, ``M``), age and duration (years), edss, tiv (litres), canal (mm2);
        NaN where unknown.
      slices: a row a scanned slice: subject, scan (1 to 3), slice (1 to 12), excluded and its
        reason, flagged by the failure detection and its reasons (letters a to f, ``;`` between),
        truth_failure (NaN where the truth is unknown).
      areas: mm2 by subject, scan, slice, compartment (SC, WM, GM, AH, PH, GC, canal, lesion),
        tissue (``total``, ``NA``), method (``manual``, ``score``, ``truth``) and rater
        (``consensus`` or a number); ok is False for excluded and, of SCORE, flagged slices.
      pairs: rsd (%), dsc, hd (mm) by subject, slice, comparison (``intra``, ``inter``,
        ``accuracy``, ``interrater``), compartment, tissue and method; ok as above.
      options: a `TableOptions`, or its values by name.
      seed: of the bootstrap.

    Raises:
      ConfigError: an unknown option.
    """
    study = read_study(subjects, slices, areas, pairs, options=TableOptions.of(options), seed=seed)
    found: Found = {}
    first = [
        _made(function, study, found)
        for function in (
            subjects_table, slices_table, raters_table, reproducibility_table, accuracy_table,
            areas_table, factors_table, normalisation_table,
        )
    ]  # fmt: skip
    chosen = {name: found["strategy", name].chosen for name in PARTS}
    groups = [
        _made(lambda one: patients_table(one, chosen), study, found),
        _made(lambda one: types_table(one, chosen), study, found),
        _made(edss_table, study, found),
        _made(sensitivity_table, study, found),
    ]
    return [*first, *groups, paper_table(study, found)]


def _made(function: Callable[[Study], tuple[Table, Found]], study: Study, found: Found) -> Table:
    table, more = function(study)
    found |= more
    return table
