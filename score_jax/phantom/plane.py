"""One plane through a body: which tissue fills each point, how much of it, and the truth.

Around the canal borders are hard; within the dura every border is soft over one fine pixel, so thin
structures (fissure, commissure, rootlets) keep their area.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from score_jax.phantom import background
from score_jax.phantom import butterfly as bf
from score_jax.phantom import tissues as ts
from score_jax.phantom.anatomy import CURVES, FIELDS, S_MIN, TEXTURE_FIELDS, Blobs, Subject, lerp
from score_jax.phantom.fields import Fields, Frame, on_plane
from score_jax.phantom.posture import Posture
from score_jax.phantom.shapes import capsule, coverage, polar_ellipse

TRUTH: tuple[str, ...] = ("cord", "gm", "wm", "ah", "ph", "gc", "canal", "lesion")
DISTANCES: tuple[str, ...] = ("cord", "gm", "commissure", "anterior", "canal")
LESIONS = (ts.MS, ts.OEDEMA, ts.HAEMORRHAGE, ts.CYST)
INSIDE = -1  # label of points within the dura
_REACH = 3.0  # mm; distances are cut here, so that their mean over a slice stays local
_GEOMETRY_FIELDS = FIELDS[: -len(TEXTURE_FIELDS)]

Grid = Float[Array, "x y"]
Row = dict[str, Array]


class Inner(NamedTuple):
    """What lies within the canal, as lists of maps."""

    healthy: tuple[Grid, Grid, Grid]  # WM, GM, CSF
    lesions: tuple[Grid, ...]  # in the order of LESIONS, or empty
    truth: tuple[Grid, ...]  # cord, gm, ah, gc, canal[, lesion]
    distance: tuple[Grid, ...]  # in the order of DISTANCES, or empty
    within: Grid  # share inside the dura; what is left of a point labelled `INSIDE` is dura


def position_at(posture: Posture, z: Float[Array, ""]) -> Float[Array, ""]:
    """Where a plane at height `z` meets the canal's middle line: mm along the cord."""
    height = posture.course[:, 2]
    low = jnp.clip(jnp.sum(height <= z) - 1, 0, height.size - 2)
    share = jnp.clip((z - height[low]) / (height[low + 1] - height[low]), 0.0, 1.0)
    return S_MIN + low + share


def frame_at(posture: Posture, z: Float[Array, ""]) -> tuple[Float[Array, ""], Frame]:
    """Where a plane at height `z` meets the cord, and canal coordinates on the plane."""
    course = posture.course
    s0 = position_at(posture, z)
    right, anterior, _, slope_x, slope_y = lerp(course, s0)
    norm_x, norm_y = jnp.sqrt(1 + slope_x**2), jnp.sqrt(1 + slope_y**2)
    norm = jnp.sqrt(1 + slope_x**2 + slope_y**2)
    cos, sin = jnp.cos(posture.roll), jnp.sin(posture.roll)
    along_x = jnp.stack([cos / norm_x, -sin / norm_y, slope_x / norm])
    along_y = jnp.stack([sin / norm_x, cos / norm_y, slope_y / norm])
    origin = -right * along_x - anterior * along_y
    return s0, Frame(origin.at[2].add(s0), along_x, along_y)


def coordinates(
    frame: Frame, x: Float[Array, " x"], y: Float[Array, " y"]
) -> tuple[Grid, Grid, Grid]:
    """Canal coordinates x, y, s (mm) of every point of a plane."""
    first, second, third = (
        frame.origin[k] + frame.along_x[k] * x[:, None] + frame.along_y[k] * y[None, :]
        for k in range(3)
    )
    return first, second, third


def around(
    subject: Subject, posture: Posture, x: Float[Array, " x"], y: Float[Array, " y"],
    z: Float[Array, ""], pixel: Float[Array, ""],
) -> Int[Array, "x y"]:  # fmt: skip
    """Tissue of each point outside the dura; `INSIDE` within it and on its soft border."""
    s0, frame = frame_at(posture, z)
    row = dict(zip(CURVES, lerp(subject.curves, s0), strict=True))
    names = _GEOMETRY_FIELDS[1:6]
    noise = dict(zip(names, on_plane(_some(subject.fields, 1, 6), frame, x, y), strict=True))
    cx, cy, s = coordinates(frame, x, y)
    labels = background.surroundings(cx, cy, s, row, s0, noise)
    return jnp.where(_dura(cx, cy, row) < 0.5 * pixel, INSIDE, labels)


def _dura(x: Grid, y: Grid, row: Row) -> Grid:
    """Distance to the border of CSF and cord; the cord wins where it touches the wall."""
    wall = background.canal_wall(x, y, row, 0.3)
    px, py = _cord_coordinates(x, y, row)
    cord = polar_ellipse(px, py, row["a"], row["b"], 0.012, -0.012)
    return jnp.minimum(background.sac(x, y, wall, row) + 0.25, cord)


def _cord_coordinates(x: Grid, y: Grid, row: Row) -> tuple[Grid, Grid]:
    px, py = x - row["ox"], y - row["oy"]
    cos, sin = jnp.cos(row["roll"]), jnp.sin(row["roll"])
    return cos * px + sin * py, cos * py - sin * px


def texture(
    subject: Subject, posture: Posture, x: Float[Array, " x"], y: Float[Array, " y"],
    z: Float[Array, ""],
) -> Float[Array, "g x y"]:  # fmt: skip
    """The texture fields (unit variance) on a plane."""
    _, frame = frame_at(posture, z)
    return on_plane(_some(subject.fields, len(_GEOMETRY_FIELDS), len(FIELDS)), frame, x, y)


def _some(fields: Fields, first: int, last: int) -> Fields:
    return Fields(fields.waves[first:last], fields.phases[first:last])


def inner(
    subject: Subject, posture: Posture, x: Float[Array, " x"], y: Float[Array, " y"],
    z: Float[Array, ""], pixel: Float[Array, ""], *, injured: bool, distances: bool,
) -> Inner:  # fmt: skip
    """The canal's content on a window of the plane.

    Args:
      subject: the body.
      posture: how it lies.
      x: window, mm right.
      y: window, mm anterior.
      z: height, mm.
      pixel: width over which borders are soft, mm.
      injured: whether the subject has lesions at all; without, their maps are left out.
      distances: whether the distance maps (for raters) are wanted.
    """
    s0, frame = frame_at(posture, z)
    row = dict(zip(CURVES, lerp(subject.curves, s0), strict=True))
    fx, fy, s = coordinates(frame, x, y)
    px, py = _cord_coordinates(fx, fy, row)
    a, b = row["a"], row["b"]
    (warp,) = on_plane(_some(subject.fields, 0, 1), frame, x, y)
    cord = polar_ellipse(px, py, a, b, 0.012, -0.012) + 0.09 * warp
    u, v = bf.butterfly_coordinates(px, py, row, subject.side)
    grey = jnp.maximum(bf.grey_matter(u, v, row), cord + 0.45)
    commissure, anterior = bf.part_borders(u, v, row)
    within = coverage(_dura(fx, fy, row), pixel)
    whole = coverage(cord, pixel)
    seen = jnp.minimum(coverage(jnp.maximum(cord, -_clefts(px, py, b)), pixel), whole)
    seen = jnp.minimum(seen, within)  # the cord's rough surface may reach beyond the dura
    gm = coverage(grey, pixel) * whole
    centre = coverage(_central_canal(px, py, row, subject), pixel)
    roots = _roots(px, py, row, pixel) * (within - seen)
    left, parts, lesion = jnp.ones_like(cord), (), ()
    if injured:
        (outline,) = on_plane(_some(subject.fields, 6, 7), frame, x, y)
        place = (px / a, py / b, s)
        left, parts, share = _lesions(subject.blobs, place, cord, row, outline, pixel)
        parts, lesion = tuple(seen[None] * parts), (share * whole,)
    white = seen * left * (1 - gm) * (1 - centre) + roots
    grey_share = seen * left * gm * (1 - centre)
    csf = within - seen - roots + seen * left * centre
    in_gc = coverage(commissure, pixel)
    in_ah = coverage(anterior, pixel) * (1 - in_gc)
    wall = background.canal_wall(fx, fy, row, 0.0)
    canal = jnp.maximum(coverage(wall, pixel), whole)
    truth = (whole, gm, gm * in_ah, gm * in_gc, canal, *lesion)
    every = (cord, grey, commissure, anterior, jnp.minimum(wall, cord))
    far = tuple(jnp.clip(d, -_REACH, _REACH) for d in every) if distances else ()
    return Inner((white, grey_share, csf), parts, truth, far, within)


def _central_canal(x: Grid, y: Grid, row: Row, subject: Subject) -> Grid:
    height = row["yc"] * row["gsy"]
    radius, half = subject.central_canal[1], subject.central_canal[0]
    flat = jnp.maximum(half - radius, 0.01)
    return capsule(x, y, (-flat, height), (flat, height), (radius, radius))


def _clefts(x: Array, y: Array, b: Array) -> Array:
    """Anterior median fissure and posterior sulcus: CSF in the image, cord in the truth."""
    zero = jnp.zeros(())
    fissure = capsule(x, y, (zero, b + 0.3), (zero, 0.44 * b), (0.26, 0.03))
    sulcus = capsule(x, y, (zero, -b - 0.25), (zero, -b + 0.15), (0.35, 0.1))
    return jnp.minimum(fissure, sulcus)


def _roots(px: Array, py: Array, row: Row, pixel: Array) -> Float[Array, "x y"]:
    """Dorsal and ventral rootlets between cord and canal wall, thinner between the levels."""
    u = jnp.abs(px)
    out = jnp.zeros_like(px)
    for start_y, end_y, phase in ((-0.8, -0.21, 0.0), (0.8, 0.27, 0.5)):
        strength = jnp.clip(1.6 * jnp.cos(2 * jnp.pi * (row["lv"] + phase)), 0.0, 1.0)
        start = (0.6 * row["a"], start_y * row["b"])
        end = (0.95 * row["na"], end_y * row["nb"])
        line = capsule(u, py, start, end, (0.17, 0.22)) + 0.12 * (1 - strength)
        out = jnp.maximum(out, coverage(line, pixel))
    return out


def _lesions(
    blobs: Blobs, place: tuple[Grid, Grid, Grid], cord: Grid, row: Row, outline: Grid,
    pixel: Float[Array, ""],
) -> tuple[Grid, Float[Array, "4 x y"], Grid]:  # fmt: skip
    """Share left healthy, shares of the four lesion tissues (not yet times cord), lesion share."""
    u, v, s = place
    size = jnp.sqrt(row["a"] * row["b"])
    kinds = jnp.array(LESIONS, jnp.float32)
    soft = jnp.maximum(pixel, 0.4)  # borders of lesions are soft over .2 mm either side

    def paint(i: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        parts, lesion = carry
        blob = jax.tree.map(lambda leaf: leaf[i], blobs)
        z = (s - blob.s) / jnp.maximum(blob.half_length, 0.1)
        taper = jnp.sqrt(jnp.clip(1 - z * z, 0.0, 1.0))
        c, n = jnp.cos(blob.angle), jnp.sin(blob.angle)
        du, dv = u - blob.centre[0], v - blob.centre[1]
        du, dv = (c * du + n * dv) / blob.radius[0], (c * dv - n * du) / blob.radius[1]
        rho = jnp.sqrt(du * du + dv * dv + 1e-6)
        cos, sin = du / rho, dv / rho
        two = 2 * sin * cos * jnp.cos(blob.phase) + (1 - 2 * sin * sin) * jnp.sin(blob.phase)
        edge = 1 + blob.wave * (two + 0.6 * sin * (3 - 4 * sin * sin) + outline)
        mean = size * jnp.sqrt(blob.radius[0] * blob.radius[1])
        d = (rho - edge * taper) * mean
        d = jnp.maximum(d, cord + 0.3 * (blob.tissue != ts.MS))
        alpha = coverage(d, soft) * (taper > 0) * (blob.half_length > 0)
        is_kind = (kinds == blob.tissue).astype(alpha.dtype)
        parts = parts * (1 - alpha)[None] + is_kind[:, None, None] * alpha[None]
        return parts, jnp.maximum(lesion, alpha)

    start = (jnp.zeros((4, *u.shape)), jnp.zeros_like(u))
    # the list is filled from the front; a healthy cord costs nothing
    count = jnp.sum(blobs.half_length > 0)
    parts, lesion = jax.lax.fori_loop(0, count, paint, start)
    return 1 - parts.sum(0), parts, lesion
