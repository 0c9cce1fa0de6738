"""An image with its grid: read, checked, turned, and written back where it came from."""

import gzip
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import final

import numpy as np
from jaxtyping import Shaped
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from numpy.typing import DTypeLike

from score_jax._types import Affine, Axcodes, PathLike
from score_jax.errors import GeometryError, ImageError
from score_jax.imaging import grid, nifti
from score_jax.imaging.files import atomic
from score_jax.imaging.orientation import axcodes_of, reorientation

# Only these fields of an input's header reach an output: where the voxels lie, and no free text
# (which may hold names and dates).
_GEOMETRY = (
    *("pixdim", "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d"),
    *("qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z", "xyzt_units"),
    "dim_info",
)


@final
@dataclass(frozen=True, eq=False, slots=True)
class Volume:
    """An image and where its voxels lie.

    Args:
      data: ``(x, y, z)``, or ``(x, y, z, c)`` with channels (or time points) last.
      affine: voxel to RAS+ mm, float64.
      path: the file it came from, if any.
      header: the file's header, kept for writing back; private to `score_jax.imaging`.
      notes: what is odd about the file, one line each (forms that disagree, no orientation).
      turned_from: of an image without a header that `reoriented` turned: the affine it had.

    Raises:
      GeometryError: the affine is singular, not finite, or has absurd voxels.
    """

    data: Shaped[np.ndarray, "x y z"] | Shaped[np.ndarray, "x y z c"]
    affine: Affine
    path: Path | None = None
    header: nifti.Header | None = field(default=None, repr=False)
    notes: tuple[str, ...] = ()
    turned_from: Affine | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.data.ndim not in (3, 4):
            raise ImageError(f"{self.name}: got shape {self.data.shape}; expected 3 or 4 axes")
        grid.check_affine(self.affine, f"{self.name}: its affine")

    @property
    def name(self) -> str:
        """The file, or a word for an image that has none."""
        return str(self.path) if self.path is not None else "image"

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along each spatial axis; the channels are not counted."""
        x, y, z = self.data.shape[:3]
        return x, y, z

    @property
    def channels(self) -> int:
        """How many values a voxel has; 1 for a 3-D image."""
        return 1 if self.data.ndim == 3 else self.data.shape[3]

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel size in mm in array order: the lengths of the affine's columns.

        A length that agrees with the header's `pixdim` to one part in 10000 is given as that
        number, so that 0.5 mm in an oblique image reads 0.5 and not 0.50000003.
        """
        lengths = np.linalg.norm(self.affine[:3, :3], axis=0)
        stated = [] if self.header is None else self.header.fields["pixdim"][1:4].tolist()
        x, y, z = (_snap(float(length), stated) for length in lengths)
        return x, y, z

    @property
    def voxel_mm3(self) -> float:
        """Volume of a voxel in mm³, from the affine's determinant (right for sheared grids)."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    @property
    def axcodes(self) -> Axcodes:
        """Where each axis points, e.g. ``LAS`` (nibabel's sense: directions of increase)."""
        return axcodes_of(self.affine)

    @property
    def channels_last(self) -> Shaped[np.ndarray, "x y z c"]:
        """The data with an axis of channels in any case."""
        return self.data[..., None] if self.data.ndim == 3 else self.data

    def reoriented(self, axcodes: Axcodes) -> "Volume":
        """This image with its axes turned to `axcodes`; a view, no value changes.

        Raises:
          GeometryError: `axcodes` does not name each axis once.
        """
        turn = reorientation(self.affine, axcodes)
        return replace(
            self,
            data=turn.apply(self.data),
            affine=turn.affine(self.affine, self.shape),
            turned_from=None if self.header is not None else self.stored_affine,
        )

    @property
    def stored_affine(self) -> Affine:
        """The affine of the file, or of the image as it was made; `reoriented` keeps it."""
        if self.header is not None:
            return self.header.affine
        return self.affine if self.turned_from is None else self.turned_from

    def like(self, other: "Volume") -> "Volume":
        """This image with its axes turned as those of `other`."""
        return self.reoriented(other.axcodes)

    def with_data(self, data: Shaped[np.ndarray, "..."]) -> "Volume":
        """Other values on this grid.

        Raises:
          GeometryError: `data` has another spatial shape.
        """
        if data.shape[:3] != self.shape:
            raise GeometryError(
                f"{self.name}: got values of shape {data.shape}; expected {self.shape}"
            )
        return replace(self, data=data)

    def to_stored(self, array: Shaped[np.ndarray, "x y z *c"]) -> Shaped[np.ndarray, "u v w *c"]:
        """An array on this grid, turned to the orientation of the file (undoes `reoriented`)."""
        return reorientation(self.affine, axcodes_of(self.stored_affine)).apply(array)


def load(path: PathLike, *, dtype: DTypeLike = np.float32, check: bool = True) -> Volume:
    """Read a NIfTI-1 or NIfTI-2 image (``.nii``, ``.nii.gz``) in its stored orientation.

    The grid is the sform's if its code is above 0, else the qform's, else voxel sizes alone with
    the first axis to the left, centred (nibabel's and SPM's reading). Forms that disagree are
    noted, not refused. A 2-D file is one slice; trailing axes of length 1 are dropped; one axis
    beyond the third is the channels. Slope and intercept are applied (a slope of 0 or NaN: none).

    Args:
      path: the file.
      dtype: a float type; integers above 2**24 lose digits in float32.
      check: also refuse values that are not finite and images that are constant.

    Raises:
      ImageError: missing, damaged, too large, another format, or without usable values.
      GeometryError: impossible voxel sizes or transform.
    """
    path = Path(path)
    header, data = nifti.read(path, dtype)
    if check:
        check_finite(data, path)
        if data.min() == data.max():
            raise ImageError(
                f"{path}: every voxel is {data.flat[0]:g}; expected an image with contrast",
                hint="the export may have failed",
            )
    return Volume(data, header.affine, path, header, header.notes)


def _snap(length: float, stated: list[float]) -> float:
    nearest = min(stated, key=lambda mm: abs(mm - length), default=length)
    return nearest if abs(nearest - length) <= 1e-4 * length else length


def load_header(path: PathLike) -> Volume:
    """The grid of an image without its values: `data` is zeros that occupy no memory."""
    path = Path(path)
    header = nifti.read_header(path)
    empty = np.broadcast_to(np.zeros((), np.float32), header.shape)
    return Volume(empty, header.affine, path, header, header.notes)


def check_finite(data: np.ndarray, path: Path) -> None:
    """Refuse NaN and infinities, saying how many and where the first is.

    Raises:
      ImageError: at least one value is not finite.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        if data.dtype.kind != "f" or np.isfinite(data.sum(dtype=np.float64)):
            return
    bad = ~np.isfinite(data)
    if bad.any():
        first = tuple(int(i) for i in np.argwhere(bad)[0])
        raise ImageError(
            f"{path}: {bad.sum()} of {data.size} values are not finite (the first at voxel "
            f"{first}); expected numbers",
            hint="replace them, e.g. with fslmaths IMAGE -nan IMAGE",
        )


def save(
    path: PathLike, array: np.ndarray, like: Volume, *, dtype: DTypeLike | None = None
) -> None:
    """Write `array`, which lies on the grid of `like`, as a NIfTI file; whole or not at all.

    The file lies on the grid *stored* in the file that `like` came from: if `like` was turned by
    `reoriented`, the array is turned back. Both forms with their codes, units and voxel sizes are
    copied bit by bit; free text of the header (it may name the patient) is not. The same array
    gives the same bytes.

    Args:
      path: ``.nii`` or ``.nii.gz``; folders are made.
      array: ``(x, y, z)`` or ``(x, y, z, c)``.
      like: the image that `array` belongs to.
      dtype: of the stored values; by default uint8 for masks, the smallest integer type for
        labels, float32 for everything else.

    Raises:
      GeometryError: `array` has another shape than `like`.
      ImageError: another suffix, or values that `dtype` cannot hold.
      OutputError: disk full, no permission.
    """
    path = Path(path)
    if not path.name.lower().endswith(nifti.SUFFIXES):
        raise ImageError(f"{path}: got an unknown kind of output; expected .nii or .nii.gz")
    if array.ndim not in (3, 4) or array.shape[:3] != like.shape:
        raise GeometryError(
            f"{path}: got an array of shape {array.shape} for the grid {like.shape} of {like.name}"
        )
    stored = _cast(like.to_stored(array), dtype, path)
    header = _new_header(like, stored)
    content = (header.binaryblock, bytes(4), stored.ravel(order="F").data)
    with atomic(path) as temporary, temporary.open("wb") as file:
        if not path.name.lower().endswith(".gz"):
            file.writelines(content)
            return
        # no name and no time in the gzip header: equal images, equal bytes; noise in floats does
        # not compress, however long one tries
        level = 6 if stored.dtype.kind in "iu" else 1
        with gzip.GzipFile("", "wb", compresslevel=level, fileobj=file, mtime=0) as packed:
            packed.writelines(content)


def _cast(array: np.ndarray, dtype: DTypeLike | None, path: Path) -> np.ndarray:
    if dtype is None:
        if array.dtype == bool:
            dtype = np.uint8
        elif array.dtype.kind in "iu":
            low, high = (int(array.min()), int(array.max())) if array.size else (0, 0)
            kinds = (np.uint8, np.int16, np.uint16, np.int32, np.int64)
            dtype = next(
                (k for k in kinds if np.iinfo(k).min <= low and high <= np.iinfo(k).max), np.uint64
            )
        else:
            dtype = np.float32
    dtype = np.dtype(dtype)
    if dtype.newbyteorder("<").str[1:] not in nifti.REAL_DTYPES:
        raise ImageError(f"{path}: got the type {dtype}; expected integers or floats")
    with np.errstate(invalid="ignore", over="ignore"):
        cast = array.astype(dtype, order="F")  # as a file holds it: not copied again on the way
    fits = np.can_cast(array.dtype, dtype)
    if dtype.kind in "iu" and not fits and not np.array_equal(cast, array):
        raise ImageError(
            f"{path}: got values from {array.min():g} to {array.max():g}; expected integers that "
            f"{dtype} holds",
            hint="save them as float32",
        )
    return cast.astype(dtype.newbyteorder("<"), copy=False)


def _new_header(like: Volume, stored: np.ndarray) -> Nifti1Header | Nifti2Header:
    source = None if like.header is None else like.header.fields
    kind = Nifti2Header if isinstance(source, Nifti2Header) else Nifti1Header
    header = kind(endianness="<")
    header.set_data_dtype(stored.dtype)
    flat = like.header is not None and like.header.stored_ndim == 2 and stored.shape[2:] == (1,)
    header.set_data_shape(stored.shape[:2] if flat else stored.shape)
    if source is None:
        affine = like.stored_affine
        header.set_sform(affine, code=1)
        header.set_qform(affine, code=1)
        turned = np.asarray(header.get_qform())
        if grid.corner_distance(affine, turned, tuple(stored.shape[:3])) > 1e-3:
            header["qform_code"] = 0  # a sheared grid: no quaternion can say it
        header.set_xyzt_units("mm")
    else:
        for name in _GEOMETRY:
            header[name] = source[name]
        if stored.ndim < like.data.ndim:
            header["pixdim"][4:] = 0  # the time between channels that are gone
    header["descrip"] = b"score-jax"
    header["vox_offset"] = int(header["sizeof_hdr"]) + 4
    header["scl_slope"], header["scl_inter"] = 1, 0
    return header
