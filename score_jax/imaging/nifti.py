"""Decoding NIfTI-1 and NIfTI-2 files without trusting them.

The header is judged before anything is allocated, and the data are read as a stream of exactly the
announced length, so that a damaged or hostile file costs an error and no memory. nibabel decodes
the header's fields and its two transforms; the rules below are the project's.
"""

import gzip
import math
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path
from typing import final

import numpy as np
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from numpy.typing import DTypeLike

from score_jax._types import Affine
from score_jax.errors import ImageError
from score_jax.imaging.grid import stated_affine

SUFFIXES = (".nii.gz", ".nii")
MAX_BYTES = 2**32  # of one image, as stored or as float32, whichever is more
_DEFLATE_RATIO = 1040  # the format cannot compress more than 1032 to 1
_TAIL_BYTES = 1 << 24  # read after the data to reach gzip's checksum
_CHUNK = 1 << 22
_REAL = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4"} | {
    1024: "i8",
    1280: "u8",
}
REAL_DTYPES = frozenset(_REAL.values())
_NOT_REAL = {32: "complex", 1792: "complex", 2048: "complex", 128: "RGB", 2304: "RGBA"}


@final
@dataclass(frozen=True, slots=True)
class Header:
    """What a NIfTI header says, checked.

    Args:
      fields: nibabel's header, as stored.
      shape: of the array we return: ``(x, y, z)`` or ``(x, y, z, c)``.
      stored_ndim: 2 if the file held one slice without a third axis.
      affine: voxel to RAS+ mm.
      dtype: of the stored values, with their byte order.
      offset: where the values start, in bytes.
      scaling: slope and intercept, or None where the file states none.
      notes: what is odd but readable, in one line each.
    """

    fields: Nifti1Header | Nifti2Header
    shape: tuple[int, ...]
    stored_ndim: int
    affine: Affine
    dtype: np.dtype
    offset: int
    scaling: tuple[float, float] | None
    notes: tuple[str, ...]


def read_header(path: Path) -> Header:
    """The header of a NIfTI file, checked; no values are read.

    Raises:
      ImageError: not a readable NIfTI file, or announcing an impossible array.
      GeometryError: a voxel size or a transform that cannot be right.
    """
    with _stream(path) as (stream, size, packed):
        return _header(path, stream, size, packed)


def read(path: Path, dtype: DTypeLike) -> tuple[Header, np.ndarray]:
    """The header and the values as `dtype`, scaled by slope and intercept.

    Raises:
      ImageError: as `read_header`, or the values end too soon or fail gzip's checksum.
      GeometryError: as `read_header`.
    """
    with _stream(path) as (stream, size, packed):
        header = _header(path, stream, size, packed)
        _skip(stream, header.offset - int(header.fields["sizeof_hdr"]))
        count = math.prod(header.shape)
        buffer = np.empty(count * header.dtype.itemsize, np.uint8)
        got = _fill(stream, buffer)
        if got < buffer.size:
            raise _truncated(path, f"{got} of {buffer.size} bytes of voxel values")
        if packed:
            _drain(stream)
    stored = buffer.view(header.dtype).reshape(header.shape, order="F")
    return header, _scaled(stored, header.scaling, np.dtype(dtype))


def _scaled(stored: np.ndarray, scaling: tuple[float, float] | None, dtype: np.dtype) -> np.ndarray:
    if scaling is None:
        with np.errstate(over="ignore", invalid="ignore"):  # float64 beyond float32: checked later
            return stored.astype(dtype, order="F", copy=False)
    slope, inter = scaling
    values = np.empty(stored.shape, dtype, order="F")
    for last in range(stored.shape[-1]):  # in double precision, one slice at a time
        with np.errstate(over="ignore", invalid="ignore"):
            values[..., last] = stored[..., last].astype(np.float64) * slope + inter
    return values


@contextmanager
def _stream(path: Path) -> Iterator[tuple[BufferedIOBase, int, bool]]:
    """The open file, its size on disk and whether it is compressed; raw errors become ours."""
    packed = _check_name(path)
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size == 0:
                raise _truncated(path, "an empty file")
            start = file.read(16)
            file.seek(0)
            _refuse_pointer(path, start)
            if start.startswith(b"\x1f\x8b") != packed:
                right = path.name[: -len(".gz")] if packed else path.name + ".gz"
                raise ImageError(
                    f"{path}: got {'a file that is not gzip' if packed else 'a gzip file'}; "
                    f"expected {'gzip, as its name says' if packed else 'none, as its name says'}",
                    hint=f"if it is a NIfTI image, rename it to {right!r}",
                )
            if not packed:
                yield file, size, packed
                return
            with gzip.GzipFile(fileobj=file) as unpacked:
                yield unpacked, size, packed
    except FileNotFoundError:
        link = "the link's content is not here: datalad get, or git annex get, fetches it"
        raise ImageError(
            f"{path}: no such file; expected a NIfTI image", hint=link if path.is_symlink() else ""
        ) from None
    except EOFError:
        raise _truncated(path, "a gzip stream that ends too soon") from None
    except (zlib.error, gzip.BadGzipFile) as error:
        raise ImageError(
            f"{path}: got a damaged gzip stream ({error}); expected a whole one",
            hint="copy or export the file again",
        ) from None
    except PermissionError:
        raise ImageError(
            f"{path}: got no permission to read it; expected a readable file"
        ) from None
    except MemoryError:
        raise ImageError(
            f"{path}: does not fit into memory; expected a smaller image",
            hint="crop or resample it",
        ) from None
    except OSError as error:
        raise ImageError(f"{path}: could not be read: {error.strerror or error}") from None


def _check_name(path: Path) -> bool:
    """Whether the name announces gzip; refuses folders and other kinds of file."""
    if path.is_dir():
        raise ImageError(
            f"{path}: got a folder; expected one NIfTI image (.nii, .nii.gz)",
            hint="name a file in it; DICOM folders: dcm2niix -z y FOLDER",
        )
    name = path.name.lower()
    if name.endswith(SUFFIXES):
        return name.endswith(".gz")
    if name.endswith((".hdr", ".img", ".hdr.gz", ".img.gz")):
        hint = "convert the pair to one .nii.gz, e.g. with fslchfiletype NIFTI_GZ"
    elif name.endswith((".mha", ".mhd", ".nrrd", ".nhdr", ".mgz", ".mgh", ".mnc")):
        hint = "convert it to .nii.gz, e.g. with ITK-SNAP or 3D Slicer"
    else:
        hint = "DICOM: convert it first with dcm2niix -z y FOLDER"
    raise ImageError(f"{path}: got an unknown kind of file; expected .nii or .nii.gz", hint=hint)


def _refuse_pointer(path: Path, start: bytes) -> None:
    """Git LFS and git-annex leave a line of text where the content was not fetched."""
    for begins, remedy in (
        (b"version https://", "git lfs pull"),
        (b"/annex/objects/", "datalad get"),
    ):
        if start.startswith(begins):
            raise ImageError(
                f"{path}: got a pointer to content that is not here; expected a NIfTI image",
                hint=f"fetch it: {remedy}",
            )


def _header(path: Path, stream: BufferedIOBase, size: int, packed: bool) -> Header:
    fields = _fields(path, stream)
    stored, shape = _shape(path, fields)
    code = int(fields["datatype"])
    if code not in _REAL:
        raise ImageError(
            f"{path}: got {_NOT_REAL.get(code, 'unknown')} values (datatype {code}); expected "
            "integers or floats of at most 64 bits",
            hint="save the magnitude" if code in (32, 1792, 2048) else "save it as gray values",
        )
    dtype = np.dtype(_REAL[code]).newbyteorder(fields.endianness)
    offset = _offset(path, fields)
    count = math.prod(shape)
    limit = size * _DEFLATE_RATIO if packed else size
    if count * max(4, dtype.itemsize) > MAX_BYTES:
        raise ImageError(
            f"{path}: its header announces {_times(stored)} values, "
            f"{count * max(4, dtype.itemsize) / 2**30:.1f} GiB; expected at most "
            f"{MAX_BYTES / 2**30:g} GiB",
            hint="crop or resample the image if its header is right",
        )
    if offset + count * dtype.itemsize > limit:
        raise _truncated(
            path,
            f"{size} bytes on disk for {_times(stored)} values of {dtype.itemsize} bytes",
        )
    affine, notes = stated_affine(path, fields, shape)
    return Header(
        fields, shape, len(stored), affine, dtype, offset, _scaling(path, fields), tuple(notes)
    )


def _fields(path: Path, stream: BufferedIOBase) -> Nifti1Header | Nifti2Header:
    start = stream.read(4)
    kinds = {348: (Nifti1Header, b"n+1", b"ni1"), 540: (Nifti2Header, b"n+2", b"ni2")}
    order = "<" if int.from_bytes(start, "little") in kinds else ">"
    length = int.from_bytes(start, "little" if order == "<" else "big")
    if len(start) < 4 or length not in kinds:
        raise ImageError(
            f"{path}: got {start!r} at its start; expected a NIfTI header of 348 or 540 bytes",
            hint="DICOM or another format? convert it with dcm2niix -z y FOLDER",
        )
    kind, single, pair = kinds[length]
    block = start + stream.read(length - 4)
    if len(block) < length:
        raise _truncated(path, f"{len(block)} of {length} bytes of the header")
    fields = kind(block, endianness=order, check=False)
    magic = bytes(fields["magic"].item())[:3]
    if magic != single:
        found = "the header of a two-file image" if magic == pair else f"the magic {magic!r}"
        raise ImageError(
            f"{path}: got {found}; expected {single.decode()} (NIfTI in one file)",
            hint="convert it to one .nii.gz, e.g. with fslchfiletype NIFTI_GZ",
        )
    return fields


def _shape(
    path: Path, fields: Nifti1Header | Nifti2Header
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The stored shape, and ours: channels last, ones that carry nothing dropped."""
    ndim = int(fields["dim"][0])
    stored = tuple(int(n) for n in fields["dim"][1 : 1 + max(0, min(ndim, 7))])
    if not 1 <= ndim <= 7 or min(stored, default=0) < 1:
        raise ImageError(
            f"{path}: its header announces dimensions {[ndim, *stored]}; expected the number of "
            "axes and that many lengths >= 1"
        )
    shape = (*stored, 1) if ndim == 2 else stored
    shape = (*shape[:3], *(n for n in shape[3:] if n > 1))
    if not 3 <= len(shape) <= 4:
        raise ImageError(
            f"{path}: got {_times(stored)} values ({len(stored)} axes); expected x, y, z and at "
            "most one axis of channels",
            hint="split the file, e.g. with fslsplit or sct_image -split t",
        )
    return stored, shape


def _offset(path: Path, fields: Nifti1Header | Nifti2Header) -> int:
    least = int(fields["sizeof_hdr"]) + 4
    value = float(fields["vox_offset"])
    if value == 0:
        return least
    if not math.isfinite(value) or value < least or value > 2**31 or value != int(value):
        raise ImageError(
            f"{path}: its values start at byte {value:g}; expected {least} or a little more"
        )
    return int(value)


def _scaling(path: Path, fields: Nifti1Header | Nifti2Header) -> tuple[float, float] | None:
    """Slope and intercept; a slope of 0, NaN or infinity means unscaled (as nibabel reads it)."""
    slope, inter = float(fields["scl_slope"]), float(fields["scl_inter"])
    if slope == 0 or not math.isfinite(slope):
        return None
    if not math.isfinite(inter):
        raise ImageError(f"{path}: got the intercept {inter} (scl_inter); expected a finite one")
    return None if (slope, inter) == (1, 0) else (slope, inter)


def _fill(stream: BufferedIOBase, buffer: np.ndarray) -> int:
    view, done = memoryview(buffer.data), 0
    while done < len(view):
        got = stream.readinto(view[done : done + _CHUNK])
        if not got:
            break
        done += got
    return done


def _skip(stream: BufferedIOBase, count: int) -> None:
    while count > 0:
        got = len(stream.read(min(count, _CHUNK)))
        if not got:
            return
        count -= got


def _drain(stream: BufferedIOBase) -> None:
    """Read on to the end, where gzip keeps its checksum; never far, whatever follows."""
    left = _TAIL_BYTES
    while left > 0 and (block := stream.read(min(left, _CHUNK))):
        left -= len(block)


def _truncated(path: Path, found: str) -> ImageError:
    return ImageError(
        f"{path}: got {found}; expected a whole file",
        hint="it is truncated or its header is wrong: copy or export it again",
    )


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
