"""Small scans along the working axes (LAS) with a known cord and lesions."""

from itertools import permutations, product

import nibabel as nib
import numpy as np

LAS = np.diag([-1.0, 1.0, 1.0, 1.0])


def grid(shape):
    return np.ogrid[tuple(slice(n) for n in shape)]


def affine(spacing=(1, 1, 1)):
    """Of an array along the working axes."""
    return LAS @ np.diag([*spacing, 1.0])


def tube(shape=(14, 15, 20), centre=(6.5, 7.0), radii=(4, 4.2), slope=(0.0, 0.0)):
    """An elliptic cord from end to end, leaning to the left and to the front."""
    x, y, z = grid(shape)
    u = (x - centre[0] - slope[0] * (z - shape[2] / 2)) / radii[0]
    v = (y - centre[1] - slope[1] * (z - shape[2] / 2)) / radii[1]
    return u**2 + v**2 < 1


def brick(shape, *ranges):
    mask = np.zeros(shape, bool)
    mask[tuple(slice(*r) for r in ranges)] = True
    return mask


def every_orientation():
    """The 48 ways to store an array along the working axes: (axes, flips)."""
    return [
        (axes, flips) for axes in permutations(range(3)) for flips in product((1, -1), repeat=3)
    ]


def stored(array, matrix, axes, flips):
    """An array and its affine with axes permuted and flipped (nibabel's own arithmetic)."""
    orientation = np.array([[axes.index(i), flips[i]] for i in range(3)])
    turned = nib.orientations.apply_orientation(array, orientation)
    back = nib.orientations.inv_ornt_aff(orientation, array.shape[:3])
    return np.ascontiguousarray(turned), matrix @ back


def read(folder, name):
    path = folder / f"{name}.nii.gz"
    return np.asanyarray(nib.load(path).dataobj) if path.exists() else None


def assert_rows(got, expected, rtol=1e-9, atol=1e-12):
    """Rows equal in columns, their order, and values; null is NaN."""
    assert [list(row) for row in got] == [list(row) for row in expected]
    for row, other in zip(got, expected, strict=True):
        values = [np.nan if v is None else v for v in other.values()]
        np.testing.assert_allclose(
            list(row.values()), values, rtol=rtol, atol=atol, err_msg=str(list(row))
        )
