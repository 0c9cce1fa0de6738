"""Where a scan samples the body: grid, resolution, slice profile, stored orientation."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from score_jax.errors import GeometryError

_AXES = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Acquisition:
    """A scan's geometry. Three-number settings run right, anterior, superior, whatever is stored.

    Args:
      shape: voxels along right, anterior, superior.
      spacing_mm: voxel size of the image in that order.
      thick_axis: the through-slice axis (0 sagittal, 2 axial), or None for a 3-D acquisition.
      thickness_mm: slice thickness; None is the spacing. Larger than the spacing: slices overlap.
      resolution_mm: acquired in-plane resolution; None is the spacing. Coarser than the spacing:
        the image is interpolated (zero-filled), as AMIRA's.
      centre_mm: middle of the grid: right and anterior of the canal's middle at s = 0, and s.
      axcodes: orientation the arrays are stored in (nibabel's sense, e.g. ``"LAS"``).
      fine_mm: distance of the points that are sampled within a voxel.
      margin_mm: how far they reach beyond the grid.
      slice_planes: planes averaged across a slice; None chooses 3, 5 or 7 by thickness.
    """

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    thick_axis: int | None = 2
    thickness_mm: float | None = None
    resolution_mm: float | None = None
    centre_mm: tuple[float, float, float] = (0.0, 0.0, -30.0)
    axcodes: str = "RAS"
    fine_mm: float = 0.5
    margin_mm: float = 2.0
    slice_planes: int | None = None

    def __post_init__(self) -> None:
        if min(self.shape) < 1 or any(n != int(n) for n in self.shape):
            raise GeometryError(f"scan shape: got {self.shape}; expected three counts >= 1")
        optional = (size for size in (self.thickness_mm, self.resolution_mm) if size is not None)
        sizes = (*self.spacing_mm, *optional, self.fine_mm)
        if not all(math.isfinite(size) and 0.05 <= size <= 30 for size in sizes):
            raise GeometryError(
                f"scan spacing {self.spacing_mm}, thickness {self.thickness_mm}, resolution "
                f"{self.resolution_mm}: expected .05 to 30 mm each"
            )
        if self.thick_axis not in (None, 0, 1, 2):
            raise GeometryError(f"thick_axis: got {self.thick_axis}; expected 0, 1, 2 or None")
        axes = sorted(_AXES.get(code, (9, 0))[0] for code in self.axcodes)
        if axes != [0, 1, 2]:
            raise GeometryError(
                f"axcodes: got {self.axcodes!r}; expected one letter each of RL, AP, SI"
            )

    def centres(self, axis: int) -> Float[np.ndarray, " n"]:
        """Voxel centres along right (0), anterior (1) or superior (2), mm."""
        n, step = self.shape[axis], self.spacing_mm[axis]
        return self.centre_mm[axis] + step * (np.arange(n) - 0.5 * (n - 1))

    @property
    def affine(self) -> Float[np.ndarray, "4 4"]:
        """Stored voxel indices to right, anterior, superior mm."""
        matrix = np.eye(4)
        matrix[:3, :3] = 0
        for stored, code in enumerate(self.axcodes):
            axis, sign = _AXES[code]
            matrix[axis, stored] = sign * self.spacing_mm[axis]
            line = self.centres(axis)
            matrix[axis, 3] = line[0] if sign > 0 else line[-1]
        return matrix

    def stored(self, array: np.ndarray) -> np.ndarray:
        """An array on right, anterior, superior axes (then any others) as it is stored."""
        axes = [_AXES[code][0] for code in self.axcodes]
        flips = [stored for stored, code in enumerate(self.axcodes) if _AXES[code][1] < 0]
        array = np.transpose(array, [*axes, *range(3, array.ndim)])
        return np.ascontiguousarray(np.flip(array, tuple(flips)))

    def fine_line(self, axis: int) -> Float[np.ndarray, " f"]:
        """Sampling points along right (0) or anterior (1): up to 8 a voxel, plus a margin.

        The margin lets the band limit ring at the edges as it would in a whole body.
        """
        step, n = self.spacing_mm[axis], self.shape[axis]
        if axis == self.thick_axis:
            per = 1 if step < 0.8 else 3 if step < 2 else 5
        else:
            per = int(np.clip(math.ceil(step / self.fine_mm - 0.01), 1, 8))
        pitch = step / per
        count = n * per + 2 * round(self.margin_mm / pitch)
        if axis == self.thick_axis:
            count = n * per + 2 * math.ceil(max(0.0, self.thickness(axis) - step) / 2 / pitch)
        return self.centre_mm[axis] + pitch * (np.arange(count) - 0.5 * (count - 1))

    def planes(self) -> tuple[Float[np.ndarray, " p"], Float[np.ndarray, " p"]]:
        """Heights about a slice's middle (mm) that are averaged, and their weights (sum 1)."""
        step = self.spacing_mm[2]
        if self.thick_axis != 2:
            count = int(np.clip(math.ceil(step / self.fine_mm - 0.01), 1, 4))
            offsets = step / count * (np.arange(count) - 0.5 * (count - 1))
            return offsets, np.full(count, 1 / count)
        width = self.thickness(2)
        # few choices, so that compiled programs are reused
        count = self.slice_planes or (3 if width < 3 else 5 if width < 6 else 7)
        offsets = width * (np.arange(count) - 0.5 * (count - 1)) / count
        weights = slice_profile(offsets, width)
        return offsets, weights / weights.sum()

    def thickness(self, axis: int) -> float:
        """Extent of a voxel along an axis, mm."""
        if axis == self.thick_axis and self.thickness_mm is not None:
            return self.thickness_mm
        return self.spacing_mm[axis]

    def encode(self, axis: int) -> Float[np.ndarray, "n f"]:
        """Matrix from fine samples to voxels: slice profile, or band limit of the read-out.

        The band limit keeps frequencies up to half the acquired resolution's inverse, tapered from
        three quarters of that (as a raw-data filter), so edges ring a little, as in a real scan.
        Rows sum to 1.
        """
        gap = self.centres(axis)[:, None] - self.fine_line(axis)[None, :]
        if axis == self.thick_axis:
            weight = slice_profile(gap, self.thickness(axis))
        else:
            resolution = max(self.resolution_mm or 0.0, self.spacing_mm[axis])
            weight = band_limited(gap, resolution)
        return (weight / weight.sum(1, keepdims=True)).astype(np.float32)

    def average(self, axis: int) -> Float[np.ndarray, "n f"]:
        """Matrix from fine samples to the mean over each voxel (the truth)."""
        if axis == self.thick_axis:
            return self.encode(axis)
        line, step = self.fine_line(axis), self.spacing_mm[axis]
        pitch = line[1] - line[0]
        gap = np.abs(self.centres(axis)[:, None] - line[None, :])
        overlap = np.clip(0.5 * (step + pitch) - gap, 0, min(pitch, step))
        return (overlap / overlap.sum(1, keepdims=True)).astype(np.float32)


def slice_profile(distance: Float[np.ndarray, "*n"], thickness: float) -> Float[np.ndarray, "*n"]:
    """Excitation across a slice: exp(-(z / .42 T)^4 / 2), nearly a box of width `thickness`."""
    return np.exp(-0.5 * (distance / (0.42 * thickness)) ** 4)


def _response(taper: float = 0.75) -> tuple[np.ndarray, np.ndarray]:
    place = np.linspace(0, 10, 2001)
    share = (np.arange(64) + 0.5) / 64
    edge = np.clip((share - taper) / (1 - taper), 0, 1)
    filters = 0.5 * (1 + np.cos(np.pi * edge))
    curve = np.cos(np.pi * place[:, None] * share[None, :]) @ filters
    return place, curve * 0.5 * (1 + np.cos(np.pi * place / place[-1]))


# point response of a read-out, over the distance in units of the resolution
RESPONSE = _response()


def band_limited(distance: Float[np.ndarray, "*n"], resolution: float) -> Float[np.ndarray, "*n"]:
    """Point response of a read-out up to ``1 / (2 resolution)``, cosine-tapered above 3/4 of it.

    Cut off, softly, ten resolutions away, where the taper has left less than a hundredth.
    """
    return np.interp(np.abs(distance) / resolution, *RESPONSE)
