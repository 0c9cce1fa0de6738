"""The result of `lesions`: rows named as the Spinal Cord Toolbox names them, and what is behind."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from jaxtyping import Int32

from score_jax.morphometry.centerline import Tilt
from score_jax.morphometry.orientation import Anatomy

Row = dict[str, Any]


@final
@dataclass(frozen=True, slots=True)
class Span:
    """Where a bridge is narrowest, along the working axes.

    Args:
      mm: its width.
      z: the axial slice.
      y: from the surface of the cord to the lesion, in voxels.
    """

    mm: float
    z: int
    y: tuple[float, float]


@final
@dataclass(frozen=True, slots=True)
class Status:
    """How the numbers of a lesion came about.

    Args:
      label: its number.
      bridges: ``midsagittal`` (the lesion is on the midsagittal plane), ``parasagittal`` (it is
        beside it: the cord's diameter there stands for the bridges), ``none``.
      outside_mm3: volume of the lesion outside the cord, which no measure counts.
      mean_probability: of its voxels, if the mask was soft; NaN otherwise.
      dorsal: the narrowest dorsal bridge, to draw it.
      ventral: likewise.
      max_damage_slice: the axial slice of the largest damage ratio (largest area without a cord),
        as stored.
    """

    label: int
    bridges: str
    outside_mm3: float
    mean_probability: float = float("nan")
    dorsal: Span | None = None
    ventral: Span | None = None
    max_damage_slice: int | None = None


@final
class LesionTable(list[Row]):
    """One row a lesion: a list of dicts whose keys are the columns.

    A missing number is NaN. Without a lesion there is one row, of label 0.

    Args:
      rows: the measures.
      columns: their order.
      labels: numbered lesions on the stored grid, not cut at the cord.
      slices: one row for each lesion and axial slice.
      levels: one row for each lesion and vertebral level; empty without levels.
      distribution: sheets of the atlas by name; empty without an atlas.
      status: one entry a row.
      warnings: what was odd and what was done about it.
      tilt: of the cord in each slice along the working axes; None without a cord.
      anatomy: from the stored to the working axes.
    """

    def __init__(
        self,
        rows: list[Row],
        *,
        columns: tuple[str, ...],
        labels: Int32[np.ndarray, "i j k"],
        slices: list[Row],
        levels: list[Row],
        distribution: Mapping[str, list[Row]],
        status: list[Status],
        warnings: tuple[str, ...],
        tilt: Tilt | None,
        anatomy: Anatomy,
    ) -> None:
        super().__init__(rows)
        self.columns = columns
        self.labels = labels
        self.slices = slices
        self.levels = levels
        self.distribution = distribution
        self.status = status
        self.warnings = warnings
        self.tilt = tilt
        self.anatomy = anatomy

    @property
    def empty(self) -> bool:
        """Whether no lesion was found."""
        return all(row["label"] == 0 for row in self)

    @property
    def midsagittal(self) -> float:
        """The midsagittal position as stored (right-left index); NaN without a cord."""
        return float(self[0].get("interpolated_midsagittal_slice", float("nan")))

    def column(self, name: str) -> np.ndarray:
        """One column, as float64."""
        return np.array([row.get(name, np.nan) for row in self], np.float64)
