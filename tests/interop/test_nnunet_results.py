"""Export, post-processing, summary and schedule of nnU-Net (fixtures export and lr)."""

import json
import math

import nibabel as nib
import numpy as np
import pytest

from score_jax.arrays.regions import Region, labels_from_masks, masks_from_logits
from score_jax.interop import nnunet_results as results

REGIONS = (Region("cord", (1, 2), 1), Region("lesion", (2,), 2))


@pytest.fixture
def export(fixtures):
    with np.load(fixtures / "nnunet/export/export.npz") as data:
        return dict(data)


def test_label_maps_from_logits(export):
    logits = np.moveaxis(export["logits"], 0, -1)
    masks = masks_from_logits(logits, REGIONS, exclusive=False)
    np.testing.assert_array_equal(
        labels_from_masks(masks, REGIONS), export["segmentation_from_logits"]
    )


def test_one_half_is_not_enough_and_a_lesion_needs_no_cord(export):
    probabilities = np.moveaxis(export["edge_probabilities"], 0, -1).astype(np.float64)
    with np.errstate(divide="ignore"):
        logits = np.log(probabilities) - np.log1p(-probabilities)
    masks = masks_from_logits(logits, REGIONS, exclusive=False)
    np.testing.assert_array_equal(labels_from_masks(masks, REGIONS), export["edge_segmentation"])


@pytest.mark.parametrize(
    ("name", "values"),
    [("pp_all_foreground", [1, 2]), ("pp_region_1_2", [1, 2]), ("pp_label_2", [2])],
)
def test_the_largest_component(export, name, values):
    got = results.keep_largest(export["pp_in"], values)
    np.testing.assert_array_equal(got, export[name])
    assert got.dtype == export["pp_in"].dtype


def test_equal_components_all_stay_and_empty_maps_pass():
    labels = np.zeros((3, 3, 7), np.uint8)
    labels[0, 0, 0:2] = 1
    labels[0, 0, 4:6] = 2
    labels[2, 2, 6] = 1
    got = results.keep_largest(labels, [1, 2])
    assert got[0, 0].tolist() == [1, 1, 0, 0, 2, 2, 0]
    assert got[2, 2, 6] == 0
    np.testing.assert_array_equal(results.keep_largest(labels, [9]), labels)
    # corners touch
    labels = np.zeros((2, 2, 2), np.uint8)
    labels[0, 0, 0] = labels[1, 1, 1] = 3
    np.testing.assert_array_equal(results.keep_largest(labels, [3]), labels)


def same(got, want):
    if isinstance(want, dict):
        assert set(got) == set(want)
        for key in want:
            same(got[key], want[key])
    elif isinstance(want, list):
        assert len(got) == len(want)
        for a, b in zip(got, want, strict=True):
            same(a, b)
    elif isinstance(want, float) and math.isnan(want):
        assert math.isnan(got)
    else:
        assert got == want


def test_summary_of_nnunet(fixtures):
    folder = fixtures / "nnunet"
    want = json.loads((folder / "export/summary.json").read_text())

    def read(name):
        return np.asarray(nib.load(folder / name).dataobj).astype(int)

    names = [(c["prediction_file"], c["reference_file"]) for c in want["metric_per_case"]]
    got = results.summarise(
        [results.case_entry(*pair, *map(read, pair), [(1, 2), 2]) for pair in names]
    )
    same(json.loads(json.dumps(got)), want)
    assert math.isnan(got["metric_per_case"][2]["metrics"]["2"]["Dice"])


def test_a_region_that_never_occurs_has_no_mean():
    empty = np.zeros((2, 2, 2), int)
    got = results.summarise([results.case_entry("p", "r", empty, empty, [1])])
    assert math.isnan(got["mean"]["1"]["Dice"])
    assert got["mean"]["1"]["TN"] == 8
    assert results.summarise([]) == {"metric_per_case": [], "mean": {}, "foreground_mean": {}}


def test_learning_rates(fixtures):
    with np.load(fixtures / "nnunet/lr/polylr.npz") as data:
        for name in data.files:
            epochs = int(name.split("_")[1])
            got = [results.learning_rate(epoch, epochs) for epoch in range(epochs)]
            np.testing.assert_allclose(got, data[name], rtol=0, atol=1e-15)
