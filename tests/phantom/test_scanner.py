"""Echo trains, field strength, metal and posture: what scanners and visits do to one body."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from score_jax.phantom import Acquisition, anatomy, hardware, posture, sequences, tse
from score_jax.phantom import tissues as ts
from score_jax.phantom.amira import CENTRE_S_MM, amira_posture
from score_jax.phantom.plane import LESIONS
from score_jax.phantom.scene import HEALTHY, Scene, rasterise
from score_jax.phantom.sci import sci_cohort


def test_t1_by_field():
    three, half, one = (tse.t1_at(field) for field in (3.0, 1.5, 1.0))
    assert three[ts.WM] == 876
    assert half[ts.WM] == pytest.approx(0.75 * 876)  # the stated three quarters
    assert one[ts.WM] == pytest.approx(876 * (1 / 3) ** 0.41504, rel=1e-4)
    assert (one[ts.CSF], one[ts.CYST]) == (4200, 3500)  # free water keeps its T1


def test_saturation_by_hand():
    share = tse.saturation(1.5)
    assert share[ts.WM] == pytest.approx((1 - np.exp(-3500 / 657)) / (1 - np.exp(-3500 / 876)))
    assert share[ts.CSF] == 1
    assert (tse.saturation(3.0) == 1).all()


def test_echo_train_by_direct_integral():
    matrices = tse.decay_matrices(41, 0.5, 0.8, 90.0)
    np.testing.assert_allclose(matrices.sum(-1), 1, rtol=1e-5)
    k = np.linspace(0, 1, 20001)  # of 1 / (2 spacing) = 1 / mm
    for tissue in (ts.WM, ts.CSF):
        t2 = float(ts.relaxation().t2[tissue])
        decay = np.exp(-90 / t2 * np.minimum(k * 1.6, 1))  # k_max = 1 / 1.6 mm
        for lag in (0, 1, 3):
            direct = np.trapezoid(decay * np.cos(2 * np.pi * k * 0.5 * lag), k)
            near = matrices[tissue][20, 20 + lag] / matrices[tissue][20, 20]
            assert near == pytest.approx(direct / np.trapezoid(decay, k), abs=2e-3)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_short_t2_loses_its_edge_and_long_t2_keeps_it(axis):
    shape = [5, 5, 5]
    shape[axis] = 40
    scan = Acquisition(shape=tuple(shape), spacing_mm=(0.5, 0.5, 0.5), thick_axis=None)
    step = (
        (np.arange(40) >= 20).astype(np.float32).reshape([-1 if k == axis else 1 for k in range(3)])
    )
    maps = jnp.asarray(np.broadcast_to(step, (2, *shape)))
    empty = np.zeros((0, *shape), np.float32)
    scene = Scene(maps, (ts.MUSCLE, ts.CSF), jnp.asarray(empty), empty, empty)
    seen = tse.echo_train(scene, scan, axis=axis, span_ms=90.0)
    edges = np.moveaxis(np.asarray(seen.fractions), axis + 1, -1)[:, 2, 2]
    width = [np.abs(edge - step.ravel()).sum() for edge in edges]
    assert width[0] > 3 * width[1]
    np.testing.assert_allclose(edges[:, 5], 0, atol=0.05)
    np.testing.assert_allclose(edges[:, -5], 1, atol=0.05)
    assert seen.tissues == scene.tissues


def test_fat_shines_near_metal_only(straight):
    scan = Acquisition(shape=(30, 20, 3), spacing_mm=(2.0, 2.0, 2.0), centre_mm=(0.0, 0.0, -12.0))
    empty = np.zeros((0, *scan.shape), np.float32)
    maps = jnp.ones((2, *scan.shape)) * 0.5
    scene = Scene(maps, (ts.MUSCLE, ts.FAT), jnp.asarray(empty), empty, empty)
    metal = hardware.Implants(
        np.array([[20, 0, -12], [0, 0, 0]], np.float32), np.array([6, 0], np.float32)
    )
    seen = hardware.unsaturated_fat(scene, metal, straight, scan, 5.0)
    muscle, fat = np.asarray(seen.fractions)
    np.testing.assert_array_equal(muscle, maps[0])
    x = scan.centres(0)
    np.testing.assert_allclose(fat[x > 8][:, 10, 1], 2.5, rtol=0.01)  # within 18 mm of the screw
    np.testing.assert_allclose(fat[x < -4][:, 10, 1], 0.5, rtol=0.01)
    np.testing.assert_allclose(
        hardware.unsaturated_fat(scene, metal, straight, scan, 1.0).fractions, maps
    )


def test_fat_is_suppressed_in_some_scans():
    fat = np.array(
        [
            float(sequences.contrast("T2w", key).weights[ts.FAT, 0])
            for key in jax.random.split(jax.random.key(1), 80)
        ]
    )
    usual = ts.t2w_weights()[ts.FAT]
    assert (fat < 0.4 * usual).mean() == pytest.approx(sequences.FAT_SUPPRESSED, abs=0.12)


def test_a_wide_central_canal_shows_as_csf_in_the_commissure(body, straight):
    grid = Acquisition(
        shape=(24, 20, 1), spacing_mm=(0.5, 0.5, 2.0), centre_mm=(0.0, 0.0, -12.0), fine_mm=0.25
    )
    csf = HEALTHY.index(ts.CSF)
    plain = np.asarray(rasterise(body, straight, grid).fractions)[csf]
    wide = np.asarray(rasterise(anatomy.with_central_canal(body, 0.6), straight, grid).fractions)[
        csf
    ]
    extra = (wide - plain)[..., 0]
    # pi .6^2 less the .21 x .16 capsule that everyone has
    assert extra.sum() * 0.25 == pytest.approx(np.pi * 0.36 - 0.11, rel=0.12)
    x, y = np.unravel_index(np.argmax(extra), extra.shape)
    row = {
        name: float(body.curves[448, anatomy.COLUMN[name]]) for name in ("yc", "gsy", "ox", "oy")
    }
    assert grid.centres(0)[x] == pytest.approx(row["ox"], abs=0.6)
    assert grid.centres(1)[y] == pytest.approx(row["oy"] + row["yc"] * row["gsy"], abs=0.6)
    assert ts.CSF not in LESIONS


def test_the_share_of_wide_central_canals():
    rows = sci_cohort(6).participants
    shown = [row["central_canal_mm"] for row in rows if row["central_canal_mm"]]
    assert len(shown) / len(rows) == pytest.approx(anatomy.WIDE_CANAL_SHARE, abs=0.05)
    assert all(0.3 <= radius <= 0.6 for radius in shown)


def depth(curve):
    """How far the neck bows, over the stack."""
    inside = (anatomy.S_GRID > -70) & (anatomy.S_GRID < 40)
    s = anatomy.S_GRID[inside]
    return np.polyfit(s, np.asarray(curve)[inside], 2)[0]


def test_the_lordosis_changes_by_a_tenth_between_visits():
    draw = jax.jit(jax.vmap(posture.spine, in_axes=(None, 0)))
    visits = jax.random.split(jax.random.key(3), 300)
    right, anterior = draw(jax.random.key(1), visits)
    bows = np.array([depth(curve) for curve in np.asarray(anterior)])
    assert bows.std() / abs(bows.mean()) == pytest.approx(0.1, rel=0.12)
    np.testing.assert_array_equal(np.asarray(right), np.asarray(right)[:1].repeat(300, 0))
    _, other = posture.spine(jax.random.key(2), visits[0])
    assert np.abs(np.asarray(other) - np.asarray(anterior)[0]).max() > 1


def test_an_amira_stack_keeps_the_bend_within_a_session_and_changes_it_after():
    key = jax.random.key(9)

    def bend(number):
        course = np.asarray(amira_posture(key, number).course)
        s = anatomy.S_GRID - CENTRE_S_MM
        inside = np.abs(s) <= 24
        line = np.polyfit(s[inside], course[inside, 1], 1)
        assert abs(np.degrees(np.arctan(line[0]))) < 10  # the stack lies across the cord
        return course[inside, 1] - np.polyval(line, s[inside])

    first, second, third = bend(0), bend(1), bend(2)
    np.testing.assert_allclose(first, second, atol=1e-5)
    # mm: 14 mm over a sine of 120 mm a radian, which bends least in the middle of the neck
    assert 0.002 < np.abs(first).max() < 1.0
    deeper = (third @ first) / (first @ first)
    assert deeper == pytest.approx(1, abs=0.35)
    assert abs(deeper - 1) > 1e-3
    np.testing.assert_allclose(third, deeper * first, atol=1e-4)  # the same bend, deeper
