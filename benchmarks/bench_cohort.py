"""What a cohort costs beside its predictions, how it scales over workers, how the report opens.

    python benchmarks/bench_cohort.py overhead DATASET --model MODEL [--repeats N]
    python benchmarks/bench_cohort.py scaling DATASET --model MODEL [--workers 2]
    python benchmarks/bench_cohort.py report [--scans 1000]

DATASET is BIDS, e.g. of `score-jax simulate`. `overhead` compares whole processes from the command
to the end, turn by turn; its processor seconds mean something on a busy machine too, its wall
seconds do not. `scaling` wants an idle machine: every worker keeps to one processor. `report` wants
Chromium. Each prints one JSON object.
"""

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from _timing import machine
from bench_predict import cold

ROOT = Path(__file__).parent.parent
COMMAND = [sys.executable, "-m", "score_jax.cli"]
BARE = ["--no-areas", "--no-lesions", "--no-qc"]


def overhead(arguments):
    """`predict` of a dataset, `run` of the same work, and `run` with everything."""
    given = ["--model", arguments.model, "--device", "cpu", "--json"]
    times = {"predict": [], "run, masks alone": [], "run, everything": [], "run, finished": []}
    for _ in range(arguments.repeats):
        with tempfile.TemporaryDirectory() as folder:
            bare, whole = Path(folder) / "bare", Path(folder) / "whole"
            run = [*COMMAND, "run", arguments.dataset]
            commands = {
                "predict": [*COMMAND, "predict", arguments.dataset, "--out", f"{folder}/p", *given],
                "run, masks alone": [*run, bare, "participant", *given, *BARE],
                "run, everything": [*run, whole, "participant", *given],
                "run, finished": [*run, whole, "participant", *given],
            }
            for name, command in commands.items():
                times[name].append(cold(command)[0])
            stages = stages_of(whole)
    seconds = {
        name: {
            kind: round(statistics.median(row[kind] for row in rows), 2)
            for kind in ("wall_s", "processor_s", "load")
        }
        for name, rows in times.items()
    }
    first = seconds["predict"]["processor_s"]
    ratio = {name: round(found["processor_s"] / first, 3) for name, found in seconds.items()}
    return {"seconds": seconds, "processor_over_predict": ratio, "stages_s_a_scan": stages}


def stages_of(out):
    """Median seconds of each stage over the records of a run."""
    records = [json.loads(path.read_text()) for path in (out / ".score-jax").glob("*/*.json")]
    names = {name for record in records for name in record["Seconds"]}
    return {
        name: round(statistics.median(r["Seconds"].get(name, 0.0) for r in records), 4)
        for name in sorted(names)
    } | {"scans": len(records)}


def scaling(arguments):
    """Wall seconds of the same scans on 1 and on more workers, of one processor each, warm."""
    from score_jax.cohort import running, work
    from score_jax.cohort.cluster import ClusterOptions
    from score_jax.cohort.options import Options
    from score_jax.cohort.remote import run_there, settings_of
    from score_jax.cohort.scans import find_scans, open_output

    os.environ["JAX_PLATFORMS"] = "cpu"
    options = Options(models=(arguments.model,), crop="none")
    root, scans = Path(arguments.dataset), find_scans(arguments.dataset)
    network = work.load(options)
    processors = sorted(os.sched_getaffinity(0))
    rows, digests = {}, {}
    for count in (1, arguments.workers):
        with tempfile.TemporaryDirectory() as folder:
            settings = settings_of(options, root, open_output(Path(folder) / "out", root))
            jobs = running.plan(scans, network, options, settings.out).todo
            # one processor a worker, also where there is one worker
            os.sched_setaffinity(0, set(processors[:count]))
            asked = ClusterOptions(
                kind="local", workers=count, environment={"JAX_PLATFORMS": "cpu"}
            )
            stamps = [time.perf_counter() for _ in run_there(settings, jobs, asked)]
            os.sched_setaffinity(0, set(processors))
            # from the first result of each worker on: starting and compiling is left out
            rows[count] = {
                "scans_a_minute": 60 * (len(stamps) - count) / (stamps[-1] - stamps[count - 1]),
                "load": os.getloadavg()[0],
            }
            masks = sorted(settings.out.rglob("*.nii.gz"))
            digests[count] = [(path.name, path.read_bytes()) for path in masks]
    one, many = (rows[count]["scans_a_minute"] for count in (1, arguments.workers))
    same = digests[1] == digests[arguments.workers]
    return {"workers": rows, "speed-up": round(many / one, 2), "masks_equal": same}


def report(arguments):
    """A report over many scans, 40 drawn and the rest copies: bytes, first paint, a step."""
    sys.path.insert(0, str(ROOT))
    from score_jax.imaging import Volume
    from score_jax.qc.report_flags import Flag
    from score_jax.qc.report_page import Entry, write_report
    from score_jax.qc.report_pictures import montage, write_montage
    from tests.qc.browser import Page

    folder = Path(tempfile.mkdtemp())
    rng = np.random.default_rng(0)
    x, y, z = np.meshgrid(*map(np.arange, (64, 64, 60)), indexing="ij")
    entries = []
    for number in range(arguments.scans):
        names = [f"pictures/{number}.{kind}" for kind in ("webp", "png")]
        if number < 40:
            distance = np.hypot(x - 32 - 4 * np.sin(z / 20 + number), y - 32)
            cord = distance < 6
            image = 40 + 60 * (distance < 11) - 30 * cord + 8 * rng.normal(size=cord.shape)
            seen = montage(Volume(image.astype(np.float32), np.eye(4)), {"cord": cord})
            write_montage(seen, *(folder / name for name in names))
        else:
            for name in names:
                shutil.copy(folder / name.replace(f"{number}.", f"{number % 40}."), folder / name)
        entries.append(
            Entry(
                id=f"sub-{number:04d}_T2w",
                flags=[Flag("jump", "area 50 to 70 mm2 from slice 4 to 5")] * (number % 9 == 0),
                seconds=1.0,
                regions=("cord",),
                volumes={"cord": float(cord.sum())},
                areas={"cord": cord.sum(axis=(0, 1)).astype(float)},
                lesions=[{"lesion": k, "volume mm³": 10.0 * k} for k in range(1, 4)],
                image=names[0],
                contours=names[1],
                slices=seen.slices,
            )
        )
    write_report(folder / "report.html", entries, title="benchmark")
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    page = Page(Path(tempfile.mkdtemp()))
    try:
        page.open((folder / "report.html").as_uri())
        time.sleep(1)
        paint = page.run("performance.getEntriesByType('paint').map(e => e.startTime)")
        script = "(() => { const t = performance.now(); for (let i = 0; i < 300; i++) step(1);"
        step = page.run(script + "return (performance.now() - t) / 300 })()")
    finally:
        page.close()
        shutil.rmtree(folder)
    return {
        "scans": arguments.scans,
        "megabytes": round(size / 1e6, 1),
        "first_paint_ms": max(paint),
        "step_ms": round(step, 2),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parts = parser.add_subparsers(dest="what", required=True)
    for work in (overhead, scaling, report):
        part = parts.add_parser(work.__name__, help=work.__doc__)
        part.set_defaults(work=work)
        if work is report:
            part.add_argument("--scans", type=int, default=1000)
            continue
        part.add_argument("dataset")
        part.add_argument("--model", required=True)
        part.add_argument("--repeats", type=int, default=1)
        part.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    found = arguments.work(arguments)
    print(json.dumps({"machine": machine(), "load": round(load, 1), **found}, indent=1))


if __name__ == "__main__":
    main()
