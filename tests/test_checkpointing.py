import dataclasses
import errno
import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from score_jax import checkpointing, models
from score_jax.arrays.regions import Region
from score_jax.config import ModelSpec, UNetConfig
from score_jax.errors import CheckpointError, ModelNotFoundError, OutputError

SPEC = ModelSpec(
    kind="unet",
    options=UNetConfig(features=(2, 3)).arguments(),
    in_channels=1,
    channel_names=("T2w",),
    regions=(Region("cord", (1,), 1),),
    tile=(4, 6, 8),
)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "tiny"
    params = models.parameters(checkpointing.build_model(SPEC))
    checkpointing.save_model(folder, SPEC, params)
    return folder, params


def test_round_trip(saved):
    folder, params = saved
    spec, (restored,) = checkpointing.load_model(folder)
    assert spec.regions == SPEC.regions
    jax.tree.map(np.testing.assert_array_equal, restored, params)
    assert checkpointing.weights_sha256(restored) == checkpointing.weights_sha256(params)


def test_a_model_folder_does_not_say_where_it_was_made(saved):
    folder, _ = saved
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if str(folder.parent).encode() in path.read_bytes()]


def test_checksum_sees_every_value(saved):
    _, params = saved
    changed = jax.tree.map(lambda leaf: leaf, params)
    head = changed["decoder"][0]["head"]
    head["bias"] = head["bias"] + 1e-6
    assert checkpointing.weights_sha256(changed) != checkpointing.weights_sha256(params)


@pytest.mark.parametrize(
    ("features", "message"),
    [((2, 4), r"have shape .*expected"), ((2, 3, 4), "no weights|have shape|unknown weights")],
)
def test_another_architecture_is_named_leaf_by_leaf(saved, features, message):
    other = dataclasses.replace(SPEC, options=UNetConfig(features=features).arguments())
    with pytest.raises(CheckpointError, match=message) as caught:
        checkpointing.restore_params(saved[0] / "params", other)
    assert "another architecture" in caught.value.hint


def copy(saved, tmp_path):
    return Path(shutil.copytree(saved[0], tmp_path / "model"))


def test_damage_is_told(saved, tmp_path):
    folder = copy(saved, tmp_path)
    shutil.rmtree(folder / "params" / "d")
    with pytest.raises(CheckpointError, match="checkpoint"):
        checkpointing.load_model(folder)
    shutil.rmtree(folder / "params")
    with pytest.raises(CheckpointError, match="no such folder"):
        checkpointing.load_model(folder)
    (folder / "model.json").write_text("{")
    with pytest.raises(CheckpointError, match="cannot be read as JSON"):
        checkpointing.load_model(folder)
    with pytest.raises(ModelNotFoundError, match="expected a model or a run folder"):
        checkpointing.load_model(tmp_path)


def test_options_the_network_refuses(saved, tmp_path):
    folder = copy(saved, tmp_path)
    value = json.loads((folder / "model.json").read_text())
    value["options"]["convs_encoder"] = [1]
    (folder / "model.json").write_text(json.dumps(value))
    with pytest.raises(CheckpointError, match="convs_encoder: got 1 stages"):
        checkpointing.load_model(folder)
    value["kind"] = "transformer"
    (folder / "model.json").write_text(json.dumps(value))
    with pytest.raises(CheckpointError, match="expected one of"):
        checkpointing.load_model(folder)


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, "No space left on device"), ValueError("RESOURCE: No space left")],
)
def test_a_full_disk_leaves_nothing(saved, tmp_path, monkeypatch, error):
    _, params = saved

    def full(*args, **kwargs):
        raise error

    monkeypatch.setattr(checkpointing.ocp.StandardCheckpointer, "save", full)
    with pytest.raises(OutputError, match="cannot be written"):
        checkpointing.save_model(tmp_path / "model", SPEC, params)
    assert list(tmp_path.iterdir()) == []
