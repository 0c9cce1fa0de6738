import dataclasses

import numpy as np
import pytest
from scipy import ndimage

from score_jax.config import Preprocessing
from score_jax.errors import ConfigError
from score_jax.planning.preprocess import bounding_box, nonzero_mask, prepare


@pytest.fixture
def image(rng):
    smooth = ndimage.gaussian_filter(rng.normal(size=(9, 12, 15, 1)), (2, 2, 2, 0))
    return (smooth + 3).astype(np.float32)


def test_nothing_to_do_is_a_zscore(image):
    prepared = prepare(image, (1, 1, 1), Preprocessing())
    want = (image - image.mean()) / image.std()
    np.testing.assert_allclose(prepared.image, want, atol=1e-4)
    back = prepared.restore(prepared.image[..., 0], outside=0)
    np.testing.assert_allclose(back, want[..., 0], atol=1e-4)


def test_transpose_crop_resample_and_back(image):
    image = np.pad(image, ((2, 1), (0, 3), (1, 0), (0, 0)))
    spec = Preprocessing(
        transpose=(2, 0, 1), crop_nonzero=True, spacing_mm=(1.0, 0.0, 0.75), normalization=("none",)
    )
    prepared = prepare(image, (1.0, 1.5, 2.0), spec)
    assert prepared.crop_shape == (15, 9, 12)
    assert prepared.image.shape == (30, 9, 24, 1)
    assert prepared.spacing == (1.0, 1.0, 0.75)
    back = prepared.restore(prepared.image[..., 0], outside=-7)
    assert back.shape == image.shape[:3]
    inner = (slice(2, 11), slice(0, 12), slice(1, 16))
    np.testing.assert_allclose(back[inner], image[inner][..., 0], atol=0.05)
    outside = np.ones(back.shape, bool)
    outside[inner] = False
    assert (back[outside] == -7).all()


def test_targets_follow_the_image():
    masks = np.zeros((8, 10, 12, 2), bool)
    masks[2:6, 3:7, 4:8, 0] = True
    image = masks[..., :1].astype(np.float32)
    spec = Preprocessing(transpose=(1, 2, 0), spacing_mm=(0.5, 0.5, 0.5), normalization=("none",))
    prepared = prepare(image, (1, 1, 1), spec)
    targets = prepared.targets(masks)
    assert targets.shape == (20, 24, 16, 2)
    np.testing.assert_array_equal(np.argwhere(targets[..., 0]).min(0), [6, 8, 4])
    assert targets[..., 0].sum() == 8 * 4**3 - 8  # a corner voxel is 0.75^3 = 0.42 full
    assert not targets[..., 1].any()


def test_channels_and_highpass(rng):
    image = rng.normal(size=(6, 7, 8, 2)).astype(np.float32)
    spec = Preprocessing(highpass_sigma_mm=2.0, normalization=("none",))
    out = prepare(image, (1, 2, 0.5), spec).image
    np.testing.assert_array_equal(out[..., :2], image)
    for c in range(2):
        want = image[..., c] - ndimage.gaussian_filter(image[..., c], (2, 1, 4))
        np.testing.assert_allclose(out[..., 2 + c], want, atol=1e-6)
    with pytest.raises(ConfigError, match="got 3 entries for 4 channels"):
        prepare(image, (1, 1, 1), dataclasses.replace(spec, normalization=("none",) * 3))


def test_mask_normalisation_leaves_the_background(rng):
    image = np.zeros((6, 7, 8, 1), np.float32)
    image[2:5, 2:5, 2:6] = rng.normal(10, 2, (3, 3, 4, 1))
    out = prepare(image, (1, 1, 1), Preprocessing(mask_normalization=True)).image
    inside = image != 0
    np.testing.assert_allclose([out[inside].mean(), out[inside].std()], [0, 1], atol=1e-5)
    assert (out[~inside] == 0).all()


def test_boxes_by_hand():
    mask = np.zeros((5, 6, 7), bool)
    assert bounding_box(mask) == (slice(0, 5), slice(0, 6), slice(0, 7))
    mask[1, 2, 3] = mask[3, 2, 6] = True
    assert bounding_box(mask) == (slice(1, 4), slice(2, 3), slice(3, 7))
    shell = np.ones((5, 5, 5, 1))
    shell[2, 2, 2] = 0
    assert nonzero_mask(shell)[2, 2, 2]  # a hole inside the body is body
