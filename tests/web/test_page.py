"""The page in a browser: segmented, measured, saved, judged; refused; offline.

``data/sub-phantom_acq-iso_T2w.nii.gz``: twelve slices of ``score-jax simulate sci --subjects 1
--seed 3 --acquisition isotropic --grid 1 --field-of-view 48,64,60``, as int16.
"""

import functools
import http.server
import re
import struct
from pathlib import Path
from urllib.parse import urlsplit

import nibabel as nib
import numpy as np
import pytest

import score_jax as sj
from score_jax import api, checkpointing, models, morphometry
from score_jax.arrays.regions import Region
from score_jax.config import ModelSpec, Preprocessing
from score_jax.imaging import load

from .conftest import serving

SCAN = Path(__file__).parent / "data" / "sub-phantom_acq-iso_T2w.nii.gz"
SMALL = {
    "features": (4, 8), "kernels": ((3, 3, 3),) * 2, "strides": ((1, 1, 1), (2, 2, 2)),
    "convs_encoder": (1, 1), "convs_decoder": (1,),
}  # fmt: skip


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A 3-D model that was never trained; its largest component is a blob with a smooth edge."""
    spec = ModelSpec(
        kind="unet", options=SMALL, in_channels=1, channel_names=("T2w",), tile=(16, 16, 16),
        regions=(Region("cord", (1, 2), 1), Region("lesion", (2,), 2)),
        preprocessing=Preprocessing(axcodes="LAS", spacing_mm=(1.5, 1.4, 1.6)),
    )  # fmt: skip
    params = models.parameters(models.build("unet", 1, 2, SMALL, seed=2))
    folder = tmp_path_factory.mktemp("models") / "small"
    checkpointing.save_model(folder, spec, params)
    return folder


@pytest.fixture(scope="module")
def server(small):
    with serving(api.view(models=["gm", small], port=0)) as one:
        yield one


def dice(a, b):
    assert a.any()
    assert b.any()
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def read_tsv(path):
    head, *rows = (line.split("\t") for line in path.read_text().splitlines())
    return [dict(zip(head, row, strict=True)) for row in rows]


@pytest.mark.slow
@pytest.mark.parametrize("model", ["gm", "small"])
def test_masks_and_tables_are_pythons(tab, server, small, tmp_path, model):
    tab.open(server.url)
    assert tab.page.evaluate("crossOriginIsolated")
    tab.page.select_option("#model", model)
    tab.choose("#file", SCAN)
    assert "48 x 64 x 12 voxels of 1 x 1 x 1 mm, RPI" in tab.facts()
    tab.page.click("#run")
    tab.page.click("#cancel")
    tab.idle()
    assert tab.text("#status") == "Cancelled."
    tab.click("#run")
    assert tab.text("#error") == ""
    assert tab.text("#status").startswith("Done in ")
    want = sj.load_model(small if model == "small" else "gm").predict(SCAN, crop="auto")
    stored, scan = nib.load(SCAN), load(SCAN)
    place = [float(word) for word in re.findall(r"-?\d+\.\d", tab.text("#place"))]
    at = np.rint(np.linalg.inv(scan.affine) @ [*place, 1])[:3].astype(int)
    assert want.masks["cord"][tuple(at)]  # the cursor went to what was found
    saved = {}
    for name, mask in want.masks.items():
        path = tab.saved(f"[aria-label='Save mask {name}']", tmp_path)
        assert path.name == f"sub-phantom_acq-iso_label-{name}_mask.nii.gz"
        found = nib.load(path)
        np.testing.assert_array_equal(found.affine, stored.affine)
        saved[name] = np.asarray(found.dataobj) > 0
        assert dice(saved[name], mask) >= 0.999
    labels = tab.saved("#save-labels", tmp_path)
    assert labels.name == "sub-phantom_acq-iso_dseg.nii.gz"
    assert (np.asarray(nib.load(labels).dataobj) != want.labels).mean() < 1e-4
    summary = {row["region"]: row for row in read_tsv(tab.saved("#save-summary", tmp_path))}
    rows = read_tsv(tab.saved("#save-table", tmp_path))
    for name, mask in saved.items():
        assert float(summary[name]["volume_mm3"]) == pytest.approx(mask.sum() * scan.voxel_mm3)
        table = morphometry.cord_shape(mask, scan.affine, centerline=saved["cord"])
        expected = [row for row in table if np.isfinite(row["MEAN(area)"])]
        mine = [row for row in rows if row["region"] == name]
        for column in ("slice_IS_RPI", "MEAN(area)", "SUM(length)", "MEAN(angle_AP)"):
            np.testing.assert_allclose(
                [float(row[column]) for row in mine], [row[column] for row in expected], rtol=1e-6
            )
    tab.page.screenshot(path=tmp_path / "page.png")
    assert tab.complaints == []
    assert {urlsplit(url).netloc for url in tab.requested if not url.startswith("blob:")} == {
        urlsplit(server.url).netloc
    }


def huge(folder):
    path = folder / "huge.nii"
    header = bytearray(nib.Nifti1Header().binaryblock)
    header[40:56] = struct.pack("<8h", 3, 2000, 2000, 2000, 1, 1, 1, 1)
    header[344:348] = b"n+1\0"
    path.write_bytes(bytes(header) + bytes(4))
    return path


@pytest.mark.slow
def test_what_is_refused(tab, server, tmp_path):
    tab.open(server.url)
    text = tmp_path / "letter.nii"
    text.write_text("Dear reader, this is no image at all")
    two = tmp_path / "two.nii.gz"
    nib.save(
        nib.Nifti1Image(np.random.default_rng(0).random((9, 8, 7, 2), np.float32), np.eye(4)), two
    )
    tab.choose("#file", text)
    assert "letter.nii: not a NIfTI file" in tab.text("[role=alert]")
    assert tab.page.is_disabled("#run")
    tab.choose("#file", huge(tmp_path))
    assert "huge.nii: too large: 2000 x 2000 x 2000 values, 29.8 GiB" in tab.text("[role=alert]")
    tab.choose("#file", two)
    assert tab.text("[role=alert]") == ""
    tab.click("#run")
    assert "two.nii.gz: got 2 channels; the model takes 1" in tab.text("[role=alert]")
    other = tmp_path / "other_mask.nii"
    nib.save(nib.Nifti1Image(np.ones((9, 8, 6), np.uint8), np.eye(4)), other)
    tab.choose("#mask-files", other)
    assert "other_mask.nii: lies on another grid (9 x 8 x 6 voxels" in tab.text("[role=alert]")
    for name in ("a", "b"):
        (tmp_path / f"{name}.dcm").write_bytes(bytes(200) + name.encode())
    tab.choose("#file", tmp_path / "a.dcm", tmp_path / "b.dcm")
    assert "2 files" in tab.text("[role=alert]")
    # dcm2niix's own word on them
    assert [c for c in tab.complaints if "Unable to find any DICOM images" not in c] == []


@pytest.mark.slow
def test_masks_made_elsewhere_are_judged(tab, tmp_path):
    """A label map stored in another orientation and a soft mask; verdicts; the keyboard alone."""
    scan = nib.load(SCAN)
    labels = np.zeros(scan.shape, np.uint8)
    labels[20:28, 20:30], labels[22:25, 23:26, 2:9] = 1, 3
    turned = nib.Nifti1Image(labels, scan.affine).as_reoriented([[0, -1], [2, 1], [1, -1]])
    soft = np.where(labels == 3, 0.8, 0.3).astype(np.float32)
    paths = [
        tmp_path / name for name in ("sub-phantom_dseg.nii.gz", "sub-phantom_label-lesion_mask.nii")
    ]
    nib.save(turned, paths[0])
    nib.save(nib.Nifti1Image(soft, scan.affine), paths[1])
    with serving(api.view([SCAN, *paths], models=[], port=0)) as server:
        tab.open(server.url)
        tab.idle()
        assert tab.page.is_disabled("#run")
        assert "viewer" in tab.text("#model-facts") or "No model" in tab.text("#model-facts")
        names = tab.page.locator("#mask-list li label").all_inner_texts()
        assert [name.strip() for name in names] == [
            "sub-phantom_dseg 1",
            "sub-phantom_dseg 3",
            "lesion",
        ]
        assert "is soft" in tab.text("#status")
        cells = tab.page.locator("#summary tbody tr td:nth-child(2)").all_inner_texts()
        counts = [(labels == 1).sum(), (labels == 3).sum(), (labels == 3).sum()]
        assert [float(c) for c in cells] == counts
        back = tab.saved("[aria-label='Save mask sub-phantom_dseg 3']", tmp_path)
        np.testing.assert_array_equal(np.asarray(nib.load(back).dataobj), labels == 3)
        place = tab.text("#place")
        assert place.startswith("right ")
        tab.page.focus("#canvas")
        tab.page.keyboard.press("ArrowUp")
        assert tab.text("#place") != place
        tab.page.keyboard.press("m")
        assert not tab.page.is_checked("#labels")
        tab.page.click("#keep-review")
        assert "no verdict is chosen" in tab.text("[role=alert]")
        for _ in range(40):
            tab.page.keyboard.press("Tab")
            if tab.page.evaluate("document.activeElement.value") == "pass":
                break
        tab.page.keyboard.press("ArrowRight")
        tab.page.fill("#comment", "leaks\tto the left")
        tab.page.fill("#reviewer", "AB")
        tab.click("#keep-review")
        (row,) = read_tsv(tab.saved("#save-reviews", tmp_path))
        row.pop("date")
        assert row == {
            "scan": SCAN.name, "masks": "sub-phantom_dseg 1, sub-phantom_dseg 3, lesion",
            "verdict": "fail", "comment": "leaks to the left", "reviewer": "AB",
        }  # fmt: skip
    assert tab.complaints == []


@pytest.mark.slow
def test_a_folder_on_any_server_works_offline(tab, small, tmp_path, run):
    """`export --format web`: no headers from the server, then no server at all."""
    out = tmp_path / "page"
    status, _, err = run("export", small, "--format", "web", "--out", out, "--licence", "none")
    assert status == 0, err
    assert "MB): put it on any file server" in err
    quiet = type("Quiet", (http.server.SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    handler = functools.partial(quiet, directory=str(out))
    with serving(http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)) as plain:
        url = f"http://127.0.0.1:{plain.server_address[1]}/"
        tab.open(url)
        # the service worker takes over and loads the page again, isolated
        tab.page.wait_for_function("() => crossOriginIsolated")
        tab.page.wait_for_selector("body[data-ready=yes]")
        tab.choose("#file", SCAN)
        tab.click("#run")
        assert "WebAssembly" in tab.text("#status")
    tab.complaints.clear()
    tab.open(url)
    tab.choose("#file", SCAN)
    tab.click("#run")
    assert tab.text("#status").startswith("Done in ")
    assert tab.page.evaluate("crossOriginIsolated")


@pytest.mark.slow
def test_a_dicom_folder_is_opened(tab, server, tmp_path):
    from .dicom import write_series

    folder = tmp_path / "series"
    voxels = np.arange(3 * 12 * 10, dtype=np.uint16).reshape(3, 12, 10)
    write_series(folder, voxels, spacing=(0.8, 0.6), thickness=3.0)
    tab.open(server.url)
    tab.page.set_input_files("#folder", str(folder))
    tab.page.wait_for_timeout(30)
    tab.idle()
    assert tab.text("#error") == ""
    assert "10 x 12 x 3 voxels of 0.6 x 0.8 x 3 mm" in tab.facts()
    assert tab.complaints == []
