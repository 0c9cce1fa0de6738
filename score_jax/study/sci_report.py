"""The report of the SCI study: what is said around its tables and figures."""

import platform
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import pandas as pd

from score_jax import __version__
from score_jax.config import TrainConfig
from score_jax.study.report import Report
from score_jax.study.sci_baselines import Baseline
from score_jax.study.sci_cohort import SciCohort
from score_jax.study.sci_figures import sci_figures
from score_jax.study.sci_options import SciOptions, choices
from score_jax.study.sci_tables import sci_tables
from score_jax.study.stages import Stage

_TITLE = "SCI study: cord and lesions after spinal cord injury"


@final
@dataclass(frozen=True, slots=True)
class Given:
    """What the study was asked for.

    Args:
      seed: of the simulated people; None for people of a dataset.
      scale: ``smoke``, ``small``, ``full`` or empty.
      command: as typed.
    """

    seed: int | None
    scale: str = ""
    command: tuple[str, ...] = ()


def report_of(
    frames: Mapping[str, pd.DataFrame],
    problems: Sequence[Mapping[str, str]],
    given: Given,
    *,
    cohort: SciCohort,
    options: SciOptions,
    recipes: Mapping[str, TrainConfig],
    stages: Sequence[Stage],
    others: Sequence[Baseline],
    key: str,
) -> Report:
    """The page: tables and figures of the frames, problems, choices, and how it was made.

    Args:
      frames: ``sessions``, ``scores``, ``biomarkers`` and ``active``, as `sci_tables` takes them.
      problems: of the input: where, problem, done.
      given: what was asked for.
      cohort: what was studied.
      options: its choices.
      recipes: of the networks.
      stages: with their times.
      others: baselines.
      key: checksum of the scans.
    """
    three = (frames["sessions"], frames["scores"], frames["biomarkers"])
    return Report(
        title=_TITLE,
        lead=_lead(cohort, options, given),
        problems=pd.DataFrame(list(problems), columns=["where", "problem", "done"]),
        tables=sci_tables(*three, options=options, active=frames["active"]),
        figures=sci_figures(*three, options=options),
        choices=choices(options),
        made_by=_made_by(given, options, recipes, stages, others, key),
    )


def _lead(cohort: SciCohort, options: SciOptions, given: Given) -> list[str]:
    people = cohort.sessions["participant"].nunique()
    simulated = given.seed is not None
    who = "simulated people (no human was scanned)" if simulated else "people"
    lead = [
        f"{len(cohort.scans)} scans of {people} {who}; {len(options.seeds)} seeds, each with its "
        "own split of the patients and its own networks. Repeats Naga Karthik, Valosek et al. "
        "(2024): three phases with active learning, 3-D against 2-D, lesion biomarkers, clinical "
        "scores, scans of a kind never trained on.",
    ]
    if simulated:
        lead.append(
            "The manual masks are those of a simulated rater; the truth is known, and the last "
            "column of Table 9 is against it."
        )
    if given.scale == "smoke":
        lead.append(
            "Scale smoke: tiny networks, few scans, few steps. Its numbers show that every "
            "part runs; they say nothing of how well such networks segment."
        )
    return lead


def _made_by(
    given: Given,
    options: SciOptions,
    recipes: Mapping[str, TrainConfig],
    stages: Sequence[Stage],
    others: Sequence[Baseline],
    key: str,
) -> dict[str, str]:
    import jax

    device = jax.devices()[0]
    made = {
        "score-jax": __version__,
        "JAX": f"{jax.__version__} on {device.platform} ({device.device_kind})",
        "Python": platform.python_version(),
        "command": shlex.join(given.command) or "from Python",
        "scale": given.scale or "own",
        "seeds of the splits": ", ".join(map(str, options.seeds)),
        "seed of the networks": ", ".join(f"{name} {r.seed}" for name, r in recipes.items()),
        "optimiser steps": ", ".join(f"{name} {r.steps}" for name, r in recipes.items()),
        "checksum of the scans": key,
    }
    if given.seed is not None:
        made["seed of the people"] = str(given.seed)
    made |= {f"baseline {one.name}": f"SHA-256 {one.sha256}" for one in others}
    made["time"] = f"{sum(stage.seconds for stage in stages):.0f} s in all stages"
    return made | {f"time of {stage.name}": f"{stage.seconds:.1f} s" for stage in stages}
