"""The page computes what Python computes: each function beside its model, numbers side by side."""

from dataclasses import asdict

import numpy as np
import pytest
from scipy import interpolate, ndimage

from score_jax import morphometry
from score_jax.arrays import cleaning, grid, intensity, regions, resampling
from score_jax.arrays.regions import Region
from score_jax.config import Preprocessing
from score_jax.imaging import axcodes_of, bids, reorientation
from score_jax.inference import cropping
from score_jax.morphometry import centerline
from score_jax.planning.preprocess import prepare
from tests.morphometry.scans import every_orientation, tube

from .conftest import line, volume

NESTED = (Region("cord", (1, 2), 1), Region("gm", (2,), 2))
PLAIN = [{"name": r.name, "labels": list(r.labels), "value": r.value} for r in NESTED]


def test_rounding_and_tiles(ask):
    halves = [-1.5, -0.5, 0.5, 1.5, 2.5, 2.4999, 7.0]
    cases = [(10, 4, 0.5), (4, 4, 0.5), (97, 32, 0.5), (65, 64, 0.5), (33, 8, 1.0)]
    found = ask(*(["roundEven", h] for h in halves), *(["tileStarts", *c] for c in cases))
    assert found[: len(halves)] == [round(h) for h in halves]
    assert found[len(halves) :] == [grid.tile_starts(*c) for c in cases]


def test_gaussian_window(ask):
    tiles = [(8,), (9, 12), (4, 6, 5), (3, 40, 8)]
    for tile, found in zip(tiles, ask(*(["gaussianWindow", t] for t in tiles)), strict=True):
        np.testing.assert_allclose(
            found.reshape(tile), grid.gaussian_window(tile), rtol=3e-7, atol=0
        )


def test_splines_are_scipys(ask):
    pairs = [(9, 14), (14, 9), (1, 4), (2, 7), (30, 60), (60, 31), (5, 5)]
    cases = [(old, new, order) for old, new in pairs for order in (1, 3)]
    for case, rows in zip(cases, ask(*(["splineMatrix", *c] for c in cases)), strict=True):
        matrix = np.zeros((case[1], case[0]))
        for number, row in enumerate(rows):
            matrix[number, row["first"] : row["first"] + len(row["weights"])] = row["weights"]
        np.testing.assert_allclose(
            matrix, resampling.spline_matrix(*case).toarray(), atol=2e-9, err_msg=str(case)
        )


@pytest.mark.parametrize("order", [1, 3])
def test_resampling(ask, rng, order):
    image = rng.normal(size=(7, 9, 5)).astype(np.float32)
    cases = [((9, 5, 5), None), ((5, 12, 11), 2), ((14, 9, 3), 0), ((7, 9, 5), None)]
    asked = [["resample", volume(image), shape, order, axis] for shape, axis in cases]
    for (shape, axis), found in zip(cases, ask(*asked), strict=True):
        want = resampling.resample(image, shape, order=order, separate=axis)
        np.testing.assert_allclose(found, want, atol=5e-7)


def test_shapes_and_axes(ask):
    spacings = [(0.5, 0.5, 3.3), (1, 1, 3), (1, 1, 1), (4, 4, 1), (0.7, 1.2, 1)]
    target = (1, 0.9, 1)
    found = ask(
        *(["resampledShape", (10, 11, 12), s, target] for s in spacings),
        *(["coarseAxis", s, target] for s in spacings),
    )
    count = len(spacings)
    assert found[:count] == [
        list(resampling.resampled_shape((10, 11, 12), s, target)) for s in spacings
    ]
    assert found[count:] == [resampling.coarse_axis(s, target) for s in spacings]


def test_intensities(ask, rng):
    image = (50 + 20 * rng.normal(size=(5, 6, 7))).astype(np.float32)
    mask = rng.random((5, 6, 7)) < 0.4
    statistics = [48.0, 18.0, 20.0, 90.0]
    wide, inside, unit, clipped, high = ask(
        ["zscore", line(image), None],
        ["zscore", line(image), line(mask)],
        ["rescale", line(image)],
        ["ct", line(image), statistics],
        ["highpass", volume(image), (1.0, 0.5, 2.0), 1.6],
    )
    np.testing.assert_allclose(wide, intensity.zscore(image).ravel(), atol=1e-6)
    np.testing.assert_allclose(inside, intensity.zscore(image, mask).ravel(), atol=2e-6)
    np.testing.assert_allclose(unit, intensity.rescale(image).ravel(), atol=1e-7)
    np.testing.assert_allclose(clipped, intensity.ct(image, statistics).ravel(), atol=1e-6)
    want = intensity.highpass(image, (1.0, 0.5, 2.0), 1.6)
    np.testing.assert_allclose(high, want.ravel(), atol=2e-5)


def test_a_constant_image_is_zeros(ask):
    flat = np.full(8, 3.5, np.float32)
    for found in ask(["zscore", line(flat), None], ["rescale", line(flat)]):
        np.testing.assert_array_equal(found, 0)


RULES = {
    "turned, anisotropic": Preprocessing(transpose=(2, 0, 1), spacing_mm=(3.0, 0.8, 0.7)),
    "cropped, masked": Preprocessing(
        spacing_mm=(1.0, 0.0, 0.9), crop_nonzero=True, mask_normalization=True
    ),
    "high-passed": Preprocessing(
        spacing_mm=(0.9, 1.0, 1.0), highpass_sigma_mm=2.0, normalization=("zscore", "rescale"),
        order=1,
    ),
    "as it is": Preprocessing(normalization=("none",)),
}  # fmt: skip


@pytest.mark.parametrize("rules", RULES.values(), ids=RULES)
@pytest.mark.parametrize("within", [None, ((2, 9), (1, 8), (0, 6))])
def test_preparing_and_the_way_back(ask, rng, rules, within):
    image = rng.normal(5, 1, (11, 10, 8)).astype(np.float32)
    image[:2] = image[:, 8:] = 0
    image[5, 5, 4] = 0  # a hole, not outside
    spacing = (0.8, 1.1, 1.0)
    boxes = None if within is None else tuple(slice(*side) for side in within)
    want = prepare(image[..., None], spacing, rules, within=boxes)
    (found,) = ask(["prepare", [volume(image)], spacing, asdict(rules), within])
    assert found["box"] == [[side.start, side.stop] for side in want.box]
    assert found["fullShape"] == list(want.full_shape)
    for number, channel in enumerate(found["channels"]):
        np.testing.assert_allclose(channel, want.image[..., number], atol=5e-6)
    logits = rng.normal(size=want.image.shape[:3]).astype(np.float32)
    found["channels"] = []
    (back,) = ask(["resampleBack", found, volume(logits)])
    np.testing.assert_allclose(back, want.resample_back(logits), atol=1e-6)
    (whole,) = ask(["uncrop", found, volume(back)])
    np.testing.assert_allclose(whole, want.restore(logits, outside=0), atol=1e-6)


@pytest.mark.parametrize("exclusive", [False, True])
def test_regions(ask, rng, exclusive):
    logits = rng.normal(size=(6, 5, 4, 3 if exclusive else 2)).astype(np.float32)
    want = regions.masks_from_logits(logits, NESTED, exclusive=exclusive)
    channels = [line(c) for c in np.moveaxis(logits, -1, 0)]
    (masks,) = ask(["masksFromLogits", channels, PLAIN, exclusive])
    np.testing.assert_array_equal(np.stack(masks, -1).reshape(want.shape), want)
    (labels,) = ask(["labelsFromMasks", [line(m) for m in masks], PLAIN])
    np.testing.assert_array_equal(labels, regions.labels_from_masks(want, NESTED).ravel())


RULE_SETS = {
    "none": (),
    "largest": (cleaning.Rule(kind="largest", regions=("cord",)),),
    "largest of the inner": (cleaning.Rule(kind="largest", regions=("gm",)),),
    "small ones": (
        cleaning.Rule(kind="min_size", regions=("gm",), min_mm3=1.0),
        cleaning.Rule(kind="largest", regions=("cord", "gm")),
    ),
}


@pytest.mark.parametrize("rules", RULE_SETS.values(), ids=RULE_SETS)
def test_cleaning(ask, rng, rules):
    masks = rng.random((9, 8, 7, 2)) < [0.12, 0.06]
    want = cleaning.clean(masks, NESTED, rules, 0.5)
    plain = [{"kind": r.kind, "regions": list(r.regions), "min_mm3": r.min_mm3} for r in rules]
    channels = [line(c) for c in np.moveaxis(masks, -1, 0)]
    (found,) = ask(["clean", channels, (9, 8, 7), PLAIN, plain, 0.5])
    np.testing.assert_array_equal(np.stack(found, -1).reshape(want.shape), want)


def test_holes(ask, rng):
    mask = rng.random((7, 8, 9)) < 0.55
    (found,) = ask(["fillHoles", volume(mask)])
    np.testing.assert_array_equal(found, ndimage.binary_fill_holes(mask))
    assert found.sum() > mask.sum()


def test_every_orientation(ask):
    oblique = np.eye(4)
    oblique[:3, :3] = np.linalg.qr(np.random.default_rng(2).normal(size=(3, 3)))[0]
    affines = []
    for axes, flips in every_orientation():
        matrix = np.zeros((4, 4))
        matrix[3, 3] = 1
        for column, (axis, sign) in enumerate(zip(axes, flips, strict=True)):
            matrix[axis, column] = sign * (0.5, 0.8, 3.0)[column]
        tilted = matrix.copy()
        turn = np.deg2rad(35)
        tilted[:2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]] @ matrix[:2]
        affines += [matrix, tilted]
    affines.append(oblique)
    found = ask(*(["axcodesOf", a.tolist()] for a in affines))
    assert found == [axcodes_of(a) for a in affines]
    assert len(set(found)) == 48
    for affine, turned in zip(
        affines, ask(*(["reorientation", a.tolist(), "LAS"] for a in affines)), strict=True
    ):
        want = reorientation(affine, "LAS")
        assert (turned["axes"], turned["flips"]) == (list(want.axes), list(want.flips))


def test_smoothing_splines_are_fitpacks(ask, rng):
    z = [float(v) for v in range(3, 60) if v not in (20, 21, 40)]
    lines = [
        (z, 8 + 3 * np.sin(np.array(z) / 9) + 0.4 * rng.normal(size=len(z)), 3, s)
        for s in (0.5, 3.0, 12.0, 1e3, 1e-3)
    ]
    lines += [(z[:3], np.array([1.0, 4.0, 2.0]), 1, 1.0), (z[:4], np.array([1.0, 4, 2, 5]), 3, 0.1)]
    at = np.linspace(-5, 70, 40)
    asked = [["splineAt", x, y.tolist(), k, s, at.tolist()] for x, y, k, s in lines]
    for (x, y, k, s), found in zip(lines, ask(*asked), strict=True):
        want = interpolate.splev(at, interpolate.splrep(x, y, k=k, s=s), der=1)
        np.testing.assert_allclose(found, want, rtol=1e-6, atol=1e-8, err_msg=f"{k=} {s=}")


@pytest.mark.parametrize("number", [0, 19, 38])
def test_measures_are_those_of_areas(ask, number):
    """Volume, length, area and angles of a leaning cord and its core, however it is stored."""
    spacing = np.array([0.6, 0.8, 1.5])
    cord = tube((40, 44, 18), (19, 20.5), (7, 5.2), (0.35, 0.5))
    core = tube((40, 44, 18), (19, 20.5), (3, 2.2), (0.35, 0.5)) & cord
    for z in range(18):  # a bend that smoothing flattens
        for mask in (cord, core):
            mask[:, :, z] = np.roll(mask[:, :, z], round(3 * np.sin(z / 2)), axis=0)
    cord[:, :, 7] = core[:, :, 7] = False  # a gap
    axes, flips = every_orientation()[number]
    affine = np.zeros((4, 4))
    affine[3, 3] = 1
    for column, (axis, flip) in enumerate(zip(axes, flips, strict=True)):
        affine[axis, column] = flip * (-1 if axis == 0 else 1) * spacing[axis]

    def stored(mask):
        return mask.transpose(axes)[tuple(slice(None, None, f) for f in flips)]

    masks = {"cord": stored(cord), "gm": stored(core)}
    asked = [{"name": name, "mask": volume(mask)} for name, mask in masks.items()]
    (found,) = ask(["measure", asked, affine.tolist(), volume(masks["cord"])])
    for measured, mask in zip(found, masks.values(), strict=True):
        table = morphometry.cord_shape(mask, affine, centerline=masks["cord"])
        rows = [row for row in table if np.isfinite(row["MEAN(area)"])]
        assert [row["slice"] for row in measured["slices"]] == [r["slice_IS_RPI"] for r in rows]
        for ours, theirs in (
            ("area", "MEAN(area)"), ("length", "SUM(length)"),
            ("angleAp", "MEAN(angle_AP)"), ("angleRl", "MEAN(angle_RL)"),
        ):  # fmt: skip
            np.testing.assert_allclose(
                [row[ours] for row in measured["slices"]], [r[theirs] for r in rows], rtol=1e-6
            )
        whole = morphometry.cord_shape(mask, affine, centerline=masks["cord"], per="all")[0]
        np.testing.assert_allclose(measured["length"], whole["SUM(length)"], rtol=1e-9)
        np.testing.assert_allclose(measured["meanArea"], whole["MEAN(area)"], rtol=1e-6)
        assert measured["volume"] == pytest.approx(mask.sum() * spacing.prod())


def test_empty_and_short_masks(ask):
    empty = np.zeros((5, 6, 7), bool)
    one = empty.copy()
    one[1:4, 2:5, 3] = True
    affine = np.diag([-1.0, 1, 2, 1]).tolist()
    (found,) = ask(
        ["measure", [{"name": "a", "mask": volume(empty)}, {"name": "b", "mask": volume(one)}],
         affine, None]
    )  # fmt: skip
    assert found[0] == {"name": "a", "volume": 0, "length": "NaN", "meanArea": "NaN", "slices": []}
    want = morphometry.cord_shape(one, np.array(affine))[3]
    assert found[1]["slices"][0]["area"] == pytest.approx(want["MEAN(area)"])
    assert found[1]["length"] == pytest.approx(2.0)
    tilt = centerline.tilt(one, (1.0, 1.0, 2.0))
    assert not tilt.slope_x.any()


def test_tables(ask):
    row = {"slice": 4, "area": 1.5, "length": 2.0, "angleAp": 0.0, "angleRl": "NaN"}
    measures = [{"name": "co\trd", "volume": 2.5, "length": 2, "meanArea": 1.5, "slices": [row]}]
    slices, summary = ask(["slicesTsv", measures], ["summaryTsv", measures])
    head = "region\tslice_IS_RPI\tMEAN(area)\tMEAN(angle_AP)\tMEAN(angle_RL)\tSUM(length)\n"
    assert slices == head + "co rd\t4\t1.5\t0\tn/a\t2\n"
    assert summary == "region\tvolume_mm3\tlength_mm\tmean_area_mm2\nco rd\t2.5\t2\t1.5\n"


def test_names(ask):
    names = ["sub-01_ses-02_acq-sag_T2w.nii.gz", "sub-01_T2w.nii", "scan.nii.gz", "sub-01.nii.gz"]
    found = ask(
        *(["derivative", n, "mask", "cord"] for n in names), ["derivative", names[1], "dseg"]
    )
    assert found[:4] == [bids.derivative(n, "mask", label="cord") for n in names]
    assert found[4] == bids.derivative(names[1], "dseg")
    masks = [
        "a_label-cord_mask.nii.gz",
        "sub-1_T2w_seg-manual.nii.gz",
        "a_dseg.nii",
        "T2w_gmseg.nii",
    ]
    assert all(ask(*(["looksLikeMask", n] for n in masks)))
    assert not any(ask(*(["looksLikeMask", n] for n in names)))


def test_following_the_cord(ask, rng):
    image = np.zeros((20, 26, 50), np.float32)
    for z in range(50):
        image[8:12, 5 + z // 4 : 9 + z // 4, z] = 1
    image[0, 0, 0] = 1  # a speck
    looks = []

    def find(tile):
        looks.append(tile)
        return tile[..., 0] > 0.5

    want = cropping.follow(find, image[..., None], (8, 16, 12), 20)
    (found,) = ask(["follow", 0.5, [volume(image)], (8, 16, 12), 20])
    np.testing.assert_array_equal(found["mask"], want)
    assert found["looks"] == len(looks)
    spec = Preprocessing(transpose=(1, 2, 0), spacing_mm=(2.0, 2.0, 1.6))
    coarse = prepare(image[..., None], (0.8, 1.0, 0.9), spec)
    mask = coarse.image[..., 0] > 1
    box = cropping.box_around(mask, coarse, 3.0, (16.0, 24.0, 0.0), 0.5)
    plain = {
        "channels": [], "spacing": coarse.spacing, "fullShape": coarse.full_shape,
        "box": [[s.start, s.stop] for s in coarse.box], "fullSpacing": coarse.full_spacing,
        "transpose": coarse.transpose,
    }  # fmt: skip
    sides = [[s.start, s.stop] for s in box]
    assert ask(["boxAround", volume(mask), plain, 3.0, (16.0, 24.0, 0.0), 0.5]) == [sides]
    whole = want | False
    asked = [[[2, 15], [4, 12], [3, 30]], [[2, 15], [2, 24], [0, 50]], [[0, 3], [20, 25], [1, 9]]]
    wider = [cropping.widened(tuple(slice(*s) for s in sides), whole) for sides in asked]
    assert ask(*(["widened", sides, volume(whole)] for sides in asked)) == [
        None if w is None else [[s.start, s.stop] for s in w] for w in wider
    ]
