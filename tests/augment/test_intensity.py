"""Intensity, resolution and artefacts, against numpy and by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from score_jax.augment import artefacts, intensity, separable
from score_jax.config.augment import (
    BiasFieldConfig,
    BlurConfig,
    FactorConfig,
    GammaConfig,
    GhostConfig,
    LowResolutionConfig,
    MetalConfig,
    NoiseConfig,
    ThickSlicesConfig,
)

KEY = jax.random.key(7)
SPACE = (0, 1, 2)


@pytest.fixture
def image(rng):
    return jnp.asarray(rng.normal(1, 2, size=(6, 7, 8, 2)), jnp.float32)


def drawn(draw, *settings, count=300):
    """`count` independent draws, stacked."""
    return jax.jit(jax.vmap(lambda key: draw(key, *settings)))(jax.random.split(KEY, count))


def test_noise_has_its_deviation_and_is_new_in_every_channel():
    image = jnp.zeros((20, 30, 30, 2))
    out = jax.jit(intensity.noise)(image, jnp.asarray(0.3), KEY)
    assert out.std() == pytest.approx(0.3, rel=0.02)
    assert abs(np.corrcoef(out[..., 0].ravel(), out[..., 1].ravel())[0, 1]) < 0.03
    found = drawn(intensity.draw_noise, NoiseConfig(probability=0.4, std=0.2))
    assert found.on.mean() == pytest.approx(0.4, abs=0.09)
    assert 0 <= found.std.min() < 0.01
    assert 0.19 < found.std.max() <= 0.2


def test_factors_lie_on_either_side_of_one_equally_often():
    found = drawn(intensity.draw_factor, FactorConfig(probability=0.5, factor=(0.75, 1.5)), 2)
    assert found.value.shape == (300, 2)
    assert found.on.mean() == pytest.approx(0.5, abs=0.09)
    assert (found.value < 1).mean() == pytest.approx(0.5, abs=0.06)
    assert found.value.min() == pytest.approx(0.75, abs=0.01)
    assert found.value.max() == pytest.approx(1.5, abs=0.01)
    assert np.median(found.value[found.value > 1]) == pytest.approx(1.25, abs=0.05)
    assert np.corrcoef(found.value.T)[0, 1] < 0.2  # each channel its own
    for bounds in ((0.5, 0.8), (1.2, 1.9)):
        value = drawn(intensity.draw_gamma, GammaConfig(exponent=bounds), 1).value
        assert value.min() == pytest.approx(bounds[0], abs=0.02)
        assert value.max() == pytest.approx(bounds[1], abs=0.02)


def test_contrast_keeps_mean_and_range(image):
    factor = jnp.asarray([0.8, 1.2])
    out = jax.jit(intensity.contrast)(image, factor)
    np.testing.assert_allclose(out[..., 0].std(), 0.8 * image[..., 0].std(), rtol=1e-5)
    np.testing.assert_allclose(out[..., 0].mean(), image[..., 0].mean(), atol=1e-5)
    np.testing.assert_allclose(out[..., 1].max(), image[..., 1].max(), rtol=1e-6)
    np.testing.assert_allclose(out[..., 1].min(), image[..., 1].min(), rtol=1e-6)


@pytest.mark.parametrize("inverted", [False, True])
def test_gamma_keeps_mean_deviation_and_order(image, inverted):
    change = jax.jit(intensity.gamma, static_argnames="inverted")
    out = change(image, jnp.asarray([1.5, 1.0]), inverted=inverted)
    np.testing.assert_allclose(out.mean(SPACE), image.mean(SPACE), atol=1e-5)
    np.testing.assert_allclose(out.std(SPACE, ddof=1), image.std(SPACE, ddof=1), rtol=1e-5)
    np.testing.assert_allclose(out[..., 1], image[..., 1], atol=1e-5)
    first = np.asarray(image[..., 0]).ravel()
    order = np.argsort(first)
    assert (np.diff(np.asarray(out[..., 0]).ravel()[order]) >= 0).all()
    # above 1 the dark half is drawn together, or the bright half when inverted
    steps = np.diff(np.asarray(out[..., 0]).ravel()[order]) / np.diff(first[order])
    assert (steps[:40].mean() > steps[-40:].mean()) == inverted


def test_a_constant_channel_stays(image):
    flat = jnp.full_like(image, 0.7)
    changes = (
        lambda x: intensity.gamma(x, jnp.asarray([0.7, 1.5])),
        lambda x: intensity.contrast(x, jnp.asarray([0.7, 1.5])),
        lambda x: separable.blur(x, jnp.ones((2, 3)), 1.0),
        lambda x: separable.low_resolution(x, jnp.full((2, 3), 0.6)),
        lambda x: separable.thick_slices(x, jnp.asarray(1), jnp.asarray(2.5)),
        lambda x: artefacts.bias_field(x, jnp.ones(19)),
    )
    for out in jax.jit(lambda x: [change(x) for change in changes])(flat):
        np.testing.assert_allclose(out, flat, atol=1e-5)


def test_blur_is_scipys_gaussian(rng):
    image = rng.normal(size=(12, 15, 2)).astype(np.float32)
    sigma = jnp.asarray([[1.0, 0.5], [0.0, 0.8]])
    out = jax.jit(lambda x: separable.blur(x, sigma, 1.0))(jnp.asarray(image))
    # 6 sigma + 0.5 taps reach 3, 1 (0.5: 3 taps) and 2 (0.8: 5 taps) voxels
    want = ndimage.gaussian_filter1d(image[..., 0], 1.0, 0, mode="mirror", radius=3)
    want = ndimage.gaussian_filter1d(want, 0.5, 1, mode="mirror", radius=1)
    np.testing.assert_allclose(out[..., 0], want, atol=1e-5)
    want = ndimage.gaussian_filter1d(image[..., 1], 0.8, 1, mode="mirror", radius=2)
    np.testing.assert_allclose(out[..., 1], want, atol=1e-5)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_matrices_of_short_axes_average(n):
    make = lambda: (  # noqa: E731
        separable.gaussian_matrix(n, jnp.asarray(1.0), 3),
        separable.low_resolution_matrix(n, jnp.asarray(0.5)),
        separable.thick_slice_matrix(n, jnp.asarray(3.0)),
    )
    for matrix in jax.jit(make)():
        assert matrix.shape == (n, n)
        np.testing.assert_allclose(matrix.sum(1), 1.0, rtol=1e-5)
        assert (matrix >= 0).all()


def test_what_is_not_hit_stays(image):
    found = drawn(separable.draw_blur, BlurConfig(), 2, 3)
    assert (found.sigma == 0).all(-1).mean() == pytest.approx(0.5, abs=0.08)
    hit = found.sigma[found.sigma > 0]
    assert hit.min() == pytest.approx(0.5, abs=0.02)
    assert hit.max() == pytest.approx(1.0, abs=0.02)
    none = jax.jit(lambda x: separable.blur(x, jnp.zeros((2, 3)), 1.0))(image)
    np.testing.assert_array_equal(none, image)
    draw = lambda key: separable.draw_low_resolution(  # noqa: E731
        key, LowResolutionConfig(), 2, 3, keep_first=True
    )
    found = drawn(draw)
    assert (found.zoom[..., 0] == 1).all()
    np.testing.assert_array_equal(found.zoom[..., 1], found.zoom[..., 2])
    assert (found.zoom[..., 1] == 1).mean() == pytest.approx(0.5, abs=0.08)
    none = jax.jit(separable.low_resolution)(image, jnp.ones((2, 3)))
    np.testing.assert_allclose(none, image, atol=1e-6)


def test_products_along_unequal_axes(rng):
    image = rng.normal(size=(3, 4, 5, 2)).astype(np.float32)
    own = [rng.normal(size=(2, n + 1, n)).astype(np.float32) for n in (3, 4, 5)]
    got = separable.along_axes(jnp.asarray(image), [jnp.asarray(m) for m in own])
    np.testing.assert_allclose(got, np.einsum("xyzc,cax,cby,cdz->abdc", image, *own), atol=1e-4)
    shared = [own[0][0], None, own[2][0]]
    got = separable.along_axes(
        jnp.asarray(image), [m if m is None else jnp.asarray(m) for m in shared]
    )
    want = np.einsum("xyzc,ax,dz->aydc", image, shared[0], shared[2])
    np.testing.assert_allclose(got, want, atol=1e-4)


def test_thick_slices_blur_one_axis_only(rng):
    image = jnp.asarray(rng.normal(size=(12, 5, 6, 1)), jnp.float32)
    out = jax.jit(separable.thick_slices)(image, jnp.asarray(0), jnp.asarray(3.0))
    matrix = np.asarray(jax.jit(lambda t: separable.thick_slice_matrix(12, t))(3.0))
    np.testing.assert_allclose(out[..., 0], np.tensordot(matrix, image[..., 0], 1), atol=1e-5)
    assert np.linalg.matrix_rank(matrix) == 4  # 12 voxels from 4 slices
    slices = matrix[1]  # voxel 1 lies at the first slice's centre, whose width is 3 voxels
    # half the weight at half a width from the centre, so 2^-(2 / 3)^2 one voxel away
    assert slices[2] / slices[1] == pytest.approx(2 ** -((2 / 3) ** 2), rel=1e-3)
    assert slices[0] == pytest.approx(slices[2])
    same = jax.jit(separable.thick_slices)(image, jnp.asarray(0), jnp.asarray(1.0))
    np.testing.assert_allclose(same, image, atol=1e-6)
    found = drawn(separable.draw_thick_slices, ThickSlicesConfig(axes=(0, 2)), 3)
    assert set(np.unique(found.axis)) == {0, 2}
    assert not found.on.any()
    assert found.thickness.min() == pytest.approx(1.5, abs=0.02)
    assert found.thickness.max() == pytest.approx(4.0, abs=0.02)


def test_bias_field_is_smooth_positive_and_the_same_for_all_channels(image):
    coefficients = jnp.linspace(-0.5, 0.5, 19)
    out = np.asarray(jax.jit(artefacts.bias_field)(image, coefficients))
    low = np.asarray(image).min(SPACE)
    with np.errstate(invalid="ignore"):
        field = (out - low) / (np.asarray(image) - low)
    at = np.asarray(image).argmin() // 2  # 0 / 0 at the air of each channel
    both = np.isfinite(field).all(-1)
    assert np.unravel_index(at, image.shape[:-1]) in list(zip(*np.where(~both), strict=True))
    np.testing.assert_allclose(field[both][:, 0], field[both][:, 1], rtol=1e-3)
    grid = np.meshgrid(*(np.linspace(-1, 1, n) for n in (6, 7, 8)), indexing="ij")
    log = sum(
        c * grid[0] ** p[0] * grid[1] ** p[1] * grid[2] ** p[2]
        for c, p in zip(coefficients, artefacts.monomials(3), strict=True)
    )
    want = np.exp(log - log.mean())
    np.testing.assert_allclose(field[both][:, 0], want[both], rtol=1e-3)
    found = drawn(artefacts.draw_bias_field, BiasFieldConfig(probability=0.3, strength=0.4), 2)
    assert found.coefficients.shape == (300, 9)
    assert np.abs(found.coefficients).max() == pytest.approx(0.4, abs=0.01)
    assert found.on.mean() == pytest.approx(0.3, abs=0.09)


@pytest.mark.parametrize("axis", [0, 1])
def test_ghost_is_a_modulation_of_k_space(rng, axis):
    image = rng.normal(size=(10, 12, 1)).astype(np.float32)
    distance, amplitude, phase = 3, 0.6, 0.7
    got = jax.jit(artefacts.ghost)(
        jnp.asarray(image), jnp.asarray(axis), jnp.asarray(distance), jnp.asarray(amplitude),
        jnp.asarray(phase),
    )  # fmt: skip
    low, n = image.min(), image.shape[axis]
    lines = np.fft.fft(image[..., 0] - low, axis=axis)
    k = np.arange(n).reshape([-1 if a == axis else 1 for a in range(2)])
    lines = lines * (1 + amplitude * np.cos(2 * np.pi * k * distance / n + phase))
    want = np.abs(np.fft.ifft(lines, axis=axis)) + low
    np.testing.assert_allclose(got[..., 0], want, atol=1e-4)
    config = GhostConfig(probability=0.5, axes=(1,))
    found = drawn(lambda key: artefacts.draw_ghost(key, config, (30, 40)))
    assert (found.axis == 1).all()
    assert found.distance.min() == 4
    assert found.distance.max() == 20


def implant(image, codes, **changes):
    given = {
        "centre": jnp.asarray([10.0, 12.0, 9.0]), "radius": jnp.asarray(3.0),
        "largest": jnp.asarray(2.0), "readout": jnp.asarray(1), "field": jnp.asarray([1.0, 0, 0]),
    } | changes  # fmt: skip
    return jax.jit(artefacts.metal)(image, codes, **given)


def test_metal_leaves_a_void_and_piles_signal_up(rng):
    image = jnp.ones((21, 25, 19, 1)).at[0, 0, 0].set(0.0)  # one voxel of air
    out, codes = implant(image, jnp.ones((21, 25, 19), jnp.int32))
    assert out[10, 12, 9, 0] < 0.01  # nothing in the middle
    assert out[..., 0].max() > 1.2  # more than all around it
    assert (codes == 1).all()
    far = out[0, 1:, 0, 0]
    np.testing.assert_allclose(far, 1.0, atol=0.05)


def test_metal_displaces_image_and_truth_alike():
    """At the pole of the field signal moves by the whole displacement, along the readout only."""
    ramp = jnp.broadcast_to(jnp.arange(25.0).reshape(1, 25, 1, 1), (21, 25, 19, 1))
    codes = ramp[..., 0].astype(jnp.int32)
    moved, distance = jax.jit(artefacts.displacement, static_argnums=0)(
        (21, 25, 19), jnp.asarray([10.0, 12.0, 9.0]), jnp.asarray(3.0), jnp.asarray(2.0),
        jnp.asarray([1.0, 0, 0]),
    )  # fmt: skip
    assert moved[13, 12, 9] == pytest.approx(2.0, abs=1e-4)  # on the surface, along the field
    assert moved[10, 15, 9] == pytest.approx(-1.0, abs=1e-4)  # on its equator
    assert moved[16, 12, 9] == pytest.approx(2 / 8, abs=1e-4)  # twice as far: an eighth
    assert np.abs(moved).max() <= 2 + 1e-4
    assert distance[13, 12, 9] == pytest.approx(1.0)
    _, truth = implant(ramp, codes)
    want = np.clip(np.floor(codes - np.asarray(moved) + 0.5), 0, 24)
    np.testing.assert_array_equal(truth, want)
    assert truth[13, 12, 9] == 10
    still, same = implant(ramp, codes, largest=jnp.asarray(0.0))
    np.testing.assert_array_equal(same, codes)
    outside = np.asarray(distance) > 2
    np.testing.assert_allclose(still[..., 0][outside], ramp[..., 0][outside], atol=0.02)


def test_drawn_implants_lie_in_the_patch():
    found = drawn(lambda key: artefacts.draw_metal(key, MetalConfig(probability=0.5), (9, 30)))
    assert (found.centre >= 0).all()
    assert (found.centre <= jnp.asarray([8.0, 29.0])[None]).all()
    assert found.centre[:, 1].max() > 27
    assert found.radius.min() >= 2
    assert found.radius.max() <= 6
    assert set(np.unique(found.readout)) == {0, 1}
    np.testing.assert_array_equal(found.field.sum(1), 1)
