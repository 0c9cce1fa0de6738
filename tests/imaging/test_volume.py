"""Volumes against nibabel: every orientation, type and form; what is written and what is not."""

import gzip
import itertools
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from score_jax.errors import GeometryError, ImageError, OutputError
from score_jax.imaging import Volume, load, load_header, save

ALL = [
    "".join(letters)
    for order in itertools.permutations([("L", "R"), ("P", "A"), ("I", "S")])
    for letters in itertools.product(*order)
]
SHAPE = (3, 4, 5)
ROTATION = nib.eulerangles.euler2mat(0.2, -0.1, 0.3)
OBLIQUE = nib.affines.from_matvec(ROTATION @ np.diag([0.5, 0.75, 3.0]), [7, -8, 9])


def ramp(shape=SHAPE, dtype=np.float32):
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


def nifti(path: Path, data, affine=OBLIQUE, kind=nib.Nifti1Image, **header):
    image = kind(data, affine)
    for key, value in header.items():
        image.header[key] = value
    image.to_filename(path)
    return path


def patched(path: Path, **fields):
    """Change fields of a stored header, past all of nibabel's care."""
    raw = bytearray(path.read_bytes())
    kind = nib.Nifti1Header if raw[0] in (92, 1) and raw[:2] != b"\x1c\x02" else nib.Nifti2Header
    length = kind.template_dtype.itemsize
    header = kind(bytes(raw[:length]), check=False)
    for key, value in fields.items():
        header[key] = value
    raw[:length] = header.binaryblock
    path.write_bytes(raw)
    return path


def world(affine, data):
    """World position of every voxel, in the order of its (distinct) value."""
    index = np.argwhere(np.ones(data.shape[:3], bool))
    values = data[tuple(index.T)]
    values = values if values.ndim == 1 else values[:, 0]
    return nib.affines.apply_affine(affine, index)[np.argsort(values)]


@pytest.mark.parametrize("axcodes", ALL)
@pytest.mark.parametrize("tail", [(), (2,)])
def test_every_orientation(axcodes, tail, tmp_path, rng):
    assert len(set(ALL)) == 48
    data = rng.permutation(np.prod(SHAPE + tail)).astype(np.float32).reshape(SHAPE + tail)
    volume = load(nifti(tmp_path / "a.nii", data))
    turned = volume.reoriented(axcodes)
    assert turned.axcodes == axcodes == "".join(nib.aff2axcodes(turned.affine))
    np.testing.assert_allclose(world(turned.affine, turned.data), world(OBLIQUE, data), atol=1e-5)
    np.testing.assert_array_equal(turned.to_stored(turned.data), data)
    # the same turn by nibabel
    start = nib.orientations.io_orientation(volume.affine)
    ornt = nib.orientations.ornt_transform(start, nib.orientations.axcodes2ornt(axcodes))
    np.testing.assert_array_equal(turned.data, nib.apply_orientation(data, ornt))
    # written from the turned volume, the file lies on the stored grid
    save(tmp_path / "b.nii.gz", turned.data, turned)
    back = nib.load(tmp_path / "b.nii.gz")
    np.testing.assert_array_equal(back.get_fdata(), data)
    assert np.array_equal(back.affine, nib.load(tmp_path / "a.nii").affine)
    # and a file stored that way comes back in ours
    stored = load(nifti(tmp_path / "c.nii", turned.data, turned.affine))
    assert stored.axcodes == axcodes
    np.testing.assert_array_equal(stored.like(volume).data, data)
    sizes = dict(zip(volume.axcodes, volume.spacing, strict=True))
    pairs = {"L": "R", "R": "L", "A": "P", "P": "A", "S": "I", "I": "S"}
    wanted = [sizes.get(letter) or sizes[pairs[letter]] for letter in axcodes]
    assert turned.spacing == tuple(wanted) == stored.spacing


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".NII.GZ"])
@pytest.mark.parametrize(
    "dtype", ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8", ">i2", ">f4"]
)
def test_every_type_reads_as_nibabel_reads_it(kind, suffix, dtype, tmp_path):
    image = kind(
        ramp(dtype=dtype),
        OBLIQUE,
        kind.header_class(endianness=np.dtype(dtype).str[0].replace("|", "<")),
    )
    image.set_data_dtype(np.dtype(dtype))
    path = tmp_path / "ä ö" / f"Müller scan{suffix}"
    path.parent.mkdir()
    image.to_filename(path)
    volume = load(path)
    assert volume.data.dtype == np.float32
    assert volume.data.dtype.isnative
    np.testing.assert_array_equal(volume.data, nib.load(path).get_fdata(dtype=np.float32))
    np.testing.assert_array_equal(volume.affine, nib.load(path).affine)
    assert volume.path == path
    assert volume.shape == SHAPE
    assert volume.channels == 1
    assert load_header(path).shape == SHAPE
    assert load_header(path).spacing == volume.spacing == pytest.approx((0.5, 0.75, 3.0), 1e-12)
    assert load(path, dtype=np.float64).data.dtype == np.float64
    out = tmp_path / "out.nii.gz"
    save(out, volume.data, volume)
    assert type(nib.load(out)) is kind


@pytest.mark.parametrize(
    "slope_inter", [(0.25, -3), (-2.0, 0), (1, 5), (1, 0), (0, 7), (np.nan, np.nan), (np.inf, 2)]
)
def test_scaling_as_nibabel(slope_inter, tmp_path):
    path = nifti(tmp_path / "a.nii", ramp(dtype=np.int16))
    slope, inter = slope_inter
    patched(path, scl_slope=slope, scl_inter=inter)
    np.testing.assert_array_equal(load(path).data, nib.load(path).get_fdata(dtype=np.float32))


def test_a_scaled_image_by_hand_and_a_bad_intercept(tmp_path):
    path = patched(nifti(tmp_path / "a.nii", ramp(dtype=np.int16)), scl_slope=2, scl_inter=-1)
    assert load(path).data[0, 0, 4] == 7
    patched(path, scl_inter=np.nan)
    with pytest.raises(ImageError, match="intercept nan"):
        load(path)


def test_qform_alone_sform_alone_both_and_none(tmp_path):
    path = nifti(tmp_path / "a.nii", ramp())
    other = OBLIQUE.copy()
    other[:3, 3] += 5
    image = nib.load(path)
    image.header.set_qform(other, 1)
    image.header.set_sform(OBLIQUE, 2)
    image = nib.Nifti1Image(ramp(), None, image.header)
    image.to_filename(path)

    both = load(path)
    np.testing.assert_allclose(both.affine, OBLIQUE, atol=1e-6)
    assert both.notes == ("sform and qform disagree by up to 8.66 mm; used sform",)
    save(tmp_path / "m.nii", both.data > 3, both)  # both forms survive as they were
    kept = nib.load(tmp_path / "m.nii").header
    for name in ("qform_code", "sform_code", "quatern_b", "qoffset_x", "srow_y", "pixdim"):
        np.testing.assert_array_equal(kept[name], image.header[name], err_msg=name)

    alone = load(patched(path, sform_code=0))
    np.testing.assert_allclose(alone.affine, nib.load(path).affine, atol=1e-6)
    np.testing.assert_allclose(alone.affine, other, atol=1e-5)
    assert alone.notes == ()

    bare = load(patched(path, qform_code=0))
    np.testing.assert_array_equal(bare.affine, nib.load(path).affine)
    assert bare.axcodes == "LAS"
    assert "states no orientation" in bare.notes[0]
    save(tmp_path / "m.nii", bare.data, bare)
    assert load(tmp_path / "m.nii").notes == bare.notes

    patched(path, sform_code=1, qform_code=0)
    np.testing.assert_allclose(load(path).affine, OBLIQUE, atol=1e-6)
    assert load(path).notes == ()  # the other form is there but not in force


def test_a_qform_with_qfac_0_means_1(tmp_path):
    path = nifti(tmp_path / "a.nii", ramp())
    wanted = load(path).affine
    fields = nib.load(path).header["pixdim"].copy()
    fields[0] = 0
    patched(path, pixdim=fields, sform_code=0, qform_code=1)
    np.testing.assert_allclose(load(path).affine, wanted, atol=1e-5)


@pytest.mark.parametrize("shape", [(3, 4, 5, 1), (3, 4, 5, 1, 1), (3, 4, 5), (3, 4, 5, 1, 1, 1, 1)])
def test_trailing_ones_are_dropped(shape, tmp_path):
    volume = load(nifti(tmp_path / "a.nii", ramp(shape)))
    assert volume.data.shape == SHAPE
    assert volume.channels_last.shape == (*SHAPE, 1)
    np.testing.assert_array_equal(volume.data, ramp())


@pytest.mark.parametrize("shape", [(3, 4, 5, 8), (3, 4, 5, 1, 8), (3, 4, 5, 1, 1, 8)])
def test_channels_come_last(shape, tmp_path):
    volume = load(nifti(tmp_path / "a.nii", ramp(shape)))
    assert volume.data.shape == (*SHAPE, 8)
    assert volume.channels == 8
    np.testing.assert_array_equal(volume.data, ramp((*SHAPE, 8)))
    save(tmp_path / "m.nii", volume.data[..., 0] > 3, volume)
    mask = nib.load(tmp_path / "m.nii")
    assert mask.shape == SHAPE
    assert mask.get_data_dtype() == np.uint8
    assert not mask.header["pixdim"][4:].any()
    save(tmp_path / "p.nii", volume.data, volume)
    np.testing.assert_array_equal(nib.load(tmp_path / "p.nii").get_fdata(), volume.data)


def test_a_2d_file_is_one_slice_and_stays_2d(tmp_path):
    path = nifti(tmp_path / "a.nii", ramp((3, 4)))
    volume = load(path)
    assert volume.shape == (3, 4, 1)
    assert volume.spacing == (0.5, 0.75, 3.0)
    save(tmp_path / "m.nii", volume.data > 2, volume)
    mask = nib.load(tmp_path / "m.nii")
    assert mask.shape == (3, 4)
    np.testing.assert_array_equal(mask.get_fdata(), ramp((3, 4)) > 2)
    turned = volume.reoriented("SAR")
    assert turned.shape == (1, 4, 3)
    save(tmp_path / "m2.nii", turned.data > 2, turned)
    assert (tmp_path / "m2.nii").read_bytes() == (tmp_path / "m.nii").read_bytes()


def test_spacing_is_the_columns_length_snapped_to_the_header(tmp_path):
    volume = load(nifti(tmp_path / "a.nii", ramp()))
    assert volume.spacing == (0.5, 0.75, 3.0)
    assert Volume(ramp(), OBLIQUE).spacing == pytest.approx((0.5, 0.75, 3.0), rel=1e-12)
    assert volume.voxel_mm3 == pytest.approx(0.5 * 0.75 * 3, rel=1e-6)
    sheared = np.array([[1.0, 0.5, 0, 0], [0, 1, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1]])
    assert Volume(ramp(), sheared).voxel_mm3 == pytest.approx(2)
    assert Volume(ramp(), sheared).spacing[1] == pytest.approx(1.25**0.5)
    # pixdim off by 10 %: the affine counts
    path = tmp_path / "a.nii"
    sizes = nib.load(path).header["pixdim"].copy()
    sizes[1] = 0.55
    wrong = load(patched(path, pixdim=sizes, qform_code=0))
    assert wrong.spacing == pytest.approx((0.5, 0.75, 3.0), rel=1e-6)
    assert "sform has voxels of 0.5 x 0.75 x 3 mm, pixdim 0.55" in wrong.notes[0]


def test_lengths_in_metres_are_noted(tmp_path):
    assert "metres; taken for mm" in load(nifti(tmp_path / "a.nii", ramp(), xyzt_units=1)).notes[0]


def test_writing_leaves_no_free_text_and_equal_bytes(tmp_path):
    path = nifti(
        tmp_path / "a.nii",
        ramp(dtype=np.int16),
        descrip=b"Jane Doe 1970",
        db_name=b"patient",
        aux_file=b"/home/jane",
        intent_name=b"jane",
        cal_max=900,
        xyzt_units=10,
    )
    patched(path, scl_slope=3)
    volume = load(path)
    save(tmp_path / "m.nii.gz", volume.data > 5, volume)
    save(tmp_path / "n.nii.gz", volume.data > 5, volume)
    assert (tmp_path / "m.nii.gz").read_bytes() == (tmp_path / "n.nii.gz").read_bytes()
    raw = gzip.decompress((tmp_path / "m.nii.gz").read_bytes()).lower()
    assert b"jane" not in raw
    assert b"patient" not in raw
    header = nib.Nifti1Header(gzip.decompress((tmp_path / "m.nii.gz").read_bytes())[:348])
    assert header.get_slope_inter() == (1, 0)
    assert float(header["cal_max"]) == 0
    assert int(header["xyzt_units"]) == 10
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.nii", "m.nii.gz", "n.nii.gz"]


@pytest.mark.parametrize(
    ("array", "dtype", "stored"),
    [
        (ramp() > 3, None, "u1"),
        (ramp(dtype=np.int64), None, "u1"),
        (ramp(dtype=np.int64) + 196, None, "u1"),
        (ramp(dtype=np.int64) + 197, None, "i2"),
        (ramp(dtype=np.int64) - 2**15, None, "i2"),
        (ramp(dtype=np.int64) - 2**15 - 1, None, "i4"),
        (ramp(dtype=np.int64) - 1, None, "i2"),
        (ramp(dtype=np.int32) * 1000, None, "u2"),
        (ramp(dtype=np.int64) * 100_000, None, "i4"),
        (ramp(dtype=np.int64) * 10**12, None, "i8"),
        (np.full(SHAPE, 2**63 + 5, np.uint64), None, "u8"),
        (ramp(dtype=np.float64) / 60, None, "f4"),
        (ramp().astype(np.float16), None, "f4"),
        (ramp(), np.uint8, "u1"),
        (ramp(), np.float64, "f8"),
        (np.zeros(SHAPE, int), None, "u1"),
    ],
)  # fmt: skip
def test_stored_type(array, dtype, stored, tmp_path):
    volume = Volume(ramp(), OBLIQUE)
    save(tmp_path / "a.nii", array, volume, dtype=dtype)
    image = nib.load(tmp_path / "a.nii")
    assert image.get_data_dtype() == np.dtype(stored)
    np.testing.assert_array_equal(np.asanyarray(image.dataobj), np.asarray(array).astype(stored))
    np.testing.assert_allclose(image.affine, OBLIQUE, atol=1e-6)
    np.testing.assert_allclose(image.get_qform(), OBLIQUE, atol=1e-5)


def test_a_sheared_grid_gets_no_qform(tmp_path):
    sheared = np.array([[1.0, 0.5, 0, 0], [0, 1, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1]])
    save(tmp_path / "a.nii", ramp(), Volume(ramp(), sheared))
    image = nib.load(tmp_path / "a.nii")
    assert int(image.header["qform_code"]) == 0
    np.testing.assert_array_equal(image.affine, sheared)
    assert load(tmp_path / "a.nii").voxel_mm3 == 2


def test_refused_writes_leave_nothing(tmp_path):
    volume = Volume(ramp(), OBLIQUE)
    out = tmp_path / "out" / "a.nii"
    with pytest.raises(GeometryError, match=r"shape \(4, 3, 5\) for the grid \(3, 4, 5\)"):
        save(out, ramp((4, 3, 5)), volume)
    with pytest.raises(ImageError, match="unknown kind of output"):
        save(tmp_path / "a.mha", ramp(), volume)
    with pytest.raises(ImageError, match="expected integers that uint8 holds"):
        save(out, ramp() + 0.5, volume, dtype=np.uint8)
    with pytest.raises(ImageError, match="expected integers that uint8 holds"):
        save(out, ramp() * 10, volume, dtype=np.uint8)
    with pytest.raises(ImageError, match="complex"):
        save(out, ramp(), volume, dtype=np.complex64)
    (tmp_path / "folder.nii").mkdir()
    with pytest.raises(OutputError, match="could not be written"):
        save(tmp_path / "folder.nii", ramp(), volume)
    assert [p.name for p in tmp_path.rglob("*")] == ["folder.nii"]


def test_with_data_and_to_stored_of_an_image_without_a_file():
    volume = Volume(ramp(), OBLIQUE)
    assert volume.name == "image"
    assert volume.with_data(ramp((*SHAPE, 2))).channels == 2
    np.testing.assert_array_equal(volume.to_stored(ramp()), ramp())
    with pytest.raises(GeometryError, match=r"expected \(3, 4, 5\)"):
        volume.with_data(ramp((4, 4, 5)))
    with pytest.raises(GeometryError, match="singular"):
        Volume(ramp(), np.array([[1.0, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]))


@settings(deadline=None, max_examples=40)
@given(
    sizes=st.tuples(*[st.floats(0.02, 40)] * 3),
    angles=st.tuples(*[st.floats(-3.1, 3.1)] * 3),
    offset=st.tuples(*[st.floats(-500, 500)] * 3),
    flip=st.booleans(),
)
def test_any_grid_survives_the_file(sizes, angles, offset, flip, tmp_path_factory):
    turn = nib.eulerangles.euler2mat(*angles) @ np.diag([-1.0 if flip else 1.0, 1, 1])
    affine = nib.affines.from_matvec(turn @ np.diag(sizes), offset)
    path = tmp_path_factory.mktemp("any") / "a.nii"
    save(path, ramp(), Volume(ramp(), affine))
    volume = load(path)
    np.testing.assert_allclose(volume.affine, affine, rtol=1e-6, atol=5e-5)
    assert volume.notes == ()
    np.testing.assert_allclose(volume.spacing, sizes, rtol=1e-6)
    assert volume.axcodes == "".join(nib.aff2axcodes(affine))


def test_real_scans_read_as_nibabel_reads_them(fixtures):
    for path in sorted((fixtures / "realmri").glob("*/*.nii.gz")):
        volume, image = load(path), nib.load(path)
        np.testing.assert_array_equal(volume.data, image.get_fdata(dtype=np.float32))
        np.testing.assert_array_equal(volume.affine, image.affine)
        np.testing.assert_allclose(volume.spacing, image.header.get_zooms()[:3], rtol=1e-6)


def test_an_image_without_a_file_keeps_the_orientation_it_had(tmp_path):
    affine = np.diag([-2.0, 1.5, 3.0, 1.0])
    affine[:3, 3] = 10, -4, 7
    volume = Volume(ramp(), affine)
    turned = volume.reoriented("PIR").reoriented("RAS")
    assert turned.axcodes == "RAS"
    np.testing.assert_array_equal(turned.stored_affine, affine)
    np.testing.assert_array_equal(turned.to_stored(turned.data), ramp())
    save(tmp_path / "a.nii", turned.data, turned)
    written = nib.load(tmp_path / "a.nii")
    np.testing.assert_allclose(written.affine, affine, atol=1e-6)
    np.testing.assert_array_equal(np.asarray(written.dataobj), ramp())
