"""Stages of prediction that run on the host, written for the device: where is each faster?

Each function below does what the host's does (`arrays`, `inference.tiling`), in JAX and in the form
that suits an accelerator: dense products, one compiled loop, pointer jumping. They are measured,
not used (docs/prediction_performance_notes.md).
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int32

from score_jax.arrays import components, grid, regions, resampling
from score_jax.arrays.regions import Region
from score_jax.benchmark.parts import Part
from score_jax.inference import tiling

_REGIONS = (Region("cord", (1, 2), 1), Region("lesion", (2,), 2))
_CLASSES = (Region("cord", (1,), 1), Region("lesion", (2,), 2))


# JAX's form with the copies to the default device and back, and the form that the library uses
Pair = tuple[Callable[[], Any], Callable[[], Any]]


def stages(shape: Sequence[int], target: Sequence[int], tile: Sequence[int]) -> list[Part]:
    """Resampling, weighted tiles, sigmoid, softmax and components of one volume, in both forms.

    What is timed is JAX's form; beside it the host's, which the library uses.

    Args:
      shape: of the volume, three axes.
      target: of the resampled one.
      tile: of the window.
    """
    size = " x ".join(map(str, shape))

    def resampled() -> Pair:
        image = _noise(*shape)
        there = jax.jit(lambda image, *matrices: resample(image, matrices))
        pairs = zip(shape, target, strict=True)
        matrices = [resampling.spline_matrix(old, new, 3).toarray() for old, new in pairs]
        placed = [jnp.asarray(matrix, jnp.float32) for matrix in matrices]
        return (
            lambda: np.asarray(there(image, *placed)),
            lambda: resampling.resample(image, target, order=3),
        )

    def windowed() -> Pair:
        image, logits = _noise(*shape, 1), _noise(*tile, 2)
        starts = _starts(shape, tile)
        there = jax.jit(lambda logits: weigh(logits, starts, tuple(shape)))

        def network(tiles: np.ndarray) -> np.ndarray:
            del tiles
            return logits[None]

        return (
            lambda: np.asarray(there(logits)),
            lambda: tiling.sliding_window(network, image, tile, outputs=2),
        )

    def shared(exclusive: bool) -> Pair:
        logits, wanted = (
            _noise(*shape, 2 + exclusive),
            _CLASSES if exclusive else _REGIONS,
        )
        there = jax.jit(shares_of_classes if exclusive else shares_of_regions)
        return (
            lambda: jax.tree.map(np.asarray, there(logits)),
            lambda: (
                regions.probabilities(logits, wanted, exclusive=exclusive),
                regions.masks_from_logits(logits, wanted, exclusive=exclusive),
            ),
        )

    def labelled() -> Pair:
        mask = cord_and_specks(*shape)
        there = jax.jit(label)
        return (
            lambda: np.asarray(there(mask)),
            lambda: components.components(mask, 26)[0],
        )

    def part(what: str, pair: Callable[[], Pair]) -> Part:
        return Part(f"{what}, device and host", lambda: pair()[0], lambda: pair()[1])

    return [
        part(f"cubic resampling {size} to {' x '.join(map(str, target))}", resampled),
        part(f"Gaussian window {size}, tiles of {tile[0]}", windowed),
        part(f"sigmoid and masks {size} x 2", lambda: shared(False)),
        part(f"softmax and masks {size} x 3", lambda: shared(True)),
        part(f"components {size}", labelled),
    ]


def resample(
    image: Float[Array, "x y z"], matrices: Sequence[Float[Array, "_ _"]]
) -> Float[Array, "x2 y2 z2"]:
    """`image` times a dense spline matrix an axis, within its own range (`resampling.resample`)."""
    product = jnp.einsum("xyz,ax,by,cz->abc", image, *matrices, precision="highest")
    return jnp.clip(product, image.min(), image.max())


def weigh(
    logits: Float[Array, "a b c k"], starts: np.ndarray, shape: tuple[int, ...]
) -> Float[Array, "x y z k"]:
    """Tiles of the same `logits` at all `starts`, weighted and added up (`sliding_window`)."""
    tile = logits.shape[:-1]
    window = jnp.asarray(grid.gaussian_window(tile))
    both = jnp.concatenate([logits * window[..., None], window[..., None]], -1)
    places = jnp.asarray(starts)

    def add(number: Int32[Array, ""], sums: Array) -> Array:
        at = (*places[number], 0)
        old = jax.lax.dynamic_slice(sums, at, both.shape)
        return jax.lax.dynamic_update_slice(sums, old + both, at)

    sums = jax.lax.fori_loop(0, len(starts), add, jnp.zeros((*shape, both.shape[-1])))
    return sums[..., :-1] / sums[..., -1:]


def shares_of_regions(logits: Float[Array, "x y z r"]) -> tuple[Array, Array]:
    """Probability and mask of each sigmoid region."""
    return jax.nn.sigmoid(logits), logits > 0


def shares_of_classes(logits: Float[Array, "x y z k"]) -> tuple[Array, Array]:
    """Probability and mask of each softmax class but the background, the first."""
    winner = jax.nn.one_hot(logits.argmax(-1), logits.shape[-1], dtype=bool)
    return jax.nn.softmax(logits)[..., 1:], winner[..., 1:]


def label(mask: Bool[Array, "x y z"]) -> Int32[Array, "x y z"]:
    """A number for each component of 26 neighbours: one more than its last voxel's; 0 outside.

    Every voxel hands the largest number around it to the voxel that its own number names, and
    takes the number that is there, until nothing changes (label equivalence).
    """
    own = jnp.where(mask, jnp.arange(1, mask.size + 1, dtype=jnp.int32).reshape(mask.shape), 0)

    def once(state: tuple[Array, Array]) -> tuple[Array, Array]:
        before = state[0]
        now = before
        for axis in range(3):
            window = tuple(3 if a == axis else 1 for a in range(3))
            zero = jnp.zeros((), now.dtype)
            now = jax.lax.reduce_window(now, zero, jax.lax.max, window, (1, 1, 1), "SAME")
        now = jnp.where(mask, now, 0)
        flat = now.reshape(-1).at[before.reshape(-1) - 1].max(now.reshape(-1))
        for _ in range(2):
            flat = jnp.where(mask.reshape(-1), flat[flat - 1], 0)
        now = flat.reshape(mask.shape)
        return now, (now != before).any()

    return jax.lax.while_loop(lambda state: state[1], once, (own, jnp.any(mask)))[0]


def cord_and_specks(*shape: int) -> Bool[np.ndarray, "x y z"]:
    """A winding tube along the second axis and one speck in 5,000 voxels: an eager network's."""
    x, y, z = np.meshgrid(*map(np.arange, shape), indexing="ij", sparse=True)
    middle = shape[2] * (0.5 + 0.2 * np.sin(6.3 * y / shape[1]))
    tube = np.hypot(x - shape[0] / 2, z - middle) < min(shape[0], shape[2]) / 8
    return tube | (np.random.default_rng(0).random(shape) < 1 / 5000)


def _starts(shape: Sequence[int], tile: Sequence[int]) -> np.ndarray:
    axes = [grid.tile_starts(n, t) for n, t in zip(shape, tile, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3).astype(np.int32)


def _noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)
