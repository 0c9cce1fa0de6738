"""The models that ship: whole, described, and good on real scans that no training saw."""

import json

import nibabel as nib
import numpy as np
import pytest

from score_jax import api, pretrained
from score_jax.config import load_config
from score_jax.imaging import Volume
from score_jax.metrics import dice
from score_jax.phantom import amira_cohort

# Dice on the public scans of one subject, a little below the card's figures
REAL = {
    "cord": {
        "t2/t2.nii.gz": {"cord": ("t2/t2_seg-manual.nii.gz", 0.96)},
        "t1/t1w.nii.gz": {"cord": ("t1/t1w_seg-manual.nii.gz", 0.86)},
    },
    "gm": {
        "t2s/t2s.nii.gz": {
            "cord": ("t2s/t2s_seg.nii.gz", 0.94),
            "gm": ("t2s/t2s_gmseg_manual.nii.gz", 0.80),
        },
        "mt/mt1.nii.gz": {
            "cord": ("mt/mt1_seg.nii.gz", 0.925),
            "gm": ("mt/mt1_gmseg_goldstandard.nii.gz", 0.76),
        },
        "t2/t2.nii.gz": {"cord": ("t2/t2_seg-manual.nii.gz", 0.94)},
    },
    "gm-mdgru": {"t2s/t2s.nii.gz": {"cord": ("t2s/t2s_seg.nii.gz", 0.89)}},
    "sci-t2w": {"t2/t2.nii.gz": {"cord": ("t2/t2_seg-manual.nii.gz", 0.96)}},
}


@pytest.mark.parametrize("name", pretrained.registry())
def test_a_shipped_model_is_what_the_registry_says(name):
    entry, model = pretrained.registry()[name], api.load_model(name)
    assert entry["sha256"] == model.sha256
    assert entry["regions"] == [region.name for region in model.regions]
    assert entry["licence"] == "Apache-2.0"
    card = pretrained.card_of(name)
    for heading in ("## Data", "## Figures", "## Not for", "## Train it again"):
        assert heading in card
    folder = pretrained.path_of(name).parent
    assert load_config(folder / "train.toml").model == model.kind
    assert json.loads((folder / "log.jsonl").read_text().splitlines()[-1])


def test_together_they_are_small():
    files = [path for path in pretrained.FOLDER.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 20e6


@pytest.mark.parametrize("name", REAL)
def test_real_scans(name, fixtures):
    model = api.load_model(name)
    for image, truths in REAL[name].items():
        found = model.predict(fixtures / "realmri" / image)
        for region, (truth, least) in truths.items():
            wanted = np.asarray(nib.load(fixtures / "realmri" / truth).dataobj) > 0.5
            assert float(dice(found.masks[region], wanted)) > least, (image, region)


@pytest.mark.slow
def test_amira_of_somebody_it_has_not_seen():
    (patient,) = amira_cohort(seed=810, subjects=1, scans=1, raters=0, groups=("MS",))
    (scan,) = patient.scans
    found = api.load_model("score-amira").predict(Volume(scan.image, scan.affine))
    for region, least in {"cord": 0.97, "wm": 0.93, "gm": 0.88, "lesion": 0.69}.items():
        assert float(dice(found.masks[region], scan.truth[region])) > least, region


def test_eight_channels_are_an_amira_scan(tmp_path):
    header = nib.Nifti1Image(np.zeros((4, 5, 6, 8), np.float32), np.diag([0.3, 0.3, 8, 1]))
    nib.save(header, tmp_path / "scan.nii.gz")
    (choice,) = api.choose_models([tmp_path / "scan.nii.gz"])
    assert choice.model == "score-amira"


def test_the_first_is_the_default():
    assert pretrained.default() == next(iter(pretrained.registry()))
    with_card = api.load_model(pretrained.default())
    assert with_card.name in pretrained.card_of(with_card.name)
