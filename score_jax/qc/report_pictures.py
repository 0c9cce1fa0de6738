"""Small pictures of a scan for the report: a sagittal view and axial tiles, contours apart.

The image and the contours are two files, so that the page can show and hide the contours. Both
are of one size, in the radiological view: the patient's right is on the left, front above (axial)
or on the left (sagittal), head above.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
from jaxtyping import Bool, Float, Shaped, UInt8
from scipy import ndimage

from score_jax.imaging import Volume, atomic, reorientation
from score_jax.morphometry.centerline import slice_centres
from score_jax.qc.pictures import COLOURS

TILE = 120  # pixels of an axial tile's side
COLUMNS, ROWS = 4, 4
TILE_MM = 32.0
SAGITTAL = (240, TILE * ROWS)  # width, height in pixels
WIDTH, HEIGHT = SAGITTAL[0] + TILE * COLUMNS, TILE * ROWS
QUALITY = 45  # of WebP


@final
@dataclass(frozen=True, slots=True)
class Montage:
    """The views of a scan.

    Args:
      image: grey values, first row on top.
      contours: 0, or number of the region (from 1) whose outline runs there.
      regions: their names.
      slices: of each axial tile, counted from below; row by row, from the head down.
    """

    image: UInt8[np.ndarray, "h w"]
    contours: UInt8[np.ndarray, "h w"]
    regions: tuple[str, ...]
    slices: tuple[int, ...]


def montage(volume: Volume, masks: Mapping[str, Bool[np.ndarray, "i j k"]]) -> Montage:
    """The views of `volume` with the outlines of `masks`.

    The sagittal view follows the middle of the masks from slice to slice, so that a bent cord
    stays in it. Empty masks have no outline; if all are empty, the middle of the image is shown.

    Args:
      volume: the image, in any orientation; its first channel is shown.
      masks: by region, as stored.
    """
    image, arrays = _turned(volume, masks)
    spacing = volume.reoriented("LAS").spacing
    everything = np.logical_or.reduce(list(arrays.values()))
    centres = _centres(everything)
    slices = _slices(everything)
    where = [_axial(z, centres[z], spacing) for z in slices]
    corners = [
        (SAGITTAL[0] + TILE * (n % COLUMNS), TILE * (n // COLUMNS)) for n in range(len(slices))
    ]
    places = [((0, 0), _sagittal(centres, image.shape, spacing))]
    places += list(zip(corners, where, strict=True))
    grey = np.full((HEIGHT, WIDTH), np.nan)
    contours = np.zeros((HEIGHT, WIDTH), np.uint8)
    for (left, top), at in places:
        window = (slice(top, top + at.shape[1]), slice(left, left + at.shape[2]))
        grey[window] = ndimage.map_coordinates(image, at, order=1, cval=np.nan)
        for number, mask in enumerate(arrays.values(), 1):
            inside = ndimage.map_coordinates(mask.view(np.uint8), at, order=0) > 0
            inner = np.asarray(ndimage.binary_erosion(inside), bool)
            contours[window][inside & ~inner] = number
    return Montage(_grey(grey), contours, tuple(masks), tuple(slices))


def write_montage(seen: Montage, image: Path, contours: Path) -> None:
    """Write the image as WebP and the outlines as a PNG with transparent ground.

    Raises:
      OutputError: disk full, no permission.
    """
    from PIL import Image

    with atomic(image) as temporary:
        Image.fromarray(seen.image).save(temporary, "WEBP", quality=QUALITY, method=4)
    drawn = Image.fromarray(seen.contours, "P")
    drawn.putpalette([0, 0, 0, *(v for n in range(len(seen.regions)) for v in _rgb(colour(n)))])
    with atomic(contours) as temporary:
        drawn.save(temporary, "PNG", transparency=0, optimize=True)


def colour(number: int) -> str:
    """The colour of a region, by its place among them."""
    return COLOURS[number % len(COLOURS)]


def _rgb(text: str) -> tuple[int, int, int]:
    return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)


def _turned(
    volume: Volume, masks: Mapping[str, np.ndarray]
) -> tuple[Float[np.ndarray, "x y z"], dict[str, Bool[np.ndarray, "x y z"]]]:
    """Image and masks with axes from right to left, back to front and feet to head."""
    turn = reorientation(volume.stored_affine, "LAS")
    image = volume.reoriented("LAS").channels_last[..., 0].astype(np.float32, copy=False)
    return image, {n: turn.apply(m).astype(bool, copy=False) for n, m in masks.items()}


def _centres(mask: Bool[np.ndarray, "x y z"]) -> Float[np.ndarray, "z 2"]:
    """The middle of the mask in every slice; between and beyond its slices, interpolated."""
    filled, *known = slice_centres(mask)
    if not filled.size:
        return np.tile([(n - 1) / 2 for n in mask.shape[:2]], (mask.shape[2], 1))
    every = np.arange(mask.shape[2])
    return np.stack([np.interp(every, filled, places) for places in known], axis=-1)


def _slices(mask: Bool[np.ndarray, "x y z"]) -> list[int]:
    """Slices spread over the mask, from the head down; over the image if it is empty."""
    filled = np.flatnonzero(mask.any(axis=(0, 1)))
    low, high = (filled[0], filled[-1]) if filled.size else (0, mask.shape[2] - 1)
    count = min(COLUMNS * ROWS, high - low + 1)
    return [int(z) for z in np.unique(np.linspace(low, high, count).round())][::-1]


def _axial(
    z: int, centre: Float[np.ndarray, "2"], spacing: tuple[float, ...]
) -> Float[np.ndarray, "3 v u"]:
    """Voxel coordinates of an axial tile's pixels."""
    mm = ((np.arange(TILE) + 0.5) / TILE - 0.5) * TILE_MM
    y, x = np.meshgrid(centre[1] - mm / spacing[1], centre[0] + mm / spacing[0], indexing="ij")
    return np.stack([x, y, np.full_like(x, z)])


def _sagittal(
    centres: Float[np.ndarray, "z 2"], shape: tuple[int, ...], spacing: tuple[float, ...]
) -> Float[np.ndarray, "3 v u"]:
    """Voxel coordinates of the sagittal view: the whole height of the image, and true to scale."""
    width, height = SAGITTAL
    mm_a_pixel = max(shape[2] * spacing[2] / height, TILE_MM / TILE)
    mm = (np.arange(height) + 0.5 - height / 2) * mm_a_pixel
    z = (shape[2] - 1) / 2 - mm / spacing[2]
    nearest = z.round().clip(0, shape[2] - 1).astype(int)
    front = ((np.arange(width) + 0.5) / width - 0.5) * width * mm_a_pixel / spacing[1]
    middle = float(centres[:, 1].mean())
    y = np.broadcast_to(middle - front, (height, width))
    x = np.broadcast_to(centres[nearest, 0][:, None], y.shape)
    return np.stack([x, y, np.broadcast_to(z[:, None], y.shape)])


def _grey(values: Shaped[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w"]:
    """Grey values between the 1st and the 99.5th percentile of what is seen; beyond, black."""
    seen = values[np.isfinite(values)]
    low, high = np.percentile(seen, [1, 99.5]) if seen.size else (0.0, 1.0)
    scaled = (values - low) / max(high - low, 1e-12)
    return (np.nan_to_num(scaled, nan=0.0).clip(0, 1) * 255).round().astype(np.uint8)
