"""Rules that clean the masks a network found: the largest component alone, a smallest volume.

Rules are found on validation data (`score_jax.evaluation.postprocessing`) and travel with a model.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Integer

from score_jax.arrays.components import components, remove_small
from score_jax.arrays.regions import Region, labels_from_masks, written_values
from score_jax.errors import ConfigError

_CORNERS = 26  # components touch by faces, edges or corners


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """One step of post-processing.

    Args:
      kind: "largest": of the joined regions only the largest component stays, and what goes
        becomes background, in every region (nnU-Net). "min_size": components of the one region
        that are smaller than `min_mm3` leave it, and become what lies beneath.
      regions: names.
      min_mm3: the smallest volume that stays, in mm³; of "min_size" alone.
    """

    kind: Literal["largest", "min_size"]
    regions: tuple[str, ...]
    min_mm3: float = 0.0

    def __post_init__(self) -> None:
        if not self.regions:
            raise ConfigError(f"rule {self.kind}: got no regions; expected at least one")
        if self.kind == "min_size" and (len(self.regions) > 1 or not 0 < self.min_mm3 < math.inf):
            raise ConfigError(
                f"rule min_size: got regions {list(self.regions)} and min_mm3 {self.min_mm3}; "
                "expected one region and a volume above 0"
            )
        if self.kind == "largest" and self.min_mm3:
            raise ConfigError(f"rule largest: got min_mm3 {self.min_mm3}; expected none")

    def __str__(self) -> str:
        names = " and ".join(self.regions)
        if self.kind == "largest":
            return f"only the largest component of {names}"
        return f"no component of {names} below {self.min_mm3:g} mm3"


def clean(
    masks: Bool[np.ndarray, "x y z r"],
    regions: Sequence[Region],
    rules: Sequence[Rule],
    voxel_mm3: float,
) -> Bool[np.ndarray, "x y z r"]:
    """`masks` after `rules`, one after another; empty masks and no rules change nothing.

    Args:
      masks: one a region.
      regions: what they mean; every rule names some of them.
      rules: in the order in which they were found.
      voxel_mm3: volume of a voxel.
    """
    numbers = {region.name: number for number, region in enumerate(regions)}
    for rule in rules:
        if rule.kind == "largest":
            labels = labels_from_masks(masks, regions)
            values = [v for name in rule.regions for v in written_values(regions, numbers[name])]
            gone = (labels > 0) & (keep_largest(labels, values) == 0)
            masks = masks & ~gone[..., None]
        else:
            channel = numbers[rule.regions[0]]
            masks = masks.copy()
            masks[..., channel] = remove_small(
                masks[..., channel], _voxels(rule.min_mm3, voxel_mm3), _CORNERS
            )
    return masks


def keep_largest(
    labels: Integer[np.ndarray, "x y z"], values: Sequence[int]
) -> Integer[np.ndarray, "x y z"]:
    """`labels` with all but the largest component of the joined `values` set to 0.

    Components touch by faces, edges or corners; of several equally large ones all stay. Nothing
    to remove (no voxel of these values) returns an equal map.

    Source: nnU-Net 2.8.1, ``remove_all_but_largest_component_from_segmentation``.
    """
    mask = np.isin(labels, values)
    found, sizes = components(mask, _CORNERS)
    kept = np.isin(found, 1 + np.flatnonzero(sizes == sizes.max(initial=0)))
    return np.where(mask & ~kept, 0, labels).astype(labels.dtype)


def _voxels(min_mm3: float, voxel_mm3: float) -> int:
    """Voxels of the smallest component that stays; a volume of exactly `min_mm3` does."""
    return math.ceil(min_mm3 / voxel_mm3 - 1e-6)  # headers round voxel sizes
