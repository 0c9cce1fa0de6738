"""nnU-Net 2.8.1's own search and averaging (make_nnunet_data.py), repeated exactly."""

import json
from pathlib import Path

import numpy as np
import pytest

from score_jax.arrays.regions import (
    Region,
    labels_from_masks,
    masks_from_labels,
    masks_from_probabilities,
)
from score_jax.evaluation.postprocessing import HeldOut, find
from score_jax.inference.ensemble import Mean

DATA = Path(__file__).parent / "data"
REGIONS = (Region("cord", (1, 2), 1), Region("lesion", (2,), 2))
CLASSES = (Region("cord", (1,), 1), Region("lesion", (2,), 2))
RECORDS = json.loads((DATA / "nnunet.json").read_text())
NAMES = {"(1, 2)": "cord", "2": "lesion"}


@pytest.fixture(scope="module")
def arrays():
    with np.load(DATA / "nnunet.npz") as data:
        return dict(data)


@pytest.mark.parametrize("number", range(len(RECORDS)))
def test_the_same_rules_the_same_dice_the_same_label_maps(arrays, number):
    predicted, reference, after = (
        [masks_from_labels(labels, REGIONS) for labels in arrays[f"{part}{number}"]]
        for part in ("predicted", "reference", "after")
    )
    spacing = (1.0, 1.0, 1.0)
    cases = [HeldOut(p, r, spacing) for p, r in zip(predicted, reference, strict=True)]
    found = find([case.cropped() for case in cases], REGIONS)
    # both write the labels of what is cleaned: those of everything are those of the cord
    accepted = [[1, 2] if "cord" in rule.regions else 2 for rule in found.rules]
    assert accepted == RECORDS[number]["accepted"]
    for when, scores in (("before", found.before), ("after", found.after)):
        want = {NAMES[key]: dice for key, dice in RECORDS[number]["dice"][when].items()}
        assert {name: one.dice for name, one in scores.items()} == want
    for case, want in zip(cases, after, strict=True):
        got = case.cleaned(found.rules, REGIONS).predicted
        np.testing.assert_array_equal(
            labels_from_masks(got, REGIONS), labels_from_masks(want, REGIONS)
        )


def test_the_records_hold_every_outcome():
    assert {len(record["accepted"]) for record in RECORDS} == {0, 1, 2}


@pytest.mark.parametrize(("name", "regions"), [("regions", REGIONS), ("classes", CLASSES)])
def test_the_same_label_map_from_averaged_probabilities(arrays, name, regions):
    mean, exclusive = Mean(), name == "classes"
    for shares in arrays[f"{name}_shares"]:
        last = np.moveaxis(shares, 0, -1)
        mean.add(last[..., 1:] if exclusive else last)  # ours have no channel of the background
    masks = masks_from_probabilities(mean.value, regions, exclusive=exclusive)
    labels = labels_from_masks(masks, regions)
    assert set(np.unique(labels)) == {0, 1, 2}
    np.testing.assert_array_equal(labels, arrays[f"{name}_labels"])
