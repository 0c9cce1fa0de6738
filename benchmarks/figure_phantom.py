"""Pictures of docs/phantom.md: `python benchmarks/figure_phantom.py [--real FOLDER] [--out DIR]`.

Without `--real` only simulated images are drawn (these are in docs/images). With it, the public
scans t2 and t2s of sct_testing_data stand beside them; those pictures are for judging, not for
the repository.
"""

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import jax
import matplotlib.pyplot as plt
import numpy as np

from score_jax import phantom
from score_jax.imaging import load
from score_jax.phantom import Acquisition, anatomy, sequences, tse
from score_jax.phantom.amira import amira_cohort
from score_jax.phantom.plane import TRUTH
from score_jax.phantom.posture import draw_posture
from score_jax.phantom.randomise import Patches
from score_jax.phantom.scene import rasterise
from score_jax.phantom.sequences import measure
from score_jax.phantom.tables import level_coordinate, level_names

GRAY = {"cmap": "gray", "origin": "lower", "interpolation": "nearest"}


def show(axis, plane, *, aspect=1.0, mask=None, title=""):
    axis.imshow(plane.T, vmin=0, vmax=np.percentile(plane, 99.6), aspect=aspect, **GRAY)
    if mask is not None and mask.any():
        axis.contour(mask.T, [0.5], colors="red", linewidths=0.7)
    axis.set_title(title, fontsize=9)
    axis.axis("off")


def ras(volume, affine):
    """The array on right, anterior, superior axes, and its spacing."""
    order = [int(np.argmax(np.abs(affine[axis, :3]))) for axis in range(3)]
    flips = [axis for axis in range(3) if affine[axis, order[axis]] < 0]
    spacing = np.abs([affine[axis, order[axis]] for axis in range(3)])
    return np.flip(np.transpose(volume, order), tuple(flips)), spacing


def save(figure, path):
    figure.tight_layout()
    figure.savefig(path, dpi=55)
    plt.close(figure)
    print(path, f"{path.stat().st_size / 1000:.0f} kB")


def amira_page(out):
    scan = amira_cohort(2, 1, groups=("MS",), raters=0)[0].scans[0]
    z = int(np.argmax(scan.truth["lesion"].sum((0, 1))))
    figure, axes = plt.subplots(2, 5, figsize=(12, 5.2))
    for ti, axis in enumerate(axes.flat[:8]):
        show(axis, scan.image[:, :, z, ti], title=f"inversion time {ti + 1}")
    early, late = scan.image[:, :, z, :5].mean(-1), scan.image[:, :, z, 5:].mean(-1)
    show(axes.flat[8], early, mask=scan.truth["gm"][:, :, z], title="mean of 1-5, true GM")
    show(axes.flat[9], late, mask=scan.truth["lesion"][:, :, z], title="mean of 6-8, true lesion")
    save(figure, out / "phantom_amira.png")


def injury_page(out):
    figure, axes = plt.subplots(2, 5, figsize=(13, 6))
    seen: set[str] = set()
    for person in phantom.sci_cohort(5, 60, acquisition="isotropic", grid_mm=0.8,
                                     field_of_view_mm=(40.0, 64.0, 72.0)):  # fmt: skip
        kind = person.covariates["injury"]
        if kind in seen:
            continue
        image, spacing = ras(person.scans[0].image, person.scans[0].affine)
        lesion, _ = ras(person.scans[0].truth["lesion"], person.scans[0].affine)
        cord, _ = ras(person.scans[0].truth["cord"], person.scans[0].affine)
        x, _, z = np.median(np.argwhere(lesion if lesion.any() else cord), axis=0).astype(int)
        top, bottom = axes[:, len(seen)]
        show(top, image[x], mask=lesion[x], aspect=spacing[2] / spacing[1], title=kind)
        show(bottom, image[:, :, z], mask=lesion[:, :, z])
        seen.add(kind)
        if len(seen) == 5:
            break
    save(figure, out / "phantom_injuries.png")


def spine_page(out):
    """Sagittal and axial T2w from neck to conus: what stands around the cord."""
    key = jax.random.key(3)
    body = anatomy.draw_subject(key, anatomy.draw_traits(key, amira=False))
    posture = draw_posture(key)
    weights = sequences.contrast("T2w", jax.random.key(9))
    places = (-20, -90, -180, -300, -410)
    figure, axes = plt.subplots(2, len(places), figsize=(13, 5.6))
    for column, s in zip(axes.T, places, strict=True):
        middle = tuple(float(v) for v in posture.course[s - anatomy.S_MIN, :3])
        grids = (
            Acquisition(shape=(1, 120, 110), spacing_mm=(3.0, 0.7, 0.7), thick_axis=0,
                        centre_mm=middle, fine_mm=0.35),
            Acquisition(shape=(120, 110, 1), spacing_mm=(0.7, 0.7, 4.0), centre_mm=middle,
                        fine_mm=0.35),
        )  # fmt: skip
        for axis, grid in zip(column, grids, strict=True):
            scene = tse.echo_train(
                rasterise(body, posture, grid), grid, axis=2 if grid.thick_axis == 0 else 0,
                span_ms=80.0,
            )  # fmt: skip
            image = measure(scene.fractions, scene.tissues, scene.texture, weights, key)
            plane = np.asarray(image)[0, :, :, 0] if grid.thick_axis == 0 else image[:, :, 0, 0]
            name = level_names()[int(level_coordinate(np.array([float(s)]))[0])]
            show(axis, np.asarray(plane), title=f"T2w at {name}")
    save(figure, out / "phantom_spine.png")


def training_page(out):
    """Patches of the training source with their truth: grey matter red, lesion cyan."""
    figure, axes = plt.subplots(3, 8, figsize=(13, 5))
    drawn = [Patches(seed=1).batch(i) for i in range(2)]
    image = np.concatenate([np.asarray(b.image) for b in drawn])
    truth = np.concatenate([np.asarray(b.truth) for b in drawn])
    for axis, plane, masks in zip(axes.flat, image, truth, strict=False):
        show(axis, plane, mask=masks[TRUTH.index("gm")] > 0.5)
        lesion = masks[TRUTH.index("lesion")] > 0.5
        if lesion.any():
            axis.contour(lesion.T, [0.5], colors="cyan", linewidths=0.7)
    save(figure, out / "phantom_training.png")


def contrast_page(out, real):
    figure, axes = plt.subplots(4 if real else 2, 5, figsize=(13, 10.4 if real else 5.2))
    options = dict(acquisition="axial", healthy=1.0, grid_mm=0.5, thickness_mm=5.0,
                   field_of_view_mm=(48.0, 48.0, 15.0), implants=False, scans=1)  # fmt: skip
    for row, contrast in enumerate(("T2starw", "random")):
        for axis, person in zip(
            axes[row], phantom.sci_cohort(3, 5, contrast=contrast, **options), strict=True
        ):
            show(axis, person.scans[0].image[:, :, 1], title=contrast)
    if real:
        t2s, t2 = (load(Path(real) / name) for name in ("t2s/t2s.nii.gz", "t2/t2.nii.gz"))
        image, _ = ras(t2s.data, t2s.affine)
        for axis, z in zip(axes[2, :3], (1, 4, 7), strict=True):
            show(axis, image[:, :, z], title="real T2*w")
        image, _ = ras(t2.data, t2.affine)
        show(axes[2, 3], image[26], title="real T2w")
        show(axes[2, 4], image[:, :, 25], title="real T2w")
        volume = phantom.sci_cohort(
            4, 3, acquisition="isotropic", healthy=1.0, grid_mm=1.0, implants=False, scans=1,
            field_of_view_mm=(52.0, 60.0, 55.0),
        )  # fmt: skip
        for pair, person in zip(((0, 1), (2, 3)), volume, strict=False):
            image, _ = ras(person.scans[0].image, person.scans[0].affine)
            cord, _ = ras(person.scans[0].truth["cord"], person.scans[0].affine)
            x = int(np.median(np.argwhere(cord)[:, 0]))
            show(axes[3, pair[0]], image[x], title="T2w")
            show(axes[3, pair[1]], image[:, :, 27], title="T2w")
        axes[3, 4].axis("off")
    save(figure, out / ("phantom_contrasts_beside_real.png" if real else "phantom_contrasts.png"))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--real", help="folder with t2/ and t2s/ of sct_testing_data")
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    contrast_page(args.out, args.real)
    if args.real:
        return
    pages = (amira_page, injury_page, spine_page, training_page)
    for page in pages:
        page(args.out)


if __name__ == "__main__":
    main()
