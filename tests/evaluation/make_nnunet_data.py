"""Makes data/nnunet.npz and data/nnunet.json: nnU-Net's own post-processing search and averaging.

Needs nnunetv2 2.8.1 and torch 2.13.0 in an environment of their own:

    python tests/evaluation/make_nnunet_data.py tests/evaluation/data

Random predictions with islands, and their references, are given to
``nnunetv2.postprocessing.remove_connected_components.determine_postprocessing``; what it accepts,
its mean Dice and its label maps are kept. Random probabilities go through
``nnunetv2.ensembling.ensemble.average_probabilities`` and the label manager.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

SHAPE = (15, 13, 9)
CORD_ISLANDS = (0.0, 0.004, 0.002, 0.0, 0.01, 0.0)
LESION_ISLANDS = (0.004, 0.002, 0.0, 0.006, 0.001, 0.0)
DATASET = {
    "channel_names": {"0": "T2w"},
    "labels": {"background": 0, "cord": [1, 2], "lesion": 2},
    "regions_class_order": [1, 2],
    "numTraining": 3,
    "file_ending": ".nii.gz",
}
CLASSES = {**DATASET, "labels": {"background": 0, "cord": 1, "lesion": 2}}
PLANS = {
    "dataset_name": "Dataset001_none",
    "plans_name": "nnUNetPlans",
    "image_reader_writer": "NibabelIO",
    "configurations": {},
    "label_manager": "LabelManager",
}


def pair(rng, cord_islands, lesion_islands):
    """A prediction and its reference as label maps."""
    x, y, z = np.meshgrid(*map(np.arange, SHAPE), indexing="ij")
    cord = np.hypot(x - 7, y - 6) < 3.5
    lesion = np.zeros(SHAPE, bool)
    for _ in range(rng.integers(0, 3)):
        centre = np.array([7, 6, rng.integers(1, 8)]) + rng.normal(0, 1, 3)
        away = sum((a - c) ** 2 for a, c in zip((x, y, z), centre, strict=True))
        lesion |= (away < rng.uniform(1, 5)) & cord
    reference = np.where(lesion, 2, np.where(cord, 1, 0)).astype(np.uint8)
    predicted = reference.copy()
    edge = ndimage.binary_dilation(cord) & ~ndimage.binary_erosion(cord)
    predicted[edge & (rng.random(SHAPE) < 0.2)] = 0
    for value, share in ((1, cord_islands), (2, lesion_islands)):
        islands = rng.random(SHAPE) < share
        predicted[islands] = value
        near = ndimage.binary_dilation(islands)
        predicted[near & (rng.random(SHAPE) < 0.3)] = value
    return predicted, reference


def search(folder, maps):
    """What nnU-Net's search makes of pairs of label maps."""
    from nnunetv2.postprocessing.remove_connected_components import determine_postprocessing

    for number, both in enumerate(maps):
        for part, labels in zip(("pred", "ref"), both, strict=True):
            (folder / part).mkdir(exist_ok=True)
            nib.save(nib.Nifti1Image(labels, np.eye(4)), folder / part / f"c{number}.nii.gz")
    determine_postprocessing(str(folder / "pred"), str(folder / "ref"), PLANS, DATASET, 1, True)
    found = json.loads((folder / "pred/postprocessing.json").read_text())
    after = [
        np.asarray(nib.load(folder / f"pred/postprocessed/c{n}.nii.gz").dataobj).astype(np.uint8)
        for n in range(len(maps))
    ]
    dice = {
        when: {key: scores["Dice"] for key, scores in found[part]["mean"].items()}
        for when, part in (("before", "input_folder"), ("after", "postprocessed"))
    }
    accepted = [settings["labels_or_regions"] for settings in found["postprocessing_kwargs"]]
    return {"accepted": accepted, "dice": dice}, np.stack(after)


def average(folder, rng, dataset, channels):
    """Probabilities of two models, and the label map nnU-Net makes of their mean."""
    from nnunetv2.ensembling.ensemble import average_probabilities
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    shares = rng.dirichlet(np.ones(channels), (2, 5, 6, 7)) if channels > 2 else None
    shares = rng.random((2, 5, 6, 7, 2)) if shares is None else shares
    shares = np.moveaxis(shares, -1, 1).astype(np.float32)
    files = [str(folder / f"{channels}-{number}.npz") for number in range(2)]
    for file, own in zip(files, shares, strict=True):
        np.savez(file, probabilities=own)
    manager = PlansManager(PLANS).get_label_manager(dataset)
    labels = manager.convert_probabilities_to_segmentation(average_probabilities(files))
    return shares, np.asarray(labels).astype(np.uint8)


def main(out):
    """Make both files in the folder `out`."""
    arrays, records = {}, []
    with tempfile.TemporaryDirectory() as scratch:
        for number, islands in enumerate(zip(CORD_ISLANDS, LESION_ISLANDS, strict=True)):
            rng = np.random.default_rng(number)
            maps = [pair(rng, *islands) for _ in range(3)]
            folder = Path(scratch) / str(number)
            folder.mkdir()
            record, after = search(folder, maps)
            records.append(record)
            arrays[f"predicted{number}"] = np.stack([predicted for predicted, _ in maps])
            arrays[f"reference{number}"] = np.stack([reference for _, reference in maps])
            arrays[f"after{number}"] = after
        rng = np.random.default_rng(99)
        for name, dataset, channels in (("regions", DATASET, 2), ("classes", CLASSES, 3)):
            shares, labels = average(Path(scratch), rng, dataset, channels)
            arrays[f"{name}_shares"], arrays[f"{name}_labels"] = shares, labels
    out.mkdir(exist_ok=True)
    np.savez_compressed(out / "nnunet.npz", **arrays)
    (out / "nnunet.json").write_text(json.dumps(records, indent=1) + "\n")


if __name__ == "__main__":
    for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        os.environ.setdefault(variable, tempfile.gettempdir())
    main(Path(sys.argv[1]))
