"""NIfTI files in the page beside Python: read, refused, written; whole predictions."""

import gzip
from dataclasses import asdict

import nibabel as nib
import numpy as np
import pytest

from score_jax.arrays.cleaning import Rule
from score_jax.arrays.regions import Region
from score_jax.config import ModelSpec, Preprocessing
from score_jax.config.postprocessing import Postprocessing
from score_jax.imaging import load, save
from score_jax.inference.exported import Exported
from tests.phantoms import scan

OBLIQUE = nib.affines.from_matvec(
    nib.eulerangles.euler2mat(0.2, -0.3, 0.1) @ np.diag([-0.8, 1.1, 2.5]), [11.0, -20, 3]
)


def written(folder, dtype="i2", *, kind=nib.Nifti1Image, order="<", zip=False, **fields):
    rng = np.random.default_rng(4)
    data = rng.integers(0, 100, fields.pop("shape", (4, 5, 6))).astype(order + dtype)
    header = kind.header_class(endianness=order)
    header.set_data_dtype(data.dtype)
    image = kind(data, OBLIQUE, header)
    image.set_qform(OBLIQUE, code=fields.pop("qform", 1))
    image.set_sform(OBLIQUE, code=fields.pop("sform", 1))
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = b"Mr. Patient"
    for name, value in fields.items():
        image.header[name] = value
    path = folder / ("scan.nii.gz" if zip else "scan.nii")
    nib.save(image, path)
    return path


FILES = {
    "plain": {},
    "gzip": {"zip": True},
    "big-endian": {"order": ">"},
    "NIfTI-2": {"kind": nib.Nifti2Image, "dtype": "f8"},
    "NIfTI-2, big-endian": {"kind": nib.Nifti2Image, "order": ">", "dtype": "f4"},
    "bytes": {"dtype": "u1"},
    "unsigned": {"dtype": "u2"},
    "64 bits": {"dtype": "i8"},
    "qform alone": {"sform": 0},
    "no form": {"sform": 0, "qform": 0},
    "channels": {"shape": (4, 5, 6, 3)},
    "a slice": {"shape": (4, 5)},
}


@pytest.mark.parametrize("fields", FILES.values(), ids=FILES)
def test_reading_and_writing(ask, tmp_path, fields):
    path = written(tmp_path, **fields)
    want = load(path)
    (found,) = ask(["read", str(path)])
    header = found["header"]
    np.testing.assert_allclose(header["affine"], want.affine, atol=2e-6)
    np.testing.assert_allclose(header["spacing"], want.spacing, rtol=1e-7)
    np.testing.assert_array_equal(np.stack(found["channels"], -1), want.channels_last)
    assert bool(header["notes"]) == bool(want.notes)
    spec = plain_spec(channels=want.channels)
    network = {"weights": [[1.0] * want.channels], "slopes": [0.0], "biases": [0.1]}
    (segmented,) = ask(["segment", str(path), describe(spec), network, False])
    ours = predictor(spec, network).predict(path, crop="none")
    assert 0 < ours.labels.sum() < ours.labels.size
    save(tmp_path / "python.nii", ours.labels, want)
    theirs = (tmp_path / "python.nii").read_bytes()
    assert bytes(segmented["file"].astype(np.uint8)) == theirs
    assert b"Patient" not in theirs


def test_slope_and_intercept(ask, tmp_path):
    path = written(tmp_path)
    content = bytearray(path.read_bytes())
    content[112:120] = np.array([0.25, -3], "<f4").tobytes()
    path.write_bytes(content)
    (found,) = ask(["read", str(path)])
    np.testing.assert_array_equal(found["channels"][0], load(path).data)


def changed(path, place, dtype, *values):
    content = bytearray(path.read_bytes())
    block = np.array(values, dtype).tobytes()
    content[place : place + len(block)] = block
    path.write_bytes(content)


DAMAGE = {
    "text": (lambda p: p.write_text("hello, this is no image"), "not a NIfTI file"),
    "empty": (lambda p: p.write_bytes(b""), "an empty file"),
    "short": (lambda p: p.write_bytes(p.read_bytes()[:400]), "of 240 bytes of voxel values"),
    "short header": (lambda p: p.write_bytes(p.read_bytes()[:200]), "200 of 348 bytes"),
    "two files": (lambda p: changed(p, 344, "S4", b"ni1"), "not NIfTI in one file"),
    "too large": (lambda p: changed(p, 40, "<i2", 3, 2000, 2000, 2000), "too large: 2000 x 2000"),
    "no axes": (lambda p: changed(p, 40, "<i2", 0, 4, 5), "announces dimensions 0"),
    "five axes": (lambda p: changed(p, 40, "<i2", 5, 2, 5, 2, 3, 2), "(5 axes)"),
    "complex": (lambda p: changed(p, 70, "<i2", 32), "got complex values"),
    "offset": (lambda p: changed(p, 108, "<f4", 17), "start at byte 17"),
    "intercept": (lambda p: changed(p, 112, "<f4", 2, np.inf), "the intercept Infinity"),
    "voxels": (lambda p: changed(p, 80, "<f4", 0.0), "got voxels of 0 x 1.1 x 2.5 mm"),
    "zero": (lambda p: changed(p, 280, "<f4", *[0] * 12), "got voxels of 0 x 0 x 0 mm"),
    "singular": (lambda p: changed(p, 280, "<f4", 1, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0), "singular"),
    "not finite": (lambda p: changed(p, 280, "<f4", np.nan), "not finite"),
}  # fmt: skip


@pytest.mark.parametrize(("damage", "words"), DAMAGE.values(), ids=DAMAGE)
def test_damage_is_told(ask, tmp_path, damage, words):
    path = written(tmp_path)
    damage(path)
    (message,) = ask(["read", str(path)], fails=True)
    assert message.startswith("scan.nii: ")
    assert words in message


def test_damaged_gzip_and_values(ask, tmp_path):
    path = written(tmp_path, zip=True)
    content = path.read_bytes()
    path.write_bytes(content[:120])
    (message,) = ask(["read", str(path)], fails=True)
    assert "damaged gzip" in message
    path = written(tmp_path, "f4")
    changed(path, 352, "<f4", np.nan)
    (message,) = ask(["read", str(path)], fails=True)
    assert "1 of 120 values are not finite" in message
    spec = plain_spec()
    network = {"weights": [[1.0]], "slopes": [0.0], "biases": [0.0]}
    flat = written(tmp_path, "u1", shape=(3, 4, 5))
    changed(flat, 352, "u1", *[7] * 60)
    two = tmp_path / "two.nii.gz"
    nib.save(nib.Nifti1Image(np.zeros((3, 4, 5, 2), np.float32), np.eye(4)), two)
    assert gzip.decompress(two.read_bytes())[:4] == b"\x5c\x01\x00\x00"
    messages = ask(
        *(["segment", str(p), describe(spec), network, False] for p in (flat, two)),
        ["segment", str(path), describe(spec) | {"format": 9}, network, False],
        fails=True,
    )
    assert "every voxel is 7" in messages[0]
    assert "got 2 channels; the model takes 1 (T2w)" in messages[1]
    assert "format 9, 1, 1; this page reads 1" in messages[2]


def plain_spec(channels=1, **options):
    values = {
        "kind": "unet", "options": {}, "in_channels": channels,
        "regions": (Region("cord", (1,), 1),),
        "channel_names": ("T2w", "b", "c")[:channels], "tile": (3, 4, 4),
        "preprocessing": Preprocessing(axcodes="", normalization=("zscore",)),
    }  # fmt: skip
    return ModelSpec(**values | options)


def describe(spec, rules=()):
    return {
        "format": 1, "name": "m", "spec": spec.to_json(),
        "postprocessing": Postprocessing(rules=rules).to_json(),
    }  # fmt: skip


def predictor(spec, network, rules=()):
    """The model of `ask.mjs`'s linear network in Python."""
    weights = np.array(network["weights"], np.float64)
    place = np.arange(np.prod(spec.tile)).reshape(spec.tile) / np.prod(spec.tile)

    def compute(tiles):
        seen = tiles.astype(np.float64) @ weights.T
        added = np.array(network["biases"]) + place[..., None] * np.array(network["slopes"])
        return (seen + added).astype(np.float32)

    return Exported(spec, [], "m", Postprocessing(rules=rules), compute)


NESTED = (Region("cord", (1, 2), 1), Region("lesion", (2,), 2))
MODELS = {
    "3-D, cropped to the cord": plain_spec(
        tile=(20, 20, 20), tile_step=0.35, regions=NESTED,
        preprocessing=Preprocessing(axcodes="LPS", spacing_mm=(0.9, 1.0, 0.8), transpose=(2, 0, 1)),
    ),
    "3-D, classes": plain_spec(
        tile=(8, 10, 12), regions=NESTED, exclusive=True,
        preprocessing=Preprocessing(axcodes="RAS", spacing_mm=(1.1, 0.9, 1.2)),
    ),
    "2-D, sagittal": plain_spec(
        tile=(12, 10), slice_axis=0, regions=NESTED,
        preprocessing=Preprocessing(axcodes="RAS", spacing_mm=(0.0, 0.7, 0.9)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_whole_predictions_are_pythons(ask, tmp_path, name):
    spec = MODELS[name]
    wide = "cropped" in name
    image, cord, _ = scan(3, shape=(60, 66, 70) if wide else (20, 24, 18))
    if wide:
        image = np.where(cord, 4.0, np.clip(image, None, 1)).astype(np.float32)
    affine = np.diag([-1.0, 1.05, 0.95, 1.0])[[1, 0, 2, 3]]
    path = tmp_path / "sub-01_T2w.nii.gz"
    nib.save(nib.Nifti1Image(image, affine), path)
    count = len(spec.regions) + spec.exclusive
    network = {
        "weights": [[1.0], [1.2], [0.8]][:count],
        "slopes": [0.4, -0.3, 0.2][:count],
        "biases": [-4.0 if wide else -0.4, -5.0 if wide else -0.7, 0.1][:count],
    }
    rules = (Rule(kind="largest", regions=("cord", "lesion")),)
    told = []
    model = predictor(spec, network, rules)
    want = model.predict(path, crop="auto", progress=lambda done, total: told.append(total))
    (found,) = ask(["segment", str(path), describe(spec, rules), network, True])
    assert found["cropped"] == (want.crop.box is not None) == wide
    for mask in found["masks"]:
        ours = mask["values"].reshape(want.labels.shape, order="F") > 0
        theirs = want.masks[mask["name"]]
        assert 0 < theirs.sum() < theirs.size
        assert (ours != theirs).sum() <= 1e-5 * theirs.size, mask["name"]
    assert asdict(spec)["tile"] == spec.tile
    if len(spec.tile) == 3:  # of the crop; in 2-D Python counts slices
        assert found["tiles"] == told[-1] > 1
