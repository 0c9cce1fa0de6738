"""Scores of pairs (RSD, DSC, HD): transformed, summarised, compared; numbers only."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from score_jax.statistics.ladder import Ladder, tukey_ladder
from score_jax.statistics.means import (
    paired_t,
    paired_t_of_subjects,
    subject_means,
    welch_t,
)
from score_jax.statistics.multivariate import Comparisons, Effect, manova, tukey
from score_jax.statistics.outcome import Outcome, impossible
from score_jax.study.score_tables_frames import METRICS, Frame, select
from score_jax.study.score_tables_text import DIGITS, NONE, Summary, number, summarise

BETTER = {"rsd": -1, "dsc": 1, "hd": -1}  # sign of an improvement
Key = tuple[str, ...]


@final
@dataclass(frozen=True, slots=True)
class Scale:
    """The ladder of each metric, found once on all values of an analysis.

    Args:
      ladders: metric to ladder.
      turned: DSC enters as 1 - DSC and leaves with its sign turned, so that more stays better.
    """

    ladders: Mapping[str, Ladder]
    turned: bool

    def apply(self, rows: Frame) -> Frame:
        """The rows with ``rsd_t``, ``dsc_t``, ``hd_t`` beside the metrics."""
        added = {}
        for metric, ladder in self.ladders.items():
            values = rows[metric].to_numpy(np.float64)
            turn = self.turned and metric == "dsc"
            added[f"{metric}_t"] = -ladder.apply(1 - values) if turn else ladder.apply(values)
        return rows.assign(**added)

    def note(self) -> str:
        """The powers in one line."""
        parts = []
        for metric, ladder in self.ladders.items():
            name = "1-DSC" if self.turned and metric == "dsc" else metric.upper()
            bound = ", at the bound of the grid" if ladder.at_bound else ""
            parts.append(f"{name} {ladder.power:g} (W {number(ladder.w, 3)}{bound})")
        return (
            "Tests are of values transformed by Tukey's ladder, one power a metric over all values "
            "of the table: " + ", ".join(parts) + ". Means and SDs are of raw values."
        )


def scale_of(rows: Frame, dsc_scale: str) -> Scale:
    """The ladders of these rows."""
    turned = dsc_scale == "1-DSC"
    ladders = {}
    for metric in METRICS:
        values = rows[metric].to_numpy(np.float64)
        ladders[metric] = tukey_ladder(1 - values if turned and metric == "dsc" else values)
    return Scale(ladders, turned)


def summaries(rows: Frame, by: Sequence[str]) -> dict[Key, Summary]:
    """``(*by, metric)`` to mean, SD and n over slices."""
    found: dict[Key, Summary] = {}
    for key, part in rows.groupby(list(by), sort=False):
        for metric in METRICS:
            found[(*map(str, key), metric)] = summarise(part[metric])
    return found


@final
@dataclass(frozen=True, slots=True)
class Difference:
    """One comparison at both levels; the sign of `estimate` is that of the transformed values.

    Args:
      slices: over slices, as the paper did.
      subjects: over subjects' means.
    """

    slices: Outcome
    subjects: Outcome

    def better(self, metric: str) -> int:
        """1 if the first of the two is better in this metric, -1 if worse, 0 if unknown."""
        value = self.slices.estimate
        return 0 if math.isnan(value) or value == 0 else int(np.sign(value)) * BETTER[metric]


def paired(a: Frame, b: Frame, column: str, on: Sequence[str] = ("subject", "slice")) -> Difference:
    """The difference a - b of rows that share `on`; what only one of them has is left out."""
    keys = list(on)
    both = a[[*keys, column]].merge(b[[*keys, column]], on=keys, suffixes=("_a", "_b"))
    first, second = both[f"{column}_a"].to_numpy(), both[f"{column}_b"].to_numpy()
    return Difference(paired_t(first, second), paired_t_of_subjects(first, second, both["subject"]))


def unpaired(a: Frame, b: Frame, column: str) -> Difference:
    """mean(a) - mean(b) by Welch's t, of slices and of subjects' means."""
    means = [subject_means(frame[column].to_numpy(), frame["subject"]) for frame in (a, b)]
    return Difference(welch_t(a[column], b[column]), welch_t(*means))


NOTHING = Difference(impossible(0, "not there"), impossible(0, "not there"))


def compare(
    rows: Frame, keys: Sequence[Key], metric: str,
    function: Callable[[Frame, Key], Difference],
) -> dict[Key, Difference]:  # fmt: skip
    """``(*key, metric)`` to the difference that `function` finds for each key's rows."""
    return {(*key, metric): function(rows, key) for key in keys}


def joint_effects(
    rows: Frame, factors: Sequence[str]
) -> tuple[tuple[Effect, ...], list[str], dict[str, tuple[Effect, ...]]]:
    """MANOVA of the transformed metrics over the compartments in which they are defined.

    A compartment with a missing metric in more than a tenth of its rows (an empty commissure has
    no distance) would lose them list-wise: it is left out and tested by itself.

    Returns:
      The effects, the compartments left out, and their own effects.
    """
    scores = [f"{metric}_t" for metric in METRICS]
    whole = rows[scores].notna().all(axis=1).groupby(rows["compartment"]).mean()
    apart = sorted(str(name) for name, share in whole.items() if share < 0.9)
    joint = rows.loc[~rows["compartment"].isin(apart)]
    others = [factor for factor in factors if factor != "compartment"]
    alone = {name: manova(select(rows, compartment=name), scores, others) for name in apart}
    return manova(joint, scores, list(factors)), apart, alone


def effects_note(effects: Sequence[Effect]) -> str:
    """``method: Pillai .12, F(3, 995) = 4.2, P <.001; ...``."""
    from score_jax.statistics.significance import format_p

    if not effects:
        return NONE
    return "; ".join(
        f"{e.factor}: Pillai {e.pillai:.3f}, F({e.df[0]:.0f}, {e.df[1]:.0f}) = {e.f:.1f}, "
        f"P {format_p(e.p)} (Wilks {e.wilks:.3f}, P {format_p(e.p_wilks)})"
        for e in effects
    )


def ranking(rows: Frame, metric: str, names: Sequence[str]) -> Comparisons:
    """Tukey's comparison of compartments, worst first in every metric (RSD and HD turned)."""
    part = select(rows, compartment=tuple(names))
    return tukey(part[f"{metric}_t"].to_numpy() * BETTER[metric], part["compartment"])


def digits(metric: str) -> int:
    """Decimals of a metric."""
    return DIGITS[metric]
