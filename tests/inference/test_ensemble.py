"""Ensembles of configurations: probabilities averaged on the image's own grid, once."""

import dataclasses
import json

import nibabel as nib
import numpy as np
import pytest

import score_jax as sj
from score_jax import checkpointing, models
from score_jax.api import load_models, load_network
from score_jax.arrays.cleaning import Rule
from score_jax.arrays.regions import Region, masks_from_probabilities, probabilities
from score_jax.config import ModelSpec, Preprocessing
from score_jax.config.postprocessing import Postprocessing
from score_jax.errors import CheckpointError, ConfigError
from score_jax.inference import Ensemble, Predictor

REGIONS = (Region("cord", (1, 2), 1), Region("lesion", (2,), 2))
FLAT = {
    "features": [3, 4], "kernels": [[3, 3]] * 2, "strides": [[1, 1], [2, 2]],
    "convs_encoder": [1, 1], "convs_decoder": [1],
}  # fmt: skip
DEEP = {
    "features": [3, 4], "kernels": [[3, 3, 3]] * 2, "strides": [[1, 1, 1], [2, 2, 2]],
    "convs_encoder": [1, 1], "convs_decoder": [1],
}  # fmt: skip


def network(ndim=3, *, seed=0, name="", **changes):
    """A tiny U-Net with random weights; 2-D and 3-D ones live on different grids."""
    flat = ndim == 2
    settings = {
        "kind": "unet",
        "options": FLAT if flat else DEEP,
        "in_channels": 1,
        "channel_names": ("T2w",),
        "regions": REGIONS,
        "preprocessing": Preprocessing(
            axcodes="RAS" if flat else "LPI", spacing_mm=(0.0,) * 3 if flat else (1.5, 1.2, 1.4)
        ),
        "tile": (8, 8) if flat else (8, 8, 8),
    }
    spec = ModelSpec(**{**settings, **changes})
    params = models.parameters(checkpointing.build_model(spec, seed=seed))
    return Predictor(spec, [params], name or f"{ndim}d")


@pytest.fixture(scope="module")
def pair():
    return network(2, seed=1), network(3, seed=2)


@pytest.fixture
def path(tmp_path, rng):
    image = rng.normal(size=(11, 9, 10)).astype(np.float32)
    affine = np.diag([-1.0, 1.1, 0.9, 1.0])
    nib.save(nib.Nifti1Image(image, affine), tmp_path / "scan.nii.gz")
    return tmp_path / "scan.nii.gz"


@pytest.mark.parametrize(
    ("shares", "cord", "lesion"),
    [
        ([(0.9, 0.1), (0.2, 0.3)], True, False),  # means 0.55 and 0.2
        ([(0.6, 0.2), (0.4, 0.9)], False, True),  # one half is not above it; 0.55
        ([(0.99, 0.0), (0.0, 0.99)], False, False),  # 0.495: logits would have said otherwise
    ],
)
def test_means_of_probabilities_by_hand(shares, cord, lesion):
    mean = np.mean(np.array(shares, np.float32), axis=0)
    assert masks_from_probabilities(mean, REGIONS, exclusive=False).tolist() == [cord, lesion]


NESTED = (Region("cord", (1, 2, 3), 1), Region("gm", (2, 3), 2), Region("ah", (3,), 3))


def test_classes_come_back_from_their_regions(rng):
    logits = rng.normal(0, 3, (5, 6, 7, 4)).astype(np.float32)
    shares = probabilities(logits, NESTED, exclusive=True)
    got = masks_from_probabilities(shares, NESTED, exclusive=True)
    winner = logits.argmax(-1)
    want = np.stack([winner >= 1, winner >= 2, winner >= 3], -1)
    np.testing.assert_array_equal(got, want)


def test_the_most_probable_class_on_average_wins():
    # classes: background, cord alone, gm alone, ah; as shares of nested regions
    one = [0.9, 0.8, 0.1]  # 0.1, 0.1, 0.7, 0.1
    two = [0.9, 0.2, 0.0]  # 0.1, 0.7, 0.2, 0.0
    three = [0.2, 0.2, 0.2]  # 0.8, 0.0, 0.0, 0.2

    def mean(*rows):
        return masks_from_probabilities(np.mean(rows, axis=0), NESTED, exclusive=True).tolist()

    assert mean(one, two) == [True, True, False]  # gm: 0.45 against 0.4 of cord
    assert mean(two, three) == [False, False, False]  # background: 0.45 against 0.35
    assert mean(one, two, three) == [False, False, False]  # 0.33, 0.27, 0.3, 0.1


def test_each_model_sees_its_own_grid_and_the_image_gets_the_mean(pair, path):
    ensemble = Ensemble(pair, "both")
    found = ensemble.predict(path, soft=True)
    alone = [model.predict(path, soft=True) for model in pair]
    for name in ("cord", "lesion"):
        one, two = (np.asarray(one.probabilities[name], np.float64) for one in alone)
        assert np.abs(one - two).max() > 0.05
        np.testing.assert_allclose(found.probabilities[name], (one + two) / 2, atol=1e-6)
        np.testing.assert_array_equal(found.masks[name], found.probabilities[name] > 0.5)
    assert found.labels.shape == (11, 9, 10)
    np.testing.assert_array_equal(found.labels == 2, found.masks["lesion"])
    assert ensemble.predict(path).probabilities is None
    assert ensemble.sha256 == [*pair[0].sha256, *pair[1].sha256]
    assert (ensemble.kind, ensemble.regions) == ("ensemble", REGIONS)
    assert {"load", "network", "postprocess"} <= set(found.seconds)


def test_three_models_and_their_flips(path):
    models = [network(3, seed=n, name=str(n), mirror_axes=(0, 2)) for n in range(3)]
    found, flipped = (Ensemble(models).predict(path, soft=True, tta=tta) for tta in (False, True))
    for got, tta in ((found, False), (flipped, True)):
        alone = [m.predict(path, soft=True, tta=tta).probabilities["lesion"] for m in models]
        np.testing.assert_allclose(got.probabilities["lesion"], np.mean(alone, 0), atol=1e-6)
    gap = found.probabilities["lesion"] - flipped.probabilities["lesion"]
    assert np.abs(gap).max() > 1e-3


def test_members_of_a_model_count_as_one(pair, path):
    """The mean is over configurations: five folds of one do not outvote one of another."""
    twice = Predictor(pair[1].spec, [*pair[1].members] * 2, "twice")
    one, two = (Ensemble([pair[0], other]).predict(path, soft=True) for other in (pair[1], twice))
    np.testing.assert_allclose(one.probabilities["cord"], two.probabilities["cord"], atol=1e-6)


def test_there_and_back_on_disk(pair, path, tmp_path):
    rule = Rule(kind="largest", regions=("cord",))
    rules = Postprocessing(rules=(rule,), evidence={"cases": 3})
    Ensemble(pair, "x", rules).save(tmp_path / "mix")
    value = json.loads((tmp_path / "mix/ensemble.json").read_text())
    assert value == {"format": 1, "models": ["0-2d", "1-3d"]}
    again = sj.load_model(tmp_path / "mix")
    assert isinstance(again, Ensemble)
    assert again.name == "mix"
    assert again.postprocessing == rules
    want = Ensemble(pair, "x").predict(path)
    got = again.predict(path, postprocess=False)
    np.testing.assert_array_equal(got.labels, want.labels)
    again.save(tmp_path / "mix")  # over itself
    assert sj.load_model(tmp_path / "mix").folders == ["0-2d", "1-3d"]
    assert not list(tmp_path.glob(".mix*"))


def test_rules_are_applied_unless_told_otherwise(pair, path, tmp_path):
    model = pair[1]
    raw = model.predict(path)
    rule = Rule(kind="min_size", regions=("lesion",), min_mm3=1e4)
    ruled = dataclasses.replace(model, postprocessing=Postprocessing(rules=(rule,)))
    assert raw.masks["lesion"].any()
    assert not ruled.predict(path).masks["lesion"].any()
    assert not (ruled.predict(path).labels == 2).any()
    np.testing.assert_array_equal(ruled.predict(path, postprocess=False).labels, raw.labels)
    soft = ruled.predict(path, soft=True).probabilities
    np.testing.assert_array_equal(soft["lesion"] > 0.5, raw.masks["lesion"])
    ruled.save(tmp_path / "m")
    assert sj.load_model(tmp_path / "m").postprocessing.rules == (rule,)
    model.save(tmp_path / "m")
    assert sj.load_model(tmp_path / "m").postprocessing.rules == ()
    ensemble = Ensemble([pair[0], ruled], postprocessing=Postprocessing(rules=(rule,)))
    assert not ensemble.predict(path).masks["lesion"].any()
    inner = Ensemble([pair[0], ruled])
    np.testing.assert_array_equal(inner.predict(path).labels, Ensemble(pair).predict(path).labels)


def test_several_models_are_loaded_as_one(pair, tmp_path):
    for model in pair:
        model.save(tmp_path / model.name)
    both = load_models([tmp_path / "2d", tmp_path / "3d"])
    assert isinstance(both, Ensemble)
    assert both.name == "2d + 3d"
    assert isinstance(load_models([tmp_path / "2d"]), Predictor)
    both.save(tmp_path / "mix")
    with pytest.raises(CheckpointError, match=r"an ensemble of 2 configurations") as refused:
        load_network(tmp_path / "mix")
    assert "0-2d" in refused.value.hint


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"regions": (Region("cord", (1,), 1),)}, r"got the regions cord = \[1\] -> 1; expected"),
        ({"channel_names": ("T1w",)}, "got the channels T1w; expected those of 3d: T2w"),
        ({"exclusive": True}, r"got the outputs classes \(softmax\)"),
    ],
)
def test_models_of_another_task_are_refused(pair, other, message):
    with pytest.raises(ConfigError, match=message):
        Ensemble([pair[1], network(3, **other)])
    with pytest.raises(ConfigError, match="expected at least two"):
        Ensemble([pair[1]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ('{"format": 2, "models": []}', "expected format 1"),
        ('{"format": 1}', "a list of models"),
        ("[]", "a list of models"),
        ('{"format": 1, "models": ["../3d"]}', "expected folders beside it"),
        ('{"format": 1, "models": [3]}', "expected folders beside it"),
        ('{"format": 1, "models": ["0-2d"]}', "expected at least two"),
    ],
)
def test_a_damaged_ensemble_is_refused(pair, tmp_path, text, message):
    Ensemble(pair).save(tmp_path / "mix")
    (tmp_path / "mix/ensemble.json").write_text(text)
    with pytest.raises(CheckpointError, match=message):
        sj.load_model(tmp_path / "mix")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[]", "got post-processing format None"),
        ('{"format": 2}', "this version reads 1"),
        ('{"format": 1, "rulez": []}', "did you mean 'rules'"),
        ('{"format": 1, "rules": [{"kind": "round", "regions": ["cord"]}]}', "'largest'"),
        ('{"format": 1, "rules": [{"kind": "largest", "regions": ["tail"]}]}', "region 'tail'"),
        ('{"format": 1, "rules": [{"kind": "largest"}]}', "regions"),
    ],
)
def test_damaged_rules_are_refused(pair, tmp_path, text, message):
    pair[1].save(tmp_path / "m")
    (tmp_path / "m/postprocessing.json").write_text(text)
    with pytest.raises(CheckpointError, match=message) as refused:
        sj.load_model(tmp_path / "m")
    assert "postprocessing.json" in str(refused.value)
