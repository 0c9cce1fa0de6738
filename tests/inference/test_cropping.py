"""The coarse look, the crop and what becomes of it: with a network whose answer is known."""

import json

import nibabel as nib
import numpy as np
import pytest

import score_jax as sj
from score_jax.arrays.regions import Region
from score_jax.config import ModelSpec, Preprocessing
from score_jax.errors import ConfigError
from score_jax.imaging import Volume
from score_jax.inference import Ensemble, Predictor, cropping
from score_jax.planning.preprocess import prepare

REGIONS = (Region("cord", (1, 2), 1), Region("lesion", (2,), 2))


class Bright:
    """A network that finds the bright voxels, and the brightest; it counts its tiles."""

    def __init__(self, limits=(2.0, 6.0)):
        self.limits, self.tiles = np.array(limits, np.float32), 0

    def __call__(self, tiles):
        self.tiles += len(tiles)
        return (tiles - self.limits).astype(np.float32)


def model(network, *, tile=(12, 10, 8), regions=REGIONS, **changes):
    spec = ModelSpec(
        kind="unet",
        options={},
        in_channels=1,
        channel_names=("T2w",),
        regions=regions,
        preprocessing=Preprocessing(
            axcodes="RAS", spacing_mm=(1.0, 1.0, 1.0), normalization=("none",), order=1
        ),
        tile=tile,
        **changes,
    )
    return Predictor(spec, [{}], "bright", runtime=network)


def image(shape=(60, 50, 44), middle=(30, 28)):
    """A cord 6 x 8 voxels wide all along the last axis, with a lesion in it."""
    data = np.zeros(shape, np.float32)
    x, y = middle
    data[x - 3 : x + 3, y - 4 : y + 4] = 4
    data[x - 1 : x + 1, y - 1 : y + 1, 15:19] = 8
    data += np.random.default_rng(0).normal(scale=0.1, size=shape).astype(np.float32)
    return data


def volume(data, spacing=(1.0, 1.0, 1.0)):
    return Volume(data, np.diag([*spacing, 1.0]))


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (1.5, 0.8, 1.2)])
def test_the_crop_gives_what_the_whole_gives_with_fewer_tiles(spacing):
    whole, part = Bright(), Bright()
    scan = volume(image(), spacing)
    want = model(whole).predict(scan)
    found = model(part).predict(scan, crop=5)
    for region in ("cord", "lesion"):
        a, b = want.masks[region], found.masks[region]
        assert 2 * (a & b).sum() / (a.sum() + b.sum()) > (0.999 if spacing[0] == 1 else 0.97)
    assert part.tiles < whole.tiles / 3
    assert found.crop.note == "cropped to the cord"
    x, y, z = found.crop.box
    assert x.start <= 27 - 5 / spacing[0]  # the margin is kept
    assert x.stop >= 33 + 5 / spacing[0]
    assert y.stop - y.start < 50
    assert z == slice(0, 44)
    assert found.seconds["locate"] > 0
    assert want.crop.box is None
    assert "locate" not in want.seconds


def test_the_cord_is_followed_from_the_middle():
    seen = []

    def find(tile):
        seen.append(1)
        return tile[..., 0] > 2

    data = image((60, 60, 60), (30, 28))
    mask = cropping.follow(find, data[..., None], (20, 20, 20), 100)
    np.testing.assert_array_equal(mask, data > 2)
    assert len(seen) == 3 * 1  # 27 tiles: the middle one, and up and down from it
    seen.clear()
    mask = cropping.follow(find, image((60, 60, 60), (7, 50))[..., None], (20, 20, 20), 100)
    assert mask.any()
    assert len(seen) < 27
    assert cropping.follow(find, np.zeros((30, 30, 30, 1), np.float32), (20, 20, 20), 1) is None
    speck = np.zeros((30, 30, 30, 1), np.float32)
    speck[3:5, 3, 3] = 9
    assert cropping.follow(find, speck, (20, 20, 20), 3) is None
    assert cropping.follow(find, speck, (20, 20, 20), 2).sum() == 2


def test_a_cord_that_the_coarse_look_missed_in_part_widens_the_crop():
    data = image()
    data[33:57, 26:30, 20:24] = 4  # an arm of the cord ...
    scan, network = volume(data), model(Bright())
    # ... that begins where the crop of a hand-made box ends
    start = cropping.Crop((slice(20, 40), slice(18, 40), slice(0, 44)), 5.0, "cropped to the cord")
    found = network.predict(scan, crop=start)
    assert found.crop.box == (slice(20, 60), slice(18, 40), slice(0, 44))
    assert cropping.WIDER in found.crop.note
    np.testing.assert_array_equal(found.masks["cord"], network.predict(scan).masks["cord"])


@pytest.mark.parametrize(
    ("data", "regions", "note"),
    [
        (np.eye(60, 50)[..., None] * np.ones(44), REGIONS, "no cord was found"),
        (image(), (Region("lesion", (1,), 1),), "none of the model's regions is the cord (lesion)"),
    ],
)
def test_the_whole_image_where_there_is_no_cord_to_be_found(data, regions, note):
    network = Bright((2.0,) * len(regions))
    found = model(network, regions=regions).predict(volume(data.astype(np.float32)), crop=5)
    assert found.crop.box is None
    assert note in found.crop.note
    want = model(Bright((2.0,) * len(regions)), regions=regions)
    want = want.predict(volume(data.astype(np.float32)))
    np.testing.assert_array_equal(found.labels, want.labels)


def test_boxes_that_are_too_small_by_hand():
    mask = np.zeros((20, 30, 10), bool)
    box = (slice(4, 12), slice(5, 15), slice(0, 8))
    assert cropping.widened(box, mask) is None
    mask[6, 5:8, 0:3] = True  # at the box's edge in front, and at the image's below
    mask[11, 14, 5] = True  # a speck
    assert cropping.widened(box, mask) == (slice(4, 12), slice(0, 15), slice(0, 8))
    mask[6, 6, 3:8] = True  # and to the upper edge
    assert cropping.widened(box, mask) == (slice(4, 12), slice(0, 15), slice(0, 10))
    assert cropping.widened((slice(4, 12), slice(0, 15), slice(0, 10)), mask) == (
        slice(4, 12), slice(0, 15), slice(0, 10)
    )  # fmt: skip
    mask[4:12, 6, 6] = True  # to the left and to the right: little would be left out
    assert cropping.widened((slice(4, 12), slice(0, 16), slice(0, 10)), mask) is None


def test_nothing_in_the_crop_is_nothing_certain():
    scan = volume(image())
    empty = cropping.Crop((slice(0, 12), slice(0, 10), slice(0, 20)), 5.0, "cropped to the cord")
    found = model(Bright()).predict(scan, crop=empty)
    assert found.crop.note == f"whole image: {cropping.NOTHING}"
    assert found.masks["cord"].any()


def test_auto_crops_only_where_it_pays(monkeypatch):
    scan = volume(image())
    found = model(Bright()).predict(scan, crop="auto")
    assert "would save little (" in found.crop.note
    monkeypatch.setattr(cropping, "WORTH_VOXELS", 0)
    found = model(Bright()).predict(scan, crop="auto")
    assert found.crop.margin_mm == cropping.MARGIN_MM
    assert found.crop.box is not None
    assert (
        "would save little"
        in model(Bright(), tile=(60, 48, 44)).predict(scan, crop="auto").crop.note
    )


@pytest.mark.parametrize("crop", ["always", "-3", -1.0, "nan", float("inf")])
def test_crops_that_mean_nothing_are_refused(crop):
    with pytest.raises(ConfigError, match="expected auto, none or a margin in mm"):
        model(Bright()).predict(volume(image()), crop=crop)


def test_slices_of_a_2d_network():
    whole, part = Bright(), Bright()
    scan = volume(image((60, 50, 12)), (1, 1, 3))
    settings = {"tile": (16, 12), "slice_axis": 2}
    want = model(whole, **settings).predict(scan)
    found = model(part, **settings).predict(scan, crop=3)
    np.testing.assert_array_equal(found.masks["cord"], want.masks["cord"])
    assert part.tiles < whole.tiles / 2
    assert found.crop.box[2] == slice(0, 12)


@pytest.mark.parametrize("codes", ["RAS", "LPI", "SAR", "PIL"])
def test_the_box_is_that_of_the_stored_image(tmp_path, codes):
    data = image(middle=(20, 12))
    turn = nib.orientations.ornt_transform(
        nib.orientations.io_orientation(np.eye(4)), nib.orientations.axcodes2ornt(codes)
    )
    stored = nib.Nifti1Image(data, np.eye(4)).as_reoriented(turn)
    nib.save(stored, tmp_path / "scan.nii.gz")
    (done,) = sj.predict(tmp_path / "scan.nii.gz", model(Bright()), out=tmp_path, crop=5)
    mask = np.asarray(nib.load(done.outputs["cord"]).dataobj) > 0
    np.testing.assert_array_equal(mask, np.asarray(stored.dataobj) > 2)
    sidecar = json.loads((tmp_path / "scan_label-cord_mask.json").read_text())
    assert sidecar["Crop"]["MarginMM"] == 5
    assert sidecar["Crop"]["Note"] == "cropped to the cord"
    box = tuple(slice(low, high + 1) for low, high in sidecar["Crop"]["Voxels"])
    assert mask.sum() == mask[box].sum() > 0
    assert mask[box].size < mask.size / 2


def test_boxes_by_hand():
    coarse = prepare(
        np.zeros((60, 50, 44, 1), np.float32),
        (1.0, 1.0, 2.0),
        Preprocessing(spacing_mm=(2, 2, 2), transpose=(2, 0, 1)),
    )
    mask = np.zeros((44, 30, 25), bool)
    mask[10:12, 15:18, 0] = True  # z, x, y: voxels 10 to 12, 30 to 36, 0 to 2
    tight = cropping.box_around(mask, coarse, 4.0, (0, 0, 0), 0.5)
    assert tight == (slice(26, 40), slice(0, 6), slice(8, 14))
    # 14 voxels need two tiles of 12 with a step of 6: they see 18; 6 voxels one; 6 x 2 mm one of 16
    free = cropping.box_around(mask, coarse, 4.0, (16, 12, 10), 0.5)
    assert free == (slice(24, 42), slice(0, 10), slice(7, 15))


def test_the_cord_by_its_names():
    names = ("cord", "SC", "spinal_cord", "Spinal cord")
    assert all(cropping.cord_region([Region(name, (1,), 1)]) == name for name in names)
    assert cropping.cord_region([Region("discord", (1,), 1)]) is None


def test_several_models_see_the_same_crop():
    scan = volume(image())
    pair = Ensemble([model(Bright()), model(Bright((3.0, 6.0)))])
    found = pair.predict(scan, crop=5)
    assert found.crop.box == pair.models[0].predict(scan, crop=5).crop.box
    assert found.masks["cord"].any()
    whole = pair.predict(scan)
    np.testing.assert_array_equal(found.labels, whole.labels)


def test_other_values_of_the_image_do_not_change_those_of_the_crop(rng):
    data = rng.normal(5, 3, (20, 18, 16, 2)).astype(np.float32)
    box = (slice(4, 14), slice(3, 12), slice(0, 16))
    rules = Preprocessing(transpose=(1, 2, 0), normalization=("zscore", "rescale"))
    whole, part = prepare(data, (1, 1, 1), rules), prepare(data, (1, 1, 1), rules, within=box)
    want = whole.image[3:12, 0:16, 4:14]
    np.testing.assert_array_equal(part.image, want)
    np.testing.assert_allclose(whole.image[..., 0].mean(), 0, atol=1e-5)
    back = part.restore(part.image[..., 0], outside=7)
    np.testing.assert_array_equal(back[box], part.image[..., 0].transpose(2, 0, 1))
    assert (np.delete(back, range(4, 14), axis=0) == 7).all()
