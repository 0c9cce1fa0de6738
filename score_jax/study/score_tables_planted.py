"""Frames of a cohort with planted effects, without images: what a faultless pipeline would write.

Drawn as phantom.md 5 describes the people and their areas; for tests, for the benchmark, and to see
the tables without waiting for networks.
"""

import math
from dataclasses import dataclass
from typing import final

import numpy as np
import pandas as pd
from jaxtyping import Float64

from score_jax.study.score_tables_frames import Frame

# mm2; shares of the grey matter by which -14 % of AH alone makes -8 % of GM, as published
WM, GM = 72.7, 17.2
SHARES = {"AH": 0.57, "PH": 0.32, "GC": 0.11}
_SPECIFIC = {"WM": 0.055, "AH": 0.13, "PH": 0.16, "GC": 0.20}
_COMMON = {"WM": 1.0, "AH": 0.9, "PH": 0.9, "GC": 0.5}
_COMMON_SD, _SLICE_SD = 0.071, 0.027
_LOSS_WM, _LOSS_RR, _LOSS_PROGRESSIVE = -0.10, -0.098, -0.21
_PROGRESSIVE = 9 / 24
# area noise of one scan (SD of the logarithm): SCORE, manual
_NOISE = {"SC": 0.012, "WM": 0.018, "GM": 0.044, "AH": 0.05, "PH": 0.06, "GC": 0.12,
          "canal": 0.01, "lesion": 0.15}  # fmt: skip
_DSC = {"SC": 0.98, "WM": 0.95, "GM": 0.92, "AH": 0.91, "PH": 0.90, "GC": 0.80, "canal": 0.98,
        "lesion": 0.69}  # fmt: skip
_HD = {"SC": 0.40, "WM": 0.5, "GM": 0.53, "AH": 0.45, "PH": 0.5, "GC": 0.6, "canal": 0.4,
       "lesion": 1.5}  # fmt: skip


@final
@dataclass(frozen=True, eq=False, slots=True)
class Planted:
    """The four frames and the truth.

    Args:
      subjects: as `score_tables` takes it; so are the next three.
      slices: see there.
      areas: see there.
      pairs: see there.
      truth: what was planted, as `TableOptions.planted`.
    """

    subjects: Frame
    slices: Frame
    areas: Frame
    pairs: Frame
    truth: dict[str, float]


def planted_truth() -> dict[str, float]:
    """The expected differences in percent, from the losses above."""
    rr, progressive = 1 + _LOSS_RR, 1 + _LOSS_PROGRESSIVE
    ah = (1 - _PROGRESSIVE) * rr + _PROGRESSIVE * progressive
    gm = 1 - SHARES["AH"] * (1 - ah)
    wm = 1 + _LOSS_WM
    # white matter of progressive patients is lower by what lesions and type take (`_patients`)
    shift = -0.425 * _WHITE_SD / _RAW_SD
    wm_type = math.exp(shift)
    gm_type = [1 - SHARES["AH"] * (1 - one) for one in (rr, progressive)]
    wm_rr = wm / (1 - _PROGRESSIVE + _PROGRESSIVE * wm_type)
    sc_type = [WM * w + GM * g for w, g in zip((wm_rr, wm_rr * wm_type), gm_type, strict=True)]
    ratio = {
        "SC MS-HC": (WM * wm + GM * gm) / (WM + GM), "WM MS-HC": wm, "GM MS-HC": gm,
        "AH MS-HC": ah, "PH MS-HC": 1.0, "GC MS-HC": 1.0,
        "SC progressive-RR": sc_type[1] / sc_type[0], "WM progressive-RR": wm_type,
        "GM progressive-RR": gm_type[1] / gm_type[0], "AH progressive-RR": progressive / rr,
        "PH progressive-RR": 1.0, "GC progressive-RR": 1.0,
    }  # fmt: skip
    truth = {name: 100 * (value - 1) for name, value in ratio.items()}
    return {**truth, "EDSS beta WM": -0.38, "EDSS beta lesion": 0.40, "EDSS R2": 0.81}


_WHITE_SD = math.hypot(_COMMON_SD, _SPECIFIC["WM"])
# SD of -.25 lesion - .3 progressive - .03 (duration - 12) + N, see `_patients`
_RAW_SD = math.sqrt(
    0.425**2 * _PROGRESSIVE * (1 - _PROGRESSIVE) + (0.0425 * 8.6) ** 2 + 0.25**2 + 1
)


def planted_study(
    seed: int, *, people: int = 24, scans: int = 3, slices: int = 12, pairs: bool = True
) -> Planted:
    """Draw a cohort.

    Args:
      seed: of everything.
      people: of each group; counts (15 women, 9 progressive ...) in proportion to 24.
      scans: of a control; patients have one.
      slices: of a scan.
      pairs: whether to draw the scores too (they take most of the time).
    """
    rng = np.random.default_rng([seed, 2023])
    subjects, logs, lesion = _people(rng, people)
    place = _places(subjects, scans, slices)
    areas, burden = _areas(rng, subjects, logs, lesion, place, slices)
    frame = _slices(rng, place, subjects)
    ok = ~frame["excluded"].to_numpy()
    ok_score = ok & ~frame["flagged"].to_numpy()
    listed = _area_rows(rng, place, subjects, areas, ok_score=ok_score, ok=ok)
    canal = np.bincount(place["who"], areas["canal"]) / np.bincount(place["who"])
    subjects = subjects.assign(canal=np.round(canal, 1))
    found = _pairs(rng, place, subjects, burden, ok_score) if pairs else _NO_PAIRS
    return Planted(subjects, frame, listed, found, planted_truth())


_NO_PAIRS = pd.DataFrame(columns=[
    "subject", "group", "slice", "comparison", "compartment", "tissue", "method", "rsd", "dsc",
    "hd", "ok",
])  # fmt: skip


def _people(
    rng: np.random.Generator, people: int
) -> tuple[Frame, dict[str, Float64[np.ndarray, " n"]], Float64[np.ndarray, " n"]]:
    """Covariates, log areas relative to the mean, and lesion z scores (NaN: no lesion)."""
    n = 2 * people
    ms = np.repeat([False, True], people)
    women = [_some(rng, people, share / 24) for share in (15, 14)]
    female = np.concatenate(women)
    age = np.clip(rng.normal(np.where(ms, 41.2, 40.2), np.where(ms, 11.9, 10.8)), 18, 75)
    tiv = rng.normal(np.where(female, 1.41, 1.57), 0.11)
    rest = rng.normal(0, 0.03, n)
    common = 0.027 * np.where(female, -1.0, 1.0) + 0.030 * (tiv - 1.47) / 0.136
    common = common + rest - 0.00094 * (age - 40.7)
    common = common + math.sqrt(_COMMON_SD**2 - 0.027**2 - 0.03**2 - 0.03**2 - 0.0106**2) * (
        rng.normal(size=n)
    )
    logs = {name: _COMMON[name] * common + sd * rng.normal(size=n)
            for name, sd in _SPECIFIC.items()}  # fmt: skip
    progressive = np.concatenate([np.zeros(people, bool), _some(rng, people, _PROGRESSIVE)])
    duration = np.clip(rng.gamma((12 / 8.6) ** 2, 8.6**2 / 12, n), 0.3, 40)
    z_lesion, edss = _patients(rng, logs, ms, progressive, duration)
    logs["canal"] = 0.13 * (0.85 * common / _COMMON_SD + 0.53 * rng.normal(size=n))
    # two of three progressive patients are secondary progressive
    secondary = np.cumsum(progressive) <= round(2 / 3 * int(progressive.sum()))
    kind = np.where(~ms, "", np.where(~progressive, "RR", np.where(secondary, "SP", "PP")))
    names = [f"sub-{'MS' if m else 'HC'}{i % people + 1:02d}" for i, m in enumerate(ms)]
    table = pd.DataFrame({
        "subject": names, "group": np.where(ms, "MS", "HC"), "type": kind,
        "sex": np.where(female, "F", "M"), "age": np.round(age, 1),
        "duration": np.where(ms, np.round(duration, 1), np.nan),
        "edss": np.where(ms, edss, np.nan), "tiv": np.round(tiv, 3), "canal": np.nan,
    })  # fmt: skip
    free = np.concatenate([np.ones(people, bool), _some(rng, people, 3 / 24)])
    return table, logs, np.where(free, np.nan, z_lesion)


def _patients(
    rng: np.random.Generator, logs: dict[str, np.ndarray], ms: np.ndarray, progressive: np.ndarray,
    duration: np.ndarray,
) -> tuple[Float64[np.ndarray, " n"], Float64[np.ndarray, " n"]]:  # fmt: skip
    """Lesions and EDSS; takes the planted losses from the patients' log areas."""
    n = ms.size
    lesion = 0.5 * progressive + 0.05 * (duration - 12) + rng.normal(size=n)
    white = -0.25 * lesion - 0.3 * progressive - 0.03 * (duration - 12) + logs["WM"] / _WHITE_SD
    white_z = (white + 0.425 * _PROGRESSIVE) / _RAW_SD
    logs["WM"] = np.where(ms, math.log1p(_LOSS_WM) + _WHITE_SD * white_z, logs["WM"])
    loss = np.where(progressive, math.log1p(_LOSS_PROGRESSIVE), math.log1p(_LOSS_RR))
    logs["AH"] = logs["AH"] + np.where(ms, loss, 0.0)
    z_lesion = (lesion - 0.5 * _PROGRESSIVE) / math.sqrt(0.25 * 0.234 + 0.43**2 + 1)
    score = -0.38 * white_z + 0.40 * z_lesion + 0.22 * (duration - 12) / 8.6
    score = score + 0.30 * (progressive - _PROGRESSIVE) / 0.484 + 0.40 * rng.normal(size=n)
    return z_lesion, np.clip(np.round(2 * (2.6 + 1.84 * score / 0.9)) / 2, 0, 8)


def _some(rng: np.random.Generator, people: int, share: float) -> np.ndarray:
    return rng.permutation(people) < round(share * people)


def _places(subjects: Frame, scans: int, slices: int) -> dict[str, np.ndarray]:
    """Row by row: who (index), scan and slice, both from 1."""
    who, scan, which = [], [], []
    for i, group in enumerate(subjects["group"]):
        for s in range(1, (scans if group == "HC" else 1) + 1):
            who += [i] * slices
            scan += [s] * slices
            which += list(range(1, slices + 1))
    return {"who": np.array(who), "scan": np.array(scan), "slice": np.array(which)}


def _areas(
    rng: np.random.Generator, subjects: Frame, logs: dict[str, np.ndarray],
    lesion: np.ndarray, place: dict[str, np.ndarray], slices: int,
) -> tuple[dict[str, np.ndarray], np.ndarray]:  # fmt: skip
    """True areas of each row by compartment, and the lesion area."""
    who, which = place["who"], place["slice"] - 1
    profile = 1 + 0.07 * np.sin(np.pi * np.arange(slices) / max(1, slices - 1)) - 0.045
    field = _SLICE_SD * rng.normal(size=(len(subjects), slices))  # the same in every scan
    part = {}
    for name in ("WM", *SHARES):
        mean = WM if name == "WM" else GM * SHARES[name]
        own = rng.normal(0, 0.01, (len(subjects), slices))
        # the mean of a log-normal is above its median; it cancels in ratios of groups
        part[name] = mean * profile[which] * np.exp(logs[name][who] + (field + own)[who, which])
    gm = part["AH"] + part["PH"] + part["GC"]
    canal = 215 * np.exp(logs["canal"][who] + 0.3 * field[who, which])
    carried = rng.random((len(subjects), slices)) < 0.83
    size = np.exp(math.log(6) + 0.5 * np.nan_to_num(lesion)[:, None]
                  + 0.3 * rng.normal(size=(len(subjects), slices)))  # fmt: skip
    burden = np.where(carried & ~np.isnan(lesion)[:, None], size, 0.0)[who, which]
    whole = {"SC": part["WM"] + gm, "WM": part["WM"], "GM": gm}
    horns = {name: part[name] for name in SHARES}
    return {**whole, **horns, "canal": canal, "lesion": burden}, burden


def _slices(rng: np.random.Generator, place: dict[str, np.ndarray], subjects: Frame) -> Frame:
    who, n = place["who"], place["who"].size
    ms = (subjects["group"] == "MS").to_numpy()[who]
    excluded = rng.random(n) < np.where(ms, 1 / 288, 9 / 864)
    people = len(subjects) // 2
    touching = np.concatenate([_some(rng, people, 5 / 24), _some(rng, people, 4 / 24)])[who]
    truth = touching & (rng.random(n) < np.where(ms, 0.35, 0.19)) & ~excluded
    flagged = (truth & (rng.random(n) < 0.9)) | (~truth & ~excluded & (rng.random(n) < 0.003))
    letters = np.array(["a", "b", "c", "d", "b;d"])[rng.integers(0, 5, n)]
    return pd.DataFrame({
        "subject": subjects["subject"].to_numpy()[who], "scan": place["scan"],
        "slice": place["slice"], "excluded": excluded,
        "excluded_reason": np.where(excluded, "motion", ""), "flagged": flagged,
        "reasons": np.where(flagged, letters, ""), "truth_failure": truth,
    })  # fmt: skip


def _area_rows(
    rng: np.random.Generator, place: dict[str, np.ndarray], subjects: Frame,
    areas: dict[str, np.ndarray], *, ok_score: np.ndarray, ok: np.ndarray,
) -> Frame:  # fmt: skip
    who = place["who"]
    group = subjects["group"].to_numpy()[who]
    ms = group == "MS"
    share = {"SC": 1.0, "WM": 0.8, "GM": 0.2, "AH": 0.1, "PH": 0.08, "GC": 0.02}
    parts = []
    for name, true in areas.items():
        for tissue in ("total", "NA"):
            if tissue == "NA" and name not in share:
                continue
            kept = ms if tissue == "NA" or name == "lesion" else np.ones(ms.size, bool)
            value = true - share[name] * areas["lesion"] if tissue == "NA" else true
            value = np.maximum(value, 0.0)
            for method, size in (("truth", 0.0), ("score", 1.0), ("manual", 1.4)):
                noise = np.exp(size * _NOISE[name] * rng.normal(size=value.size))
                parts.append(pd.DataFrame({
                    "subject": subjects["subject"].to_numpy()[who], "group": group,
                    "scan": place["scan"], "slice": place["slice"], "compartment": name,
                    "tissue": tissue, "method": method, "rater": "consensus",
                    "area": value * noise, "ok": ok_score if method == "score" else ok,
                })[kept])  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def _pairs(
    rng: np.random.Generator, place: dict[str, np.ndarray], subjects: Frame,
    burden: np.ndarray, ok: np.ndarray,
) -> Frame:  # fmt: skip
    """Scores as if a border moved: a loss of DSC, an RSD and an HD that rise together."""
    first = place["scan"] == 1
    who, which, burden = place["who"][first], place["slice"][first], burden[first]
    group, names = subjects["group"].to_numpy()[who], subjects["subject"].to_numpy()[who]
    hc, fine = group == "HC", ok[first]
    frailty = np.exp(0.15 * rng.normal(size=len(subjects)))[who] * (1 + 0.015 * (which - 1))
    plans = [
        ("intra", "score", 0.75),
        ("inter", "score", 0.80),
        ("intra", "manual", 1.1),
        ("inter", "manual", 1.15),
        ("accuracy", "score", 1.0),
        ("interrater", "manual", 1.2),
    ]
    parts = []
    for comparison, method, size in plans:
        for name, dsc in _DSC.items():
            for tissue in ("total", "NA"):
                if tissue == "NA" and (name in ("canal", "lesion") or comparison != "accuracy"):
                    continue
                kept = hc if comparison in ("intra", "inter") else np.ones(hc.size, bool)
                kept = kept & (~hc if tissue == "NA" or name == "lesion" else True)
                kept = kept & ((burden > 0) if name == "lesion" else True)
                if not kept.any():
                    continue
                worse = np.where(hc, 1.0, 1.5 if name not in ("SC", "lesion") else 1.0) * frailty
                loss = (1 - dsc) * size * worse * np.exp(0.25 * rng.normal(size=hc.size))
                parts.append(pd.DataFrame({
                    "subject": names, "group": group, "slice": which, "comparison": comparison,
                    "compartment": name, "tissue": tissue, "method": method,
                    "rsd": np.abs(rng.normal(size=hc.size)) * 80 * _NOISE[name] * size * worse,
                    "dsc": np.clip(1 - loss, 0.0, 1.0),
                    "hd": _HD[name] * size * worse * np.exp(0.3 * rng.normal(size=hc.size)),
                    "ok": fine if method == "score" else np.ones(hc.size, bool),
                })[kept])  # fmt: skip
    return pd.concat(parts, ignore_index=True) if parts else _NO_PAIRS
