"""Figures of the phantom beside those it is meant to have: `python benchmarks/bench_phantom.py`.

Sections: areas, variance, effects, raters, rescan, signal, sampling, speed, cohort. Name some to
run only those; `--subjects N` (of each group, default 48) and `--json FILE`. Nothing is downloaded.

Speed is judged by processor time (what one idle core would need), because a shared machine's clock
says little; the clock stands beside it with the load. Exits with 1 if any figure is off.
"""

import argparse
import json
import os
import platform
import resource
import sys
import tempfile
import time

import jax
import jax.numpy as jnp
import numpy as np

from score_jax import phantom
from score_jax.data.simulated import write_cohort
from score_jax.phantom import Acquisition, amira, bloch, covariates, kspace, randomise
from score_jax.phantom import tissues as ts
from score_jax.phantom.plane import TRUTH
from score_jax.phantom.scene import rasterise

SEED = 2023
SMALL = Acquisition(
    shape=(32, 24, 12), spacing_mm=(1, 1, 4), thickness_mm=8, centre_mm=(0, 0, amira.CENTRE_S_MM),
    fine_mm=0.2, margin_mm=0,
)  # fmt: skip


class Sheet:
    """Rows of name, found, expected, and whether they agree."""

    def __init__(self) -> None:
        self.rows: list[dict] = []

    def add(self, section, name, found, expected=None, *, within=0.05, absolute=None):
        room = absolute if absolute is not None else within * abs(expected or 0)
        good = expected is None or abs(found - expected) <= room
        self.rows.append(
            {"section": section, "name": name, "found": float(found), "expected": expected,
             "allowed": room if expected is not None else None, "agrees": bool(good)}
        )  # fmt: skip
        target = "" if expected is None else f"{expected:10.4g}  +- {room:.3g}"
        print(
            f"{section:9s} {name:34s} {found:10.4g} {target:24s} {'' if good else '<-- off'}",
            flush=True,
        )

    def at_most(self, section, name, found, limit, note=""):
        self._bound(section, name, found, found <= limit, "<=", limit, note)

    def at_least(self, section, name, found, limit, note=""):
        self._bound(section, name, found, found >= limit, ">=", limit, note)

    def _bound(self, section, name, found, good, sign, limit, note):
        self.rows.append(
            {"section": section, "name": name, "found": float(found),
             "bound": f"{sign} {limit:g}", "agrees": bool(good), "note": note}
        )  # fmt: skip
        print(f"{section:9s} {name:34s} {found:10.4g} {sign} {limit:<21.4g} "
              f"{note}{'' if good else ' <-- off'}", flush=True)  # fmt: skip


def true_areas(group: str, count: int, number: int = 0) -> np.ndarray:
    """True areas (mm2): people, structures, slices (cranial first)."""
    out = []
    for i in range(count):
        who = covariates.person(SEED, group, i)
        subject = amira.amira_subject(SEED, i, who)
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(SEED), group == "MS"), i)
        scene = rasterise(subject, centred(amira.amira_posture(key, number)), SMALL)
        out.append(np.asarray(scene.truth).sum((1, 2))[:, ::-1])
    return np.stack(out)


def centred(posture):
    """The posture with the canal in the middle of the grid."""
    middle = jnp.array([jnp.interp(amira.CENTRE_S_MM, posture.course[:, 2], posture.course[:, k])
                        for k in range(2)])  # fmt: skip
    return posture._replace(course=posture.course.at[:, :2].add(-middle))


def areas(sheet: Sheet, subjects: int) -> None:
    a = dict(zip(TRUTH, np.moveaxis(true_areas("HC", subjects), 1, 0), strict=True))
    mean = {name: values.mean() for name, values in a.items()}
    sheet.add("areas", "cord mm2", mean["cord"], 91.6)
    sheet.add("areas", "GM mm2", mean["gm"], 17.5)
    sheet.add("areas", "WM mm2", mean["wm"], 74.1)
    sheet.add("areas", "GM share", mean["gm"] / mean["cord"], 0.191)
    for name, value in (("ah", 0.59), ("ph", 0.31), ("gc", 0.10)):
        sheet.add("areas", f"{name.upper()} share of GM", mean[name] / mean["gm"], value,
                  absolute=0.02)  # fmt: skip
    profile = a["cord"].mean(0)
    sheet.add("areas", "cord, slice 1 mm2", profile[0], 88.3)
    sheet.add("areas", "cord, slice 10 mm2", profile[9], 94.8)
    sheet.add("areas", "canal mm2", mean["canal"], None)


def variance(sheet: Sheet, subjects: int) -> None:
    a = dict(zip(TRUTH, np.moveaxis(true_areas("HC", subjects), 1, 0), strict=True))
    for name, value in (("cord", 0.09), ("wm", 0.09), ("gm", 0.11), ("ah", 0.14), ("ph", 0.17),
                        ("gc", 0.20)):  # fmt: skip
        logs = np.log(a[name].mean(1))
        # the SD of n people is itself known to SD / sqrt(2 n)
        sheet.add("variance", f"CV between people, {name}", logs.std(ddof=1), value,
                  absolute=0.05 * value + 2 * value / np.sqrt(2 * subjects))  # fmt: skip
    logs = np.log(a["cord"])
    inside = logs - logs.mean(1, keepdims=True) - (logs - logs.mean(1, keepdims=True)).mean(0)
    sheet.add("variance", "within people, between slices", inside.std(), None)


def effects(sheet: Sheet, subjects: int) -> None:
    hc, ms = (np.log(true_areas(group, subjects).mean(-1)[:, :7]) for group in ("HC", "MS"))
    people = [covariates.person(SEED, "MS", i) for i in range(subjects)]
    for name, value in (("cord", -0.095), ("wm", -0.10), ("gm", -0.08), ("ah", -0.14),
                        ("ph", 0.0), ("gc", 0.0)):  # fmt: skip
        k = TRUTH.index(name)
        found = np.expm1(ms[:, k].mean() - hc[:, k].mean())
        error = np.sqrt(ms[:, k].var(ddof=1) / subjects + hc[:, k].var(ddof=1) / subjects)
        sheet.add("effects", f"MS - HC, {name}", found, value, absolute=2 * error)
    edss = np.array([p.row["edss"] for p in people])
    kind = np.array([p.row["disease_type"] for p in people])
    sheet.add("effects", "EDSS median", np.median(edss), 2.25, absolute=0.75)
    sheet.add("effects", "EDSS SD", edss.std(ddof=1), 1.84, absolute=0.4)
    sheet.add("effects", "EDSS progressive - RR", np.median(edss[kind != "RR"])
              - np.median(edss[kind == "RR"]), 2.5, absolute=1.0)  # fmt: skip
    white, burden = ms[:, TRUTH.index("wm")], true_areas("MS", subjects)[:, -1].sum(-1)
    given = np.stack([white, np.log(burden + 20), [p.row["disease_duration"] for p in people],
                      kind != "RR", np.ones(subjects)], axis=1)  # fmt: skip
    left = edss - given @ np.linalg.lstsq(given, edss, rcond=None)[0]
    sheet.add("effects", "EDSS, R2 of WM, lesion, years, type", 1 - left.var() / edss.var(), 0.81,
              absolute=0.12)  # fmt: skip
    lesion = (true_areas("MS", subjects)[:, TRUTH.index("lesion")] > 0.1).mean()
    sheet.add("effects", "slices with lesion", lesion, 0.73, absolute=0.07)


def dice(a: np.ndarray, b: np.ndarray) -> float:
    """Dice of two masks; NaN where both are empty, which the means leave out."""
    return 2 * (a & b).sum() / (a.sum() + b.sum()) if a.any() or b.any() else np.nan


def raters(sheet: Sheet, subjects: int) -> None:
    """Pairwise agreement on .333 mm, as published for consensus work."""
    from scipy.ndimage import binary_erosion, distance_transform_edt

    found: dict[str, list[float]] = {}
    people = phantom.amira_cohort(SEED, max(2, subjects // 6), scans=1, groups=("HC",))
    for person in people:
        drawn = person.scans[0].raters
        for first, second in (("rater1", "rater2"), ("rater1", "rater3"), ("rater2", "rater3")):
            for name in ("cord", "wm", "gm", "ah", "ph", "gc"):
                for z in range(12):
                    a, b = drawn[first][name][:, :, z], drawn[second][name][:, :, z]
                    found.setdefault(f"{name} DSC", []).append(dice(a, b))
                    rsd = abs(int(a.sum()) - int(b.sum())) * np.sqrt(2) / max(1, a.sum() + b.sum())
                    found.setdefault(f"{name} RSD", []).append(100 * rsd)
                    if name in ("cord", "gm"):
                        far = [distance_transform_edt(~(m & ~binary_erosion(m))) / 3
                               for m in (a, b)]  # fmt: skip
                        edge = [m & ~binary_erosion(m) for m in (a, b)]
                        hd = max(far[0][edge[1]].max(), far[1][edge[0]].max())
                        found.setdefault(f"{name} HD mm", []).append(hd)
    for name, value in (("cord DSC", 0.979), ("gm DSC", 0.90), ("wm DSC", 0.95), ("ah DSC", 0.93),
                        ("ph DSC", 0.86), ("gc DSC", 0.85)):  # fmt: skip
        sheet.add("raters", name, np.nanmean(found[name]), value)
    sheet.add("raters", "cord HD mm", np.mean(found["cord HD mm"]), 0.36, within=0.15)
    sheet.add("raters", "gm HD mm", np.mean(found["gm HD mm"]), 0.43, within=0.15)
    sheet.add("raters", "cord RSD %", np.mean(found["cord RSD"]), 2.3, within=0.2)
    sheet.add("raters", "gm RSD %", np.mean(found["gm RSD"]), 7.0, within=0.2)
    lesions(sheet, subjects)


def lesions(sheet: Sheet, subjects: int) -> None:
    pair, consensus = [], []
    for person in phantom.amira_cohort(SEED, max(4, subjects // 4), groups=("MS",)):
        scan = person.scans[0]
        drawn = [masks["lesion"] for masks in scan.raters.values()]
        for z in range(12):
            m, true = [d[:, :, z] for d in drawn], scan.truth["lesion"][:, :, z]
            if true.sum() < 9:  # a square millimetre
                continue
            # misses are counted apart (their probability is a setting)
            both = [(m[i], m[j]) for i, j in ((0, 1), (0, 2), (1, 2)) if m[i].any() and m[j].any()]
            pair += [dice(a, b) for a, b in both]
            agreed = m[0].astype(int) + m[1] + m[2] > 1
            consensus += [dice(agreed, true)] if agreed.any() else []
    sheet.add("raters", "lesion DSC, pairs", np.nanmean(pair), 0.75, within=0.1)
    sheet.add("raters", "lesion DSC, consensus - truth", np.nanmean(consensus), 0.82, within=0.1)


def rescan(sheet: Sheet, subjects: int) -> None:
    """The truth changes little when the stack is laid a millimetre off."""
    count = max(4, subjects // 4)
    a, b = true_areas("HC", count, 0), true_areas("HC", count, 2)
    rsd = 100 * np.abs(a - b) * np.sqrt(2) / (a + b + 1e-9)
    sheet.at_most("rescan", "true cord RSD %, repositioned", rsd[:, 0].mean(), 0.5)
    sheet.at_most("rescan", "true GM RSD %, repositioned", rsd[:, 1].mean(), 1.2)


def signal(sheet: Sheet, subjects: int) -> None:
    v = ts.relaxation()
    values = [jnp.asarray(a) for a in v]
    wait = jnp.full(len(ts.TISSUES), 3000.0)
    on = bloch.simulate_lines(values[0], values[1], wait, jnp.asarray(50.0), jnp.zeros(1),
                              jnp.ones(1))[:, :, 0, 0]  # fmt: skip
    s = np.abs(np.asarray(values[2] * on).reshape(8, 12, -1)[:, 5:7].mean(1).T) * 1000
    published = (("WM", ts.WM, (188, 30)), ("GM", ts.GM, (216, 45)), ("lesion", ts.MS, (227, 71)),
                 ("CSF", ts.CSF, (127, 96)))  # fmt: skip
    for name, tissue, want in published:
        for ti, value in zip((0, 4), want, strict=True):
            sheet.add("signal", f"{name} at TI{ti + 1}, flip 50", s[tissue, ti], value)
    early, late = slice(0, 5), slice(5, 8)
    sheet.add("signal", "GM / WM, mean of TI 1-5", s[ts.GM, early].mean() / s[ts.WM, early].mean(),
              1.21)  # fmt: skip
    sheet.add("signal", "CSF / WM, mean of TI 6-8", s[ts.CSF, late].mean() / s[ts.WM, late].mean(),
              4.5, absolute=1.5)  # fmt: skip
    on = bloch.simulate_lines(values[0], values[1], wait, jnp.asarray(60.0), jnp.zeros(1),
                              jnp.array([0.95]))[:, :, 0, 0]  # fmt: skip
    m = np.abs(np.asarray(values[2] * on).reshape(8, 12, -1)[:, 5:7].mean(1).T) / 0.006
    gm_wm = np.sqrt(5) * (m[ts.GM, :5].mean() - m[ts.WM, :5].mean())
    sheet.add("signal", "CNR GM - WM, TI 1-5", gm_wm, 8.15, absolute=0.6)
    csf_wm = np.sqrt(3) * (m[ts.CSF, 5:].mean() - m[ts.WM, 5:].mean())
    sheet.add("signal", "CNR CSF - WM, TI 6-8", csf_wm, 25.0, absolute=3.5)
    sheet.add("signal", "SNR WM at TI1", m[ts.WM, 0], 35.0, absolute=4.5)


def sampling(sheet: Sheet, subjects: int) -> None:
    """What the training source draws, over many patches (phantom.md 6)."""
    source = randomise.Patches(seed=SEED)
    batches = [source.batch(i) for i in range(25)]
    truth = np.concatenate([np.asarray(b.truth) for b in batches])
    thick = np.concatenate([np.asarray(b.thickness_mm) for b in batches])
    lesion = truth[:, TRUTH.index("lesion")].max((1, 2)) > 0.5
    sheet.add("sampling", "patches with a lesion in the slice", lesion.mean(), 0.2, absolute=0.1)
    middle = np.array([np.argwhere(t > 0.5).mean(0) for t in truth[:, 0]]) - 47.5
    sheet.add("sampling", "cord off centre, mm, SD an axis", 0.5 * middle.std(), 4.7, within=0.15)
    sheet.add("sampling", "thickness mm, mean", thick.mean(), 5.5, within=0.15)
    area = truth[:, 0].sum((1, 2)) * 0.25
    sheet.add("sampling", "cord area, log SD", np.log(area).std(), 0.35, absolute=0.12)


def timed(make, rounds: int) -> tuple[float, str]:
    """Processor seconds of one call of `make(i)`, the least of several; and the clock's, as a note.

    The first call compiles and is not counted.
    """
    make(0)
    spent, clock = [], []
    for i in range(1, rounds + 1):
        at = time.process_time(), time.perf_counter()
        make(i)
        spent.append(time.process_time() - at[0])
        clock.append(time.perf_counter() - at[1])
    return min(spent), f"clock {min(clock):.3g} at load {os.getloadavg()[0]:.1f}"


def speed(sheet: Sheet, subjects: int) -> None:
    grid = amira.amira_grid(1 / 3, 40.0)
    table = amira.amira_table(jax.random.key(0), 60.0, patient=False)
    bad = kspace.Disturbance(*(jnp.full(amira.SLICES, v) for v in (0.006, 0.03, 0.03)))
    subject = amira.amira_subject(SEED, 0, covariates.person(SEED, "HC", 0))

    def stack(i: int) -> None:
        keys = jax.random.split(jax.random.key(i), 2)
        scene = amira.amira_scene(subject, amira.amira_posture(keys[0], 0), grid)
        jax.block_until_ready(amira.amira_image(scene, grid, table, bad, keys))

    seconds, note = timed(stack, 4)
    sheet.at_most("speed", "AMIRA slice, 8 TIs, truth, s", seconds / amira.SLICES, 0.15, note)
    people = phantom.amira_cohort(SEED, 5, scans=1, groups=("HC",))
    seconds, note = timed(lambda i: people[i], 3)
    sheet.at_most("speed", "the same with 3 raters, s", seconds / amira.SLICES, 0.15, note)
    for name, limit, options in (
        ("T2w 64 x 64 x 64, s", 2.0,
         dict(contrast="T2w", acquisition="isotropic", grid_mm=1.0)),
        ("T2w sagittal, site's size, s", 3.0, dict(contrast="T2w", acquisition="sagittal")),
        ("T2*w 96 x 96 x 9, s", 1.0,
         dict(contrast="T2starw", acquisition="axial", grid_mm=0.5, thickness_mm=7.5,
              field_of_view_mm=(48.0, 48.0, 67.5))),
    ):  # fmt: skip
        scans = phantom.sci_cohort(SEED, 5, healthy=1.0, **options)
        seconds, note = timed(lambda i, s=scans: s[i], 4)
        sheet.at_most("speed", name, seconds, limit, note)
    source = randomise.Patches(seed=SEED)
    seconds, note = timed(lambda i: jax.block_until_ready(source.batch(i).image), 12)
    rate = source.bodies * source.views / seconds
    sheet.at_least("speed", "random 96 x 96 patches a second", rate, 100, note)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    sheet.at_most("speed", "peak memory, GiB", memory, 4.0)


def cohort(sheet: Sheet, subjects: int) -> None:
    """The published SCORE cohort whole, written as BIDS: 96 scans of 12 slices, three raters."""
    at = time.process_time(), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        counts = write_cohort(os.path.join(folder, "score"), phantom.amira_cohort(SEED))
    spent, clock = time.process_time() - at[0], time.perf_counter() - at[1]
    note = f"clock {clock:.0f} at load {os.getloadavg()[0]:.1f}"
    sheet.add("cohort", "slices", amira.SLICES * counts["scans"], 1152, absolute=0)
    sheet.at_most("cohort", "processor time with compiling, s", spent, 240, note)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    sheet.at_most("cohort", "peak memory, GiB", memory, 4.0)


SECTIONS = {
    f.__name__: f
    for f in (areas, variance, effects, raters, rescan, signal, sampling, speed, cohort)
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sections", nargs="*", help=" ".join(SECTIONS))
    parser.add_argument("--subjects", type=int, default=48)
    parser.add_argument("--json")
    args = parser.parse_args()
    print(f"{platform.machine()}, {jax.devices()[0].device_kind}, jax {jax.__version__}, "
          f"seed {SEED}, {args.subjects} people a group")  # fmt: skip
    for name in args.sections:
        if name not in SECTIONS:
            parser.error(f"{name}: expected one of {' '.join(SECTIONS)}")
    sheet = Sheet()
    for name in args.sections or SECTIONS:
        SECTIONS[name](sheet, args.subjects)
    off = [row["name"] for row in sheet.rows if not row["agrees"]]
    print(f"{len(sheet.rows) - len(off)} of {len(sheet.rows)} figures agree")
    if args.json:
        with open(args.json, "w") as stream:
            json.dump(sheet.rows, stream, indent=1, default=float)
    return 1 if off else 0


if __name__ == "__main__":
    sys.exit(main())
