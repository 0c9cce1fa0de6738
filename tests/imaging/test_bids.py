"""File names: what they say, what is derived from them, and which mask belongs to which image."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from score_jax.errors import DatasetError
from score_jax.imaging import bids

SAG = "sub-01_ses-02_acq-sag_T2w.nii.gz"


def test_parse():
    name = bids.parse(f"/data/x/{SAG}")
    assert dict(name.entities) == {"sub": "01", "ses": "02", "acq": "sag"}
    assert (name.suffix, name.extension, name.is_bids) == ("T2w", ".nii.gz", True)
    assert str(name) == SAG
    for odd in ("scan.nii.gz", "Müller scan 3.nii", "T2w_sub-01.nii.gz"):
        name = bids.parse(odd)
        assert not name.is_bids
        assert str(name) == odd
    assert bids.parse("sub-01_T2w_lesion-manual.nii.gz").suffix == "T2w_lesion-manual"
    assert bids.parse("sub-01_T2w.json").extension == ".json"
    assert bids.parse("a.b.c").suffix == "a.b.c"
    assert bids.stem("x.y.nii.gz") == "x.y"


WORD = st.text("abcXYZ019", min_size=1, max_size=4)


@settings(deadline=None, max_examples=60)
@given(
    values=st.dictionaries(st.sampled_from(["ses", "acq", "run", "space", "desc"]), WORD), sub=WORD
)
def test_parse_undoes_str(values, sub):
    name = bids.Name({"sub": sub, **values}, "T2w", ".nii.gz")
    again = bids.parse(str(name))
    assert dict(again.entities) == dict(name.entities)
    assert str(again) == str(name)


@pytest.mark.parametrize(
    ("image", "kind", "label", "name"),
    [
        (SAG, "mask", "lesion", "sub-01_ses-02_acq-sag_label-lesion_mask.nii.gz"),
        (SAG, "dseg", None, "sub-01_ses-02_acq-sag_dseg.nii.gz"),
        (SAG, "probseg", "cord", "sub-01_ses-02_acq-sag_label-cord_probseg.nii.gz"),
        ("sub-01_T1w.nii", "mask", "cord", "sub-01_label-cord_desc-T1w_mask.nii.gz"),
        ("sub-01_T2w.nii", "mask", "cord", "sub-01_label-cord_desc-T2w_mask.nii.gz"),
        ("sub-01_run-2_desc-x_T2w.nii", "dseg", None, "sub-01_run-2_desc-x_dseg.nii.gz"),
        ("sub-1_desc-x_T2w.nii", "mask", "cord", "sub-1_label-cord_desc-x_mask.nii.gz"),
        ("sub-1_odd-x_acq-y_T2w.nii", "mask", "gm", "sub-1_acq-y_odd-x_label-gm_mask.nii.gz"),
        ("scan.nii.gz", "mask", "cord", "scan_label-cord_mask.nii.gz"),
        ("scan.nii.gz", "dseg", None, "scan_dseg.nii.gz"),
        ("scan.nii.gz", "mask", "sc / left", "scan_label-scleft_mask.nii.gz"),
    ],
)
def test_derivative(image, kind, label, name):
    assert bids.derivative(image, kind, label=label) == name
    assert bids.derivative(Path("/x") / image, kind, label=label) == name


def test_derivatives_of_a_batch_differ():
    two = ["sub-01_acq-sag_T1w.nii.gz", SAG, "sub-01_acq-sag_T2w.nii.gz"]
    assert bids.derivatives(two, "mask", label="cord") == [
        "sub-01_acq-sag_label-cord_desc-T1w_mask.nii.gz",
        "sub-01_ses-02_acq-sag_label-cord_mask.nii.gz",
        "sub-01_acq-sag_label-cord_desc-T2w_mask.nii.gz",
    ]
    assert bids.derivatives(["sub-1_desc-a_T1w.nii", "sub-1_desc-a_T2w.nii"], "dseg") == [
        "sub-1_desc-aT1w_dseg.nii.gz",
        "sub-1_desc-aT2w_dseg.nii.gz",
    ]
    with pytest.raises(DatasetError, match=r"x/a.nii and y/a.nii: both .* a_dseg"):
        bids.derivatives(["x/a.nii", "y/a.nii"], "dseg")
    with pytest.raises(DatasetError, match="both would be written"):
        bids.derivatives([f"x/{SAG}", f"y/{SAG}"], "dseg")


def test_folder():
    root = Path("/data")
    assert bids.derivative_folder(root, SAG) == root / "derivatives/score-jax/sub-01/ses-02/anat"
    assert (
        bids.derivative_folder(root, "sub-01_T2w.nii") == root / "derivatives/score-jax/sub-01/anat"
    )
    assert bids.derivative_folder(root, "a.nii", "truth") == root / "derivatives/truth"


@pytest.mark.parametrize(
    ("mask", "region"),
    [
        ("sub-01_label-lesion_mask.nii.gz", "lesion"),
        ("sub-01_label-SC_mask.nii.gz", "cord"),
        ("sub-01_label-edema_mask.nii.gz", "edema"),
        ("sub-01_T2w_lesion-manual.nii.gz", "lesion"),
        ("sub-01_T2w_seg-manual.nii.gz", "cord"),
        ("t2s_seg.nii.gz", "cord"),
        ("t2s_gmseg_manual.nii.gz", "gm"),
        ("t2_fake_lesion_sc_seg.nii.gz", "cord"),
        ("t2_fake_lesion_lesion_seg.nii.gz", "lesion"),
        ("mt1_gmseg_goldstandard.nii.gz", "gm"),
        ("sub-01_T2w_SC_mask_AB.nii.gz", "cord"),
        ("sub-01_T2w.nii.gz", None),
        ("scan.nii.gz", None),
        ("t2_seg-manual_labeled.nii.gz", None),
        ("patient_0001.nii.gz", None),
    ],
)
def test_region_of(mask, region):
    assert bids.region_of(mask) == region


@pytest.mark.parametrize(
    ("mask", "image", "yes"),
    [
        ("sub-01_T2w_lesion-manual.nii.gz", "sub-01_T2w.nii.gz", True),
        ("sub-01_T2w_lesion-manual.nii.gz", "sub-01_T1w.nii.gz", False),
        ("sub-01_acq-ax_T2w_seg-manual.nii.gz", "sub-01_T2w.nii.gz", False),
        ("t2_fake_lesion_sc_seg.nii.gz", "t2_fake_lesion.nii.gz", True),
        ("t2_fake_lesion_sc_seg.nii.gz", "t2.nii.gz", False),
        ("sub-01_ses-02_acq-sag_label-lesion_mask.nii.gz", SAG, True),
        ("sub-01_ses-02_acq-sag_dseg.nii.gz", SAG, True),
        ("sub-01_ses-02_acq-ax_label-lesion_mask.nii.gz", SAG, False),
        ("sub-01_ses-02_label-lesion_mask.nii.gz", SAG, False),
        ("sub-01_label-cord_desc-T2w_mask.nii.gz", "sub-01_T2w.nii.gz", True),
        ("sub-01_label-cord_desc-T1w_mask.nii.gz", "sub-01_T2w.nii.gz", False),
        ("sub-01_label-cord_desc-manual_mask.nii.gz", "sub-01_T2w.nii.gz", True),
        ("sub-01_space-orig_label-cord_mask.nii.gz", "sub-01_T2w.nii.gz", True),
        ("sub-02_label-cord_mask.nii.gz", "sub-01_T2w.nii.gz", False),
        ("scan_label-cord_mask.nii.gz", "scan.nii.gz", True),
        ("scan_label-cord_mask.nii.gz", "scan2.nii.gz", False),
        ("scan_dseg.nii.gz", "scan.nii.gz", True),
        ("scan_cord.nii.gz", "scan.nii.gz", True),
        ("other.nii.gz", "scan.nii.gz", False),
    ],
)
def test_belongs_to(mask, image, yes):
    assert bids.belongs_to(mask, image) is yes


@settings(deadline=None, max_examples=60)
@given(
    image=st.one_of(
        st.builds(
            lambda sub, acq, suffix: str(bids.Name({"sub": sub, **acq}, suffix, ".nii.gz")),
            WORD,
            st.dictionaries(st.sampled_from(["ses", "acq", "run", "desc"]), WORD),
            st.sampled_from(["T1w", "T2w", "T2starw"]),
        ),
        WORD.map(lambda word: f"{word}.nii.gz"),
    ),
    label=st.sampled_from(["cord", "lesion", "gm", "edema"]),
)
def test_what_is_derived_belongs_to_its_image_and_says_its_region(image, label):
    mask = bids.derivative(image, "mask", label=label)
    assert bids.belongs_to(mask, image)
    assert bids.region_of(mask) == label
    assert bids.belongs_to(bids.derivative(image, "dseg"), image)


def test_description(tmp_path):
    path = bids.write_description(tmp_path / "d", "Simulated cords", version="1.2", derived=True)
    value = json.loads(path.read_text())
    assert value["DatasetType"] == "derivative"
    assert value["Name"] == "Simulated cords"
    assert value["GeneratedBy"][0]["Version"] == "1.2"
    assert "BIDSVersion" in value
