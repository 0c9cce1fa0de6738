"""`data.simulated`: which phantom a training draws from, as its configuration says."""

import dataclasses

import numpy as np
import pytest

from score_jax.api.training import _phantom
from score_jax.arrays.regions import Region
from score_jax.config import ModelSpec, Preprocessing, TrainConfig
from score_jax.config.training import DataConfig, SamplingConfig
from score_jax.errors import ConfigError
from score_jax.phantom.randomise import Patches, training_batch
from score_jax.phantom.volumes import Volumes

SPEC = ModelSpec(
    kind="unet",
    options={},
    in_channels=1,
    channel_names=("T2w",),
    regions=(Region("cord", (1,), 1),),
    exclusive=False,
    preprocessing=Preprocessing(spacing_mm=(2.0, 2.0, 3.0)),
    tile=(16, 18),
    slice_axis=2,
)
WANTED = DataConfig(
    simulated=1.0, simulated_contrast="T2w", simulated_strength=0.0, simulated_artefacts=False
)
CONFIG = TrainConfig(data=WANTED, sampling=SamplingConfig(patch=(16, 18, 12), batch=2))
SAME = {"contrast": "T2w", "strength": 0.0, "artefacts": 0.0, "narrow": 0.3, "shift_mm": 32 / 3}


def test_slices_and_volumes_are_those_of_the_phantom():
    image, masks = _phantom(CONFIG, SPEC, (16, 18), [7])[0](1)
    source = Patches(seed=7, shape=(16, 18), spacing_mm=2.0, **SAME)
    want, truth = training_batch(source, 1, size=2, regions=["cord"])
    np.testing.assert_array_equal(image, want)
    np.testing.assert_array_equal(masks, truth)


@pytest.mark.slow
def test_volumes_keep_the_sides_of_their_voxels():
    image, _ = _phantom(CONFIG, SPEC, (16, 18, 12), [7])[0](1)
    source = Volumes(
        seed=7, shape=(16, 18, 12), spacing_mm=(2.0, 2.0, 3.0), thickness_mm=(1.0, 8.0), **SAME
    )
    want, _ = source.training_batch(1, size=2, regions=["cord"])
    np.testing.assert_array_equal(image, want)


def test_none_unless_asked_for():
    assert _phantom(TrainConfig(), SPEC, (16, 18), [7]) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"in_channels": 8}, "of 8 channels"),
        ({"slice_axis": 0}, "axial slices"),
        ({"regions": (Region("brain", (1,), 1),)}, "no region brain"),
    ],
)
def test_what_the_phantom_cannot_make_is_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        _phantom(CONFIG, dataclasses.replace(SPEC, **change), (16, 18), [7])
