"""A picture a lesion: the midsagittal plane with its tissue bridges, and the worst axial slice."""

import math
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Real, Shaped

from score_jax.arrays.components import bounding_box
from score_jax.imaging import atomic
from score_jax.morphometry import LesionTable
from score_jax.morphometry.table import Row, Span, Status

LESION, CORD, DORSAL, VENTRAL = "#ff3b30", "#00c8ff", "#ffd60a", "#34c759"
_MARGIN_MM = (22.0, 30.0)  # around the cord in plane; above and below the lesion
_SIDE_MM = 16.0  # half the side of the axial view
_FINE = 8  # points a voxel for the outlines
_CHARACTERS = {"color": "white", "fontsize": 9}


def draw_lesions(
    folder: Path,
    name: str,
    table: LesionTable,
    *,
    image: Real[np.ndarray, "i j k"] | None,
    cord: Shaped[np.ndarray, "i j k"] | None,
) -> list[Path]:
    """Write ``NAME_lesion-K.png`` for each lesion; without a lesion nothing is written.

    Left, the midsagittal plane (interpolated as the bridges are; front on the left, head above),
    the narrowest bridges as lines with their widths. Right, the axial slice of the greatest damage
    (the patient's right on the left, front above). Outlines follow the voxels; that of the lesion
    is not cut at the cord, and dotted where only one slice of the interpolated plane has it.

    Args:
      folder: of the pictures; made if need be.
      name: of the scan.
      table: the lesions.
      image: the scan on the grid of the masks; without it the masks are shown alone.
      cord: its mask; values above 0 are cord.
    """
    where = table.anatomy
    labels = where.turn(table.labels)
    inside = None if cord is None else where.turn(cord) > 0
    shown = _background(None if image is None else where.turn(image), labels, inside)
    paths = []
    for row, status in zip(table, table.status, strict=True):
        if status.label == 0:
            continue
        path = folder / f"{name}_lesion-{status.label}.png"
        body = labels == status.label
        _draw(path, f"{name}, lesion {status.label}", table, row, status, shown, body, inside)
        paths.append(path)
    return paths


def _background(
    image: np.ndarray | None, labels: np.ndarray, inside: np.ndarray | None
) -> np.ndarray:
    if image is not None:
        return image.astype(np.float32)
    return 0.5 * (labels > 0) + (0.25 if inside is None else 0.25 * inside)


def _draw(
    path: Path,
    title: str,
    table: LesionTable,
    row: Row,
    status: Status,
    image: Real[np.ndarray, "x y z"],
    body: Bool[np.ndarray, "x y z"],
    cord: Bool[np.ndarray, "x y z"] | None,
) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.2, 5.0), layout="constrained", facecolor="0.12")
    sagittal, axial = figure.subplots(1, 2)
    _sagittal(sagittal, table, row, status, image, body, cord)
    _axial(axial, table, status, image, body, cord)
    figure.suptitle(title, color="white", fontsize=11)
    figure.supxlabel(_summary(row), color="white", fontsize=9)
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=110, facecolor=figure.get_facecolor(), metadata={})


def _summary(row: Row) -> str:
    parts = [f"volume {row['volume [mm3]']:.1f} mm³"]
    for name, text, unit in (
        ("length [mm]", "length", " mm"),
        ("max_axial_damage_ratio []", "greatest damage", ""),
    ):
        value = row.get(name, math.nan)
        parts += [f"{text} {value:.3g}{unit}"] if not math.isnan(value) else []
    return "   ".join(parts)


def _sagittal(
    axis: Any,
    table: LesionTable,
    row: Row,
    status: Status,
    image: np.ndarray,
    body: np.ndarray,
    cord: np.ndarray | None,
) -> None:
    where = table.anatomy
    _, py, pz = where.spacing
    stored = row.get("interpolated_midsagittal_slice", math.nan)
    plane = where.position(0, stored)
    if math.isnan(plane):
        plane = float(np.nonzero(body)[0].mean())
    first, second, share = math.floor(plane), math.ceil(plane), plane % 1
    z = np.flatnonzero(body.any(axis=(0, 1)))
    around = body if cord is None else cord[:, :, z[0] : z[-1] + 1]
    y = np.flatnonzero(around.any(axis=(0, 2)))
    _show(axis, (1 - share) * image[first] + share * image[second], pz / py)
    _outline(axis, cord, (first, second), CORD)
    _outline(axis, body, (first, second), LESION)
    for span, colour, text in (
        (status.dorsal, DORSAL, "dorsal"),
        (status.ventral, VENTRAL, "ventral"),
    ):
        if span is not None:
            _bridge(axis, span, colour, f"{text} {span.mm:.2f} mm", text == "ventral")
    # front on the left: the axis runs backwards
    axis.set_xlim(y[-1] + _MARGIN_MM[0] / py, y[0] - _MARGIN_MM[0] / py)
    axis.set_ylim(z[0] - _MARGIN_MM[1] / pz, z[-1] + _MARGIN_MM[1] / pz)
    shown = where.position(0, plane)
    note = {"parasagittal": "\nlesion beside the plane: half of the cord's diameter"}
    axis.set_title(f"sagittal {shown:.2f}{note.get(status.bridges, '')}", **_CHARACTERS)
    _letters(axis, "A", "P", "S", "I")


def _bridge(axis: Any, span: Span, colour: str, text: str, ventral: bool) -> None:
    low, high = span.y
    axis.plot([low, high], [span.z, span.z], color=colour, linewidth=2.2, solid_capstyle="butt")
    outer = high if ventral else low
    axis.annotate(
        text,
        (outer, span.z),
        xytext=(-14 if ventral else 14, 16 if ventral else -16),
        textcoords="offset points",
        ha="right" if ventral else "left",
        va="center",
        color=colour,
        fontsize=9,
        bbox={"facecolor": "black", "alpha": 0.6, "linewidth": 0, "pad": 1.5},
        arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.8},
    )


def _axial(
    axis: Any,
    table: LesionTable,
    status: Status,
    image: np.ndarray,
    body: np.ndarray,
    cord: np.ndarray | None,
) -> None:
    where = table.anatomy
    px, py, _ = where.spacing
    assert status.max_damage_slice is not None
    z = where.index(2, status.max_damage_slice)
    _show(axis, image[:, :, z], py / px)
    for mask, colour in ((cord, CORD), (body, LESION)):
        if mask is not None:
            _contour(axis, mask[:, :, z], colour)
    x, y = (float(i.mean()) for i in np.nonzero((body if cord is None else cord)[:, :, z]))
    axis.set_xlim(x - _SIDE_MM / px, x + _SIDE_MM / px)
    axis.set_ylim(y - _SIDE_MM / py, y + _SIDE_MM / py)
    ratio = next(
        (
            f", damage ratio {r['axial_damage_ratio []']:.3f}"
            for r in table.slices
            if r["label"] == status.label
            and r["slice"] == status.max_damage_slice
            and not math.isnan(r["axial_damage_ratio []"])
        ),
        "",
    )
    axis.set_title(f"axial {status.max_damage_slice}{ratio}", **_CHARACTERS)
    _letters(axis, "R", "L", "A", "P")


def _show(axis: Any, picture: np.ndarray, aspect: float) -> None:
    low, high = np.percentile(picture, [1, 99.7])
    axis.imshow(
        picture.T, origin="lower", cmap="gray", vmin=low, vmax=max(high, low + 1e-6), aspect=aspect
    )
    axis.set_facecolor("black")
    axis.set_xticks([])
    axis.set_yticks([])


def _outline(axis: Any, mask: np.ndarray | None, slices: tuple[int, int], colour: str) -> None:
    """The mask on both slices of the interpolated plane: solid where it is on both of them."""
    if mask is None:
        return
    one, two = (mask[x] for x in slices)
    _contour(axis, one | two, colour, "dotted" if slices[0] != slices[1] else "solid")
    _contour(axis, one & two, colour)


def _contour(axis: Any, mask: Bool[np.ndarray, "u v"], colour: str, style: str = "solid") -> None:
    """The edges of the mask's voxels: thick slices must not look smoother than they are."""
    box = bounding_box(mask)
    if box is None:
        return
    fine = np.pad(mask[box], 1).repeat(_FINE, axis=0).repeat(_FINE, axis=1).astype(float)
    u, v = (
        s.start - 1.5 + (np.arange(n) + 0.5) / _FINE for s, n in zip(box, fine.shape, strict=True)
    )
    axis.contour(u, v, fine.T, [0.5], colors=colour, linewidths=1.0, linestyles=style)


def _letters(axis: Any, left: str, right: str, top: str, bottom: str) -> None:
    for letter, x, y in (
        (left, 0.02, 0.03),
        (right, 0.98, 0.03),
        (top, 0.5, 0.98),
        (bottom, 0.5, 0.02),
    ):
        axis.text(
            x,
            y,
            letter,
            transform=axis.transAxes,
            ha="left" if x < 0.1 else "right" if x > 0.9 else "center",
            va="bottom" if y < 0.1 else "top" if y > 0.9 else "center",
            **_CHARACTERS,
        )
