"""Compartments of a cross-section out of the masks that raters or networks give."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt8
from scipy import ndimage

Masks = Mapping[str, Bool[np.ndarray, "x y z"]]

PARTS = ("ah", "ph", "gc")
# as the study's frames call them, by the name of the mask
COMPARTMENTS = {
    "SC": "cord", "WM": "wm", "GM": "gm", "AH": "ah", "PH": "ph", "GC": "gc", "canal": "canal",
    "lesion": "lesion",
}  # fmt: skip
WITHIN_CORD = ("SC", "WM", "GM", "AH", "PH", "GC")  # what has a normal-appearing part


def divided(gm: Bool[np.ndarray, "x y z"], parts: Masks) -> dict[str, Bool[np.ndarray, "x y z"]]:
    """The grey matter `gm` divided as somebody divided another one, slice by slice.

    A voxel that lies in none of `parts` goes to the nearest one of its slice, so the horns and the
    commissure fill `gm` and nothing else. One rater drew the parts; this lays them on a consensus.

    Args:
      gm: what is to be divided, slices last; pixels are taken as square.
      parts: ``ah``, ``ph``, ``gc``, on the same grid; where they overlap the later one counts.

    Returns:
      The same names. A slice without any of the parts is divided into nothing.
    """
    drawn = np.zeros(gm.shape, np.uint8)
    for number, name in enumerate(PARTS, 1):
        drawn[parts[name]] = number
    for z in range(gm.shape[2]):
        plane = drawn[..., z]
        if plane.any():
            near: Any = ndimage.distance_transform_edt(
                plane == 0, return_distances=False, return_indices=True
            )
            drawn[..., z] = plane[tuple(near)]
    return {name: gm & (drawn == number) for number, name in enumerate(PARTS, 1)}


def most_likely(
    shares: Mapping[str, Float[np.ndarray, "x y z"]],
) -> UInt8[np.ndarray, "x y z"]:
    """The number in `PARTS`, from 0, of the most probable part of every voxel, inside or not.

    Args:
      shares: the network's probabilities of ``ah``, ``ph``, ``gc``.
    """
    return np.argmax(np.stack([shares[name] for name in PARTS]), axis=0).astype(np.uint8)


def divided_as(
    gm: Bool[np.ndarray, "x y z"], likely: UInt8[np.ndarray, "x y z"]
) -> dict[str, Bool[np.ndarray, "x y z"]]:
    """The grey matter divided into the most likely parts (`most_likely`)."""
    return {name: gm & (likely == number) for number, name in enumerate(PARTS)}


def completed(masks: Masks) -> dict[str, Bool[np.ndarray, "x y z"]]:
    """`masks` with the white matter: cord without grey matter, where both are there."""
    found = dict(masks)
    if {"cord", "gm"} <= set(found):
        found["gm"] = found["gm"] & found["cord"]
        found["wm"] = found["cord"] & ~found["gm"]
    return found


def normal_appearing(masks: Masks) -> dict[str, Bool[np.ndarray, "x y z"]]:
    """What lies outside the lesions, of all that is within the cord; nothing without a lesion mask.

    Names as `COMPARTMENTS`.
    """
    if "lesion" not in masks:
        return {}
    return {
        name: masks[COMPARTMENTS[name]] & ~masks["lesion"]
        for name in WITHIN_CORD
        if COMPARTMENTS[name] in masks
    }
