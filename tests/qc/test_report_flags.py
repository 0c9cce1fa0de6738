"""Flags on masks made by hand: each kind alone, at its limit, in any orientation."""

import numpy as np
import pytest

from score_jax.imaging import Volume
from score_jax.qc.report_flags import KINDS, Limits, find_flags

SHAPE = (13, 15, 11)  # right to left, back to front, up: LAS
AFFINE = np.diag([-1.0, 1, 2, 1])


def cord(radius=3.0, at=(6, 7)):
    x, y, _ = np.meshgrid(*map(np.arange, SHAPE), indexing="ij")
    return np.hypot(x - at[0], y - at[1]) <= radius


def kinds(masks, **more):
    return [flag.kind for flag in find_flags(masks, AFFINE, **more)]


def text(masks, **more):
    (flag,) = find_flags(masks, AFFINE, **more)
    return flag.text


def test_a_good_one_has_none():
    lesion = cord(1.0)
    areas = np.full(11, 30.0)
    spread = {"cord": np.full(SHAPE, 0.1), "lesion": np.full(SHAPE, 0.1)}
    assert kinds({"cord": cord(), "lesion": lesion}, areas=areas, spread=spread) == []


def test_empty():
    nothing = np.zeros(SHAPE, bool)
    assert text({"sc": nothing, "lesion": nothing}) == "no sc found"
    assert kinds({"cord": cord(), "lesion": nothing}) == []  # no lesion is no fault
    assert text({"gm": nothing, "wm": nothing}) == "nothing found"
    assert kinds({"gm": nothing, "wm": cord()}) == []


@pytest.mark.parametrize("axcodes", ["RPS", "SAL", "ILP"])
def test_gaps_are_sought_along_the_cord(axcodes):
    mask = cord()
    mask[:, :, 4] = False
    volume = Volume(mask, AFFINE).reoriented(axcodes)
    (flag,) = find_flags({"cord": np.asarray(volume.data)}, volume.affine)
    assert flag.text == "1 axial slices without cord between its ends"


def test_broken():
    mask = cord()
    mask[:, :, 4:6] = False
    assert text({"cord": mask}) == "2 axial slices without cord between its ends"
    mask = cord()
    mask[1:3, 1:3, 2:8] = True  # 24 voxels apart
    share = 24 / mask.sum()
    assert text({"cord": mask}) == f"cord in 2 pieces, {share:.0%} outside the largest"
    assert kinds({"cord": mask}, limits=Limits(pieces=share + 1e-9)) == []


def test_jump():
    areas = np.array([np.nan, 10, 50, 50, 50, 70, 70, 50, 50, 5, np.nan])
    assert kinds({"cord": cord()}, areas=areas) == ["jump"]  # 20 of a median of 50
    assert text({"cord": cord()}, areas=areas) == "area 50 to 70 mm2 from slice 4 to 5"
    assert kinds({"cord": cord()}, areas=areas, limits=Limits(jump=0.4)) == []
    areas[4:7] = np.nan  # slices that are not neighbours are not compared
    areas[7:9] = 90
    assert kinds({"cord": cord()}, areas=areas) == []
    assert kinds({"cord": cord()}, areas=np.full(11, np.nan)) == []


def test_disagreement():
    deviation = np.zeros(SHAPE)
    deviation[cord()] = 0.2
    assert text({"cord": cord()}, spread={"cord": deviation}).startswith(
        "cord: networks differ by 0.20"
    )
    assert kinds({"cord": cord()}, spread={"cord": deviation * 0.7}) == []
    assert kinds({"cord": cord(), "lesion": cord() & False}, spread={"lesion": deviation}) == []


def test_outside():
    lesion = np.zeros(SHAPE, bool)
    lesion[2:6, 7, 5] = True  # one of four outside: the cord begins at 3
    assert text({"cord": cord(), "lesion": lesion}) == "25% of the lesions (2 mm3) outside the cord"
    assert kinds({"cord": cord(), "lesion": lesion}, limits=Limits(outside=0.25)) == []


@pytest.mark.parametrize(("at", "side"), [((2, 7), "right"), ((10, 7), "left"), ((6, 2), "back")])
@pytest.mark.parametrize("axcodes", ["LAS", "RAS", "PSR", "ILA"])
def test_border_by_anatomy(at, side, axcodes):
    volume = Volume(cord(at=at), AFFINE).reoriented(axcodes)
    (flag,) = find_flags({"cord": np.asarray(volume.data)}, volume.affine)
    assert (flag.kind, flag.text) == ("border", f"cord reaches the image's {side} border")


def test_the_order_is_that_of_gravity():
    mask = cord(at=(2, 2))
    mask[:, :, 5] = False
    lesion = np.roll(mask, 6, axis=0)
    found = kinds({"cord": mask, "lesion": lesion}, spread={"cord": np.ones(SHAPE)})
    assert found[:4] == ["broken", "disagreement", "outside", "border"]
    assert found == sorted(found, key=KINDS.index)
