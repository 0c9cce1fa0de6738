"""The shape of one cross-section: area, diameters, orientation, eccentricity, solidity.

Source: Spinal Cord Toolbox 7.4 (commit 3b3c5b22), `process_seg.py`; moments, orientation and hull
are scikit-image's (`regionprops`).
"""

import math
from itertools import product

import numpy as np
from jaxtyping import Bool, Float64, Int64

from score_jax.morphometry.section import PIXEL_MM, Section

METRICS = (
    *("area", "angle_AP", "angle_RL", "diameter_AP", "diameter_AP_ellipse", "diameter_RL"),
    *("length_anterior", "length_posterior", "eccentricity", "orientation", "solidity"),
)
_HALF_BAND = (
    15  # pixels on either side of the centre over which the front-back diameter is averaged
)
_BEYOND = 4  # pixels: no pixel is taken from as far outside a section
Numbers = Int64[np.ndarray, " n"]


def shape_of(section: Section) -> dict[str, float]:
    """The measures of a cross-section: mm, mm², degrees.

    Area is the sum of the values, so a soft mask counts by its values; all else is measured on
    values above 0.5 and is NaN if there are none.
    """
    measures = {"area": float(section.values.sum()) * PIXEL_MM**2}
    rows, columns = _places(section.values > 0.5)
    if not rows.size:
        return measures
    rows, columns = section.rows[rows], section.columns[columns]
    centre = float(rows.mean()), float(columns.mean())
    major, minor, angle = _ellipse(rows - centre[0], columns - centre[1])
    rl_is_major = abs(math.degrees(angle)) < 45
    rl, ap = (major, minor) if rl_is_major else (minor, major)
    back, front = _diameter_ap(section, centre, angle)
    return measures | {
        "diameter_AP": back + front,
        "diameter_AP_ellipse": ap,
        "diameter_RL": rl,
        "length_anterior": front,
        "length_posterior": back,
        "eccentricity": math.sqrt(max(1 - (minor / major) ** 2, 0.0)) if major > 0 else 0.0,
        "orientation": math.degrees(angle),
        "solidity": float(rows.size / _hull(rows, columns)),
    }


def _places(mask: Bool[np.ndarray, "r c"]) -> tuple[Numbers, Numbers]:
    """As `np.nonzero`, several times faster."""
    rows = np.repeat(np.arange(mask.shape[0]), np.count_nonzero(mask, axis=1))
    return rows, np.flatnonzero(mask) - rows * mask.shape[1]


def _ellipse(
    rows: Float64[np.ndarray, " n"], columns: Float64[np.ndarray, " n"]
) -> tuple[float, float, float]:
    """Axes in mm of the ellipse with the second moments of pixels, and its angle in radians.

    The angle is 0 if the long axis runs along the rows' direction (right-left).

    Args:
      rows: of each pixel, from the middle of all.
      columns: likewise.
    """
    rr, cc, rc = (float(values.mean()) for values in (rows**2, columns**2, rows * columns))
    half, spread = (rr + cc) / 2, math.hypot((rr - cc) / 2, rc)
    if rr == cc:  # scikit-image's choice for a round body
        angle = math.pi / 4 if rc > 0 else -math.pi / 4
    else:
        angle = 0.5 * math.atan2(2 * rc, rr - cc)
    major, minor = (4 * math.sqrt(max(v, 0.0)) * PIXEL_MM for v in (half + spread, half - spread))
    return major, minor, angle


def _diameter_ap(
    section: Section, centre: tuple[float, float], angle: float
) -> tuple[float, float]:
    """Length behind and before the centre, mm, mean of the 3 mm wide band through the middle.

    The section is turned upright about its centre first.
    """
    rows, columns, values = _upright(section, centre, angle)
    inside = values > 0.5
    count = np.count_nonzero(inside)
    if not count:
        return math.nan, math.nan
    middle, front = (round(float((index * inside).sum() / count)) for index in (rows, columns))
    low, high = max(middle - _HALF_BAND, 0), min(middle + _HALF_BAND, section.shape[0])
    band = slice(*np.searchsorted(rows, (low, high)))
    lengths = values[band] * (PIXEL_MM / (high - low))
    ahead = columns[band] >= front
    return float(lengths[~ahead].sum()), float(lengths[ahead].sum())


def _upright(
    section: Section, centre: tuple[float, float], angle: float
) -> tuple[Numbers, Numbers, Float64[np.ndarray, " n"]]:
    """The section turned about its centre, bilinear: its pixels that may not be 0.

    Returns:
      Rows, columns and values, in raster order. The turned section is as large as the section.
    """
    sine, cosine = math.sin(-angle), math.cos(-angle)
    rows, columns = _reached(section, centre, sine, cosine)
    down, right = (np.arange(n) - middle for n, middle in zip(section.shape, centre, strict=True))
    r = (centre[0] + right * sine)[columns] + (down * cosine)[rows]
    c = (centre[1] + right * cosine)[columns] - (down * sine)[rows]
    return rows, columns, _between(section, r, c)


def _reached(
    section: Section, centre: tuple[float, float], sine: float, cosine: float
) -> tuple[Numbers, Numbers]:
    """Pixels of the upright section that may not be 0.

    They take from a pixel less than sqrt(2) away, so they lie around the one nearest to the place
    to which it is turned.
    """
    rows, columns = _places(section.values > 0)
    rows, columns = (section.rows - centre[0])[rows], (section.columns - centre[1])[columns]
    down = np.rint(rows * cosine - columns * sine + centre[0])
    right = np.rint(rows * sine + columns * cosine + centre[1])
    top, left = int(down.min()) - 1, int(right.min()) - 1
    height, width = int(down.max()) - top + 2, int(right.max()) - left + 2
    near = np.zeros(height * width, bool)
    near[((down - top) * width + (right - left)).astype(np.int64)] = True
    for step in (width, 1):  # and all that are next to them
        near[step:] |= near[:-step]
        near[:-step] |= near[step:]
    inside = [
        slice(max(-start, 0), length - start)
        for start, length in zip((top, left), section.shape, strict=True)
    ]
    rows, columns = _places(near.reshape(height, width)[inside[0], inside[1]])
    return rows + max(top, 0), columns + max(left, 0)


def _between(
    section: Section, rows: Float64[np.ndarray, "*n"], columns: Float64[np.ndarray, "*n"]
) -> Float64[np.ndarray, "*n"]:
    """Bilinear interpolation; places may lie up to `_BEYOND` pixels outside, where all is 0."""
    values = np.pad(section.values, ((1, 2), (1, 2)))
    width = values.shape[1]
    flat, index, shares = values.ravel(), 0, []
    for at, kept, length, step in (
        (rows, section.rows, section.shape[0], width),
        (columns, section.columns, section.shape[1], 1),
    ):
        # number of each row in `values`; those left out have the last but one, before another 0
        number = np.full(length + 2 * _BEYOND, kept.size + 1)
        number[_BEYOND - 1] = 0
        number[kept + _BEYOND] = np.arange(1, kept.size + 1)
        before = np.floor(at)
        index = index + (number * step).take(before.astype(np.int64) + _BEYOND)
        share = at - before
        shares.append((1 - share, share))
    result = np.zeros(index.shape)
    for down, right in product((0, 1), (0, 1)):
        part = flat[down * width + right :].take(index)
        part *= shares[0][down]
        part *= shares[1][right]
        result += part
    return result


def hull_pixels(body: Bool[np.ndarray, "r c"]) -> int:
    """Pixels whose centre lies in the convex hull of the body's diamonds, border included.

    The diamond of a pixel is the square through the middles of its four sides: scikit-image's
    `convex_hull_image` with its default offsets. Computed in integers, so without rounding.
    """
    return _hull(*_places(body))


def _hull(rows: Numbers, columns: Numbers) -> int:
    """`hull_pixels` of pixels in raster order."""
    turns = np.flatnonzero(rows[1:] != rows[:-1])
    starts, ends = np.append(-1, turns) + 1, np.append(turns, rows.size - 1)
    left = _boundary(rows[starts], columns[starts])
    right = -_boundary(rows[ends], -columns[ends])
    return int((right - left + 1).sum())


def _boundary(rows: Numbers, columns: Numbers) -> Int64[np.ndarray, " m"]:
    """First pixel inside the hull in each row from the first to the last, given each row's first.

    Works on doubled coordinates, in which the corners of the diamonds are whole numbers.
    """
    height = int(rows[-1] - rows[0]) + 1
    middle = 2 * (rows - rows[0]) + 1
    nothing = 2 * int(columns.max()) + 1
    edge = np.full(2 * height + 1, nothing)  # the leftmost corner in each doubled row
    edge[middle] = 2 * columns - 1
    edge[middle - 1] = 2 * columns
    edge[middle + 1] = np.minimum(edge[middle + 1], 2 * columns)
    row = np.flatnonzero(edge < nothing)
    edge = edge[row]
    while True:
        # a corner on or to the right of the line between its neighbours is none of the hull's;
        # all of these may go at once, because the hull's own corners are never such
        down, right = row[1:] - row[:-1], edge[1:] - edge[:-1]
        out = right[:-1] * down[1:] >= right[1:] * down[:-1]
        if not out.any():
            break
        kept = np.ones(row.size, bool)
        kept[1:-1] = ~out
        row, edge = row[kept], edge[kept]
    at = 2 * np.arange(height) + 1
    segment = np.searchsorted(row, at, side="right") - 1
    r0, c0 = row[segment], edge[segment]
    tall, wide = down[segment], right[segment]
    return -((-(c0 * tall + wide * (at - r0))) // (2 * tall))
