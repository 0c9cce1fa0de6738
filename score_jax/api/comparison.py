"""Which configuration to use: held-out Dice of several, and of their pairs as ensembles."""

import itertools
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from score_jax import checkpointing, data
from score_jax._types import PathLike
from score_jax.api import runs
from score_jax.api.held_out import Held, read_case, read_shares, read_summary, validated_cases
from score_jax.api.postprocessing import to_file, to_judge
from score_jax.arrays.regions import labels_from_masks, masks_from_probabilities
from score_jax.errors import ConfigError
from score_jax.evaluation.label_summary import case_entry, labels_of, summarise
from score_jax.evaluation.postprocessing import Found, HeldOut, find
from score_jax.imaging import write_json, write_text
from score_jax.inference import postprocessing
from score_jax.inference.ensemble import Mean

TABLE, INSTRUCTIONS = "comparison.json", "inference_instructions.txt"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A configuration, or several whose probabilities are averaged.

    Args:
      names: the configurations, as they were given.
      dice: mean Dice of each region over the cases that have it.
      mean: mean of these over the regions (nnU-Net's ``foreground_mean``).
    """

    names: tuple[str, ...]
    dice: Mapping[str, float]
    mean: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """Outcome of a comparison.

    Args:
      candidates: single configurations first, then pairs.
      best: the one with the highest mean; of equals the first, which is the simpler one.
      cases: how many held-out cases all of them were judged on.
      postprocessing: what improves the best one further.
      notes: pairs that could not be judged, and why.
      commands: how to use the best one.
    """

    candidates: tuple[Candidate, ...]
    best: Candidate
    cases: int
    postprocessing: Found
    notes: tuple[str, ...]
    commands: tuple[str, ...]


def compare(
    configurations: Sequence[PathLike],
    dataset: PathLike | None = None,
    *,
    out: PathLike | None = None,
    min_size: Sequence[str] = (),
) -> Comparison:
    """Judge configurations, and each pair of them as an ensemble, on the same held-out cases.

    As nnU-Net's ``find_best_configuration``: the highest mean Dice wins, and post-processing is
    searched for the winner. Pairs need the probabilities that ``validate --soft`` writes.

    Args:
      configurations: each a validated run, or a folder with the validated folds of one.
      dataset: what they were trained on; by default where it was before.
      out: folder for ``comparison.json``, ``postprocessing.json`` and
        ``inference_instructions.txt``.
      min_size: regions to look for a smallest volume of, too (`find_postprocessing`).

    Raises:
      ConfigError: a run that was not validated, a case held out twice, or configurations that were
        not judged on the same cases and regions.
      DatasetError, ImageError, GeometryError: as `find_postprocessing`.
      OutputError: disk full, no permission.
    """
    found = [_Configuration.read(path, dataset) for path in configurations]
    _check_comparable(found)
    sets, notes = _sets(found)
    regions = found[0].dataset.regions
    entries: dict[tuple[int, ...], list[dict[str, object]]] = {chosen: [] for chosen in sets}
    for case in found[0].runs_of:
        for chosen, masks, held in _predictions(found, sets, case):
            found_map, true_map = (labels_from_masks(m, regions) for m in (masks, held.reference))
            entry = case_entry(case, case, found_map, true_map, labels_of(regions))
            entries[chosen].append(entry)
    candidates = {}
    for chosen in sets:
        summary = summarise(entries[chosen])
        dice = {
            region.name: summary["mean"][str(key)]["Dice"]
            for region, key in zip(regions, labels_of(regions), strict=True)
        }
        names = tuple(found[n].name for n in chosen)
        candidates[chosen] = Candidate(names, dice, summary["foreground_mean"]["Dice"])
    best = max(sets, key=lambda chosen: np.nan_to_num(candidates[chosen].mean, nan=-1.0))
    outcome = find(_winner(found, best), regions, min_size=min_size)
    result = Comparison(
        tuple(candidates.values()),
        candidates[best],
        len(found[0].runs_of),
        outcome,
        tuple(notes),
        _commands([found[n] for n in best], outcome, out),
    )
    if out is not None:
        _write(result, Path(out))
    return result


@dataclass(frozen=True, slots=True)
class _Configuration:
    """The validated runs of one configuration; `runs_of` has the run that held out each case."""

    name: str
    dataset: data.Dataset
    runs_of: Mapping[str, Path]
    soft: bool
    exclusive: bool

    @classmethod
    def read(cls, path: PathLike, dataset: PathLike | None) -> "_Configuration":
        runs_of: dict[str, Path] = {}
        every = runs.runs_in(path)
        validated = {run: validated_cases(run, dataset) for run in every}
        for run, (_, cases) in validated.items():
            twice = [case for case in cases if case in runs_of]
            if twice:
                raise ConfigError(
                    f"{path}: the case {twice[0]!r} was held out by {runs_of[twice[0]].name} and "
                    f"by {run.name}; expected the folds of one cross-validation"
                )
            runs_of |= dict.fromkeys(cases, run)
        soft = all(read_summary(run)["score_jax"].get("soft") for run in every)
        exclusive = runs.configuration(every[0]).exclusive
        found, _ = validated[every[0]]
        return cls(str(path), found, dict(sorted(runs_of.items())), soft, exclusive)

    def models(self) -> list[str]:
        """What `ensembling.ensemble` takes: its name, or its runs if they differ in their grid."""
        every = sorted(set(self.runs_of.values()))
        specs = [checkpointing.load_model(run)[0] for run in every] if len(every) > 1 else []
        same = all(spec == specs[0] for spec in specs)
        return [self.name] if same else [str(run) for run in every]


def _check_comparable(found: Sequence[_Configuration]) -> None:
    if not found:
        raise ConfigError("compare: got no configuration; expected at least one")
    first = found[0]
    for other in found[1:]:
        if other.dataset.regions != first.dataset.regions:
            ours, theirs = ("; ".join(map(str, f.dataset.regions)) for f in (first, other))
            raise ConfigError(
                f"{other.name}: got the regions {theirs}; expected those of {first.name}: {ours}"
            )
        apart = sorted(set(first.runs_of) ^ set(other.runs_of))
        if apart:
            raise ConfigError(
                f"{other.name}: held out other cases than {first.name} (e.g. {apart[0]!r}); "
                "expected the same ones",
                hint="train and validate the same folds of each",
            )


def _sets(found: Sequence[_Configuration]) -> tuple[list[tuple[int, ...]], list[str]]:
    """Single configurations, then the pairs that can be averaged; why the others cannot."""
    sets: list[tuple[int, ...]] = [(number,) for number in range(len(found))]
    notes = []
    for pair in itertools.combinations(range(len(found)), 2):
        missing = [found[n].name for n in pair if not found[n].soft]
        names = " + ".join(found[n].name for n in pair)
        if missing:
            notes.append(f"{names}: not judged, {missing[0]} was validated without --soft")
        elif found[pair[0]].exclusive != found[pair[1]].exclusive:
            notes.append(f"{names}: not judged, one has classes (softmax), the other regions")
        else:
            sets.append(pair)
    return sets, notes


def _predictions(
    found: Sequence[_Configuration], sets: Sequence[tuple[int, ...]], case: str
) -> Iterator[tuple[tuple[int, ...], Bool[np.ndarray, "x y z r"], Held]]:
    """The masks of one case by each set of configurations."""
    wanted = sorted({number for chosen in sets for number in chosen})
    held = {n: read_case(found[n].runs_of[case], case, found[n].dataset) for n in wanted}
    averaged = {number for chosen in sets if len(chosen) > 1 for number in chosen}
    regions = found[0].dataset.regions
    shares = {n: read_shares(held[n], regions) for n in averaged}
    for chosen in sets:
        one = held[chosen[0]]
        if len(chosen) == 1:
            yield chosen, one.masks, one
            continue
        mean = Mean()
        for number in chosen:
            mean.add(shares[number])
        exclusive = found[chosen[0]].exclusive
        masks = masks_from_probabilities(mean.value, regions, exclusive=exclusive)
        if one.ignored is not None:
            masks = masks & ~one.ignored[..., None]
        yield chosen, masks, one


def _winner(found: Sequence[_Configuration], best: tuple[int, ...]) -> list[HeldOut]:
    return [
        to_judge(held, masks)
        for case in found[0].runs_of
        for _, masks, held in _predictions(found, [best], case)
    ]


def _commands(
    best: Sequence[_Configuration], outcome: Found, out: PathLike | None
) -> tuple[str, ...]:
    models = [name for one in best for name in one.models()]
    words = ["score-jax", "ensemble", *models, "--out", "MODEL"]
    words += ["--mixed"] if len(models) > 1 else []
    if outcome.rules and out is not None:
        words += ["--postprocessing", str(Path(out) / postprocessing.FILE)]
    return shlex.join(words), "score-jax predict SCAN.nii.gz --model MODEL --out MASKS"


def _write(result: Comparison, out: Path) -> None:
    write_json(
        out / TABLE,
        {
            "cases": result.cases,
            "candidates": [
                {"configurations": c.names, "mean_dice": c.mean, "dice": c.dice}
                for c in result.candidates
            ],
            "best": result.best.names,
            "notes": result.notes,
        },
    )
    postprocessing.write(out, to_file(result.postprocessing, result.cases))
    lines = [
        f"Best of {len(result.candidates)} on {result.cases} held-out cases: "
        f"{' + '.join(result.best.names)} (mean Dice {result.best.mean:.4f}).",
        "",
        *result.commands,
    ]
    write_text(out / INSTRUCTIONS, "\n".join(lines) + "\n")
