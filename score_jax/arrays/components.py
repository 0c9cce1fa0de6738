"""Connected components of a mask: labelling, sizes, the largest, small ones, holes.

Labelling is done by connected-components-3d (Silversmith, 2021), which is several times faster
than `scipy.ndimage.label` and agrees with it.
"""

import cc3d
import numpy as np
from jaxtyping import Bool, Int32, Int64, Integer, Shaped
from scipy import ndimage

# neighbours of a voxel -> how many axes may change at once (scipy's `connectivity`)
_CONNECTIVITY = {2: {4: 1, 8: 2}, 3: {6: 1, 18: 2, 26: 3}}

Box = tuple[slice, ...]


def bounding_box(*masks: Shaped[np.ndarray, "*space"], margin: int = 0) -> Box | None:
    """The smallest box around everything that is not zero in any of `masks`.

    Args:
      masks: arrays of one shape.
      margin: voxels to add on every side; the box never leaves the image.

    Returns:
      One slice an axis, or None if all masks are empty.
    """
    inside: Box = ()
    for axis in range(masks[0].ndim):
        others = tuple(a for a in range(masks[0].ndim) if a != axis)
        # what lies outside the box found so far is empty: do not look at it again
        occupied = np.logical_or.reduce([mask[inside].any(axis=others) for mask in masks])
        places = np.flatnonzero(occupied)
        if not places.size:
            return None
        inside = (*inside, slice(int(places[0]), int(places[-1]) + 1))
    return tuple(
        slice(max(s.start - margin, 0), min(s.stop + margin, length))
        for s, length in zip(inside, masks[0].shape, strict=True)
    )


def components(
    mask: Bool[np.ndarray, "*space"], connectivity: int = 6, *, min_voxels: int = 1
) -> tuple[Int32[np.ndarray, "*space"], Int64[np.ndarray, " n"]]:
    """Label the connected components, the largest first.

    Components of equal size are ordered by their first voxel in raster order (first axis
    fastest), so the numbering does not depend on the library.

    Args:
      mask: 2-D or 3-D.
      connectivity: 6, 18 or 26 neighbours in 3-D; 4 or 8 in 2-D.
      min_voxels: smaller components become background.

    Returns:
      Labels 1 ... n (0 is background) and the sizes in voxels; an empty mask gives zeros and no
      size.
    """
    _check(mask, connectivity)
    labels = np.zeros(mask.shape, np.int32)
    box = bounding_box(mask)
    if box is None:
        return labels, np.zeros(0, np.int64)
    # cc3d 4.1.1 refuses some thin bool images with 26 neighbours (its guess at the number of labels
    # is too low), and labels some views of integers wrongly: give it integers in one piece
    image = mask[box].copy(order="K").view(np.uint8)
    found = cc3d.connected_components(image, connectivity=connectivity)  # pyright: ignore
    values = found.T[mask[box].T]  # raster order, first axis fastest
    sizes = np.bincount(values)
    first = np.zeros(sizes.size, np.int64)
    first[values[::-1]] = np.arange(values.size)[::-1]  # the last assignment, the first voxel, wins
    order = np.lexsort((first[1:], -sizes[1:])) + 1
    order = order[sizes[order] >= min_voxels]
    rank = np.zeros(sizes.size, np.int32)
    rank[order] = np.arange(1, order.size + 1)
    labels[box] = rank[found]
    return labels, sizes[order].astype(np.int64)


def component_sizes(labels: Integer[np.ndarray, "*space"]) -> Int64[np.ndarray, " n"]:
    """Voxels of each label 1 ... the largest one; a label that does not occur has 0."""
    return np.bincount(labels[labels > 0], minlength=1)[1:].astype(np.int64)


def largest(mask: Bool[np.ndarray, "*space"], connectivity: int = 26) -> Bool[np.ndarray, "*space"]:
    """The largest component alone; of equal ones the first in raster order; an empty mask stays."""
    labels, _ = components(mask, connectivity)
    return labels == 1


def remove_small(
    mask: Bool[np.ndarray, "*space"], min_voxels: int, connectivity: int = 26
) -> Bool[np.ndarray, "*space"]:
    """The mask without components of fewer than `min_voxels` voxels."""
    labels, _ = components(mask, connectivity, min_voxels=min_voxels)
    return labels > 0


def fill_holes(mask: Bool[np.ndarray, "*space"]) -> Bool[np.ndarray, "*space"]:
    """The mask with its holes filled.

    A hole is background that no path of face neighbours joins to the edge of the image.
    """
    box = bounding_box(mask, margin=1)
    filled = mask.copy()
    if box is not None:
        filled[box] = ndimage.binary_fill_holes(mask[box])
    return filled


def structure(ndim: int, connectivity: int) -> Bool[np.ndarray, "*three"]:
    """The neighbourhood of a voxel as a small array (3 along every axis), for morphology."""
    return ndimage.generate_binary_structure(ndim, _CONNECTIVITY[ndim][connectivity])


def _check(mask: np.ndarray, connectivity: int) -> None:
    allowed = _CONNECTIVITY.get(mask.ndim, {})
    if connectivity not in allowed:
        raise ValueError(
            f"connectivity: got {connectivity} for {mask.ndim} axes; expected one of "
            f"{sorted(allowed)}"
        )
