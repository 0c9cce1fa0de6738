"""A trained model, ready to be used: one network or an ensemble of the same kind."""

import functools
import os
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx
from jaxtyping import Bool, Float32, Num, UInt8

from score_jax import checkpointing, models
from score_jax.arrays import regions
from score_jax.arrays.cleaning import Rule, clean
from score_jax.arrays.components import Box
from score_jax.arrays.regions import Region
from score_jax.config import ModelSpec
from score_jax.config.postprocessing import Postprocessing
from score_jax.errors import GeometryError, ImageError
from score_jax.imaging import Volume, load
from score_jax.inference import cropping, postprocessing, tiling
from score_jax.inference.cropping import Crop
from score_jax.models import onednn
from score_jax.planning.preprocess import Prepared, prepare

DEVICE = threading.Lock()  # scans that are segmented side by side take turns on it


@dataclass(frozen=True, slots=True)
class Segmentation:
    """What a model found, on the grid and in the orientation the image was stored in.

    ``np.asarray(segmentation)`` is the label map.

    Args:
      labels: label map, each region written as its value, later ones over earlier ones.
      masks: one mask a region by name; they may overlap.
      probabilities: probability of each region by name; None unless asked for.
      volume: the image, in canonical orientation; `imaging.save` turns arrays on it back.
      seconds: time of each stage: load, compile, locate, preprocess, network, postprocess.
      spread: standard deviation of each region's probability over several networks; None unless
        asked for.
      crop: the part of the image that the network saw; None if nobody asked for a part.
    """

    labels: UInt8[np.ndarray, "x y z"]
    masks: Mapping[str, Bool[np.ndarray, "x y z"]]
    probabilities: Mapping[str, Float32[np.ndarray, "x y z"]] | None
    volume: Volume
    seconds: Mapping[str, float]
    spread: Mapping[str, Float32[np.ndarray, "x y z"]] | None = None
    crop: Crop | None = None

    @classmethod
    def of(
        cls,
        masks: Bool[np.ndarray, "x y z r"],
        volume: Volume,
        wanted: Sequence[Region],
        *,
        rules: Sequence[Rule] = (),
        probabilities: Mapping[str, Float32[np.ndarray, "x y z"]] | None = None,
        seconds: Mapping[str, float],
        spread: Mapping[str, Float32[np.ndarray, "x y z"]] | None = None,
        crop: Crop | None = None,
    ) -> "Segmentation":
        """The masks of `wanted` (stored orientation), cleaned by `rules`, and their label map."""
        cleaned = clean(masks, wanted, rules, volume.voxel_mm3)
        by_name = {region.name: cleaned[..., n] for n, region in enumerate(wanted)}
        labels = regions.labels_from_masks(cleaned, wanted)
        return cls(labels, by_name, probabilities, volume, seconds, spread, crop)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        del copy
        return np.asarray(self.labels, dtype)


@dataclass(eq=False)
class Predictor:
    """Weights with their specification; compiled on first use and kept.

    Args:
      spec: what the model needs to know about images and regions.
      members: weights of one network, or of several whose logits are averaged (folds, seeds).
      name: how users call it.
      postprocessing: how `predict` cleans the masks.
      runtime: another program that computes `tile_logits`; None compiles the network with JAX.
    """

    spec: ModelSpec
    members: Sequence[Mapping[Any, Any]]
    name: str = ""
    postprocessing: Postprocessing = field(default_factory=Postprocessing)
    runtime: tiling.Network | None = None
    _compiled: dict[Any, Any] = field(default_factory=dict, repr=False)
    _compiling: Any = field(default_factory=threading.Lock, repr=False)

    @property
    def is_random(self) -> bool:
        """Whether networks of this kind can be drawn anew (DropConnect)."""
        return self.spec.kind == "mdgru" and self.spec.options.get("keep_rate", 0.5) < 1

    @classmethod
    def from_folder(cls, folder: str | os.PathLike[str], name: str = "") -> "Predictor":
        """The model in a model folder, or the best checkpoint of a run folder.

        Raises:
          ModelNotFoundError: neither kind of folder.
          CheckpointError: unreadable, or of another architecture than it says.
        """
        spec, members = checkpointing.load_model(folder)
        rules = postprocessing.read(Path(folder), spec.regions)
        return cls(spec, members, name or Path(folder).name, rules)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write it as a model folder, whole or not at all; an existing one is replaced.

        Raises:
          OutputError: disk full or no permission.
        """
        checkpointing.save_model(folder, self.spec, *self.members)
        if self.postprocessing.rules:
            postprocessing.write(Path(folder), self.postprocessing)

    @property
    def kind(self) -> str:
        """Kind of network (``spec.kind``)."""
        return self.spec.kind

    @property
    def regions(self) -> tuple[Region, ...]:
        """What is segmented (``spec.regions``)."""
        return self.spec.regions

    @property
    def sha256(self) -> list[str]:
        """Checksum of each member's weights (`checkpointing.weights_sha256`)."""
        return [checkpointing.weights_sha256(params) for params in self.members]

    def logits(
        self,
        volume: Num[np.ndarray, "x y z"] | Num[np.ndarray, "x y z c"],
        spacing: Sequence[float],
        *,
        tta: bool = False,
    ) -> Float32[np.ndarray, "x2 y2 z2 k"]:
        """Logits on the model's grid (its spacing and crop), axes in the order of `volume`.

        Args:
          volume: in the model's orientation (``spec.preprocessing.axcodes``).
          spacing: voxel size in mm.
          tta: average over the flips the model allows (``spec.mirror_axes``).
        """
        image = volume if volume.ndim == 4 else volume[..., None]
        prepared = self.prepare(image, spacing)
        return self.network_logits(prepared, tta=tta).transpose(*np.argsort(prepared.transpose), 3)

    def predict(
        self,
        volume_or_path: Volume | str | os.PathLike[str],
        *,
        tta: bool = False,
        soft: bool = False,
        postprocess: bool = True,
        crop: str | float | Crop = "none",
        progress: tiling.Progress | None = None,
    ) -> Segmentation:
        """Segment an image, in its own grid and orientation.

        Args:
          volume_or_path: a NIfTI file, or a volume already read.
          tta: average over the flips the model allows.
          soft: also return the probability of each region, as the network gives it.
          postprocess: clean the masks by the model's own rules, if it has any.
          crop: "none" sees the whole image; "auto" looks for the cord on a coarse grid and sees
            it and `cropping.MARGIN_MM` around it, where that saves time; a number is the margin in
            mm; a `Crop` was found before.
          progress: called with tiles done and tiles in all.

        Raises:
          ImageError: unreadable, or with another number of channels than the model takes.
          ConfigError: another `crop`.
        """
        clock = Clock()
        volume = volume_or_path if isinstance(volume_or_path, Volume) else load(volume_or_path)
        if self.spec.preprocessing.axcodes:
            volume = volume.reoriented(self.spec.preprocessing.axcodes)
        self._check_channels(volume)
        clock.lap("load")
        if self.runtime is None:
            self.compile()
            clock.lap("compile")
        crop = self.locate(volume, crop, progress=progress, clock=clock)

        def run(box: Box | None) -> tuple[_Exported, Bool[np.ndarray, "x y z"]]:
            prepared = self.prepare(volume.channels_last, volume.spacing, within=box)
            clock.lap("preprocess")
            with DEVICE:
                clock.skip()
                logits = self.network_logits(prepared, tta=tta, progress=progress)
                clock.lap("network")
            prepared = prepared.way_back()
            exported = self.export(prepared, logits, soft=soft)
            del logits
            return exported, functools.reduce(np.logical_or, exported[0].values())

        (masks, probabilities), crop = cropping.within(crop, volume, run)
        wanted = self.spec.regions
        stored = np.stack([volume.to_stored(masks[r.name]) for r in wanted], axis=-1)
        del masks
        if probabilities is not None:
            probabilities = {name: volume.to_stored(p) for name, p in probabilities.items()}
        found = Segmentation.of(
            stored,
            volume,
            wanted,
            rules=self.postprocessing.rules if postprocess else (),
            probabilities=probabilities,
            seconds=clock.seconds,
            crop=crop,
        )
        clock.lap("postprocess")
        return found

    def locate(
        self,
        volume: Volume,
        crop: str | float | Crop,
        *,
        progress: tiling.Progress | None = None,
        clock: "Clock | None" = None,
    ) -> Crop:
        """The part of `volume` (in the model's orientation) to be segmented; see `cropping.locate`.

        Args:
          volume: the image.
          crop: "auto", "none", a margin in mm, or what was found before.
          progress: told tiles done and tiles that there are.
          clock: gets the stage "locate", if anything was looked at.
        """
        if isinstance(crop, Crop):
            return crop
        clock = clock or Clock()
        with DEVICE:
            clock.skip()
            found = cropping.locate(self.spec, self.tile_logits, volume, crop, progress)
            if found.margin_mm is not None:
                clock.lap("locate")
        return found

    def prepare(
        self,
        image: Num[np.ndarray, "x y z c"],
        spacing: Sequence[float],
        *,
        within: Box | None = None,
    ) -> Prepared:
        """`image`, in the model's orientation, or the box `within` it, on the network's grid."""
        return prepare(image, spacing, self.spec.preprocessing, within=within)

    def network_logits(
        self,
        prepared: Prepared,
        *,
        tta: bool = False,
        progress: tiling.Progress | None = None,
    ) -> Float32[np.ndarray, "x y z k"]:
        """Logits on the network's grid, averaged over members and, with `tta`, over flips."""
        return self.tiled(prepared, self.tile_logits, self.spec.out_channels, tta, progress)

    def tiled(
        self,
        prepared: Prepared,
        network: tiling.Network,
        outputs: int,
        tta: bool = False,
        progress: tiling.Progress | None = None,
    ) -> Float32[np.ndarray, "x y z k"]:
        """`network` over the whole image, tile by tile, or slice by slice if it is a 2-D one."""
        if prepared.image.shape[-1] != self.spec.in_channels:
            raise ImageError(
                f"image: got {prepared.image.shape[-1]} channels; the model takes "
                f"{self.spec.in_channels}"
            )
        common = {
            "outputs": outputs,
            "step": self.spec.tile_step,
            "mirror_axes": self.spec.mirror_axes if tta else (),
            "progress": progress,
        }
        tile = self.spec.tile
        if len(tile) == 2:
            return tiling.slice_by_slice(
                network, prepared.image, tile, axis=self.spec.slice_axis, **common
            )
        return tiling.sliding_window(network, prepared.image, tile, **common)

    def compile(self, batch: int = 1, *, random: bool = False) -> Any:
        """The network compiled for one tile shape; the same one for every image.

        A function of weights and tiles; with `random` also of a key that draws DropConnect.
        """
        shape = (batch, *self.spec.tile, self.spec.in_channels)
        with self._compiling:
            return self._compile(shape, random)

    def _compile(self, shape: tuple[int, ...], random: bool) -> Any:
        if (shape, random) not in self._compiled:
            model = nnx.eval_shape(lambda: checkpointing.build_model(self.spec))
            apply = models.functional(model)
            tiles = jax.ShapeDtypeStruct(shape, np.float32)
            abstract = jax.eval_shape(lambda: self.members[0])
            key = [jax.random.key(0)] if random else []
            lowered = jax.jit(apply).lower(abstract, tiles, *key)
            self._compiled[shape, random] = onednn.compiled(lowered)
        return self._compiled[shape, random]

    def tile_logits(
        self, tiles: Float32[np.ndarray, "b *tile c"]
    ) -> Float32[np.ndarray, "b *tile k"]:
        """Logits of some tiles, the mean over the members: all that is asked of a network."""
        if self.runtime is not None:
            return self.runtime(tiles)
        compiled = self.compile(len(tiles))
        total = sum(np.asarray(compiled(params, tiles)) for params in self.members)
        return np.asarray(total, np.float32) / len(self.members)

    def export(
        self, prepared: Prepared, logits: Float32[np.ndarray, "x y z k"], *, soft: bool
    ) -> "_Exported":
        """Masks (and probabilities) of each region on the image's grid, canonical orientation.

        Beyond the crop there are none of the regions. Only some planes of the logits are held at
        a time on the image's grid.
        """
        wanted, exclusive = self.spec.regions, self.spec.exclusive
        masks = {region.name: np.empty(prepared.crop_shape, bool) for region in wanted}
        shares = {name: np.empty(prepared.crop_shape, np.float32) for name in masks if soft}
        for box, inner in prepared.slabs_back(logits):
            found = regions.masks_from_logits(inner, wanted, exclusive=exclusive)
            for number, mask in enumerate(masks.values()):
                mask[box] = found[..., number]
            if soft:
                likely = regions.probabilities(inner, wanted, exclusive=exclusive)
                for number, share in enumerate(shares.values()):
                    share[box] = likely[..., number]
        return (
            {name: prepared.uncrop(mask, outside=False) for name, mask in masks.items()},
            {name: prepared.uncrop(s, outside=0.0) for name, s in shares.items()} if soft else None,
        )

    def _check_channels(self, volume: Volume) -> None:
        wanted = len(self.spec.channel_names)
        if volume.channels != wanted:
            raise ImageError(
                f"{volume.name}: got {volume.channels} channels; the model takes {wanted} "
                f"({', '.join(self.spec.channel_names)})"
            )
        if min(volume.shape) < 1:
            raise GeometryError(f"{volume.name}: got shape {volume.shape}; expected voxels")


_Exported = tuple[dict[str, np.ndarray], dict[str, np.ndarray] | None]


class Clock:
    """Seconds between laps, added up by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """What has passed since the last lap was `name`."""
        last = self._last
        self.skip()
        self.seconds[name] = self.seconds.get(name, 0.0) + self._last - last

    def skip(self) -> None:
        """What has passed since the last lap was waiting for others."""
        self._last = time.perf_counter()
