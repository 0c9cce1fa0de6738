"""How far the networks of a model agree: its members, or one network drawn many times.

DropConnect at test time makes an MDGRU a different network with every draw; the spread of their
answers is the Monte-Carlo estimate of the model's uncertainty (Gal & Ghahramani, 2016; MD-GRU's
``dropout_during_evaluation``).
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass

import jax
import numpy as np
from jaxtyping import Bool, Float32

from score_jax.arrays.components import Box
from score_jax.errors import ConfigError
from score_jax.imaging import Volume
from score_jax.inference import cropping
from score_jax.inference.cropping import Crop
from score_jax.inference.predictor import DEVICE, Predictor, Segmentation
from score_jax.inference.tiling import Network, Progress
from score_jax.planning.preprocess import Prepared


@dataclass(frozen=True, slots=True)
class Spread:
    """What several networks say of one image; maps on its grid in canonical orientation, by region.

    Args:
      networks: how many there were.
      volume: the image; ``volume.to_stored`` turns maps to the orientation it was stored in.
      masks: from the mean of their logits, as `Predictor.predict` finds them, not cleaned.
      mean: mean of their probabilities.
      std: standard deviation of their probabilities (of this population: divided by `networks`).
      votes: share of them that has the voxel in the region.
      seconds: all of it took.
      crop: the part of the image that the networks saw.
    """

    networks: int
    volume: Volume
    masks: Mapping[str, Bool[np.ndarray, "x y z"]]
    mean: Mapping[str, Float32[np.ndarray, "x y z"]]
    std: Mapping[str, Float32[np.ndarray, "x y z"]]
    votes: Mapping[str, Float32[np.ndarray, "x y z"]]
    seconds: float
    crop: Crop | None = None

    def segmentation(
        self, predictor: Predictor, *, vote: bool, soft: bool, postprocess: bool
    ) -> Segmentation:
        """Masks in the stored orientation, cleaned by the model's rules.

        Args:
          predictor: the model that was asked.
          vote: the majority's masks instead of those of the mean logits.
          soft: also the mean probabilities.
          postprocess: apply the model's rules.
        """
        wanted, turn = predictor.regions, self.volume.to_stored
        masks = [self.majority(r.name) if vote else self.masks[r.name] for r in wanted]
        return Segmentation.of(
            np.stack([turn(mask) for mask in masks], axis=-1),
            self.volume,
            wanted,
            rules=predictor.postprocessing.rules if postprocess else (),
            probabilities={name: turn(a) for name, a in self.mean.items()} if soft else None,
            seconds={"load": 0.0, "network": self.seconds},
            spread={name: turn(a) for name, a in self.std.items()},
            crop=self.crop,
        )

    def majority(self, name: str) -> Bool[np.ndarray, "x y z"]:
        """Voxels that more than half of the networks have in region `name`."""
        return self.votes[name] > 0.5


def spread(
    predictor: Predictor,
    volume: Volume,
    *,
    samples: int = 0,
    seed: int = 0,
    tta: bool = False,
    crop: str | float = "none",
    progress: Progress | None = None,
) -> Spread:
    """Segment an image with every network of a model in one pass over it.

    Args:
      predictor: the model.
      volume: the image, in any orientation.
      samples: draw DropConnect so often for each member; 0 takes the members as they are. A draw
        serves the whole image.
      seed: of the draws.
      tta: average each network over the flips the model allows.
      crop: as in `Predictor.predict`.
      progress: called with tiles done and tiles in all.

    Raises:
      ConfigError: fewer than two networks, or `samples` of a model that has nothing to draw.
      ImageError: another number of channels than the model takes.
    """
    if samples and not predictor.is_random:
        raise ConfigError(
            f"samples: got {samples} for {predictor.name or 'a model'} without DropConnect; "
            "expected 0",
            hint="an ensemble shows its spread without samples",
        )
    count = len(predictor.members) * max(samples, 1)
    if count < 2:
        raise ConfigError(
            f"{predictor.name or 'model'}: got one network; expected an ensemble, or samples of a "
            "model with DropConnect",
            hint="train with --seeds or --members, or ask for --samples",
        )
    started, spec = time.perf_counter(), predictor.spec
    if spec.preprocessing.axcodes:
        volume = volume.reoriented(spec.preprocessing.axcodes)
    network = _all_networks(predictor, samples, seed)
    start = predictor.locate(volume, crop, progress=progress)

    def run(
        box: Box | None,
    ) -> tuple[tuple[Prepared, np.ndarray, dict[str, np.ndarray]], np.ndarray]:
        prepared = predictor.prepare(volume.channels_last, volume.spacing, within=box)
        with DEVICE:
            logits = predictor.tiled(prepared, network, count * spec.out_channels, tta, progress)
        each = logits.reshape(*logits.shape[:3], count, spec.out_channels)
        together, _ = predictor.export(prepared, each.mean(axis=3), soft=False)
        return (prepared, logits, together), np.logical_or.reduce(list(together.values()))

    (prepared, logits, together), seen = cropping.within(start, volume, run)
    total: dict[str, np.ndarray] = {}
    for one in np.split(logits, count, axis=-1):  # a network at a time: maps of all fill memory
        masks, shares = predictor.export(prepared, one, soft=True)
        assert shares is not None
        for name, share in shares.items():
            wide = share.astype(np.float64)
            sums = np.stack([wide, wide**2, masks[name]])
            total[name] = total[name] + sums if name in total else sums
    mean, std, votes = {}, {}, {}
    for name, (first, second, voted) in total.items():
        mean[name] = (first / count).astype(np.float32)
        std[name] = np.sqrt(np.maximum(second / count - (first / count) ** 2, 0)).astype(np.float32)
        votes[name] = (voted / count).astype(np.float32)
    seconds = time.perf_counter() - started
    return Spread(count, volume, together, mean, std, votes, seconds, seen)


def _all_networks(predictor: Predictor, samples: int, seed: int) -> Network:
    """Logits of all networks side by side."""
    compiled = predictor.compile(random=bool(samples))
    keys = jax.random.split(jax.random.key(seed), samples) if samples else ()

    def network(tiles: np.ndarray) -> np.ndarray:
        each = [
            compiled(params, tiles, *key)
            for params in predictor.members
            for key in ([(k,) for k in keys] or [()])
        ]
        return np.concatenate([np.asarray(logits, np.float32) for logits in each], axis=-1)

    return network
