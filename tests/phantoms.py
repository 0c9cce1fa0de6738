"""Tiny synthetic scans with a known answer: a straight bright canal with a darker cord in it."""

from pathlib import Path

import nibabel as nib
import numpy as np

SHAPE = (20, 24, 18)


def scan(seed: int, *, lesion: bool = True, shape=SHAPE, channels: int = 0):
    """Image, cord and lesion; the cord is a disc of 4 voxels around a wandering centre."""
    rng = np.random.default_rng(seed)
    x, y, z = np.meshgrid(*map(np.arange, shape), indexing="ij")
    centre = np.array(shape[:2]) / 2 + rng.normal(0, 1, 2)
    slope = rng.normal(0, 0.05, 2)
    distance = np.hypot(x - centre[0] - slope[0] * z, y - centre[1] - slope[1] * z)
    cord = distance < 4
    at = rng.integers(5, shape[2] - 5)
    blob = (x - centre[0]) ** 2 + (y - centre[1]) ** 2 + (z - at) ** 2 < 6
    blob &= cord & lesion
    image = 0.5 + 0.1 * rng.normal(size=shape)
    image[distance < 7] += 1.5
    image[cord] -= 1.0
    image[blob] += 0.7
    if channels:
        image = image[..., None] * np.linspace(0.5, 1.5, channels)
    return image.astype(np.float32), cord, blob


def write_table(folder: Path, count: int = 4, *, channels: int = 0, affine=None) -> Path:
    """A dataset as a table of paths, the truth as binary masks of cord and lesion."""
    folder.mkdir(parents=True, exist_ok=True)
    affine = np.diag([1.0, 1.0, 1.0, 1.0]) if affine is None else affine
    rows = ["case\timage\tcord\tlesion"]
    for number in range(count):
        image, cord, lesion = scan(number, channels=channels)
        names = [f"c{number}_{part}.nii.gz" for part in ("image", "cord", "lesion")]
        for name, array in zip(
            names, (image, cord.astype(np.uint8), lesion.astype(np.uint8)), strict=True
        ):
            nib.save(nib.Nifti1Image(array, affine), folder / name)
        rows.append("\t".join([f"c{number}", *names]))
    path = folder / "dataset.tsv"
    path.write_text("\n".join(rows) + "\n")
    return path
