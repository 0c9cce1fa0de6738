"""Finding the lesions of a mask: what its values mean, numbers, the cut at the cord, leftovers."""

from dataclasses import dataclass, replace
from typing import Literal, final

import numpy as np
from jaxtyping import Float64, Int32, Shaped

from score_jax.arrays.components import bounding_box
from score_jax.morphometry.centerline import Tilt, level, slice_centres, tilt
from score_jax.morphometry.numbering import number_lesions
from score_jax.morphometry.orientation import Anatomy
from score_jax.morphometry.scene import Scene
from score_jax.morphometry.values import HALF, probabilities

Outside = Literal["clip", "add"]
TiltOver = Literal["image", "cord"]


@final
@dataclass(frozen=True, slots=True)
class Found:
    """The lesions of a mask.

    Args:
      scene: with the lesions that are measured, cut at the cord.
      labels: all of them, cropped as the scene, not cut.
      outside_mm3: volume that the cut at the cord took away, by label.
      warnings: what was odd about the masks and what was left out.
    """

    scene: Scene
    labels: Int32[np.ndarray, "x y z"]
    outside_mm3: Float64[np.ndarray, " labels"]
    warnings: tuple[str, ...]

    def labels_as_stored(self, where: Anatomy) -> Int32[np.ndarray, "i j k"]:
        """The numbered lesions on the grid of the file."""
        whole = np.zeros(where.shape, np.int32)
        x, y = self.scene.corner
        whole[x : x + self.labels.shape[0], y : y + self.labels.shape[1]] = self.labels
        return np.ascontiguousarray(where.back(whole))


def find(
    lesion: Shaped[np.ndarray, "i j k"],
    cord: Shaped[np.ndarray, "i j k"] | None,
    where: Anatomy,
    *,
    soft: bool,
    outside: Outside,
    min_volume_mm3: float,
    tilt_over: TiltOver,
) -> Found:
    """The lesions of a mask, numbered before they are cut at the cord (see `analysis.lesions`).

    An empty mask has none; an empty cord is no cord.

    Raises:
      ImageError: a mask that is none.
    """
    warnings: list[str] = []
    everything = [where.turn(mask) for mask in (lesion, cord) if mask is not None]
    box = bounding_box(*everything) or (slice(0, 1), slice(0, 1), slice(0, 1))
    corner = (box[0].start, box[1].start)
    cropped = [np.ascontiguousarray(mask[box[0], box[1]]) for mask in everything]
    weight = _lesion(cropped[0], soft, warnings)
    labels = number_lesions(weight > 0)
    values = None if cord is None else _cord(cropped[1], warnings)
    lean = _tilt(values, where, tilt_over, corner, warnings)
    inside = labels
    if values is not None:
        if outside == "add":
            values = np.maximum(values, weight)
        inside = labels * (values > HALF)
    voxels = np.full(where.shape[2], np.nan) if values is None else values.sum(axis=(0, 1))
    scene = Scene(inside, weight if soft else None, values, voxels, where.spacing, lean, corner)
    kept = _leave_out(scene, labels, weight, min_volume_mm3, warnings)
    cut = np.bincount(labels.ravel(), (weight * (inside == 0)).ravel()) * scene.voxel_mm3
    return Found(kept, labels, cut, tuple(warnings))


def _lesion(
    mask: Shaped[np.ndarray, "x y z"], soft: bool, warnings: list[str]
) -> Float64[np.ndarray, "x y z"]:
    values, remark = probabilities(mask, "lesion mask")
    warnings += [remark] if remark else []
    if values.dtype == bool or soft:
        return values.astype(np.float64)
    warnings.append("lesion mask is soft; voxels of 0.5 and above were taken")
    return (values >= HALF).astype(np.float64)


def _cord(
    mask: Shaped[np.ndarray, "x y z"], warnings: list[str]
) -> Float64[np.ndarray, "x y z"] | None:
    values, remark = probabilities(mask, "cord mask")
    warnings += [remark] if remark else []
    if not values.any():
        warnings.append("cord mask is empty; only volume and intensity are known")
        return None
    return values.astype(np.float64)


def _tilt(
    cord: Float64[np.ndarray, "x y z"] | None,
    where: Anatomy,
    over: TiltOver,
    corner: tuple[int, int],
    warnings: list[str],
) -> Tilt:
    if cord is None:
        return level(where.shape[2])
    z, _, _ = slice_centres(cord)
    if z.size < 2:
        warnings.append("cord mask is on one slice; the cord is taken to be upright")
    slices = int(z[-1] - z[0]) + 1 if over == "cord" else where.shape[2]
    return tilt(cord, where.spacing, slices=slices, corner=corner)


def _leave_out(
    scene: Scene,
    labels: Int32[np.ndarray, "x y z"],
    weight: Float64[np.ndarray, "x y z"],
    min_volume_mm3: float,
    warnings: list[str],
) -> Scene:
    """The scene without lesions that are outside the cord, too faint or too small."""
    count = int(labels.max()) + 1
    core = np.bincount(scene.labels[weight >= HALF], minlength=count)
    inside = np.bincount(scene.labels.ravel(), minlength=count)
    volume = np.bincount(scene.labels.ravel(), weight.ravel(), count) * scene.voxel_mm3
    every = np.arange(count)
    there = every > 0
    outside = there & (inside == 0)
    faint = there & ~outside & (core == 0)
    small = there & ~outside & ~faint & (volume < min_volume_mm3)
    for which, reason in (
        (outside, "outside the cord"),
        (faint, "nowhere 0.5 or above"),
        (small, f"smaller than {min_volume_mm3:g} mm3"),
    ):
        if which.any():
            warnings.append(f"{_numbers(every[which])} {reason}; not measured")
    drop = outside | faint | small
    if not (faint | small).any():
        return scene
    keep = np.where(drop, 0, every).astype(np.int32)
    return replace(scene, labels=keep[scene.labels])


def _numbers(labels: np.ndarray) -> str:
    if labels.size == 1:
        return f"lesion {labels[0]} is"
    return f"lesions {', '.join(map(str, labels))} are"
