"""What a program can see of a bad segmentation, so that a person looks at those scans first.

A flag is a reason to look, not a verdict. The limits are choices, not findings: they were not
fitted to rated scans, and every one of them is an argument.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Bool, Float

from score_jax._types import Affine
from score_jax.arrays.components import components
from score_jax.morphometry.orientation import Anatomy, anatomy

CORD = ("cord", "sc", "spinalcord")
LESION = "lesion"
KINDS = ("failed", "empty", "broken", "jump", "disagreement", "outside", "border")


@final
@dataclass(frozen=True, slots=True)
class Flag:
    """A reason to look at a scan.

    Args:
      kind: one of `KINDS`.
      text: what was seen, with its number.
    """

    kind: str
    text: str


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """From where on something is flagged.

    Args:
      pieces: share of the cord's volume outside its largest piece.
      jump: change of the cord's area from one axial slice to the next, as a share of the median.
      disagreement: mean standard deviation of a region's probability over its voxels.
      outside: share of the lesions' volume outside the cord.
    """

    pieces: float = 0.02
    jump: float = 0.35
    disagreement: float = 0.15
    outside: float = 0.10


def cord_of(names: Sequence[str]) -> str | None:
    """The region that is the cord, by its name, or None."""
    return next((n for n in names if "".join(filter(str.isalnum, n.lower())) in CORD), None)


def find_flags(
    masks: Mapping[str, Bool[np.ndarray, "i j k"]],
    affine: Affine,
    *,
    areas: Float[np.ndarray, " z"] | None = None,
    spread: Mapping[str, Float[np.ndarray, "i j k"]] | None = None,
    limits: Limits = Limits(),
) -> list[Flag]:
    """The flags of one scan, in the order of `KINDS`.

    Args:
      masks: by region, as stored.
      affine: voxel index to RAS+ mm.
      areas: of the cord in each axial slice from below, mm2; NaN where there is none. The first
        and the last slice with cord are not judged: the cord may fill them in part.
      spread: standard deviation of each region's probability over the networks of an ensemble.
      limits: from where on.

    An empty cord is flagged ``empty`` and nothing else is asked of it; a region other than the
    cord may be empty.
    """
    where = anatomy(affine, next(iter(masks.values())).shape)
    name = cord_of(list(masks))
    cord = None if name is None else masks[name]
    flags: list[Flag] = []
    if cord is not None and not cord.any():
        flags.append(Flag("empty", f"no {name} found"))
    elif cord is not None:
        flags += _broken(cord, where, limits)
        flags += [] if areas is None else _jumps(areas, limits)
    elif not any(mask.any() for mask in masks.values()):
        flags.append(Flag("empty", "nothing found"))
    for region, deviation in (spread or {}).items():
        flags += _disagreement(region, masks[region], deviation, limits)
    if cord is not None and LESION in masks:
        flags += _outside(masks[LESION], cord, where, limits)
    for region, mask in masks.items():
        flags += _border(region, where.turn(mask))
    return flags


def _broken(cord: Bool[np.ndarray, "i j k"], where: Anatomy, limits: Limits) -> list[Flag]:
    turned = where.turn(cord)
    filled = np.asarray(turned.any(axis=(0, 1)))
    first, last = np.flatnonzero(filled)[[0, -1]]
    gap = int((~filled[first : last + 1]).sum())
    if gap:
        return [Flag("broken", f"{gap} axial slices without cord between its ends")]
    _, sizes = components(turned, 26)
    lost = 1 - sizes[0] / sizes.sum()
    if lost <= limits.pieces:
        return []
    return [Flag("broken", f"cord in {sizes.size} pieces, {lost:.0%} outside the largest")]


def _jumps(areas: Float[np.ndarray, " z"], limits: Limits) -> list[Flag]:
    inner = np.flatnonzero(~np.isnan(areas))[1:-1]
    if inner.size < 2:
        return []
    middle = float(np.median(areas[inner]))
    steps = np.where(np.diff(inner) == 1, np.abs(np.diff(areas[inner])) / middle, 0)
    worst = int(steps.argmax())
    if steps[worst] <= limits.jump:
        return []
    low, high = (float(areas[inner[k]]) for k in (worst, worst + 1))
    z = int(inner[worst])
    return [Flag("jump", f"area {low:.0f} to {high:.0f} mm2 from slice {z} to {z + 1}")]


def _disagreement(
    region: str,
    mask: Bool[np.ndarray, "i j k"],
    deviation: Float[np.ndarray, "i j k"],
    limits: Limits,
) -> list[Flag]:
    if not mask.any():
        return []
    mean = float(deviation[mask].mean())
    if mean <= limits.disagreement:
        return []
    return [Flag("disagreement", f"{region}: networks differ by {mean:.2f} (SD of probability)")]


def _outside(
    lesion: Bool[np.ndarray, "i j k"],
    cord: Bool[np.ndarray, "i j k"],
    where: Anatomy,
    limits: Limits,
) -> list[Flag]:
    if not lesion.any():
        return []
    beyond = int((lesion & ~cord).sum())
    share = beyond / int(lesion.sum())
    if share <= limits.outside:
        return []
    mm3 = beyond * float(np.prod(where.spacing))
    return [Flag("outside", f"{share:.0%} of the lesions ({mm3:.0f} mm3) outside the cord")]


def _border(region: str, mask: Bool[np.ndarray, "x y z"]) -> list[Flag]:
    """Right, left, back and front only: the cord goes on above and below every scan."""
    sides = {"right": mask[0], "left": mask[-1], "back": mask[:, 0], "front": mask[:, -1]}
    # the working axes run from right to left and from back to front
    met = [side for side, plane in sides.items() if plane.any()]
    return (
        [Flag("border", f"{region} reaches the image's {' and '.join(met)} border")] if met else []
    )
