"""Where the voxels of a NIfTI file lie, which of its transforms counts, and what is refused.

The rules are written down in `docs/conventions.md`.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header

from score_jax._types import Affine
from score_jax.errors import GeometryError

MIN_VOXEL_MM, MAX_VOXEL_MM = 0.01, 50.0


def stated_affine(
    path: Path, fields: Nifti1Header | Nifti2Header, shape: tuple[int, ...]
) -> tuple[Affine, list[str]]:
    """The transform the header states, and what is odd about it.

    Raises:
      GeometryError: impossible voxel sizes, or the chosen transform is not finite or singular.
    """
    sizes = [float(mm) for mm in fields["pixdim"][1:4]]
    _check_sizes(path, sizes, "pixdim")
    unit = {1: "metres", 3: "micrometres"}.get(int(fields["xyzt_units"]) & 7)
    notes = [f"says that its lengths are in {unit}; taken for mm"] if unit else []
    if int(fields["sform_code"]) > 0:
        affine, source = np.array(fields.get_sform(), np.float64), "sform"
    elif int(fields["qform_code"]) > 0:
        affine, source = _qform(path, fields), "qform"
    else:
        note = "states no orientation (sform and qform codes are 0): left and right are assumed"
        return _bare_affine(shape, sizes), [*notes, note]
    check_affine(affine, f"{path}: its {source}")
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.allclose(spacing, sizes, rtol=0.01):
        notes.append(f"{source} has voxels of {_mm(spacing)}, pixdim {_mm(sizes)}; used {source}")
    if source == "sform" and int(fields["qform_code"]) > 0:
        try:
            shift = corner_distance(affine, _qform(path, fields), shape)
        except GeometryError:
            shift = math.inf
        if not shift <= grid_tolerance(sizes):
            notes.append(f"sform and qform disagree by up to {shift:.3g} mm; used sform")
    return affine, notes


def _qform(path: Path, fields: Nifti1Header | Nifti2Header) -> Affine:
    fields = fields.copy()
    if fields["pixdim"][0] not in (-1, 1):
        fields["pixdim"][0] = 1  # the standard's reading of 0
    try:
        with np.errstate(invalid="ignore", over="ignore"):
            return np.array(fields.get_qform(), np.float64)
    except ValueError:
        quaternion = [float(fields[f"quatern_{letter}"]) for letter in "bcd"]
        raise GeometryError(
            f"{path}: its qform has the quaternion {quaternion}; expected a length of at most 1",
            hint="write the geometry again, e.g. with sct_image -set-sform-to-qform",
        ) from None


def _bare_affine(shape: tuple[int, ...], sizes: list[float]) -> Affine:
    """Centred, first axis to the left: what nibabel and SPM take for a file that says nothing."""
    scale = np.array([-sizes[0], sizes[1], sizes[2]])
    affine = np.diag([*scale, 1.0])
    affine[:3, 3] = -scale * (np.array(shape[:3]) - 1) / 2
    return affine


def check_affine(affine: Affine, what: str) -> None:
    """Refuse a transform that is not finite, is singular or has absurd voxels.

    Args:
      affine: voxel to RAS+ mm.
      what: what it belongs to, to begin the message with.

    Raises:
      GeometryError: says which.
    """
    hint = "restore the geometry from the original image, e.g. with sct_image -copy-header"
    if not np.isfinite(affine).all():
        raise GeometryError(f"{what} has values that are not finite; expected numbers", hint=hint)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    _check_sizes(what, [float(mm) for mm in spacing], "columns")
    if abs(np.linalg.det(affine[:3, :3] / spacing)) < 1e-3:
        raise GeometryError(
            f"{what} is singular (axes in one plane); expected three axes", hint=hint
        )


def _check_sizes(what: str | Path, sizes: list[float], source: str) -> None:
    rounding = 1e-6  # headers hold float32
    if all(MIN_VOXEL_MM * (1 - rounding) <= mm <= MAX_VOXEL_MM * (1 + rounding) for mm in sizes):
        return
    raise GeometryError(
        f"{what}: got voxels of {_mm(sizes)} ({source}); expected {MIN_VOXEL_MM} to "
        f"{MAX_VOXEL_MM:g} mm on each axis",
        hint="correct the header; lengths must be in mm",
    )


def grid_tolerance(sizes: Sequence[float]) -> float:
    """How far apart, in mm, corners of one and the same grid may lie for the rounding of headers.

    A hundredth of the smallest voxel side, or a thousandth of a mm if that is more.
    """
    return max(1e-3, 0.01 * min(sizes))


def corner_distance(a: Affine, b: Affine, shape: tuple[int, ...]) -> float:
    """How far apart, in mm, the corners of a grid of `shape` lie under two affines, at most."""
    corners = np.stack(np.meshgrid(*[[0, n - 1] for n in shape[:3]], [1.0]), -1).reshape(-1, 4)
    return float(np.linalg.norm(corners @ (a - b).T, axis=1).max())


def _mm(sizes: object) -> str:
    return " x ".join(f"{float(mm):.6g}" for mm in np.asarray(sizes)) + " mm"
