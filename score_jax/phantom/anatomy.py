"""One subject: every structure as curves along the cord, lesions as blobs, noise as fields.

Coordinates: x left to right (+ right), y posterior to anterior (+ anterior), s along the cord in mm
(0 = top of the C2/C3 disc, cranial +); the origin of x and y is the middle of the canal.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from score_jax.phantom import tables as tb
from score_jax.phantom.fields import Fields, draw_fields

S_MIN, S_MAX = -460, 100  # mm; the tables reach from 40 (top of C1) to -432 (bottom of L1)
S_GRID = np.arange(S_MIN, S_MAX + 1, dtype=np.float32)
CURVES: tuple[str, ...] = (
    "a", "b", "na", "nb", "tau", "epi", "ox", "oy", "roll", "lv", "dlv", "gsx", "gsy", "body",
    *tb.BUTTERFLY,
)  # fmt: skip
COLUMN = {name: i for i, name in enumerate(CURVES)}
FIELDS: tuple[str, ...] = (
    "cord_warp", "warp_x", "warp_y", "septa", "septa_width", "vessels", "outline",
    "muscle", "fat", "marrow", "csf", "cord",
)  # fmt: skip
FIELD_LENGTHS = np.array(
    [[2.2, 12], [9, 18], [9, 18], [6.5, 30], [3, 20], [3, 20], [4, 6],
     [1.6, 8], [1.8, 8], [1.3, 8], [2.2, 8], [1.1, 8]],
    np.float32,
)  # fmt: skip
TEXTURE_FIELDS = FIELDS[7:]
MAX_BLOBS = 12
# Response of the log areas of anterior horn, posterior horn and commissure (rows) to the three
# settings of `_grey_parts` (columns), C2 to C5; measured by benchmarks/bench_phantom.py
_KNOBS = np.linalg.inv(np.array([[0.60, 0.05, 0.22], [0.26, 0.87, -0.35], [0.19, 0.07, 0.92]]))


class Blobs(NamedTuple):
    """Lesion parts, painted in order; centres and radii are shares of the cord's half-axes."""

    centre: Float[Array, "n 2"]
    s: Float[Array, " n"]
    radius: Float[Array, "n 2"]
    half_length: Float[Array, " n"]  # mm; 0 = unused
    angle: Float[Array, " n"]  # radians
    phase: Float[Array, " n"]  # of the outline's harmonics, radians
    wave: Float[Array, " n"]  # amplitude of the outline's irregularity, share of the radius
    tissue: Float[Array, " n"]  # index into TISSUES


CENTRAL_CANAL_MM = (0.21, 0.16)  # semi-axes: too small to be seen
WIDE_CANAL_SHARE = 0.075  # of people whose central canal shows as a bright dot on T2w
WIDE_CANAL_MM = (0.3, 0.6)  # its radius


class Traits(NamedTuple):
    """What covariates decide: natural logarithms of ratios to the level tables."""

    cord: Float[Array, ""]  # linear size of the cord
    aspect: Float[Array, ""]  # +: AP longer, RL shorter, each by this much
    canal: Float[Array, ""]  # linear size of the canal
    gm: Float[Array, ""]  # linear size of the grey matter within the cord
    ah: Float[Array, ""]  # areas of the parts of the grey matter
    ph: Float[Array, ""]
    gc: Float[Array, ""]
    contact: Float[Array, ""]  # 1: the cord touches the posterior arch over some slices


class Subject(NamedTuple):
    """All that a scanner could see of one body, and nothing of any scan."""

    curves: Float[Array, "s p"]
    fields: Fields
    blobs: Blobs
    side: Float[Array, "2"]  # right-left difference of the butterfly's width and height
    central_canal: Float[Array, "2"]  # semi-axes, mm


def no_blobs() -> Blobs:
    """A cord without lesion."""
    n = MAX_BLOBS
    one, two = jnp.zeros(n), jnp.zeros((n, 2))
    return Blobs(two, one, two + 1.0, one, one, one, one, one)


def draw_traits(key: PRNGKeyArray, *, amira: bool) -> Traits:
    """Traits of a random healthy adult, log-normal about the tables.

    `amira` scales the cord to the published AMIRA areas (the tables come from T2w).
    """
    draws = tb.tables()["subject_draws"]
    n = jax.random.normal(key, (8,))
    scale = jnp.log(draws["linear_scale_AMIRA"]) if amira else jnp.asarray(0.0)
    canal = jnp.log(draws["canal_linear_factor"]) if amira else jnp.asarray(0.0)
    cord = draws["linear_scale_log_sd"] * n[0]
    # areas of canal and cord correlate with r = .53
    canal_noise = draws["canal_linear_log_sd"] * (0.53 * n[0] + np.sqrt(1 - 0.53**2) * n[1])
    return Traits(
        cord=scale + cord,
        aspect=draws["aspect_log_sd"] * n[2],
        canal=canal + canal_noise,
        gm=jnp.log(draws["gm_linear_factor"]) + draws["gm_linear_log_sd"] * n[3],
        ah=0.0 * n[4],
        ph=0.0 * n[5],
        gc=0.0 * n[6],
        contact=jnp.zeros(()),
    )


def _slow_curves(
    key: PRNGKeyArray, lengths: tuple[float, ...], stretch: Array
) -> Float[Array, "n s"]:
    """Unit-variance random curves along the cord of the given correlation lengths (mm)."""
    wave_key, phase_key = jax.random.split(key)
    shape = (len(lengths), 24)
    wave = jax.random.normal(wave_key, shape) / jnp.asarray(lengths)[:, None]
    phase = jax.random.uniform(phase_key, shape, maxval=2 * jnp.pi)
    s = jnp.asarray(S_GRID) * stretch
    angle = wave[:, None, :] * s[None, :, None] + phase[:, None, :]
    return jnp.sqrt(2 / 24) * jnp.cos(angle).sum(-1)


def lerp(table: Float[Array, "s p"], s: Float[Array, " *n"]) -> Float[Array, " *n p"]:
    """Rows of a table on `S_GRID` at positions `s`, linear between them, constant beyond."""
    place = jnp.clip(s - S_MIN, 0.0, table.shape[0] - 1.001)
    low = jnp.floor(place).astype(jnp.int32)
    share = (place - low)[..., None]
    return (1 - share) * table[low] + share * table[low + 1]


def _table_curves(s: Float[Array, " s"]) -> dict[str, Float[Array, " s"]]:
    """The tables' columns at positions `s` of the average body."""
    columns = {
        name: 0.5 * tb.level_curve(column, S_GRID)
        for name, column in (
            ("a", "CRL_cord_RL_mm"),
            ("b", "CAP_cord_AP_mm"),
            ("na", "NRL_canal_RL_mm"),
            ("nb", "NAP_canal_AP_mm"),
        )
    }
    columns |= {name: tb.butterfly_curve(name, S_GRID) for name in tb.BUTTERFLY}
    columns["GAP"] = tb.butterfly_curve("GAP_mm", S_GRID)
    columns["GRL"] = tb.butterfly_curve("GRL_mm", S_GRID)
    columns["lv"] = tb.level_coordinate(S_GRID)
    table = jnp.asarray(np.stack(list(columns.values()), axis=-1), jnp.float32)
    return dict(zip(columns, lerp(table, s).T, strict=True))


def draw_subject(key: PRNGKeyArray, traits: Traits) -> Subject:
    """A healthy body of the given traits; lesions are added to it afterwards.

    Variances between and within subjects are those of the tables (`subject_draws`).
    """
    draws = tb.tables()["subject_draws"]
    keys = jax.random.split(key, 4)
    normal = jax.random.normal(keys[0], (32,))
    stretch = jnp.exp(0.05 * normal[0])  # body height: lengths of the vertebrae
    t = _table_curves(jnp.asarray(S_GRID) * stretch)
    jitter = jnp.exp(tb.tables()["butterfly"]["jitter_relative_sd"] * normal[1:15])
    size, shape, canal, right, anterior = _slow_curves(keys[1], (20, 20, 25, 40, 25), stretch)
    residual = 0.5 * 0.027 * size
    aspect = traits.aspect + 0.5 * 0.037 * shape
    a = t["a"] * jnp.exp(traits.cord + residual - aspect)
    b = t["b"] * jnp.exp(traits.cord + residual + aspect)
    wide = jnp.exp(traits.canal + 0.5 * 0.04 * canal)
    na, nb = jnp.maximum(t["na"] * wide, a + 0.9), jnp.maximum(t["nb"] * wide, b + 0.9)
    mean, sd, low, high = draws["canal_tau_mean_sd_clip"]
    fade = jnp.clip(t["lv"] / 1.5, 0.0, 1.0)  # the canal is round at C1
    tau = jnp.clip(mean + sd * normal[15], low, high) * fade
    epi = jnp.clip(1 + 0.4 * normal[16], 0.2, 2.0) * jnp.ones_like(a)
    gm = jnp.exp(traits.gm)
    curves = {
        "a": a, "b": b, "na": na, "nb": nb, "tau": tau, "epi": epi,
        "ox": draws["cord_RL_offset_mm_sd"] * normal[17] + 0.4 * right,
        "oy": 0.2 + 0.5 * normal[18] + 0.5 * anterior,
        "roll": jnp.deg2rad(draws["roll_deg_sd"]) * normal[19] * jnp.ones_like(a),
        "lv": t["lv"], "dlv": jnp.gradient(t["lv"]),
        "gsx": 2 * a / t["GRL"] * gm, "gsy": 2 * b / t["GAP"] * gm,
        "body": 1 + 0.5 * jnp.clip((t["lv"] - 7) / 13, 0.0, 1.0),
        **{name: t[name] * jitter[i] for i, name in enumerate(tb.BUTTERFLY) if name != "ta"},
        "ta": t["ta"] + 0.04 * normal[20],
    }  # fmt: skip
    curves.update(_grey_parts(curves, traits))
    curves["ox"], curves["oy"] = _keep_inside(curves, traits, keys[2], stretch)
    side = tb.tables()["butterfly"]["right_left_asymmetry_sd"] * normal[21:23]
    stack = jnp.stack([curves[name] for name in CURVES], axis=-1)
    fields = draw_fields(keys[3], jnp.asarray(FIELD_LENGTHS))
    return Subject(stack, fields, no_blobs(), side, jnp.array(CENTRAL_CANAL_MM))


def with_central_canal(subject: Subject, radius_mm: float | Float[Array, ""]) -> Subject:
    """The subject with a round central canal of the given radius."""
    return subject._replace(central_canal=jnp.stack([jnp.asarray(radius_mm, jnp.float32)] * 2))


def _grey_parts(curves: dict[str, Array], traits: Traits) -> dict[str, Array]:
    """Thickness of horns and commissure for the wanted areas of the parts.

    Only radii change: the horns keep their places, as in atrophy.
    """
    # the horn's response is not quite linear over the range that atrophy needs
    ah = traits.ah - 0.5 * traits.ah**2
    ah, ph, gc = _KNOBS @ jnp.stack([ah, traits.ph, traits.gc])
    return {
        "a1": curves["a1"] * jnp.exp(0.62 * ah),
        "a2": curves["a2"] * jnp.exp(0.62 * ah),
        "rb": curves["rb"] * jnp.exp(0.5 * (ah + ph)),
        "rt": curves["rt"] * jnp.exp(ph),
        "hc": curves["hc"] * jnp.exp(gc),
    }


def _keep_inside(
    curves: dict[str, Array], traits: Traits, key: PRNGKeyArray, stretch: Array
) -> tuple[Array, Array]:
    """Offsets that keep the cord in the sac, and press it to the arch where `contact` says."""
    s, (place, width, gap) = jnp.asarray(S_GRID), jax.random.uniform(key, (3,))
    posterior = -(curves["nb"] + 0.3) * (1 + curves["tau"]) + 1.2
    anterior = (curves["nb"] + 0.3) * (1 - curves["tau"]) - 0.9
    touching = posterior + curves["b"] + 0.3 * gap
    middle, half = -8.0 - 28.0 * place, 8.0 + 8.0 * width  # 4 to 8 slices of the AMIRA stack
    weight = traits.contact * jnp.clip((half + 4.0 - jnp.abs(s * stretch - middle)) / 4.0, 0, 1)
    oy = jnp.clip(curves["oy"], posterior + curves["b"] + 0.35, anterior - curves["b"] - 0.35)
    room = jnp.maximum(curves["na"] - curves["a"] - 0.9, 0.0)
    ox = jnp.clip(curves["ox"], -room, room)
    return ox, (1 - weight) * oy + weight * touching
