"""`lesions`: every measure of every lesion of a scan, in one table.

Source: Spinal Cord Toolbox 7.4 (commit 3b3c5b22), `sct_analyze_lesion`. The numbers are its own;
where it fails or is silently wrong, docs/morphometry.md says what happens here.
"""

from dataclasses import replace

import numpy as np
from jaxtyping import Float64, Real, Shaped

from score_jax._types import Affine
from score_jax.errors import GeometryError
from score_jax.morphometry import bridges, extent, midsagittal
from score_jax.morphometry.distribution import Atlas, distribution, level_table
from score_jax.morphometry.finding import Found, Outside, TiltOver, find
from score_jax.morphometry.midsagittal import Midline
from score_jax.morphometry.orientation import Anatomy, anatomy
from score_jax.morphometry.scene import Body, Scene, bodies
from score_jax.morphometry.slices import level_of_slices, slice_rows
from score_jax.morphometry.table import LesionTable, Row, Span, Status

NAN = float("nan")


def lesions(
    lesion: Shaped[np.ndarray, "i j k"],
    cord: Shaped[np.ndarray, "_ _ _"] | None = None,
    image: Real[np.ndarray, "_ _ _"] | None = None,
    affine: Affine | None = None,
    *,
    spacing: tuple[float, ...] | None = None,
    image_name: str = "image",
    nli_slice: int | None = None,
    midline: float | None = None,
    atlas: Atlas | None = None,
    levels: Real[np.ndarray, "_ _ _"] | None = None,
    per_slice: bool = False,
    soft: bool = False,
    outside: Outside = "clip",
    min_volume_mm3: float = 0.0,
    tilt_over: TiltOver = "image",
) -> LesionTable:
    """Measure every lesion of a scan: a row for each, named and numbered as SCT does.

    Lesions are components of 18 neighbours. They are numbered before they are cut at the cord;
    one that lies outside it is left out with a warning and keeps its number. An empty lesion mask
    gives one row of label 0 whose volume, length, width, diameter, damage ratio, midsagittal
    length and width are 0 and whose bridges are NaN; with `nli_slice` it has SCT's row instead
    (NaN, and half of the cord's diameter at that slice for either bridge). Without a cord, or with
    an empty one, only volume and intensity are known.

    Args:
      lesion: the mask; 0 and 1, labels (read as one mask), or probabilities (0.5 and above).
      cord: its mask on the same grid; labelled or soft masks are fine.
      image: gives the mean and SD columns.
      affine: voxel index to RAS+ mm of all arrays, any orientation.
      spacing: voxel size in mm in array order, if it is known better than from the affine.
      image_name: of the mean and SD columns.
      nli_slice: axial slice, as stored, of the neurological level of injury: the midsagittal
        plane goes through the cord's centre there.
      midline: the midsagittal position itself, as stored (right-left index, may lie between).
      atlas: gives the sheets in `LesionTable.distribution`.
      levels: vertebral level of each voxel; gives `LesionTable.levels`. The atlas's by default.
      per_slice: rows of the atlas sheets are axial slices, not levels.
      soft: weight volume, areas and intensity by the mask's probabilities (0 counts as outside;
        extents come from 0.5 and above). SCT refuses such masks.
      outside: lesion voxels outside the cord are clipped off, or added to the cord.
      min_volume_mm3: smaller lesions are left out with a warning.
      tilt_over: SCT smooths the centerline more in images that show less around the cord;
        ``cord`` makes it independent of the field of view.

    Raises:
      GeometryError: no affine, arrays of different shapes, an axial slice without cord.
      ImageError: a mask that is none.
    """
    levels = atlas.levels if levels is None and atlas is not None else levels
    others = {"cord": cord, "image": image, "levels": levels}
    if atlas is not None:
        others["atlas"] = atlas.levels
    where = _anatomy(lesion, others, affine, spacing)
    found = find(
        lesion,
        cord,
        where,
        soft=soft,
        outside=outside,
        min_volume_mm3=min_volume_mm3,
        tilt_over=tilt_over,
    )
    measured = bodies(found.scene)
    plane = _plane(measured, found.scene, where, nli_slice, midline)
    rows, status, slices = _measure(measured, found, plane, where, levels)
    if image is not None:
        _add_intensity(rows, measured, found.scene, where.turn(image), image_name)
    warnings = found.warnings
    if not measured:
        rows = [_no_lesion(found.scene, plane, where, nli_slice, image is not None, image_name)]
        status, warnings = [Status(0, bridges.NONE, 0.0)], (*warnings, "no lesion found")
    columns = _columns(rows, image_name)
    return LesionTable(
        [{name: row.get(name, NAN) for name in columns} for row in rows],
        columns=columns,
        labels=found.labels_as_stored(where),
        slices=slices,
        levels=[] if levels is None else level_table(measured, found.scene, levels, where),
        distribution={}
        if atlas is None
        else distribution(measured, found.scene, atlas, where, per_slice=per_slice),
        status=status,
        warnings=warnings,
        tilt=None if found.scene.cord is None else found.scene.tilt,
        anatomy=where,
    )


def _anatomy(
    lesion: np.ndarray,
    others: dict[str, np.ndarray | None],
    affine: Affine | None,
    spacing: tuple[float, ...] | None,
) -> Anatomy:
    if affine is None:
        raise GeometryError("lesions: got no affine; expected the 4 x 4 matrix of the masks' grid")
    for name, array in others.items():
        if array is not None and array.shape != lesion.shape:
            raise GeometryError(
                f"{name}: got shape {array.shape}; expected the lesion mask's {lesion.shape}",
                hint="resample one to the other, e.g. with sct_register_multimodal -identity 1",
            )
    return anatomy(affine, lesion.shape, spacing)


def _plane(
    measured: list[Body],
    scene: Scene,
    where: Anatomy,
    nli_slice: int | None,
    midline: float | None,
) -> Midline | None:
    """The midsagittal plane: given, at the level of injury, or at the largest lesion."""
    if scene.cord is None:
        if nli_slice is not None or midline is not None:
            raise GeometryError("midsagittal plane: got no cord; expected a cord mask with voxels")
        return None
    if midline is not None:
        return midsagittal.at(where.position(0, midline), scene)
    if nli_slice is not None:
        z = where.index(2, nli_slice)
        plane = midsagittal.at_slice(z, scene) if 0 <= z < where.shape[2] else None
        if plane is None:
            occupied = np.flatnonzero(scene.cord.any(axis=(0, 1))).tolist()
            ends = sorted(where.index(2, z) for z in (occupied[0], occupied[-1]))
            raise GeometryError(
                f"nli_slice: got {nli_slice}, which holds no cord; expected a slice with cord, "
                f"between {ends[0]} and {ends[1]}"
            )
        return plane
    return midsagittal.of_largest(measured, scene) if measured else None


def _measure(
    measured: list[Body],
    found: Found,
    plane: Midline | None,
    where: Anatomy,
    levels: Real[np.ndarray, "i j k"] | None,
) -> tuple[list[Row], list[Status], list[Row]]:
    by_slice = None if levels is None else level_of_slices(where.turn(levels))
    rows, status, slices = [], [], []
    for body in measured:
        row: Row = {"label": body.label} | extent.extent(body, found.scene)
        on_plane = None
        if plane is not None:
            gaps = bridges.gaps(body, found.scene)
            on_plane = bridges.midsagittal(body, found.scene, plane, gaps)
            row[bridges.POSITION] = where.position(0, plane.position)
            row |= on_plane.row()
            row |= _sagittal_columns(gaps, body, found.scene, where)
        rows.append(row)
        slices += slice_rows(body, found.scene, where, on_plane, by_slice)
        status.append(_status(body, found, on_plane, where))
    return rows, status, slices


def _sagittal_columns(gaps: bridges.Gaps, body: Body, scene: Scene, where: Anatomy) -> Row:
    widths = bridges.per_sagittal_slice(gaps, body, scene)
    columns: Row = {}
    for x, values in widths.items():
        names = bridges.slice_columns(where.index(0, x + scene.corner[0]))
        columns |= dict(zip(names, values, strict=True))
    return columns


def _status(body: Body, found: Found, plane: bridges.Midsagittal | None, where: Anatomy) -> Status:
    scene = found.scene
    areas = body.weight.sum(axis=(0, 1))
    if scene.cord is not None:
        areas = extent.damage_ratios(body, scene)
    share = body.weight[body.weight > 0].mean() if scene.weight is not None else NAN
    return Status(
        body.label,
        bridges.NONE if plane is None else plane.kind,
        float(found.outside_mm3[body.label]),
        float(share),
        _in_image(plane.dorsal if plane else None, scene),
        _in_image(plane.ventral if plane else None, scene),
        where.index(2, int(body.slices[int(areas.argmax())])),
    )


def _in_image(span: Span | None, scene: Scene) -> Span | None:
    if span is None:
        return None
    low, high = (y + scene.corner[1] for y in span.y)
    return replace(span, y=(low, high))


def _add_intensity(
    rows: list[Row],
    measured: list[Body],
    scene: Scene,
    image: Real[np.ndarray, "x y z"],
    name: str,
) -> None:
    x, y = scene.corner
    nx, ny, _ = scene.labels.shape
    cropped: Float64[np.ndarray, "x y z"] = image[x : x + nx, y : y + ny].astype(np.float64)
    for row, body in zip(rows, measured, strict=True):
        row[f"mean_{name}"], row[f"std_{name}"] = extent.intensity(body, cropped)


def _no_lesion(
    scene: Scene,
    plane: Midline | None,
    where: Anatomy,
    nli_slice: int | None,
    with_image: bool,
    image_name: str,
) -> Row:
    """The row of a scan without lesion."""
    row: Row = {"label": 0} | dict.fromkeys(extent.COLUMNS, 0.0)
    if with_image:
        row |= {f"mean_{image_name}": NAN, f"std_{image_name}": NAN}
    if scene.cord is None:
        return row
    row[bridges.POSITION] = NAN if plane is None else where.position(0, plane.position)
    if nli_slice is None or plane is None:
        unknown = dict.fromkeys((*bridges.BRIDGES, *bridges.RATIOS), NAN)
        return row | {bridges.MID_LENGTH: 0.0, bridges.MID_WIDTH: 0.0} | unknown
    row |= dict.fromkeys(extent.COLUMNS, NAN)  # SCT's row: nothing was measured here
    halves = bridges.cord_diameter(np.array([where.index(2, nli_slice)]), scene, plane)
    mm = halves[0].mm if halves else NAN
    return row | {bridges.DORSAL: mm, bridges.VENTRAL: mm, bridges.TOTAL: 2 * mm}


def _columns(rows: list[Row], image_name: str) -> tuple[str, ...]:
    """The order of columns in SCT's table; sagittal slices as they are first met."""
    fixed = (
        "label",
        *extent.COLUMNS,
        *(f"mean_{image_name}", f"std_{image_name}"),
        *(bridges.POSITION, bridges.MID_LENGTH, bridges.MID_WIDTH),
        *(*bridges.BRIDGES, *bridges.RATIOS),
    )
    present = dict.fromkeys(name for row in rows for name in row)
    return (
        *(name for name in fixed if name in present),
        *(name for name in present if name not in fixed),
    )
