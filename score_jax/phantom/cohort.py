"""Cohorts: simulated patients one at a time, each with scans, truth, raters and covariates."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

import jax
import numpy as np
from jaxtyping import Bool, Float

from score_jax._types import Affine
from score_jax.phantom.acquisition import Acquisition
from score_jax.phantom.plane import TRUTH
from score_jax.phantom.raters import RATERS, rate, true_masks
from score_jax.phantom.scene import Scene

Masks = Mapping[str, Bool[np.ndarray, "x y z"]]


@final
@dataclass(frozen=True, eq=False, slots=True)
class Scan:
    """One image of one session, with what is truly there and what raters drew.

    Args:
      image: intensities as stored; `(x, y, z)`, or with AMIRA's inversion times last.
      affine: voxel to RAS+ mm.
      contrast: BIDS suffix (``T2w``, ``T2starw``, ``AMIRA``).
      session: number, from 1.
      acquisition: ``axial``, ``sagittal`` or ``isotropic``.
      truth: masks by name (``cord gm wm ah ph gc canal lesion``).
      raters: masks by rater and name; empty where none drew.
      areas_mm2: true area of each structure in each stored axial slice, from sub-voxel shares;
        only for axial scans.
      notes: how the scan was made (spacing, flip angle, artefacts ...), for the sidecar.
    """

    image: Float[np.ndarray, "*space"]
    affine: Affine
    contrast: str
    session: int
    acquisition: str
    truth: Masks
    raters: Mapping[str, Masks]
    areas_mm2: Mapping[str, Float[np.ndarray, " z"]]
    notes: Mapping[str, Any] = field(default_factory=dict)


@final
@dataclass(frozen=True, eq=False, slots=True)
class Patient:
    """One simulated person.

    Args:
      name: BIDS label without ``sub-``.
      covariates: a row of participants.tsv (``group age sex ...``).
      scans: made when the patient is asked for.
    """

    name: str
    covariates: Mapping[str, Any]
    scans: tuple[Scan, ...]


@final
class Cohort:
    """Simulated patients; each is made when it is asked for and not kept.

    The same seed gives the same patients, and a patient does not depend on how many others the
    cohort has. Not a `Sequence` by type: a type checker that looks into one would make a patient.
    """

    def __init__(
        self, rows: Sequence[Mapping[str, Any]], make: Callable[[int], Patient], title: str
    ) -> None:
        self.participants = tuple(rows)  # covariates of all, known without making any image
        self.title = title
        self._make = make

    def __len__(self) -> int:
        return len(self.participants)

    def __getitem__(self, index: int) -> Patient:
        if not -len(self) <= index < len(self):
            raise IndexError(f"patient {index} of {len(self)}")
        return self._make(index % len(self))

    def __iter__(self) -> Iterator[Patient]:
        return (self._make(index) for index in range(len(self)))


def make_scan(
    image: Float[np.ndarray, "x y z c"], scene: Scene, acquisition: Acquisition, *, contrast: str,
    plane: str, session: int, keys: jax.Array, raters: Sequence[int], notes: Mapping[str, Any],
) -> Scan:  # fmt: skip
    """A scan as it is stored: image, truth and rater masks turned to the stored orientation.

    Args:
      image: right, anterior, superior, channel.
      scene: what was scanned.
      acquisition: the grid.
      contrast: BIDS suffix.
      plane: name of the acquisition.
      session: number, from 1.
      keys: two keys: of the scan and of the raters.
      raters: which raters draw on it (0 to 2).
      notes: for the sidecar.
    """
    turn = acquisition.stored
    truth = {name: turn(mask) for name, mask in true_masks(scene).items()}
    drawn = {}
    for rater in raters:
        key = jax.random.fold_in(keys[1], rater)
        masks = rate(scene, acquisition, key, scan_key=keys[0], rater=rater)
        drawn[RATERS[rater]] = {name: turn(mask) for name, mask in masks.items()}
    areas: dict[str, np.ndarray] = {}
    if acquisition.thick_axis == 2 and acquisition.axcodes.endswith("S"):
        pixel = acquisition.spacing_mm[0] * acquisition.spacing_mm[1]
        sums = scene.truth.sum((1, 2), dtype=np.float64) * pixel
        areas = {name: sums[k] for k, name in enumerate(TRUTH)}
    stored = turn(image)
    stored = stored[..., 0] if stored.shape[-1] == 1 else stored
    return Scan(
        image=stored.astype(np.float32),
        affine=acquisition.affine,
        contrast=contrast,
        session=session,
        acquisition=plane,
        truth=truth,
        raters=drawn,
        areas_mm2=areas,
        notes=notes,
    )
