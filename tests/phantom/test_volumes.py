"""The 3-D training source: pure in seed and step, whatever bodies are at hand."""

import numpy as np
import pytest

from score_jax.errors import ConfigError
from score_jax.phantom.volumes import Volumes

SMALL = {"seed": 5, "shape": (16, 18, 12), "spacing_mm": (2.5, 2.5, 4.0), "pool": 2, "renew": 2}
REGIONS = ("cord", "canal", "lesion")


@pytest.mark.slow
def test_a_step_is_the_same_whatever_came_before():
    walked, fresh = Volumes(**SMALL), Volumes(**SMALL)
    for step in range(4):
        image, masks = walked.training_batch(step, size=2, regions=REGIONS)
    again, same = fresh.training_batch(3, size=2, regions=REGIONS)
    np.testing.assert_array_equal(image, again)
    np.testing.assert_array_equal(masks, same)
    assert image.shape == (2, 16, 18, 12, 1)
    assert masks.shape == (2, 16, 18, 12, 3)
    np.testing.assert_allclose(image.mean((1, 2, 3, 4)), 0, atol=1e-4)
    other, _ = fresh.training_batch(2, size=2, regions=REGIONS)
    assert (other != image).any()
    assert len(walked._kept) <= 2 * SMALL["pool"] - 1


@pytest.mark.slow
def test_cord_canal_and_lesion_nest_and_csf_is_bright():
    source = Volumes(**SMALL, healthy=0.0, artefacts=0.0)
    image, masks = source.training_batch(0, size=3, regions=REGIONS)
    cord, canal, lesion = (masks[..., k] > 0 for k in range(3))
    assert (cord <= canal).all()
    assert (lesion <= cord).all()
    assert cord.any((1, 2, 3)).all()
    # 40 mm of cord in 48 mm or less, some 75 mm2 thick (De Leener et al. 2018): the sides are right
    area = cord.sum((1, 2)) * 2.5 * 2.5
    assert 30 < np.median(area[area > 0]) < 130
    for own, c, k in zip(image[..., 0], cord, canal, strict=True):
        assert np.percentile(own[k & ~c], 90) > np.median(own[c])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"contrast": "T9"}, "expected one of T2w"),
        ({"shape": (4, 64, 64)}, "at least 8 voxels"),
        ({"pool": 0}, "one body"),
        ({"spacing_mm": (1.0, 1.0, 9.0)}, r"\.2 to 5 mm"),
        ({"healthy": 2.0}, "shares from 0 to 1"),
        ({"narrow": -1.0}, "narrow -1.0"),
        ({"shift_mm": -1.0}, "a shift of -1.0 mm"),
        ({"thickness_mm": (5.0, 2.0)}, "a range above 0"),
    ],
)
def test_impossible_sources_are_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        Volumes(seed=0, **change)


def test_unknown_regions_are_refused_before_any_work():
    with pytest.raises(ConfigError, match="got brain"):
        Volumes(seed=0).training_batch(0, size=1, regions=("brain",))
