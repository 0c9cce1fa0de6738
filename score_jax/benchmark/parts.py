"""The stages beside the networks: augmentation, tiling, prediction, metrics, the phantom."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from score_jax import checkpointing, metrics, models
from score_jax.arrays.regions import Region
from score_jax.augment import augment, source_shape
from score_jax.config import AugmentConfig, ModelSpec, Preprocessing, UNetConfig
from score_jax.imaging import Volume
from score_jax.inference import Predictor, tiling
from score_jax.phantom import sci_cohort

Call = Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Part:
    """One stage of the library on one size of input.

    Args:
      name: as the tables show it.
      prepare: makes what is timed, a function of no arguments that runs once and waits.
      beside: makes another form of it, timed by turns as the peer.
    """

    name: str
    prepare: Callable[[], Call]
    beside: Callable[[], Call] | None = None


def augmentation(batch: int, *patch: int) -> Part:
    """nnU-Net's transforms of a batch of patches with two regions, on the device."""

    def prepare() -> Call:
        config = AugmentConfig(mirror_axes=(0, 1, 2))
        shape = (batch, *source_shape(config, patch))
        images = jax.random.normal(jax.random.key(0), (*shape, 1))
        targets = jnp.zeros((*shape, 2)).at[:, 4:-4, 4:-4].set(1.0)
        step = jax.jit(lambda key, x, y: augment(key, x, y, config, patch))
        keys = iter(range(10**9))
        return lambda: jax.block_until_ready(step(jax.random.key(next(keys)), images, targets))

    return Part(f"augmentation {_by(batch, *patch)}", prepare)


def windows(tile: int, *shape: int) -> Part:
    """The tiles of an image cut, weighted and added up; the network costs nothing."""

    def prepare() -> Call:
        image = np.random.default_rng(0).normal(size=(*shape, 1)).astype(np.float32)

        def nothing(tiles: np.ndarray) -> np.ndarray:
            return np.concatenate([tiles, tiles], axis=-1)

        return lambda: tiling.sliding_window(nothing, image, (tile,) * 3, outputs=2)

    return Part(f"sliding window {_by(*shape)}, tiles of {tile}", prepare)


def prediction(tile: int, *shape: int, features: tuple[int, ...]) -> Part:
    """An image of 0.8 x 0.8 x 0.9 mm in memory, to masks: everything but files."""

    def prepare() -> Call:
        spec = ModelSpec(
            kind="unet",
            options=UNetConfig(features=features).arguments(),
            in_channels=1,
            channel_names=("T2w",),
            regions=(Region("cord", (1, 2), 1), Region("lesion", (2,), 2)),
            preprocessing=Preprocessing(axcodes="RAS", spacing_mm=(1.0, 1.0, 1.0)),
            tile=(tile,) * 3,
        )
        weights = models.parameters(checkpointing.build_model(spec))
        predictor = Predictor(spec, [weights])
        data = np.random.default_rng(0).normal(size=shape).astype(np.float32)
        volume = Volume(data, np.diag([0.8, 0.8, 0.9, 1.0]))
        return lambda: predictor.predict(volume)

    return Part(f"predict {_by(*shape)}, {len(features)} stages, whole image", prepare)


def scores(*shape: int) -> Part:
    """ANIMA's numbers, surface and lesions too, of one ellipsoid against another."""

    def prepare() -> Call:
        grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
        middle, radii = np.array(shape) / 2, np.array(shape) / 4
        pred, ref = (
            np.linalg.norm((grid - middle - shift) / radii, axis=-1) < 1 for shift in (0, 1.5)
        )
        spacing = (0.7, 0.7, 3.0)
        return lambda: metrics.anima(pred, ref, spacing, lesions=True)

    return Part(f"metrics {_by(*shape)}", prepare)


def phantom(millimetres: float) -> Part:
    """One patient of the injury cohort: image, truth, no raters; 1 mm."""

    def prepare() -> Call:
        field = (millimetres, millimetres, millimetres)
        return lambda: sci_cohort(
            3, 1, acquisition="isotropic", grid_mm=1.0, field_of_view_mm=field, scans=1
        )[0]

    return Part(f"phantom {millimetres:g} mm cubed at 1 mm", prepare)


def _by(*sizes: int) -> str:
    return " x ".join(map(str, sizes))


PARTS: Mapping[str, Sequence[Part]] = {
    "smoke": (
        augmentation(1, 8, 8, 8),
        windows(8, 20, 18, 16),
        prediction(8, 16, 12, 10, features=(2, 3)),
        scores(16, 14, 12),
        phantom(24.0),
    ),
    "cpu": (
        augmentation(2, 48, 48, 48),
        windows(48, 58, 256, 256),
        prediction(48, 64, 96, 96, features=(8, 16, 32, 64)),
        scores(160, 160, 40),
        phantom(64.0),
    ),
    "gpu": (
        augmentation(2, 64, 160, 160),
        windows(48, 58, 256, 256),
        prediction(48, 64, 320, 320, features=(32, 64, 128, 256)),
        scores(160, 160, 40),
        phantom(64.0),
    ),
}
