"""Every transform with the originals' fixed parameters, against the originals' numbers."""

import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from score_jax import losses
from score_jax.augment import geometry, intensity, pack, sampling, separable, unpack
from score_jax.config.augment import DeformConfig, SpatialConfig

ON = jnp.asarray(True)


@pytest.fixture(scope="module")
def nnunet(fixtures):
    folder = fixtures / "nnunet" / "augment"
    return np.load(folder / "augment.npz"), json.loads((folder / "augment.json").read_text())


@pytest.fixture(scope="module")
def image(nnunet):
    return jnp.asarray(np.moveaxis(nnunet[0]["img"], 0, -1))


@pytest.fixture(scope="module")
def labels(nnunet):
    return jnp.asarray(nnunet[0]["seg"][0].astype(np.int32))


def check_moved(nnunet, name, image, labels):
    found = nnunet[0]
    np.testing.assert_allclose(image[..., 0], found[f"{name}_img"][0], atol=2e-4)
    assert (np.asarray(labels) != found[f"{name}_seg"][0]).mean() < 0.002


@pytest.mark.parametrize("number", [0, 1, 2])
def test_rotation_and_scaling_of_a_volume(nnunet, image, labels, number):
    given = nnunet[1][f"spatial3d_{number}"]
    matrix = geometry.rotation(jnp.asarray(given["angles"])) * given["scale"]
    np.testing.assert_allclose(matrix, nnunet[0][f"spatial3d_{number}_affine"], atol=1e-6)
    affine = geometry.Affine(ON, matrix, jnp.zeros(3))

    @jax.jit
    def move(image, codes):
        points = geometry.points(affine, labels.shape, given["patch"])
        return sampling.linear(image, points), sampling.majority(codes, points)

    moved, codes = move(image, labels + 1)  # nnU-Net fills with -1, we with 0
    check_moved(nnunet, f"spatial3d_{number}", moved, codes - 1)


@pytest.mark.parametrize("number", [0, 1])
def test_slices_that_turn_as_one(nnunet, image, labels, number):
    given = nnunet[1][f"dummy2d_{number}"]
    matrix = geometry.rotation(jnp.asarray([given["angle"]])) * given["scale"]
    affine = geometry.Affine(ON, matrix, jnp.zeros(2))

    @jax.jit
    def move(image, codes):
        points = geometry.points(affine, labels.shape[1:], given["patch2d"])
        moved = jax.vmap(lambda a: sampling.linear(a, points))(image)
        return moved, jax.vmap(lambda a: sampling.majority(a, points))(codes)

    moved, codes = move(image, labels + 1)
    check_moved(nnunet, f"dummy2d_{number}", moved, codes - 1)


def test_no_move_is_a_crop(nnunet, image, labels):
    cut = sampling.crop(image, (8, 32, 36)), sampling.crop(labels, (8, 32, 36))
    check_moved(nnunet, "spatial_none", *cut)


def test_source_sizes(nnunet):
    for case in nnunet[1]["initial_patch_size"]:
        angle = math.radians(case["rotation_deg"])
        got = geometry.turned_shape(case["patch"], angle, SpatialConfig())
        assert list(got) == case["initial_patch_size"], case


def all_close(image, wanted, atol=2e-5):
    np.testing.assert_allclose(np.asarray(image)[..., 0], wanted[0], atol=atol)


@pytest.mark.parametrize("number", [0, 1])
def test_blur(nnunet, image, number):
    sigma = nnunet[1][f"blur_{number}"]["sigma_per_axis"]
    blurred = jax.jit(lambda x: separable.blur(x, jnp.asarray([sigma]), 1.0))(image)
    all_close(blurred, nnunet[0][f"blur_{number}"])
    kernel = nnunet[0][f"blur_{number}_kernel0"]
    row = jax.jit(lambda s: separable.gaussian_matrix(40, s, 3))(sigma[0])[20]
    np.testing.assert_allclose(row[row > 0], kernel, atol=1e-6)


@pytest.mark.parametrize("number", [0, 1])
def test_brightness_and_contrast(nnunet, image, number):
    found, given = nnunet
    for name, change in (("brightness", intensity.brightness), ("contrast", intensity.contrast)):
        factor = jnp.asarray([given[f"{name}_{number}"]])
        all_close(jax.jit(change)(image, factor), found[f"{name}_{number}"])


@pytest.mark.parametrize("number", [0, 1, 2])
def test_low_resolution(nnunet, image, number):
    given = nnunet[1][f"lowres_{number}"]
    zoom = np.full((1, 3), given["scale"], np.float32)
    zoom[:, 0] = 1 if given["ignore_axis0"] else zoom[:, 0]
    got = jax.jit(separable.low_resolution)(image, jnp.asarray(zoom))
    all_close(got, nnunet[0][f"lowres_{number}"])


@pytest.mark.parametrize("number", [0, 1, 2])
def test_gamma(nnunet, image, number):
    given = nnunet[1][f"gamma_{number}"]
    assert given["retain_stats"]
    change = jax.jit(intensity.gamma, static_argnames="inverted")
    got = change(image, jnp.asarray([given["gamma"]]), inverted=given["invert"])
    all_close(got, nnunet[0][f"gamma_{number}"])


def test_regions_and_the_targets_of_deep_supervision(nnunet, labels):
    found, given = nnunet
    regions = jnp.stack([labels >= 1, labels == 2], axis=-1).astype(jnp.float32)
    np.testing.assert_array_equal(np.moveaxis(regions, -1, 0), found["regions"])
    np.testing.assert_array_equal(unpack(pack(regions), 2), regions)
    for level, scales in enumerate(given["ds_scales"]):
        size = [round(n * s) for n, s in zip(labels.shape, scales, strict=True)]
        got = losses.nearest(regions[None], size)[0]
        np.testing.assert_array_equal(np.moveaxis(got, -1, 0), found[f"ds{level}"])


@pytest.fixture(scope="module", params=[2, 3])
def mdgru(fixtures, request):
    """One augmented patch of MD-GRU: its numbers, and its draws by their meaning."""
    found = np.load(fixtures / "mdgru" / f"j_augment_{request.param}d.npz")
    draws = [found[f"draw_{number}"] for number in range(len(found["draw_kinds"]))]
    shift = (draws.pop(0) - 0.5) * found["shift"] if any(found["shift"]) else np.zeros(3)
    scales, angle, strength, *normals = draws
    return {
        "found": found,
        "shift": shift,
        "scales": found["scaling"] ** (2 * scales - 1),
        "angle": (2 * angle - 1) * found["rotation"],
        "nodes": strength * np.stack(normals),
    }


def mdgru_points(mdgru):
    found = mdgru["found"]
    ndim, window = len(found["window"]), tuple(found["window"].tolist())
    angle = jnp.asarray(mdgru["angle"])
    if ndim == 2:
        turn = geometry.mdgru_rotation_2d(angle)
    else:
        axis = found["rotation_axis_draw"]
        axis = jnp.asarray(axis / np.linalg.norm(axis), jnp.float32)
        turn = geometry.rotation_about(axis, angle, reference=True)
    matrix = turn * jnp.asarray(mdgru["scales"], jnp.float32)[None]
    affine = geometry.Affine(ON, matrix, jnp.asarray(mdgru["shift"], jnp.float32))
    first = jnp.asarray(found["coords_identity"].reshape(ndim, -1)[:, :1], jnp.float32)
    return geometry.points(affine, window, window) + first.reshape(-1, *[1] * ndim)


def test_mdgru_affine_and_deformation(mdgru):
    found = mdgru["found"]
    np.testing.assert_allclose(mdgru_points(mdgru), found["coords_affine"], atol=1e-4)
    spacing, window = found["deform"].tolist(), found["window"].tolist()
    sigma = tuple(found["deformSigma"].tolist())
    settings = DeformConfig(spacing=tuple(spacing), sigma=sigma)
    assert mdgru["nodes"].shape[1:] == geometry.node_counts(settings, window)
    move = jax.jit(lambda nodes: geometry.deformation(nodes, spacing, window))
    moved = move(jnp.asarray(mdgru["nodes"], jnp.float32))
    np.testing.assert_allclose(moved, found["deform_field"], atol=1e-4)


def test_mdgru_sample(mdgru):
    found = mdgru["found"]
    raw, mask = found["image"], jnp.asarray(found["mask"], jnp.int32)
    points = mdgru_points(mdgru) + jnp.asarray(found["deform_field"], jnp.float32)
    got = jax.jit(sampling.cubic)(jnp.asarray(raw)[..., None], points)
    np.testing.assert_allclose((got - raw.mean()) / raw.std(), found["sample"], atol=1e-4)

    @jax.jit
    def nearest(points):
        return jnp.where(sampling.within(points, raw.shape), sampling.nearest(mask, points), 0)

    label = nearest(points)
    np.testing.assert_array_equal(np.eye(3)[label], found["sample_onehot"])


def test_the_right_rotation_has_no_shear(mdgru):
    axis = jnp.asarray([0.5, -0.7, 0.2])
    axis, angle = axis / jnp.linalg.norm(axis), jnp.asarray(0.4)
    right = geometry.rotation_about(axis, angle)
    np.testing.assert_allclose(right @ right.T, np.eye(3), atol=1e-6)
    slip = geometry.rotation_about(axis, angle, reference=True)
    assert np.abs(slip @ slip.T - np.eye(3)).max() > 0.05
