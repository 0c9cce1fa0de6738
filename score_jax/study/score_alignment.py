"""Two scans of one person: the second's masks laid on the first, slice by slice.

Repeated scans lie differently in the image (after repositioning by millimetres and degrees), so an
overlap or a distance between their masks means something only after a rigid motion in the plane.
The paper does not say how its authors did it. Areas need none of this.
"""

import math
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float64
from scipy import ndimage, optimize

How = Literal["rigid", "centroid", "none"]

_SMOOTH_MM = 0.5  # of masks, so that a motion below a pixel counts
_MARGIN_MM = 3.0
_TURN_DEG = 5.0  # where the search for the angle starts: a first step


class Motion(NamedTuple):
    """A rigid motion in the plane: turn about the fixed centre, then shift.

    Args:
      angle: radians, from the first axis to the second.
      fixed: the centre in the fixed slice, pixels.
      moving: the centre in the moving slice, pixels.
    """

    angle: float
    fixed: tuple[float, float]
    moving: tuple[float, float]


def align(
    fixed: tuple[Bool[np.ndarray, "x y"], Bool[np.ndarray, "x y"]],
    moving: tuple[Bool[np.ndarray, "u v"], Bool[np.ndarray, "u v"]],
    pixel_mm: float,
    how: How = "rigid",
) -> Motion:
    """The motion that lays the moving slice's cord and grey matter on the fixed one's.

    Args:
      fixed: cord and grey matter of the slice that stays.
      moving: the same of the other scan; its grid may have another size.
      pixel_mm: side of the square pixels of both.
      how: ``centroid`` shifts the cord's centre onto the other's; ``rigid`` then minimises the
        squared difference of both masks, smoothed by 0.5 mm, over two shifts and an angle
        (Nelder-Mead); ``none`` does nothing.

    Returns:
      The motion; with an empty cord in either slice, none.
    """
    still = Motion(0.0, (0.0, 0.0), (0.0, 0.0))
    if how == "none" or not fixed[0].any() or not moving[0].any():
        return still
    centre = _centroid(fixed[0])
    start = Motion(0.0, centre, _centroid(moving[0]))
    if how == "centroid":
        return start
    goal, box = _smooth(fixed, pixel_mm, centre)
    source = [ndimage.gaussian_filter(m.astype(np.float32), _SMOOTH_MM / pixel_mm) for m in moving]

    def motion(values: Float64[np.ndarray, "3"]) -> Motion:
        x, y = start.moving
        return Motion(float(values[2]), centre, (x + float(values[0]), y + float(values[1])))

    def misfit(values: Float64[np.ndarray, "3"]) -> float:
        moved = [_moved(image, motion(values), box) for image in source]
        return float(sum(((a - b) ** 2).sum() for a, b in zip(goal, moved, strict=True)))

    first = np.vstack([np.zeros(3), np.diag([1.0, 1.0, math.radians(_TURN_DEG)])])
    found = optimize.minimize(
        misfit, np.zeros(3), method="Nelder-Mead",
        options={"initial_simplex": first, "xatol": 1e-3, "fatol": 1e-2, "maxfev": 150},
    )  # fmt: skip
    return motion(found.x)


def moved(
    mask: Bool[np.ndarray, "u v"], motion: Motion, shape: tuple[int, int]
) -> Bool[np.ndarray, "x y"]:
    """A mask of the moving slice on the fixed slice's grid: linear interpolation, half counts."""
    if motion == Motion(0.0, (0.0, 0.0), (0.0, 0.0)) and mask.shape == shape:
        return mask
    return _moved(mask.astype(np.float32), motion, (slice(0, shape[0]), slice(0, shape[1]))) >= 0.5


def _smooth(
    masks: tuple[np.ndarray, np.ndarray], pixel_mm: float, centre: tuple[float, float]
) -> tuple[list[np.ndarray], tuple[slice, slice]]:
    """The smoothed masks around the cord, and where that is."""
    places = np.argwhere(masks[0])
    reach = float(np.abs(places - np.array(centre)).max()) + _MARGIN_MM / pixel_mm
    box = tuple(
        slice(max(0, math.floor(c - reach)), min(n, math.ceil(c + reach) + 1))
        for c, n in zip(centre, masks[0].shape, strict=True)
    )
    blurred = [ndimage.gaussian_filter(m.astype(np.float32), _SMOOTH_MM / pixel_mm) for m in masks]
    return [image[box] for image in blurred], (box[0], box[1])


def _moved(image: np.ndarray, motion: Motion, box: tuple[slice, slice]) -> np.ndarray:
    c, s = math.cos(motion.angle), math.sin(motion.angle)
    turn = np.array([[c, -s], [s, c]])
    corner = np.array([side.start for side in box], np.float64)
    # a pixel p of the box shows the moving pixel moving + turn (corner + p - fixed)
    offset = np.array(motion.moving) + turn @ (corner - np.array(motion.fixed))
    shape = tuple(side.stop - side.start for side in box)
    return ndimage.affine_transform(
        image,
        turn,
        offset,  # pyright: ignore[reportArgumentType]
        output_shape=shape,
        order=1,
    )


def _centroid(mask: Bool[np.ndarray, "x y"]) -> tuple[float, float]:
    x, y = np.argwhere(mask).mean(axis=0)
    return float(x), float(y)
