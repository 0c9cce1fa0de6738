"""From body to voxels: tissue fractions and truth on a scan's grid.

Each slice is the weighted mean of a few planes (the slice profile); one matrix an axis (band limit,
or the Fourier transform of the phase-encoded axis) then takes the fine maps to voxels, once. Every
contrast, noise draw or motion of the same position is a weighted sum of the same maps.
"""

import math
from collections.abc import Iterable
from functools import partial
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from score_jax.phantom import tissues as ts
from score_jax.phantom.acquisition import Acquisition
from score_jax.phantom.anatomy import Subject, lerp
from score_jax.phantom.plane import (
    DISTANCES,
    INSIDE,
    LESIONS,
    TRUTH,
    around,
    inner,
    position_at,
    texture,
)
from score_jax.phantom.posture import Posture

AROUND = (ts.MUSCLE, ts.FAT, ts.MARROW, ts.BONE, ts.DISC, ts.BLOOD)  # air is what is left over
HEALTHY = (ts.WM, ts.GM, ts.CSF)
Maps = TypeVar("Maps", np.ndarray, Array)
_DURA = AROUND.index(ts.BONE)
_CHUNK = 4  # slices of one compiled call
CANAL_MM = (31.0, 24.0)  # holds every canal of the tables with room for jitter and tilt


class Scene(NamedTuple):
    """One body in one position on one grid; axes right, anterior, superior.

    Args:
      fractions: band-limited shares of the tissues `tissues` (they ring and may leave 0..1).
      tissues: index of each map in `TISSUES`.
      texture: fields of unit variance, one a name of `TEXTURES`.
      truth: share of each voxel inside each of `TRUTH`.
      distance: mean signed distance (mm, negative inside) to the borders `DISTANCES`; no maps
        unless asked for.
    """

    fractions: Float[Array, "t x y z"]
    tissues: tuple[int, ...]
    texture: Float[Array, "g x y z"]
    truth: Float[np.ndarray, "k x y z"]
    distance: Float[np.ndarray, "d x y z"]


class Grid(NamedTuple):
    """Fine positions (mm) and the matrices that take them to voxels."""

    x: Float[Array, " f"]
    y: Float[Array, " g"]
    encode_x: Float[Array, "x f"]
    encode_y: Float[Array, "y g"]
    mean_x: Float[Array, "a f"]
    mean_y: Float[Array, "b g"]
    centre_x: Float[Array, " a"]
    centre_y: Float[Array, " b"]
    offsets: Float[Array, " p"]  # planes about the middle of a slice, mm
    weights: Float[Array, " p"]
    pixel: Float[Array, ""]
    grain: Float[Array, " t"]  # texture applied to the fine maps, relative amplitude a tissue


def rasterise(
    subject: Subject, posture: Posture, scan: Acquisition, *, distances: bool = False,
    encode_y: Float[np.ndarray, "y g"] | None = None,
    grain: Float[np.ndarray, " t"] | None = None,
) -> Scene:  # fmt: skip
    """Tissue fractions, texture and truth of a scan; no physics, no noise.

    Args:
      subject: the body.
      posture: how it lies in the scanner.
      scan: the grid.
      distances: whether to keep the distance maps that raters need.
      encode_y: matrix for the anterior axis of the fractions instead of the scan's band limit.
      grain: texture to apply before the encoding, amplitude a tissue; none by default.
    """
    injured = bool(np.any(np.asarray(subject.blobs.half_length) > 0))
    grid = _grid(scan, encode_y, grain)
    heights = scan.centres(2).astype(np.float32)
    # chunks of one size, the last one filled up, so that one program serves them all
    size = math.ceil(len(heights) / math.ceil(len(heights) / _CHUNK))
    padded = np.pad(heights, (0, -len(heights) % size), mode="edge")
    parts = [
        _slices(subject, posture, grid, jnp.asarray(padded[i : i + size]), injured, distances,
                _window(scan))
        for i in range(0, len(padded), size)
    ]  # fmt: skip
    joined = [jnp.concatenate([p[k] for p in parts])[: len(heights)] for k in range(4)]
    fractions, shares, distance, fields = (jnp.moveaxis(maps, 0, -1) for maps in joined)
    truth = np.stack(all_truth(np.asarray(shares)))
    tissues = HEALTHY + (LESIONS if injured else ()) + AROUND
    return Scene(fractions, tissues, fields, truth, np.asarray(distance))


def all_truth(shares: Iterable[Maps]) -> tuple[Maps, ...]:
    """The structures in the order of `TRUTH` from the shares of `slice_maps`."""
    known: dict[str, Maps] = dict(
        zip(("cord", "gm", "ah", "gc", "canal", "lesion"), shares, strict=False)
    )
    known["wm"] = known["cord"] - known["gm"]
    known["ph"] = known["gm"] - known["ah"] - known["gc"]
    known.setdefault("lesion", 0 * known["cord"])
    return tuple(known[name] for name in TRUTH)


def _window(scan: Acquisition) -> tuple[int, int]:
    """Fine points of the window that holds the canal: few sizes, so that programs are reused."""
    lines = (scan.fine_line(0), scan.fine_line(1))
    sizes = [
        min(len(line), 64 * int(np.ceil(extent / abs(line[1] - line[0]) / 64)))
        for line, extent in zip(lines, CANAL_MM, strict=True)
    ]
    return sizes[0], sizes[1]


def _grid(scan: Acquisition, encode_y: np.ndarray | None, grain: np.ndarray | None) -> Grid:
    offsets, weights = scan.planes()
    x, y = scan.fine_line(0), scan.fine_line(1)
    pixel = np.sqrt((x[1] - x[0]) * (y[1] - y[0]))
    arrays = (
        x, y, scan.encode(0), scan.encode(1) if encode_y is None else encode_y, scan.average(0),
        scan.average(1), scan.centres(0), scan.centres(1), offsets, weights, pixel,
        np.zeros(len(ts.TISSUES)) if grain is None else grain,
    )  # fmt: skip
    return Grid(*(jnp.asarray(array, jnp.float32) for array in arrays))


@partial(jax.jit, static_argnums=(4, 5, 6))
def _slices(
    subject: Subject, posture: Posture, grid: Grid, heights: Float[Array, " z"], injured: bool,
    distances: bool, window: tuple[int, int],
) -> tuple[Array, Array, Array, Array]:  # fmt: skip
    # one slice at a time stays in the cache of a CPU; an accelerator takes them all at once
    one = partial(slice_maps, subject, posture, grid, injured, distances, window)
    batch = None if jax.default_backend() == "cpu" else heights.shape[0]
    return jax.lax.map(one, heights, batch_size=batch)


def slice_maps(
    subject: Subject, posture: Posture, grid: Grid, injured: bool, distances: bool,
    window: tuple[int, int], z: Float[Array, ""],
) -> tuple[Array, Array, Array, Array]:  # fmt: skip
    """Fractions, truth shares, distances and texture of the slice at height `z`, mm.

    Fractions: `HEALTHY`, the lesions if `injured`, `AROUND`. Shares: cord, gm, ah, gc, canal[,
    lesion]. `window` is the size, in fine points, of the part that holds the canal.
    """
    start = _start(posture, grid, window, z)
    x = jax.lax.dynamic_slice_in_dim(grid.x, start[0], window[0])
    y = jax.lax.dynamic_slice_in_dim(grid.y, start[1], window[1])

    def add(p: Array, total: tuple) -> tuple:
        height, weight = z + grid.offsets[p], grid.weights[p]
        labels = around(subject, posture, grid.x, grid.y, height, grid.pixel)
        near = inner(subject, posture, x, y, height, grid.pixel, injured=injured,
                     distances=distances)  # fmt: skip
        inside = (labels == INSIDE).astype(near.within.dtype)
        dura = jax.lax.dynamic_slice(inside, start, window) - near.within
        far = tuple(t + weight * (labels == k) for t, k in zip(total[0], AROUND, strict=True))
        bone = far[_DURA]
        here = jax.lax.dynamic_slice(bone, start, window) + weight * dura
        far = (*far[:_DURA], jax.lax.dynamic_update_slice(bone, here, start), *far[_DURA + 1 :])
        maps = (*near.healthy, *near.lesions, *near.truth, *near.distance)
        return far, tuple(t + weight * m for t, m in zip(total[1], maps, strict=True))

    count = 3 + 5 + 5 * injured + len(DISTANCES) * distances
    zero = (
        tuple(jnp.zeros((grid.x.size, grid.y.size)) for _ in AROUND),
        tuple(jnp.zeros(window) for _ in range(count)),
    )
    far, near = jax.lax.fori_loop(0, grid.offsets.size, add, zero)
    tissues = 3 + 4 * injured
    truths = 5 + injured
    grains = texture(subject, posture, grid.x, grid.y, z)
    cut = jax.lax.dynamic_slice(grains, (0, *start), (grains.shape[0], *window))
    inside = _grainy(jnp.stack(near[:tissues]), HEALTHY + LESIONS[: 4 * injured], cut, grid)
    outside = _grainy(jnp.stack(far), AROUND, grains, grid)
    columns = [
        jax.lax.dynamic_slice_in_dim(matrix, start[k], window[k], axis=1)
        for matrix, k in ((grid.encode_x, 0), (grid.encode_y, 1), (grid.mean_x, 0),
                          (grid.mean_y, 1))
    ]  # fmt: skip
    fractions = jnp.concatenate(
        [_encode(inside, *columns[:2]), _encode(outside, grid.encode_x, grid.encode_y)]
    )
    shares = _encode(jnp.stack(near[tissues : tissues + truths]), *columns[2:])
    distance = jnp.zeros((0, *shares.shape[1:]))
    if distances:
        maps = jnp.stack(near[tissues + truths :])
        # beyond the window everything is far outside
        distance = 3.0 + _encode(maps - 3.0, *columns[2:])
    fields = texture(subject, posture, grid.centre_x, grid.centre_y, z)
    return fractions, shares, distance, fields


def _start(
    posture: Posture, grid: Grid, window: tuple[int, int], z: Float[Array, ""]
) -> tuple[Array, Array]:
    """First fine point of the window about the canal at height `z`."""
    middle = lerp(posture.course, position_at(posture, z))[:2]
    first = [
        jnp.round((at - line[0]) / (line[1] - line[0])).astype(jnp.int32) - size // 2
        for at, line, size in zip(middle, (grid.x, grid.y), window, strict=True)
    ]
    return (
        jnp.clip(first[0], 0, grid.x.size - window[0]),
        jnp.clip(first[1], 0, grid.y.size - window[1]),
    )


def _grainy(
    maps: Float[Array, "t x y"], kinds: tuple[int, ...], fields: Float[Array, "g x y"], grid: Grid
) -> Float[Array, "t x y"]:
    """The maps times their texture."""
    index = np.array(kinds)
    return maps * (1 + grid.grain[index][:, None, None] * fields[ts.TEXTURE_OF[index]])


def _encode(
    maps: Float[Array, "t f g"], first: Float[Array, "x f"], second: Float[Array, "y g"]
) -> Float[Array, "t x y"]:
    return jnp.einsum("tfg,xf,yg->txy", maps, first, second, optimize=True)


assert INSIDE not in AROUND
