"""Asking a model for its opinions on one image: every member, or draws of DropConnect."""

from collections.abc import Sequence
from typing import final

import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from score_jax.active.scores import Opinions
from score_jax.arrays.regions import masks_from_probabilities
from score_jax.errors import ConfigError
from score_jax.imaging import Volume
from score_jax.inference import Ensemble, Predictor, Segmentation, Segmenter, tiling
from score_jax.inference.ensemble import Mean, stack
from score_jax.planning.preprocess import Prepared

DRAWS = 8  # of a single network with DropConnect, unless asked otherwise


@final
class Committee:
    """The members of a model, or draws of them, ready to be asked about many images.

    Each draw is one thinned network, the same for all tiles and all images: every image is judged
    by the same committee, in whatever order they come.

    Args:
      model: one network, several members of one, or an ensemble of configurations.
      samples: draws of DropConnect a member; None for `DRAWS` if there is one member and it has
        DropConnect, else none.
      seed: of the draws.

    Raises:
      ConfigError: draws wanted of a network without DropConnect.
    """

    def __init__(self, model: Segmenter, *, samples: int | None = None, seed: int = 0) -> None:
        self.model = model
        self.networks = list(model.models) if isinstance(model, Ensemble) else [model]
        self.members = sum(len(network.members) for network in self.networks)
        if samples is None:
            alone = self.members == 1 and self.networks[0].is_random
            samples = DRAWS if alone else 0
        if samples == 1 or samples < 0:
            raise ConfigError(f"samples: got {samples}; expected 0, or 2 and more")
        for network in self.networks if samples else ():
            if not network.is_random:
                raise ConfigError(
                    f"samples: got {samples} draws of {network.name}, a {network.kind} without "
                    "DropConnect; nothing in it can be drawn",
                    hint="leave --samples out, and give several folds or seeds with --model",
                )
        self.samples, self.seed = samples, seed

    @property
    def opinions(self) -> int:
        """How many opinions on each image there will be."""
        return self.members * max(1, self.samples)

    def ask(
        self, volume: Volume, *, tta: bool = False, progress: tiling.Progress | None = None
    ) -> tuple[Segmentation, Opinions]:
        """The model's segmentation of an image, and its members' or draws' opinions on it.

        The segmentation is the one that `predict` gives without a crop (to float32 rounding),
        post-processed; the opinions are the networks' own, not post-processed.

        Args:
          volume: the image, as stored.
          tta: average every opinion over the flips the model allows.
          progress: called with tiles done and tiles in all, over all passes.

        Raises:
          ImageError: another number of channels than the model takes.
        """
        passes = _Passes(progress, len(self.networks) * (2 if self.samples else 1))
        keys = [jax.random.fold_in(jax.random.key(self.seed), n) for n in range(self.samples)]
        opinions, shares, masks = Opinions(), Mean(), np.zeros((), bool)
        for network in self.networks:
            axcodes = network.spec.preprocessing.axcodes
            turned = volume.reoriented(axcodes) if axcodes else volume
            prepared = network.prepare(turned.channels_last, turned.spacing)
            members = said = _side_by_side(network, prepared, (), tta, passes.next())
            if keys:
                said = _side_by_side(network, prepared, keys, tta, passes.next())
            for logits in said:
                opinions.add(*_stored(network, prepared, logits, turned))
            mean = Mean()
            for logits in members:
                mean.add(logits)
            masks, share = _stored(network, prepared, mean.value, turned)
            shares.add(share)
        regions, exclusive = self.model.regions, self.networks[0].spec.exclusive
        if len(self.networks) > 1:
            masks = masks_from_probabilities(shares.value, regions, exclusive=exclusive)
        rules = self.model.postprocessing.rules
        return Segmentation.of(masks, volume, regions, rules=rules, seconds={}), opinions


def _side_by_side(
    network: Predictor,
    prepared: Prepared,
    keys: Sequence[PRNGKeyArray],
    tta: bool,
    progress: tiling.Progress | None,
) -> list[np.ndarray]:
    """Logits of every member, or of every member with every key's draw, in one pass."""
    compiled = network.compile(random=bool(keys))
    draws = [(key,) for key in keys] or [()]
    each = [(params, *draw) for params in network.members for draw in draws]

    def all_of_them(tiles: np.ndarray) -> np.ndarray:
        logits = [np.asarray(compiled(params, tiles, *key), np.float32) for params, *key in each]
        return np.concatenate(logits, axis=-1)

    outputs = len(each) * network.spec.out_channels
    logits = network.tiled(prepared, all_of_them, outputs, tta, progress)
    return np.split(logits, len(each), axis=-1)


def _stored(
    network: Predictor, prepared: Prepared, logits: np.ndarray, turned: Volume
) -> tuple[np.ndarray, np.ndarray]:
    """Masks and probabilities of each region, as the image is stored."""
    masks, shares = network.export(prepared, logits, soft=True)
    assert shares is not None
    regions = network.regions
    return (
        turned.to_stored(np.stack([masks[r.name] for r in regions], axis=-1)),
        turned.to_stored(stack(shares, regions)),
    )


@final
class _Passes:
    """Progress of several passes over one image as that of one."""

    def __init__(self, progress: tiling.Progress | None, count: int) -> None:
        self._progress, self._count, self._done = progress, count, -1

    def next(self) -> tiling.Progress | None:
        """The progress of the next pass."""
        self._done += 1
        if self._progress is None:
            return None
        before, report, count = self._done, self._progress, self._count

        def tiles(done: int, total: int) -> None:
            report(before * total + done, count * total)

        return tiles
