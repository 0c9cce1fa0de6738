"""Time of the scores on one large scan: 320 x 320 x 60 voxels, one core.

    python benchmarks/bench_metrics.py [--repeats 5] [--json FILE]

Two pairs of masks: a cord from edge to edge, and twelve lesions in it. Reported are the best of the
repeats in seconds with and without reading the files, and the peak memory of the process. For
comparison: animaSegPerfAnalyzer (Anima d9fb323) took 3.4 s for a cord (-d -s -l) and 4.0 s for
twelve lesions on one machine with two cores, reading included.
"""

import argparse
import functools
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
from scipy import ndimage

from score_jax.evaluation.matching import Job
from score_jax.evaluation.scoring import Settings, score
from score_jax.imaging import Volume, save
from score_jax.metrics import anima, by_slice, everything

SHAPE, SPACING = (320, 320, 60), (0.8, 0.8, 1.0)


def cord(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A bent tube of 17 mm, from the first slice to the last, and a rater's version of it."""
    x, y, z = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    centre = 160 + 12 * np.sin(z / 15), 150 + 8 * np.cos(z / 20)
    distance = np.hypot((x - centre[0]) / 11, (y - centre[1]) / 9)
    rough = ndimage.gaussian_filter(rng.normal(size=SHAPE).astype(np.float32), 2)
    return distance + 0.8 * rough < 1, distance < 1


def lesions(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Twelve ellipsoids, two of which lie in the far corners; the prediction misses and invents."""
    grid = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), -1)
    pred, ref = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    centres = np.concatenate([[[12, 12, 5], [305, 300, 54]], rng.uniform(20, 40, (11, 3))])
    centres[2:] += rng.uniform(0, 1, (11, 3)) * [240, 240, 0]
    for number, centre in enumerate(centres):
        radii = rng.uniform([6, 6, 3], [14, 14, 8])
        distance = np.linalg.norm((grid - centre) / radii, axis=-1)
        if number < 12:
            ref |= distance < 1
        if number > 0:
            pred |= np.linalg.norm((grid - centre - rng.normal(0, 1.5, 3)) / radii, axis=-1) < 1
    return pred, ref


def best(repeats: int, call: Callable[..., object], *arguments: object) -> float:
    """The least of the repeats, in seconds of processor time (the machine may be shared)."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        call(*arguments)
        times.append(time.process_time() - start)
    return min(times)


def measure(repeats: int) -> list[dict[str, object]]:
    rows = []
    rng = np.random.default_rng(4)
    with_lesions = functools.partial(anima, lesions=True)
    for name, pair in (("cord", cord(rng)), ("12 lesions", lesions(rng))):
        rows += [
            (name, "anima -d -s -l", best(repeats, with_lesions, *pair, SPACING)),
            (name, "all", best(repeats, everything, *pair, SPACING)),
            (name, "score (2-D)", best(repeats, by_slice, *pair, SPACING)),
        ]
        with tempfile.TemporaryDirectory() as folder:
            like = Volume(pair[1], np.diag([*SPACING, 1.0]))
            paths = [Path(folder) / f"{side}.nii.gz" for side in ("pred", "ref")]
            for path, mask in zip(paths, pair, strict=True):
                save(path, mask, like)
            for preset in ("anima", "all"):
                settings = Settings(preset=preset, lesions=True)
                seconds = best(repeats, score, Job(name, None, *paths), settings)
                rows.append((name, f"{preset}, files read", seconds))
    return [{"masks": m, "scores": s, "seconds": round(t, 4)} for m, s, t in rows]


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
        print(f"{row['masks']:12} {row['scores']:20} {row['seconds']:.3f} s")
    print(f"peak memory {result['peak_memory_mb']} MB (making the masks included)")
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
