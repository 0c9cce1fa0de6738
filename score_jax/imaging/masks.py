"""Masks and label maps: images whose values must mean something, and grids that must agree."""

import numpy as np

from score_jax._types import PathLike
from score_jax.errors import GeometryError, ImageError
from score_jax.imaging import grid
from score_jax.imaging.volume import Volume, check_finite, load

_NEAR = 1e-3  # how far a stored value may lie from the integer it means
_SHOWN = 8


def load_mask(path: PathLike, *, soft: bool = False) -> Volume:
    """Read a mask: 0 and 1 (or 0 and 255), as bool; an all-zero mask is a valid empty one.

    Args:
      path: the file.
      soft: accept values between 0 and 1 and return float32; values above 1, as some tools
        write, count as 1.

    Raises:
      ImageError: as `load`, more than one channel, or other values than those.
      GeometryError: as `load`.
    """
    volume = _load_single(path)
    data = volume.data
    if soft:
        if data.size and (data.min() < -_NEAR or data.max() > 2):
            raise ImageError(
                f"{path}: got values from {data.min():g} to {data.max():g}; expected 0 to 1"
            )
        return volume.with_data(np.clip(data, 0, 1))
    binary = (np.abs(data) <= _NEAR) | (np.abs(data - 1) <= _NEAR)
    if binary.all():
        return volume.with_data(data > 0.5)
    if np.isin(data, (0, 255)).all():
        return volume.with_data(data == 255)
    raise ImageError(
        f"{path}: got the values {_some(data)}; expected 0 and 1",
        hint="binarise it, or name it as a label map",
    )


def load_labels(path: PathLike) -> Volume:
    """Read a label map: integers >= 0 (each within 0.001), as int32; all zeros is valid.

    Raises:
      ImageError: as `load`, more than one channel, or values that are not such integers.
      GeometryError: as `load`.
    """
    volume = _load_single(path)
    near = np.rint(volume.data)
    wrong = (np.abs(volume.data - near) > _NEAR) | (near < 0) | (near > 2**24)
    if wrong.any():
        raise ImageError(
            f"{path}: got the values {_some(volume.data[wrong])} in {wrong.sum()} voxels; "
            "expected integers >= 0",
            hint="a mask interpolated on its way? export it with nearest neighbour",
        )
    return volume.with_data(near.astype(np.int32))


def same_grid(a: Volume, b: Volume, *, what: str = "image and mask") -> None:
    """Refuse two volumes that do not share shape and place.

    Two grids are the same if their corner voxels lie within 0.01 of the smallest voxel side or
    0.001 mm of each other, whichever is more: the rounding of headers passes, half a voxel does
    not. Channels are not compared.

    Raises:
      GeometryError: prints both shapes, spacings, orientations, and the distance.
    """
    tolerance = grid.grid_tolerance(a.spacing)
    distance = grid.corner_distance(a.affine, b.affine, a.shape)
    if a.shape == b.shape and distance <= tolerance:
        return
    apart = f"; corners {distance:.3g} mm apart" if a.shape == b.shape else ""
    turned = a.axcodes != b.axcodes
    raise GeometryError(
        f"{what} lie on different grids: {a.name} is {_grid(a)}, {b.name} is {_grid(b)}{apart}; "
        f"expected the same grid within {tolerance:.2g} mm",
        hint="turn one to the other's orientation"
        if turned
        else "resample one to the other, e.g. with sct_register_multimodal -identity 1",
    )


def _load_single(path: PathLike) -> Volume:
    volume = load(path, check=False)
    if volume.channels != 1:
        raise ImageError(f"{path}: got {volume.channels} channels; expected a mask of one")
    assert volume.path is not None
    check_finite(volume.data, volume.path)
    return volume


def _some(values: np.ndarray) -> str:
    distinct = np.unique(values)
    text = ", ".join(f"{v:g}" for v in distinct[:_SHOWN])
    return text + (f" ... ({distinct.size} in all)" if distinct.size > _SHOWN else "")


def _grid(volume: Volume) -> str:
    shape = " x ".join(map(str, volume.shape))
    spacing = " x ".join(f"{mm:.4g}" for mm in volume.spacing)
    origin = ", ".join(f"{mm:.2f}" for mm in volume.affine[:3, 3])
    return f"{shape} voxels of {spacing} mm, {volume.axcodes}, origin ({origin})"
