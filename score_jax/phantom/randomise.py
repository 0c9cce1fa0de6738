"""Domain randomisation: an endless, seeded stream of 2-D training patches, made on the device.

A batch is one compiled program: bodies are drawn and painted, and each is seen under several
contrasts, deformations, fields, blurs and noises. Geometry is the dear part; a contrast is one
weighted sum (phantom.md 6).
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple, final

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from score_jax.errors import ConfigError
from score_jax.phantom import anatomy, hardware, lesions, scene, sequences
from score_jax.phantom import tissues as ts
from score_jax.phantom.acquisition import RESPONSE, slice_profile
from score_jax.phantom.fields import Frame, draw_fields, on_plane
from score_jax.phantom.plane import LESIONS, TRUTH
from score_jax.phantom.posture import draw_posture

MODES = (*sequences.CONTRASTS, "mixed")
REGIONS: tuple[str, ...] = (*TRUTH, "csf")
_MIX = (0.25, 0.25, 0.5)  # share of each of CONTRASTS in "mixed"
_PAD = 16  # pixels by which a body's maps exceed a patch: room for each view's own place
_PLANES = 5  # across a slice
_KNOT = 16  # pixels between the knots of an elastic deformation
_TISSUES = scene.HEALTHY + LESIONS + scene.AROUND


class Batch(NamedTuple):
    """Patches, the views of one body in a row.

    Args:
      image: magnitudes, as a scanner would give them (any unit).
      truth: share of each pixel inside each of `TRUTH`.
      spacing_mm: pixel size of each patch.
      thickness_mm: of the slice that was seen.
    """

    image: Float[Array, "b x y"]
    truth: Float[Array, "b k x y"]
    spacing_mm: Float[Array, " b"]
    thickness_mm: Float[Array, " b"]


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Patches:
    """An endless source of axial patches: iterate, or ask for any batch by its number.

    Args:
      seed: same seed, same patches.
      shape: pixels of a patch (right, anterior).
      spacing_mm: pixel size; None draws .3 to 1.2 mm for each body.
      resolution_mm: range of the acquired resolution; where finer than the pixel, the pixel holds.
      thickness_mm: range of the slice thickness.
      contrast: one of `MODES`; ``mixed`` draws one of the others for each patch.
      strength: 1 is the published recipe; less draws contrast, deformation, shading and noise
        towards the typical, 0 fixes the contrast.
      shift_mm: the cord lies up to so far from the middle, either way and along each axis.
      stretch_mm: where along the cord slices lie (0 = top of the C2/C3 disc, cranial +).
      artefacts: probability of lesions, of metal and of a ghost, each on its own.
      narrow: share of `training_batch`'s patches of which only a box that holds the cord's middle
        was scanned; what an image smaller than the network's window looks like to it.
      bodies: of a batch.
      views: patches of each body.
      amira: whether cords have the size of the AMIRA cohort rather than of T2w norms.

    Raises:
      ConfigError: an unknown contrast, an impossible size or range.
    """

    seed: int
    shape: tuple[int, int] = (96, 96)
    spacing_mm: float | None = 0.5
    resolution_mm: tuple[float, float] = (0.3, 1.2)
    thickness_mm: tuple[float, float] = (1.0, 10.0)
    contrast: str = "mixed"
    strength: float = 1.0
    shift_mm: float = 7.0
    stretch_mm: tuple[float, float] = (-90.0, 15.0)
    artefacts: float = 0.2
    narrow: float = 0.0
    bodies: int = 4
    views: int = 4
    amira: bool = False

    def __post_init__(self) -> None:
        if self.contrast not in MODES:
            raise ConfigError(
                f"contrast: got {self.contrast!r}; expected one of {', '.join(MODES)}"
            )
        if min(self.shape) < 16 or self.views < 1 or self.bodies < 1:
            raise ConfigError(
                f"patches: got shape {self.shape}, {self.bodies} bodies, {self.views} views; "
                "expected at least 16 pixels a side, one body and one view"
            )
        shares = (self.strength, self.artefacts, self.narrow)
        if not all(0 <= share <= 1 for share in shares) or self.shift_mm < 0:
            raise ConfigError(
                f"patches: got strength {self.strength}, artefacts {self.artefacts}, narrow "
                f"{self.narrow}, shift {self.shift_mm} mm; expected shares from 0 to 1 and a shift "
                "of 0 or more"
            )
        for name, (low, high), least in (
            ("spacing_mm", (self.spacing_mm or 0.3,) * 2, 0.05),
            ("resolution_mm", self.resolution_mm, 0.05),
            ("thickness_mm", self.thickness_mm, 0.05),
            ("stretch_mm", self.stretch_mm, anatomy.S_MIN),
        ):
            if not least <= low <= high <= max(30, anatomy.S_MAX):
                raise ConfigError(f"patches: {name} {(low, high)}: expected a range from {least}")

    def __iter__(self) -> Iterator[Batch]:
        number = 0
        while True:
            yield self.batch(number)
            number += 1

    def batch(self, number: int) -> Batch:
        """Batch `number`, `bodies` x `views` patches; a pure function of `seed` and `number`."""
        key = jax.random.fold_in(jax.random.key(self.seed), number)
        return _batch(replace(self, seed=0), key)  # one program for all seeds


def training_batch(
    source: Patches, step: int, *, size: int, regions: Sequence[str]
) -> tuple[Float[np.ndarray, "b x y 1"], Float[np.ndarray, "b x y r"]]:
    """Images and masks of one training step: a pure function of ``(source.seed, step)``.

    Args:
      source: what to draw; `bodies` and `views` are set by `size` here, four views a body.
      step: number of the step, from 0.
      size: patches in the batch.
      regions: names from `REGIONS`; ``csf`` is the canal without the cord.

    Returns:
      Images, z-scored each, and masks of 0 and 1 (more than half of the pixel inside), float32.

    Raises:
      ConfigError: an unknown region, or a size below 1.
    """
    check_request(size, regions)
    views = min(4, size)
    own = replace(source, bodies=math.ceil(size / views), views=views)
    batch = own.batch(step)
    image, truth = (np.asarray(leaf)[:size] for leaf in (batch.image, batch.truth))
    rng = np.random.default_rng([source.seed, 43, step])
    return as_training(image, truth, regions, scanned(truth, source.narrow, rng))


def check_request(size: int, regions: Sequence[str]) -> None:
    """Refuse regions that are not in `REGIONS`, and empty batches."""
    if not regions or not set(regions) <= set(REGIONS):
        raise ConfigError(
            f"phantom regions: got {', '.join(regions) or 'none'}; expected some of "
            f"{', '.join(REGIONS)}"
        )
    if size < 1:
        raise ConfigError(f"phantom batch: got size {size}; expected 1 or more")


def scanned(
    truth: Float[np.ndarray, "b k *space"], narrow: float, rng: np.random.Generator
) -> Bool[np.ndarray, " b *space"]:
    """Which part of each patch was scanned: all, or for a share of them a box with the cord.

    A box has .3 to 1 of the patch along each axis and holds the middle of the cord, or of the
    patch if no cord is in view.
    """
    shape = truth.shape[2:]
    where = np.ones((len(truth), *shape), bool)
    for patch, cord in zip(where, truth[:, TRUTH.index("cord")] > 0.5, strict=True):
        if rng.random() >= narrow:
            continue
        middle = np.argwhere(cord).mean(0) if cord.any() else 0.5 * np.array(shape)
        patch[:] = False
        size = np.ceil(rng.uniform(0.3, 1.0, len(shape)) * shape)
        low = np.maximum(0, middle - size + 1)
        high = np.minimum(np.subtract(shape, size), middle)
        start = np.floor(rng.uniform(low, np.maximum(low, high))).astype(int)
        patch[tuple(slice(a, a + int(n)) for a, n in zip(start, size, strict=True))] = True
    return where


def as_training(
    image: Float[np.ndarray, " b *space"], truth: Float[np.ndarray, "b k *space"],
    regions: Sequence[str], where: Bool[np.ndarray, " b *space"],
) -> tuple[Float[np.ndarray, "b *space 1"], Float[np.ndarray, "b *space r"]]:  # fmt: skip
    """Images z-scored each, and the wanted regions as masks of 0 and 1, channels last.

    Only what is `where` counts; both are 0 elsewhere, as beyond the border of a padded image.
    """
    axes = tuple(range(1, image.ndim))
    count = where.sum(axes, keepdims=True)
    centred = where * (image - (where * image).sum(axes, keepdims=True) / count)
    image = centred / (np.sqrt((centred**2).sum(axes, keepdims=True) / count) + 1e-8)
    share = dict(zip(TRUTH, np.moveaxis(truth, 1, 0), strict=True))
    share["csf"] = share["canal"] - share["cord"]
    masks = np.stack([where & (share[name] > 0.5) for name in regions], axis=-1)
    return image[..., None].astype(np.float32), masks.astype(np.float32)


@partial(jax.jit, static_argnums=0)
def _batch(plan: Patches, key: PRNGKeyArray) -> Batch:
    # one body at a time stays in the cache of a CPU; an accelerator takes them all at once
    batch = None if jax.default_backend() == "cpu" else plan.bodies
    keys = jax.random.split(key, plan.bodies)
    made = jax.lax.map(partial(_body, plan), keys, batch_size=batch)
    return Batch(*(leaf.reshape(-1, *leaf.shape[2:]) for leaf in made))


def _body(plan: Patches, key: PRNGKeyArray) -> Batch:
    """All views of one random body."""
    keys = jax.random.split(key, 7)
    u = jax.random.uniform(keys[0], (8,))
    s = _within(plan.stretch_mm, u[0])
    traits = anatomy.draw_traits(keys[1], amira=plan.amira)
    body = anatomy.draw_subject(keys[2], traits)
    body = body._replace(blobs=lesions.random_blobs(keys[3], s, plan.artefacts))
    wide = anatomy.with_central_canal(body, _within(anatomy.WIDE_CANAL_MM, u[6]))
    body = jax.tree.map(partial(jnp.where, u[7] < anatomy.WIDE_CANAL_SHARE), wide, body)
    posture = draw_posture(keys[4], tilt_deg=5.0 * plan.strength, roll_deg=7.0 * plan.strength)
    spacing = _within((0.3, 1.2), u[1]) if plan.spacing_mm is None else jnp.asarray(plan.spacing_mm)
    # a body drawn larger is a body seen with smaller pixels
    pitch = spacing * jnp.exp(-0.12 * plan.strength * jax.random.normal(keys[5]))
    thickness = _within(plan.thickness_mm, u[2])
    resolution = jnp.maximum(pitch, _within(plan.resolution_mm, u[3]))
    middle = anatomy.lerp(posture.course, s)
    centre = middle[:2] + plan.shift_mm * (2 * u[4:6] - 1)
    size = (plan.shape[0] + _PAD, plan.shape[1] + _PAD)
    x, y = (
        at + pitch * (jnp.arange(n) - 0.5 * (n - 1)) for at, n in zip(centre, size, strict=True)
    )
    grid = scene.Grid(
        x, y, _blur(x, resolution), _blur(y, resolution), jnp.eye(size[0]), jnp.eye(size[1]),
        x, y, thickness * _OFFSETS, jnp.asarray(_WEIGHTS), pitch, jnp.zeros(len(ts.TISSUES)),
    )  # fmt: skip
    maps = scene.slice_maps(body, posture, grid, True, False, _window(plan, size), middle[2])
    fractions, shares, _, texture = maps
    truth = jnp.stack(scene.all_truth(shares))
    canal = (middle[:2] - jnp.stack([x[0], y[0]])) / pitch  # its place among the pixels
    view = partial(_view, plan, fractions, texture, truth, canal, pitch)
    image, cut = jax.vmap(view)(jax.random.split(keys[6], plan.views))
    each = jnp.ones(plan.views)
    return Batch(image, cut, spacing * each, thickness * each)


_OFFSETS = ((np.arange(_PLANES) - 0.5 * (_PLANES - 1)) / _PLANES).astype(np.float32)
_WEIGHTS = (slice_profile(_OFFSETS, 1.0) / slice_profile(_OFFSETS, 1.0).sum()).astype(np.float32)


def _within(limits: tuple[float, float], share: Array) -> Array:
    return limits[0] + (limits[1] - limits[0]) * share


def _window(plan: Patches, size: tuple[int, int]) -> tuple[int, int]:
    """Pixels that hold the canal of the largest body at the finest pixel."""
    pitch = (plan.spacing_mm or 0.3) * math.exp(-0.24 * plan.strength)
    wide = [math.ceil(mm / pitch) for mm in scene.CANAL_MM]
    return min(size[0], wide[0]), min(size[1], wide[1])


def _blur(line: Float[Array, " n"], resolution: Array) -> Float[Array, "n n"]:
    """Band limit of the acquired resolution, on the pixels themselves."""
    gap = jnp.abs(line[:, None] - line[None, :]) / resolution
    weight = jnp.interp(gap, *(jnp.asarray(curve, jnp.float32) for curve in RESPONSE))
    return weight / weight.sum(1, keepdims=True)


def _view(
    plan: Patches, fractions: Float[Array, "t x y"], texture: Float[Array, "g x y"],
    truth: Float[Array, "k x y"], canal: Float[Array, "2"], pitch: Array, key: PRNGKeyArray,
) -> tuple[Float[Array, "u v"], Float[Array, "k u v"]]:  # fmt: skip
    """One patch of the body: contrast, metal, deformation, then what the measurement adds."""
    keys = jax.random.split(key, 8)
    contrast, wild = draw_contrast(plan.contrast, plan.strength, keys[0])
    index = np.array(_TISSUES)
    grain = contrast.texture[index][:, None, None] * texture[ts.TEXTURE_OF[index]]
    own = wild * plan.strength * _mottle(fractions.shape[1:], keys[1])
    grain = grain.at[np.isin(index, scene.AROUND)].add(own)
    air = contrast.weights[ts.AIR, 0]
    image = jnp.einsum("txy,t->xy", fractions * (1 + grain), contrast.weights[index, 0] - air) + air
    metal = jax.random.uniform(keys[2]) < plan.artefacts
    image = jnp.where(metal, _metal(image, canal, pitch, keys[3]), image)
    start = jax.random.uniform(keys[4], (2,)) * _PAD if plan.shift_mm > 0 else jnp.full(2, _PAD / 2)
    maps = jnp.concatenate([image[None], truth])
    moved = _deform(maps, start, plan.shape, 1.2 * plan.strength, keys[5])
    ghost = jax.random.uniform(keys[6]) < plan.artefacts
    image = _spoil(moved[0], contrast, plan.strength, ghost, keys[7])
    return image, moved[1:]


def draw_contrast(
    mode: str, strength: float, key: PRNGKeyArray
) -> tuple[sequences.Contrast, Float[Array, ""]]:
    """A contrast of one of `MODES`, and whether (0 or 1) it is of the fully random kind."""
    if mode != "mixed":
        drawn = sequences.contrast(mode, key)
        wild = jnp.asarray(float(mode == "random"))
        return sequences.blend(sequences.typical(mode), drawn, strength), wild
    choice, own = jax.random.split(key)
    options = [
        sequences.blend(sequences.typical(name), sequences.contrast(name, own), strength)
        for name in sequences.CONTRASTS
    ]
    pick = jax.random.choice(choice, len(options), p=jnp.array(_MIX))
    stack = jax.tree.map(lambda *leaves: jnp.stack(leaves)[pick], *options)
    return stack, (pick == sequences.CONTRASTS.index("random")).astype(jnp.float32)


def _mottle(shape: tuple[int, ...], key: PRNGKeyArray) -> Float[Array, "t x y"]:
    """Smooth relative texture, its own for each tissue around: grains of 1 to 5 pixels.

    White noise of deviation .9 a, blurred with a Gaussian of `width` pixels, keeps .9 a / (2 width
    sqrt(pi)) of it; a is uniform up to 1.
    """
    keys = jax.random.split(key, 3)
    count = len(scene.AROUND)
    width = jax.random.uniform(keys[0], (count,), minval=1.0, maxval=5.0)
    spread = 0.9 * jax.random.uniform(keys[1], (count,)) / (2 * width * np.sqrt(np.pi))
    # noise blurred by a Gaussian has the correlation length sqrt(2) widths
    lengths = jnp.sqrt(2.0) * width[:, None] * jnp.ones((1, 2))
    along = jnp.eye(3)
    lines = [jnp.arange(n, dtype=jnp.float32) for n in shape]
    mottle = on_plane(
        draw_fields(keys[2], lengths), Frame(0 * along[2], along[0], along[1]), *lines
    )
    return spread[:, None, None] * mottle


def _metal(
    image: Float[Array, "x y"], canal: Float[Array, "2"], pitch: Array, key: PRNGKeyArray
) -> Float[Array, "x y"]:
    """The image with a pair of screws beside the canal, or of an anterior plate, in or near it."""
    keys = jax.random.split(key, 2)
    u = jax.random.uniform(keys[0], (2, 4))
    plate = jax.random.uniform(keys[1]) < 0.3
    x = jnp.array([-1.0, 1.0]) * jnp.where(plate, 6.0, 12 + 3 * u[:, 0])
    y = jnp.where(plate, 22 + 4 * u[0, 1], -14 + 6 * u[:, 1])
    off = 6.0 * (2 * u[0, 2] - 1)  # mm from the slice
    radius = (6 + 6 * u[:, 3]) * jnp.where(plate, 0.8, 1.0)
    centres = jnp.stack([x, y, off * jnp.ones(2)], axis=-1)
    lines = [pitch * (jnp.arange(n) - middle) for n, middle in zip(image.shape, canal, strict=True)]
    return hardware.distort(image[:, :, None, None], centres, radius, (*lines, jnp.zeros(1)))[
        :, :, 0, 0
    ]


def _deform(
    maps: Float[Array, "k x y"], start: Float[Array, "2"], shape: tuple[int, int], most: float,
    key: PRNGKeyArray,
) -> Float[Array, "k u v"]:  # fmt: skip
    """A part of the maps from `start` on, smoothly deformed by up to `most` pixels; linear."""
    knots = jax.random.uniform(
        key, (2, *(n // _KNOT + 2 for n in shape)), minval=-most, maxval=most
    )
    shift = jax.image.resize(knots, (2, *shape), "cubic")
    at = [
        jnp.clip(first + jnp.arange(n).reshape(view) + move, 0, size - 1.001)
        for first, n, view, move, size in zip(
            start, shape, ((-1, 1), (1, -1)), shift, maps.shape[1:], strict=True
        )
    ]
    low = [jnp.floor(place).astype(jnp.int32) for place in at]
    part = [(place - base)[..., None] for place, base in zip(at, low, strict=True)]
    last = jnp.moveaxis(maps, 0, -1)  # a gather of whole rows of maps

    def corner(i: int, j: int) -> Array:
        weight = (part[0] if i else 1 - part[0]) * (part[1] if j else 1 - part[1])
        return weight * last[low[0] + i, low[1] + j]

    moved = corner(0, 0) + corner(0, 1) + corner(1, 0) + corner(1, 1)
    return jnp.moveaxis(moved, -1, 0)


def _spoil(
    image: Float[Array, "x y"], contrast: sequences.Contrast, strength: float, ghost: Array,
    key: PRNGKeyArray,
) -> Float[Array, "x y"]:  # fmt: skip
    """Blur (0 to .7 pixel), a ghost, shading, Rician noise, gamma."""
    keys = jax.random.split(key, 4)
    width = jax.random.uniform(keys[0], maxval=0.7)
    side = jnp.exp(-0.5 / (width + 0.05) ** 2)
    for axis in (0, 1):
        near = jnp.roll(image, 1, axis) + jnp.roll(image, -1, axis)
        image = (image + side * near) / (1 + 2 * side)
    image = jnp.where(ghost, _ghost(image, keys[1]), image)
    waves = jax.image.resize(jax.random.normal(keys[2], (4, 4)), image.shape, "cubic")
    image = image * jnp.exp(0.25 * strength * contrast.bias * waves)
    noise = contrast.sigma * jax.random.normal(keys[3], (2, *image.shape))
    image = jnp.sqrt((image + noise[0]) ** 2 + noise[1] ** 2)
    top = jnp.max(image) + 1e-9
    return top * (image / top) ** contrast.gamma


def _ghost(image: Float[Array, "x y"], key: PRNGKeyArray) -> Float[Array, "x y"]:
    """A faint copy, shifted along the anterior axis, as of a moving neck."""
    keys = jax.random.split(key)
    step = jax.random.randint(keys[0], (), 8, image.shape[1] // 2)
    return image + 0.15 * jax.random.uniform(keys[1]) * jnp.roll(image, step, 1)
