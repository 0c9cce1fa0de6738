"""Who the people of the SCIseg cohort are: sites, injuries, implants, clinical scores.

Published counts (targets.md B1) are met in the full cohort and approached in smaller ones, because
people are taken from the sites in turn. What the paper leaves open (which site scanned in which
plane, phases by days, the link of scores to damage) is an assumption of ours.
"""

from dataclasses import dataclass
from typing import Any, final

import numpy as np

from score_jax.phantom.anatomy import WIDE_CANAL_MM, WIDE_CANAL_SHARE
from score_jax.phantom.tables import level_coordinate, level_names


@final
@dataclass(frozen=True, slots=True)
class Site:
    """One hospital of the cohort."""

    name: str
    patients: int
    second_scans: int
    implants: int
    age: tuple[float, float]  # mean, SD
    days: tuple[float, float]  # from injury to MRI: median, mean
    regions: tuple[float, float, float]  # cervical, thoracic, lumbar
    plane: str
    second_plane: str
    thickness_mm: tuple[float, float]


SITES = (
    Site("site1", 97, 40, 61, (51.0, 19.1), (41.5, 376.2), (58, 31, 8), "sagittal", "axial",
         (2.2, 4.8)),
    Site("site2", 80, 0, 80, (45.8, 16.4), (21.0, 84.0), (1, 0, 0), "axial", "axial", (3.0, 6.0)),
    Site("site3", 14, 0, 8, (42.9, 16.7), (407.0, 579.1), (1, 0, 0), "isotropic", "axial",
         (0.94, 0.94)),
    Site("dcm", 14, 0, 0, (55.0, 11.0), (0.0, 0.0), (1, 0, 0), "axial", "sagittal", (3.0, 5.0)),
)  # fmt: skip
PATIENTS = sum(site.patients for site in SITES)
IN_PLANE_MM = {"axial": (0.31, 0.78), "sagittal": (0.34, 0.96), "isotropic": (0.84, 0.84)}
_ORIGINS = {"traumatic": 171, "ischaemic": 13, "haemorrhagic": 5, "unknown": 3}
_PINPRICK_MAX, _MOTOR_MAX = 112, 50


def site_of(index: int) -> tuple[Site, int]:
    """Site of person `index` and their number there: people are spread evenly over the sites."""
    whole, place = divmod(index, PATIENTS)
    # each person's position within their site, as a share, gives the order over all sites
    shares = [((k + 0.5) / site.patients, j, k) for j, site in enumerate(SITES)
              for k in range(site.patients)]  # fmt: skip
    _, site, number = sorted(shares)[place]
    return SITES[site], number + whole * SITES[site].patients


def person(seed: int, index: int, *, healthy: float = 0.0) -> dict[str, Any]:
    """Covariates of person `index` (from 0), but for the scores, which follow from the damage."""
    rng = np.random.default_rng([seed, 31, index])
    site, number = site_of(index)
    men, women = 142 / 191, 42 / 191
    sex = str(rng.choice(["M", "F", "n/a"], p=[men, women, 1 - men - women]))
    implant = _rank(seed, site, number) < site.implants
    days = _days(rng, site)
    origin = str(rng.choice(list(_ORIGINS), p=np.array(list(_ORIGINS.values())) / 192))
    injury = _injury(site, origin, days)
    s = _place(rng, site, injury)
    group = "DCM" if site.name == "dcm" else "SCI"
    if rng.uniform() < healthy:
        injury, group, implant = "none", "HC", False
    level = level_names()[int(np.clip(level_coordinate(np.array([s]))[0], 0, 19))]
    injured = injury != "none"
    return {
        "participant_id": f"sub-sci{index + 1:03d}",
        "group": group,
        "age": round(float(np.clip(rng.normal(*site.age), 18, 90)), 1),
        "sex": None if sex == "n/a" else sex,
        "site": site.name,
        "origin": origin if group == "SCI" else None,
        "injury": injury,
        "days_to_mri": round(days, 1) if group == "SCI" else None,
        "level": level if injured else None,
        "implant": "yes" if implant else "no",
        "field_t": float(rng.choice([1.0, 1.5, 3.0], p=[0.05, 0.55, 0.40])),
        "lesion_s_mm": round(s, 1),
        "severity": round(float(rng.uniform(0.1, 1.0)), 2),
        "central_canal_mm": _central_canal(np.random.default_rng([seed, 37, index])),
    }


def scores(seed: int, index: int, damage: float) -> dict[str, int]:
    """Pinprick, light touch (0 to 112) and lower-extremity motor score (0 to 50).

    They fall with the axial damage ratio `damage` (0 to 1); Spearman's rho about -.5 (assumption).
    """
    rng = np.random.default_rng([seed, 32, index])
    out = {}
    for name, top, power in (
        ("pinprick", _PINPRICK_MAX, 0.7), ("light_touch", _PINPRICK_MAX, 0.5),
        ("lems", _MOTOR_MAX, 1.2),
    ):  # fmt: skip
        value = top * (1 - min(damage, 0.98)) ** power * np.exp(0.75 * rng.normal() - 0.2)
        out[name] = int(np.clip(np.round(value), 0, top))
    return out


def _days(rng: np.random.Generator, site: Site) -> float:
    """Log-normal with the site's median and mean."""
    median, mean = site.days
    if median <= 0:
        return 0.0
    return float(median * np.exp(np.sqrt(2 * np.log(mean / median)) * rng.normal()))


def _injury(site: Site, origin: str, days: float) -> str:
    if site.name == "dcm":
        return "dcm"
    if origin == "ischaemic":
        return "ischaemic"
    return "acute" if days < 14 else "subacute" if days < 180 else "chronic"


def _central_canal(rng: np.random.Generator) -> float | None:
    """Radius, mm, of a central canal that shows and may be taken for a lesion; else None."""
    radius = float(rng.uniform(*WIDE_CANAL_MM))
    return round(radius, 2) if rng.uniform() < WIDE_CANAL_SHARE else None


def _place(rng: np.random.Generator, site: Site, injury: str) -> float:
    """Middle of the lesion along the cord, mm."""
    regions = np.array(site.regions, float)
    region = int(rng.choice(3, p=regions / regions.sum()))
    if injury == "ischaemic" and site.name == "site1":
        region = 1  # the thoracic cord and the conus
    if region == 0:
        inside = rng.uniform() < 0.7  # C4 to C7
        return float(rng.uniform(-84, -16.5) if inside else rng.uniform(-16.5, 10))
    return float(rng.uniform(-336, -90) if region == 1 else rng.uniform(-400, -340))


def _rank(seed: int, site: Site, number: int) -> int:
    order = np.random.default_rng([seed, 33, len(site.name), site.patients]).permutation(
        site.patients
    )
    return int(order[number % site.patients])
