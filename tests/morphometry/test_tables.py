"""Files in, tables, label maps and pictures out."""

import json
import math

import nibabel as nib
import numpy as np
import openpyxl
import pytest

from score_jax.errors import ConfigError, DatasetError, GeometryError, ImageError
from score_jax.imaging import load, load_labels, read_json, read_table
from score_jax.morphometry_tables import (
    AreaOptions,
    Case,
    Failure,
    LesionOptions,
    MaskFile,
    find_cases,
    measure_areas,
    measure_lesions,
    one_file,
    run,
    write_tables,
)
from score_jax.morphometry_tables.columns import describe
from score_jax.morphometry_tables.inputs import read_atlas, read_mask

from .scans import affine, assert_rows, brick, stored, tube

SHAPE, SPACING = (14, 15, 12), (0.5, 0.5, 2.0)
CORD = tube(SHAPE, (6.5, 7.0), (4, 4.2), (0.1, 0.15))
LESION = brick(SHAPE, (5, 8), (6, 9), (3, 7)) | brick(SHAPE, (8, 9), (9, 10), (9, 11))


def save(path, data, matrix=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    data = data.astype(np.uint8) if data.dtype == bool else data
    nib.save(nib.Nifti1Image(data, affine(SPACING) if matrix is None else matrix), path)
    return path


@pytest.fixture
def scan(tmp_path, rng):
    """A case with lesion, cord and image."""
    folder = tmp_path / "in"
    image = (100 + 50 * CORD + 80 * LESION + rng.normal(0, 5, SHAPE)).astype(np.float32)
    return Case(
        "scan",
        MaskFile(save(folder / "scan_lesion.nii.gz", LESION)),
        MaskFile(save(folder / "scan_seg.nii.gz", CORD)),
        save(folder / "scan.nii.gz", image),
    )


def test_everything_is_written(scan, tmp_path):
    out = tmp_path / "out"
    found = measure_lesions(scan, LesionOptions(), out=out, qc=tmp_path / "qc")
    assert sorted(p.name for p in out.iterdir()) == [
        "scan_lesion_label.nii.gz",
        "scan_lesion_lesions.json",
        "scan_lesion_lesions.tsv",
        "scan_lesion_lesions.xlsx",
        "scan_lesion_slices.json",
        "scan_lesion_slices.tsv",
    ]
    rows = read_table(out / "scan_lesion_lesions.tsv")
    assert len(rows) == len(found.rows) == 2
    for text, row in zip(rows, found.rows, strict=True):
        for name, value in row.items():
            assert math.isnan(value) if text[name] is None else float(text[name]) == value
    extra = [name for name in rows[0] if name not in found.rows[0]]
    assert extra == ["bridges", "outside_cord [mm3]"]
    sidecar = read_json(out / "scan_lesion_lesions.json")
    assert set(rows[0]) <= set(sidecar)
    assert sidecar["volume [mm3]"]["Units"] == "mm3"
    assert sidecar["Sources"] == {
        "Mask": "scan_lesion.nii.gz",
        "Image": "scan.nii.gz",
        "Cord": "scan_seg.nii.gz",
    }
    assert sidecar["GeneratedBy"][0]["Name"] == "score-jax"
    book = openpyxl.load_workbook(out / "scan_lesion_lesions.xlsx")
    assert book.sheetnames == ["lesions", "slices"]
    values = [[cell.value for cell in line] for line in book["lesions"].iter_rows()]
    assert values[0] == list(rows[0])
    assert values[1][1] == pytest.approx(found.rows[0]["volume [mm3]"])
    labels = load_labels(out / "scan_lesion_label.nii.gz")
    assert np.unique(labels.data).tolist() == [0, 1, 2]
    np.testing.assert_array_equal(labels.data > 0, LESION)
    assert {"mean_scan", "std_scan"} <= set(rows[0])
    pictures = sorted((tmp_path / "qc").iterdir())
    assert [p.name for p in pictures] == ["scan_lesion_lesion-1.png", "scan_lesion_lesion-2.png"]
    assert all(p.stat().st_size > 5000 for p in pictures)
    assert set(found.outputs) == {
        *("lesions", "slices", "workbook", "labels", "picture 1", "picture 2"),
    }
    json.dumps(found.as_dict()["lesions"])


def test_a_mask_in_another_orientation_is_turned_and_the_label_map_is_not(scan, tmp_path):
    other = tmp_path / "other"
    for name, file in (("lesion", scan.mask), ("image", MaskFile(scan.image))):
        volume = load(file.path)
        save(other / f"{name}.nii.gz", *stored(volume.data, volume.affine, (2, 0, 1), (-1, 1, -1)))
    turned = Case("scan", MaskFile(other / "lesion.nii.gz"), scan.cord, other / "image.nii.gz")
    options = LesionOptions(image_name="image")
    one = measure_lesions(scan, options)
    two = measure_lesions(turned, options, out=tmp_path / "out")
    flipped = [n for n in one.rows[0] if n.startswith("slice_") or n.endswith("sagittal_slice")]
    assert_rows(
        *([{k: v for k, v in r.items() if k not in flipped} for r in t.rows] for t in (one, two)),
        rtol=1e-6,
    )
    label, mask = (load(p) for p in (two.outputs["labels"], other / "lesion.nii.gz"))
    np.testing.assert_array_equal(label.affine, mask.affine)
    np.testing.assert_array_equal(label.data > 0, mask.data > 0)


def test_a_shifted_cord_is_refused(scan, tmp_path):
    shifted = affine(SPACING)
    shifted[1, 3] += 0.2
    cord = MaskFile(save(tmp_path / "cord.nii.gz", CORD, shifted))
    with pytest.raises(GeometryError, match="masks lie on different grids"):
        measure_lesions(Case("scan", scan.mask, cord), LesionOptions())


def test_a_mask_of_several_channels_is_refused(scan, tmp_path):
    path = save(tmp_path / "two.nii.gz", np.stack([LESION, LESION], -1))
    with pytest.raises(ImageError, match="got 2 channels; expected one"):
        measure_lesions(Case("scan", MaskFile(path)), LesionOptions())


def test_values_of_a_label_map(scan, tmp_path):
    path = save(tmp_path / "map.nii.gz", (CORD + 1 * (LESION & CORD)).astype(np.int16))
    volume = read_mask(MaskFile(path, (1, 2)))
    np.testing.assert_array_equal(volume.data, CORD)
    one = measure_lesions(
        Case("scan", MaskFile(path, (2,)), MaskFile(path, (1, 2))), LesionOptions()
    )
    save(tmp_path / "cut.nii.gz", LESION & CORD)
    two = measure_lesions(
        Case("scan", MaskFile(tmp_path / "cut.nii.gz"), scan.cord), LesionOptions()
    )
    assert_rows(one.rows, two.rows)


def test_the_header_counts_in_scts_own_orientation(scan, tmp_path):
    # the affine's sizes differ from pixdim in the 5th digit
    image = nib.Nifti1Image(LESION.astype(np.uint8), affine((0.500001, 0.5, 2.0)))
    image.header["pixdim"][1:4] = SPACING
    nib.save(image, tmp_path / "lesion.nii.gz")
    found = measure_lesions(Case("x", MaskFile(tmp_path / "lesion.nii.gz")), LesionOptions())
    assert found.rows[0]["volume [mm3]"] == 36 * 0.5


def test_no_lesion_writes_a_row_of_zeros(scan, tmp_path):
    empty = MaskFile(save(tmp_path / "scan_lesion.nii.gz", np.zeros(SHAPE, bool)))
    out = tmp_path / "out"
    measure_lesions(scan, LesionOptions(), out=out)
    assert (out / "scan_lesion_slices.tsv").exists()
    found = measure_lesions(
        Case("scan", empty, scan.cord, scan.image), LesionOptions(), out=out, qc=tmp_path / "qc"
    )
    assert found.warnings == ("no lesion found",)
    rows = read_table(out / "scan_lesion_lesions.tsv")
    assert [(r["label"], r["volume [mm3]"]) for r in rows] == [("0", "0.0")]
    assert not (out / "scan_lesion_slices.tsv").exists()  # that of the run before
    assert not load(out / "scan_lesion_label.nii.gz", check=False).data.any()
    assert not (tmp_path / "qc").exists()


@pytest.mark.parametrize("what", ["no image", "no cord", "nothing", "parasagittal", "one slice"])
def test_pictures_of_whatever_there_is(scan, tmp_path, what):
    mask, cord, image = scan.mask, scan.cord, scan.image
    if what in ("no image", "nothing"):
        image = None
    if what in ("no cord", "nothing"):
        cord = None
    if what == "parasagittal":
        mask = MaskFile(save(tmp_path / "side.nii.gz", brick(SHAPE, (8, 9), (6, 8), (4, 6))))
    if what == "one slice":
        cord = MaskFile(
            save(tmp_path / "one.nii.gz", CORD & brick(SHAPE, (0, 14), (0, 15), (4, 5)))
        )
    found = measure_lesions(Case("scan", mask, cord, image), LesionOptions(), qc=tmp_path / "qc")
    pictures = [p for name, p in found.outputs.items() if name.startswith("picture")]
    assert len(pictures) == len(found.rows) > 0
    assert all(p.is_file() for p in pictures)


@pytest.fixture
def atlas(tmp_path):
    """Three tracts, levels and a list of labels as sct_warp_template leaves them."""
    folder = tmp_path / "label"
    tracts = [np.zeros(SHAPE) for _ in range(3)]
    tracts[0][:6], tracts[1][6:], tracts[2][:, 8:] = 1, 0.75, 0.5
    for number, tract in zip((0, 1, 30), tracts, strict=True):
        save(folder / f"atlas/PAM50_atlas_{number:02d}.nii.gz", tract)
    save(folder / "atlas/PAM50_atlas_36.nii.gz", np.ones(SHAPE))
    levels = np.zeros(SHAPE)
    levels[..., :5], levels[..., 5:] = 4, 3
    save(folder / "template/PAM50_levels.nii.gz", levels)
    text = (
        "# Keyword=IndivLabels (Please DO NOT change this line)\n# ID, name, file\n"
        "0, WM left tract (a, b), PAM50_atlas_00.nii.gz\n\n"
        "# Combined labels\n# Keyword=CombinedLabels (Please DO NOT change this line)\n"
        "50, spinal cord, 0:35\n51, white matter, 0:29\n52, gray matter, 30:35\n53, both, 1,30\n"
        "# Keyword=MAPLabels\nCSF, 36\n"
    )
    (folder / "atlas/info_label.txt").write_text(text)
    return folder


def test_the_atlas_is_read(atlas, scan):
    found = read_atlas(atlas, load(scan.mask.path))
    assert found.names == ("PAM50_00", "PAM50_01", "PAM50_30")
    assert found.groups == {"white matter": (0, 1), "gray matter": (2,), "both": (1, 2)}
    assert found.tracts[7, 9, 3].tolist() == [0, 0.75, 0.5]


def test_atlas_sheets_are_written(atlas, scan, tmp_path):
    out = tmp_path / "out"
    found = measure_lesions(scan, LesionOptions(atlas=atlas), out=out)
    assert set(found.distribution) == {
        *("lesion#1_distribution", "lesion#2_distribution", "ROI_occupied_by_lesion", "coverage"),
    }
    assert {row["level"] for row in found.levels} == {3, 4}
    book = openpyxl.load_workbook(out / "scan_lesion_lesions.xlsx")
    assert book.sheetnames == ["lesions", "slices", "levels", *found.distribution]
    long = read_table(out / "scan_lesion_distribution.tsv")
    total = [r["value"] for r in long if r["row"] == "total % (all vert)"]
    assert "100.0" in total
    assert {"sheet", "row", "column", "value"} == set(long[0])


@pytest.mark.parametrize(
    ("remove", "message"),
    [
        ("template/PAM50_levels.nii.gz", "got no template/PAM50_levels.nii.gz"),
        ("atlas/info_label.txt", "expected the list of the atlas's labels"),
        ("atlas/PAM50_atlas_*", r"got no atlas/\*_NN.nii.gz"),
    ],
)
def test_an_atlas_that_lacks_something_is_refused(atlas, scan, remove, message):
    for path in atlas.glob(remove):
        path.unlink()
    with pytest.raises(DatasetError, match=message):
        read_atlas(atlas, load(scan.mask.path))


def test_areas_of_cord_grey_and_white_matter_and_a_part(scan, tmp_path):
    gm = save(tmp_path / "gm.nii.gz", CORD & brick(SHAPE, (5, 9), (6, 9), (0, 12)))
    options = AreaOptions(gm=gm, parts={"lesion": scan.mask.path}, angle_correction=False)
    cord = Case("scan", scan.cord)
    found = measure_areas(cord, options, out=tmp_path / "out")
    area = {
        region: np.array([r["MEAN(area)"] for r in found.rows if r["region"] == region])
        for region in ("cord", "gm", "wm", "lesion")
    }
    np.testing.assert_allclose(area["cord"], CORD.sum(axis=(0, 1)) * 0.25)
    np.testing.assert_allclose(area["gm"] + area["wm"], area["cord"])
    assert np.isnan(area["lesion"][:3]).all()
    assert "region" not in measure_areas(cord, AreaOptions()).rows[0]
    assert len(read_table(tmp_path / "out/scan_seg_areas.tsv")) == 4 * 12
    sidecar = read_json(tmp_path / "out/scan_seg_areas.json")
    assert sidecar["MEAN(area)"]["Units"] == "mm2"
    with pytest.raises(GeometryError, match="region 'gm': got it twice"):
        measure_areas(cord, AreaOptions(gm=gm, parts={"gm": gm}))


def test_areas_with_levels_and_another_centerline(scan, tmp_path):
    levels = np.zeros(SHAPE)
    levels[..., 2:6], levels[..., 6:] = 4, 3
    path = save(tmp_path / "levels.nii.gz", levels)
    gm = Case("gm", MaskFile(save(tmp_path / "gm.nii.gz", CORD & (np.indices(SHAPE)[0] > 5))))
    options = AreaOptions(levels=path, per="level", centerline=scan.cord.path)
    rows = measure_areas(gm, options).rows
    assert [(r["VertLevel"], r["slice_IS_RPI"]) for r in rows] == [(4, "2:5"), (3, "6:11")]
    cord = measure_areas(Case("c", scan.cord), AreaOptions(levels=path, per="level")).rows
    assert [r["MEAN(angle_RL)"] for r in rows] == [r["MEAN(angle_RL)"] for r in cord]


def test_outputs_may_be_one_file(scan, tmp_path):
    measure_lesions(scan, LesionOptions(), out=tmp_path / "a.tsv")
    measure_lesions(scan, LesionOptions(), out=tmp_path / "a.xlsx")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.json", "a.tsv", "a.xlsx", "in"]
    assert not one_file(tmp_path / "results_2024.05")
    with pytest.raises(ConfigError, match="expected a folder, or a file"):
        one_file(tmp_path / "a.csv")


def test_tables_of_others_are_not_removed(tmp_path):
    for name in ("failed.tsv", "failed.json"):
        (tmp_path / name).write_text("{}")
    write_tables(tmp_path, "", {"lesions": [{"label": 1}], "failed": []}, about={})
    assert (tmp_path / "failed.tsv").exists()
    write_tables(tmp_path, "", {"lesions": [{"label": 1}], "failed": [{"case": "x"}]}, about={})
    write_tables(tmp_path, "", {"lesions": [{"label": 1}], "failed": []}, about={})
    assert not (tmp_path / "failed.tsv").exists()


def test_every_column_is_described(scan):
    found = measure_lesions(scan, LesionOptions(soft=True))
    rows = [*found.rows, *found.status, *found.slices]
    described = describe(dict.fromkeys(name for row in rows for name in row))
    assert all(entry["Description"] for entry in described.values())
    assert described["slice_6_dorsal_bridge_width [mm]"]["Units"] == "mm"
    assert described["mean_scan"]["Description"].startswith("mean of the image")
    assert "Units" not in described["label"]


# ------------------------------------------------------------------ which files belong together


def masks(folder, *names):
    return [save(folder / name, LESION) for name in names]


def test_one_file_is_one_case(scan):
    found = find_cases(scan.mask.path, region="lesion", cord=scan.cord.path, image=scan.image)
    assert not found.many
    assert found.cases == (Case("scan_lesion", scan.mask, scan.cord, scan.image),)


def test_partners_of_one_file_in_folders(tmp_path):
    (lesion,) = masks(tmp_path / "a", "sub-01_T2w_lesion-manual.nii.gz")
    cord, _ = masks(tmp_path / "b", "sub-01_T2w_seg-manual.nii.gz", "sub-02_T2w_seg-manual.nii.gz")
    found = find_cases(lesion, region="lesion", cord=tmp_path / "b")
    assert found.cases[0].cord == MaskFile(cord)
    with pytest.raises(DatasetError, match="got no cord named like sub-01"):
        find_cases(lesion, region="lesion", cord=tmp_path / "a" / "..")  # itself is no cord


@pytest.mark.parametrize(
    ("lesion", "cord"),
    [
        ("sub-01_acq-ax_label-lesion_mask.nii.gz", "sub-01_acq-ax_label-cord_mask.nii.gz"),
        ("sub-01/sub-01_T2w_lesion-manual.nii.gz", "sub-01/sub-01_T2w_seg-manual.nii.gz"),
        ("scan_label-lesion_mask.nii.gz", "scan_label-cord_mask.nii.gz"),
        ("t2_lesion.nii.gz", "t2_sc_seg.nii.gz"),
    ],
)
def test_lesion_and_cord_beside_each_other(tmp_path, lesion, cord):
    first, second = masks(tmp_path, lesion, cord)
    masks(tmp_path, "sub-09_label-gm_mask.nii.gz")
    found = find_cases(tmp_path, region="lesion")
    assert [(case.mask.path, case.cord.path) for case in found.cases] == [(first, second)]
    assert found.cases[0].folder == first.parent.relative_to(tmp_path)


def test_plain_names_in_two_folders(tmp_path):
    masks(tmp_path / "lesions", "a.nii.gz", "b.nii.gz", "c.nii.gz")
    masks(tmp_path / "cords", "a.nii.gz", "b.nii.gz")
    masks(tmp_path / "scans", "a.nii.gz")
    found = find_cases(
        tmp_path / "lesions",
        region="lesion",
        cord=tmp_path / "cords",
        image=tmp_path / "scans",
    )
    assert [case.name for case in found.cases] == ["a", "b"]
    assert [case.image and case.image.parent.name for case in found.cases] == ["scans", None]
    assert [str(f) for f in found.failures] == [
        f"c: got no cord mask named like it in {tmp_path / 'cords'}; expected one"
    ]


def test_a_cord_in_the_same_folder_goes_before_others(tmp_path):
    for folder in ("one", "two"):
        masks(tmp_path / folder, "t2_lesion.nii.gz", "t2_seg.nii.gz")
    cases = find_cases(tmp_path, region="lesion").cases
    assert [case.name for case in cases] == ["one/t2_lesion", "two/t2_lesion"]
    assert [case.cord.path.parent.name for case in cases] == ["one", "two"]


def test_a_folder_without_cords_gives_volumes(tmp_path):
    masks(tmp_path, "a.nii.gz", "b.nii.gz")
    assert [case.cord for case in find_cases(tmp_path, region="lesion").cases] == [None, None]


def bids(root):
    for sub, ses in (("01", "a"), ("02", "b")):
        stem = f"sub-{sub}_ses-{ses}"
        below = f"sub-{sub}/ses-{ses}/anat"
        save(root / below / f"{stem}_T2w.nii.gz", np.arange(LESION.size).reshape(SHAPE) * 1.0)
        for label, mask in (("cord", CORD), ("lesion", LESION)):
            name = f"{stem}_label-{label}_desc-T2w_mask.nii.gz"
            save(root / "derivatives/truth" / below / name, mask)
    return root


def test_a_bids_dataset(tmp_path):
    root = bids(tmp_path)
    found = find_cases(root, region="lesion")
    assert [case.name for case in found.cases] == ["sub-01_ses-a_T2w", "sub-02_ses-b_T2w"]
    assert found.cases[0].cord.path.name == "sub-01_ses-a_label-cord_desc-T2w_mask.nii.gz"
    assert found.cases[0].image.name == "sub-01_ses-a_T2w.nii.gz"
    assert found.cases[0].folder.as_posix() == "sub-01/ses-a"
    cords = find_cases(root, region="cord").cases
    assert [case.mask.path.name[:24] for case in cords] == [
        "sub-01_ses-a_label-cord_",
        "sub-02_ses-b_label-cord_",
    ]
    found.cases[1].cord.path.unlink()
    found = find_cases(root, region="lesion")
    assert [case.name for case in found.cases] == ["sub-01_ses-a_T2w"]
    assert "has no mask of 'cord'" in found.failures[0].message


def test_names_of_outputs_follow_bids(tmp_path):
    case = find_cases(bids(tmp_path / "ds"), region="lesion").cases[0]
    written = measure_lesions(case, LesionOptions(), out=tmp_path / "out").outputs
    assert {k: p.relative_to(tmp_path / "out").as_posix() for k, p in written.items()} == {
        k: f"sub-01/ses-a/sub-01_ses-a_label-lesion_desc-T2w{end}"
        for k, end in (
            ("lesions", "_lesions.tsv"),
            ("slices", "_slices.tsv"),
            ("workbook", "_lesions.xlsx"),
            ("labels", "numbered_dseg.nii.gz"),
        )
    }


def test_an_nnunet_dataset(tmp_path):
    for name in ("a", "b"):
        save(tmp_path / f"imagesTr/{name}_0000.nii.gz", np.arange(LESION.size).reshape(SHAPE) * 1.0)
        save(tmp_path / f"labelsTr/{name}.nii.gz", (CORD + 1 * (LESION & CORD)).astype(np.uint8))
    about = {
        "channel_names": {"0": "T2w"},
        "labels": {"background": 0, "sc": [1, 2], "lesion": 2},
        "regions_class_order": [1, 2],
        "numTraining": 2,
        "file_ending": ".nii.gz",
    }
    (tmp_path / "dataset.json").write_text(json.dumps(about))
    cases = find_cases(tmp_path, region="lesion").cases
    assert [(c.name, c.mask.values, c.cord.values) for c in cases] == [
        ("a", (2,), (1, 2)),
        ("b", (2,), (1, 2)),
    ]
    del about["labels"]["sc"]
    about |= {"labels": {"background": 0, "brain": [1, 2], "lesion": 2}}
    (tmp_path / "dataset.json").write_text(json.dumps(about))
    with pytest.raises(
        DatasetError, match="got the regions brain, lesion; expected one named cord"
    ):
        find_cases(tmp_path, region="lesion")


def test_what_is_not_there_is_told(tmp_path):
    with pytest.raises(DatasetError, match="no such file or folder"):
        find_cases(tmp_path / "x.nii.gz", region="lesion")
    masks(tmp_path, "a_label-cord_mask.nii.gz")
    with pytest.raises(DatasetError, match="got no mask of 'lesion'"):
        find_cases(tmp_path, region="lesion")


# ------------------------------------------------------------------------------- many at once


def volume_of(case):
    if case.name == "bug":
        raise KeyError("ours")
    if case.name == "big":
        raise MemoryError
    return float(load_labels(case.mask.path).data.sum())


def test_a_bad_case_is_reported_and_the_rest_go_on(tmp_path):
    masks(tmp_path, "a.nii.gz", "b.nii.gz")
    (tmp_path / "bad.nii.gz").write_bytes(b"junk")
    cases = [
        Case(name, MaskFile(tmp_path / f"{name}.nii.gz"))
        for name in ("a", "bad", "bug", "big", "b")
    ]
    results = dict(run(cases, volume_of, 1))
    assert [case.name for case in results] == ["a", "bad", "bug", "big", "b"]
    a, bad, bug, big, b = results.values()
    assert a == b == LESION.sum()
    assert isinstance(bad, Failure)
    assert not bad.bug
    assert "bad.nii.gz" in bad.message
    assert bug.bug
    assert "KeyError" in bug.message
    assert "too large for the memory" in big.message
    with pytest.raises(ConfigError, match="jobs: got -1"):
        list(run(cases, volume_of, -1))
