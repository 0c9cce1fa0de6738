"""Finding datasets of every layout, and saying what is wrong with the others."""

import json

import nibabel as nib
import numpy as np
import pytest

from score_jax.arrays.regions import Region
from score_jax.data import discover, load_case, regions_from_names, survey
from score_jax.errors import DatasetError
from score_jax.imaging import write_tsv

SHAPE = (3, 4, 5)


def image(path, channels=1, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = SHAPE if channels == 1 else (*SHAPE, channels)
    data = np.random.default_rng(seed).integers(0, 1000, shape).astype(np.int16)
    nib.Nifti1Image(data, np.eye(4)).to_filename(path)
    return path


def mask(path, *voxels, dtype=np.uint8, value=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    data = np.zeros(SHAPE, dtype)
    data.ravel()[list(voxels)] = value
    nib.Nifti1Image(data, np.eye(4)).to_filename(path)
    return path


REGIONS = {
    "channel_names": {"0": "T2w"},
    "labels": {"background": 0, "sc": [1, 2], "lesion": 2},
    "regions_class_order": [1, 2],
    "numTraining": 2,
    "file_ending": ".nii.gz",
}


@pytest.fixture
def nnunet(tmp_path):
    def build(names=("a", "b"), channels=("0000",), labels=True, **changes):
        for number, name in enumerate(names):
            for channel in channels:
                image(tmp_path / f"imagesTr/{name}_{channel}.nii.gz", seed=number)
            if labels:
                mask(tmp_path / f"labelsTr/{name}.nii.gz", number, value=2)
        value = {k: v for k, v in {**REGIONS, **changes}.items() if v is not None}
        (tmp_path / "dataset.json").write_text(json.dumps(value))
        return tmp_path

    return build


@pytest.fixture
def bids(tmp_path):
    for subject, session, acq in [("01", "01", "sag"), ("01", "02", "sag"), ("02", "01", "ax")]:
        folder = f"sub-{subject}/ses-{session}/anat"
        name = f"sub-{subject}_ses-{session}_acq-{acq}"
        image(tmp_path / folder / f"{name}_T2w.nii.gz", seed=int(subject + session))
        for derivative in ("truth", "rater1"):
            where = tmp_path / "derivatives" / derivative / folder
            mask(where / f"{name}_label-cord_mask.nii.gz", 1, 2, 3)
            mask(where / f"{name}_label-lesion_mask.nii.gz", 3, 4)
    (tmp_path / "participants.tsv").write_text("participant_id\nsub-01\nsub-02\n")
    return tmp_path


def test_an_nnunet_folder(nnunet):
    root = nnunet(names=("sub-7_x", "b"))
    for path in (root, root / "dataset.json"):
        dataset = discover(path)
        assert (dataset.kind, dataset.channel_names) == ("nnunet", ("T2w",))
        assert not dataset.exclusive
        assert dataset.regions == (Region("sc", (1, 2), 1), Region("lesion", (2,), 2))
        assert [case.id for case in dataset.cases] == ["b", "sub-7_x"]
        assert [case.subject for case in dataset.cases] == ["b", "sub-7"]
        assert dataset.declared_labels == (0, 1, 2)
        assert dataset.notes == ()
    assert dataset.case("b").labels == root / "labelsTr/b.nii.gz"
    with pytest.raises(DatasetError, match="got the case 'c'; expected one of b, sub-7_x"):
        dataset.case("c")


def test_plain_classes_exclude_each_other_and_ignore(nnunet):
    labels = {"background": 0, "cord": 1, "lesion": [2], "ignore": 3}
    dataset = discover(_with(nnunet, labels))
    assert dataset.exclusive
    assert dataset.regions == (Region("cord", (1,), 1), Region("lesion", (2,), 2))
    assert dataset.ignore == 3
    assert dataset.declared_labels == (0, 1, 2, 3)


def _with(nnunet, labels, **changes):
    root = nnunet(**changes)
    value = json.loads((root / "dataset.json").read_text())
    (root / "dataset.json").write_text(json.dumps({**value, "labels": labels}))
    return root


def test_several_channels_tests_and_a_note(nnunet):
    root = nnunet(channels=("0000", "0001"), channel_names={"0": "T1w", "1": "T2w"}, numTraining=5)
    image(root / "imagesTs/t_0000.nii.gz")
    image(root / "imagesTs/t_0001.nii.gz")
    dataset = discover(root)
    assert dataset.channel_names == ("T1w", "T2w")
    assert [p.name for p in dataset.cases[0].images] == ["a_0000.nii.gz", "a_0001.nii.gz"]
    assert dataset.test_cases[0].id == "t"
    assert dataset.test_cases[0].labels is None
    assert dataset.notes == ("numTraining is 5, found 2",)


def test_nnunet_with_a_list_of_paths(tmp_path):
    image(tmp_path / "else/x.nii.gz")
    mask(tmp_path / "else/y.nii.gz", 1)
    listed = {"c1": {"images": ["else/x.nii.gz"], "label": "else/y.nii.gz"}}
    (tmp_path / "dataset.json").write_text(json.dumps({**REGIONS, "dataset": listed}))
    (case,) = discover(tmp_path).cases
    assert (case.id, case.images[0].name, case.labels.name) == ("c1", "x.nii.gz", "y.nii.gz")
    listed["c2"] = {"images": ["none.nii.gz"], "label": "else/y.nii.gz"}
    listed["c3"] = 5
    (tmp_path / "dataset.json").write_text(json.dumps({**REGIONS, "dataset": listed}))
    problems = survey(tmp_path)[1]
    assert [p.message for p in problems] == [
        "no such file",
        "dataset.c3: expected 'images' and 'label'",
    ]


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"labels": None}, "got no labels"),
        ({"labels": []}, "got no labels"),
        ({"labels": {}}, "got no labels"),
        ({"labels": {"0": "background"}}, "nnU-Net v1.*turn each pair round"),
        ({"labels": {"cord": 1}}, "no 'background': 0"),
        ({"labels": {"background": 0, "sc": [1, 3]}}, r"labels \[0, 1, 3\]; expected consecutive"),
        ({"labels": {"background": 0, "sc": [1, "2"]}}, "'2' in labels.sc; expected an integer"),
        ({"labels": {"background": 0, "sc": True}}, "expected an integer"),
        ({"labels": {"background": 0, "sc": []}}, "no value for the label 'sc'"),
        ({"labels": {"background": 0, "ignore": 1, "sc": 2}}, "expected the highest, 2"),
        ({"regions_class_order": None}, "got regions_class_order None; expected the value"),
        ({"regions_class_order": [1]}, "for each of sc, lesion, in this order"),
        ({"regions_class_order": [1, 1]}, "value 1 is used twice"),
        ({"labels": {"background": 0, "lesion": 2, "sc": [1, 2]}}, "hides it.*list 'sc' before"),
        ({"channel_names": None, "modality": {"0": "MRI"}}, "got 'modality'"),
        ({"channel_names": None}, "channel_names None"),
        ({"channel_names": {"1": "T2w"}}, "expected e.g."),
        ({"channel_names": ["T2w", "T1w"]}, "has no channel|got the channels 0000|2 channels"),
        ({"file_ending": ".nrrd"}, "'.nrrd'; expected '.nii.gz'.*convert"),
        ({"file_ending": None}, "got file_ending None"),
    ],
)
def test_a_dataset_json_that_cannot_be(changes, part, nnunet):
    labels = changes.pop("labels", ...)
    root = nnunet(**changes)
    value = json.loads((root / "dataset.json").read_text())
    if labels is None:
        value.pop("labels")
    elif labels is not ...:
        value["labels"] = labels
    (root / "dataset.json").write_text(json.dumps(value))
    if changes.get("channel_names") == ["T2w", "T1w"]:
        assert discover(root).channel_names == ("T2w", "T1w")  # one 4-D file may hold both
        return
    with pytest.raises(DatasetError, match=part) as caught:
        discover(root)
    assert str(root / "dataset.json") in str(caught.value)


def test_a_dataset_json_that_is_no_object(nnunet):
    root = nnunet()
    (root / "dataset.json").write_text("[1]")
    with pytest.raises(DatasetError, match="got list; expected a JSON object"):
        discover(root)
    (root / "dataset.json").write_text("{")
    with pytest.raises(DatasetError, match="not JSON at line 1"):
        discover(root)


def test_everything_wrong_with_the_files_is_collected(nnunet):
    root = nnunet(names=("a", "b"))
    (root / "labelsTr/b.nii.gz").unlink()
    image(root / "imagesTr/odd.nii.gz")
    image(root / "imagesTr/A_0000.nii.gz")
    mask(root / "labelsTr/A.nii.gz", 1)
    mask(root / "labelsTr/lonely.nii.gz", 1)
    image(root / "imagesTr/gap_0001.nii.gz")
    problems = survey(root)[1]
    text = "\n".join(map(str, problems))
    for part in (
        "odd.nii.gz: its name has no channel; expected CASE_0000.nii.gz",
        "gap: got the channels 0001; expected 0000 to 0000",
        "lonely.nii.gz: has no image",
        "b: has no label map; expected labelsTr/b.nii.gz",
        "the case 'a' is there twice",
    ):
        assert part in text
    assert len(problems) == 5
    with pytest.raises(DatasetError, match=r"and 4 more problems.*score-jax check"):
        discover(root)
    assert all("no label" not in p.message for p in survey(root, labelled=False)[1])


def test_nnunet_without_images(nnunet):
    with pytest.raises(DatasetError, match="no training image; expected imagesTr/CASE_0000"):
        discover(nnunet(names=()))


def test_bids_with_truth_and_raters(bids):
    dataset = discover(bids)
    assert (dataset.kind, dataset.channel_names) == ("bids", ("T2w",))
    assert dataset.regions == (Region("cord", (1, 2), 1), Region("lesion", (2,), 2))
    assert [c.id for c in dataset.cases] == [
        "sub-01_ses-01_acq-sag_T2w", "sub-01_ses-02_acq-sag_T2w", "sub-02_ses-01_acq-ax_T2w",
    ]  # fmt: skip
    assert [c.subject for c in dataset.cases] == ["sub-01", "sub-01", "sub-02"]
    assert "derivatives/truth" in str(dataset.cases[0].region_masks["cord"])
    assert dataset.notes == ("masks from derivatives/truth",)
    rater = discover(bids, derivative="rater1", regions=["lesion"])
    assert rater.regions == (Region("lesion", (1,), 1),)
    assert list(rater.cases[0].region_masks) == ["lesion"]
    assert "rater1" in str(rater.cases[0].region_masks["lesion"])
    assert len(discover(bids, labelled=False).cases) == 3


def test_bids_errors(bids):
    with pytest.raises(DatasetError, match="derivatives rater1, truth; expected derivatives/x"):
        discover(bids, derivative="x")
    with pytest.raises(DatasetError, match="expected derivatives/x"):
        survey(bids, derivative="x", labelled=None)
    with pytest.raises(DatasetError, match="no image of the contrast 'T1w'; expected one of T2w"):
        discover(bids, contrast="T1w")
    with pytest.raises(DatasetError, match=r"has no mask of 'gm'; it has cord, lesion.*2 more"):
        discover(bids, regions=["gm"])
    with pytest.raises(DatasetError, match="each name once"):
        discover(bids, regions=["cord", "cord"])
    with pytest.raises(DatasetError, match="mixed"):
        discover(bids, regions=["cord", Region("lesion", (1,), 1)])
    with pytest.raises(DatasetError, match=r"has no label map; expected a \*_dseg"):
        discover(bids, regions=[Region("cord", (1,), 1)])
    image(bids / "sub-02/ses-01/anat/sub-02_ses-01_acq-ax_T2w.nii", seed=3)
    with pytest.raises(DatasetError, match="'sub-02_ses-01_acq-ax_T2w' is there twice"):
        discover(bids)


def test_bids_without_derivatives(tmp_path):
    image(tmp_path / "sub-1/anat/sub-1_T2w.nii.gz")
    with pytest.raises(DatasetError, match=r"derivatives \(none\); expected derivatives/truth or"):
        discover(tmp_path)
    dataset, problems = survey(tmp_path, labelled=None)
    assert (dataset.regions, len(dataset.cases), problems) == ((), 1, [])


def test_a_missing_mask_is_a_problem_and_an_unlabelled_scan_is_not(bids):
    lesion = "derivatives/truth/sub-02/ses-01/anat/sub-02_ses-01_acq-ax_label-lesion_mask.nii.gz"
    (bids / lesion).unlink()
    dataset = discover(bids)
    assert [r.name for r in dataset.regions] == ["cord"]
    assert "left out, as some cases lack them: lesion" in dataset.notes
    with pytest.raises(DatasetError, match="sub-02_ses-01_acq-ax_T2w: has no mask of 'lesion'"):
        discover(bids, regions=["cord", "lesion"])
    (bids / lesion.replace("lesion", "cord")).unlink()
    dataset = discover(bids, regions=["cord", "lesion"])
    assert [c.id for c in dataset.unlabelled] == ["sub-02_ses-01_acq-ax_T2w"]
    assert len(dataset.cases) == 2


def test_bids_with_two_contrasts_needs_a_choice(bids):
    image(bids / "sub-01/ses-01/anat/sub-01_ses-01_acq-sag_T1w.nii.gz", seed=99)
    with pytest.raises(DatasetError, match=r"several contrasts \(T1w, T2w\).*contrast T2w"):
        discover(bids)
    assert len(discover(bids, contrast="T2w").cases) == 3
    assert len(discover(bids, labelled=False).cases) == 4


def test_bids_in_the_labs_own_style_and_amira(tmp_path):
    image(tmp_path / "sub-1/anat/sub-1_T2w.nii.gz", channels=8)
    image(tmp_path / "sub-1/anat/sub-1_T1w.nii.gz")
    folder = tmp_path / "derivatives/labels/sub-1/anat"
    mask(folder / "sub-1_T2w_seg-manual.nii.gz", 1)
    mask(folder / "sub-1_T2w_lesion-manual.nii.gz", 1)
    dataset = discover(tmp_path)
    assert [c.id for c in dataset.cases] == ["sub-1_T2w"]
    assert [c.id for c in dataset.unlabelled] == ["sub-1_T1w"]
    assert dataset.channel_names == tuple(f"T2w_{i}" for i in range(8))
    assert set(dataset.cases[0].region_masks) == {"cord", "lesion"}


def test_bids_label_maps(bids):
    for path in list((bids / "derivatives/truth").rglob("*label-cord*")):
        mask(path.with_name(path.name.replace("_label-cord_mask", "_dseg")), 1, 2, value=2)
    regions = [Region("cord", (1, 2), 1), Region("lesion", (2,), 2)]
    dataset = discover(bids, regions=regions)
    assert dataset.regions == tuple(regions)
    loaded = load_case(dataset.cases[0], dataset)
    assert loaded.targets.sum(axis=(0, 1, 2)).tolist() == [2, 2]


def test_a_table(tmp_path):
    image(tmp_path / "x/one.nii.gz")
    image(tmp_path / "x/two.nii.gz", seed=1)
    mask(tmp_path / "x/c.nii.gz", 1)
    rows = [
        {"case": "b", "subject": "s", "image": "x/two.nii.gz", "SC": "x/c.nii.gz", "age": 30},
        {"case": "a", "subject": "s", "image": "x/one.nii.gz", "SC": "x/c.nii.gz", "age": None},
    ]
    write_tsv(tmp_path / "t.tsv", rows)
    dataset = discover(tmp_path / "t.tsv")
    assert [c.id for c in dataset.cases] == ["a", "b"]
    assert {c.subject for c in dataset.cases} == {"s"}
    assert dataset.regions == (Region("cord", (1,), 1),)
    assert dataset.kind == "table"
    assert discover(tmp_path / "t.tsv", labelled=False).regions == ()
    assert survey(tmp_path / "t.tsv", labelled=None)[0].regions == dataset.regions
    # two channels, a comma, absolute paths, names from the files
    row = f"{tmp_path}/x/one.nii.gz,x/two.nii.gz"
    (tmp_path / "t.csv").write_text(f"image_0000,image_0001\n{row}\n")
    dataset = discover(tmp_path / "t.csv", labelled=False)
    assert dataset.channel_names == ("image_0", "image_1")
    assert dataset.cases[0].id == dataset.cases[0].subject == "one"


def test_a_table_of_label_maps(tmp_path):
    image(tmp_path / "sub-1_T2w.nii.gz")
    mask(tmp_path / "l.nii.gz", 1, value=2)
    (tmp_path / "t.tsv").write_text("image\tlabel\nsub-1_T2w.nii.gz\tl.nii.gz\n")
    with pytest.raises(DatasetError, match="without the meaning of their values; expected"):
        discover(tmp_path / "t.tsv")
    regions = (Region("cord", (1, 2), 1), Region("lesion", (2,), 2))
    dataset = discover(tmp_path / "t.tsv", regions=regions)
    assert dataset.regions == regions
    assert dataset.cases[0].subject == "sub-1"
    assert dataset.channel_names == ("T2w",)


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ("image\n", "got no row"),
        ("picture\tcord\nx\ty\n", "columns picture, cord; expected image"),
        ("image\nx.nii\n", "no column of masks"),
        ("image\tcord\nx.nii\tnone.nii\n", "none.nii: no such file.*named in row 2"),
        ("image\tcord\nn/a\tx.nii\nx.nii\tx.nii\n", "row 2: has no image"),
        ("image\tcord\nx.nii\tx.nii\nx.nii\tx.nii\n", "'x' is there twice"),
        ("image\tcord\nx.nii\tx.nii\ny.nii\tn/a\n", "y: has no mask of 'cord'"),
    ],
)
def test_tables_that_cannot_be(content, part, tmp_path):
    image(tmp_path / "x.nii")
    image(tmp_path / "y.nii")
    (tmp_path / "t.tsv").write_text(content)
    with pytest.raises(DatasetError, match=part) as caught:
        discover(tmp_path / "t.tsv")
    assert "more problems" not in str(caught.value)


def test_folders_and_files_for_prediction(tmp_path):
    image(tmp_path / "b scan.nii.gz")
    image(tmp_path / "ä.nii")
    mask(tmp_path / "ä_seg.nii", 1)
    mask(tmp_path / "lost_label-cord_mask.nii.gz", 1)
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / ".hidden.nii").write_text("x")
    dataset = discover(tmp_path, labelled=False)
    assert [c.id for c in dataset.cases] == ["b scan", "ä"]
    assert dataset.notes == ("2 masks are not taken for images",)
    assert dataset.regions == ()
    one = discover(tmp_path / "ä.nii", labelled=False)
    assert one.notes == ()
    assert (one.kind, one.cases[0].id) == ("file", "ä")
    assert survey(tmp_path / "ä.nii", labelled=None)[0].kind == "file"
    with pytest.raises(DatasetError, match="got one file; expected a dataset with masks"):
        discover(tmp_path / "ä.nii")
    with_mask = discover(tmp_path)
    assert [c.id for c in with_mask.cases] == ["ä"]
    assert [c.id for c in with_mask.unlabelled] == ["b scan"]


def test_a_folder_in_nnunets_input_style(tmp_path):
    for name in ("a_0000", "a_0001", "b_0000", "b_0001"):
        image(tmp_path / f"{name}.nii.gz")
    dataset = discover(tmp_path, labelled=False)
    assert [c.id for c in dataset.cases] == ["a", "b"]
    assert [len(c.images) for c in dataset.cases] == [2, 2]
    image(tmp_path / "c.nii.gz")  # one without a number: then numbers are just names
    assert len(discover(tmp_path, labelled=False).cases) == 5


def test_a_folder_without_masks(tmp_path):
    image(tmp_path / "a.nii")
    with pytest.raises(DatasetError, match="got 1 images and no mask named after one; expected"):
        discover(tmp_path)
    assert survey(tmp_path, labelled=None)[0].regions == ()
    assert discover(tmp_path, labelled=False).notes == ()
    (tmp_path / "a.nii").unlink()
    mask(tmp_path / "a_dseg.nii", 1)
    with pytest.raises(DatasetError, match="masks only"):
        discover(tmp_path)


def test_a_name_like_a_masks_is_an_image_unless_its_image_is_there(tmp_path):
    image(tmp_path / "patient_cord.nii")
    image(tmp_path / "other.nii")
    assert [c.id for c in discover(tmp_path, labelled=False).cases] == ["other", "patient_cord"]
    image(tmp_path / "patient.nii")
    assert [c.id for c in discover(tmp_path, labelled=False).cases] == ["other", "patient"]


def test_a_folder_of_two_labelled_images(tmp_path):
    for name in ("a", "b"):
        image(tmp_path / f"{name}.nii")
        mask(tmp_path / f"{name}_seg.nii", 1)
    dataset = discover(tmp_path)
    assert [c.id for c in dataset.cases] == ["a", "b"]
    assert [c.region_masks["cord"].name for c in dataset.cases] == ["a_seg.nii", "b_seg.nii"]


def test_regions_that_no_two_cases_share(tmp_path):
    image(tmp_path / "a.nii")
    image(tmp_path / "b.nii")
    mask(tmp_path / "a_seg.nii", 1)
    mask(tmp_path / "b_lesion.nii", 1)
    image(tmp_path / "c.nii")
    mask(tmp_path / "c_lesion.nii", 1)
    with pytest.raises(DatasetError, match=r"all 3 cases have \(cord in 1, lesion in 2\)"):
        discover(tmp_path)


def test_what_is_no_dataset(tmp_path):
    for name, entries, part in [
        ("none", None, "no such file or folder"),
        ("empty", [], "an empty folder"),
        ("hidden", [".x"], "an empty folder"),
        ("dicom", ["1.dcm", "2.dcm"], "convert DICOM first: dcm2niix"),
        ("other", ["a.txt", "b/"], r"got a.txt, b/; expected dataset.json with imagesTr \(nnU-Net"),
        ("many", [f"{i}.txt" for i in range(9)], r"5.txt ... \(9 in all\)"),
        ("six", [f"{i}.txt" for i in range(6)], "got 0.txt, .*, 5.txt; expected"),
        ("raw", ["Dataset001_a/"], "name one dataset, e.g. .*Dataset001_a"),
        ("noindex", ["imagesTr/"], "dataset.json is missing"),
        ("subjects", ["sub-01/"], "subjects without images"),
    ]:
        folder = tmp_path / name
        if entries is not None:
            folder.mkdir()
            for entry in entries:
                (folder / entry).mkdir() if entry.endswith("/") else (folder / entry).write_text("")
        with pytest.raises(DatasetError, match=part) as caught:
            discover(folder)
        assert str(folder) in str(caught.value)


def test_order_and_nesting_of_regions_from_names():
    names = ["lesion", "edema", "gm", "cord", "ah"]
    assert regions_from_names(names) == (
        Region("cord", (1, 2, 3, 4), 1),
        Region("gm", (2, 3), 2),
        Region("ah", (3,), 3),
        Region("lesion", (4,), 4),
        Region("edema", (5,), 5),
    )


def test_the_tiny_dataset_of_nnunet(fixtures):
    root = fixtures / "nnunet/dataset/Dataset601_tinySCI"
    dataset = discover(root)
    assert len(dataset.cases) == 8
    assert dataset.regions == (Region("sc", (1, 2), 1), Region("lesion", (2,), 2))
    fingerprint = json.loads((root.parent / "dataset_fingerprint.json").read_text())
    for case, spacing in zip(dataset.cases, fingerprint["spacings"], strict=True):
        assert load_case(case, dataset).volume.spacing == tuple(spacing[::-1])


def test_all_planner_cases_declare_regions_we_read(fixtures):
    from score_jax.data.nnunet_raw import declared_regions

    for path in sorted((fixtures / "nnunet/planner_cases").glob("*/dataset.json")):
        value = json.loads(path.read_text())
        if path.parent.name == "brats_like":  # as made: no regions_class_order
            with pytest.raises(DatasetError, match="got regions_class_order None"):
                declared_regions(path, value)
            continue
        regions, ignore, _ = declared_regions(path, value)
        assert len(regions) + 1 + (ignore is not None) == len(value["labels"])
