"""Values between voxels and where they are taken from, against scipy and by hand."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation

from score_jax.augment import geometry, sampling
from score_jax.config import AugmentConfig
from score_jax.config.augment import DeformConfig, SpatialConfig

KEY = jax.random.key(5)
ON = jnp.asarray(True)


def scattered(rng, shape, count=60):
    """Points inside the array and up to 2 voxels beyond it."""
    return np.stack([rng.uniform(-2, n + 1, count) for n in shape]).astype(np.float32)


@pytest.mark.parametrize("shape", [(7, 9), (5, 6, 8)])
def test_cubic_is_scipys_spline(rng, shape):
    image = rng.normal(size=(*shape, 2)).astype(np.float32)
    points = scattered(rng, shape)
    got = jax.jit(sampling.cubic)(jnp.asarray(image), jnp.asarray(points))
    want = [ndimage.map_coordinates(image[..., c], points, order=3) for c in range(2)]
    np.testing.assert_allclose(got, np.stack(want, -1), atol=2e-5)
    assert (np.asarray(got) == 0).any()


def test_cubic_of_a_single_voxel(rng):
    image = jnp.asarray(rng.normal(size=(1, 6, 1)), jnp.float32)
    points = jnp.asarray([[0.0, 0.0], [2.0, 4.0]])
    got = jax.jit(sampling.cubic)(image, points)
    np.testing.assert_allclose(got[:, 0], image[0, [2, 4], 0], atol=1e-5)


@pytest.mark.parametrize("shape", [(7, 9), (5, 6, 8)])
def test_linear_fades_to_zero_outside(rng, shape):
    image = rng.normal(size=(*shape, 2)).astype(np.float32)
    points = scattered(rng, shape)
    got = jax.jit(sampling.linear)(jnp.asarray(image), jnp.asarray(points))
    want = [
        ndimage.map_coordinates(image[..., c], points, order=1, mode="grid-constant")
        for c in range(2)
    ]
    np.testing.assert_allclose(got, np.stack(want, -1), atol=1e-5)


def test_nearest_and_majority_by_hand():
    codes = jnp.asarray([[1, 1, 2], [3, 1, 2]])
    points = jnp.asarray([[0.0, 0.6, -0.4, -0.6, 0.5], [0.4, 0.0, 2.0, 2.0, 1.5]])
    nearest, majority = jax.jit(sampling.nearest), jax.jit(sampling.majority)
    np.testing.assert_array_equal(nearest(codes, points), [1, 3, 2, 0, 2])
    #            1 alone, 3 has 0.6, 2 has 0.6 against outside, outside 0.6, a tie: nearest
    np.testing.assert_array_equal(majority(codes, points), [1, 3, 2, 0, 2])
    # three labels meet: none has half, the largest share decides though another is nearest
    corner = jnp.asarray([[1, 2], [2, 3]])
    middle = jnp.asarray([[0.45], [0.45]])
    assert nearest(corner, middle)[0] == 1
    assert majority(corner, middle)[0] == 2


@pytest.mark.parametrize("ndim", [2, 3])
def test_points_are_scipys_affine_transform(rng, ndim):
    source, patch = (9, 12, 10)[:ndim], (6, 7, 9)[:ndim]
    angles = np.array([0.3, -0.5, 0.2])[: 3 if ndim == 3 else 1]
    matrix = geometry.rotation(jnp.asarray(angles, jnp.float32))
    if ndim == 3:
        want = Rotation.from_euler("xyz", angles).as_matrix()
    else:
        cos, sin = np.cos(angles[0]), np.sin(angles[0])
        want = np.array([[cos, -sin], [sin, cos]])
    np.testing.assert_allclose(matrix, want, atol=1e-6)
    affine = geometry.Affine(ON, matrix * 1.2, jnp.zeros(ndim))
    image = rng.normal(size=source).astype(np.float32)
    points = geometry.points(affine, source, patch)
    got = jax.jit(sampling.linear)(jnp.asarray(image)[..., None], points)[..., 0]
    inner, outer = (np.array(patch) - 1) / 2, (np.array(source) - 1) / 2
    offset = outer - want * 1.2 @ inner
    wanted = ndimage.affine_transform(
        image, want * 1.2, offset, output_shape=patch, order=1, mode="grid-constant"
    )
    np.testing.assert_allclose(got, wanted, atol=1e-4)


def test_rotation_by_zero_is_the_identity(rng):
    image = jnp.asarray(rng.normal(size=(5, 6, 7, 1)), jnp.float32)
    affine = geometry.Affine(ON, geometry.rotation(jnp.zeros(3)), jnp.zeros(3))
    points = geometry.points(affine, (5, 6, 7), (5, 6, 7))
    for sample in (sampling.linear, sampling.cubic):
        np.testing.assert_allclose(jax.jit(sample)(image, points), image, atol=1e-5)
    about = geometry.rotation_about(jnp.asarray([0.0, 0.6, 0.8]), jnp.asarray(0.0))
    np.testing.assert_allclose(about, np.eye(3), atol=1e-7)


def test_rotation_about_an_axis_is_scipys():
    axis = np.array([0.48, -0.6, 0.64], np.float32)
    got = geometry.rotation_about(jnp.asarray(axis), jnp.asarray(0.7))
    np.testing.assert_allclose(got, Rotation.from_rotvec(0.7 * axis).as_matrix(), atol=1e-6)


def test_drawn_rotations_and_scalings_stay_within_their_bounds():
    config = SpatialConfig(rotation_probability=0.5, scaling_probability=0.5)
    draw = jax.jit(jax.vmap(lambda k: geometry.draw_spatial(k, config, 2, 0.3)))
    affine = draw(jax.random.split(KEY, 400))
    factor = np.sqrt(np.linalg.det(affine.matrix))
    angle = np.arctan2(affine.matrix[:, 1, 0], affine.matrix[:, 0, 0])
    assert factor.min() >= 0.7 - 1e-5
    assert factor.max() <= 1.4 + 1e-5
    assert np.abs(angle).max() <= 0.3 + 1e-5
    assert angle.min() < -0.25
    assert angle.max() > 0.25
    scaled, turned = np.abs(factor - 1) > 1e-5, np.abs(angle) > 1e-6
    np.testing.assert_array_equal(affine.on, scaled | turned)
    for share in (scaled, turned):
        assert share.mean() == pytest.approx(0.5, abs=0.08)
    assert scaled[turned].mean() == pytest.approx(0.5, abs=0.11)  # independent of each other


def test_drawn_deformations_are_md_grus():
    config = DeformConfig(
        spacing=(4, 5), sigma=(2.0, 0.5), rotation_deg=20, scaling=(1.25, 1.0), shift=(3.0, 0.0)
    )
    keys = jax.random.split(KEY, 300)
    affine = jax.jit(jax.vmap(lambda k: geometry.draw_deform(k, config, 2)))(keys)
    scales = np.linalg.norm(affine.matrix, axis=1)
    assert scales[:, 0].min() == pytest.approx(0.8, abs=0.02)
    assert scales[:, 0].max() == pytest.approx(1.25, abs=0.02)
    np.testing.assert_allclose(scales[:, 1], 1.0, atol=1e-5)
    assert np.abs(affine.shift[:, 0]).max() == pytest.approx(1.5, abs=0.05)
    assert not affine.shift[:, 1].any()
    nodes = jax.jit(jax.vmap(lambda k: geometry.draw_nodes(k, config, (9, 11))))(keys)
    assert nodes.shape == (300, 2, 9 // 4 + 4, 11 // 5 + 4)
    spread = np.asarray(nodes).std((2, 3))
    assert spread[:, 0].max() < 3
    assert spread.mean(0)[0] / spread.mean(0)[1] == pytest.approx(4, rel=0.1)
    assert spread[:, 0].min() < 0.2  # a patch's strength goes down to 0
    short = DeformConfig(spacing=(4, 5), sigma=(2.0, 0.5), truncated=True)
    nodes = jax.vmap(lambda k: geometry.draw_nodes(k, short, (9, 11)))(keys)
    assert np.abs(nodes[:, 0]).max() <= 6


@pytest.mark.parametrize("reference", [False, True])
def test_drawn_rotations_in_space(reference):
    config = DeformConfig(rotation_deg=40, reference_rotation=reference)
    draw = jax.jit(jax.vmap(lambda k: geometry.draw_deform(k, config, 3).matrix))
    matrix = np.asarray(draw(jax.random.split(KEY, 200)), np.float64)
    shear = np.abs(matrix @ matrix.transpose(0, 2, 1) - np.eye(3)).max()
    assert (shear > 0.05) == reference
    if not reference:
        rotvec = Rotation.from_matrix(matrix).as_rotvec(degrees=True)
        assert np.linalg.norm(rotvec, axis=1).max() <= 40.01
        assert np.linalg.norm(rotvec, axis=1).max() > 38
        # every direction of the axis, not one octant
        assert (np.sign(rotvec[:, 0]) != np.sign(rotvec[:, 1])).mean() == pytest.approx(
            0.5, abs=0.15
        )


def test_a_deformation_follows_its_nodes():
    """Equal nodes shift all voxels alike; a voxel on a node takes that node's displacement."""
    nodes = jnp.ones((2, 6, 5)) * jnp.asarray([1.5, -2.0]).reshape(2, 1, 1)
    field = geometry.deformation(nodes, (3, 4), (7, 7))
    np.testing.assert_allclose(field[0], 1.5, atol=1e-5)
    np.testing.assert_allclose(field[1], -2.0, atol=1e-5)
    one = jnp.zeros((2, 6, 5)).at[0, 2, 2].set(1.0)
    field = geometry.deformation(one, (3, 4), (7, 7))
    assert field[0, 3, 4] == pytest.approx(1.0, abs=1e-6)
    assert field[0, 0, 0] == pytest.approx(0.0, abs=1e-6)
    assert not field[1].any()


@pytest.mark.parametrize(
    ("patch", "angle"),
    [((16, 16, 16), 30), ((4, 16, 16), 180), ((16, 16), 180), ((30, 16), 15), ((24, 16), 180)],
)
def test_which_angle_a_patch_may_turn_by(patch, angle):
    config = SpatialConfig()
    flat = geometry.turns_slices(config, patch)
    assert flat == (patch == (4, 16, 16))
    found = (geometry.in_plane_angle if flat else geometry.largest_angle)(config, patch)
    assert math.degrees(found) == pytest.approx(angle)


def test_source_shapes():
    shape = geometry.source_shape
    assert shape(AugmentConfig(), (64, 160, 64)) == (159, 200, 102)
    assert shape(AugmentConfig(), (16, 320, 256)) == (16, 376, 376)
    assert shape(AugmentConfig(enabled=False), (64, 160, 64)) == (64, 160, 64)
    still = SpatialConfig(rotation_probability=0.0, scaling_probability=0.0)
    assert shape(AugmentConfig(spatial=still), (20, 30)) == (20, 30)
    only_scaling = SpatialConfig(rotation_probability=0.0)
    assert shape(AugmentConfig(spatial=only_scaling), (20, 34)) == (23, 40)
    shift = DeformConfig(shift=(4.0, 0.0), spacing=(8, 8), sigma=(1.0, 2.0))
    assert shape(AugmentConfig(spatial=still, deform=shift), (20, 30)) == (30, 42)


def test_a_quarter_turn_needs_the_other_axis():
    still = SpatialConfig(rotation_probability=0.0, scaling_probability=0.0)
    config = AugmentConfig(spatial=still, deform=DeformConfig(rotation_deg=90))
    assert geometry.source_shape(config, (20, 30)) == (30, 30)
