"""Training patches in 3-D: a pool of injured and healthy bodies, each seen anew at every step.

Painting a body takes about a second on a CPU, so a few are kept and slowly exchanged; contrast,
place, slice thickness, metal, shading and noise are drawn for every patch.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple, final

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from score_jax.errors import ConfigError
from score_jax.phantom import hardware, sci_people
from score_jax.phantom.acquisition import Acquisition
from score_jax.phantom.anatomy import S_MIN
from score_jax.phantom.plane import LESIONS
from score_jax.phantom.posture import draw_posture
from score_jax.phantom.randomise import (
    MODES,
    as_training,
    check_request,
    draw_contrast,
    scanned,
)
from score_jax.phantom.scene import AROUND, HEALTHY, rasterise
from score_jax.phantom.sci import sci_subject
from score_jax.phantom.sequences import Contrast, measure

_TISSUES = HEALTHY + LESIONS + AROUND
STEPPED = 3.0  # nnU-Net's bound of anisotropy
_SLICED = 2 / 3  # share of scans made of slices
_PAD = 12  # voxels by which a body's maps exceed a patch along each axis


class _Body(NamedTuple):
    """One body on its grid, in half precision to save memory."""

    fractions: Float[Array, "t x y z"]
    texture: Float[Array, "g x y z"]
    truth: Float[Array, "k x y z"]
    screws: Float[Array, "n 3"]  # mm from the middle of the grid
    voids: Float[Array, " n"]  # their radius, mm; 0 = none


@final
class Volumes:
    """An endless source of 3-D patches of the SCIseg kind.

    Args:
      seed: same seed, same patches.
      shape: voxels of a patch (right, anterior, superior).
      spacing_mm: of the voxels (right, anterior, superior).
      contrast: one of `randomise.MODES`.
      strength: 1 draws contrasts as `Patches` does; 0 fixes them.
      healthy: share of bodies without injury.
      shift_mm: the cord lies up to so far from the middle, either way, to the sides and front.
      thickness_mm: two of three scans are made of slices so thick, sagittal or axial.
      narrow: share of patches of which only a box was scanned, as in `randomise.Patches`.
      pool: bodies kept.
      renew: steps after which one of them is exchanged.
      artefacts: probability that the metal of a body that carries it is seen.

    Raises:
      ConfigError: an unknown contrast or an impossible size.
    """

    def __init__(
        self,
        *,
        seed: int,
        shape: tuple[int, int, int] = (64, 64, 64),
        spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0),
        contrast: str = "T2w",
        strength: float = 1.0,
        healthy: float = 0.3,
        shift_mm: float = 7.0,
        thickness_mm: tuple[float, float] = (1.0, 5.0),
        narrow: float = 0.0,
        pool: int = 8,
        renew: int = 8,
        artefacts: float = 0.5,
    ) -> None:
        if contrast not in MODES:
            raise ConfigError(f"contrast: got {contrast!r}; expected one of {', '.join(MODES)}")
        if min(shape) < 8 or pool < 1 or renew < 1 or not all(0.2 <= v <= 5 for v in spacing_mm):
            raise ConfigError(
                f"volumes: got shape {shape}, pool {pool}, renew {renew}, spacing {spacing_mm} mm; "
                "expected at least 8 voxels a side, one body, one step, and .2 to 5 mm"
            )
        if not all(0 <= share <= 1 for share in (strength, healthy, artefacts, narrow)):
            raise ConfigError(
                f"volumes: got strength {strength}, healthy {healthy}, artefacts {artefacts}, "
                f"narrow {narrow}; expected shares from 0 to 1"
            )
        if shift_mm < 0 or not 0 < thickness_mm[0] <= thickness_mm[1]:
            raise ConfigError(
                f"volumes: got a shift of {shift_mm} mm, slices of {thickness_mm} mm; expected a "
                "shift of 0 or more and a range above 0"
            )
        self.seed, self.shape, self.spacing_mm = seed, shape, spacing_mm
        self.contrast, self.strength, self.healthy = contrast, strength, healthy
        self.shift_mm, self.thickness_mm, self.narrow = shift_mm, thickness_mm, narrow
        self.pool, self.renew, self.artefacts = pool, renew, artefacts
        self._kept: dict[int, _Body] = {}

    def training_batch(
        self, step: int, *, size: int, regions: Sequence[str]
    ) -> tuple[Float[np.ndarray, "b x y z 1"], Float[np.ndarray, "b x y z r"]]:
        """Images and masks of one step, as `randomise.training_batch` gives them in 2-D.

        A pure function of the seed and `step`; which bodies are at hand changes only the time it
        takes.
        """
        check_request(size, regions)
        key = jax.random.fold_in(jax.random.key(self.seed), step)
        rng = np.random.default_rng([self.seed, 41, step])
        made = []
        for own in jax.random.split(key, size):
            body = self._body(step // self.renew + int(rng.integers(self.pool)))
            made.append(
                _view(
                    body, own, self.shape, self.spacing_mm, self.contrast, self.strength,
                    self.artefacts, self.thickness_mm,
                )
            )  # fmt: skip
        images, truth = (np.stack([np.asarray(m[k], np.float32) for m in made]) for k in range(2))
        return as_training(images, truth, regions, scanned(truth, self.narrow, rng))

    def _body(self, number: int) -> _Body:
        if number not in self._kept:
            near = {k: body for k, body in self._kept.items() if abs(k - number) < self.pool}
            near[number] = _draw_body(
                self.seed, number, self.shape, self.spacing_mm, self.healthy, self.shift_mm
            )
            self._kept = near
        return self._kept[number]


def _draw_body(
    seed: int, number: int, shape: tuple[int, int, int], spacing: tuple[float, float, float],
    healthy: float, shift_mm: float,
) -> _Body:  # fmt: skip
    """Person `number` of the SCIseg cohort of this seed, the lesion in view but not centred."""
    row = sci_people.person(seed, number, healthy=healthy)
    subject = sci_subject(seed, number, row)
    key = jax.random.fold_in(jax.random.key(seed), number)
    posture = draw_posture(key, tilt_deg=4.0)
    rng = np.random.default_rng([seed, 42, number])
    course = np.asarray(posture.course)
    reach = 0.25 * shape[2] * spacing[2]
    s = float(np.clip(row["lesion_s_mm"] + rng.uniform(-reach, reach), -420.0, 20.0))
    at = round(s) - S_MIN
    middle = course[at, :3] + np.append(rng.uniform(-shift_mm, shift_mm, 2), 0)
    grid = Acquisition(
        shape=(shape[0] + _PAD, shape[1] + _PAD, shape[2] + _PAD),
        spacing_mm=spacing,
        thick_axis=None,
        centre_mm=(float(middle[0]), float(middle[1]), float(middle[2])),
        fine_mm=0.5 * min(spacing),
        margin_mm=0.0,
    )
    scene = rasterise(subject, posture, grid)
    maps = dict(zip(scene.tissues, scene.fractions, strict=True))
    zero = jnp.zeros(grid.shape)
    metal = hardware.draw_implants(rng, s=row["lesion_s_mm"])
    screws = (hardware.screw_centres(metal, posture) - middle).astype(np.float32)
    voids = metal.radius * (row["implant"] == "yes")
    half = jnp.float16
    return _Body(
        jnp.stack([maps.get(k, zero) for k in _TISSUES]).astype(half),
        scene.texture.astype(half),
        jnp.asarray(scene.truth, half),
        jnp.asarray(screws),
        jnp.asarray(voids, jnp.float32),
    )


@partial(jax.jit, static_argnums=(2, 3, 4, 5, 6, 7))
def _view(
    body: _Body, key: PRNGKeyArray, shape: tuple[int, int, int],
    spacing: tuple[float, float, float], mode: str, strength: float, artefacts: float,
    thickness_mm: tuple[float, float],
) -> tuple[Float[Array, "x y z"], Float[Array, "k x y z"]]:  # fmt: skip
    """One patch: place, contrast, thick slices, metal, shading and noise."""
    keys = jax.random.split(key, 6)
    start = jax.random.randint(keys[0], (3,), 0, _PAD + 1)
    cut = [
        jax.lax.dynamic_slice(maps, (0, *start), (maps.shape[0], *shape)).astype(jnp.float32)
        for maps in (body.fractions, body.texture, body.truth)
    ]
    contrast, _ = draw_contrast(mode, strength, keys[1])
    blurs = _thick(shape, spacing, thickness_mm, keys[2])
    fractions = jnp.einsum("txyz,ax,by,cz->tabc", cut[0], *blurs, optimize=True)
    image = measure(fractions, _TISSUES, cut[1], _gentle(contrast, strength), keys[3])
    sizes = [n + _PAD for n in shape]
    lines = [
        step * (jnp.arange(n) + first - 0.5 * (size - 1))
        for step, n, first, size in zip(spacing, shape, start, sizes, strict=True)
    ]
    seen = jax.random.uniform(keys[4]) < artefacts
    return hardware.distort(image, body.screws, body.voids * seen, lines)[..., 0], cut[2]


def _gentle(contrast: Contrast, strength: float) -> Contrast:
    """The contrast with its shading scaled by `strength`."""
    return contrast._replace(bias=contrast.bias * strength)


def _thick(
    shape: tuple[int, int, int], spacing: tuple[float, float, float],
    thickness_mm: tuple[float, float], key: PRNGKeyArray,
) -> list[Float[Array, "n n"]]:  # fmt: skip
    """Matrices along the axes: sagittal or axial slices in two scans of three, else thin ones.

    Slices `STEPPED` times as thick as the smallest side of a voxel, and more, stand as steps, each
    repeated over its thickness, as `planning.preprocess` (nnU-Net's order 0 along the thick axis)
    hands them to a network.
    """
    u = jax.random.uniform(key, (4,))
    thin, wide = thickness_mm
    width = jnp.where(u[0] < _SLICED, thin + (wide - thin) * u[1], 0.0)
    thick_axis = jnp.where(u[2] < 0.5, 0, 2)  # nobody scans a cord in coronal slices
    out = []
    for axis, (n, step) in enumerate(zip(shape, spacing, strict=True)):
        own = jnp.maximum(jnp.where(thick_axis == axis, width, 0.0), 0.5 * step)
        at = step * jnp.arange(n)
        stepped = own * (jnp.floor(at / own + u[3]) + 0.5 - u[3])
        seen = jnp.where(own >= STEPPED * min(spacing), stepped, at)
        gap = jnp.abs(seen[:, None] - at[None, :])
        weight = jnp.exp(-0.5 * (gap / (0.42 * own)) ** 4)
        out.append(weight / weight.sum(1, keepdims=True))
    return out
