"""Pictures of the documentation, from real calls: `python docs/scripts/pictures.py [NAME ...]`.

`overlap`, `distances`, `size`, `lesions` are docs/scores_in_pictures.md's and take a second;
`overview` is that of the first page and runs the shipped model `gm` on a simulated scan.
"""

import argparse
import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from score_jax import metrics

OUT = Path(__file__).resolve().parents[1] / "images"
REFERENCE, PREDICTION, BOTH = "#2f7ed8", "#e8743b", "#8b5a9e"
MM = (0.5, 0.5)  # voxels of every drawn mask


def disc(radius_mm: float, centre_mm: tuple[float, float] = (0.0, 0.0)) -> np.ndarray:
    """A filled circle on 48 x 48 voxels of 0.5 mm; the origin is the middle of the image."""
    x, y = np.mgrid[:48, :48] * MM[0] - 12.0 + MM[0] / 2
    return np.hypot(x - centre_mm[0], y - centre_mm[1]) <= radius_mm


def overlap_cases() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Prediction and reference of four ways to be wrong about a cord."""
    cord = disc(4.0)
    return {
        "shifted by one voxel": (disc(4.0, (0.5, 0.0)), cord),
        "one voxel too large": (disc(4.5), cord),
        "one voxel too small": (disc(3.5), cord),
        "a second thing far away": (cord | disc(1.5, (7.5, 7.5)), cord),
    }


def distance_cases() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Prediction and reference whose Dice is nearly the same, and whose distances are not."""
    cord, stray, dent = disc(4.0), disc(4.0), disc(4.0)
    stray = stray | disc(0.6, (8.0, 0.0))
    dent = dent & ~disc(1.0, (4.0, 0.0))
    return {
        "one speck": (stray, cord),
        "a dent": (dent, cord),
        "a border half a voxel off": (disc(4.0, (0.25, 0.0)), cord),
    }


def lesion_cases() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """A large and three small lesions in a slice, and two predictions with nearly the same Dice."""
    large, small = disc(4.0, (-4.0, 0.0)), [disc(1.2, (5.0, y)) for y in (-6.0, 0.0, 6.0)]
    reference = large | small[0] | small[1] | small[2]
    return {
        "small ones missed": (large, reference),
        "all found, the large one smaller": (
            disc(3.4, (-4.0, 0.0)) | small[0] | small[1] | small[2],
            reference,
        ),
        "one missed, two invented": (
            large | small[0] | small[1] | disc(1.2, (9.5, 3.0)) | disc(1.2, (9.5, -3.0)),
            reference,
        ),
    }


def size_curve(shift_mm: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Radii in mm, and the Dice of a disc with itself moved by `shift_mm`."""
    radii = np.arange(0.75, 8.01, 0.25)
    moved = [float(metrics.dice(disc(r, (shift_mm, 0.0)), disc(r))) for r in radii]
    return radii, np.array(moved)


def overlap() -> Any:
    """Four panels: what each score says of the same size of mistake."""
    figure, axes = _panels(4)
    for axis, (name, (pred, ref)) in zip(axes, overlap_cases().items(), strict=True):
        _show(axis, pred, ref, name)
        _write(
            axis,
            f"Dice {metrics.dice(pred, ref):.3f}",
            f"sensitivity {metrics.sensitivity(pred, ref):.3f}   PPV {metrics.ppv(pred, ref):.3f}",
            f"volume error {metrics.relative_volume_error(pred, ref):+.1f} %",
        )
    return figure


def distances() -> Any:
    """Three panels: Dice beside four distances."""
    figure, axes = _panels(3)
    for axis, (name, (pred, ref)) in zip(axes, distance_cases().items(), strict=True):
        _show(axis, pred, ref, name)
        _write(
            axis,
            f"Dice {metrics.dice(pred, ref):.3f}   ASSD {metrics.assd(pred, ref, MM):.2f} mm",
            f"Hausdorff {metrics.hausdorff(pred, ref, MM):.2f}   "
            f"95 % {metrics.hausdorff95(pred, ref, MM):.2f} mm",
            f"surface within 1 mm {metrics.nsd(pred, ref, MM, 1.0):.3f}",
        )
    return figure


def lesions() -> Any:
    """Three panels: Dice of all voxels beside scores by lesion."""
    figure, axes = _panels(3)
    for axis, (name, (pred, ref)) in zip(axes, lesion_cases().items(), strict=True):
        found = metrics.lesion_wise(pred[..., None], ref[..., None], (*MM, 1.0), min_lesion_mm3=0.0)
        _show(axis, pred, ref, name)
        _write(
            axis,
            f"Dice {metrics.dice(pred, ref):.3f}",
            f"found {found['n_ref_found']} of {found['n_ref']}   "
            f"true {found['n_pred_true']} of {found['n_pred']}",
            f"sensitivity {found['sensitivity']:.2f}   PPV {found['ppv']:.2f}   "
            f"F1 {found['f1']:.2f}",
        )
    return figure


def size() -> Any:
    """A curve: the same mistake costs a small thing more."""
    from matplotlib.figure import Figure

    radii, values = size_curve()
    figure = Figure(figsize=(6, 3), layout="constrained")
    axis = figure.subplots()
    axis.plot(radii, values, "o-", color=REFERENCE, markersize=3)
    for radius, what in ((1.25, "small lesion"), (4.0, "cord")):
        axis.axvline(radius, color="0.7", linewidth=1)
        axis.text(radius + 0.08, values.min(), what, fontsize=8, color="0.35")
    axis.set_xlabel("radius, mm")
    axis.set_ylabel("Dice of a disc and itself\nmoved by one voxel of 0.5 mm", fontsize=8)
    return figure


def overview() -> Any:
    """The scan of the first tutorial, what `gm` finds in it, and areas beside the true ones."""
    import nibabel as nib
    from matplotlib.figure import Figure

    import score_jax as sj

    scan = sj.phantom.sci_cohort(
        4, 2, contrast="T2starw", acquisition="axial", grid_mm=0.5, thickness_mm=5.0,
        field_of_view_mm=(40.0, 40.0, 30.0), scans=1, healthy=1.0,
    )[0].scans[0]  # fmt: skip
    spacing = nib.affines.voxel_sizes(scan.affine)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "scan.nii.gz")
        sj.save(path, scan.image, sj.Volume(scan.image, scan.affine))
        found = sj.load_model("gm").predict(path)
    assert metrics.dice(found.masks["cord"], scan.truth["cord"]) > 0.9, "not the same grid"
    z = scan.image.shape[2] // 2
    figure = Figure(figsize=(10, 3.3), layout="constrained")
    left, middle, right = figure.subplots(1, 3, width_ratios=[1, 1, 1.25])
    shades = {"cmap": "gray", "origin": "lower", "vmax": np.percentile(scan.image, 99.7)}
    for axis, title in ((left, "a simulated T2*w scan"), (middle, "cord, grey matter found")):
        axis.imshow(scan.image[:, :, z].T, **shades)
        axis.set_title(title, fontsize=10)
        axis.set_axis_off()
    for name, colour in (("cord", "#ffd60a"), ("gm", "#ff3b30")):
        middle.contour(found.masks[name][:, :, z].T, [0.5], colors=colour, linewidths=1.2)
    for name, colour in (("cord", "#b38f00"), ("gm", "#ff3b30")):
        area = metrics.areas(found.masks[name], tuple(spacing), axis=2)
        right.plot(area, color=colour, label=f"{name}, found")
        right.plot(scan.areas_mm2[name], "k:", linewidth=1.5)
    right.plot([], [], "k:", label="truth")
    right.set_ylim(0)
    right.set_xlabel("slice, from the feet")
    right.set_ylabel("area, mm²")
    right.legend(fontsize=8, loc="center right")
    return figure


def _panels(count: int) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2.9 * count, 3.9), layout="constrained")
    return figure, figure.subplots(1, count)


def _show(axis: Any, pred: np.ndarray, ref: np.ndarray, name: str) -> None:
    from matplotlib.colors import to_rgb

    image = np.ones((*pred.shape, 3))
    for where, colour in (
        (ref & ~pred, REFERENCE), (pred & ~ref, PREDICTION), (pred & ref, BOTH)
    ):  # fmt: skip
        image[where] = to_rgb(colour)
    side = math.floor(pred.shape[0] * MM[0] / 2)
    axis.imshow(image.swapaxes(0, 1), origin="lower", extent=(-side, side, -side, side))
    axis.set_title(name, fontsize=10)
    axis.set_xticks([])
    axis.set_yticks([])


def _write(axis: Any, *lines: str) -> None:
    axis.set_xlabel("\n".join(lines), fontsize=9)


PICTURES = {
    "overlap": ("scores_overlap.png", overlap),
    "distances": ("scores_distances.png", distances),
    "lesions": ("scores_lesions.png", lesions),
    "size": ("scores_size.png", size),
    "overview": ("overview.png", overview),
}


def main() -> None:
    """Draw those that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*PICTURES, []])
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    for name in given.names or PICTURES:
        file, draw = PICTURES[name]
        draw().savefig(given.out / file, dpi=80)


if __name__ == "__main__":
    main()
