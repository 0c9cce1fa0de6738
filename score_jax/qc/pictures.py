"""One picture a scan: axial slices from top to bottom and a sagittal view, masks as contours."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from score_jax.imaging import Volume, atomic, reorientation

COLOURS = ("#ff3b30", "#00c8ff", "#ffd60a", "#34c759", "#ff9f0a", "#bf5af2", "#ffffff", "#ff2d92")
HALF_WIDTH_MM = 20.0  # of an axial tile around the masks
MOST_SLICES = 11


def draw_overview(
    path: Path, volume: Volume, masks: Mapping[str, Bool[np.ndarray, "x y z"]], *, title: str = ""
) -> None:
    """Write a PNG of `volume` with the contours of `masks`; an empty mask draws nothing.

    Args:
      path: the PNG.
      volume: the image; the first channel is shown.
      masks: by region name, on the grid `volume` was stored in.
      title: above the picture.
    """
    from matplotlib.figure import Figure

    canonical = volume.reoriented("RAS")
    turned = {
        name: volume.with_data(_to_volume_grid(volume, mask)).reoriented("RAS").data.astype(bool)
        for name, mask in masks.items()
    }
    image = canonical.channels_last[..., 0]
    everything = np.logical_or.reduce(list(turned.values())) if turned else image > np.inf
    slices = axial_slices(everything)
    columns = 4
    rows = -(-(len(slices) + 1) // columns)
    figure = Figure(figsize=(2.6 * columns, 2.6 * rows + 0.5), layout="constrained")
    axes = np.atleast_1d(figure.subplots(rows, columns)).ravel()
    for axis in axes:
        axis.set_axis_off()
    low, high = np.percentile(image, [1, 99.5])
    shades = {"cmap": "gray", "vmin": low, "vmax": high}
    _sagittal(axes[0], image, turned, everything, canonical.spacing, shades)
    for axis, z in zip(axes[1:], slices, strict=False):
        _axial(axis, image, turned, everything, z, canonical.spacing, shades)
    for number, name in enumerate(turned):
        figure.text(
            0.02 + 0.15 * number, 0.005, name, color=COLOURS[number % len(COLOURS)], weight="bold"
        )
    figure.suptitle(title, fontsize=9)
    figure.set_facecolor("0.15")
    for text in [*figure.texts, *(a.title for a in axes)]:
        if text.get_color() == "black":
            text.set_color("white")
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=110, facecolor=figure.get_facecolor())


def axial_slices(mask: Bool[np.ndarray, "x y z"]) -> list[int]:
    """At most `MOST_SLICES` slices spread over the mask, from top to bottom; all if it is empty."""
    filled = np.flatnonzero(mask.any(axis=(0, 1)))
    low, high = (filled[0], filled[-1]) if len(filled) else (0, mask.shape[2] - 1)
    count = min(MOST_SLICES, high - low + 1)
    return [int(z) for z in np.unique(np.linspace(low, high, count).round())][::-1]


def _to_volume_grid(volume: Volume, mask: np.ndarray) -> np.ndarray:
    """`mask`, stored like the file, turned as `volume` is."""
    return reorientation(volume.stored_affine, volume.axcodes).apply(mask)


def _centre(mask: np.ndarray) -> tuple[float, ...]:
    if not mask.any():
        return tuple((n - 1) / 2 for n in mask.shape)
    return tuple(float(index.mean()) for index in np.nonzero(mask))


def _axial(
    axis: Any,
    image: Float[np.ndarray, "x y z"],
    masks: Mapping[str, np.ndarray],
    everything: np.ndarray,
    z: int,
    spacing: Sequence[float],
    shades: Mapping[str, Any],
) -> None:
    x, y = _centre(everything[:, :, z]) if everything[:, :, z].any() else _centre(everything)[:2]
    axis.imshow(image[:, :, z].T, origin="lower", aspect=spacing[1] / spacing[0], **shades)
    for number, mask in enumerate(masks.values()):
        if mask[:, :, z].any():
            axis.contour(
                mask[:, :, z].T, [0.5], colors=COLOURS[number % len(COLOURS)], linewidths=0.9
            )
    axis.set_xlim(x - HALF_WIDTH_MM / spacing[0], x + HALF_WIDTH_MM / spacing[0])
    axis.set_ylim(y - HALF_WIDTH_MM / spacing[1], y + HALF_WIDTH_MM / spacing[1])
    axis.set_title(f"slice {z}", fontsize=7, pad=2)


def _sagittal(
    axis: Any,
    image: Float[np.ndarray, "x y z"],
    masks: Mapping[str, np.ndarray],
    everything: np.ndarray,
    spacing: Sequence[float],
    shades: Mapping[str, Any],
) -> None:
    x = round(_centre(everything)[0])
    axis.imshow(image[x].T, origin="lower", aspect=spacing[2] / spacing[1], **shades)
    for number, mask in enumerate(masks.values()):
        if mask[x].any():
            axis.contour(mask[x].T, [0.5], colors=COLOURS[number % len(COLOURS)], linewidths=0.9)
    axis.set_title("sagittal", fontsize=7, pad=2)
