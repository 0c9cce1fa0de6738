"""Memory, disk and time of preparing a dataset and of drawing its batches.

    python benchmarks/bench_preprocess.py [--each 1] [--batches 20] [--workers 0 2] [--json FILE]
    python benchmarks/bench_preprocess.py --starts      # what a start costs with 231 scans

Scans are simulated (`score_jax.phantom`), then enlarged to sizes that SCIseg's spacings imply, with
fresh noise at full size, since noise decides how well an image compresses: sagittal 15 x 520 x 550
(3.3 x 0.5 x 0.5 mm), axial 400 x 420 x 22 (0.4 x 0.4 x 4.7 mm), isotropic 62 x 260 x 310 (0.87 mm).
They are brought to the grid and cut into the patches that nnU-Net plans for such a mixture: voxels
of 0.6129 x 0.5383 x 0.6129 mm, patches of 96 x 192 x 128, two a batch, plus what augmentation adds.

Every figure is of a process of its own. `peak` is the most memory it held at once (Linux's VmHWM,
shared memory included; some 300 MB of it Python and libraries); with workers, also of the largest
of them. What 231 scans need is computed from the scans measured, in the shares of SCIseg's last
training phase (78 sagittal, 104 axial, 14 isotropic of 196), and said to be so.

`--starts` prepares 231 scans of these sizes, in these shares, whose files are links to those of one
scan of each kind; on a coarse grid, as only files are looked at when a run starts again. Then it
starts twice: trusting size and times, and reading every file.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

from score_jax import data
from score_jax.augment import source_shape
from score_jax.config import Preprocessing, SamplingConfig, TrainConfig
from score_jax.phantom import sci_cohort

KINDS = {  # shape (RL, PA, IS), spacing in mm, scans of 196
    "sagittal": ((15, 520, 550), (3.3, 0.5, 0.5), 78),
    "axial": ((400, 420, 22), (0.4, 0.4, 4.7), 104),
    "isotropic": ((62, 260, 310), (0.87, 0.87, 0.87), 14),
}
GRID = Preprocessing(axcodes="RAS", spacing_mm=(0.6129, 0.5383, 0.6129))
PATCH = (96, 192, 128)
SCANS = 231


def write_scans(folder: Path, each: int) -> Path:
    """A table of `each` scans of every kind."""
    rows = ["case\timage\tcord\tlesion"]
    for kind, (shape, spacing, _) in KINDS.items():
        for number in range(each):
            (scan,) = next(iter(sci_cohort(number, 1, acquisition=kind, scans=1))).scans
            factors = [new / old for new, old in zip(shape, scan.image.shape, strict=True)]
            image = ndimage.zoom(scan.image.astype(np.float32), factors, order=1)
            noise = np.random.default_rng(number).normal(0, 0.02 * image.max(), image.shape)
            arrays = {
                "image": (image + noise).clip(0).round().astype(np.int16),
                **{
                    region: ndimage.zoom(scan.truth[region].astype(np.uint8), factors, order=0)
                    for region in ("cord", "lesion")
                },
            }
            name = f"{kind}{number}"
            for part, array in arrays.items():
                affine = np.diag([*spacing, 1])
                nib.save(nib.Nifti1Image(array, affine), folder / f"{name}_{part}.nii.gz")
            rows.append("\t".join([name, *(f"{name}_{part}.nii.gz" for part in arrays)]))
    (folder / "dataset.tsv").write_text("\n".join(rows) + "\n")
    return folder / "dataset.tsv"


def peak_mb(process: str = "self") -> float:
    """Most memory a process held since it began (`resource` would count its parent's, too)."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def workers_peak_mb() -> float:
    return max(peak_mb(str(child.pid)) for child in multiprocessing.active_children())


def prepare_one(table: Path, store: Path, case: str) -> dict:
    """Prepare one case in this process."""
    found = data.discover(table)
    start, processor = time.perf_counter(), time.process_time()
    ready = data.prepare_dataset(found, [case], GRID, store)
    seconds, core = time.perf_counter() - start, time.process_time() - processor
    sample = ready[case]
    files = [path for path in sample.folder.rglob("*") if path.is_file()]
    return {
        "voxels": int(np.prod(sample.shape)),
        "in_memory_mb": np.prod(sample.shape) * (4 + 2) / 1e6,  # float32 and two masks
        "on_disk_mb": sum(path.stat().st_size for path in files) / 1e6,
        "seconds": seconds,
        "core_seconds": core,
        "peak_mb": peak_mb(),
    }


def check_again(table: Path, store: Path, grid: Preprocessing = GRID, verify: bool = False) -> dict:
    """A second call, as at every start of a run, and the checksums that a run notes."""
    start, core = time.perf_counter(), time.process_time()
    found = data.discover(table)
    names = [case.id for case in found.cases]
    ready = data.prepare_dataset(found, names, grid, store, verify=verify)
    assert len(ready.sha256) == len(names)
    return {
        "cases": len(names),
        "kept": ready.count("kept"),
        "seconds": time.perf_counter() - start,
        "core_seconds": time.process_time() - core,
        "peak_mb": peak_mb(),
    }


def write_links(folder: Path) -> Path:
    """A table of `SCANS` scans, each kind's files under as many names as its share asks for."""
    write_scans(folder, 1)
    rows = ["case\timage\tcord\tlesion"]
    kinds = [kind for kind, (_, _, share) in KINDS.items() for _ in range(share)]
    for number in range(SCANS):
        kind, case = kinds[number % len(kinds)], f"scan{number}"
        files = [f"{case}_{part}.nii.gz" for part in ("image", "cord", "lesion")]
        for file in files:
            os.link(folder / file.replace(case, f"{kind}0"), folder / file)
        rows.append("\t".join([case, *files]))
    (folder / "dataset.tsv").write_text("\n".join(rows) + "\n")
    return folder / "dataset.tsv"


def starts(folder: Path) -> dict:
    """What the start of a run costs once its scans are prepared."""
    coarse = Preprocessing(axcodes="RAS", spacing_mm=(8.0, 8.0, 8.0), order=1)
    table, store = write_links(folder), folder / "store"
    found = data.discover(table)
    data.prepare_dataset(found, [case.id for case in found.cases], coarse, store)
    files = sum(path.stat().st_size for path in folder.glob("scan*"))
    return {
        "gb_of_files": files / 1e9,
        "by_size_and_times": alone(check_again, table, store, coarse),
        "reading_every_file": alone(check_again, table, store, coarse, True),
    }


def draw(table: Path, store: Path, workers: int, cache_mb: int, batches: int) -> dict:
    """Batches one after another, with nothing done between them."""
    found = data.discover(table)
    names = tuple(case.id for case in found.cases)
    ready = data.prepare_dataset(found, names, GRID, store, cache_bytes=cache_mb * 2**20)
    shape = source_shape(TrainConfig().augment, PATCH)
    start = time.perf_counter()
    with data.open_batches(
        ready,
        [data.Member(0, names)],
        SamplingConfig(patch=PATCH, batch=2),
        shape=shape,
        steps=10**6,
        workers=workers,
    ) as stream:
        images, masks = next(stream)
        first = time.perf_counter() - start
        for _ in range(batches - 1):  # fills the cache
            next(stream)
        start, core = time.perf_counter(), time.process_time()
        for _ in range(batches):
            next(stream)
        seconds, core = time.perf_counter() - start, time.process_time() - core
        beside = workers_peak_mb() if workers else None
    return {
        "shape": list(shape),
        "batch_mb": (images.nbytes + masks.nbytes) / 1e6,
        "first_seconds": first,
        "milliseconds_a_batch": seconds / batches * 1e3,
        "core_milliseconds_of_this_process": core / batches * 1e3,
        "peak_mb": peak_mb(),
        "peak_of_a_worker_mb": beside,
    }


def alone(function, *arguments) -> dict:
    """The function's answer from a fresh process."""
    # neither a pool nor a daemon: what is measured starts processes of its own
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(theirs, function, arguments))
    process.start()
    theirs.close()
    answer = ours.recv()
    process.join()
    return answer


def _answer(pipe, function, arguments) -> None:
    pipe.send(function(*arguments))


def for_all_scans(cases: dict[str, dict]) -> dict:
    """What 231 scans need, computed from those measured, weighted by their kind's share."""
    mean = {
        kind: {
            key: statistics.mean(row[key] for name, row in cases.items() if name.startswith(kind))
            for key in ("in_memory_mb", "on_disk_mb", "core_seconds")
        }
        for kind in KINDS
    }
    total = sum(share for _, _, share in KINDS.values())
    sums = {
        key: sum(mean[kind][key] * KINDS[kind][2] for kind in KINDS) / total * SCANS
        for key in ("in_memory_mb", "on_disk_mb", "core_seconds")
    }
    return {
        "scans": SCANS,
        "gb_if_held_in_memory": sums["in_memory_mb"] / 1e3,
        "gb_on_disk": sums["on_disk_mb"] / 1e3,
        "core_minutes": sums["core_seconds"] / 60,
        "peak_mb_a_process": max(row["peak_mb"] for row in cases.values()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--each", type=int, default=1, help="scans of every kind")
    parser.add_argument("--batches", type=int, default=20, help="batches timed, after as many more")
    parser.add_argument("--workers", type=int, nargs="*", default=[0, 2])
    parser.add_argument("--cache-mb", type=int, nargs="*", default=[0, 1024])
    parser.add_argument("--json", type=Path, help="also write all figures here")
    parser.add_argument("--starts", action="store_true", help="only the start of a run")
    given = parser.parse_args()
    if given.starts:
        with tempfile.TemporaryDirectory() as temporary:
            report = starts(Path(temporary))
        report["load"] = os.getloadavg()[0]
        print(json.dumps(report, indent=1))
        if given.json:
            given.json.write_text(json.dumps(report, indent=1) + "\n")
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        table = write_scans(folder, given.each)
        names = [case.id for case in data.discover(table).cases]
        cases = {}
        for name in names:
            cases[name] = alone(prepare_one, table, folder / "store", name)
            row = cases[name]
            print(
                f"{name:12s} {row['voxels'] / 1e6:5.1f} Mvoxel, {row['in_memory_mb']:5.0f} MB in "
                f"memory, {row['on_disk_mb']:5.0f} MB on disk, {row['core_seconds']:5.1f} core s "
                f"({row['seconds']:.1f} s), peak {row['peak_mb']:.0f} MB",
                flush=True,
            )
        again = alone(check_again, table, folder / "store")
        print(f"started again: {again['core_seconds']:.2f} core s, {again['kept']} kept")
        draws = []
        for cache in given.cache_mb:
            for workers in given.workers:
                row = alone(draw, table, folder / "store", workers, cache, given.batches)
                draws.append({"workers": workers, "cache_mb": cache, **row})
                print(
                    f"cache {cache:4d} MB, {workers} workers: first batch after "
                    f"{row['first_seconds']:.1f} s, then {row['milliseconds_a_batch']:.0f} ms each "
                    f"({row['core_milliseconds_of_this_process']:.0f} core ms here), peak "
                    f"{row['peak_mb']:.0f} MB here"
                    + (f", {row['peak_of_a_worker_mb']:.0f} MB a worker" if workers else ""),
                    flush=True,
                )
        print(f"a batch: 2 x {draws[-1]['shape']}, {draws[-1]['batch_mb']:.0f} MB" if draws else "")
    total = for_all_scans(cases)
    print(
        f"{SCANS} scans, computed from these: {total['gb_if_held_in_memory']:.1f} GB if held in "
        f"memory, {total['gb_on_disk']:.1f} GB on disk, {total['core_minutes']:.0f} core minutes "
        f"to prepare, peak {total['peak_mb_a_process']:.0f} MB a process"
    )
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    if given.json:
        report = {"cases": cases, "again": again, "draws": draws, "computed": total}
        given.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
