"""Write docs/benchmarks.md from the files of benchmarks/results; a test holds them equal.

python benchmarks/write_page.py
"""

import json
import statistics
from pathlib import Path

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "benchmarks.md"

HEAD = """# Benchmarks

Written by `benchmarks/write_page.py` from `benchmarks/results/`; do not edit by hand.

Every row comes from a run on the machine named above it. `ratio` is the peer's time over ours:
above 1, ours is faster. `floor` is the time that the row's multiply-adds need at the rate of a
large matrix product, or its least traffic at the rate of a copy, whichever is more, both measured
in the same run; `share` is the floor over our time. The load is that of the machine before or while
the rows ran: on two cores a load above 2 means that others computed too, seconds are then several
times those of an idle machine (the floor's rate suffers as well), and only ratios and processor
seconds mean anything.

```sh
score-jax benchmark --suite smoke              # seconds; a test runs it
score-jax benchmark --suite cpu --peer-python PYTHON --out cpu.json  # --minutes 10: not all
score-jax benchmark --suite gpu --peers --out gpu.json   # ends after about 7 minutes
python benchmarks/bench_predict.py SCANS --model MODEL --peer-python PYTHON --out predict.json
```

`--peers` wants PyTorch and nnU-Net's networks in this interpreter (`pip install score-jax[peers]`),
`--peer-python` those of another one.

**No suite was run on an accelerator yet.** The `gpu` suite is ready to run: the comparison with
nnU-Net's network (`torch.compile`, autocast to bfloat16, channels last) comes first, and what does
not begin within its minutes is named in the result. What was tried and what binds is in
[MDGRU](performance_notes.md), [U-Net](unet_performance_notes.md) and
[prediction](prediction_performance_notes.md).
"""


def page(results):
    """The page's text; `results` maps names of files to what they hold."""
    parts = [HEAD]
    tables = {name: found for name, found in results.items() if has_times(found)}
    for name, found in sorted(tables.items()):
        parts.append(f"## {name}\n")
        parts.append(FORMS.get(about(found).get("what"), rows)(found))
    others = sorted(set(results) - set(tables))
    if others:
        names = ", ".join(f"`{name}.json`" for name in others)
        parts.append(f"Results of other forms, for their own pages: {names}.\n")
    return "\n".join(parts)


def has_times(found):
    """Whether there is a table of times in it."""
    if about(found).get("what") in FORMS:
        return True
    listed = found.get("rows") if isinstance(found, dict) else found
    return bool(listed) and all("name" in row and "ours_s" in row for row in listed)


def about(found):
    return found if isinstance(found, dict) else {}


def rows(found):
    listed = found["rows"] if isinstance(found, dict) else found
    lines = [describe(found, listed), ""]
    lines += table(
        ("case", "ours, s", "processor, s", "floor, s", "share", "peer, s", "ratio",
         "of processor time", "compilation, s", "load"),
        [
            (
                row["name"],
                seconds(row["ours_s"]),
                seconds(row.get("ours_cpu_s")),
                seconds(row.get("floor_s")),
                share(row.get("floor_s"), row["ours_s"]),
                seconds(row.get("peer_s")),
                number(row.get("ratio")),
                number(processor_ratio(row)),
                seconds(row.get("compile_s")),
                load(row),
            )
            for row in listed
        ],
    )  # fmt: skip
    whys = {}
    for case in about(found).get("left_out") or []:
        whys.setdefault(case["why"], []).append(case["name"])
    for why, names in whys.items():
        many = f"{len(names)} cases" if len(names) > 3 else "; ".join(names)
        lines += ["", f"Left out: {many} ({why})."]
    return "\n".join([*lines, ""])


def describe(found, listed):
    """One line on machine and versions, as far as the file says."""
    head = about(found)
    first = {**(listed[0] if listed else {}), **head}
    machine = first.get("device") or first.get("machine")
    if isinstance(machine, dict):
        machine = f"{machine['processors']} x {machine['processor']}"
    words = [str(machine)]
    words += [first["processor"]] if "processor" in first else []
    words += [f"{first['processors_used']} used"] if "processors_used" in first else []
    for versions in (first.get("versions"), head.get("peer")):
        if versions:
            words += [f"{name} {version}" for name, version in versions.items()]
    if "rates" in head:
        rates = head["rates"]
        flop = {k: 2e-9 * v for k, v in rates["multiply_adds_per_second"].items()}
        words += [f"{name} product {rate:.0f} GFLOP/s" for name, rate in flop.items()]
        words += [f"copy {rates['bytes_per_second'] / 1e9:.1f} GB/s"]
    if "peak_memory_mb" in head:
        words += [f"peak memory {head['peak_memory_mb']} MB"]
    return ", ".join(words) + "."


def predictions(found):
    lines = [
        describe(found, []),
        "",
        "One scan, cold process, from the command to the written masks. Processor seconds are user "
        "and system time of the whole process; medians over the runs, which took turns.",
        "",
    ]
    body = []
    for row in found["rows"]:
        size = " x ".join(map(str, row["shape"]))
        for name, runs in row["programs"].items():
            middle = {
                key: statistics.median(run[key] for run in runs)
                for key in ("wall_s", "processor_s", "peak_mb", "load")
            }
            against = row["dice"].get("cord against truth", {}).get(name)
            body.append((
                f"{row['scan']}, {size}", NAMES[name], str(len(runs)), f"{middle['wall_s']:.1f}",
                f"{middle['processor_s']:.1f}", f"{middle['peak_mb']:.0f}",
                number(against, 3), f"{middle['load']:.1f}",
            ))  # fmt: skip
    lines += table(
        ("scan", "program", "runs", "wall, s", "processor, s", "peak, MB", "cord Dice", "load"),
        body,
    )
    lines += ["", "Processor time over ours with the crop, and agreement of the masks (Dice):", ""]
    body = []
    for row in found["rows"]:
        used = {
            name: statistics.median(run["processor_s"] for run in runs)
            for name, runs in row["programs"].items()
        }
        ratios = {name: value / used["crop"] for name, value in used.items()}
        body.append((
            row["scan"], number(ratios.get("whole")), number(ratios.get("nnunet")),
            number(row["dice"]["crop against whole"]["cord"], 3),
            number(row["dice"].get("whole against nnU-Net", {}).get("cord"), 4),
        ))  # fmt: skip
    lines += table(
        ("scan", "whole", "nnU-Net", "cord, crop and whole", "cord, whole and nnU-Net"), body
    )
    if "warm second scan" in found:
        warm = found["warm second scan"]
        lines += [
            "",
            f"A second scan in the same process took {warm['beside_network_s']:.1f} s of wall time "
            f"beside the network (load {warm['load']}).",
        ]
    if "cohort" in found:
        cohort = found["cohort"]
        lines += ["", f"{cohort['scans']} scans in one process (load {cohort['load']}):", ""]
        lines += table(
            ("scans at once", "wall, s", "processor, s", "network busy"),
            [
                (str(r["at_once"]), f"{r['wall_s']:.1f}", f"{r['processor_s']:.1f}",
                 f"{r['busy']:.0%}")
                for r in cohort["rows"]
            ],
        )  # fmt: skip
    return "\n".join([*lines, ""])


def study_statistics(found):
    """Times of the tables, and what became of the planted effects."""
    times, n = found["times"], found["cohorts"]
    lines = [
        describe(found, []),
        "",
        f"All tables of the SCORE study for {found['cohort']}: {times['tables_s']:.1f} s "
        f"({times['tables_cpu_s']:.1f} processor seconds), its figures {times['figures_s']:.1f} s "
        f"(load {load(found)}).",
        "",
        f"{n} cohorts drawn with known effects (percent of the reference group), raw areas, mixed "
        "model with sex: how often the 95 % interval holds the planted value, and how often P is "
        "below .05 after correction.",
        "",
    ]
    lines += table(
        ("effect", "planted, %", "mean estimate (SD), %", "coverage", "significant"),
        [
            (
                name,
                number(row["planted_percent"], 1),
                f"{row['mean_estimate']:.1f} ({row['sd_estimate']:.1f})",
                f"{row['coverage']:.1%}",
                f"{row['significant']:.1%}",
            )
            for name, row in found["effects"].items()
        ],
    )
    edss = found["edss"]
    kept = ", ".join(f"{name} {part:.0%}" for name, part in edss["kept"].items())
    lines += [
        "",
        f"EDSS model (planted R2 .81): R2 {edss['mean_R2']:.2f} (SD {edss['sd_R2']:.2f}), left one "
        f"out {edss['mean_LOO_R2']:.2f}; kept: {kept}.",
    ]
    return "\n".join([*lines, ""])


# results that are no list of rows with `ours_s`
FORMS = {"predict": predictions, "statistics": study_statistics}
NAMES = {
    "crop": "ours, crop to the cord",
    "whole": "ours, whole scan",
    "nnunet": "nnU-Net's predictor, whole scan, same weights",
}


def table(columns, body):
    lines = [" | ".join(("", *columns, "")).strip(), "|" + "---|" * len(columns)]
    return [*lines, *(" | ".join(("", *cells, "")).strip() for cells in body)]


def seconds(value):
    return "" if value is None else f"{value:.3g}"


def number(value, digits=2):
    return "" if value is None else f"{value:.{digits}f}"


def share(floor, ours):
    return "" if floor is None else f"{floor / ours:.0%}"


def processor_ratio(row):
    if row.get("ours_cpu_s") and row.get("peer_cpu_s"):
        return row["peer_cpu_s"] / row["ours_cpu_s"]
    return row.get("ratio_of_processor_time")


def load(row):
    found = row.get("load") or row.get("load_average") or row.get("details", {}).get(
        "ours", {}
    ).get("load")  # fmt: skip
    if isinstance(found, list):
        return " to ".join(f"{value:.0f}" for value in found)
    return "" if found is None else f"{found:.0f}"


def read():
    return {path.stem: json.loads(path.read_text()) for path in RESULTS.glob("*.json")}


if __name__ == "__main__":
    PAGE.write_text(page(read()))
    print(f"{PAGE} from {', '.join(sorted(read()))}")
