"""Areas and shapes: SCT's numbers, ellipses, and hulls by another way."""

import csv
import math
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial import ConvexHull

from score_jax.errors import GeometryError, ImageError
from score_jax.morphometry import cord_shape
from score_jax.morphometry.centerline import level
from score_jax.morphometry.section import Section, sections
from score_jax.morphometry.shape import hull_pixels, shape_of

from .scans import affine, brick, read, tube

EXCERPT = Path(__file__).parent / "data"
NO_ANGLE = {"angle_correction": False}
P01, P02 = "p01_real_t2_cord", "p02_real_t2s_cord_gm_wm"
P03, P04 = "p03_synth_tilted_axial_lpi", "p04_real_t2s_clean_affine"
RUNS = [
    (P01, "cord", "perslice", {}),
    (P01, "cord", "perslice_noangle", NO_ANGLE),
    (P01, "cord", "all", {"per": "all"}),
    (P01, "cord", "z10_40", {"per": "all", "slices": (10, 40)}),
    (P01, "cord", "perlevel", {"per": "level", "levels": "levels", "select_levels": [2, 3, 4, 5]}),
    (P01, "cord", "vert34", {"per": "all", "levels": "levels", "select_levels": [3, 4]}),
    (P01, "cord", "perslice_linear", {"method": "linear"}),
    (P02, "cord", "cord_perslice", {}),
    (P02, "gm", "gm_perslice_noangle", NO_ANGLE),
    (P03, "cord", "perslice", {}),
    (P03, "cord", "perslice_noangle", NO_ANGLE),
    (P04, "wm", "wm_perslice", {"centerline": "cord"}),
    (P04, "gm", "gm_perslice", {"centerline": "cord"}),
    (P04, "cord", "cord_perslice", {}),
]


def table_of(folder, mask, options):
    files = {k: read(folder, v) for k, v in options.items() if k in ("levels", "centerline")}
    matrix = nib.load(folder / f"{mask}.nii.gz").affine
    return cord_shape(read(folder, mask), matrix, **(options | files))


def whole(values):
    """A section of which nothing is left out."""
    rows, columns = (np.arange(n) for n in values.shape)
    return Section(values.astype(float), rows, columns, values.shape)


def assert_csv(table, path, rtol=1e-9):
    with path.open() as stream:
        expected = list(csv.DictReader(stream))
    assert len(table) == len(expected)
    for row, other in zip(table, expected, strict=True):
        assert list(row) == list(other)
        for name, text in other.items():
            if name in ("slice_IS_RPI", "VertLevel"):
                value = "" if row[name] != row[name] else str(row[name])
                assert value == text
            else:
                np.testing.assert_allclose(
                    row[name], float(text or "nan"), rtol=rtol, atol=1e-11, err_msg=name
                )


@pytest.mark.parametrize(("case", "mask", "run", "options"), RUNS)
def test_every_number_of_sct(fixtures, case, mask, run, options):
    folder = fixtures / "process_segmentation" / case
    assert_csv(table_of(folder, mask, options), folder / f"{run}.csv")


def test_the_excerpt_needs_no_fixtures():
    assert_csv(table_of(EXCERPT / P03, "cord", {}), EXCERPT / P03 / "perslice.csv")


def test_grey_and_white_matter_add_up_to_the_cord(fixtures):
    folder = fixtures / "process_segmentation" / P04
    area = {
        name: table_of(folder, name, {"centerline": "cord"}).column("MEAN(area)")
        for name in ("cord", "gm", "wm")
    }
    np.testing.assert_allclose(area["gm"] + area["wm"], area["cord"], rtol=2e-3)


def test_an_ellipse_has_its_area_and_axes():
    mask = tube((90, 80, 3), (45.0, 40.0), (31.5, 21.5))
    row = cord_shape(mask, affine((0.2, 0.2, 2)))[1]
    assert row["MEAN(area)"] == pytest.approx(math.pi * 6.3 * 4.3, rel=5e-3)
    assert row["MEAN(diameter_RL)"] == pytest.approx(12.6, rel=5e-3)
    assert row["MEAN(diameter_AP_ellipse)"] == pytest.approx(8.6, rel=5e-3)
    assert row["MEAN(diameter_AP)"] == pytest.approx(8.6 - 0.08, rel=1e-2)  # mean over 3 mm
    assert row["MEAN(eccentricity)"] == pytest.approx(math.sqrt(1 - (8.6 / 12.6) ** 2), rel=1e-2)
    assert row["MEAN(solidity)"] == pytest.approx(1, abs=0.03)
    assert row["SUM(length)"] == 2.0
    assert row["STD(area)"] == 0


def test_tilted_cylinders_keep_their_area():
    # sheared, so that each axial slice is the same ellipse; the true cross-section is smaller
    for slope in ((0.0, 0.0), (0.2, 0.0), (0.0, 0.35), (0.15, 0.3)):
        mask = tube((120, 120, 30), (60.0, 60.0), (30.5, 22.5), (5 * slope[0], 5 * slope[1]))
        table = cord_shape(mask, affine((0.2, 0.2, 1.0)), per="all")
        expected = (
            math.pi * 6.1 * 4.5 * math.cos(math.atan(slope[0])) * math.cos(math.atan(slope[1]))
        )
        assert table[0]["MEAN(area)"] == pytest.approx(expected, rel=5e-3)
        assert table[0]["MEAN(angle_AP)"] == pytest.approx(
            math.degrees(math.atan(slope[0])), abs=0.1
        )
        assert table[0]["MEAN(angle_RL)"] == pytest.approx(
            math.degrees(math.atan(slope[1])), abs=0.1
        )


def test_a_turned_ellipse_tells_its_angle():
    x, y = np.ogrid[:200, :200]
    for degrees in (-30, -5, 10, 40):
        turn = math.radians(degrees)
        u = (x - 99.5) * math.cos(turn) + (y - 99.5) * math.sin(turn)
        v = -(x - 99.5) * math.sin(turn) + (y - 99.5) * math.cos(turn)
        found = shape_of(whole((u / 70) ** 2 + (v / 45) ** 2 < 1))
        assert found["orientation"] == pytest.approx(degrees, abs=0.1)
        assert found["diameter_RL"] == pytest.approx(14, rel=2e-3)
        assert found["length_anterior"] == pytest.approx(found["length_posterior"], rel=2e-2)


def test_a_disc_takes_scikit_images_angle():
    x, y = np.ogrid[:61, :61]
    assert shape_of(whole(np.hypot(x - 30, y - 30) < 20))["orientation"] == -45


def test_at_45_degrees_the_long_axis_counts_as_front_to_back():
    body = np.zeros((40, 40))
    for i in range(5, 35):
        body[i - 2 : i + 3, i - 2 : i + 3] = 1
    found = shape_of(whole(body))
    assert found["orientation"] == 45
    assert found["diameter_AP_ellipse"] > 2 * found["diameter_RL"]


def test_the_field_of_view_does_not_matter():
    x, y, z = np.ogrid[:40, :40, :60]
    mask = np.hypot(x - 20 - 6 * np.sin(z / 5), y - 20) < 5
    wide = np.pad(mask, ((0, 0), (0, 0), (40, 30)))
    one, two = (cord_shape(m, affine()).column("MEAN(angle_AP)") for m in (mask, wide))
    np.testing.assert_allclose(two[40:100], one, atol=1e-5)
    assert np.isnan(two[:40]).all()


def upright_diameter(values, angle):
    """Front-to-back lengths of a section, turned by scipy as a whole."""
    r0, c0 = (index.mean() for index in np.nonzero(values > 0.5))
    rows, columns = np.indices(values.shape) - np.array([r0, c0])[:, None, None]
    sine, cosine = math.sin(-angle), math.cos(-angle)
    places = (r0 + columns * sine + rows * cosine, c0 + columns * cosine - rows * sine)
    turned = ndimage.map_coordinates(values, places, order=1, mode="grid-constant")
    middle, front = (round(index.mean()) for index in np.nonzero(turned > 0.5))
    profile = turned[max(middle - 15, 0) : middle + 15].mean(axis=0) * 0.1
    return profile[:front].sum(), profile[front:].sum()


def test_pieces_far_apart_and_at_the_border_are_measured_as_if_nothing_were_left_out(rng):
    mask = np.zeros((40, 33, 3))
    for x, y, reach in ((2, 4, 3), (20, 17, 4), (38, 30, 3), (19, 31, 2)):
        part = rng.random((2 * reach, 2 * reach))
        x0, y0 = max(x - reach, 0), max(y - reach, 0)
        view = mask[x0 : x + reach, y0 : y + reach, 1]
        view[...] = np.maximum(view, part[: view.shape[0], : view.shape[1]] > 0.3)
    mask *= rng.uniform(0.4, 1, mask.shape)
    ((z, section),) = sections(mask, (0.5, 0.8, 3), level(3), stretch=False)
    values = np.zeros(section.shape)
    values[np.ix_(section.rows, section.columns)] = section.values
    assert z == 1
    assert section.values.size < 0.9 * values.size
    found = shape_of(section)
    angle = math.radians(found["orientation"])
    back, front = upright_diameter(values, angle)
    assert found["area"] == pytest.approx(values.sum() / 100, rel=1e-12)
    assert found["length_posterior"] == pytest.approx(back, rel=1e-12)
    assert found["length_anterior"] == pytest.approx(front, rel=1e-12)
    assert found == pytest.approx(shape_of(whole(values)), rel=1e-12)
    assert found["solidity"] == (values > 0.5).sum() / hull_pixels(values > 0.5)


def test_the_hull_against_qhull(rng):
    for _ in range(20):
        body = rng.random((14, 17)) < rng.uniform(0.05, 0.6)
        if not body.any():
            continue
        corners = np.argwhere(body)[:, None] + [[0.5, 0], [-0.5, 0], [0, 0.5], [0, -0.5]]
        hull = ConvexHull(corners.reshape(-1, 2))
        places = np.argwhere(np.ones_like(body))
        inside = (places @ hull.equations[:, :2].T + hull.equations[:, 2] <= 1e-9).all(axis=1)
        assert hull_pixels(body) == inside.sum()


def test_a_single_pixel_is_its_own_hull():
    body = np.zeros((5, 7), bool)
    body[2, 3] = True
    assert hull_pixels(body) == 1


def test_soft_masks_count_by_their_values():
    mask = tube((40, 40, 4), (20.0, 20.0), (12, 9)).astype(float)
    whole, half = (
        cord_shape(mask * f, affine((0.5, 0.5, 2)), stretch=False).column("MEAN(area)")
        for f in (1, 0.6)
    )
    np.testing.assert_allclose(half, 0.6 * whole)
    stretched = cord_shape(mask * 0.6, affine((0.5, 0.5, 2))).column("MEAN(area)")
    np.testing.assert_allclose(stretched, whole)


def test_a_faint_slice_has_an_area_and_no_shape():
    mask = tube((30, 30, 3), (15.0, 15.0), (9, 8)) * 0.3
    row = cord_shape(mask, affine((0.5, 0.5, 2)), stretch=False)[1]
    assert row["MEAN(area)"] > 10
    assert math.isnan(row["MEAN(diameter_AP)"])
    assert math.isnan(row["MEAN(solidity)"])


def test_an_empty_mask_is_all_nan():
    table = cord_shape(np.zeros((6, 7, 4), bool), affine())
    assert table.warnings == ("mask is empty",)
    assert [row["slice_IS_RPI"] for row in table] == [0, 1, 2, 3]
    assert all(math.isnan(v) for row in table for k, v in row.items() if k != "slice_IS_RPI")
    whole = cord_shape(np.zeros((6, 7, 4), bool), affine(), per="all")
    assert math.isnan(whole[0]["MEAN(area)"])
    assert math.isnan(whole[0]["SUM(length)"])


def test_a_mask_on_one_slice_is_upright():
    mask = brick((12, 12, 5), (3, 9), (4, 8), (2, 3))
    table = cord_shape(mask, affine((1, 1, 3)))
    assert table.warnings == ("the centerline is on one slice; the cord is taken to be upright",)
    assert table[2]["MEAN(area)"] == pytest.approx(24.0)
    assert table[2]["SUM(length)"] == 3
    assert math.isnan(table[1]["MEAN(area)"])


def test_labels_are_read_as_one_mask():
    mask = brick((12, 12, 5), (3, 9), (4, 8), (0, 5)) * 3
    table = cord_shape(mask, affine())
    assert table.warnings == ("mask holds values up to 3; read as one mask",)
    assert table[2]["MEAN(area)"] == pytest.approx(24.0)


def test_slices_count_from_below_however_stored():
    mask = brick((12, 12, 5), (3, 9), (4, 8), (1, 5))
    mask[3:6, :, 4] = False
    area = cord_shape(mask, affine()).column("MEAN(area)")
    flipped = cord_shape(mask[..., ::-1], affine() @ np.diag([1, 1, -1, 1.0])).column("MEAN(area)")
    np.testing.assert_array_equal(flipped, area)
    assert math.isnan(area[0])


def test_levels_that_are_apart_are_told_apart():
    mask = brick((12, 12, 8), (3, 9), (4, 8), (0, 8))
    levels = np.zeros((12, 12, 8))
    levels[..., 1:3], levels[..., 3], levels[..., 4], levels[..., 6] = 5, 4, 3, 5
    levels[0, 0, 4] = 4  # the mean is 3.007
    rows = cord_shape(mask, affine(), levels=levels, per="level")
    assert [(row["VertLevel"], row["slice_IS_RPI"]) for row in rows] == [
        (5, "1:2;6"),
        (4, "3"),
        (3, "4"),
    ]
    assert [row["VertLevel"] for row in cord_shape(mask, affine(), levels=levels)][1:5] == [
        5,
        5,
        4,
        3,
    ]
    pooled = cord_shape(mask, affine(), levels=levels, per="all", select_levels=[3, 5])
    assert pooled[0]["VertLevel"] == "3;5"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"affine": None}, "got no affine"),
        ({"levels": np.ones((2, 3, 4))}, r"levels: got shape \(2, 3, 4\)"),
        ({"centerline": np.ones((2, 3, 4))}, r"centerline: got shape"),
        ({"per": "level"}, "levels: got none"),
        ({"select_levels": [3]}, "levels: got none"),
        ({"slices": (2, 9)}, r"slices: got 2:9; expected a part of 0:4"),
        ({"levels": np.full((6, 7, 5), 2), "select_levels": [2, 9]}, r"levels: got \[9\].*\[2\]"),
    ],
)
def test_mistakes_are_told(options, message):
    arguments = {"affine": affine()} | options
    with pytest.raises(GeometryError, match=message):
        cord_shape(np.ones((6, 7, 5), bool), **arguments)


def test_what_is_no_mask_is_refused():
    with pytest.raises(ImageError, match="mask: got values from -8 to"):
        cord_shape(np.full((6, 7, 5), -2.0) * np.arange(5), affine())
