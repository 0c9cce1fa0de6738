"""One segmentation out of several: of raters, of networks, of the folds of an ensemble.

Masks and label maps of one grid go in as a sequence; the answer has their shape and type.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, final

import numpy as np
from jaxtyping import Float64, Int64, Shaped

from score_jax.arrays.raters import stack_raters

Masks = Shaped[np.ndarray, "..."] | Sequence[Shaped[np.ndarray, "..."]]
Ties = Literal["lowest", "highest"]

_SURE = 0.99999  # where the iteration starts: every rater nearly perfect (Warfield; ITK)
_TINY = 1e-300  # keeps a logarithm finite
_COUNTED = 1 << 22  # so many combinations of votes are counted in a table instead of sorted


def majority(masks: Masks, *, ties: Ties = "lowest") -> Shaped[np.ndarray, "*space"]:
    """The value that most raters gave each voxel.

    Args:
      masks: two or more masks or label maps.
      ties: which value wins if several have the most votes: the lowest label, so that two raters
        of a mask must agree on foreground (the default), or the highest.

    Returns:
      Of the type of the masks. All masks empty: empty.

    Raises:
      ValueError: fewer than two masks, or another rule for ties.
      GeometryError: the shapes differ.
      ImageError: soft masks.
    """
    if ties not in ("lowest", "highest"):
        raise ValueError(f"ties: got {ties!r}; expected 'lowest' or 'highest'")
    votes = stack_raters(masks)
    values = _values(votes)
    if ties == "highest":
        values = values[::-1]
    winner = np.full(votes.shape[1:], values[0], votes.dtype)
    most = np.count_nonzero(votes == values[0], axis=0)
    for value in values[1:]:
        count = np.count_nonzero(votes == value, axis=0)
        better = count > most
        winner[better] = value
        most = np.where(better, count, most)
    return winner


def staple(masks: Masks, *, prior: Sequence[float] | None = None) -> Shaped[np.ndarray, "*space"]:
    """The most probable segmentation if each rater errs at a rate of its own (STAPLE).

    `fit_staple` gives the raters' rates and the probabilities as well.

    Args:
      masks: two or more masks or label maps.
      prior: probability of each value before any vote, in ascending order of the values; by
        default the share of all votes that it has.

    Returns:
      Of the type of the masks; ties go to the lowest label. All masks empty: empty.

    Raises:
      ValueError: fewer than two masks, or a prior of another length.
      GeometryError: the shapes differ.
      ImageError: soft masks.
    """
    return fit_staple(masks, prior=prior).consensus


@final
@dataclass(frozen=True, eq=False, slots=True)
class Staple:
    """What STAPLE found.

    Args:
      consensus: the most probable value of each voxel.
      values: the labels, ascending; 0 and 1 for masks.
      confusion: ``[rater, said, true]``: how often a rater says one value where another is true;
        columns sum to 1.
      prior: probability of each value before any vote.
      log_likelihood: of all votes, after each iteration; it never falls.
      converged: whether the rates stood still at the end.
    """

    consensus: Shaped[np.ndarray, "*space"]
    values: Int64[np.ndarray, " k"]
    confusion: Float64[np.ndarray, "raters k k"]
    prior: Float64[np.ndarray, " k"]
    log_likelihood: Float64[np.ndarray, " iterations"]
    converged: bool
    _pattern: Int64[np.ndarray, "*space"]
    _posterior: Float64[np.ndarray, "patterns k"]

    def sensitivity(self, value: int = 1) -> Float64[np.ndarray, " raters"]:
        """Share of the true voxels of `value` that each rater marks as such."""
        k = self._index(value)
        return self.confusion[:, k, k]

    def specificity(self, value: int = 1) -> Float64[np.ndarray, " raters"]:
        """Share of the voxels that are not `value` that each rater marks as something else.

        With more than two values the others are weighted by their prior.
        """
        k = self._index(value)
        others = np.delete(np.arange(self.values.size), k)
        weights = self.prior[others] / self.prior[others].sum()
        return 1 - self.confusion[:, k, others] @ weights

    def probability(self, value: int = 1) -> Float64[np.ndarray, "*space"]:
        """Probability that each voxel is `value`."""
        return self._posterior[:, self._index(value)][self._pattern]

    def _index(self, value: int) -> int:
        found = np.flatnonzero(self.values == value)
        if not found.size:
            raise ValueError(f"value: got {value}; expected one of {self.values.tolist()}")
        return int(found[0])


def fit_staple(
    masks: Masks,
    *,
    prior: Sequence[float] | None = None,
    tolerance: float = 1e-10,
    max_iterations: int = 10_000,
) -> Staple:
    """Estimate truth and raters' error rates together, by expectation maximisation.

    All voxels of the image count, so a large background makes every rater look specific and
    lowers the prior of the foreground; crop to the structure, or give `prior`, if that matters.
    The iteration runs over distinct combinations of votes, not over voxels.

    Args:
      masks: two or more masks or label maps.
      prior: as in `staple`; it stays fixed.
      tolerance: stop when no rate changes by more.
      max_iterations: stop in any case.

    Raises:
      ValueError: fewer than two masks, or a prior of another length or not above 0.
      GeometryError: the shapes differ.
      ImageError: soft masks.

    Source: Warfield, Zou and Wells, IEEE TMI 23 (2004) 903, eqs. 14, 18, 19 and section II-E;
    binary as in ITK's STAPLEImageFilter.
    """
    votes = stack_raters(masks)
    values = _values(votes)
    patterns, weights, where = _combinations(votes, values)
    k = values.size
    chance = _prior(prior, patterns, weights, k)
    confusion = np.full((len(votes), k, k), (1 - _SURE) / max(k - 1, 1))
    confusion[:, np.arange(k), np.arange(k)] = _SURE if k > 1 else 1.0
    said = patterns.T[:, :, None] == np.arange(k)  # rater, pattern, value
    likelihoods: list[float] = []
    posterior, converged = np.zeros((len(patterns), k)), False
    for _ in range(max_iterations):
        posterior, likelihood = _expect(patterns, confusion, chance, weights)
        likelihoods.append(likelihood)
        mass = weights[:, None] * posterior
        total = mass.sum(axis=0)
        new = np.einsum("rpv,pt->rvt", said, mass) / np.where(total > 0, total, 1)
        new = np.where(total > 0, new, confusion)  # no voxel of that value is left
        converged = float(np.abs(new - confusion).max()) <= tolerance
        confusion = new
        if converged:
            break
    consensus = values[posterior.argmax(axis=1)][where].astype(votes.dtype)
    return Staple(
        consensus,
        values.astype(np.int64),
        confusion,
        chance,
        np.array(likelihoods),
        converged,
        where,
        posterior,
    )


def _values(votes: Shaped[np.ndarray, "..."]) -> Shaped[np.ndarray, " k"]:
    """Every value that occurs, ascending; 0 and 1 for masks, even if one of them does not."""
    if votes.dtype == bool:
        return np.array([False, True])
    found = np.unique(votes)
    return np.array([0, 1], votes.dtype) if set(found.tolist()) <= {0, 1} else found


def _combinations(
    votes: Shaped[np.ndarray, "raters ..."], values: Shaped[np.ndarray, " k"]
) -> tuple[
    Int64[np.ndarray, "patterns raters"], Int64[np.ndarray, " patterns"], Int64[np.ndarray, "..."]
]:
    """Distinct combinations of votes (as indices of values), their voxels, and which is where."""
    n, k = len(votes), values.size
    if k**n > _COUNTED:  # many raters or labels: sort
        flat = np.searchsorted(values, votes.reshape(n, -1))
        patterns, where, weights = np.unique(flat, axis=1, return_inverse=True, return_counts=True)
        return patterns.T.astype(np.int64), weights, where.reshape(votes.shape[1:])
    codes = np.zeros(votes.shape[1:], np.int64)
    for rater in votes:
        codes = codes * k + np.searchsorted(values, rater)
    counts = np.bincount(codes.ravel(), minlength=k**n)
    present = np.flatnonzero(counts)
    rank = np.zeros(counts.size, np.int64)
    rank[present] = np.arange(present.size)
    patterns = present[:, None] // k ** np.arange(n)[::-1] % k
    return patterns, counts[present], rank[codes]


def _prior(
    given: Sequence[float] | None,
    patterns: Int64[np.ndarray, "patterns raters"],
    weights: Int64[np.ndarray, " patterns"],
    k: int,
) -> Float64[np.ndarray, " k"]:
    if given is None:
        tallies = np.stack([(patterns == value).sum(axis=1) for value in range(k)], axis=-1)
        shares = weights @ tallies / (weights.sum() * patterns.shape[1])
        return shares.astype(np.float64)
    prior = np.asarray(given, np.float64)
    if prior.shape != (k,) or not (prior > 0).all():
        raise ValueError(f"prior: got {list(given)}; expected {k} numbers above 0")
    return prior / prior.sum()


def _expect(
    patterns: Int64[np.ndarray, "patterns raters"],
    confusion: Float64[np.ndarray, "raters k k"],
    prior: Float64[np.ndarray, " k"],
    weights: Int64[np.ndarray, " patterns"],
) -> tuple[Float64[np.ndarray, "patterns k"], float]:
    """Probability of each value given each combination of votes, and the log likelihood."""
    raters = np.arange(patterns.shape[1])
    rates = np.log(np.maximum(confusion, _TINY))[raters, patterns]  # pattern, rater, true
    joint = rates.sum(axis=1) + np.log(np.maximum(prior, _TINY))
    top = joint.max(axis=1, keepdims=True)
    evidence = np.exp(joint - top).sum(axis=1, keepdims=True)
    posterior = np.exp(joint - top) / evidence
    return posterior, float(weights @ (top + np.log(evidence))[:, 0])
