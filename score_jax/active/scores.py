"""How far opinions on one image lie apart, and one number that orders many images.

An *opinion* is what one network (a fold, a seed, another configuration) or one draw of a network
with DropConnect says of an image: a probability for every voxel and region.
"""

from collections.abc import Mapping
from typing import final

import numpy as np
from jaxtyping import Bool, Float, Float64
from scipy.stats import rankdata

# An entropy averaged over the whole image would say how large the field of view is: it is taken
# over the voxels that at least one opinion gives this probability.
REACH = 0.1


def disagreement(masks: Bool[np.ndarray, "m x y z"]) -> float:
    """One minus the mean Dice coefficient over all pairs of `masks`, 0 to 1.

    Two empty masks agree (Dice 1); one empty mask of a pair gives Dice 0. Fewer than two masks
    give NaN. Source: Roy et al., Bayesian QuickNAT, NeuroImage 2019 (agreement of their samples).
    """
    count = len(masks)
    if count < 2:
        return float("nan")
    flat = masks.reshape(count, -1)
    flat = flat[:, flat.any(axis=0)].astype(np.float64)
    shared = flat @ flat.T
    sizes = np.diag(shared)
    total = sizes[:, None] + sizes[None, :]
    dice = np.divide(2 * shared, total, out=np.ones_like(shared), where=total > 0)
    return float(1 - dice[np.triu_indices(count, 1)].mean())


def entropy(share: Float[np.ndarray, "*space"]) -> Float[np.ndarray, "*space"]:
    """Entropy in bits of "in the region or not" at each voxel; 0 at probability 0 or 1, 1 at ½."""
    p = np.clip(share, 0.0, 1.0)
    bits = np.zeros_like(p)
    open_ = (p > 0) & (p < 1)
    q = p[open_]
    bits[open_] = -(q * np.log2(q) + (1 - q) * np.log2(1 - q))
    return bits


@final
class Opinions:
    """Opinions on one image, taken one by one: their masks are kept, their probabilities summed."""

    def __init__(self) -> None:
        self._masks: list[np.ndarray] = []
        self._sum: np.ndarray | None = None
        self._bits: np.ndarray | None = None
        self._most: np.ndarray | None = None

    def add(self, mask: Bool[np.ndarray, "*space r"], share: Float[np.ndarray, "*space r"]) -> None:
        """Take one more.

        Args:
          mask: what is in each region.
          share: probability of each region.
        """
        bits = entropy(share)
        self._masks.append(mask)
        self._sum = share.copy() if self._sum is None else self._sum + share
        self._bits = bits if self._bits is None else self._bits + bits
        self._most = share.copy() if self._most is None else np.maximum(self._most, share)

    def __len__(self) -> int:
        return len(self._masks)

    def disagreement(self, region: int) -> float:
        """`disagreement` of the masks of one region."""
        return disagreement(np.stack([mask[..., region] for mask in self._masks]))

    def entropy(self, region: int) -> float:
        """Predictive entropy in bits: of the mean probability, averaged over the region's reach.

        0 if no opinion gives any voxel a probability of `REACH`: all are sure there is nothing.
        """
        inside = self._reach(region)
        return _mean(entropy(self._mean_share(region)[inside]))

    def mutual_information(self, region: int) -> float:
        """What knowing whose opinion it is would tell, in bits, averaged over the region's reach.

        Predictive entropy less the mean entropy of the opinions (Houlsby et al., 2011, eq. 2): high
        where opinions are sure and differ, near 0 where all are equally unsure. One opinion: NaN.
        """
        if len(self) < 2:
            return float("nan")
        assert self._bits is not None
        inside = self._reach(region)
        own = self._bits[..., region][inside] / len(self)
        # never negative (concavity of the entropy) but for rounding
        return max(0.0, _mean(entropy(self._mean_share(region)[inside]) - own))

    def _mean_share(self, region: int) -> np.ndarray:
        assert self._sum is not None
        return self._sum[..., region].astype(np.float64) / len(self)

    def _reach(self, region: int) -> np.ndarray:
        assert self._most is not None
        return self._most[..., region] >= REACH


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else 0.0


def combined(
    measures: Mapping[str, Float64[np.ndarray, " n"]], weights: Mapping[str, float]
) -> Float64[np.ndarray, " n"]:
    """The weighted mean of each image's places in several lists, between 0 and 1; 1 is first.

    An image's place in a list is the share of images below it, those equal counting half
    (midranks), so measures of any unit and spread weigh what their weight says. The score orders
    these images among themselves; it means nothing outside the list.

    Args:
      measures: by name, one value an image, larger before smaller. A measure that is NaN for any
        image is left out.
      weights: by the same names, 0 or more.

    Returns:
      One score an image; 0.5 for all if no measure is left.
    """
    count = len(next(iter(measures.values())))
    used = {
        name: weights[name]
        for name, values in measures.items()
        if weights[name] > 0 and not np.isnan(values).any()
    }
    if not used:
        return np.full(count, 0.5)
    score = np.zeros(count)
    for name, weight in used.items():
        score += weight * (rankdata(measures[name], method="average") - 0.5) / count
    return score / sum(used.values())
