import numpy as np
from scipy import ndimage

from score_jax.arrays import intensity


def test_zscore(rng):
    image = rng.normal(5, 3, (3, 4, 5)).astype(np.float32)
    out = intensity.zscore(image)
    np.testing.assert_allclose([out.mean(), out.std()], [0, 1], atol=1e-5)
    mask = image > 5
    out = intensity.zscore(image, mask)
    np.testing.assert_allclose(
        out[mask], (image[mask] - image[mask].mean()) / image[mask].std(), atol=1e-5
    )
    assert (out[~mask] == 0).all()


def test_constant_and_empty_give_zeros():
    constant = np.full((3, 4), 7, np.float32)
    assert (intensity.zscore(constant) == 0).all()
    assert (intensity.zscore(constant, np.zeros((3, 4), bool)) == 0).all()
    assert (intensity.rescale(constant) == 0).all()


def test_rescale_and_ct_by_hand():
    image = np.array([0.0, 5, 10], np.float32)
    np.testing.assert_allclose(intensity.rescale(image), [0, 0.5, 1])
    np.testing.assert_allclose(intensity.ct(image, (4, 2, 1, 8)), [-1.5, 0.5, 2])


def test_highpass_uses_millimetres(rng):
    image = rng.normal(size=(6, 7, 8)).astype(np.float32)
    got = intensity.highpass(image, (1, 2, 0.5), 2.0)
    np.testing.assert_allclose(got, image - ndimage.gaussian_filter(image, (2, 1, 4)), atol=1e-6)
