"""Damaged, hostile and impossible files: one line that names file, found and expected."""

import contextlib
import gzip
import os
import zlib

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from score_jax.errors import GeometryError, ImageError, ScoreError
from score_jax.imaging import load, load_header
from score_jax.imaging import nifti as nifti_module

FIXTURE = {"suppress_health_check": [HealthCheck.function_scoped_fixture]}
DATA = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
AFFINE = np.diag([0.5, 0.75, 3, 1])


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "a.nii"
    nib.Nifti1Image(DATA, AFFINE).to_filename(path)
    return path.read_bytes()


@pytest.fixture
def broken(whole, tmp_path):
    """Writes the image with some header fields changed."""

    def write(name="a.nii", **fields):
        header = nib.Nifti1Header(whole[:348], check=False)
        for key, value in fields.items():
            header[key] = value
        path = tmp_path / name
        path.write_bytes(header.binaryblock + whole[348:])
        return path

    return write


def refused(path, kind, *parts):
    with pytest.raises(kind) as caught:
        load(path)
    text = str(caught.value)
    assert str(path) in text
    assert "\n" not in text
    for part in parts:
        assert part in text, text
    with pytest.raises(ScoreError):
        load_header(path) if kind is GeometryError else load(path)


def pixdim(*sizes):
    return [1, *sizes, 0, 0, 0, 0]


def test_missing_folder_and_other_formats(tmp_path):
    refused(tmp_path / "none.nii", ImageError, "no such file")
    (tmp_path / "dicom").mkdir()
    refused(tmp_path / "dicom", ImageError, "got a folder", "dcm2niix")
    for name, part in [
        ("a.dcm", "dcm2niix"),
        ("IM0001", "dcm2niix"),
        ("a.hdr", "fslchfiletype"),
        ("a.img.gz", "fslchfiletype"),
        ("a.nrrd", "3D Slicer"),
        ("a.gz", "expected .nii or .nii.gz"),
    ]:
        (tmp_path / name).write_bytes(b"x")
        refused(tmp_path / name, ImageError, part)


def test_names_that_lie_about_gzip(whole, tmp_path):
    (tmp_path / "a.nii.gz").write_bytes(whole)
    refused(tmp_path / "a.nii.gz", ImageError, "not gzip", "rename it to 'a.nii'")
    (tmp_path / "b.nii").write_bytes(gzip.compress(whole))
    refused(tmp_path / "b.nii", ImageError, "got a gzip file", "'b.nii.gz'")


def test_content_that_was_not_fetched(tmp_path):
    for name in ("a.nii", "a.nii.gz"):
        path = tmp_path / name
        path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n")
        refused(path, ImageError, "got a pointer", "git lfs pull")
        path.write_text("/annex/objects/SHA256E-s9--00.nii.gz\n")
        refused(path, ImageError, "got a pointer", "datalad get")
    (tmp_path / "b.nii").symlink_to(tmp_path / ".git" / "annex" / "x")
    refused(tmp_path / "b.nii", ImageError, "no such file", "git annex get")


def test_empty_and_unreadable(tmp_path, whole, monkeypatch):
    (tmp_path / "a.nii.gz").write_bytes(b"")
    refused(tmp_path / "a.nii.gz", ImageError, "an empty file")
    path = tmp_path / "b.nii"
    path.write_bytes(whole)
    for error, part in [
        (PermissionError(13, "Permission denied"), "no permission"),
        (OSError(5, "Input/output error"), "Input/output error"),
        (MemoryError(), "does not fit into memory"),
    ]:

        def fail(*_, error=error):
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(nifti_module, "_header", fail)
            refused(path, ImageError, part)


def test_what_is_not_an_image_type(broken):
    refused(broken(datatype=32), ImageError, "complex values (datatype 32)", "magnitude")
    refused(broken(datatype=128), ImageError, "RGB values", "gray")
    refused(broken(datatype=2304), ImageError, "RGBA")
    refused(broken(datatype=1536), ImageError, "unknown values (datatype 1536)")
    refused(broken(datatype=0), ImageError, "datatype 0")
    refused(broken(magic=b"ni1"), ImageError, "two-file image")
    refused(broken(magic=b"abc"), ImageError, "magic b'abc'")
    refused(broken(sizeof_hdr=347), ImageError, "expected a NIfTI header of 348 or 540")


def test_dimensions(broken):
    for dim in ([0, 3, 4, 5], [8, 3, 4, 5], [3, 3, 0, 5], [3, 3, -4, 5]):
        refused(broken(dim=dim + [1] * (8 - len(dim))), ImageError, "announces dimensions")
    refused(broken(dim=[1, 60, 1, 1, 1, 1, 1, 1]), ImageError, "1 axes", "one axis of channels")
    refused(broken(dim=[5, 3, 2, 1, 2, 5, 1, 1]), ImageError, "3 x 2 x 1 x 2 x 5 values (5 axes)")


def test_size_bombs_cost_nothing(broken, whole, tmp_path):
    huge = broken(dim=[3, 30000, 30000, 30000, 1, 1, 1, 1])
    refused(huge, ImageError, "30000 x 30000 x 30000 values", "GiB; expected at most 4 GiB")
    refused(broken(dim=[7] + [32767] * 7), ImageError, "expected")
    more = broken(dim=[3, 3, 4, 6, 1, 1, 1, 1])
    refused(more, ImageError, "bytes on disk for 3 x 4 x 6 values of 2 bytes", "truncated")
    # gzip cannot hold so much in so few bytes
    big = broken(dim=[3, 500, 500, 500, 1, 1, 1, 1]).read_bytes()
    path = tmp_path / "b.nii.gz"
    path.write_bytes(gzip.compress(big))
    refused(path, ImageError, "bytes on disk for 500 x 500 x 500 values")
    # and a small image before a long tail of zeros is read without the tail
    path.write_bytes(gzip.compress(whole + bytes(100_000_000), 1))
    assert load(path).shape == (3, 4, 5)


def test_voxel_sizes(broken):
    for sizes in ((0, 1, 1), (1, -1, 1), (1, 1, np.nan), (np.inf, 1, 1), (0.009, 1, 1), (1, 51, 1)):
        for codes in ({}, {"sform_code": 0, "qform_code": 1}, {"sform_code": 0, "qform_code": 0}):
            path = broken(pixdim=pixdim(*sizes), **codes)
            refused(path, GeometryError, "got voxels of", "expected 0.01 to 50 mm", "(pixdim)")
    rows = {"srow_x": [60, 0, 0, 0]}
    refused(broken(**rows, sform_code=1), GeometryError, "60 x 0.75 x 3 mm (columns)")
    assert load(broken(pixdim=pixdim(0.01, 50, 1), sform_code=0)).spacing[1] == 50


def test_transforms(broken):
    zero = {f"srow_{axis}": [0, 0, 0, 0] for axis in "xyz"}
    refused(broken(**zero, sform_code=1), GeometryError, "its sform", "0 x 0 x 0 mm")
    nan = {"srow_x": [np.nan, 0, 0, 0], "sform_code": 1}
    refused(broken(**nan), GeometryError, "its sform has values that are not finite")
    flat = {"srow_x": [1, 1, 0, 0], "srow_y": [1, 1, 0, 0], "sform_code": 1}
    refused(broken(**flat), GeometryError, "singular", "sct_image")
    quaternion = {"quatern_b": 0.9, "quatern_c": 0.9, "qform_code": 1}
    refused(broken(**quaternion, sform_code=0), GeometryError, "quaternion")
    refused(broken(quatern_b=np.nan, qform_code=1, sform_code=0), GeometryError, "a.nii")
    # a broken qform beside a good sform is only noted
    assert "disagree by up to inf mm" in load(broken(**quaternion, sform_code=1)).notes[0]


@pytest.mark.parametrize("offset", [100, 351, -1, np.nan, np.inf, 353.5, 1e12])
def test_data_offset(offset, broken):
    refused(broken(vox_offset=offset), ImageError, "expected 352 or a little more")


def test_offset_0_means_right_after_the_header_and_gaps_are_skipped(broken, whole, tmp_path):
    np.testing.assert_array_equal(load(broken(vox_offset=0)).data, DATA)
    header = nib.Nifti1Header(whole[:348], check=False)
    header["vox_offset"] = 368
    for name, pack in (("a.nii", bytes), ("a.nii.gz", gzip.compress)):
        path = tmp_path / name
        path.write_bytes(pack(header.binaryblock + bytes(20) + whole[352:]))
        np.testing.assert_array_equal(load(path).data, DATA)


def test_values(tmp_path):
    path = tmp_path / "a.nii"
    for data, part in [
        (np.zeros((3, 4, 5), np.float32), "every voxel is 0"),
        (np.full((3, 4, 5), 7, np.uint8), "every voxel is 7"),
        (np.where(DATA == 6, np.nan, DATA), "1 of 60 values are not finite (the first at voxel (0"),
        (np.where(DATA > 57, np.inf, DATA).astype(np.float32), "2 of 60 values"),
        (np.where(DATA > 57, -np.inf, np.where(DATA < 1, np.inf, DATA)).astype(np.float32), "3 of"),
        (np.where(DATA > 57, 1e300, DATA), "2 of 60 values are not finite"),
    ]:  # fmt: skip
        nib.Nifti1Image(data, AFFINE).to_filename(path)
        refused(path, ImageError, part)
        assert load(path, check=False).shape == (3, 4, 5)
    nib.Nifti1Image(np.where(DATA > 57, 1.7e308, DATA), AFFINE).to_filename(path)
    assert load(path, dtype=np.float64).data.max() == 1.7e308


@settings(deadline=None, max_examples=150, **FIXTURE)
@given(length=st.integers(0, 471), packed=st.booleans())
def test_truncated_anywhere(whole, tmp_path, length, packed):
    content = gzip.compress(whole, 1) if packed else whole
    assert len(whole) == 352 + 120
    path = tmp_path / ("a.nii.gz" if packed else "a.nii")
    path.write_bytes(content[: min(length, len(content) - 1)])
    with pytest.raises(ImageError, match=r"a whole file|not gzip|a whole one|at its start"):
        load(path)


@settings(deadline=None, max_examples=300, **FIXTURE)
@given(
    edits=st.lists(st.tuples(st.integers(0, 471), st.integers(0, 255)), min_size=1, max_size=12),
    packed=st.booleans(),
)
def test_any_damage_gives_an_image_or_one_of_our_errors(whole, tmp_path, edits, packed):
    raw = bytearray(gzip.compress(whole, 1) if packed else whole)
    for place, value in edits:
        raw[place % len(raw)] = value
    path = tmp_path / ("a.nii.gz" if packed else "a.nii")
    path.write_bytes(raw)
    volume = None
    with contextlib.suppress(ScoreError):
        volume = load(path)
    if volume is not None:
        assert np.isfinite(volume.data).all()
        assert np.isfinite(volume.affine).all()
        assert all(0.01 <= mm <= 50.01 for mm in volume.spacing)


@settings(deadline=None, max_examples=100, **FIXTURE)
@given(
    content=st.binary(max_size=900), kind=st.sampled_from([348, 540, None]), packed=st.booleans()
)
def test_random_bytes(tmp_path, content, kind, packed):
    if kind:
        content = kind.to_bytes(4, "little") + content
    path = tmp_path / ("a.nii.gz" if packed else "a.nii")
    path.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(ScoreError):
        load(path)


def test_a_whole_gzip_of_half_an_image(whole, tmp_path):
    path = tmp_path / "a.nii.gz"
    path.write_bytes(gzip.compress(whole[:-20]))
    refused(path, ImageError, "100 of 120 bytes of voxel values", "truncated")


def test_values_said_to_start_after_the_end(broken, tmp_path):
    path = tmp_path / "b.nii.gz"
    path.write_bytes(gzip.compress(broken(vox_offset=40_000).read_bytes()))
    refused(path, ImageError, "0 of 120 bytes of voxel values")


def test_a_flipped_bit_is_found_by_the_checksum(whole, tmp_path):
    # stored blocks: the damage inflates without complaint, only the checksum tells
    packer = zlib.compressobj(0, zlib.DEFLATED, 31)
    raw = bytearray(packer.compress(whole) + packer.flush())
    raw[-20] ^= 1
    path = tmp_path / "a.nii.gz"
    path.write_bytes(raw)
    refused(path, ImageError, "damaged gzip stream (CRC check failed")


def test_a_big_endian_file_is_fine(tmp_path):
    header = nib.Nifti1Header(endianness=">")
    header.set_data_dtype(np.int16)
    path = tmp_path / "a.nii"
    nib.Nifti1Image(DATA.astype(">i2"), AFFINE, header).to_filename(path)
    assert path.read_bytes()[:4] == (348).to_bytes(4, "big")
    np.testing.assert_array_equal(load(path).data, DATA)
    np.testing.assert_array_equal(load(path).affine, AFFINE)


def test_a_file_without_permission(whole, tmp_path):
    path = tmp_path / "a.nii"
    path.write_bytes(whole)
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user reads every file")
    refused(path, ImageError, "no permission")
