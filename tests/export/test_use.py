"""Exported models in the hands of users: written, described, loaded, run, and refused."""

import json
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest

from score_jax import api
from score_jax.config import ModelSpec, Preprocessing
from score_jax.config.postprocessing import Postprocessing
from score_jax.errors import CheckpointError, ConfigError, ModelNotFoundError, OutputError
from score_jax.inference import Predictor
from tests.export.networks import CASES, network_of, spec_of


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model folder of two members with one rule for its masks."""
    kind, tile, options = CASES["mdgru 2-D"]
    spec = spec_of(kind, tile, options, channels=1).to_json() | {"tile_step": 0.7}
    spec = ModelSpec.from_json(json.loads(json.dumps(spec)))
    rules = Postprocessing.from_json(
        {"format": 1, "rules": [{"kind": "largest", "regions": ["cord"]}]}, "test"
    )
    folder = tmp_path_factory.mktemp("models") / "two"
    members = [network_of(spec, seed)[0] for seed in (1, 2)]
    Predictor(spec, members, "two", rules).save(folder)
    return folder


@pytest.fixture
def scan(tmp_path):
    image = np.random.default_rng(0).normal(size=(14, 17, 3)).astype(np.float32)
    path = tmp_path / "scan.nii.gz"
    nib.save(nib.Nifti1Image(image, np.diag([-1.0, 1.0, 4.0, 1.0])), path)
    return path


@pytest.mark.parametrize("format", ["onnx", "stablehlo"])
def test_an_exported_model_predicts_as_the_folder_does(model, scan, tmp_path, format):
    out = tmp_path / f"small.{format}"
    facts = api.export_model(model, out, format=format, licence="CC0-1.0")
    beside = json.loads((tmp_path / f"small.{format}.json").read_text())
    assert beside == json.loads(json.dumps(facts))
    assert beside["licence"] == "CC0-1.0"
    assert beside["bytes"] == out.stat().st_size
    own, exported = api.load_model(model), api.load_model(out)
    assert exported.sha256 == own.sha256 == beside["sha256"]
    assert exported.postprocessing == own.postprocessing
    assert not exported.is_random
    for tta in (False, True):
        want, got = (m.predict(scan, tta=tta, soft=True) for m in (own, exported))
        np.testing.assert_array_equal(got.labels, want.labels)
        for region, share in want.probabilities.items():
            np.testing.assert_allclose(got.probabilities[region], share, atol=1e-5)


def test_onnxruntime_computes_a_folder_too(model, scan, tmp_path):
    own, other = api.load_model(model), api.load_model(model)
    api.use_runtime(own, "auto")
    assert own.runtime is None
    api.use_runtime(other, "onnx")
    want, got = (m.predict(scan, soft=True) for m in (own, other))
    assert not other._compiled
    np.testing.assert_array_equal(got.labels, want.labels)
    with pytest.raises(ConfigError, match="got 'torch'; expected one of auto, jax, onnx"):
        api.use_runtime(own, "torch")
    api.export_model(model, tmp_path / "m.stablehlo", format="stablehlo")
    with pytest.raises(ConfigError, match="an exported model; expected stablehlo"):
        api.use_runtime(api.load_model(tmp_path / "m.stablehlo"), "onnx")


def test_onnx_runs_where_jax_cannot_be_imported(model, tmp_path):
    api.export_model(model, tmp_path / "m.onnx", format="onnx")
    image = np.random.default_rng(1).normal(size=(1, 1, 9, 12)).astype(np.float32)
    np.save(tmp_path / "image.npy", image)
    code = """
import sys
sys.modules["jax"] = sys.modules["score_jax"] = None
import numpy as np, onnxruntime
run = onnxruntime.InferenceSession("m.onnx", providers=["CPUExecutionProvider"]).run
np.save("logits.npy", run(None, {"image": np.load("image.npy")})[0])
"""
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=120)
    own = api.load_model(model)
    want = own.tile_logits(np.moveaxis(image, 1, -1))
    got = np.moveaxis(np.load(tmp_path / "logits.npy"), 1, -1)
    np.testing.assert_allclose(got, want, atol=1e-4 * np.abs(want).max())


def test_what_cannot_be_exported_is_refused(model, tmp_path):
    onnx = tmp_path / "m.onnx"
    with pytest.raises(ConfigError, match=r"ending '.onnx' for the format 'stablehlo'"):
        api.export_model(model, onnx, format="stablehlo")
    with pytest.raises(ConfigError, match="got 'int4'; expected one of float32, float16, int8"):
        api.export_model(model, onnx, format="onnx", weights="int4")
    with pytest.raises(ConfigError, match="only ONNX"):
        api.export_model(model, tmp_path / "m.stablehlo", format="stablehlo", weights="int8")
    api.export_model(model, onnx, format="onnx", weights="int8")
    with pytest.raises(OutputError, match="exists already"):
        api.export_model(model, onnx, format="onnx")
    with pytest.raises(CheckpointError, match="exported already"):
        api.export_model(onnx, tmp_path / "n.onnx", format="onnx")
    with pytest.raises(OutputError, match="cannot become a model folder"):
        api.load_model(onnx).save(tmp_path / "folder")
    api.export_model(model, onnx, format="onnx", replace=True)


def test_damaged_files_are_named(model, tmp_path):
    path = tmp_path / "m.stablehlo"
    api.export_model(model, path, format="stablehlo")
    beside = tmp_path / "m.stablehlo.json"
    text = beside.read_text()
    beside.write_text(text.replace('"format": 1', '"format": 9', 1))
    with pytest.raises(CheckpointError, match="got export format 9; this version reads 1"):
        api.load_model(path)
    beside.write_text("{")
    with pytest.raises(CheckpointError, match=r"m.stablehlo.json: its description is no JSON"):
        api.load_model(path)
    beside.write_text("[]")
    with pytest.raises(CheckpointError, match="no JSON object"):
        api.load_model(path)
    beside.write_text('{"format": 1}')
    with pytest.raises(CheckpointError, match="its description is damaged"):
        api.load_model(path)
    beside.unlink()
    with pytest.raises(ModelNotFoundError, match=r"got no m.stablehlo.json beside it"):
        api.load_model(path)
    beside.write_text(text)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CheckpointError, match="JAX cannot read it"):
        api.load_model(path)
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    with pytest.raises(CheckpointError, match="onnxruntime cannot read it"):
        api.load_model(tmp_path / "bad.onnx")
    with pytest.raises(ModelNotFoundError, match="no such"):
        api.load_model(tmp_path / "none.onnx")


def test_foreign_onnx_models_are_refused(model, tmp_path):
    import onnx

    api.export_model(model, tmp_path / "m.onnx", format="onnx")
    foreign = onnx.load(tmp_path / "m.onnx")
    del foreign.metadata_props[:]
    onnx.save(foreign, tmp_path / "foreign.onnx")
    with pytest.raises(CheckpointError, match="expected a model that `score-jax export` wrote"):
        api.load_model(tmp_path / "foreign.onnx")


def test_without_onnxruntime_the_remedy_is_named(model, tmp_path, monkeypatch):
    api.export_model(model, tmp_path / "m.onnx", format="onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ConfigError, match=r"pip install 'score-jax\[onnx\]'"):
        api.load_model(tmp_path / "m.onnx")


def test_the_description_says_how_to_use_the_model(model, tmp_path):
    facts = api.export_model(model, tmp_path / "m.onnx", format="onnx")
    spec = ModelSpec.from_json(facts["spec"])
    assert spec.preprocessing == Preprocessing()
    assert [r.name for r in spec.regions] == ["cord", "lesion"]
