"""Tables, distances, random fields, the grey matter's shape: against hand numbers and loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from score_jax.errors import ConfigError
from score_jax.phantom import butterfly, fields, shapes, tables


def test_levels_by_hand():
    s = np.array([9.75, 1.25, 300.0])  # middle of C2, half way to C3's (-7.25), far above C1
    np.testing.assert_allclose(
        tables.level_curve("CAP_cord_AP_mm", s), [7.76, (7.76 + 7.60) / 2, 8.27]
    )
    assert tables.level_middle("C5") == -43.25
    np.testing.assert_allclose(
        tables.level_coordinate(np.array([40.5, 17.5, 9.75, 2.0, 63.5])), [0, 1, 1.5, 2, -1]
    )


def test_unknown_level_names_the_known():
    with pytest.raises(ConfigError, match="got 'C9'; expected one of C1 C2"):
        tables.level_index("C9")


def test_capsule_by_hand():
    x, y = jnp.array([0.0, 0.0, 3.0]), jnp.array([5.0, 2.0, 0.0])
    d = shapes.capsule(x, y, (0.0, 0.0), (0.0, 4.0), (1.0, 0.5))
    np.testing.assert_allclose(d, [1 - 0.5, -0.75, 3 - 1.0], atol=1e-4)


def test_ellipse_vanishes_on_its_border_and_is_exact_for_a_circle():
    t = jnp.linspace(0, 6, 7)
    d = shapes.ellipse(3 * jnp.cos(t), 2 * jnp.sin(t), 3.0, 2.0)
    np.testing.assert_allclose(d, 0, atol=1e-5)
    np.testing.assert_allclose(
        shapes.ellipse(jnp.array([0.5, 4.0]), jnp.zeros(2), 2.0, 2.0), [-1.5, 2.0], atol=1e-4
    )


@settings(deadline=None, max_examples=25)
@given(st.floats(-3, 3), st.floats(0, 0.15), st.floats(-0.05, 0.05))
def test_polar_harmonics_are_those_of_the_angle(angle, tau, four):
    # on the contour r(t) = m(t) ellipse(t) the distance vanishes
    m = 1 - tau * np.cos(3 * (angle - np.pi / 2)) + four * np.cos(4 * angle)
    r = m / np.hypot(np.cos(angle) / 6, np.sin(angle) / 4)
    x, y = jnp.array([r * np.cos(angle)]), jnp.array([r * np.sin(angle)])
    np.testing.assert_allclose(shapes.polar_ellipse(x, y, 6.0, 4.0, tau, four), 0, atol=2e-4)


def test_smooth_min_fills_the_crease_only():
    a, b = jnp.array([0.0, 0.0, 5.0]), jnp.array([0.0, 9.0, -1.0])
    np.testing.assert_allclose(shapes.smooth_min(a, b, 0.4), [-0.1, 0.0, -1.0], atol=1e-6)


def test_coverage_is_one_half_on_the_border():
    d = jnp.array([-1.0, -0.05, 0.0, 1.0])
    np.testing.assert_allclose(shapes.coverage(d, 0.2), [1, 0.75, 0.5, 0])


def drawn_fields(count=400):
    return fields.draw_fields(jax.random.key(0), jnp.tile(jnp.array([[2.0, 8.0]]), (count, 1)))


def test_fields_have_unit_variance_and_the_stated_length():
    points = jnp.array([[0.0, 0, 0], [2.0, 0, 0], [0, 0, 8.0], [30.0, 30, 30]])
    g = np.asarray(fields.at_points(drawn_fields(), points))
    assert abs(g.mean()) < 0.1
    np.testing.assert_allclose(g.std(0), 1, atol=0.1)
    # covariance exp(-d^2 / 2 l^2): one length away .61, far away none
    np.testing.assert_allclose(np.corrcoef(g.T)[0, 1:], [0.61, 0.61, 0.0], atol=0.12)


def test_a_plane_of_a_field_is_the_field():
    some = drawn_fields(3)
    frame = fields.Frame(
        jnp.array([1.0, -2, 3]), jnp.array([0.9, 0.1, 0.2]), jnp.array([-0.1, 0.9, 0.3])
    )
    x, y = jnp.linspace(-3, 3, 4), jnp.linspace(0, 5, 6)
    plane = jax.jit(fields.on_plane)(some, frame, x, y)
    points = (
        frame.origin[None, None]
        + x[:, None, None] * frame.along_x[None, None]
        + y[None, :, None] * frame.along_y[None, None]
    )
    each = fields.at_points(some, points.reshape(-1, 3)).reshape(3, 4, 6)
    np.testing.assert_allclose(plane, each, atol=1e-4)


# grey-matter areas of the PAM50 template, mm2 (phantom tables, reference_areas_PAM50_mm2)
@pytest.mark.parametrize(
    ("level", "area"), [("C2", 12.3), ("C3", 13.8), ("C4", 15.4), ("C5", 14.2), ("C6", 13.5)]
)
def test_butterfly_has_the_templates_area(level, area):
    s = np.array([tables.level_middle(level)])
    row = {
        name: jnp.asarray(tables.butterfly_curve(name, s)[0], jnp.float32)
        for name in tables.BUTTERFLY
    }
    row |= {"gsx": jnp.ones(()), "gsy": jnp.ones(())}
    step = 0.05
    line = jnp.arange(-5, 5, step)
    x, y = jnp.meshgrid(line, line, indexing="ij")
    u, v = butterfly.butterfly_coordinates(x, y, row, jnp.zeros(2))
    d = butterfly.grey_matter(u, v, row)
    assert float((d < 0).sum()) * step**2 == pytest.approx(area, rel=0.05)
    commissure, anterior = butterfly.part_borders(u, v, row)
    inside = d < 0
    gc = float((inside & (commissure < 0)).sum()) / float(inside.sum())
    ah = float((inside & (commissure >= 0) & (anterior < 0)).sum()) / float(inside.sum())
    # anterior horn and commissure take .54 to .64 and .09 to .11 of the grey matter, C2 to C5
    assert 0.5 < ah < 0.7
    assert 0.06 < gc < 0.14
