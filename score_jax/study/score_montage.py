"""What the study's scans look like: inversion times, averages, and who drew what."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from score_jax.qc.pictures import COLOURS
from score_jax.study.results import Figure

_EARLY, _LATE = slice(0, 5), slice(5, 8)  # the raters' averages: grey matter, cord border
_MARGIN_MM = 6.0
_SHOWN = ("SC", "GM", "lesion")

Drawn = Mapping[str, Bool[np.ndarray, "x y"]]


def montage(
    image: Float[np.ndarray, "x y c"], drawn: Mapping[str, Drawn], spacing: Sequence[float],
    *, name: str, title: str,
) -> Figure:  # fmt: skip
    """Every inversion time of one slice, its averages, and the masks of each method on it.

    Args:
      image: channels last; with eight of them the averages of 1 to 5 and 6 to 8 are shown (the
        raters drew on these), else the average of all.
      drawn: by method, masks by compartment; SC, GM and lesion are shown where they are.
      spacing: pixel sides in mm.
      name: of the figure.
      title: of the figure.
    """
    box = _around(drawn, spacing, image.shape[:2])
    image = image[box]
    averages = {"all": image.mean(-1)}
    if image.shape[-1] == 8:
        averages = {"1-5": image[..., _EARLY].mean(-1), "6-8": image[..., _LATE].mean(-1)}
    panels = [(f"image {c + 1}", image[..., c], {}) for c in range(image.shape[-1])]
    panels += [(f"mean of {label}", plane, {}) for label, plane in averages.items()]
    shown = next(iter(averages.values()))
    panels += [
        (method, shown, {n: mask[box] for n, mask in masks.items()})
        for method, masks in drawn.items()
    ]
    columns = min(len(panels), 7)
    rows = -(-len(panels) // columns)
    canvas = Canvas(figsize=(1.6 * columns, 1.8 * rows + 0.3), layout="constrained")
    axes = np.atleast_1d(canvas.subplots(rows, columns)).ravel()
    for axis in axes:
        axis.set_axis_off()
    for axis, (label, plane, masks) in zip(axes, panels, strict=False):
        _panel(axis, label, plane, masks, spacing)
    note = ", ".join(f"{n} {c}" for n, c in zip(_SHOWN, ("red", "blue", "yellow"), strict=True))
    return Figure(name, title, canvas, (f"Contours: {note}. Seen from the feet, front on top.",))


def _panel(
    axis: Axes, label: str, plane: Float[np.ndarray, "x y"], masks: Drawn, spacing: Sequence[float]
) -> None:
    low, high = np.percentile(plane, [1, 99.5])
    # x to the right of the body lies left on the picture; y to the front lies on top
    axis.imshow(
        plane.T[::-1, ::-1], cmap="gray", vmin=low, vmax=high, aspect=spacing[1] / spacing[0]
    )
    axis.set_title(label, fontsize=7)
    for colour, name in zip(COLOURS, _SHOWN, strict=False):
        if name in masks and masks[name].any():
            axis.contour(masks[name].T[::-1, ::-1], [0.5], colors=[colour], linewidths=0.8)


def _around(
    drawn: Mapping[str, Drawn], spacing: Sequence[float], shape: tuple[int, ...]
) -> tuple[slice, slice]:
    """The cord and 6 mm around it; all of the slice if nobody drew one."""
    every = [masks["SC"] for masks in drawn.values() if "SC" in masks and masks["SC"].any()]
    if not every:
        return slice(0, shape[0]), slice(0, shape[1])
    places = np.argwhere(np.logical_or.reduce(every))
    sides = []
    for axis in (0, 1):
        margin = round(_MARGIN_MM / spacing[axis])
        low, high = int(places[:, axis].min()), int(places[:, axis].max())
        sides.append(slice(max(0, low - margin), min(shape[axis], high + margin + 1)))
    return sides[0], sides[1]
