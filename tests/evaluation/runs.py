"""Run folders made by hand: networks with random weights, or validations without any network."""

import json

import nibabel as nib
import numpy as np

from score_jax import checkpointing, data, models
from score_jax.arrays.regions import Region
from score_jax.config import ModelSpec, Preprocessing, load_config, to_toml

REGIONS = (Region("cord", (1, 2), 1), Region("lesion", (2,), 2))
OPTIONS = {
    "features": [3, 4], "kernels": [[3, 3, 3]] * 2, "strides": [[1, 1, 1], [2, 2, 2]],
    "convs_encoder": [1, 1], "convs_decoder": [1],
}  # fmt: skip


def make_run(folder, splits, *, members=1, seed=0, spacing=(1.5, 1.5, 1.5), overrides=()):
    """A run whose best weights are random ones; `splits` are (train, val) lists of ids."""
    spec = ModelSpec(
        kind="unet", options=OPTIONS, in_channels=1, channel_names=("image",), regions=REGIONS,
        preprocessing=Preprocessing(spacing_mm=spacing), tile=(8, 8, 8), tile_step=1.0,
        mirror_axes=(1,),
    )  # fmt: skip
    weights = [
        models.parameters(checkpointing.build_model(spec, seed=seed + m)) for m in range(members)
    ]
    checkpointing.save_model(folder, spec, *weights)
    write_plan(folder, splits, overrides)
    return folder


def write_plan(folder, splits, overrides=()):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.toml").write_text(to_toml(load_config(overrides=overrides)))
    data.write_splits(folder / "split.json", [data.Split(*map(tuple, s)) for s in splits])


def row_dataset(folder, truth):
    """Cases of one row of voxels each; `truth` is id -> digits of a label map."""
    folder.mkdir(parents=True)
    lines = ["case\timage\tcord\tlesion"]
    for case, text in truth.items():
        labels = as_labels(text)
        image = np.arange(labels.size, dtype=np.float32).reshape(labels.shape)
        names = [f"{case}_{part}.nii.gz" for part in ("image", "cord", "lesion")]
        for name, array in zip(names, (image, labels > 0, labels == 2), strict=True):
            kind = array.dtype if array.dtype == np.float32 else np.uint8
            nib.save(nib.Nifti1Image(array.astype(kind), np.eye(4)), folder / name)
        lines.append("\t".join([case, *names]))
    (folder / "dataset.tsv").write_text("\n".join(lines) + "\n")
    return folder / "dataset.tsv"


def as_labels(text):
    return np.array(list(map(int, text)), np.uint8).reshape(-1, 1, 1)


def validated_run(folder, dataset, predicted, *, soft=None, overrides=()):
    """A run that was validated already: id -> digits; `soft` is id -> two rows of probabilities."""
    write_plan(folder, [([], list(predicted))], overrides)
    for case, text in predicted.items():
        labels = as_labels(text)
        for name, mask in (("cord", labels > 0), ("lesion", labels == 2)):
            write(folder, case, f"label-{name}_mask", mask.astype(np.uint8))
    for case, rows in (soft or {}).items():
        for name, values in zip(("cord", "lesion"), rows, strict=True):
            shares = np.array(values, np.float32).reshape(-1, 1, 1)
            write(folder, case, f"label-{name}_probseg", shares)
    about = {"dataset": str(dataset), "cases": list(predicted), "soft": soft is not None}
    (folder / "validation/summary.json").write_text(json.dumps({"score_jax": about}))
    return folder


def write(folder, case, what, array):
    (folder / "validation").mkdir(exist_ok=True)
    image = nib.Nifti1Image(array, np.eye(4))
    nib.save(image, folder / "validation" / f"{case}_{what}.nii.gz")
