"""The whole pipeline of the original MD-GRU on one raw case (fixtures i)."""

import jax
import numpy as np
import pytest

from score_jax.interop import mdgru, mdgru_pipeline


@pytest.fixture(params=["2d", "3d"])
def case(request, fixtures):
    with np.load(fixtures / "mdgru" / f"i_pipeline_{request.param}.npz") as data:
        found = dict(data)
    with np.load(fixtures / "mdgru" / f"ckpt_{request.param}_expected.npz") as data:
        state = {key[2:]: data[key] for key in data.files if key.startswith("w/")}
    found["raw"] = np.moveaxis(found["raw"], 0, -1)
    return found, mdgru.from_torch(state)


def settings(data):
    return {
        "window": tuple(int(n) for n in data["window"]),
        "padding": tuple(int(n) for n in data["padding"]),
        "sigma_mm": tuple(float(s) for s in data["sigma"]),
        "voxel_size": tuple(float(s) for s in data["voxel_size"]),
    }


def test_channels_windows_and_their_content(case):
    data, _ = case
    options = settings(data)
    found = mdgru_pipeline.preprocess(
        data["raw"], options["voxel_size"], sigma_mm=options["sigma_mm"]
    )
    np.testing.assert_allclose(np.moveaxis(found.image, -1, 0), data["preprocessed"], atol=1e-4)
    starts = mdgru_pipeline.window_starts(
        found.image.shape[:-1], options["window"], options["padding"]
    )
    np.testing.assert_array_equal(starts, data["patch_starts"])
    patches = np.stack(list(mdgru_pipeline.windows(found, starts, options["window"])))
    np.testing.assert_allclose(np.moveaxis(patches, -1, 1), data["patches"], atol=1e-4)


def test_probabilities_labels_and_scores(case):
    data, network = case
    probabilities, labels = mdgru_pipeline.predict(
        jax.jit(lambda x: network(x)), data["raw"], **settings(data)
    )
    np.testing.assert_allclose(probabilities, data["prob"], atol=2e-5)
    np.testing.assert_array_equal(labels, data["pred"])
    for name, value in mdgru_pipeline.scores(probabilities, data["labels"]).items():
        np.testing.assert_allclose(value, data[f"score/{name}"], atol=1e-4, err_msg=name)


def test_a_constant_channel_is_zero_not_nan():
    found = mdgru_pipeline.preprocess(np.full((3, 4, 1), 7.0), (1.0, 1.0))
    np.testing.assert_array_equal(found.image, np.zeros((3, 4, 2)))
    assert np.isfinite(found.outside).all()


def test_channels_can_be_left_out():
    images = np.random.default_rng(1).normal(size=(4, 5, 2))
    plain = mdgru_pipeline.preprocess(images, (1.0, 1.0), sigma_mm=(), whiten=False)
    np.testing.assert_array_equal(plain.image, images.astype(np.float32))
    np.testing.assert_array_equal(plain.outside, [0, 0])
    high = mdgru_pipeline.preprocess(images, (1.0, 1.0), originals=False, whiten=False)
    both = mdgru_pipeline.preprocess(images, (1.0, 1.0), whiten=False)
    np.testing.assert_array_equal(both.image, np.concatenate([plain.image, high.image], -1))


@pytest.mark.parametrize("padding", [-1, 1, 4])
def test_paddings_without_a_ramp_are_refused(padding):
    with pytest.raises(ValueError, match=f"padding {padding} of window 4"):
        mdgru_pipeline.window_starts((9,), (4,), (padding,))


def test_windows_cover_every_voxel_and_weights_cancel(rng):
    """A network that answers with its input returns the softmax of the image itself."""
    images = rng.normal(size=(7, 5, 3))
    found, _ = mdgru_pipeline.predict(
        lambda x: x, images, (1.0, 2.0), window=(4, 6), padding=(2, 3), sigma_mm=(), whiten=False
    )
    want = np.exp(images) / np.exp(images).sum(-1, keepdims=True)
    np.testing.assert_allclose(found, want, atol=1e-6)


def test_scores_by_hand():
    """Two voxels of class 1 in the truth, one found: P = 1, R = 1/2."""
    labels = np.array([0, 1, 1])
    probabilities = np.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.4]])
    found = mdgru_pipeline.scores(probabilities, labels)
    assert found["f1"][1] == pytest.approx(2 / 3)
    assert found["f05"][1] == pytest.approx(1.25 * 0.5 / (0.25 + 0.5))
    assert found["f2"][1] == pytest.approx(5 * 0.5 / (4 + 0.5))
    assert found["cross_entropy"] == pytest.approx(np.log(0.4) / 3, abs=1e-7)
    assert found["l2"] == pytest.approx((0.36 + 0.36) / 3)
