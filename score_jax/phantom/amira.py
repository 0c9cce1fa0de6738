"""The SCORE cohort: controls scanned three times and patients with MS, on AMIRA."""

from dataclasses import dataclass
from functools import partial
from typing import Any, final

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from score_jax.errors import ConfigError
from score_jax.phantom import anatomy, bloch, kspace, lesions
from score_jax.phantom import tissues as ts
from score_jax.phantom.acquisition import Acquisition
from score_jax.phantom.cohort import Cohort, Patient, Scan, make_scan
from score_jax.phantom.covariates import Person, person
from score_jax.phantom.posture import Posture, laid_along, spine
from score_jax.phantom.scene import Scene, rasterise
from score_jax.phantom.tables import tables

SLICES, SPACING_MM, THICKNESS_MM = 12, 4.0, 8.0
CENTRE_S_MM = -18.0  # slice 1 is centred 4 mm above the C2/C3 disc, slice 12 at -40
GROUPS = ("HC", "MS")
_SEVERE_MM, _MILD_MM = 0.8, 0.3  # motion between shots of spoilt and of mildly spoilt slices


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class AmiraPlan:
    """How the cohort is scanned; see `amira_cohort`."""

    scans: int
    raters: int
    grid_mm: float
    field_of_view_mm: float
    flip_deg: float
    sigma: float
    real: bool


def amira_cohort(
    seed: int,
    subjects: int = 24,
    *,
    scans: int = 3,
    raters: int = 3,
    grid_mm: float = 1 / 3,
    field_of_view_mm: float = 40.0,
    groups: tuple[str, ...] = GROUPS,
    flip_deg: float = 60.0,
    sigma: float = 0.006,
    recon: str = "magnitude",
) -> Cohort:
    """Controls and patients with multiple sclerosis, eight inversion times each.

    Args:
      seed: of everything.
      subjects: of each group.
      scans: of each control (the third after repositioning); patients are scanned once.
      raters: how many draw masks (0 to 3): all on first scans, rater 1 on the others too.
      grid_mm: in-plane voxel size; the published maps are interpolated to 1/3 mm.
      field_of_view_mm: in-plane.
      groups: ``HC``, ``MS`` or both.
      flip_deg: flip angle, 45 to 75 (the papers give none: an inference).
      sigma: noise of each complex channel, in units of M0 (.004 to .010: an assumption).
      recon: ``magnitude``, as the vendor's, or ``real`` (signed).

    Raises:
      ConfigError: counts or sizes that cannot be.
    """
    if subjects < 1 or scans < 1 or not 0 <= raters <= 3:
        raise ConfigError(
            f"amira cohort: got {subjects} subjects, {scans} scans, {raters} raters; expected at "
            "least one subject and scan and 0 to 3 raters"
        )
    if not groups or not set(groups) <= set(GROUPS):
        raise ConfigError(f"groups: got {groups}; expected HC, MS or both")
    if recon not in ("magnitude", "real") or not 0 < flip_deg <= 90 or sigma < 0:
        raise ConfigError(
            f"amira cohort: got recon {recon!r}, flip angle {flip_deg}, noise {sigma}; expected "
            "magnitude or real, 0 to 90 degrees, 0 or more"
        )
    if not 16 <= field_of_view_mm <= kspace.FOV_MM:
        raise ConfigError(
            f"field of view: got {field_of_view_mm} mm; expected 16 to {kspace.FOV_MM:g}",
            hint="40 mm hold the canal",
        )
    plan = AmiraPlan(
        scans=scans, raters=raters, grid_mm=grid_mm, field_of_view_mm=field_of_view_mm,
        flip_deg=flip_deg, sigma=sigma, real=recon == "real",
    )  # fmt: skip
    amira_grid(plan.grid_mm, plan.field_of_view_mm)  # refuse impossible grids before any work
    people = [person(seed, group, i) for group in groups for i in range(subjects)]
    numbers = [i for _ in groups for i in range(subjects)]
    return Cohort(
        [p.row for p in people],
        lambda i: _patient(seed, numbers[i], people[i], plan),
        "Simulated AMIRA (SCORE)",
    )


def amira_grid(grid_mm: float, field_of_view_mm: float) -> Acquisition:
    """The stack of 12 overlapping slices of 8 mm, resolved to .67 mm."""
    if not 0.05 <= grid_mm <= 10:
        raise ConfigError(f"grid: got {grid_mm} mm; expected .05 to 10")
    n = max(1, round(field_of_view_mm / grid_mm))
    return Acquisition(
        shape=(n, n, SLICES),
        spacing_mm=(grid_mm, grid_mm, SPACING_MM),
        thickness_mm=THICKNESS_MM,
        resolution_mm=max(kspace.FOV_MM / kspace.MATRIX, grid_mm),
        centre_mm=(0.0, 0.0, CENTRE_S_MM),
        axcodes="LAS",
        fine_mm=1 / 6,
    )


def amira_subject(seed: int, index: int, who: Person) -> anatomy.Subject:
    """The body of one participant."""
    patient = who.row["group"] == "MS"
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), patient), index)
    draws = tables()["subject_draws"]
    logs = {name: value - who.log_cord for name, value in who.log_parts.items()}
    traits = anatomy.Traits(
        cord=jnp.asarray(np.log(draws["linear_scale_AMIRA"]) + 0.5 * who.log_cord),
        aspect=draws["aspect_log_sd"] * jax.random.normal(jax.random.fold_in(key, 5)),
        canal=jnp.asarray(np.log(draws["canal_linear_factor"]) + 0.5 * who.log_canal),
        gm=jnp.asarray(np.log(draws["gm_linear_factor"])),
        ah=jnp.asarray(logs["ah"]),
        ph=jnp.asarray(logs["ph"]),
        gc=jnp.asarray(logs["gc"]),
        contact=jnp.asarray(float(who.contact)),
    )
    traits = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), traits)
    subject = _draw(jax.random.fold_in(key, 0), traits)
    if who.lesion_z is not None:
        rng = np.random.default_rng([seed, 20, index])
        subject = subject._replace(blobs=lesions.ms_blobs(rng, volume_z=who.lesion_z))
    return subject


_draw = jax.jit(anatomy.draw_subject)


def _patient(seed: int, index: int, who: Person, plan: AmiraPlan) -> Patient:
    patient = who.row["group"] == "MS"
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), patient), index)
    subject = amira_subject(seed, index, who)
    count = 1 if patient else plan.scans
    scans = tuple(_scan(subject, who, key, number, plan) for number in range(count))
    return Patient(who.row["participant_id"].removeprefix("sub-"), who.row, scans)


@jax.jit
def amira_posture(key: Array, number: int | Array) -> Posture:
    """How the body lies in scan `number` (from 0).

    Scans 1 and 2 share a session (.1 mm of drift between them); from the third on, each is a
    session of its own: stack shifted 1 mm along the cord, 2 mm across, turned 2 and tilted 1.5
    degrees, the neck's lordosis a tenth deeper or flatter (standard deviations). The stack lies
    across the cord: of the spine's bends only what a straight line leaves is seen.
    """
    session = jnp.maximum(0, number - 1)
    own = jax.random.normal(jax.random.fold_in(key, 1), (2,))
    n = jax.random.normal(jax.random.fold_in(key, 100 + session), (6,))
    drift = 0.1 * jax.random.normal(jax.random.fold_in(key, 200 + number), (3,)) * (number > 0)
    slope = jnp.tan(jnp.deg2rad(2.0 * own + 1.5 * n[:2]))
    s = jnp.asarray(anatomy.S_GRID)
    # the repositioned stack is laid out anew on the disc, a millimetre off; lines through the
    # middle of the stack, so that a tilt does not move it
    along = n[5] * (number > 1) + drift[2]
    bend = spine(key, jax.random.fold_in(key, 500 + session))
    right = _left_by_a_line(bend[0]) + slope[0] * (s - CENTRE_S_MM) + 2.0 * n[2] + drift[0]
    anterior = _left_by_a_line(bend[1]) + slope[1] * (s - CENTRE_S_MM) + 2.0 * n[3] + drift[1]
    posture = laid_along(right, anterior, jnp.deg2rad(2.0) * n[4])
    return posture._replace(course=posture.course.at[:, 2].add(along))


def _left_by_a_line(bend: Float[Array, " s"]) -> Float[Array, " s"]:
    """The bend less the straight line that fits it best over the stack."""
    s = anatomy.S_GRID - CENTRE_S_MM
    stack = (np.abs(s) <= 0.5 * SLICES * SPACING_MM).astype(np.float32)
    design = np.stack([np.ones_like(s), s], axis=1)
    fit = np.linalg.inv(design.T @ (stack[:, None] * design)) @ (design * stack[:, None]).T
    near = jnp.clip(jnp.asarray(s), -100.0, 100.0)  # far from the stack nothing is seen
    held = jnp.interp(near, jnp.asarray(s), bend)
    line = jnp.asarray(fit, jnp.float32) @ bend
    return held - line[0] - line[1] * near


@partial(jax.jit, static_argnames=("patient",))
def amira_table(key: Array, flip_deg: float | Array, *, patient: bool) -> bloch.LookUp:
    """Signals of one person's tissues: jittered relaxation, inflow of fresh CSF."""
    values, n = ts.relaxation(), jax.random.normal(key, (3, len(ts.TISSUES)))
    t1 = jnp.asarray(values.t1) * jnp.exp(0.03 * n[0])
    t2 = jnp.asarray(values.t2) * jnp.exp(0.06 * n[1])
    pd = jnp.asarray(values.pd) * jnp.exp(0.02 * n[2])
    if patient:
        t1 = t1.at[ts.WM].multiply(1.02)  # normal-appearing white matter
    timing = tables()["amira"]
    fresh = jnp.array([ts.CSF])
    wait = jnp.concatenate(
        [jnp.full(t1.size, float(timing["inversion_repetition_ms"])),
         jnp.array([float(timing["csf_inflow_repetition_ms"])])]
    )  # fmt: skip
    every = (jnp.concatenate([values, values[fresh]]) for values in (t1, t2, pd))
    both = bloch.look_up(*every, wait, jnp.asarray(flip_deg))
    share = timing["csf_inflow_fraction"]

    def mix(values: Array) -> Array:
        own = values[:-1]
        return own.at[ts.CSF].set((1 - share) * own[ts.CSF] + share * values[-1])

    return bloch.LookUp(*(mix(leaf) for leaf in both))


def amira_scene(
    subject: anatomy.Subject, posture: Posture, grid: Acquisition, *, distances: bool = False
) -> Scene:
    """The scene with its fractions in hybrid space, ready for `amira_image`."""
    return rasterise(
        subject, posture, grid, distances=distances, encode_y=kspace.to_lines(grid),
        grain=ts.texture_amplitude("AMIRA"),
    )  # fmt: skip


def amira_image(
    scene: Scene, grid: Acquisition, table: bloch.LookUp, disturbance: kspace.Disturbance,
    keys: Array, *, real: bool = False,
) -> Float[Array, "x y z c"]:  # fmt: skip
    """Eight images a slice; `keys`: of the session's fields, and of this scan."""
    x, y = (grid.centres(k) - grid.centre_mm[k] for k in range(2))
    lines = [jnp.asarray(v, jnp.float32) for v in (x, y)]
    fields = kspace.draw_fields2d(keys[0], *lines)
    noise = [jnp.asarray(kspace.noise_matrix(v)) for v in (x, y)]
    return kspace.form(
        scene.fractions, scene.tissues, table, fields, *noise, lines[1], disturbance, keys[1],
        real=real,
    )  # fmt: skip


def _scan(subject: anatomy.Subject, who: Person, key: Array, number: int, plan: AmiraPlan) -> Scan:
    session = max(0, number - 1)
    scan_key = jax.random.fold_in(key, 300 + number)
    keys = jax.random.split(scan_key, 4)
    grid = amira_grid(plan.grid_mm, plan.field_of_view_mm)
    posture = amira_posture(key, number)
    scene = amira_scene(subject, posture, grid, distances=plan.raters > 0)
    patient = who.row["group"] == "MS"
    table = amira_table(jax.random.fold_in(key, 2), plan.flip_deg, patient=patient)
    motion = _motion(keys[0], mild=who.mild_artefact)
    disturbance = kspace.Disturbance(
        sigma=jnp.full(SLICES, plan.sigma),
        motion_mm=jnp.asarray(motion, jnp.float32),
        pulsation=jnp.full(SLICES, float(tables()["amira"]["pulsation_amplitude_sd_per_shot"])),
    )
    both = jnp.stack([jax.random.fold_in(key, 400 + session), keys[1]])
    image = amira_image(scene, grid, table, disturbance, both, real=plan.real)
    drawn = range(plan.raters) if number == 0 else range(min(1, plan.raters))
    notes = _notes(plan, motion, who)
    return make_scan(
        1000 * np.asarray(image), scene, grid, contrast="AMIRA", plane="axial",
        session=number + 1, keys=keys[2:], raters=drawn, notes=notes,
    )  # fmt: skip


def _motion(key: Array, *, mild: bool) -> Float[np.ndarray, " z"]:
    """Motion between shots of each slice, mm: one slice in a hundred is spoilt."""
    u = np.asarray(jax.random.uniform(key, (2, SLICES)))
    table = tables()["amira"]
    motion = np.full(SLICES, table["intra_shot_motion_mm_sd"])
    if mild:
        motion[u[1] < 0.29] = _MILD_MM  # 14 of the 48 slices of four patients
    motion[u[0] < table["artefact_fraction"]] = _SEVERE_MM
    return motion


def _notes(plan: AmiraPlan, motion: np.ndarray, who: Person) -> dict[str, Any]:
    return {
        "Simulated": True,
        "FlipAngle": plan.flip_deg,
        "InversionTimeMilliseconds": tables()["amira"]["TI_ms"],
        "EchoTime": 0.00214,
        "RepetitionTime": 0.00513,
        "MagneticFieldStrength": 3.0,
        "SliceThickness": THICKNESS_MM,
        "SpacingBetweenSlices": SPACING_MM,
        "ExcludedSlices": np.flatnonzero(motion >= _SEVERE_MM).tolist(),
        "MildArtefactSlices": np.flatnonzero((motion >= _MILD_MM) & (motion < _SEVERE_MM)).tolist(),
        "CordTouchesArch": who.contact,
    }
