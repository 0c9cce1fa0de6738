"""Numbers that sct_analyze_lesion printed, and its edge cases as they should be."""

import csv
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from score_jax.errors import GeometryError
from score_jax.morphometry import Atlas, lesions

from .scans import assert_rows, read

EXCERPT = Path(__file__).parent / "data"
REGULAR = [
    *("s01_straight_iso_rpi", "s02_curved_sagittal_ail", "s03_axial_lpi_tilted_two_lesions"),
    *("s04_connectivity_ties_iso_rpi", "s05_edge_touch_overflow_sal", "s06_parasagittal_proxy_lai"),
    *("s07_real_t2_fake_lesion", "s08_atlas_mt_real", "s09_no_lesion_nli_ail"),
    *("s10_no_cord_volume_only", "s11_long_cord_multiknot_ail"),
]
# SCT believes the header's voxel sizes in its own orientation, the affine otherwise
STATED = {"s08_atlas_mt_real": (0.84375, 0.84375, 17.0)}


def table_of(folder, **options):
    image = nib.load(folder / "lesion.nii.gz")
    masks = (read(folder, name) for name in ("lesion", "cord", "image"))
    return lesions(*masks, image.affine, **options)


@pytest.mark.parametrize("case", REGULAR)
def test_every_number_of_sct(fixtures, case):
    folder = fixtures / "analyze_lesion" / case
    nli = 37 if case.startswith("s09") else None
    table = table_of(folder, nli_slice=nli, spacing=STATED.get(case))
    expected = json.loads((folder / "measures.json").read_text())
    images = [name for name in expected[0] if name.startswith("std_")]
    assert_rows(table, expected, rtol=1e-6 if images else 1e-12)
    np.testing.assert_array_equal(table.labels, read(folder, "lesion_label"))
    assert table.columns == tuple(expected[0])


@pytest.mark.parametrize("case", [c for c in REGULAR if c[:3] not in ("s10",)])
def test_tilt_of_sct(fixtures, case):
    folder = fixtures / "analyze_lesion" / case
    angles = json.loads((folder / "intermediates.json").read_text())
    table = table_of(
        folder, nli_slice=37 if case.startswith("s09") else None, spacing=STATED.get(case)
    )
    assert table.tilt is not None
    for cosine, name in ((table.tilt.cos_3d, "3d"), (table.tilt.cos_sagittal, "sagittal")):
        expected = np.cos(angles[f"angles_{name}_rad_RPI"])
        np.testing.assert_allclose(cosine, expected, rtol=1e-12)


@pytest.mark.parametrize("case", ["s05_edge_touch_overflow_sal", "s06_parasagittal_proxy_lai"])
def test_the_excerpt_needs_no_fixtures(case):
    expected = json.loads((EXCERPT / case / "measures.json").read_text())
    assert_rows(table_of(EXCERPT / case), expected, rtol=1e-12)


def atlas_of(folder):
    tracts = [read(folder / "label/atlas", f"PAM50_atlas_{k:02d}") for k in range(36)]
    groups = {
        "white matter": range(30),
        "gray matter": range(30, 36),
        "dorsal columns": range(4),
        "lateral funiculi": range(4, 14),
        "ventral funiculi": range(14, 30),
    }
    return Atlas(
        np.stack(tracts, axis=-1).astype(float),
        tuple(f"PAM50_{k:02d}" for k in range(36)),
        read(folder / "label/template", "PAM50_levels"),
        {name: tuple(members) for name, members in groups.items()},
    )


@pytest.mark.parametrize(
    ("per_slice", "file"), [(False, "distribution.csv"), (True, "distribution_perslice.csv")]
)
def test_atlas_sheets_of_sct(fixtures, per_slice, file):
    folder = fixtures / "analyze_lesion" / "s08_atlas_mt_real"
    table = table_of(folder, atlas=atlas_of(folder), per_slice=per_slice)
    got = {
        (sheet, row["row"], column): value
        for sheet, rows in table.distribution.items()
        if sheet != "coverage"
        for row in rows
        for column, value in row.items()
        if column != "row"
    }
    with (folder / file).open() as stream:
        expected = {(r["sheet"], r["row"], r["column"]): r["value"] for r in csv.DictReader(stream)}
    assert list(got) == list(expected)  # rows and columns in SCT's order, too
    for key, text in expected.items():
        if key[2] == "vert_level":
            assert got[key] == text
        else:
            np.testing.assert_allclose(
                got[key], float(text or "nan"), rtol=1e-9, atol=1e-11, err_msg=str(key)
            )


EDGE = {
    # case -> (warning, measures of the only row)
    "e01_empty_lesion": ("no lesion found", {"label": 0, "volume [mm3]": 0}),
    "e02_lesion_outside_cord": (
        "lesion 1 is outside the cord; not measured; no lesion found",
        {"label": 0, "volume [mm3]": 0},
    ),
    "e03_one_in_one_out": (
        "lesion 1 is outside the cord; not measured",
        {"label": 2, "volume [mm3]": 12, "interpolated_midsagittal_slice": 9.5},
    ),
    "e04_cord_empty": (
        "cord mask is empty; only volume and intensity are known",
        {"label": 1, "volume [mm3]": 12},
    ),
    "e05_non_binary": (
        "lesion mask is soft; voxels of 0.5 and above were taken",
        {"label": 1, "volume [mm3]": 12},
    ),
    "e07_lesion_top_of_fov": ("", {"label": 1, "volume [mm3]": 8}),
    # SCT: 9.3, as slice -1 is the last one
    "e08_lesion_bottom_of_fov_wraparound": (
        "",
        {"label": 1, "volume [mm3]": 12, "interpolated_midsagittal_slice": 8.5},
    ),
}


@pytest.mark.parametrize("case", EDGE)
def test_a_full_table_where_sct_fails(fixtures, case):
    table = table_of(fixtures / "analyze_lesion" / case)
    warning, values = EDGE[case]
    assert "; ".join(table.warnings) == warning
    assert len(table) == 1
    assert {name: table[0][name] for name in values} == values


def test_what_sct_gets_right_at_the_lower_end_stays(fixtures):
    folder = fixtures / "analyze_lesion" / "e08_lesion_bottom_of_fov_wraparound"
    expected = json.loads((folder / "measures.json").read_text())[0]
    got = table_of(folder)[0]
    changed = {name for name in expected if not np.isclose(got[name], expected[name], rtol=1e-12)}
    assert changed == {
        "interpolated_midsagittal_slice",
        "length_interpolated_midsagittal_slice [mm]",
        "width_interpolated_midsagittal_slice [mm]",
    }


def test_masks_of_two_shapes_are_refused(fixtures):
    with pytest.raises(GeometryError, match=r"cord: got shape \(20, 20, 29\); expected the lesion"):
        table_of(fixtures / "analyze_lesion" / "e06_dims_mismatch")
