"""How long the SCORE study's tables take, and how often intervals hold what was planted.

python benchmarks/bench_statistics.py --out benchmarks/results/statistics_cpu.json

The time is that of all tables of a full cohort (24 + 24 people, 12 slices, 3 scans of a control).
Coverage: over cohorts drawn with the effects of phantom.md 5 (`planted_study`), the share of 95 %
intervals of table 9 and 10 (raw areas, covariate sex) that hold the planted percentage, and how
often the effect is significant after correction; for EDSS, how often a predictor is kept.
"""

import argparse
import json
import os
import platform
import statistics
import time
from pathlib import Path

from score_jax.statistics.significance import benjamini_hochberg
from score_jax.study.score_figures import score_figures
from score_jax.study.score_tables import score_tables
from score_jax.study.score_tables_frames import PARTS, read_study
from score_jax.study.score_tables_groups import compartment_effect, edss_table
from score_jax.study.score_tables_options import TableOptions
from score_jax.study.score_tables_planted import planted_study

KINDS = {
    "MS-HC": (("HC", "MS"), lambda rows: (rows["group"] == "MS").to_numpy(float)),
    "progressive-RR": (("MS",), lambda rows: rows["progressive"].to_numpy(float)),
}


def times(repeats):
    found = {"tables_s": [], "figures_s": [], "tables_cpu_s": []}
    for seed in range(repeats):
        drawn = planted_study(seed)
        frames = (drawn.subjects, drawn.slices, drawn.areas, drawn.pairs)
        start, used = time.perf_counter(), time.process_time()
        score_tables(*frames, options={"planted": drawn.truth})
        found["tables_s"].append(time.perf_counter() - start)
        found["tables_cpu_s"].append(time.process_time() - used)
        start = time.perf_counter()
        score_figures(*frames)
        found["figures_s"].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in found.items()}


def coverage(cohorts):
    effects, models = {}, {"R2": [], "LOO R2": [], "kept": {}}
    for seed in range(1000, 1000 + cohorts):
        drawn = planted_study(seed, scans=1, pairs=False)
        study = read_study(drawn.subjects, drawn.slices, drawn.areas, drawn.pairs,
                           options=TableOptions(), seed=0)  # fmt: skip
        for what, (groups, flag) in KINDS.items():
            ones = [compartment_effect(study, name, "total", groups=groups, flag=flag)
                    for name in PARTS]  # fmt: skip
            corrected = benjamini_hochberg([one.difference.p for one in ones])
            for name, one, p in zip(PARTS, ones, corrected, strict=True):
                planted = drawn.truth[f"{name} {what}"]
                row = effects.setdefault(f"{name} {what}", {
                    "planted_percent": planted, "covered": 0, "significant": 0, "estimates": [],
                })  # fmt: skip
                row["covered"] += one.percent.low <= planted <= one.percent.high
                row["significant"] += bool(p < 0.05)
                row["estimates"].append(one.percent.value)
        model = edss_table(study)[1]["EDSS model",].final
        models["R2"].append(model.r2)
        models["LOO R2"].append(model.loo_r2)
        for predictor in model.predictors:
            models["kept"][predictor.name] = models["kept"].get(predictor.name, 0) + 1
    for row in effects.values():
        estimates = row.pop("estimates")
        row["mean_estimate"] = round(statistics.mean(estimates), 3)
        row["sd_estimate"] = round(statistics.stdev(estimates), 3)
        row["coverage"] = row.pop("covered") / cohorts
        row["significant"] /= cohorts
        row["planted_percent"] = round(row["planted_percent"], 3)
    edss = {
        "mean_R2": round(statistics.mean(models["R2"]), 3),
        "sd_R2": round(statistics.stdev(models["R2"]), 3),
        "mean_LOO_R2": round(statistics.mean(models["LOO R2"]), 3),
        "kept": {name: n / cohorts for name, n in sorted(models["kept"].items())},
    }
    return effects, edss


def processor():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def main():
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("--cohorts", type=int, default=200)
    words.add_argument("--repeats", type=int, default=3)
    words.add_argument("--out", type=Path, required=True)
    given = words.parse_args()
    import numpy
    import pandas
    import scipy
    import statsmodels

    start, load = time.perf_counter(), os.getloadavg()[0]
    measured = times(given.repeats)
    effects, edss = coverage(given.cohorts)
    found = {
        "what": "statistics",
        "machine": {"processors": os.cpu_count(), "processor": processor()},
        "versions": {m.__name__: m.__version__ for m in (numpy, scipy, pandas, statsmodels)},
        "load": [round(load, 1), round(os.getloadavg()[0], 1)],
        "cohort": "24 + 24 people, 12 slices, 3 scans of a control",
        "times": {name: round(value, 3) for name, value in measured.items()},
        "cohorts": given.cohorts,
        "effects": effects,
        "edss": edss,
        "seconds": round(time.perf_counter() - start, 1),
    }
    given.out.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
