"""Time of the morphometry of one scan, one core, reading and writing included where said.

    python benchmarks/bench_morphometry.py [--repeats 5] [--json FILE]

`lesions`: 16 x 512 x 512 voxels (3.3 x 0.5 x 0.5 mm, sagittal), a bent cord, two lesions, an image.
`cord_shape`: 55 slices of a bent cord at 1 mm. For comparison: Spinal Cord Toolbox 7.4.dev0
(3b3c5b22) took 2.2 s of processor time (5.0 s wall) for `sct_analyze_lesion` on such a scan and 3
to 4 s wall for `sct_process_segmentation -perslice 1` on 55 to 96 slices, starting included, on one
machine with two cores.
"""

import argparse
import json
import os
import platform
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from score_jax import morphometry
from score_jax.imaging import Volume, save
from score_jax.morphometry_tables import Case, LesionOptions, MaskFile, measure_lesions

SHAPE = (16, 512, 512)
# sagittal as scanners store it: first axis to the left, then front, then up
AFFINE = np.diag([-3.3, 0.5, 0.5, 1.0])


def sagittal(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two lesions, the cord, the image."""
    x, y, z = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    centre = 250 + 25 * np.sin(z / 90)
    cord = np.hypot((x - 7.6) * 3.3 / 7, (y - centre) * 0.5 / 4.5) < 1
    lesions = np.zeros(SHAPE, bool)
    for place, radii in ((200, (4, 3, 12)), (340, (3.5, 2, 8))):
        distance = ((x - 7.4) * 3.3 / radii[0]) ** 2 + ((y - centre) * 0.5 / radii[1]) ** 2
        lesions |= distance + ((z - place) * 0.5 / radii[2]) ** 2 < 1
    image = (300 * cord + 200 * lesions + rng.normal(100, 20, SHAPE)).clip(1).astype(np.int16)
    return lesions, cord, image


def upright() -> np.ndarray:
    """A bent cord of 55 slices."""
    x, y, z = np.ogrid[:60, :60, :55]
    return np.hypot((x - 30 - z / 30) / 6.3, (y - 26 - 3 * np.sin(z / 20)) / 4) < 1


def best(repeats: int, call: Callable[[], object]) -> float:
    """The least of the repeats, in seconds of processor time (the machine may be shared)."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return min(times)


def measure(repeats: int) -> list[dict[str, object]]:
    lesions, cord, image = sagittal(np.random.default_rng(4))
    tube = upright()
    rows = [
        ("lesions", "arrays", lambda: morphometry.lesions(lesions, cord, image, AFFINE)),
        ("cord_shape", "arrays", lambda: morphometry.cord_shape(tube, np.diag([-1.0, 1, 1, 1]))),
    ]
    with tempfile.TemporaryDirectory() as folder:
        names = ("lesion", "cord", "image")
        paths = [Path(folder) / f"{name}.nii.gz" for name in names]
        for path, array in zip(paths, (lesions, cord, image), strict=True):
            save(path, array, Volume(array, AFFINE))
        case = Case("scan", MaskFile(paths[0]), MaskFile(paths[1]))
        scan = Case("scan", MaskFile(paths[0]), MaskFile(paths[1]), paths[2])
        out = Path(folder) / "out"
        options = LesionOptions()
        rows += [
            ("lesions", "masks read", lambda: measure_lesions(case, options)),
            ("lesions", "masks and image read", lambda: measure_lesions(scan, options)),
            (
                "lesions",
                "all read, tables and label map written",
                lambda: measure_lesions(scan, options, out=out),
            ),
            (
                "lesions",
                "the same with two pictures",
                lambda: measure_lesions(scan, options, out=out, qc=out),
            ),
        ]
        return [
            {"function": name, "what": what, "seconds": round(best(repeats, call), 4)}
            for name, what, call in rows
        ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    rows = measure(arguments.repeats)
    result = {
        "shape": SHAPE,
        "machine": f"{platform.machine()}, {os.cpu_count()} processors, 1 used",
        "python": sys.version.split()[0],
        "numpy": np.__version__,
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "rows": rows,
    }
    for row in rows:
        print(f"{row['function']:12} {row['what']:40} {row['seconds']:.3f} s")
    print(f"peak memory {result['peak_memory_mb']} MB (making the masks included)")
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
