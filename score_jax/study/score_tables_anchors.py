"""Every number and order that the SCORE paper's text gives, with the bound that ours is held to.

Tsagkas et al., AJNR 44 (2023) 218. A1 design and counts, A2 reproducibility, A3 accuracy, A4 areas,
A5 EDSS; A6 is of the same controls in AJNR 40 (2019) 1592.
"""

import math
from collections.abc import Sequence
from typing import Any

from score_jax.statistics.regression import Elimination, Predictor
from score_jax.statistics.significance import format_p
from score_jax.study.score_tables_anchors_design import design, people, slices
from score_jax.study.score_tables_frames import METRICS, PARTS
from score_jax.study.score_tables_judging import (
    CHOSEN,
    MISSING,
    OTHER,
    Anchor,
    Found,
    Key,
    Verdict,
    cohort_mean,
    compared,
    effect,
    group_p,
    near,
    ordered,
    quality,
    stated,
)
from score_jax.study.score_tables_options import TableOptions
from score_jax.study.score_tables_text import number

_FIVE = ("SC", "WM", "GM", "AH", "PH")  # "all except GC"


def anchors(options: TableOptions) -> list[Anchor]:
    """All of them, in the order of the list."""
    return [
        *people(options), *slices(options), *design(), *_reproducibility(options),
        *_accuracy(options), *_accuracy_statements(), *_quoted(), *_areas(), *_groups(options),
        *_edss(), *_earlier(),
    ]  # fmt: skip


def _reproducibility(options: TableOptions) -> list[Anchor]:
    def paths(names: Sequence[str], metric: str) -> list[Key]:
        return [("repro", "score", session, name, metric)
                for name in names for session in ("intra", "inter")]  # fmt: skip

    found = [
        quality("rsd repro GM", "A2", "RSD GM, worse session", 3.50, "rsd", paths(("GM",), "rsd")),
        quality("rsd inter GM", "A2", "RSD GM, inter-session", 3.50, "rsd",
                [("repro", "score", "inter", "GM", "rsd")], paper="3.50 (2.61)"),
        quality("rsd repro WM", "A2", "RSD WM, worse session", 1.47, "rsd", paths(("WM",), "rsd")),
        quality("rsd repro all", "A2", "RSD, all but GC", 5.54, "rsd", paths(_FIVE, "rsd")),
        quality("dsc repro all", "A2", "DSC, all but GC", 0.87, "dsc", paths(_FIVE, "dsc")),
        quality("hd repro all", "A2", "HD mm, all but GC", 0.60, "hd", paths(_FIVE, "hd")),
        quality("ICC GM", "A2", "ICC of GM areas", 0.89, "icc", [("ICC", "GM")]),
        *(ordered(f"{metric} repro order", "A2", f"reproducibility by {metric.upper()}",
                  ["GC < PH < AH ~ GM < WM < SC"], [("repro order", metric)])
          for metric in ("rsd", "dsc")),
        compared("repro score-manual", "A2", "SCORE against manual, all compartments and metrics",
                 [("score-manual", name, metric) for name in PARTS for metric in METRICS],
                 [metric for _ in PARTS for metric in METRICS], 1, 0.001),
        stated("caudal", "A2", "caudal slices worse, all compartments and metrics",
               "P < .001", "worse, P < .001", _caudal),
    ]  # fmt: skip
    metric = options.session_metric
    for name, alpha in (
        ("SC", 0.001), ("GM", 0.001), ("GC", 0.01), ("WM", 0.05), ("PH", 0.05), ("AH", 0.0),
    ):  # fmt: skip
        found.append(compared(
            f"intra-inter {name}", "A2", f"intra- against inter-session, {name} ({metric.upper()})",
            [("intra-inter", name, metric)], [metric], 1 if alpha else 0, alpha,
        ))  # fmt: skip

    def against_2019(found: Found, options: TableOptions) -> Verdict:
        one = found.get(("repro", "score", "inter", "GM", "rsd"))
        if one is None or not one.n:
            return MISSING
        gain = 1 - one.mean / 4.77
        return Verdict(f"{100 * gain:.0f} % (RSD GM {one.mean:.2f} for 4.77)", gain >= 0.25)

    found.append(stated("against 2019", "A2", "better than the method of AJNR 2019 (CV ≤ 4.77 %)",
                        "about 50 %", "at least half of it", against_2019))  # fmt: skip
    return found


def _caudal(found: Found, options: TableOptions) -> Verdict:
    held = total = 0
    for name in PARTS:
        for metric in METRICS:
            test = found.get(("slice trend", name, metric))
            if test is None or math.isnan(test.p):
                return MISSING
            worse = test.statistic < 0 if metric == "dsc" else test.statistic > 0
            held, total = held + bool(worse and test.p < 0.001), total + 1
    return Verdict(f"{held} of {total}", held == total)


def _accuracy(options: TableOptions) -> list[Anchor]:
    def path(group: str, name: str, metric: str) -> Key:
        return ("accuracy", group, name, "total", metric)

    def five(group: str, metric: str) -> list[Key]:
        return [path(group, name, metric) for name in _FIVE]

    found = []
    for name, value, paper in (("SC", 0.98, ""), ("WM", 0.95, ""), ("GM", 0.92, "0.92 (0.03)")):
        found.append(quality(f"dsc accuracy HC {name} total", "A3", f"DSC {name}, controls", value,
                             "dsc", [path("HC", name, "dsc")], paper=paper))  # fmt: skip
    found += [
        quality("dsc accuracy MS WM total", "A3", "DSC WM, patients", 0.92, "dsc",
                [path("MS", "WM", "dsc")]),
        quality("dsc accuracy MS GM total", "A3", "DSC GM, patients (abstract, discussion)", 0.84,
                "dsc", [path("MS", "GM", "dsc")]),
        quality("dsc accuracy HC all", "A3", "DSC, all but GC, controls", 0.89, "dsc",
                five("HC", "dsc")),
    ]  # fmt: skip
    for value in (0.85, 0.84):
        mark = CHOSEN if math.isclose(value, options.ms_dsc) else OTHER
        found.append(quality(f"dsc accuracy MS all {value:g}", "A3",
                             f"DSC, all but GC and lesions, patients {mark}", value, "dsc",
                             five("MS", "dsc")))  # fmt: skip
    found += [
        quality("dsc accuracy MS lesion total", "A3", "DSC lesions", 0.69, "dsc",
                [path("MS", "lesion", "dsc")]),
        quality("hd accuracy HC GM total", "A3", "HD mm GM, controls", 0.53, "hd",
                [path("HC", "GM", "hd")], paper="0.53 (0.32)"),
        quality("hd accuracy MS GM total", "A3", "HD mm GM, patients", 0.89, "hd",
                [path("MS", "GM", "hd")]),
        quality("hd accuracy HC all", "A3", "HD mm, all but GC, controls", 0.56, "hd",
                five("HC", "hd")),
        quality("hd accuracy MS all", "A3", "HD mm, all but GC and lesions, patients", 1.12, "hd",
                five("MS", "hd")),
        quality("rsd accuracy HC all", "A3", "RSD, all but GC, controls", 6.29, "rsd",
                five("HC", "rsd")),
        quality("rsd accuracy MS all", "A3", "RSD, all but GC and lesions, patients", 11.09, "rsd",
                five("MS", "rsd")),
        ordered("accuracy order HC", "A3", "accuracy (DSC), controls",
                ["GM < WM < SC", "GC < PH ~ AH"],
                [("accuracy order", "HC", "GM", "dsc"), ("accuracy order", "HC", "GC", "dsc")]),
        ordered("accuracy order MS", "A3", "accuracy (DSC), patients",
                ["lesion < GM < WM ~ SC", "GC < PH < AH"],
                [("accuracy order", "MS", "lesion", "dsc"), ("accuracy order", "MS", "GC", "dsc")]),
    ]  # fmt: skip
    return found


def _accuracy_statements() -> list[Anchor]:
    """Of DSC: controls against patients, normal-appearing against total, EDSS, disease type."""
    found = []
    levels = {"SC total": 0.0, "SC NA": 0.0, "PH NA": 0.0, "PH total": 0.01}
    for name in PARTS:
        for tissue in ("total", "NA"):
            place = f"{name} {tissue}"
            alpha = levels.get(place, 0.001)
            found.append(compared(
                f"accuracy HC-MS {place}", "A3", f"DSC, controls against patients, {place}",
                [("HC-MS", place, "dsc")], ["dsc"], 1 if alpha else 0, alpha,
            ))  # fmt: skip
    for name in PARTS:
        found.append(compared(
            f"accuracy NA-total {name}", "A3", f"DSC, normal-appearing against total, {name}",
            [("NA-total", f"{name} NA", "dsc")], ["dsc"], -1 if name == "WM" else 0, 0.01,
        ))  # fmt: skip

    def falls(found: Found, options: TableOptions) -> Verdict:
        tests = [found[key] for name in PARTS if (key := ("EDSS", name, "total")) in found]
        if len(tests) < len(PARTS) or any(math.isnan(pair[0].p) for pair in tests):
            return MISSING
        held = sum(one.statistic < 0 and one.p < 0.001 for one, _ in tests)
        subjects = sum(two.statistic < 0 and two.p < 0.05 for _, two in tests)
        return Verdict(f"{held} of {len(tests)} (of subjects, P < .05: {subjects})",
                       held == len(tests))  # fmt: skip

    found.append(stated("accuracy EDSS", "A3", "DSC falls with EDSS, all compartments", "P < .001",
                        "falls, P < .001", falls))  # fmt: skip
    special = {"GM total": (1, 0.05), "PH NA": (-1, 0.001)}
    for place, (side, alpha) in special.items():
        found.append(compared(f"accuracy RR-progressive {place}", "A3",
                              f"DSC, RR against progressive, {place}",
                              [("RR-progressive", place, "dsc")], ["dsc"], side,
                              alpha))  # fmt: skip
    rest = [f"{n} {t}" for n in PARTS for t in ("total", "NA") if f"{n} {t}" not in special]
    found.append(compared("accuracy RR-progressive rest", "A3",
                          "DSC, RR against progressive, all others",
                          [("RR-progressive", place, "dsc") for place in rest],
                          ["dsc"] * len(rest), 0, 0.0))  # fmt: skip
    return found


def _quoted() -> list[Anchor]:
    """Figures of other methods that the paper quotes; ours are as good or better."""

    def path(name: str, metric: str, group: str = "HC") -> list[Key]:
        return [("accuracy", group, name, "total", metric)]

    rows: list[tuple[str, float, str, list[Key], str]] = [
        ("preliminary MDGRU, DSC SC", 0.95, "dsc", path("SC", "dsc"), ""),
        ("preliminary MDGRU, DSC WM", 0.90, "dsc", path("WM", "dsc"), ""),
        ("preliminary MDGRU, DSC GM", 0.86, "dsc", path("GM", "dsc"), ""),
        ("Prados, RSD GM", 7.4, "rsd", [("repro", "score", "inter", "GM", "rsd")], "7.4 (4.9)"),
        ("Prados, DSC GM in MS", 0.79, "dsc", path("GM", "dsc", "MS"), "0.74 to 0.79"),
        ("Prados, HD mm GM in MS", 1.44, "hd", path("GM", "hd", "MS"), "1.44 to 1.61"),
        ("Datta, ICC GM", 0.88, "icc", [("ICC", "GM")], ""),
        ("Perone, DSC GM", 0.85, "dsc", path("GM", "dsc"), "0.85 (0.04)"),
        ("Perone, HD mm GM", 2.61, "hd", path("GM", "hd"), ""),
        (
            "T2 + T2* network, DSC lesions",
            0.60,
            "dsc",
            path("lesion", "dsc", "MS"),
            "0.60 (median)",
        ),
    ]
    return [quality(f"quoted {text}", "A3", f"quoted: {text}", value, metric, paths, paper=paper)
            for text, value, metric, paths, paper in rows]  # fmt: skip


def _areas() -> list[Anchor]:
    """SCORE against manual areas: which are larger, which smaller."""
    sides = {"GM NA": 1, "AH NA": 1, "AH total": 1, "PH NA": -1, "PH total": -1, "GC NA": -1,
             "lesion total": -1}  # fmt: skip
    found = []
    for place, side in sides.items():
        name, tissue = place.split()
        key: Key = ("area SCORE-manual", "MS", name, tissue)
        word = "larger" if side > 0 else "smaller"
        found.append(stated(f"area SCORE-manual MS {place}", "A4",
                            f"SCORE against manual area, patients, {place}", f"{word}, P < .001",
                            f"{word}, P < .001", _sided(key, side)))  # fmt: skip

    def alike(found: Found, options: TableOptions) -> Verdict:
        keys = [("area SCORE-manual", "HC", name, "total") for name in PARTS]
        tests = [found[key] for key in keys if key in found]
        if len(tests) < len(PARTS) or any(math.isnan(one[1]) for one in tests):
            return MISSING
        differ = sum(one[1] < 0.05 for one in tests)
        return Verdict(f"{differ} of {len(tests)} differ", differ == 0)

    found.append(stated("area SCORE-manual HC", "A4", "SCORE against manual area, controls",
                        "none differs", "P ≥ .05, all", alike))  # fmt: skip
    return found


def _sided(key: Key, side: int) -> Any:
    def judge(found: Found, options: TableOptions) -> Verdict:
        one, p, q = found.get(key, (None, math.nan, math.nan))
        if one is None or math.isnan(p):
            return MISSING
        difference = one.slices.estimate
        here = f"{difference:+.2f} mm2, P {format_p(p)} / {format_p(q)}"
        return Verdict(here, bool(difference * side > 0 and p < 0.001))

    return judge


def _groups(options: TableOptions) -> list[Anchor]:
    def both(what: str, name: str) -> list[Key]:
        # the paper normalised cord and white matter only
        kinds = ("normalised", "raw") if name in ("SC", "WM") else ("raw",)
        return [(what, name, "total", kind) for kind in kinds]

    raw: dict[str, Key] = {name: ("MS-HC", name, "total", "raw") for name in PARTS}
    found = [
        effect("WM MS-HC", "WM, patients against controls", -10, raw["WM"]),
        effect("GM MS-HC", "GM, patients against controls", -8, raw["GM"]),
        effect("AH MS-HC", "AH, patients against controls", -14, raw["AH"]),
        group_p("p MS-HC AH", "AH lower", [raw["AH"]], lower=True, alpha=0.01),
        stated("AH slices", "A4", "AH lower mainly at the enlargement (slices 7-12)", "yes",
               "more than in slices 1-6", _enlargement),
        *(group_p(f"p MS-HC {name}", f"{name}, patients against controls", [raw[name]],
                  lower=False) for name in ("PH", "GC")),
        group_p("p MS-HC SC", "SC lower (TIV-normalised)", both("MS-HC", "SC"), lower=True),
        *(group_p(f"p MS-HC WM {alpha:g}",
                  f"WM lower {CHOSEN if math.isclose(alpha, options.wm_p) else OTHER}",
                  both("MS-HC", "WM"), lower=True, alpha=alpha) for alpha in (0.001, 0.05)),
        group_p("p MS-HC GM", "GM total, patients against controls", [raw["GM"]], lower=False),
    ]  # fmt: skip
    for name in PARTS:
        lower = name in ("GM", "AH")
        found.append(group_p(f"p progressive-RR {name}", f"{name}, progressive against RR",
                             both("progressive-RR", name), lower=lower))  # fmt: skip
    for name in PARTS:
        wanted = ("tiv",) if name in ("SC", "WM") else ()
        text = "TIV" if wanted else "none"
        found.append(stated(f"normalisation {name}", "A4", f"normalisation of {name}", text,
                            f"= {text}", _chosen(name, wanted)))  # fmt: skip
    return found


def _chosen(name: str, wanted: tuple[str, ...]) -> Any:
    def judge(found: Found, options: TableOptions) -> Verdict:
        plan = found.get(("strategy", name))
        if plan is None or not plan.best:
            return MISSING
        return Verdict(" + ".join(plan.chosen) or "none", plan.chosen == wanted)

    return judge


def _enlargement(found: Found, options: TableOptions) -> Verdict:
    upper, lower = found.get(("AH slices",), (math.nan, math.nan))
    if math.isnan(upper) or math.isnan(lower):
        return MISSING
    return Verdict(f"{number(upper, 1)} % above, {number(lower, 1)} % there", lower < upper)


def _edss() -> list[Anchor]:
    def beta(name: str, value: float) -> Any:
        def judge(found: Found, options: TableOptions) -> Verdict:
            model: Elimination | None = found.get(("EDSS model",))
            if model is None:
                return MISSING
            one = _predictor(model, name)
            if one is None:
                return Verdict("removed", False)
            return Verdict(f"{one.beta:.2f} ({one.low:.2f} to {one.high:.2f})",
                           one.low <= value <= one.high)  # fmt: skip

        return judge

    def kept(name: str) -> Any:
        def judge(found: Found, options: TableOptions) -> Verdict:
            model: Elimination | None = found.get(("EDSS model",))
            if model is None:
                return MISSING
            one = _predictor(model, name)
            return Verdict(f"kept, P {format_p(one.p)}" if one else "removed", one is not None)

        return judge

    def r2(found: Found) -> float:
        model: Elimination | None = found.get(("EDSS model",))
        return model.final.r2 if model else math.nan

    return [
        stated("EDSS beta WM", "A5", "EDSS, beta of WM", "-0.38", "in our 95 % CI",
               beta("WM", -0.38)),
        stated("EDSS beta lesion", "A5", "EDSS, beta of lesions", "+0.40", "in our 95 % CI",
               beta("lesion", 0.40)),
        stated("EDSS duration", "A5", "EDSS, disease duration", "in the model", "kept",
               kept("duration")),
        stated("EDSS type", "A5", "EDSS, disease type", "in the model", "kept",
               kept("progressive")),
        # .12: two SDs of R2 over cohorts of 24 drawn with a true value of .81
        near("EDSS R2", "A5", "EDSS, R2", 0.81, 0.12, r2),
    ]  # fmt: skip


def _predictor(model: Elimination, name: str) -> Predictor | None:
    return next((one for one in model.final.predictors if one.name == name), None)


def _earlier() -> list[Anchor]:
    def path(name: str) -> list[Key]:
        return [("accuracy", "HC", name, "total", "dsc")]

    return [
        cohort_mean("area GM 2019", "GM mm2, controls", 17.20, 2.28, 24,
                    ("area subjects", "HC", "GM"), "A6"),
        cohort_mean("area WM 2019", "WM mm2, controls", 72.71, 7.55, 24,
                    ("area subjects", "HC", "WM"), "A6"),
        quality("cv 2019", "A6", "mean CV, GM and WM", 4.77, "rsd",
                [("repro", "score", "inter", name, "rsd") for name in ("GM", "WM")]),
        quality("dsc GM 2019", "A6", "DSC GM", 0.86, "dsc", path("GM"), paper="0.86 (0.04)"),
        quality("dsc WM 2019", "A6", "DSC WM", 0.90, "dsc", path("WM")),
    ]  # fmt: skip
