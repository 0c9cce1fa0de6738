"""Measures of bricks in square cords, counted by hand."""

import math

import numpy as np
import pytest

from score_jax.errors import GeometryError, ImageError
from score_jax.morphometry import Atlas, lesions

from .scans import affine, brick

SHAPE = (9, 11, 8)
SPACING = (0.5, 2.0, 3.0)
CORD = brick(SHAPE, (2, 7), (3, 9), (0, 8))  # 5 x 6 voxels, upright, middle at x = 4
LESION = brick(SHAPE, (3, 6), (5, 7), (2, 5))  # 3 x 2 x 3 voxels
NAN = float("nan")


def measure(lesion=LESION, cord=CORD, image=None, **options):
    return lesions(lesion, cord, image, affine(SPACING), **options)


def test_an_upright_brick():
    row = measure()[0]
    assert row == pytest.approx(
        {
            "label": 1,
            "volume [mm3]": 18 * 3.0,
            "length [mm]": 3 * 3.0,
            "width [mm]": 2 * 2.0,
            "max_equivalent_diameter [mm]": 2 * math.sqrt(6 * 1.0 / math.pi),
            "max_axial_damage_ratio []": 6 / 30,
            "interpolated_midsagittal_slice": 4.0,
            "length_interpolated_midsagittal_slice [mm]": 9.0,
            "width_interpolated_midsagittal_slice [mm]": 4.0,
            "interpolated_dorsal_bridge_width [mm]": 2 * 2.0,  # y = 3, 4
            "interpolated_ventral_bridge_width [mm]": 2 * 2.0,  # y = 7, 8
            "interpolated_total_bridge_width [mm]": 8.0,
            "dorsal_bridge_ratio [%]": 50.0,
            "ventral_bridge_ratio [%]": 50.0,
            **{
                f"slice_{x}_{side}_bridge_width [mm]": width
                for x in (3, 4, 5)
                for side, width in (("dorsal", 4.0), ("ventral", 4.0), ("total", 8.0))
            },
        }
    )


def test_a_tilted_cord_uses_two_cosines():
    # the cord moves 1 voxel (2 mm) to the front and 1 voxel (0.5 mm) to the left each slice of 3 mm
    shape = (20, 20, 9)
    cord, lesion = np.zeros(shape, bool), np.zeros(shape, bool)
    for z in range(9):
        cord[3 + z : 8 + z, 2 + z : 9 + z, z] = True
        if 3 <= z < 6:
            lesion[4 + z : 7 + z, 4 + z : 6 + z, z] = True
    row = lesions(lesion, cord, affine=affine(SPACING))[0]
    cos_sagittal = 3 / math.hypot(2, 3)
    cos_3d = 3 / math.sqrt(0.5**2 + 2**2 + 3**2)
    assert row["volume [mm3]"] == pytest.approx(18 * 3.0)  # no correction
    assert row["length [mm]"] == pytest.approx(9 / cos_3d)
    assert row["width [mm]"] == pytest.approx(4 * cos_sagittal)
    diameter = 2 * math.sqrt(6 * 1.0 * cos_3d / math.pi)
    assert row["max_equivalent_diameter [mm]"] == pytest.approx(diameter)
    assert row["max_axial_damage_ratio []"] == pytest.approx(6 / 35)
    assert row["interpolated_dorsal_bridge_width [mm]"] == pytest.approx(4 * cos_sagittal)
    assert row["interpolated_ventral_bridge_width [mm]"] == pytest.approx(6 * cos_sagittal)


def test_the_plane_between_two_slices_is_interpolated():
    cord = brick(SHAPE, (2, 8), (3, 9), (0, 8))  # 6 wide: the middle is at 4.5
    lesion = brick(SHAPE, (3, 5), (5, 7), (2, 5)) | brick(SHAPE, (5, 6), (4, 7), (2, 4))
    row = measure(lesion, cord)[0]
    assert row["interpolated_midsagittal_slice"] == 4.5
    # z = 2, 3: on both slices (2 and 3 voxels); z = 4: on the first alone, which counts half
    assert row["length_interpolated_midsagittal_slice [mm]"] == pytest.approx(
        3.0 * ((1 + 1 + 0.5) / 3 + (1 + 1 + 0.5) / 3 + 0.5)
    )
    assert row["width_interpolated_midsagittal_slice [mm]"] == pytest.approx(2.5 * 2.0)
    # dorsal: (2 + 1) / 2 where both have it, 2 where one has it alone
    assert row["interpolated_dorsal_bridge_width [mm]"] == pytest.approx(1.5 * 2.0)
    assert row["interpolated_ventral_bridge_width [mm]"] == pytest.approx(2 * 2.0)


def test_minima_of_the_bridges_may_come_from_different_slices():
    lesion = brick(SHAPE, (4, 5), (4, 5), (2, 3)) | brick(SHAPE, (4, 5), (4, 8), (3, 4))
    lesion |= brick(SHAPE, (4, 5), (7, 8), (4, 5))
    row = measure(lesion)[0]
    assert row["interpolated_dorsal_bridge_width [mm]"] == 2.0
    assert row["interpolated_ventral_bridge_width [mm]"] == 2.0
    assert row["slice_4_total_bridge_width [mm]"] == 4.0


def test_a_lesion_beside_the_plane_halves_the_cord():
    lesion = brick(SHAPE, (6, 7), (4, 5), (2, 4))
    cord = CORD.copy()
    cord[4, 5, 3] = False  # a hole subtracts: the diameter is a count
    table = measure(lesion, cord)
    row = table[0]
    assert table.status[0].bridges == "parasagittal"
    # the hole moves the centre, and so the tilt, a little
    assert row["interpolated_total_bridge_width [mm]"] == pytest.approx(5 * 2.0, rel=1e-6)
    assert row["interpolated_dorsal_bridge_width [mm]"] == pytest.approx(5.0, rel=1e-6)
    assert row["dorsal_bridge_ratio [%]"] == 50.0
    assert row["length_interpolated_midsagittal_slice [mm]"] == 0
    assert row["slice_6_dorsal_bridge_width [mm]"] == pytest.approx(2.0, rel=1e-6)


def test_a_parasagittal_lesion_without_cord_on_the_plane_has_no_bridges():
    cord = CORD.copy()
    cord[4, :, 2:4] = False
    lesion = brick(SHAPE, (6, 7), (4, 5), (2, 4))
    table = measure(lesion, cord, midline=4.0)
    assert table.status[0].bridges == "none"
    for name in ("interpolated_total_bridge_width [mm]", "dorsal_bridge_ratio [%]"):
        assert math.isnan(table[0][name])


def test_a_lesion_through_the_whole_cord_has_bridges_and_ratios_of_zero():
    row = measure(CORD & brick(SHAPE, (0, 9), (0, 11), (3, 4)))[0]
    assert row["interpolated_total_bridge_width [mm]"] == 0
    assert row["dorsal_bridge_ratio [%]"] == row["ventral_bridge_ratio [%]"] == 0
    assert row["max_axial_damage_ratio []"] == 1


def test_gaps_add_nothing_to_the_length():
    lesion = np.zeros(SHAPE, bool)
    # joined outside the cord: one lesion, two pieces inside it
    lesion[3, 5, 1] = lesion[3, 5, 5] = True
    lesion[3, 5:10, 1] = lesion[3, 9, 1:6] = lesion[3, 5:10, 5] = True
    table = measure(lesion)
    assert len(table) == 1
    assert table[0]["length [mm]"] == 2 * 3.0
    assert table.status[0].outside_mm3 == 5 * 3.0
    assert table.labels.max() == 1
    assert table.labels[3, 9, 3] == 1  # the label map is not cut


def test_lesion_outside_the_cord_can_be_added_to_it():
    lesion = LESION | brick(SHAPE, (4, 5), (7, 10), (3, 4))  # one voxel beyond the front
    clipped, added = measure(lesion)[0], measure(lesion, outside="add")[0]
    assert clipped["volume [mm3]"] == 20 * 3.0
    assert added["volume [mm3]"] == 21 * 3.0
    assert clipped["interpolated_ventral_bridge_width [mm]"] == 0
    assert added["interpolated_ventral_bridge_width [mm]"] == 0
    assert clipped["max_axial_damage_ratio []"] == pytest.approx(8 / 30)
    assert added["max_axial_damage_ratio []"] == pytest.approx(9 / 31)


def test_numbers_stay_when_lesions_are_left_out():
    lesion = LESION | brick(SHAPE, (0, 1), (0, 1), (0, 1)) | brick(SHAPE, (6, 7), (8, 9), (7, 8))
    table = measure(lesion, min_volume_mm3=4)
    assert [row["label"] for row in table] == [2]
    assert table.warnings == (
        "lesion 1 is outside the cord; not measured",
        "lesion 3 is smaller than 4 mm3; not measured",
    )
    assert set(np.unique(table.labels)) == {0, 1, 2, 3}
    assert len(measure(lesion, min_volume_mm3=3)) == 2  # 3 mm3 are not less than 3


def test_several_are_left_out_in_one_sentence():
    lesion = brick(SHAPE, (0, 1), (0, 1), (0, 1)) | brick(SHAPE, (8, 9), (8, 9), (7, 8))
    assert "lesions 1, 3 are outside the cord; not measured" in measure(lesion | LESION).warnings[0]


def test_without_lesion_a_row_of_zeros():
    table = measure(np.zeros(SHAPE, bool), image=np.ones(SHAPE))
    row = table[0]
    assert table.empty
    assert table.warnings == ("no lesion found",)
    assert row["label"] == 0
    zeros = [n for n in row if row[n] == 0]
    assert zeros == [
        "label",
        "volume [mm3]",
        "length [mm]",
        "width [mm]",
        "max_equivalent_diameter [mm]",
        "max_axial_damage_ratio []",
        "length_interpolated_midsagittal_slice [mm]",
        "width_interpolated_midsagittal_slice [mm]",
    ]
    assert all(math.isnan(row[n]) for n in row if n not in zeros)
    assert table.slices == []
    assert not table.labels.any()


def test_nothing_at_all_is_a_row_of_zeros_too():
    empty = np.zeros(SHAPE, bool)
    for cord in (None, empty):
        table = measure(empty, cord)
        assert table[0]["volume [mm3]"] == 0
        assert "length_interpolated_midsagittal_slice [mm]" not in table[0]


def test_the_level_of_injury_sets_the_plane_with_and_without_lesion():
    cord = CORD.copy()
    cord[5:7, :, 6] = False  # there the middle is at x = 3
    assert measure(cord=cord, nli_slice=6)[0]["interpolated_midsagittal_slice"] == 3.0
    row = measure(np.zeros(SHAPE, bool), cord, nli_slice=6)[0]
    assert row["interpolated_midsagittal_slice"] == 3.0
    # upright in front-back direction: 6 voxels of 2 mm, half to either side
    assert row["interpolated_dorsal_bridge_width [mm]"] == 6.0
    assert math.isnan(row["volume [mm3]"])


def test_the_midline_can_be_given():
    row = measure(midline=3.25)[0]
    assert row["interpolated_midsagittal_slice"] == 3.25
    stored = lesions(LESION[::-1], CORD[::-1], affine=affine(SPACING) @ np.diag([-1, 1, 1, 1.0]),
                     midline=8 - 3.25)[0]  # fmt: skip
    assert stored["interpolated_midsagittal_slice"] == 4.75
    assert stored["length_interpolated_midsagittal_slice [mm]"] == pytest.approx(
        row["length_interpolated_midsagittal_slice [mm]"]
    )


def test_mean_and_sd_leave_out_zeros_and_what_is_not_finite():
    image = np.arange(math.prod(SHAPE), dtype=np.float32).reshape(SHAPE)
    image[3, 5, 2], image[4, 5, 2], image[5, 5, 2] = 0, np.nan, np.inf
    row = measure(image=image, image_name="t2")[0]
    values = image[LESION][np.isfinite(image[LESION]) & (image[LESION] != 0)].astype(float)
    assert row["mean_t2"] == pytest.approx(values.mean())
    assert row["std_t2"] == pytest.approx(values.std())
    blank = measure(image=np.zeros(SHAPE))[0]
    assert math.isnan(blank["mean_image"])
    assert math.isnan(blank["std_image"])


def test_a_soft_lesion_weighs_by_its_values():
    soft = LESION.astype(np.float32)
    soft[4:6] *= 0.75
    soft[2, 6, 3] = 0.25  # counts in volume and area, not in the extents
    table = measure(soft, soft=True)
    row = table[0]
    assert table.warnings == ()
    assert row["volume [mm3]"] == pytest.approx((6 + 12 * 0.75 + 0.25) * 3.0)
    assert row["max_axial_damage_ratio []"] == pytest.approx((2 + 4 * 0.75 + 0.25) / 30)
    assert row["length [mm]"] == 9.0
    assert row["width [mm]"] == 4.0
    assert "slice_2_total_bridge_width [mm]" not in row
    assert table.status[0].mean_probability == pytest.approx((6 + 12 * 0.75 + 0.25) / 19)
    # half of a lesion is where its values are 0.5 and above
    assert measure(soft)[0] == measure()[0]


def test_a_faint_lesion_is_left_out():
    soft = LESION * 0.4
    table = measure(soft, soft=True)
    assert table.warnings == ("lesion 1 is nowhere 0.5 or above; not measured", "no lesion found")
    assert measure(soft).warnings[-1] == "no lesion found"


def test_binary_and_soft_agree_on_a_binary_mask():
    assert measure(soft=True) == measure()


def test_labels_and_8_bit_masks_are_masks():
    labelled = LESION * np.arange(1, 10)[:, None, None].astype(np.int16)
    table = measure(labelled, CORD.astype(np.uint8) * 255)
    assert table == measure()
    assert table.warnings == (
        "lesion mask holds values up to 6; read as one mask",
        "cord mask holds values up to 255; read as one mask",
    )


def test_a_soft_cord_weighs_the_damage_and_cuts_at_a_half():
    cord = CORD.astype(np.float32)
    cord[2, 3:9] = 0.25
    lesion = LESION | brick(SHAPE, (2, 3), (5, 6), (2, 3))
    row = measure(lesion, cord)[0]
    assert row["volume [mm3]"] == 18 * 3.0  # what lies in 0.25 is cut
    assert row["max_axial_damage_ratio []"] == pytest.approx(6 / (24 + 6 * 0.25))
    assert row["interpolated_midsagittal_slice"] == pytest.approx((2 * 0.25 + 3 + 4 + 5 + 6) / 4.25)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (LESION * -1.0, "lesion mask: got values from -1 to"),
        (np.where(LESION, np.nan, 0.0), "lesion mask: got values that are not finite"),
        (LESION * 7.5, "lesion mask: got values from 0 to 7.5; expected 0 and 1, labels, or"),
    ],
)
def test_what_is_no_mask_is_refused(mask, message):
    with pytest.raises(ImageError, match=message):
        measure(mask)


def test_a_cord_on_one_slice_is_upright():
    cord = CORD & brick(SHAPE, (0, 9), (0, 11), (3, 4))
    table = measure(cord=cord)
    assert table.warnings == ("cord mask is on one slice; the cord is taken to be upright",)
    assert table[0]["length [mm]"] == 3.0


def test_no_cord_means_volume_only():
    row = measure(cord=None)[0]
    assert row["volume [mm3]"] == 54
    assert [name for name in row if math.isnan(row[name])] == list(row)[2:]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"nli_slice": 8}, "nli_slice: got 8, which holds no cord; expected .* between 0 and 7"),
        ({"nli_slice": -1}, "nli_slice: got -1"),
        ({"midline": 0.5}, r"midline: got a position 0.5 .* between 2 and 6"),
        ({"cord": None, "nli_slice": 1}, "got no cord"),
        ({"image": np.ones((2, 3, 4))}, r"image: got shape \(2, 3, 4\)"),
        ({"levels": np.ones((2, 3, 4))}, r"levels: got shape \(2, 3, 4\)"),
    ],
)
def test_mistakes_are_told(options, message):
    with pytest.raises(GeometryError, match=message):
        measure(**options)


def test_an_affine_is_needed():
    with pytest.raises(GeometryError, match="got no affine"):
        lesions(LESION)


def test_slices_one_by_one():
    lesion = LESION.copy()
    lesion[3, :, 2] = False
    levels = np.zeros(SHAPE, np.int16)
    levels[:, :, 3:] = 4
    table = measure(lesion, levels=levels)
    assert [row["slice"] for row in table.slices] == [2, 3, 4]
    assert [row["lesion_area [mm2]"] for row in table.slices] == [4, 6, 6]
    assert [row["cord_area [mm2]"] for row in table.slices] == [30, 30, 30]
    damage = [row["axial_damage_ratio []"] for row in table.slices]
    assert damage == pytest.approx([4 / 30, 0.2, 0.2])
    assert max(damage) == table[0]["max_axial_damage_ratio []"]
    diameters = [row["equivalent_diameter [mm]"] for row in table.slices]
    assert diameters[0] == pytest.approx(2 * math.sqrt(4 / math.pi))
    assert [row["dorsal_bridge_width [mm]"] for row in table.slices] == [4, 4, 4]
    assert [row["level"] for row in table.slices][1:] == [4, 4]
    assert math.isnan(table.slices[0]["level"])
    assert table.status[0].max_damage_slice == 3


def test_volume_in_each_level():
    levels = np.zeros(SHAPE)
    levels[:, :, 3], levels[:, :, 4:] = 4, 5
    rows = measure(levels=levels).levels
    assert [(row["level"], row["volume [mm3]"]) for row in rows] == [(0, 18), (4, 18), (5, 18)]
    assert sum(row["share_of_lesion [%]"] for row in rows) == pytest.approx(100)
    assert [row["share_of_cord [%]"] for row in rows] == pytest.approx(
        [100 * 6 / 90, 100 * 6 / 30, 100 * 6 / 120]
    )
    assert math.isnan(measure(cord=None, levels=levels).levels[0]["share_of_cord [%]"])


def test_coverage_tells_what_the_sheets_leave_out():
    tracts = np.zeros((*SHAPE, 2))
    tracts[3, ..., 0], tracts[4, ..., 1] = 1, 0.5
    levels = np.zeros(SHAPE)
    levels[:, :, 2] = 3
    atlas = Atlas(tracts, ("a", "b"), levels, {"both": (0, 1)})
    sheets = measure(atlas=atlas).distribution
    sheet = sheets["lesion#1_distribution"]
    assert [row["row"] for row in sheet] == ["3.0", "total % (all vert)"]
    assert sheet[0]["a"] == pytest.approx(100 * 2 / 3)
    assert sheet[0]["both"] == pytest.approx(100)
    assert sheets["coverage"][0] == pytest.approx(
        {
            "label": 1,
            "volume [mm3]": 54,
            "in_atlas [mm3]": (6 + 3) * 3,
            "in_atlas [%]": 50,
            "in_levels [mm3]": 18,
            "in_levels [%]": 100 / 3,
        }
    )
    occupied = sheets["ROI_occupied_by_lesion"]
    assert occupied[0]["a"] == pytest.approx(100 * 2 / 11)
    assert occupied[1]["a"] == pytest.approx(100 * 6 / 88)  # the last row ignores levels


def test_an_atlas_beside_the_lesion_gives_nan_cells_and_zero_sums():
    atlas = Atlas(np.zeros((*SHAPE, 1)), ("a",), np.ones(SHAPE, np.int16), {})
    sheet = measure(atlas=atlas).distribution["lesion#1_distribution"]
    assert [row["row"] for row in sheet] == ["1", "total % (all vert)"]
    assert math.isnan(sheet[0]["a"])
    assert sheet[1]["a"] == sheet[1]["total % (all tracts)"] == 0


def test_slices_of_the_atlas_are_numbered_as_stored():
    tracts, levels = np.ones((*SHAPE, 1)), np.zeros(SHAPE)
    levels[..., 2] = 7
    flipped = affine(SPACING) @ np.diag([1, 1, -1, 1.0])
    atlas = Atlas(tracts, ("a",), levels[..., ::-1].copy(), {})
    table = lesions(LESION[..., ::-1], CORD[..., ::-1], affine=flipped, atlas=atlas, per_slice=True)
    rows = {row["row"]: row for row in table.distribution["lesion#1_distribution"]}
    assert rows["5"]["vert_level"] == "7"
    assert rows["5"]["a"] == 100
    assert rows["4"]["vert_level"] == "N/A"
    assert {row["slice"] for row in table.slices} == {3, 4, 5}


def test_an_atlas_that_does_not_fit_is_refused():
    with pytest.raises(GeometryError, match="1 names"):
        Atlas(np.ones((*SHAPE, 2)), ("a",), np.ones(SHAPE), {})
    with pytest.raises(GeometryError, match="group 'g' has tracts"):
        Atlas(np.ones((*SHAPE, 1)), ("a",), np.ones(SHAPE), {"g": (1,)})
    atlas = Atlas(np.ones((2, 3, 4, 1)), ("a",), np.ones((2, 3, 4)), {})
    with pytest.raises(GeometryError, match="levels: got shape"):
        measure(atlas=atlas)


def leaning():
    """A cord that steps one voxel to the left with each slice: its middle is at x = 3 + z."""
    cord = np.zeros((20, 11, 12), bool)
    for z in range(12):
        cord[1 + z : 6 + z, 3:9, z] = True
    return cord


def test_the_middle_of_a_lesion_is_rounded_half_to_even():
    cord = leaning()
    for first, middle in ((3, 4), (4, 4), (5, 6)):  # of slices first and first + 1
        lesion = cord & brick(cord.shape, (0, 20), (5, 6), (first, first + 2))
        assert measure(lesion, cord)[0]["interpolated_midsagittal_slice"] == 3 + middle


def test_of_equal_lesions_the_first_sets_the_plane():
    cord = leaning()
    lesion = cord & (
        brick(cord.shape, (0, 20), (5, 6), (3, 4)) | brick(cord.shape, (0, 20), (5, 6), (7, 8))
    )
    assert measure(lesion, cord)[0]["interpolated_midsagittal_slice"] == 3 + 3
    # the upper one lies further to the left and is numbered later; turned round, it is the first
    table = measure(lesion[::-1], cord[::-1])
    assert [row["label"] for row in table] == [1, 2]
    assert table[0]["interpolated_midsagittal_slice"] == 19 - (3 + 7)


def test_the_plane_is_averaged_over_five_slices():
    cord = leaning()
    cord[:, :, 6:] = False
    cord[2:7, 3:9, 6:] = True  # from z = 6 on the middle stays at 4
    lesion = cord & brick(cord.shape, (0, 20), (5, 6), (5, 6))
    # z = 3, 4, 5, 6, 7
    assert measure(lesion, cord)[0]["interpolated_midsagittal_slice"] == (6 + 7 + 8 + 4 + 4) / 5


def test_the_cords_diameter_needs_cord_on_both_slices():
    cord = CORD.copy()
    cord[3, :, 3] = False  # at z = 3 one of the two slices is empty
    lesion = brick(SHAPE, (6, 7), (4, 5), (2, 4))
    row = measure(lesion, cord, midline=3.5)[0]
    # not half of the six voxels of the other one
    assert row["interpolated_total_bridge_width [mm]"] == pytest.approx(6 * 2.0, rel=1e-3)


def test_bridges_can_be_drawn():
    status = measure().status[0]
    assert status.dorsal.y == (2.5, 4.5)  # edges of voxels 3 and 4 of the image
    assert status.ventral.y == (6.5, 8.5)
    assert status.dorsal.mm == status.ventral.mm == 4.0
    beside = measure(brick(SHAPE, (6, 7), (4, 5), (2, 4))).status[0]
    assert (beside.dorsal.y, beside.ventral.y) == ((2.5, 5.5), (5.5, 8.5))


def test_the_level_of_a_slice_is_its_most_frequent_one():
    levels = np.zeros(SHAPE)
    levels[:, :4, 3], levels[:, 4:, 3] = 5, 4
    atlas = Atlas(np.ones((*SHAPE, 1)), ("a",), levels, {})
    table = measure(atlas=atlas, per_slice=True)
    rows = {r["row"]: r["vert_level"] for r in table.distribution["ROI_occupied_by_lesion"]}
    assert rows == {
        **{str(z): "N/A" for z in range(8)},
        "3": "4",
        "total % (all slice)": "",
    }
