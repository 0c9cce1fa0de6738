"""A BIDS dataset with hand-drawn and bare scans, and a ranking of the bare ones.

Nothing here runs a network: predictions are the truth, moved and thinned, written as `rank` does.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from score_jax.active import handing_out
from score_jax.active.records import Record, sha256_of_values
from score_jax.arrays.regions import Region
from score_jax.imaging import load
from score_jax.inference import Segmentation
from tests.phantoms import scan

# right to left, thick slices: a wrong turn or spacing shows
AFFINE = np.array([[-1, 0, 0, 9], [0, 1, 0, -8], [0, 0, 1.5, 4], [0, 0, 0, 1.0]])
REGIONS = (Region("cord", (1, 2), 1), Region("lesion", (2,), 2))
SUBJECTS = [f"sub-{n:02d}" for n in range(5)]
BY_HAND, BARE = SUBJECTS[:2], SUBJECTS[2:]


def save(path, array, affine=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    array = array.astype(np.uint8) if array.dtype == bool else array
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


def truth(subject):
    """Image, cord and lesion of a subject."""
    return scan(100 + int(subject[-2:]))


def mask_name(subject, region):
    return f"{subject}_label-{region}_desc-T2w_mask.nii.gz"


def label(root, subject, region):
    """Where a mask lies in the dataset."""
    return root / "derivatives" / "labels" / subject / "anat" / mask_name(subject, region)


def write_bids(root, by_hand=tuple(BY_HAND)):
    for subject in SUBJECTS:
        image, cord, lesion = truth(subject)
        save(root / subject / "anat" / f"{subject}_T2w.nii.gz", image)
        if subject in by_hand:
            save(label(root, subject, "cord"), cord)
            save(label(root, subject, "lesion"), lesion)
    return root


def write_nnunet(root, by_hand=tuple(BY_HAND)):
    for subject in by_hand:
        image, cord, lesion = truth(subject)
        save(root / "imagesTr" / f"{subject}_0000.nii.gz", image)
        save(root / "labelsTr" / f"{subject}.nii.gz", cord.astype(np.uint8) + (cord & lesion))
    about = {
        "channel_names": {"0": "T2w"},
        "labels": {"background": 0, "cord": [1, 2], "lesion": [2]},
        "regions_class_order": [1, 2],
        "numTraining": len(by_hand),
        "file_ending": ".nii.gz",
    }
    (root / "dataset.json").write_text(json.dumps(about))
    return root


def predicted(subject):
    """What "the model" finds: the cord moved by a voxel, the lesion without its last slice."""
    _, cord, lesion = truth(subject)
    z = np.flatnonzero(lesion.any(axis=(0, 1)))
    thinner = lesion.copy()
    thinner[..., z[-1]] = False
    return np.roll(cord, 1, axis=0), thinner


def write_ranking(folder, images, *, weights=("w1",), label_map=False, subjects=tuple(BARE)):
    """A folder as `rank` leaves it; `images` gives the path of a subject's scan."""
    names = {s: images(s).name.removesuffix(".nii.gz").removesuffix("_0000") for s in subjects}
    files = handing_out.file_names(list(names.values()), REGIONS)
    records = []
    for subject in subjects:
        volume = load(images(subject))
        masks = np.stack(predicted(subject), axis=-1)
        found = Segmentation.of(masks, volume, REGIONS, seconds={})
        zeros = {"cord": 0.0, "lesion": float("nan")}
        written = handing_out.write_masks(folder, files[names[subject]], found, {})
        record = Record(
            case=names[subject],
            subject=subject,
            images=(str(images(subject)),),
            image_sha256=sha256_of_values(volume),
            made_with="key",
            model="net",
            weights_sha256=weights,
            regions=REGIONS,
            opinions=1,
            disagreement=zeros,
            entropy=zeros,
            mutual_information=zeros,
            volumes_mm3=zeros,
            lesions=1,
            files=written,
        )
        record.write(folder)
        records.append(record)
    with pytest.MonkeyPatch.context() as patch:  # pictures take a second each
        patch.setattr(handing_out, "draw_overview", lambda *arguments, **more: None)
        handing_out.hand_out(folder, records, label_map=label_map)
    return folder


def correct(folder, *subjects):
    """What a rater does: the masks in `to_correct` become the truth."""
    for subject in subjects or BARE:
        _, cord, lesion = truth(subject)
        for region, mask in (("cord", cord), ("lesion", lesion)):
            save(folder / "to_correct" / mask_name(subject, region), mask)


@dataclass
class Round:
    """A dataset and a ranking of its bare scans."""

    root: Path
    ranking: Path

    @property
    def to_correct(self):
        return self.ranking / "to_correct"

    def file(self, subject, region):
        return self.to_correct / mask_name(subject, region)

    def label(self, subject, region):
        return label(self.root, subject, region)


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("active")
    root = write_bids(folder / "bids")
    write_ranking(folder / "round", lambda s: root / s / "anat" / f"{s}_T2w.nii.gz")
    return folder


@pytest.fixture
def bids(made, tmp_path):
    """Own copies of both; nothing is corrected yet."""
    for name in ("bids", "round"):
        shutil.copytree(made / name, tmp_path / name)
    return Round(tmp_path / "bids", tmp_path / "round")
