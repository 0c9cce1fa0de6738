"""A small BIDS dataset, and a model of known answer: an ONNX file that compares with thresholds."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from score_jax.arrays.regions import Region
from score_jax.config import ModelSpec, Preprocessing
from score_jax.config.exported import FORMAT, INPUT, METADATA, OUTPUT
from score_jax.config.postprocessing import Postprocessing

REGIONS = (Region("cord", (1, 2), 1), Region("lesion", (2,), 2))
TILE = (24, 20, 16)
AFFINE = np.array([[-1, 0, 0, 9], [0, 1, 0, -8], [0, 0, 2.0, 4], [0, 0, 0, 1.0]])


def scan(number, shape=(26, 20, 17), lesion=True):
    """Image, cord (above 1) and lesion (above 3); a straight cord of radius 4 voxels."""
    x, y, z = np.meshgrid(*map(np.arange, shape), indexing="ij")
    distance = np.hypot(x - 12 - 0.3 * number % 2, y - 9.5)
    cord = distance < 4
    blob = (distance < 2) & (abs(z - 8) < 2 + number % 3) & lesion
    image = 0.05 * np.random.default_rng(number).normal(size=shape) + 2 * cord + 2 * blob
    return image.astype(np.float32), cord, blob


def write_image(path: Path, image, affine=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(image, affine), path)
    return path


def write_bids(root: Path, subjects=3, sessions=2):
    for subject in range(subjects):
        for session in range(sessions):
            name = f"sub-{subject:02d}_ses-{session:02d}_T2w.nii.gz"
            folder = root / f"sub-{subject:02d}" / f"ses-{session:02d}" / "anat"
            write_image(folder / name, scan(10 * subject + session)[0])
    description = {"Name": "little", "BIDSVersion": "1.10.0"}
    (root / "dataset_description.json").write_text(json.dumps(description))
    return root


def write_model(path: Path, thresholds=(1.0, 3.0)):
    """Logits are intensity minus threshold; z-scores and resampling are off."""
    spec = ModelSpec(
        kind="unet",
        options={},
        in_channels=1,
        channel_names=("T2w",),
        regions=REGIONS,
        preprocessing=Preprocessing(axcodes="RAS", normalization=("none",)),
        tile=TILE,
    )
    limits = np.array(thresholds, np.float32).reshape(1, 2, 1, 1, 1)
    sides = [1, 2, *TILE]
    graph = helper.make_graph(
        [helper.make_node("Sub", [INPUT, "limits"], [OUTPUT])],
        "threshold",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, [1, 1, *TILE])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, sides)],
        [numpy_helper.from_array(limits, "limits")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    stored = {
        "format": FORMAT,
        "spec": spec.to_json(),
        "postprocessing": Postprocessing().to_json(),
        "sha256": [f"{thresholds}"],
    }
    helper.set_model_props(model, {METADATA: json.dumps(stored)})
    onnx.save(model, path)
    return path


@pytest.fixture
def bids(tmp_path):
    return write_bids(tmp_path / "data")


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("model") / "threshold.onnx")
