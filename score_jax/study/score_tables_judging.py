"""When a number of ours agrees with a published one: the kinds of bounds of table 13."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

from score_jax.statistics.mixed import Estimate
from score_jax.statistics.multivariate import Comparisons
from score_jax.statistics.significance import format_p
from score_jax.study.score_tables_options import TableOptions
from score_jax.study.score_tables_scores import BETTER
from score_jax.study.score_tables_text import NONE, Summary, number

Found = dict[tuple[str, ...], Any]
Key = tuple[str, ...]


@final
@dataclass(frozen=True, slots=True)
class Verdict:
    """Ours beside theirs.

    Args:
      here: our number as text.
      inside: whether it is within the bound; None if it is not there.
    """

    here: str
    inside: bool | None


MISSING = Verdict(NONE, None)
CHOSEN, OTHER = "(chosen)", "(other reading)"  # where the paper says two things
Judge = Callable[[Found, TableOptions], Verdict]


@final
@dataclass(frozen=True, slots=True)
class Anchor:
    """One published number or statement.

    Args:
      key: unique; `TableOptions.planted` and `design` are asked for it.
      section: of the list of published numbers (A1 to A6).
      text: what it is of.
      paper: as published.
      bound: when ours agrees.
      judge: finds ours and decides.
      digits: decimals of a planted value.
    """

    key: str
    section: str
    text: str
    paper: str
    bound: str
    judge: Judge
    digits: int = 2


def counted(key: str, text: str, value: int, path: Key) -> Anchor:
    """A count of the design; ours is the same."""

    def judge(found: Found, options: TableOptions) -> Verdict:
        ours = found.get(path)
        return MISSING if ours is None else Verdict(str(ours), ours == value)

    return Anchor(key, "A1", text, str(value), f"= {value}", judge)


def designed(key: str, text: str, paper: str, value: Any) -> Anchor:
    """A fact of the acquisition or the training: the frames do not tell, `options.design` may."""

    def judge(found: Found, options: TableOptions) -> Verdict:
        ours = options.design.get(key, found.get(("design", key)))
        if ours is None:
            return MISSING
        same = (
            math.isclose(ours, value, rel_tol=5e-3) if isinstance(value, float) else ours == value
        )
        return Verdict(str(ours), bool(same))

    return Anchor(key, "A1", text, paper, f"= {paper}", judge)


def share(key: str, text: str, part: int, whole: int, path: Key, of: Key) -> Anchor:
    """A proportion; the published one lies in the 95 % interval (Wilson) of ours."""

    def judge(found: Found, options: TableOptions) -> Verdict:
        ours, n = found.get(path), found.get(of)
        if ours is None or not n:
            return MISSING
        low, high = wilson(ours, n)
        return Verdict(f"{ours}/{n} ({100 * ours / n:.1f} %)", low <= part / whole <= high)

    paper = f"{part}/{whole} ({100 * part / whole:.1f} %)"
    return Anchor(key, "A1", text, paper, "in our 95 % CI", judge)


def wilson(part: int, whole: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a proportion."""
    from scipy.stats import binomtest

    found = binomtest(part, whole).proportion_ci(0.95, "wilson")
    return float(found.low), float(found.high)


def cohort_mean(
    key: str, text: str, mean: float, sd: float, n: int, path: Key, section: str = "A1"
) -> Anchor:
    """A mean of people; ours is within two standard errors of the published one."""
    half = 2 * sd / math.sqrt(n)

    def judge(found: Found, options: TableOptions) -> Verdict:
        ours = found.get(path)
        if ours is None or not ours.n:
            return MISSING
        text = f"{ours.mean:.1f} ({number(ours.sd, 1)})"
        return Verdict(text, abs(ours.mean - mean) <= half)

    return Anchor(key, section, text, f"{mean:g} ({sd:g})", f"± {half:.1f} (2 SE)", judge)


def near(
    key: str, section: str, text: str, value: float, margin: float, get: Callable[[Found], float],
    digits: int = 2,
) -> Anchor:  # fmt: skip
    """A number; ours is within a margin of it."""

    def judge(found: Found, options: TableOptions) -> Verdict:
        ours = get(found)
        if math.isnan(ours):
            return MISSING
        return Verdict(number(ours, digits), abs(ours - value) <= margin + 1e-9)

    return Anchor(key, section, text, f"{value:g}", f"± {margin:g}", judge, digits)


def quality(
    key: str, section: str, text: str, value: float, metric: str, paths: Sequence[Key],
    *, paper: str = "", strict: float | None = None,
) -> Anchor:  # fmt: skip
    """The worst mean over `paths` is as good as published, or better, at the published digits.

    Args:
      key: of the anchor.
      section: of the list.
      text: what it is of.
      value: published.
      metric: ``rsd``, ``dsc``, ``hd`` or ``icc``: which side is better.
      paths: where the `Summary` or number of ours lies; all must be there.
      paper: as printed, if not `value` alone.
      strict: bound in place of `value`.
    """
    sign = BETTER.get(metric, 1)
    limit = value if strict is None else strict
    mark = "≥" if sign > 0 else "≤"

    def judge(found: Found, options: TableOptions) -> Verdict:
        values = [_mean(found.get(path)) for path in paths]
        if not values or any(math.isnan(one) for one in values):
            return MISSING
        worst = min(values) if sign > 0 else max(values)
        return Verdict(number(worst, 3 if sign > 0 else 2), sign * (worst - limit) >= -0.005)

    return Anchor(key, section, text, paper or f"{value:g}", f"{mark} {limit:g}", judge, 3)


def ordered(
    key: str, section: str, text: str, chains: Sequence[str], paths: Sequence[Key]
) -> Anchor:
    """Orders such as ``GC < PH ~ AH``: each relation holds by Tukey's test (P < .05 or not)."""

    def judge(found: Found, options: TableOptions) -> Verdict:
        held, total, here = 0, 0, []
        for chain, path in zip(chains, paths, strict=True):
            comparisons = found.get(path)
            if comparisons is None or not set(chain.split()[::2]) <= set(comparisons.names):
                return MISSING
            here.append(comparisons.order())
            for one in _relations(chain, comparisons):
                held, total = held + one, total + 1
        return Verdict(f"{'; '.join(here)} ({held} of {total})", held == total)

    return Anchor(key, section, text, "; ".join(chains), "every relation", judge)


def _relations(chain: str, comparisons: Comparisons) -> list[bool]:
    words = chain.split()
    found = []
    for a, sign, b in zip(words[::2], words[1::2], words[2::2], strict=False):
        difference, p = comparisons.between(a, b)
        found.append(difference > 0 and p < 0.05 if sign == "<" else not p < 0.05)
    return found


def compared(
    key: str, section: str, text: str, paths: Sequence[Key], metrics: Sequence[str], side: int,
    alpha: float,
) -> Anchor:  # fmt: skip
    """The first of two is better (`side` 1), worse (-1) or alike (0), by P of slices, corrected.

    For `side` 0 P is at least .05; else it is below `alpha`. P of subjects is shown beside it.
    """

    def judge(found: Found, options: TableOptions) -> Verdict:
        held, parts = 0, []
        for path, metric in zip(paths, metrics, strict=True):
            one, p, q = found.get(path, (None, math.nan, math.nan))
            if one is None or math.isnan(p):
                return MISSING
            held += not p < 0.05 if side == 0 else one.better(metric) == side and p < alpha
            parts.append((one.better(metric), p, q))
        if len(paths) == 1:
            better, p, q = parts[0]
            word = {1: "better", -1: "worse", 0: "alike"}[better]
            return Verdict(f"{word}, P {format_p(p)} / {format_p(q)}", held == 1)
        return Verdict(f"{held} of {len(paths)}", held == len(paths))

    word = {1: "better", -1: "worse", 0: "alike"}[side]
    bound = "P ≥ .05" if side == 0 else f"{word}, P < {f'{alpha:g}'.removeprefix('0')}"
    return Anchor(key, section, text, bound, bound, judge)


def effect(key: str, text: str, percent: float, path: Key) -> Anchor:
    """A difference of groups in percent; the published one lies in our 95 % interval."""

    def judge(found: Found, options: TableOptions) -> Verdict:
        one, _ = found.get(path, (None, math.nan))
        if one is None or math.isnan(one.percent.low):
            return MISSING
        of: Estimate = one.percent
        here = f"{of.value:.1f} ({of.low:.1f} to {of.high:.1f})"
        return Verdict(here, of.low <= percent <= of.high)

    return Anchor(key, "A4", text, f"{percent:g} %", "in our 95 % CI", judge, 1)


def group_p(
    key: str, text: str, paths: Sequence[Key], *, lower: bool, alpha: float = 0.05
) -> Anchor:
    """A difference of groups is below `alpha` and negative, or (`lower` False) not below .05.

    The first path that is there counts: normalised areas before raw ones.
    """

    def judge(found: Found, options: TableOptions) -> Verdict:
        for path in paths:
            one, p = found.get(path, (None, math.nan))
            if one is not None and not math.isnan(p):
                here = f"{one.percent.value:+.1f} %, P {format_p(p)} ({path[-1]})"
                fine = p < alpha and one.difference.value < 0 if lower else not p < 0.05
                return Verdict(here, bool(fine))
        return MISSING

    limit = f"{alpha:g}".removeprefix("0")
    bound = f"lower, P < {limit}" if lower else "P ≥ .05"
    return Anchor(key, "A4", text, bound, bound, judge)


def stated(
    key: str, section: str, text: str, paper: str, bound: str,
    judge: Callable[[Found, TableOptions], Verdict],
) -> Anchor:  # fmt: skip
    """Anything else."""
    return Anchor(key, section, text, paper, bound, judge)


def _mean(value: Any) -> float:
    if isinstance(value, Summary):
        return value.mean
    return math.nan if value is None else float(value)
