"""The cord's centerline and the angle at which axial slices cut it.

The centerline is the mean place of the mask in each slice, smoothed along z. Two smoothings are
those of the Spinal Cord Toolbox 7.4 (commit 3b3c5b22): FITPACK's smoothing spline (its default)
and a straight interpolation with a Hanning window.
"""

import math
import warnings
from dataclasses import dataclass
from typing import Literal, final

import numpy as np
from jaxtyping import Float, Int, Shaped
from scipy.interpolate import splev, splrep

Method = Literal["bspline", "linear"]


@final
@dataclass(frozen=True, slots=True)
class Tilt:
    """The slope of the centerline in each slice of an image.

    Args:
      slope_x: mm to the left for each mm upwards, signed.
      slope_y: mm to the front for each mm upwards, signed.
    """

    slope_x: Float[np.ndarray, " z"]
    slope_y: Float[np.ndarray, " z"]

    @property
    def cos_3d(self) -> Float[np.ndarray, " z"]:
        """Cosine of the angle between centerline and slice normal."""
        return 1 / np.sqrt(self.slope_x**2 + self.slope_y**2 + 1)

    @property
    def cos_sagittal(self) -> Float[np.ndarray, " z"]:
        """The same, seen from the side: only the tilt to the front or the back counts."""
        return 1 / np.sqrt(self.slope_y**2 + 1)

    @property
    def angle_ap(self) -> Float[np.ndarray, " z"]:
        """Tilt to the left (a turn about the front-back axis), radians, signed."""
        return np.arctan(self.slope_x)

    @property
    def angle_rl(self) -> Float[np.ndarray, " z"]:
        """Tilt to the front (a turn about the right-left axis), radians, signed."""
        return np.arctan(self.slope_y)


def level(slices: int) -> Tilt:
    """The tilt of a cord that stands upright on every slice."""
    return Tilt(np.zeros(slices), np.zeros(slices))


def slice_centres(
    mask: Shaped[np.ndarray, "x y z"], corner: tuple[int, int] = (0, 0)
) -> tuple[Int[np.ndarray, " m"], Float[np.ndarray, " m"], Float[np.ndarray, " m"]]:
    """Mean index of the voxels that are not zero, unweighted, in each slice that has any.

    Args:
      mask: working axes (see `orientation`).
      corner: index of its first voxel along x and y, if it was cropped.

    Returns:
      Slices, mean x, mean y; all empty for an empty mask.
    """
    along_x = np.count_nonzero(mask, axis=1)
    along_y = np.count_nonzero(mask, axis=0)
    voxels = along_x.sum(axis=0)
    z = np.flatnonzero(voxels)
    x = (np.arange(mask.shape[0]) + corner[0]) @ along_x[:, z] / voxels[z]
    y = (np.arange(mask.shape[1]) + corner[1]) @ along_y[:, z] / voxels[z]
    return z, x, y


def tilt(
    mask: Shaped[np.ndarray, "x y z"],
    spacing: tuple[float, float, float],
    *,
    smoothing: float = 20.0,
    slices: int | None = None,
    method: Method = "bspline",
    corner: tuple[int, int] = (0, 0),
) -> Tilt:
    """The tilt of the cord in every slice of `mask`; a mask on one slice or none is taken upright.

    With ``bspline`` the allowed sum of squared residuals, in voxels squared, is
    ``(m / slices)**2 * smoothing * pz / 3`` with m the number of slices that have any cord; outside
    the cord the end polynomials go on. With ``linear`` the derivative is that of the smoothed
    polygon and outside the cord it is 0.

    Args:
      mask: the cord along the working axes; soft masks count as what is not zero.
      spacing: mm.
      smoothing: SCT takes 20 for lesions and 30 for areas.
      slices: number of slices in the rule above; by default all of the image, as SCT does for
        lesions. The range of the cord makes the tilt independent of the field of view.
      method: how the places are smoothed.
      corner: index of the first voxel along x and y, if `mask` was cropped.

    Source: SCT `centerline/core.py` and `centerline/curve_fitting.py`; FITPACK's `curfit`.
    """
    px, py, pz = spacing
    every = np.arange(mask.shape[2])
    z, *centres = slice_centres(mask, corner)
    if z.size < 2:
        return level(mask.shape[2])
    if method == "linear":
        x, y = (_linear_slope(z, v, every, smoothing, pz) for v in centres)
    else:
        allowed = (z.size / (slices or mask.shape[2])) ** 2 * smoothing * pz / 3
        x, y = (_spline_slope(z, v, every, allowed) for v in centres)
    return Tilt(x * px / pz, y * py / pz)


def _spline_slope(
    z: Int[np.ndarray, " m"],
    places: Float[np.ndarray, " m"],
    at: Int[np.ndarray, " z"],
    allowed: float,
) -> Float[np.ndarray, " z"]:
    with warnings.catch_warnings():
        # FITPACK stopped short of the allowed residual: its last spline is still the answer
        warnings.simplefilter("ignore", RuntimeWarning)
        spline = splrep(z, places, k=3 if z.size > 3 else 1, s=allowed)
    return np.asarray(splev(at, spline, der=1))


def _linear_slope(
    z: Int[np.ndarray, " m"],
    places: Float[np.ndarray, " m"],
    at: Int[np.ndarray, " z"],
    smoothing: float,
    pz: float,
) -> Float[np.ndarray, " z"]:
    inside = np.arange(z[0], z[-1] + 1)
    polygon = np.interp(inside, z, places)
    half = math.floor(math.ceil(smoothing / pz) / 2)
    smooth = _hanning(polygon, 2 * half + 1)
    slope = np.zeros(at.size)
    slope[inside] = np.gradient(smooth)
    return slope


def _hanning(signal: Float[np.ndarray, " n"], width: int) -> Float[np.ndarray, " n"]:
    """Moving Hanning average; the signal goes on mirrored through its end points."""
    half = min(width // 2, signal.size - 1)
    width = 2 * half + 1
    if width < 3:
        return signal
    before = 2 * signal[0] - signal[half:0:-1]
    after = 2 * signal[-1] - signal[-2 : -half - 2 : -1]
    window = np.hanning(width)
    return np.convolve(np.concatenate([before, signal, after]), window / window.sum(), "valid")
