"""Which way the axes of an array point, and turning them without resampling.

Axis codes are nibabel's: letter *i* names the direction in which index *i* **increases**, so the
code of an identity affine is ``RAS``. The Spinal Cord Toolbox names the origins instead: its
``RPI`` is ``LAS`` here.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Shaped
from nibabel.orientations import io_orientation

from score_jax._types import Affine, Axcodes
from score_jax.errors import GeometryError

_NEGATIVE, _POSITIVE = "LPI", "RAS"


@dataclass(frozen=True, slots=True)
class Reorientation:
    """A permutation and flips of the three spatial axes.

    Args:
      axes: new axis *i* is old axis ``axes[i]``.
      flips: new axis *i* runs backwards if ``flips[i]``.
    """

    axes: tuple[int, int, int]
    flips: tuple[bool, bool, bool]

    def apply(self, array: Shaped[np.ndarray, "x y z *c"]) -> Shaped[np.ndarray, "u v w *c"]:
        """A view of `array` with its first three axes turned; channels stay last."""
        turned = array.transpose(*self.axes, *range(3, array.ndim))
        return turned[tuple(slice(None, None, -1 if flip else 1) for flip in self.flips)]

    def inverse(self) -> "Reorientation":
        """The reorientation that undoes this one."""
        back = [self.axes.index(axis) for axis in range(3)]
        return Reorientation(
            (back[0], back[1], back[2]),
            (self.flips[back[0]], self.flips[back[1]], self.flips[back[2]]),
        )

    def affine(self, affine: Affine, shape: tuple[int, ...]) -> Affine:
        """The affine of the turned array.

        Args:
          affine: voxel to RAS+ mm of the array before.
          shape: its shape before; only the first three entries are read.
        """
        to_old = np.zeros((4, 4))
        to_old[3, 3] = 1
        for new, (old, flip) in enumerate(zip(self.axes, self.flips, strict=True)):
            to_old[old, new] = -1 if flip else 1
            to_old[old, 3] = shape[old] - 1 if flip else 0
        return affine @ to_old


def check_axcodes(axcodes: Axcodes) -> Axcodes:
    """`axcodes` in capitals, refused unless it names each axis once, e.g. ``LAS``.

    Raises:
      GeometryError: a wrong length, an unknown letter or an axis named twice.
    """
    letters = axcodes.upper()
    named = sorted(_axis(letter) for letter in letters)
    if named != [0, 1, 2]:
        raise GeometryError(
            f"orientation: got {axcodes!r}; expected three letters, one of each pair L/R, A/P, S/I",
            hint="e.g. RAS; SCT's RPI is LAS here",
        )
    return letters


def axcodes_of(affine: Affine) -> Axcodes:
    """The axis codes of `affine`: the nearest anatomical direction of each array axis."""
    return "".join(
        (_POSITIVE if sign > 0 else _NEGATIVE)[int(axis)] for axis, sign in io_orientation(affine)
    )


def reorientation(affine: Affine, axcodes: Axcodes) -> Reorientation:
    """What turns an array with `affine` into one whose axes point to `axcodes`."""
    have, want = axcodes_of(affine), check_axcodes(axcodes)
    world = [_axis(letter) for letter in have]
    axes = [world.index(_axis(letter)) for letter in want]
    flips = [have[axis] != letter for axis, letter in zip(axes, want, strict=True)]
    return Reorientation((axes[0], axes[1], axes[2]), (flips[0], flips[1], flips[2]))


def _axis(letter: str) -> int:
    return max(_POSITIVE.find(letter), _NEGATIVE.find(letter))
