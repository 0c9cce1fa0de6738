"""Presets against the single scores; every column described; the table in the docs complete."""

import math
from pathlib import Path

import numpy as np
import pytest

from score_jax import metrics
from score_jax.metrics.lesionwise import Detection
from score_jax.metrics.presets import by_slice, everything

from .test_surface import random_pair

SPACING = (0.5, 1.25, 3.0)
DOCS = Path(__file__).parent.parent.parent / "docs/metrics.md"


def test_everything_is_what_the_single_functions_say():
    pred, ref = random_pair(2)
    rule = Detection(min_lesion_mm3=2.0, alpha=0.2)
    got = everything(pred, ref, SPACING, rule=rule)
    names = ("dice", "jaccard", "sensitivity", "specificity", "ppv", "npv", "kappa")
    expected = {name: getattr(metrics, name)(pred, ref) for name in names}
    for name in ("relative_volume_error", "volumetric_similarity"):
        expected[name] = getattr(metrics, name)(pred, ref)
    for name in ("volume_difference", "hausdorff", "hausdorff95", "assd", "masd"):
        expected[name] = getattr(metrics, name)(pred, ref, SPACING)
    expected["hausdorff95_pooled"] = metrics.hausdorff95(pred, ref, SPACING, pool="pooled")
    expected |= {f"nsd_{mm}mm": metrics.nsd(pred, ref, SPACING, mm) for mm in (1, 2)}
    lesions = metrics.lesion_wise(pred, ref, SPACING, min_lesion_mm3=2.0, alpha=0.2)
    expected |= {f"lesion_{n}": lesions[n] for n in ("sensitivity", "ppv", "f1", "dice")}
    expected |= {"lesions_ref": lesions["n_ref"], "lesions_pred_true": lesions["n_pred_true"]}
    expected |= {k: v for k, v in metrics.panoptic_quality(pred, ref).items() if k in ("pq", "rq")}
    expected |= metrics.anima(pred, ref, SPACING, lesions=True, min_lesion_mm3=2.0, alpha=0.2)
    for name, value in expected.items():
        assert got[name] == pytest.approx(value, rel=1e-12, nan_ok=True), name
    assert got["volume_pred"] - got["volume_ref"] == pytest.approx(got["volume_difference"])
    assert (got["tp"], got["n_pred"]) == (int((pred & ref).sum()), int(pred.sum()))


def test_arguments_reach_the_scores():
    pred, ref = random_pair(2)
    few = everything(pred, ref, SPACING, lesions=False, edge="open")
    assert not {"pq", "lesion_f1", "PPVL"} & set(few)
    assert few["assd"] == metrics.assd(pred, ref, SPACING, edge="open")
    empty = np.zeros_like(pred)
    assert everything(empty, empty, SPACING, empty="worst")["dice"] == 1
    assert math.isnan(everything(empty, empty, SPACING)["dice"])
    assert everything(pred, empty, SPACING)["NbTestedLesions"] > 0


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_slices_one_by_one(axis):
    pred, ref = random_pair(6)
    pred, ref = pred.copy(), ref.copy()
    for place, masks in {0: (pred, ref), 1: (pred,), 3: (ref,)}.items():
        for mask in masks:
            np.moveaxis(mask, axis, 0)[place] = False
    values, rows = by_slice(pred, ref, SPACING, axis=axis)
    plane = np.delete(SPACING, axis)
    by_index = {row["slice"]: row for row in rows}
    assert 0 not in by_index
    assert (by_index[1]["DSC"], by_index[3]["DSC"]) == (0, 0)
    assert math.isnan(by_index[1]["HD"])
    assert by_index[3]["RSD"] == pytest.approx(100 * math.sqrt(2))
    row = by_index[2]
    flat = [np.moveaxis(mask, axis, 0)[2] for mask in (pred, ref)]
    assert row["HD"] == metrics.hausdorff(*flat, plane)
    assert row["HD95"] == metrics.hausdorff95(*flat, plane)
    assert row["DSC"] == metrics.dice(*flat)
    areas = [mask.sum() * plane.prod() for mask in flat]
    assert row["AreaDifference"] == pytest.approx(areas[0] - areas[1])
    assert row["RSD"] == pytest.approx(metrics.rsd(areas))
    for name in ("RSD", "DSC", "HD", "HD95", "AreaPrediction"):
        assert values[name] == pytest.approx(np.nanmean([row[name] for row in rows])), name
    counted = [values[n] for n in ("Slices", "SlicesMissed", "SlicesInvented", "SlicesEmpty")]
    assert counted == [len(rows), 1, 1, pred.shape[axis] - len(rows)]


def test_slices_of_one_2d_image_and_of_nothing():
    pred, ref = random_pair(6, (9, 8))
    values, rows = by_slice(pred, ref, (0.5, 0.5))
    assert len(rows) == 1
    assert values["HD"] == metrics.hausdorff(pred, ref, (0.5, 0.5))
    empty = np.zeros((3, 4, 5), bool)
    values, rows = by_slice(empty, empty, SPACING)
    assert not rows
    assert values["SlicesEmpty"] == 5
    assert math.isnan(values["DSC"])


def every_column():
    pred, ref = random_pair(2)
    empty = np.zeros_like(pred)
    names = {**everything(pred, ref, SPACING), **everything(pred, empty, SPACING)}
    return {*names, *by_slice(pred, ref, SPACING)[0]}


def test_every_column_is_described():
    assert every_column() == set(metrics.DEFINITIONS)
    units = {definition.unit for definition in metrics.DEFINITIONS.values()}
    assert units == {"", "mm", "mm2", "mm3", "percent", "voxels"}


def test_every_column_is_in_the_docs():
    text = DOCS.read_text()
    assert not [name for name in every_column() if f"`{name}`" not in text]
