"""What must not change, and what must change in proportion, for any cord and lesions."""

from dataclasses import dataclass

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from score_jax.morphometry import cord_shape, lesions

from .scans import affine, assert_rows, every_orientation, stored, tube

SPACING = (0.5, 0.75, 2.5)
DORSAL, VENTRAL = "interpolated_dorsal_bridge_width [mm]", "interpolated_ventral_bridge_width [mm]"
PLANE = "interpolated_midsagittal_slice"
LENGTHS = ("length [mm]", "width [mm]", "max_equivalent_diameter [mm]", DORSAL, VENTRAL)


@dataclass(frozen=True)
class Scan:
    """A leaning tube with boxes of lesion, some of them sticking out (a short repr for reports)."""

    slope: tuple[float, float]
    radii: tuple[float, float]
    boxes: tuple[tuple[tuple[int, int, int], tuple[int, int, int]], ...]

    def masks(self, pad=0):
        shape = (15 + 2 * pad, 16 + 2 * pad, 12)
        cord = tube(shape, (7.3 + pad, 7.6 + pad), self.radii, self.slope)
        lesion = np.zeros(shape, bool)
        for (x, y, z), (dx, dy, dz) in self.boxes:
            lesion[x + pad : x + pad + dx, y + pad : y + pad + dy, z : z + dz] = True
        return lesion, cord


def ints(low, high):
    return st.integers(low, high)


SCANS = st.builds(
    Scan,
    st.tuples(*[st.floats(-0.3, 0.3)] * 2),
    st.tuples(st.floats(3, 5), st.floats(3.5, 5)),
    st.lists(
        st.tuples(st.tuples(ints(4, 8), ints(4, 8), ints(0, 9)), st.tuples(*[ints(1, 4)] * 3)),
        min_size=1,
        max_size=3,
    ).map(tuple),
)


def whole_position(table):
    """Whether rounding could move the midsagittal plane from one pair of slices to another."""
    return bool(abs(table.midsagittal - np.rint(table.midsagittal)) < 1e-9)


def renamed(rows, size):
    """Sagittal slices counted from the other side."""
    return [
        {
            "_".join([*n.split("_")[:1], str(size - 1 - int(n.split("_")[1])), *n.split("_")[2:]])
            if n.startswith("slice_")
            else n: v
            for n, v in row.items()
        }
        for row in rows
    ]


@settings(deadline=None, max_examples=25)
@given(scan=SCANS, how=st.sampled_from(every_orientation()))
def test_the_way_a_scan_is_stored(scan, how):
    axes, flips = how
    (lesion, cord), matrix = scan.masks(), affine(SPACING)
    image = np.arange(lesion.size, dtype=np.float64).reshape(lesion.shape)
    table = lesions(lesion, cord, image, matrix)
    turned = [stored(array, matrix, axes, flips) for array in (lesion, cord, image)]
    other = lesions(*(array for array, _ in turned), turned[0][1])
    rows = renamed(other, lesion.shape[0]) if flips[0] < 0 else list(other)
    for row, one in zip(rows, other, strict=True):
        if flips[0] < 0:
            row[PLANE] = lesion.shape[0] - 1 - one[PLANE]
    assert_rows(rows, table, rtol=1e-12)
    np.testing.assert_array_equal(other.labels, stored(table.labels, matrix, axes, flips)[0])
    shape = cord_shape(cord, matrix)
    assert_rows(cord_shape(*stored(cord, matrix, axes, flips)), shape, rtol=1e-12)


@settings(deadline=None, max_examples=25)
@given(scan=SCANS, factor=st.floats(1, 3))
def test_scaling_of_all_sizes(scan, factor):
    # larger voxels allow larger residuals: the cubic that fitted still does
    small = lesions(*scan.masks(), affine=affine((1.0, 1.2, 2.5)))
    large = lesions(*scan.masks(), affine=affine(tuple(factor * mm for mm in (1.0, 1.2, 2.5))))
    for a, b in zip(small, large, strict=True):
        np.testing.assert_allclose(b["volume [mm3]"], a["volume [mm3]"] * factor**3, rtol=1e-6)
        for name in set(LENGTHS) & set(a):
            np.testing.assert_allclose(b[name], a[name] * factor, rtol=1e-6)
        ratio = "max_axial_damage_ratio []"
        np.testing.assert_allclose(b[ratio], a[ratio])


@settings(deadline=None, max_examples=25)
@given(scan=SCANS, shift=st.tuples(*[st.integers(-2, 2)] * 2))
def test_translation_in_the_plane(scan, shift):
    here = scan.masks(pad=3)
    moved = [np.roll(mask, shift, (0, 1)) for mask in here]
    table, other = (lesions(*masks, affine=affine(SPACING)) for masks in (here, moved))
    assume(not whole_position(table))
    rows = [
        {
            f"slice_{int(n.split('_')[1]) - shift[0]}_" + "_".join(n.split("_")[2:])
            if n.startswith("slice_")
            else n: v - shift[0] if n == PLANE else v
            for n, v in row.items()
        }
        for row in other
    ]
    assert_rows(rows, table, rtol=1e-7, atol=1e-7)


@settings(deadline=None, max_examples=25)
@given(scan=SCANS, above=st.sampled_from([2, 4, 6]))
def test_translation_along_the_cord(scan, above):
    # by an even number: the middle of the lesion is rounded half to even
    def padded(mask, below):
        return np.pad(mask, ((0, 0), (0, 0), (below, 6 - below)))

    low, high = (
        lesions(*(padded(mask, below) for mask in scan.masks()), affine=affine(SPACING))
        for below in (0, above)
    )
    assume(not whole_position(low))
    assert_rows(high, low, rtol=1e-7, atol=1e-7)


@settings(deadline=None, max_examples=25)
@given(scan=SCANS)
def test_front_and_back_mirrored(scan):
    table = lesions(*scan.masks(), affine=affine(SPACING))
    other = lesions(*(mask[:, ::-1] for mask in scan.masks()), affine=affine(SPACING))
    assume(not whole_position(table))
    one, two = (
        sorted((r["volume [mm3]"], r["length [mm]"], r.get(a, 0), r.get(b, 0)) for r in t)
        for t, a, b in ((table, DORSAL, VENTRAL), (other, VENTRAL, DORSAL))
    )
    assume(len({row[:2] for row in one}) == len(one))  # equal lesions sort by their bridges
    sizes = table.column("volume [mm3]")
    assume((sizes == sizes.max()).sum() == 1)  # the largest one sets the plane
    np.testing.assert_allclose(two, one, rtol=1e-7, atol=1e-7)


@settings(deadline=None, max_examples=25)
@given(scan=SCANS)
def test_totals(scan):
    table = lesions(*scan.masks(), affine=affine(SPACING))
    inside = np.logical_and(*scan.masks()).sum() * np.prod(SPACING)
    np.testing.assert_allclose(table.column("volume [mm3]").sum(), inside, atol=1e-9)
    areas = sum(row["axial_damage_ratio []"] <= 1 for row in table.slices)
    assert areas == len(table.slices)
    for row, status in zip(table, table.status, strict=True):
        if status.bridges == "midsagittal":
            total = row["interpolated_total_bridge_width [mm]"]
            np.testing.assert_allclose(row[DORSAL] + row[VENTRAL], total)
            ratios = row["dorsal_bridge_ratio [%]"] + row["ventral_bridge_ratio [%]"]
            assert ratios == 0 or abs(ratios - 100) < 1e-9


@settings(deadline=None, max_examples=15)
@given(scan=SCANS)
def test_left_and_right_mirrored_shapes(scan):
    cord = scan.masks(pad=2)[1]
    one, two = (
        cord_shape(mask, affine(SPACING), angle_correction=False) for mask in (cord, cord[::-1])
    )
    np.testing.assert_allclose(two.by_slice["area"], one.by_slice["area"])
    # a pixel of just a half may fall to either side of the threshold
    for name in ("diameter_RL", "diameter_AP_ellipse", "solidity"):
        np.testing.assert_allclose(two.by_slice[name], one.by_slice[name], rtol=2e-3, err_msg=name)
    # an angle of -90 degrees is one of 90
    angles = (
        np.exp(2j * np.radians(sign * t.by_slice["orientation"]))
        for sign, t in ((1, one), (-1, two))
    )
    oval = one.by_slice["eccentricity"] > 0.3
    np.testing.assert_allclose(*(angle[oval] for angle in angles), atol=2e-2)
