"""Who the people of the SCORE cohort are, and what that does to their cords.

Published counts are met exactly in every 24 people of a group. Areas are log-normal: a common part
(sex, head size, canal, age, rest), a part of each structure, and the planted effect of the disease
(phantom.md 5; published effects: targets.md A4, A5).
"""

from dataclasses import dataclass, field
from typing import Any, final

import numpy as np

# log SDs: the common part and the specific ones give the resulting CVs .09 (cord), .14, .17, .20,
# with what the random geometry of `anatomy.draw_subject` adds (.02, .034, .062, .042)
COMMON_SD, CORD_SD = 0.071, 0.051
PART_SD = {"ah": 0.125, "ph": 0.148, "gc": 0.195}
PART_WEIGHT = {"ah": 0.9, "ph": 0.9, "gc": 0.5}
_SEX, _TIV, _CANAL, _AGE = 0.027, 0.030, 0.048, -0.00094
_REST = 0.010  # what is left of COMMON_SD
MS_CORD, AH_RELAPSING, AH_PROGRESSIVE = -0.095, -0.098, -0.21
EDSS_WM, EDSS_LESION, EDSS_DURATION, EDSS_TYPE = -0.38, 0.40, 0.22, 0.30
_SCORE_SD = 0.90  # of the sum of the four terms and chance
_BLOCK = 24


@final
@dataclass(frozen=True, slots=True)
class Person:
    """A participant and the natural logarithms of their true areas relative to the mean."""

    row: dict[str, Any]
    log_cord: float
    log_canal: float
    log_parts: dict[str, float] = field(default_factory=dict)
    lesion_z: float | None = None  # standardised log lesion volume; None = no lesion
    contact: bool = False
    mild_artefact: bool = False


def person(seed: int, group: str, index: int) -> Person:
    """Participant `index` (from 0) of a group, ``HC`` or ``MS``."""
    rng = np.random.default_rng([seed, 7, group == "MS", index])
    women = 14 if group == "MS" else 15
    sex = "F" if _member(seed, group, index, "sex", women) else "M"
    mean, sd = (41.2, 11.9) if group == "MS" else (40.2, 10.8)
    age = float(np.clip(rng.normal(mean, sd), 18, 75))
    tiv = float(rng.normal(1.41 if sex == "F" else 1.57, 0.11))
    canal_z, rest, e_cord = rng.normal(size=3)
    tiv_z = (tiv - 1.47) / 0.136
    common = _SEX * (-1 if sex == "F" else 1) * 0.98 + 0.006 * (women > 12)
    common += _TIV * tiv_z + _CANAL * canal_z + _AGE * (age - 40.7) + _REST * rest
    log_cord = common + CORD_SD * e_cord
    parts = {name: PART_WEIGHT[name] * common + PART_SD[name] * rng.normal() for name in PART_SD}
    row = {
        "participant_id": f"sub-{group}{index + 1:02d}",
        "group": group,
        "age": round(age, 1),
        "sex": sex,
        "tiv_l": round(tiv, 3),
    }
    log_canal = 0.13 * (0.85 * canal_z + 0.53 * rng.normal())
    if group == "HC":
        contact = _member(seed, group, index, "contact", 5)
        return Person({**row, **_no_disease()}, log_cord, log_canal, parts, contact=contact)
    return _patient(seed, index, row, log_cord, log_canal, parts, rng)


def _no_disease() -> dict[str, Any]:
    return {"disease_type": None, "disease_duration": None, "edss": None}


def _patient(
    seed: int, index: int, row: dict[str, Any], log_cord: float, log_canal: float,
    parts: dict[str, float], rng: np.random.Generator,
) -> Person:  # fmt: skip
    """Disease type, duration, lesion load, EDSS and the planted losses."""
    rank = _rank(seed, "MS", index, "type")
    kind = "RR" if rank < 15 else "SP" if rank < 21 else "PP"
    progressive = float(kind != "RR")
    duration = float(np.clip(rng.gamma((12 / 8.6) ** 2, 8.6**2 / 12), 0.3, 40))
    lesion = 0.5 * progressive + 0.05 * (duration - 12) + rng.normal()
    lesion_z = (lesion - 0.19) / 1.11
    raw = -0.25 * lesion - 0.3 * progressive - 0.03 * (duration - 12) + log_cord / 0.09
    white_z = (raw + 0.16) / 1.13
    log_cord = np.log1p(MS_CORD) + 0.09 * white_z
    parts["ah"] += np.log1p(AH_PROGRESSIVE if progressive else AH_RELAPSING)
    free = _member(seed, "MS", index, "free", 3)
    if free:
        lesion_z = -1.5
    score = EDSS_WM * white_z + EDSS_LESION * lesion_z + EDSS_DURATION * (duration - 12) / 8.6
    score += EDSS_TYPE * (progressive - 0.375) / 0.484
    # the four terms leave 19 % of the variance to chance (R2 = .81)
    score += 0.40 * rng.normal()
    edss = float(np.clip(np.round(2 * (2.6 + 1.84 * score / _SCORE_SD)) / 2, 0, 8))
    disease = {
        "disease_type": kind,
        "disease_duration": round(duration, 1),
        "edss": edss,
    }
    return Person(
        {**row, **disease},
        float(log_cord),
        log_canal,
        parts,
        lesion_z=None if free else float(lesion_z),
        mild_artefact=_member(seed, "MS", index, "artefact", 4),
    )


def _rank(seed: int, group: str, index: int, what: str) -> int:
    """Place of a person in a shuffled block of 24."""
    order = np.random.default_rng(
        [seed, 8, group == "MS", sum(map(ord, what)), index // _BLOCK]
    ).permutation(_BLOCK)
    return int(order[index % _BLOCK])


def _member(seed: int, group: str, index: int, what: str, count: int) -> bool:
    """Whether a person is one of `count` in each 24."""
    return _rank(seed, group, index, what) < count
