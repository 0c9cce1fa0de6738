"""Numbers of lesions: connected components in the order in which SCT counts them."""

import cc3d
import numpy as np
from jaxtyping import Bool, Int32


def number_lesions(mask: Bool[np.ndarray, "x y z"]) -> Int32[np.ndarray, "x y z"]:
    """Components 1, 2, ... of a mask along the working axes; an empty mask gives zeros.

    Voxels that share a face or an edge belong together (18 neighbours); a corner does not join.
    Numbers follow the first voxel met with z running fastest and x slowest, which is the order of
    `scipy.ndimage.label` and of the Spinal Cord Toolbox.
    """
    if not mask.any():
        return np.zeros(mask.shape, np.int32)
    found = cc3d.connected_components(np.ascontiguousarray(mask), connectivity=18)
    values = found[mask]  # raster order, z fastest
    numbers = np.zeros(int(values.max()) + 1, np.int32)
    _, first = np.unique(values, return_index=True)
    numbers[values[np.sort(first)]] = np.arange(1, first.size + 1)
    return numbers[found]
