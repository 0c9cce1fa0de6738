"""The published numbers of part A1: people, slices, acquisition."""

import math
from typing import Any

from score_jax.statistics.significance import format_p
from score_jax.study.score_tables_judging import (
    CHOSEN,
    MISSING,
    OTHER,
    Anchor,
    Found,
    Key,
    Verdict,
    cohort_mean,
    counted,
    designed,
    near,
    share,
    stated,
)
from score_jax.study.score_tables_options import TableOptions

_TI = "97.1 158.7 220.2 281.8 343.3 404.9 466.5 528.0"


def people(options: TableOptions) -> list[Anchor]:
    """Who took part."""
    found = [
        counted("subjects HC", "controls", 24, ("HC", "n")),
        counted("subjects MS", "patients", 24, ("MS", "n")),
    ]
    for n in (15, 14):
        mark = CHOSEN if n == options.women_hc else OTHER
        found.append(counted(f"women HC {n}", f"women, controls {mark}", n, ("HC", "women")))
    found.append(counted("women MS", "women, patients", 14, ("MS", "women")))
    found += [
        cohort_mean("age HC", "age, controls", 40.2, 10.8, 24, ("HC", "age")),
        cohort_mean("age MS", "age, patients", 41.2, 11.9, 24, ("MS", "age")),
        *(counted(f"type {kind}", f"patients {kind}", n, ("MS", kind))
          for kind, n in (("RR", 15), ("SP", 6), ("PP", 3))),
        cohort_mean("duration", "disease duration, y", 12.0, 8.6, 24, ("MS", "duration")),
    ]  # fmt: skip
    for key, text, value, margin, name in (
        ("EDSS median", "EDSS, median", 2.25, 0.5, "EDSS median"),
        ("EDSS SD", "EDSS, SD", 1.84, 0.54, "EDSS SD"),
        ("EDSS RR", "EDSS, median, RR", 1.5, 0.5, "EDSS median RR"),
        ("EDSS progressive", "EDSS, median, progressive", 4.0, 0.5, "EDSS median progressive"),
    ):
        found.append(near(key, "A1", text, value, margin, _value("MS", name)))

    def types(found: Found, options: TableOptions) -> Verdict:
        p = found.get(("MS", "EDSS P"), math.nan)
        return MISSING if math.isnan(p) else Verdict(f"P {format_p(p)}", p < 0.01)

    found.append(
        stated("EDSS P", "A1", "EDSS, progressive against RR", "P < .01", "P < .01", types)
    )
    return found


def slices(options: TableOptions) -> list[Anchor]:
    """What was scanned, and what failed."""
    found = []
    for group, numbers in (("HC", (864, 9, 855, 817)), ("MS", (288, 1, 287, 271))):
        acquired, excluded, analysed, success = numbers
        of = "controls" if group == "HC" else "patients"
        n: Key = (group, "analysed")
        found += [
            counted(f"acquired {group}", f"slices, {of}", acquired, (group, "acquired")),
            share(f"excluded {group}", f"excluded for artefact, {of}", excluded, acquired,
                  (group, "excluded"), (group, "acquired")),
            counted(f"analysed {group}", f"analysed, {of}", analysed, n),
            share(f"success {group}", f"success, {of}", success, analysed, (group, "success"), n),
        ]  # fmt: skip
        listed = options.failures_hc if group == "HC" else options.failures_ms
        for failures in (34, 38) if group == "HC" else (17, 16):
            mark = CHOSEN if failures == listed else OTHER
            found.append(share(f"failures {group} {failures}", f"failures, {of} {mark}",
                               failures, analysed, (group, "failures"), n))  # fmt: skip
    for key, text, part, whole in (
        ("quality HC", "failures by image quality, controls", 2, 34),
        ("contact HC", "failures by contact with the arch, controls", 32, 34),
        ("artefact MS", "failures by artefact, patients", 14, 17),
        ("misclassified MS", "lesions misclassified, patients", 3, 17),
    ):
        # the causes were named by eye; the detector's letters are none
        found.append(designed(key, text, f"{part} of {whole}", part))

    def total(found: Found, options: TableOptions) -> Verdict:
        if ("HC", "success") not in found:
            return MISSING
        both = found["HC", "success"] + found["MS", "success"]
        return Verdict(str(both), both == 1088)

    found.append(stated("success both", "A1", "slices in the analyses", "1088", "= 1088", total))
    found += [
        share("touched HC", "controls with a failure", 5, 24, ("HC", "subjects with failure"),
              ("HC", "n")),
        share("touched MS", "patients with a failure", 4, 24, ("MS", "subjects with failure"),
              ("MS", "n")),
        share("lesion slices", "successful slices with a lesion", 198, 271,
              ("MS", "slices with lesion"), ("MS", "success")),
        share("lesion free", "patients without a lesion", 3, 24,
              ("MS", "subjects without lesion"), ("MS", "n")),
    ]  # fmt: skip
    return found


def design() -> list[Anchor]:
    """Acquisition and training."""
    return [
        designed("scans HC", "scans of a control", "3", 3),
        designed("scans MS", "scans of a patient", "1", 1),
        designed("slices a scan", "slices of a scan", "12", 12),
        designed("raters", "raters of cord, GM, lesions", "3", 3),
        designed("raters parts", "raters of canal, horns, commissure", "1", 1),
        designed("folds", "folds of cord, GM, lesions", "3", 3),
        designed("folds parts", "folds of canal, horns, commissure", "2", 2),
        designed("field of view, mm", "field of view", "128", 128.0),
        designed("pixel, mm", "pixel", "0.67", 0.67),
        designed("thickness, mm", "slice thickness", "8", 8.0),
        designed("overlap, mm", "overlap of slices", "4", 4.0),
        designed("coverage, mm", "coverage (48 in AJNR 2019)", "52", 52.0),
        designed("seconds a slice", "acquisition of a slice, s", "51", 51.0),
        designed("seconds a stack", "acquisition of a stack, s", "612", 612.0),
        designed("TI, ms", "inversion times, ms", _TI, _TI),
        designed("TE, ms", "echo time, ms", "2.14", 2.14),
        designed("TR, ms", "repetition time, ms", "5.13", 5.13),
    ]


def _value(*path: str) -> Any:
    def get(found: Found) -> float:
        return float(found.get(path, math.nan))

    return get
