"""The shape of one cross-section: area, diameters, orientation, eccentricity, solidity.

Source: Spinal Cord Toolbox 7.4 (commit 3b3c5b22), `process_seg.py`; moments, orientation and hull
are scikit-image's (`regionprops`).
"""

import math

import numpy as np
from jaxtyping import Bool, Float64, Int64
from scipy import ndimage

from score_jax.morphometry.section import PIXEL_MM

METRICS = (
    *("area", "angle_AP", "angle_RL", "diameter_AP", "diameter_AP_ellipse", "diameter_RL"),
    *("length_anterior", "length_posterior", "eccentricity", "orientation", "solidity"),
)
_HALF_BAND = (
    15  # pixels on either side of the centre over which the front-back diameter is averaged
)


def shape_of(section: Float64[np.ndarray, "r c"]) -> dict[str, float]:
    """The measures of a cross-section: mm, mm², degrees.

    Area is the sum of the values, so a soft mask counts by its values; all else is measured on
    values above 0.5 and is NaN if there are none.

    Args:
      section: rows right to left, columns back to front, pixels of 0.1 mm.
    """
    measures = {"area": float(section.sum()) * PIXEL_MM**2}
    body = section > 0.5
    if not body.any():
        return measures
    major, minor, angle = _ellipse(body)
    rl_is_major = abs(math.degrees(angle)) < 45
    rl, ap = (major, minor) if rl_is_major else (minor, major)
    back, front = _diameter_ap(section, angle)
    return measures | {
        "diameter_AP": back + front,
        "diameter_AP_ellipse": ap,
        "diameter_RL": rl,
        "length_anterior": front,
        "length_posterior": back,
        "eccentricity": math.sqrt(max(1 - (minor / major) ** 2, 0.0)) if major > 0 else 0.0,
        "orientation": math.degrees(angle),
        "solidity": float(body.sum() / hull_pixels(body)),
    }


def _ellipse(body: Bool[np.ndarray, "r c"]) -> tuple[float, float, float]:
    """Axes in mm of the ellipse with the body's second moments, and its angle in radians.

    The angle is 0 if the long axis runs along the rows' direction (right-left).
    """
    rows, columns = (index.astype(np.float64) for index in np.nonzero(body))
    rows, columns = rows - rows.mean(), columns - columns.mean()
    rr, cc, rc = (rows**2).mean(), (columns**2).mean(), (rows * columns).mean()
    half, spread = (rr + cc) / 2, math.hypot((rr - cc) / 2, rc)
    if rr == cc:  # scikit-image's choice for a round body
        angle = math.pi / 4 if rc > 0 else -math.pi / 4
    else:
        angle = 0.5 * math.atan2(2 * rc, rr - cc)
    major, minor = (4 * math.sqrt(max(v, 0.0)) * PIXEL_MM for v in (half + spread, half - spread))
    return major, minor, angle


def _diameter_ap(section: Float64[np.ndarray, "r c"], angle: float) -> tuple[float, float]:
    """Length behind and before the centre, mm, mean of the 3 mm wide band through the middle.

    The section is turned upright first.
    """
    r0, c0 = (float(index.mean()) for index in np.nonzero(np.round(section)))
    rows, columns = np.indices(section.shape, dtype=np.float64)
    rows, columns = rows - r0, columns - c0
    sine, cosine = math.sin(-angle), math.cos(-angle)
    places = (r0 + columns * sine + rows * cosine, c0 + columns * cosine - rows * sine)
    upright = ndimage.map_coordinates(section, places, order=1, mode="grid-constant", cval=0.0)
    inside = np.nonzero(upright > 0.5)
    if not inside[0].size:
        return math.nan, math.nan
    middle, centre = (round(float(index.mean())) for index in inside)
    band = upright[max(middle - _HALF_BAND, 0) : middle + _HALF_BAND]
    profile = band.mean(axis=0) * PIXEL_MM
    return float(profile[:centre].sum()), float(profile[centre:].sum())


def hull_pixels(body: Bool[np.ndarray, "r c"]) -> int:
    """Pixels whose centre lies in the convex hull of the body's diamonds, border included.

    The diamond of a pixel is the square through the middles of its four sides: scikit-image's
    `convex_hull_image` with its default offsets. Computed in integers, so without rounding.
    """
    rows = np.flatnonzero(body.any(axis=1))
    first = body[rows].argmax(axis=1)
    last = body.shape[1] - 1 - body[rows, ::-1].argmax(axis=1)
    left = _boundary(rows, first)
    right = -_boundary(rows, -last)
    return int((right - left + 1).sum())


def _boundary(
    rows: Int64[np.ndarray, " n"], columns: Int64[np.ndarray, " n"]
) -> Int64[np.ndarray, " m"]:
    """First pixel inside the hull in each row from the first to the last, given each row's first.

    Works on doubled coordinates, in which the corners of the diamonds are whole numbers.
    """
    points = np.concatenate(
        [
            np.stack([2 * rows + dr, 2 * columns + dc], axis=1)
            for dr, dc in ((-1, 0), (0, -1), (1, 0))
        ]
    )
    hull: list[tuple[int, int]] = []
    for row, column in sorted(map(tuple, points.tolist())):
        if hull and hull[-1][0] == row:
            continue  # sorted: the first point of a row is its leftmost
        while len(hull) > 1 and _turns_out(hull[-2], hull[-1], (row, column)):
            hull.pop()
        hull.append((row, column))
    corners = np.array(hull)
    at = 2 * np.arange(rows[0], rows[-1] + 1)
    segment = np.clip(np.searchsorted(corners[:, 0], at, side="right") - 1, 0, len(hull) - 2)
    (r0, c0), (r1, c1) = corners[segment].T, corners[segment + 1].T
    height = r1 - r0
    return -((-(c0 * height + (c1 - c0) * (at - r0))) // (2 * height))


def _turns_out(a: tuple[int, int], b: tuple[int, int], c: tuple[int, int]) -> bool:
    """Whether `b` lies on or to the right of the line from `a` to `c`."""
    return (b[1] - a[1]) * (c[0] - a[0]) >= (c[1] - a[1]) * (b[0] - a[0])
