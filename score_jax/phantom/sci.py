"""The SCIseg cohort: injured cords on T2w (or T2*w, or any contrast) at three sites, and DCM."""

from dataclasses import dataclass
from typing import Any, final

import jax
import jax.numpy as jnp
import numpy as np

from score_jax.errors import ConfigError
from score_jax.phantom import anatomy, hardware, lesions, sci_people, sequences, tse
from score_jax.phantom.acquisition import Acquisition
from score_jax.phantom.cohort import Cohort, Patient, Scan, make_scan
from score_jax.phantom.posture import draw_posture
from score_jax.phantom.scene import rasterise
from score_jax.phantom.sequences import measure
from score_jax.phantom.tables import tables
from score_jax.phantom.tissues import FAT, t2w_weights

ACQUISITIONS = ("axial", "sagittal", "isotropic", "mix")
_STORED = {"axial": "LAS", "sagittal": "PIR", "isotropic": "RPI"}
_FIELD_OF_VIEW = {  # mm: right, anterior, superior
    "axial": (64.0, 64.0, 96.0),
    "sagittal": (46.0, 80.0, 128.0),
    "isotropic": (64.0, 64.0, 64.0),
}
_NOMINAL = {"axial": (0.5, 4.0), "sagittal": (0.62, 3.3), "isotropic": (1.0, 1.0)}
_PHASE = {"axial": 0, "sagittal": 2, "isotropic": 0}  # read-out runs along anterior
_ECHO_SPAN_MS = (55.0, 130.0)  # from the middle of k-space to its edge (assumption)
_SATURATION_FAILS = 0.5  # of scans with metal (assumption)
_FINE = {"axial": 0.5, "sagittal": 1.0, "isotropic": 0.5}  # sampling distance, share of a pixel


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class SciPlan:
    """How the cohort is scanned; see `sci_cohort`."""

    contrast: str
    acquisition: str
    grid_mm: float | None
    thickness_mm: float | None
    field_of_view_mm: tuple[float, float, float] | None
    scans: int | None
    raters: int
    implants: bool


def sci_cohort(
    seed: int,
    subjects: int | None = None,
    *,
    contrast: str = "T2w",
    acquisition: str = "mix",
    grid_mm: float | None = None,
    thickness_mm: float | None = None,
    field_of_view_mm: tuple[float, float, float] | None = None,
    scans: int | None = None,
    raters: int = 0,
    healthy: float = 0.0,
    implants: bool = True,
) -> Cohort:
    """Patients with an injured cord, scanned on T2w.

    Args:
      seed: of everything.
      subjects: how many; None is the published 191 and 14 with DCM.
      contrast: ``T2w``, ``T2starw`` or ``random`` (domain randomisation).
      acquisition: ``axial``, ``sagittal``, ``isotropic``, or ``mix``: that of each person's site.
      grid_mm: in-plane voxel size (isotropic: all three); None draws the published ones.
      thickness_mm: of slices; None draws the published ones.
      field_of_view_mm: right, anterior, superior; None is about the acquisition's usual.
      scans: of each patient; None: one, and a second of 40 of the 97 at the first site.
      raters: how many draw masks (0 to 3).
      healthy: share of people without injury, for training.
      implants: whether metal is seen where people carry it.

    Raises:
      ConfigError: an unknown contrast or acquisition, impossible counts.
      GeometryError: an impossible grid.
    """
    _check(subjects, contrast, acquisition, scans, raters, healthy)
    plan = SciPlan(
        contrast=contrast, acquisition=acquisition, grid_mm=grid_mm, thickness_mm=thickness_mm,
        field_of_view_mm=field_of_view_mm, scans=scans, raters=raters, implants=implants,
    )  # fmt: skip
    for plane in ACQUISITIONS[:3]:
        _spacing(plane, plan, np.random.default_rng(0), (1.0, 4.0))  # refuse nonsense now
    count = sci_people.PATIENTS if subjects is None else subjects
    rows = [_row(seed, i, healthy) for i in range(count)]
    return Cohort(rows, lambda i: _patient(seed, i, rows[i], plan), "Simulated spinal cord injury")


def _check(
    subjects: int | None, contrast: str, acquisition: str, scans: int | None, raters: int,
    healthy: float,
) -> None:  # fmt: skip
    if contrast not in sequences.CONTRASTS:
        raise ConfigError(
            f"contrast: got {contrast!r}; expected one of {', '.join(sequences.CONTRASTS)}"
        )
    if acquisition not in ACQUISITIONS:
        raise ConfigError(
            f"acquisition: got {acquisition!r}; expected one of {', '.join(ACQUISITIONS)}"
        )
    if subjects is not None and subjects < 1:
        raise ConfigError(f"subjects: got {subjects}; expected 1 or more")
    if scans is not None and scans < 1:
        raise ConfigError(f"scans: got {scans}; expected 1 or more")
    if not 0 <= raters <= 3:
        raise ConfigError(f"raters: got {raters}; expected 0 to 3")
    if not 0 <= healthy <= 1:
        raise ConfigError(f"healthy: got {healthy}; expected a share from 0 to 1")


def _row(seed: int, index: int, healthy: float) -> dict[str, Any]:
    row = sci_people.person(seed, index, healthy=healthy)
    if row["group"] != "SCI":
        return {**row, "pinprick": None, "light_touch": None, "lems": None}
    blobs = sci_subject(seed, index, row).blobs
    radius, half = np.asarray(blobs.radius), np.asarray(blobs.half_length)
    damage = float(np.max(np.where(half > 0, radius.prod(-1), 0)))
    return {**row, **sci_people.scores(seed, index, damage)}


def sci_subject(seed: int, index: int, row: dict[str, Any]) -> anatomy.Subject:
    """The body of one participant, injured as their covariates say."""
    subject = _draw(jax.random.fold_in(jax.random.key(seed), index))
    if row["central_canal_mm"]:
        subject = anatomy.with_central_canal(subject, row["central_canal_mm"])
    if row["injury"] == "none":
        return subject
    rng = np.random.default_rng([seed, 34, index])
    place, severity = row["lesion_s_mm"], row["severity"]
    return lesions.injure(subject, row["injury"], rng, s=place, severity=severity)


@jax.jit
def _draw(key: jax.Array) -> anatomy.Subject:
    keys = jax.random.split(key)
    return anatomy.draw_subject(keys[0], anatomy.draw_traits(keys[1], amira=False))


def _patient(seed: int, index: int, row: dict[str, Any], plan: SciPlan) -> Patient:
    key = jax.random.fold_in(jax.random.key(seed), index)
    subject = sci_subject(seed, index, row)
    metal = None
    if plan.implants and row["implant"] == "yes":
        rng = np.random.default_rng([seed, 35, index])
        metal = hardware.draw_implants(rng, s=row["lesion_s_mm"], strength=row["field_t"] ** 0.3)
    site, number = sci_people.site_of(index)
    count = plan.scans or (2 if number < site.second_scans else 1)
    scans = tuple(
        _scan(subject, key, metal, jax.random.fold_in(key, 10 + k),
              np.random.default_rng([seed, 36, index, k]), row, plan, k)
        for k in range(count)
    )  # fmt: skip
    return Patient(row["participant_id"].removeprefix("sub-"), row, scans)


def _scan(
    subject: anatomy.Subject, body: jax.Array, metal: hardware.Implants | None, key: jax.Array,
    rng: np.random.Generator, row: dict[str, Any], plan: SciPlan, number: int,
) -> Scan:  # fmt: skip
    keys = jax.random.split(key, 5)
    site = next(site for site in sci_people.SITES if site.name == row["site"])
    own = site.plane if number == 0 else site.second_plane
    plane = own if plan.acquisition == "mix" else plan.acquisition
    posture = draw_posture(keys[0], body=body, tilt_deg=4.0)
    thickness = site.thickness_mm if plane == site.plane else (1.0, 7.0)
    grid = _geometry(plane, plan, rng, row, np.asarray(posture.course), thickness)
    contrast = sequences.contrast(plan.contrast, keys[1])
    # the tables hold for 3 T; noise is inverse to the field
    contrast = contrast._replace(sigma=contrast.sigma * (tse.TABLE_T / row["field_t"]))
    scene = seen = rasterise(subject, posture, grid, distances=plan.raters > 0)
    span_ms = float(rng.uniform(*_ECHO_SPAN_MS))
    if plan.contrast == "T2w":
        share = jnp.asarray(tse.saturation(row["field_t"]), jnp.float32)
        contrast = contrast._replace(weights=contrast.weights * share[:, None])
        seen = tse.echo_train(scene, grid, axis=_PHASE[plane], span_ms=span_ms)
    fails = metal is not None and rng.uniform() < _SATURATION_FAILS
    if metal is not None and fails:
        bright = float(t2w_weights()[FAT] / contrast.weights[FAT, 0])
        seen = hardware.unsaturated_fat(seen, metal, posture, grid, max(1.0, bright))
    image = np.asarray(measure(seen.fractions, seen.tissues, seen.texture, contrast, keys[2]))
    if metal is not None:
        image = hardware.spoil(image, metal, posture, grid)
    suffix = "T2w" if plan.contrast == "random" else plan.contrast
    notes = {
        "Simulated": True,
        "SimulatedContrast": plan.contrast,
        "MagneticFieldStrength": row["field_t"],
        "SliceThickness": grid.thickness(grid.thick_axis) if grid.thick_axis is not None else None,
        "Implant": metal is not None,
    }
    if plan.contrast == "T2w":
        table = tables()["sci_image"]
        notes |= {
            "RepetitionTime": table["T2w_TR_ms"] / 1000,
            "EchoTime": table["T2w_TE_ms"] / 1000,
            "EchoTrainSpanMilliseconds": round(span_ms, 1),
            "FatSaturation": bool(contrast.weights[FAT, 0] < 0.5 * t2w_weights()[FAT]),
        }
    return make_scan(
        1000 * image, scene, grid, contrast=suffix, plane=plane, session=number + 1,
        keys=keys[3:], raters=range(plan.raters), notes=notes,
    )  # fmt: skip


def _spacing(
    plane: str, plan: SciPlan, rng: np.random.Generator, thickness: tuple[float, float]
) -> tuple[tuple[float, float, float], int | None]:
    """Voxel size (right, anterior, superior) and the axis across the slices."""
    inplane = plan.grid_mm or round(float(rng.uniform(*sci_people.IN_PLANE_MM[plane])), 2)
    thick_axis = {"axial": 2, "sagittal": 0, "isotropic": None}[plane]
    spacing = [inplane] * 3
    if thick_axis is not None:
        spacing[thick_axis] = plan.thickness_mm or round(float(rng.uniform(*thickness)), 1)
    elif plan.grid_mm is None:
        spacing[0] = 0.94
    grid = Acquisition(shape=(1, 1, 1), spacing_mm=(spacing[0], spacing[1], spacing[2]))
    return grid.spacing_mm, thick_axis


def _geometry(
    plane: str, plan: SciPlan, rng: np.random.Generator, row: dict[str, Any], course: np.ndarray,
    thickness: tuple[float, float],
) -> Acquisition:  # fmt: skip
    """The grid: the site's resolution, the lesion in view, the cord not centred."""
    spacing, thick_axis = _spacing(plane, plan, rng, thickness)
    extent = plan.field_of_view_mm or _FIELD_OF_VIEW[plane]
    # without a wanted extent the matrix is fixed, as on a scanner, and compiled programs are reused
    steps = spacing
    if plan.field_of_view_mm is None:
        inplane, thick = _NOMINAL[plane]
        steps = tuple(thick if axis == thick_axis else inplane for axis in range(3))
        steps = tuple(s if plan.grid_mm and a != thick_axis else t
                      for a, (s, t) in enumerate(zip(spacing, steps, strict=True)))  # fmt: skip
    shape = [max(1, round(mm / step)) for mm, step in zip(extent, steps, strict=True)]
    reach = shape[2] * spacing[2]
    middle = row["lesion_s_mm"] + 0.25 * reach * float(rng.uniform(-1, 1))
    if row["injury"] == "none":
        middle = float(rng.uniform(-70, 0))
    at = int(np.argmin(np.abs(course[:, 2] - middle)))
    jitter = rng.uniform(-7, 7, 2)
    inplane = min(spacing)
    return Acquisition(
        shape=(shape[0], shape[1], shape[2]),
        spacing_mm=spacing,
        thick_axis=thick_axis,
        resolution_mm=inplane * float(rng.uniform(1.0, 1.3)),
        centre_mm=(
            float(course[at, 0] + jitter[0]), float(course[at, 1] + jitter[1]), float(middle),
        ),
        axcodes=_STORED[plane],
        fine_mm=max(0.05, _FINE[plane] * inplane),
        margin_mm=4 * inplane,
    )  # fmt: skip
