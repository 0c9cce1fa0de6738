"""Post-processing of runs: found on what they held out, written where `predict` reads it."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool

from score_jax._types import PathLike
from score_jax.api import runs
from score_jax.api.held_out import Held, read_case, validated_cases
from score_jax.arrays.regions import Region
from score_jax.config.postprocessing import Postprocessing
from score_jax.errors import DatasetError
from score_jax.evaluation.postprocessing import Found, HeldOut, RegionScores, find
from score_jax.inference import postprocessing


def find_postprocessing(
    folders: Sequence[PathLike],
    dataset: PathLike | None = None,
    *,
    min_size: Sequence[str] = (),
    write: bool = True,
) -> Found:
    """Rules that improve Dice on the held-out cases of one or several runs.

    Give all folds of a cross-validation together: each case is judged on the mask of the fold that
    held it out, and the rules belong to all of them.

    Args:
      folders: validated runs, or folders of them.
      dataset: what they were trained on; by default where it was before.
      min_size: regions to look for a smallest volume of, too.
      write: put ``postprocessing.json`` into every run, also if no rule was found.

    Raises:
      ConfigError: a run that was not validated, or an unknown region.
      DatasetError: runs of different regions.
      ImageError, GeometryError: masks that are missing, damaged or of another grid.
      OutputError: disk full, no permission.
    """
    every = [run for folder in folders for run in runs.runs_in(folder)]
    regions: tuple[Region, ...] = ()
    cases = []
    for run in every:
        found, ids = validated_cases(run, dataset)
        if regions and found.regions != regions:
            raise DatasetError(
                f"{run}: got the regions {'; '.join(map(str, found.regions))}; expected those of "
                f"{every[0]}: {'; '.join(map(str, regions))}"
            )
        regions = found.regions
        cases += [to_judge(read_case(run, case, found)) for case in ids]
    outcome = find(cases, regions, min_size=min_size)
    if write:
        for run in every:
            postprocessing.write(run, to_file(outcome, len(cases)))
    return outcome


def to_judge(held: Held, masks: Bool[np.ndarray, "x y z r"] | None = None) -> HeldOut:
    """A case as the search takes it; with `masks` in place of those that were written."""
    chosen = held.masks if masks is None else masks
    return HeldOut(chosen, held.reference, held.volume.spacing).cropped()


def to_file(found: Found, cases: int) -> Postprocessing:
    """The rules with the evidence for them."""
    evidence = {
        "cases": cases,
        "before": _as_dict(found.before),
        "after": _as_dict(found.after),
        "tried": [
            {"rule": str(t.rule), "before": t.before, "after": t.after, "accepted": t.accepted}
            for t in found.trials
        ],
    }
    return Postprocessing(rules=found.rules, evidence=evidence)


def _as_dict(scores: Mapping[str, RegionScores]) -> dict[str, Any]:
    return {
        name: {**dataclasses.asdict(one), "sensitivity": one.sensitivity}
        for name, one in scores.items()
    }
