"""Grids, bodies, scenes and lesions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from score_jax.errors import ConfigError, GeometryError
from score_jax.phantom import Acquisition, anatomy, hardware, lesions, tables
from score_jax.phantom.plane import TRUTH, frame_at
from score_jax.phantom.posture import draw_posture
from score_jax.phantom.scene import rasterise


@pytest.mark.parametrize("axcodes", ["RAS", "LAS", "PIR", "RPI", "SAL"])
def test_stored_arrays_and_their_affine_tell_the_same_place(axcodes):
    grid = Acquisition(
        shape=(3, 4, 5), spacing_mm=(1.0, 2.0, 3.0), centre_mm=(1.0, -2.0, 7.0), axcodes=axcodes
    )
    place = np.stack(np.meshgrid(*(grid.centres(k) for k in range(3)), indexing="ij"), axis=-1)
    stored = grid.stored(place)
    index = np.stack(np.meshgrid(*map(np.arange, stored.shape[:3]), indexing="ij"), axis=-1)
    mm = index @ grid.affine[:3, :3].T + grid.affine[:3, 3]
    np.testing.assert_allclose(mm, stored)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shape": (0, 4, 5)}, "expected three counts >= 1"),
        ({"spacing_mm": (1.0, -1.0, 1.0)}, r"expected \.05 to 30 mm each"),
        ({"spacing_mm": (1.0, float("nan"), 1.0)}, "expected"),
        ({"thickness_mm": 0.0}, "thickness 0.0"),
        ({"thick_axis": 3}, "expected 0, 1, 2 or None"),
        ({"axcodes": "RAL"}, "one letter each"),
    ],
)
def test_impossible_grids_are_refused(change, message):
    good = {"shape": (3, 4, 5), "spacing_mm": (1.0, 1.0, 1.0)}
    with pytest.raises(GeometryError, match=message):
        Acquisition(**{**good, **change})


@pytest.mark.parametrize("axis", [0, 1])
def test_matrices_keep_what_is_uniform_and_average_what_is_not(axis):
    grid = Acquisition(shape=(9, 7, 2), spacing_mm=(0.5, 0.4, 3.0), fine_mm=0.13, margin_mm=1.0)
    line = grid.fine_line(axis)
    for matrix in (grid.encode(axis), grid.average(axis)):
        np.testing.assert_allclose(matrix.sum(1), 1, rtol=1e-5)
    # a mean over voxels of a straight ramp is the ramp at their centres
    np.testing.assert_allclose(grid.average(axis) @ line, grid.centres(axis), atol=1e-6)
    np.testing.assert_allclose(grid.encode(axis) @ line, grid.centres(axis), atol=0.05)


def test_slice_planes_are_the_profile():
    overlap = Acquisition(shape=(3, 3, 4), spacing_mm=(1.0, 1.0, 4.0), thickness_mm=8.0)
    offsets, weights = overlap.planes()
    assert weights.sum() == pytest.approx(1)
    assert offsets[-1] == pytest.approx(-offsets[0])
    assert offsets[-1] < 4  # within the 8 mm
    assert weights[0] < weights[len(weights) // 2]


def test_cord_area_is_that_of_the_table(scene, grid):
    areas = scene.truth.sum((1, 2)) * grid.spacing_mm[0] * grid.spacing_mm[1]
    s = grid.centres(2)
    ap, rl = (tables.level_curve(name, s) for name in ("CAP_cord_AP_mm", "CRL_cord_RL_mm"))
    # the body's slow random thickness is 2.7 % of the area, its stretch shifts the levels a little
    np.testing.assert_allclose(areas[TRUTH.index("cord")], np.pi / 4 * ap * rl, rtol=0.07)


def test_truth_is_consistent(scene):
    t = dict(zip(TRUTH, scene.truth, strict=True))
    np.testing.assert_allclose(t["gm"] + t["wm"], t["cord"], atol=1e-5)
    np.testing.assert_allclose(t["ah"] + t["ph"] + t["gc"], t["gm"], atol=1e-5)
    assert (t["canal"] >= t["cord"] - 1e-5).all()
    assert t["lesion"].max() == 0
    for values in t.values():
        assert values.min() > -1e-5
        assert values.max() < 1 + 1e-5


def test_tissues_fill_the_voxels(scene):
    total = np.asarray(scene.fractions).sum(0)
    middle = total[8:-8, 8:-8]
    np.testing.assert_allclose(middle, 1, atol=0.02)  # no air within the neck


@pytest.mark.slow
def test_area_does_not_depend_on_the_grid(body, straight, scene, grid):
    fine = Acquisition(
        shape=(60, 50, 3), spacing_mm=(0.5, 0.45, 5.0), centre_mm=grid.centre_mm, fine_mm=0.25
    )
    other = rasterise(body, straight, fine)
    a = scene.truth.sum((1, 2)) * 0.9
    b = other.truth.sum((1, 2)) * 0.5 * 0.45
    for name in ("cord", "gm", "ah", "canal"):
        np.testing.assert_allclose(a[TRUTH.index(name)], b[TRUTH.index(name)], rtol=0.02)


def test_same_body_same_bits(body, straight, scene, grid):
    again = rasterise(body, straight, grid, distances=True)
    np.testing.assert_array_equal(again.fractions, scene.fractions)
    np.testing.assert_array_equal(again.truth, scene.truth)


def test_distances_change_sign_where_truth_crosses_one_half(scene):
    d, share = scene.distance[0], scene.truth[0]
    clear = np.abs(share - 0.5) > 0.2
    np.testing.assert_array_equal((d < 0)[clear], (share > 0.5)[clear])


def test_lesions_lie_in_the_cord_and_take_its_place(sick_scene, scene):
    lesion, cord = (sick_scene.truth[TRUTH.index(name)] for name in ("lesion", "cord"))
    assert lesion.max() > 0.5
    assert (lesion <= cord + 1e-5).all()
    np.testing.assert_allclose(cord, scene.truth[0], atol=1e-5)  # MS leaves the outline alone
    kept = dict(zip(sick_scene.tissues, np.asarray(sick_scene.fractions), strict=True))
    before = dict(zip(scene.tissues, np.asarray(scene.fractions), strict=True))
    deep = lesion > 0.99
    assert kept[3][deep].mean() > 0.9  # MS lesion instead of ...
    assert kept[0][deep].mean() + kept[1][deep].mean() < 0.1
    assert before[0][deep].mean() + before[1][deep].mean() > 0.9


def test_no_lesion_asked_for_none_made():
    assert not np.asarray(lesions.ms_blobs(np.random.default_rng(0), count=0).half_length).any()


def column(subject, name):
    return np.asarray(subject.curves)[:, anatomy.COLUMN[name]]


@pytest.mark.parametrize("injury", lesions.INJURIES)
def test_injuries_change_the_cord_at_their_place_only(body, injury):
    hurt = lesions.injure(body, injury, np.random.default_rng(3), s=-50.0, severity=0.9)
    far = np.abs(anatomy.S_GRID + 50) > 330
    for name in ("a", "b", "na", "nb"):
        np.testing.assert_allclose(column(hurt, name)[far], column(body, name)[far], rtol=2e-3)
    assert (column(hurt, "b") <= column(hurt, "nb")).all()
    assert (np.asarray(hurt.blobs.half_length) >= 0).all()


def test_compression_flattens_and_widens(body):
    hurt = lesions.injure(body, "dcm", np.random.default_rng(1), s=-50.0, severity=1.0)
    at = int(np.argmin(np.abs(anatomy.S_GRID + 50)))
    loss = 1 - column(hurt, "b")[at] / column(body, "b")[at]
    assert loss == pytest.approx(0.5, abs=0.01)  # 15 to 50 %
    assert column(hurt, "a")[at] == pytest.approx(column(body, "a")[at] * (1 + 0.25 * loss))


def test_chronic_cords_are_thin(body):
    hurt = lesions.injure(body, "chronic", np.random.default_rng(1), s=-50.0, severity=1.0)
    at = int(np.argmin(np.abs(anatomy.S_GRID + 100)))  # away from the compression
    ratio = column(hurt, "a")[at] * column(hurt, "b")[at]
    ratio /= column(body, "a")[at] * column(body, "b")[at]
    assert 0.7 < ratio < 0.97


def test_unknown_injury_names_the_known(body):
    with pytest.raises(ConfigError, match="got 'bruise'; expected one of acute, subacute"):
        lesions.injure(body, "bruise", np.random.default_rng(0), s=0.0)


def test_touching_the_arch_leaves_no_csf_behind():
    zero = jnp.zeros(())
    traits = anatomy.Traits(*([zero] * 7), contact=jnp.ones(()))
    body = jax.jit(anatomy.draw_subject)(jax.random.key(2), traits)
    arch = -(column(body, "nb") + 0.3) * (1 + column(body, "tau")) + 1.2
    gap = column(body, "oy") - column(body, "b") - arch
    stack = (anatomy.S_GRID < 8) & (anatomy.S_GRID > -44)
    touching = (gap < 0.31) & stack
    assert 12 < touching.sum() < 40  # mm: 4 to 8 slices 4 mm apart, less the fading ends
    assert gap[stack].min() >= -0.01


def test_a_tilted_cord_is_longer_than_its_height():
    posture = draw_posture(jax.random.key(1), curved=True, tilt_deg=10.0)
    right, anterior, height = np.asarray(posture.course[:, :3]).T
    length = np.sqrt(np.diff(right) ** 2 + np.diff(anterior) ** 2 + np.diff(height) ** 2)
    np.testing.assert_allclose(length, 1, atol=0.02)
    s0, frame = frame_at(posture, jnp.asarray(0.0))
    at = int(np.argmin(np.abs(height)))
    assert float(s0) == pytest.approx(anatomy.S_GRID[at], abs=1)
    here = frame.origin + right[at] * frame.along_x + anterior[at] * frame.along_y
    np.testing.assert_allclose(here[:2], 0, atol=0.2)  # the middle line is the origin


def test_metal_darkens_near_and_spares_far(straight):
    grid = Acquisition(shape=(20, 24, 22), spacing_mm=(2.0, 2.0, 2.0), thick_axis=None,
                       centre_mm=(0.0, 0.0, -12.0))  # fmt: skip
    image = np.ones((*grid.shape, 1), np.float32)
    place, radius = np.zeros((10, 3), np.float32), np.zeros(10, np.float32)
    place[0], radius[0] = (12, -10, -12), 7
    out = hardware.spoil(image, hardware.Implants(place, radius), straight, grid)[..., 0]
    x, y, z = np.meshgrid(*(grid.centres(k) for k in range(3)), indexing="ij")
    r = np.sqrt((x - 12) ** 2 + (y + 10) ** 2 + (z + 12) ** 2)
    assert out[r < 4].max() < 0.1
    np.testing.assert_allclose(out[r > 20], 1, atol=0.05)
    assert out.max() > 1.2  # the bright rim
    none = hardware.spoil(image, hardware.Implants(place, 0 * radius), straight, grid)
    np.testing.assert_allclose(none, image, atol=1e-6)
