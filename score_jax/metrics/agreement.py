"""Agreement between repeats, raters and methods: RSD, ICC, Cohen's and Fleiss' kappa."""

import math
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float64, Shaped

from score_jax.arrays.raters import stack_raters
from score_jax.metrics.inputs import check_shapes, ratio
from score_jax.metrics.overlap import dice

IccForm = Literal["1,1", "A,1", "C,1", "1,k", "A,k", "C,k"]


def rsd(
    values: Shaped[np.ndarray, "..."] | Sequence[float] | Sequence[Sequence[float]],
    *,
    axis: int = -1,
    ddof: int = 1,
) -> Float64[np.ndarray, "..."] | float:
    """Relative standard deviation (coefficient of variation) of repeats, in percent of their mean.

    100 SD / mean, e.g. of the area of one slice over several scans; the SCORE paper averages it
    over slices and subjects. For two values and ``ddof=1`` it is 100 sqrt(2) |a - b| / (a + b).

    Args:
      values: repeats along `axis`.
      axis: where the repeats are.
      ddof: 1 for the standard deviation of a sample, 0 of a population.

    Returns:
      Percent, one number less an axis. Mean 0 (nothing there in any repeat): NaN; one of two
      empty: 141.4. A NaN among the repeats gives NaN; too few repeats for `ddof`: NaN.
    """
    array = np.asarray(values, np.float64)
    n = array.shape[axis]
    if n <= ddof:
        return _plain(np.full(np.delete(array.shape, axis), math.nan))
    mean, spread = array.mean(axis), array.std(axis, ddof=ddof)
    undefined = mean == 0
    return _plain(np.where(undefined, math.nan, 100 * spread / np.where(undefined, 1, mean)))


def icc(
    ratings: Shaped[np.ndarray, "n k"] | Sequence[Sequence[float]], form: IccForm = "A,1"
) -> float:
    """Intraclass correlation of `n` targets (rows) measured by `k` raters or scans (columns).

    Args:
      ratings: one row a target; rows with a NaN are left out.
      form: McGraw and Wong's names. ``1,1`` one-way random; ``A,1`` two-way random, absolute
        agreement, one rater (Shrout and Fleiss' ICC(2,1)); ``C,1`` two-way, consistency (ICC(3,1)
        there); with ``k`` for the mean of k raters. For agreement of areas use ``A,1``.

    Returns:
      At most 1. Fewer than two targets or raters, or no variance at all: NaN.

    Raises:
      ValueError: another `form`, or not a table.

    Source: Shrout and Fleiss, Psychological Bulletin 86 (1979) 420; McGraw and Wong, Psychological
    Methods 1 (1996) 30.
    """
    table = np.asarray(ratings, np.float64)
    if table.ndim != 2:
        raise ValueError(f"ratings: got shape {table.shape}; expected targets x raters")
    table = table[~np.isnan(table).any(axis=1)]
    n, k = table.shape
    if n < 2 or k < 2:
        return math.nan
    grand = table.mean()
    rows, columns = table.mean(axis=1), table.mean(axis=0)
    ss_rows, ss_columns = k * ((rows - grand) ** 2).sum(), n * ((columns - grand) ** 2).sum()
    ss_within = ((table - rows[:, None]) ** 2).sum()
    msr, msc = ss_rows / (n - 1), ss_columns / (k - 1)
    msw = ss_within / (n * (k - 1))
    mse = ((table - rows[:, None] - columns + grand) ** 2).sum() / ((n - 1) * (k - 1))
    forms = {
        "1,1": (msr - msw, msr + (k - 1) * msw),
        "A,1": (msr - mse, msr + (k - 1) * mse + k * (msc - mse) / n),
        "C,1": (msr - mse, msr + (k - 1) * mse),
        "1,k": (msr - msw, msr),
        "A,k": (msr - mse, msr + (msc - mse) / n),
        "C,k": (msr - mse, msr),
    }
    if form not in forms:
        raise ValueError(f"form: got {form!r}; expected one of {', '.join(forms)}")
    above, below = forms[form]
    return float(above / below) if below else math.nan


def kappa(a: Shaped[np.ndarray, "..."], b: Shaped[np.ndarray, "..."]) -> float:
    """Cohen's kappa of two masks or label maps, voxel by voxel; at most 1, 0 for chance.

    It depends on the field of view (more background, more agreement by chance). Both images
    constant with one value: NaN, as scikit-learn. One mask empty: 0.

    Raises:
      GeometryError: the shapes differ.

    Source: Cohen, Educational and Psychological Measurement 20 (1960) 37.
    """
    check_shapes(a, b)
    first, second = np.ravel(a), np.ravel(b)
    values, index = np.unique(np.concatenate([first, second]), return_inverse=True)
    k = values.size
    table = np.bincount(index[: first.size] * k + index[first.size :], minlength=k * k)
    table = table.reshape(k, k) / max(first.size, 1)
    observed, expected = np.trace(table), float(table.sum(axis=1) @ table.sum(axis=0))
    return ratio(float(observed) - expected, 1 - expected) if k > 1 else math.nan


def fleiss_kappa(
    masks: Shaped[np.ndarray, "raters ..."] | Sequence[Shaped[np.ndarray, "..."]],
) -> float:
    """Fleiss' kappa of two or more raters over all voxels; at most 1, 0 for chance.

    All raters everywhere of one value: NaN. Depends on the field of view as `kappa` does.

    Raises:
      ValueError: fewer than two raters.
      GeometryError: the shapes differ.

    Source: Fleiss, Psychological Bulletin 76 (1971) 378, eq. 4 to 7.
    """
    votes = stack_raters(masks)
    n = votes.shape[0]
    values = np.unique(votes)
    tallies = np.stack([np.count_nonzero(votes == value, axis=0) for value in values], axis=-1)
    observed = ((tallies.astype(np.float64) ** 2).sum(axis=-1) - n).mean() / (n * (n - 1))
    expected = float(((tallies.mean(axis=tuple(range(tallies.ndim - 1))) / n) ** 2).sum())
    return ratio(float(observed) - expected, 1 - expected) if values.size > 1 else math.nan


def pairwise(
    masks: Shaped[np.ndarray, "raters ..."] | Sequence[Shaped[np.ndarray, "..."]],
    score: Callable[..., float] = dice,
) -> Float64[np.ndarray, "raters raters"]:
    """A symmetric score of every pair of raters; the diagonal is each with itself.

    Args:
      masks: one a rater.
      score: of two masks, e.g. `dice`, `kappa`, or a partial of `assd` with the spacing.

    Raises:
      ValueError: fewer than two raters.
      GeometryError: the shapes differ.
    """
    images = stack_raters(masks)
    table = np.empty((len(images), len(images)))
    for i, first in enumerate(images):
        for j, second in enumerate(images[: i + 1]):
            table[i, j] = table[j, i] = score(first, second)
    return table


def _plain(array: np.ndarray) -> Float64[np.ndarray, "..."] | float:
    return float(array) if array.ndim == 0 else array
