"""Lesions: multiple sclerosis by column, spinal cord injury by type.

A lesion is a list of blobs (irregular ellipsoids in cord coordinates, see `anatomy.Blobs`) and, for
injuries, a change of the subject's curves: compression, swelling, atrophy. Numbers and sources:
phantom tables and docs/phantom.md.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from score_jax.errors import ConfigError
from score_jax.phantom import tissues as ts
from score_jax.phantom.anatomy import COLUMN, MAX_BLOBS, S_GRID, Blobs, Subject
from score_jax.phantom.tables import tables

INJURIES = ("acute", "subacute", "chronic", "ischaemic", "dcm")
# the tables say 1.7, which puts a lesion into 66 % of a cohort's slices; published: 73 %
_MORE_LESIONS = 2.6
_REFERENCE_AXES = (6.8, 4.0)  # mm: half-axes that the MS areas are measured on


class BlobList:
    """Collects blobs and pads them to the fixed number a subject carries."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._rows: list[tuple[float, ...]] = []

    def add(
        self,
        tissue: int,
        *,
        s: float,
        half_length: float,
        centre: tuple[float, float] = (0.0, 0.0),
        radius: tuple[float, float],
        angle: float = 0.0,
        wave: float = 0.15,
    ) -> None:
        """One blob; beyond the fixed number, the earliest is dropped."""
        phase = float(self._rng.uniform(0, 2 * np.pi))
        self._rows.append((*centre, s, *radius, half_length, angle, phase, wave, tissue))
        self._rows = self._rows[-MAX_BLOBS:]

    def blobs(self) -> Blobs:
        rows = np.zeros((MAX_BLOBS, 10), np.float32)
        rows[:, 3:5] = 1
        if self._rows:
            rows[: len(self._rows)] = self._rows
        c = rows.T.copy()
        pairs = (rows[:, :2], c[2], rows[:, 3:5], *c[5:])
        return Blobs(*(jnp.asarray(values) for values in pairs))


def ms_blobs(
    rng: np.random.Generator,
    *,
    count: int | None = None,
    volume_z: float | None = None,
    stretch: tuple[float, float] | None = None,
) -> Blobs:
    """Multiple-sclerosis lesions by column, with the published sizes.

    Args:
      rng: source of chance.
      count: number of lesions; None draws 1 + Poisson(2.6). 0 gives a cord without lesion.
      volume_z: standardised log of the total volume that the areas are scaled towards (by at most
        a factor of two); None leaves them as drawn.
      stretch: range of positions along the cord, mm; None is that of the AMIRA stack.
    """
    low, high = stretch or tables()["ms_lesions"]["s_range_mm"]
    number = 1 + rng.poisson(_MORE_LESIONS) if count is None else count
    drawn = [_ms_lesion(rng) for _ in range(number)]
    load = 1.0
    if volume_z is not None and drawn:
        volume = sum(area * length for _, area, length in drawn)
        load = float(np.clip(np.exp(5.9 + 0.75 * volume_z) / volume, 0.5, 2.0))
    out = BlobList(rng)
    for name, area, length in drawn:
        _add_ms(out, rng, name, load * area, length, float(rng.uniform(low, high)))
    return out.blobs()


def _ms_lesion(rng: np.random.Generator) -> tuple[str, float, float]:
    """Column, mean area (mm2) and length (mm); the tables' means are those of the log-normals."""
    table = tables()["ms_lesions"]
    probability = np.array([row[1] for row in table["rows"]])
    name, _, area, length, _, _ = table["rows"][rng.choice(3, p=probability / probability.sum())]
    area_sd, length_sd = table["area_log_sd"], table["length_log_sd"]
    area *= np.exp(area_sd * rng.normal() - 0.5 * area_sd**2)
    length *= np.exp(length_sd * rng.normal() - 0.5 * length_sd**2)
    return name, area, length


def _add_ms(
    out: BlobList, rng: np.random.Generator, name: str, area: float, length: float, s: float
) -> None:
    table = tables()["ms_lesions"]
    centre_y = {row[0]: row[5] for row in table["rows"]}[name]
    # the section tapers towards both ends; `area_divisor` turns the mean area into the largest
    radius = np.sqrt(area / table["area_divisor"] / np.pi)
    power = table["aspect_exponent"]["posterior" if name == "posterior" else "lateral, anterior"]
    aspect = rng.uniform(*table["aspect"])
    x = {"lateral": 0.59, "posterior": rng.uniform(0, 0.18), "anterior": 0.15}[name]
    out.add(
        ts.MS,
        s=s,
        half_length=length / 2,
        centre=(x * rng.choice([-1, 1]), centre_y),
        radius=(
            radius * aspect ** (-power) / _REFERENCE_AXES[0],
            radius * aspect**power / _REFERENCE_AXES[1],
        ),
        angle=rng.uniform(*table["tilt_rad"]),
        wave=table["radius_modulation"][0],
    )


def random_blobs(key: PRNGKeyArray, s: Float[Array, ""], chance: float) -> Blobs:
    """One to three lesions of any size and tissue near `s`, a core in each second one.

    For domain randomisation: wider than any disease. With probability 1 - `chance` there are none.

    Args:
      key: source of chance.
      s: where along the cord, mm.
      chance: probability of lesions.
    """
    n = 6  # three lesions, each with room for a core
    keys = jax.random.split(key, 4)
    u = jax.random.uniform(keys[0], (11, 3))
    size = 0.15 + 0.65 * u[0] ** 1.5  # share of the cord's half-axes
    stretch = jnp.exp(0.35 * (2 * u[1] - 1))
    radius = jnp.stack([size * stretch, size / stretch], axis=-1)
    away, turn = 0.75 * jnp.sqrt(u[2]) * (1 - 0.6 * size), 2 * jnp.pi * u[3]
    centre = jnp.stack([away * jnp.cos(turn), away * jnp.sin(turn)], axis=-1)
    half = 3 + 22 * u[4]
    place = s + (2 * u[5] - 1) * half
    count = 1 + (u[6, 0] > 0.6) + (u[6, 1] > 0.85)
    there = (jnp.arange(3) < count) & (jax.random.uniform(keys[1]) < chance)
    tissue = jnp.array([ts.MS, ts.OEDEMA, ts.CYST])[jnp.int32(3 * u[7])]
    core = jnp.array([ts.HAEMORRHAGE, ts.CYST, ts.MS])[jnp.int32(3 * u[8])]

    def pair(rim: Array, inner: Array) -> Array:
        return jnp.stack([rim, inner], axis=1).reshape(n, *rim.shape[1:])

    # painting counts lesions from the front, so absent cores keep their place, a hundredth wide
    cored = jnp.where(u[9] < 0.5, 0.35 + 0.4 * u[10], 0.01)
    length = pair(half, half * 0.6) * jnp.repeat(there, 2)
    spin = jax.random.uniform(keys[2], (2, n), maxval=2 * jnp.pi)
    made = Blobs(
        centre=pair(centre, centre),
        s=pair(place, place),
        radius=pair(radius, radius * cored[:, None]),
        half_length=length,
        angle=jnp.repeat(spin[0, :3], 2),
        phase=spin[1],
        wave=jnp.full(n, 0.15),
        tissue=pair(tissue, core).astype(jnp.float32),
    )
    room = MAX_BLOBS - n
    pad = Blobs(*(jnp.zeros((room, *leaf.shape[1:])) for leaf in made))
    pad = pad._replace(radius=pad.radius + 1)
    return Blobs(*(jnp.concatenate(leaves) for leaves in zip(made, pad, strict=True)))


def injure(
    subject: Subject, injury: str, rng: np.random.Generator, *, s: float, severity: float = 0.5
) -> Subject:
    """The subject with an injury of the cord at `s`.

    Args:
      subject: a healthy subject.
      injury: one of `INJURIES`.
      rng: source of chance.
      s: middle of the lesion along the cord, mm.
      severity: 0 to 1, scales size within the published range (damage of the section).

    Raises:
      ConfigError: an unknown type of injury.
    """
    makers = {
        "acute": _acute,
        "subacute": _subacute,
        "chronic": _chronic,
        "ischaemic": _ischaemic,
        "dcm": _dcm,
    }
    if injury not in makers:
        raise ConfigError(f"injury: got {injury!r}; expected one of {', '.join(INJURIES)}")
    blobs = BlobList(rng)
    curves = np.array(subject.curves)
    makers[injury](blobs, curves, rng, s, severity)
    return subject._replace(curves=jnp.asarray(curves), blobs=blobs.blobs())


def _bump(s: float, width: float) -> Float[np.ndarray, " s"]:
    return np.exp(-0.5 * ((S_GRID - s) / width) ** 2)


def _compress(curves: Float[np.ndarray, "s p"], loss: Float[np.ndarray, " s"]) -> None:
    """Flatten the cord by `loss` of its AP diameter; it widens, the canal narrows."""
    a, b, nb = (COLUMN[name] for name in ("a", "b", "nb"))
    gsx, gsy = COLUMN["gsx"], COLUMN["gsy"]
    cord_before = curves[:, b].copy()
    for column in (b, gsy):
        curves[:, column] *= 1 - loss
    for column in (a, gsx):
        curves[:, column] *= 1 + 0.25 * loss
    curves[:, nb] -= 0.8 * (cord_before - curves[:, b])
    curves[:, nb] = np.maximum(curves[:, nb], curves[:, b] + 0.75)
    slack = np.maximum(curves[:, nb] - curves[:, b] - 0.8, 0.0)
    curves[:, COLUMN["oy"]] = np.clip(curves[:, COLUMN["oy"]], -slack, slack)


def _resize(curves: Float[np.ndarray, "s p"], area: Float[np.ndarray, " s"]) -> None:
    """Scale the section's area by `area` at each position."""
    limit = {"a": "na", "b": "nb"}
    for name in ("a", "b", "gsx", "gsy"):
        curves[:, COLUMN[name]] *= np.sqrt(area)
    for cord, canal in limit.items():
        room = curves[:, COLUMN[canal]] - 0.75
        curves[:, COLUMN[cord]] = np.minimum(curves[:, COLUMN[cord]], room)


def _acute(
    blobs: BlobList, curves: np.ndarray, rng: np.random.Generator, s: float, severity: float
) -> None:
    """Oedema of median 40 mm, a dark core of blood in two thirds, swelling, compression."""
    half = 0.5 * 40 * np.exp(0.5 * rng.normal()) * (0.6 + 0.8 * severity)
    wide = float(np.sqrt(rng.uniform(0.5, 1.0) * (0.5 + 0.5 * severity)))
    _resize(curves, 1 + rng.uniform(0.05, 0.15) * _bump(s, half))
    _compress(curves, rng.uniform(0, 0.4) * severity * _bump(s, rng.uniform(5, 10)))
    place = (rng.normal(0, 0.08), rng.normal(0, 0.08))
    blobs.add(ts.OEDEMA, s=s, half_length=half, centre=place, radius=(wide, wide))
    if rng.uniform() < 0.67:
        core = wide * rng.uniform(0.4, 0.65)
        length = half * rng.uniform(0.2, 0.4)
        shift = s + rng.uniform(-0.1, 0.1) * half
        blobs.add(ts.HAEMORRHAGE, s=shift, half_length=length, centre=place, radius=(core, core))


def _subacute(
    blobs: BlobList, curves: np.ndarray, rng: np.random.Generator, s: float, severity: float
) -> None:
    """Mixed core in fading oedema; volume about 380 mm3."""
    half = 0.5 * 22 * np.exp(0.4 * rng.normal()) * (0.7 + 0.6 * severity)
    wide = float(np.sqrt(rng.uniform(0.3, 0.8) * (0.6 + 0.4 * severity)))
    _compress(curves, rng.uniform(0, 0.3) * severity * _bump(s, rng.uniform(5, 10)))
    place = (rng.normal(0, 0.12), rng.normal(0, 0.12))
    blobs.add(ts.OEDEMA, s=s, half_length=half, centre=place, radius=(wide, wide))
    core = ts.CYST if rng.uniform() < 0.6 else ts.HAEMORRHAGE
    for _ in range(rng.integers(1, 3)):
        blobs.add(
            core,
            s=s + rng.uniform(-0.4, 0.4) * half,
            half_length=half * rng.uniform(0.2, 0.45),
            centre=(place[0] + rng.normal(0, 0.1), place[1] + rng.normal(0, 0.1)),
            radius=(wide * rng.uniform(0.35, 0.6), wide * rng.uniform(0.35, 0.6)),
        )


def _chronic(
    blobs: BlobList, curves: np.ndarray, rng: np.random.Generator, s: float, severity: float
) -> None:
    """A cyst with a thin rim, tissue bridges of 0 to 3 mm, atrophy above and below."""
    half = 0.5 * 15 * np.exp(0.5 * rng.normal()) * (0.7 + 0.6 * severity)
    damage = rng.uniform(0.2, 0.7) * (0.6 + 0.8 * severity)
    _resize(curves, 1 - rng.uniform(0.10, 0.30) * severity * _bump(s, 60.0))
    _compress(curves, rng.uniform(0, 0.25) * _bump(s, rng.uniform(6, 14)))
    b = curves[np.argmin(np.abs(S_GRID - s)), COLUMN["b"]]
    ventral, dorsal = rng.uniform(0, 3, 2) * (1.2 - severity)  # bridges of spared tissue, mm
    top, bottom = 1 - ventral / b, -1 + dorsal / b
    ry = float(np.clip(0.5 * (top - bottom), 0.2, 0.95))
    rx = float(np.clip(damage / ry, 0.25, 0.9))
    place = (rng.normal(0, 0.1), 0.5 * (top + bottom))
    blobs.add(ts.OEDEMA, s=s, half_length=half * 1.25, centre=place, radius=(rx * 1.1, ry * 1.1))
    blobs.add(ts.CYST, s=s, half_length=half, centre=place, radius=(rx * 0.9, ry * 0.9))


def _ischaemic(
    blobs: BlobList, curves: np.ndarray, rng: np.random.Generator, s: float, severity: float
) -> None:
    """Anterior two thirds of the cord, or both anterior horns ("owl's eyes"), 20 to 60 mm."""
    half = 0.5 * rng.uniform(20, 60)
    if rng.uniform() < 0.5:
        radius = (0.75 + 0.15 * severity, 0.55)
        blobs.add(ts.OEDEMA, s=s, half_length=half, centre=(0.0, 0.33), radius=radius)
        return
    for side in (-1, 1):
        blobs.add(
            ts.OEDEMA,
            s=s,
            half_length=half,
            centre=(0.35 * side, 0.25),
            radius=(0.2 + 0.08 * severity, 0.26 + 0.1 * severity),
        )


def _dcm(
    blobs: BlobList, curves: np.ndarray, rng: np.random.Generator, s: float, severity: float
) -> None:
    """Compression by 15 to 50 % at one to three discs; a small bright lesion in six of ten."""
    loss = np.zeros_like(S_GRID)
    for step in range(rng.integers(1, 4)):
        depth = (0.15 + 0.35 * severity) * (1.0 if step == 0 else rng.uniform(0.3, 0.7))
        loss = np.maximum(loss, depth * _bump(s + 17.0 * step * rng.choice([-1, 1]), 5.0))
    _compress(curves, loss)
    if rng.uniform() < 0.6:
        radius = np.sqrt(rng.uniform(0.08, 0.4))
        blobs.add(
            ts.OEDEMA,
            s=s + rng.normal(0, 2),
            half_length=0.5 * rng.uniform(5, 12),
            centre=(rng.normal(0, 0.15), rng.normal(-0.05, 0.1)),
            radius=(radius * 1.1, radius * 0.9),
        )


def lesion_tissues() -> Int[np.ndarray, " k"]:
    """Tissues that count as lesion."""
    return np.array([ts.MS, ts.OEDEMA, ts.HAEMORRHAGE, ts.CYST])
