"""nnU-Net's own predictor with the weights of one of our U-Nets: the peer of `bench_predict.py`.

Needs nnunetv2 and torch, in an environment of its own. One cold process a scan, as a user's: it
reads the image, preprocesses, predicts tile by tile without a crop and without mirroring, resamples
back and writes the label map. Prints one JSON object.
"""

import json
import sys
import time
from pathlib import Path

import nibabel as nib
import nnunetv2
import numpy as np
import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager


def network(options, outputs):
    return PlainConvUNet(
        1, len(options["features"]), tuple(options["features"]), torch.nn.Conv3d,
        [tuple(k) for k in options["kernels"]], [tuple(s) for s in options["strides"]],
        tuple(options["convs_encoder"]), outputs, tuple(options["convs_decoder"]), conv_bias=True,
        norm_op=torch.nn.InstanceNorm3d, norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=torch.nn.LeakyReLU, nonlin_kwargs={"inplace": True}, deep_supervision=False,
    )  # fmt: skip


def fill(model, weights):
    """Our arrays, by their names with dots, into torch's."""
    conv = {k: np.moveaxis(v, (-1, -2), (0, 1)) for k, v in weights.items() if v.ndim > 1}
    state = {}

    def block(ours, theirs):
        state[f"{theirs}.conv.weight"] = conv[f"{ours}.conv.kernel"]
        bias = weights.get(f"{ours}.conv.bias")
        shape = state[f"{theirs}.conv.weight"].shape[0]
        state[f"{theirs}.conv.bias"] = np.zeros(shape, np.float32) if bias is None else bias
        state[f"{theirs}.norm.weight"] = weights[f"{ours}.norm.scale"]
        state[f"{theirs}.norm.bias"] = weights[f"{ours}.norm.bias"]

    stages = 1 + max(int(k.split(".")[1]) for k in weights if k.startswith("encoder"))
    for s in range(stages):
        for b in range(2):
            block(f"encoder.{s}.{b}", f"encoder.stages.{s}.0.convs.{b}")
    for d in range(stages - 1):
        up = weights[f"decoder.{d}.up_kernel"]
        state[f"decoder.transpconvs.{d}.weight"] = np.moveaxis(up, (-2, -1), (0, 1))
        state[f"decoder.transpconvs.{d}.bias"] = weights[f"decoder.{d}.up_bias"]
        for c in range(2):
            block(f"decoder.{d}.convs.{c}", f"decoder.stages.{d}.convs.{c}")
        state[f"decoder.seg_layers.{d}.weight"] = conv[f"decoder.{d}.head.kernel"]
        state[f"decoder.seg_layers.{d}.bias"] = weights[f"decoder.{d}.head.bias"]
    wanted = model.state_dict()
    missing = [
        k for k in wanted
        if k not in state and "all_modules" not in k and "decoder.encoder" not in k
    ]  # fmt: skip
    assert not missing, missing
    for key, value in state.items():
        target = wanted[key]
        assert tuple(target.shape) == value.shape, (key, target.shape, value.shape)
        target.copy_(torch.from_numpy(np.ascontiguousarray(value)))


def plans(request):
    resampling = {
        name: value
        for kind, order, labels in (
            ("data", 3, False),
            ("seg", 1, True),
            ("probabilities", 1, False),
        )
        for name, value in (
            (f"resampling_fn_{kind}", "resample_data_or_seg_to_shape"),
            (
                f"resampling_fn_{kind}_kwargs",
                {"is_seg": labels, "order": order, "order_z": 0, "force_separate_z": None},
            ),
        )
    }  # fmt: skip
    configuration = {
        "data_identifier": "x", "preprocessor_name": "DefaultPreprocessor", "batch_size": 2,
        "patch_size": request["tile"], "spacing": request["spacing"],
        "normalization_schemes": ["ZScoreNormalization"], "use_mask_for_norm": [False],
        "median_image_size_in_voxels": request["tile"], "batch_dice": False, **resampling,
        "architecture": {"network_class_name": "", "arch_kwargs": {}, "_kw_requires_import": []},
    }  # fmt: skip
    return {
        "dataset_name": "x", "plans_name": "x", "image_reader_writer": "NibabelIO",
        "transpose_forward": [0, 1, 2], "transpose_backward": [0, 1, 2],
        "configurations": {"3d_fullres": configuration},
        "experiment_planner_used": "ExperimentPlanner", "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {"0": {}},
    }  # fmt: skip


def main():
    request = json.loads(Path(sys.argv[1]).read_text())
    torch.set_num_threads(request["threads"])
    model = network(request["options"], len(request["labels"]))
    with torch.no_grad():
        fill(model, dict(np.load(request["weights"])))
    manager = PlansManager(plans(request))
    dataset = {
        "channel_names": {"0": "T2w"}, "file_ending": ".nii.gz", "numTraining": 1,
        "labels": {"background": 0, **request["labels"]},
        "regions_class_order": request["order"],
    }  # fmt: skip
    predictor = nnUNetPredictor(
        tile_step_size=0.5, use_gaussian=True, use_mirroring=False,
        perform_everything_on_device=False, device=torch.device("cpu"), allow_tqdm=False,
    )  # fmt: skip
    predictor.manual_initialization(
        model, manager, manager.get_configuration("3d_fullres"), [model.state_dict()], dataset,
        "nnUNetTrainer", None,
    )  # fmt: skip
    start = time.perf_counter()
    stored = nib.load(request["scan"])
    image = nib.as_closest_canonical(stored)
    data = np.asarray(image.dataobj, np.float32)[None]
    spacing = [float(mm) for mm in image.header.get_zooms()[:3]]
    loaded = time.perf_counter()
    labels = predictor.predict_single_npy_array(data, {"spacing": spacing}, None, None, False)
    predicted = time.perf_counter()
    out = nib.Nifti1Image(labels.astype(np.uint8), image.affine)
    nib.save(out, request["out"])
    end = time.perf_counter()
    print(json.dumps({
        "seconds": {"load": loaded - start,
                    "predict": predicted - loaded, "save": end - predicted},
        "versions": {"nnunetv2": getattr(nnunetv2, "__version__", "") , "torch": torch.__version__},
    }))  # fmt: skip


if __name__ == "__main__":
    main()
