"""Models of different networks or grids as one: their probabilities are averaged.

Folds and seeds of one network are members of one `Predictor`, which averages their logits on the
network's grid. What differs in network, grid or channels of preprocessing meets on the image's own
grid only, as in nnU-Net (``nnUNetv2_ensemble``): each model's probabilities are computed once, and
the mean is cut at one half (regions) or given to the most probable class.
"""

import os
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

import numpy as np
from jaxtyping import Float32

from score_jax._types import PathLike
from score_jax.arrays.regions import Region, masks_from_probabilities
from score_jax.config.postprocessing import Postprocessing
from score_jax.errors import CheckpointError, ConfigError, DatasetError, errors_of_disk
from score_jax.imaging import Volume, load, read_json, write_json
from score_jax.inference import postprocessing
from score_jax.inference.cropping import Crop
from score_jax.inference.predictor import Predictor, Segmentation
from score_jax.inference.tiling import Progress

FILE = "ensemble.json"
FORMAT = 1


@final
@dataclass(eq=False)
class Ensemble:
    """Several models of the same regions and channels.

    Args:
      models: at least two; their own post-processing is not used.
      name: how users call it.
      postprocessing: how `predict` cleans the masks.

    Raises:
      ConfigError: fewer than two, or models that do not speak of the same things.
    """

    models: Sequence[Predictor]
    name: str = ""
    postprocessing: Postprocessing = field(default_factory=Postprocessing)
    kind: str = "ensemble"

    def __post_init__(self) -> None:
        if len(self.models) < 2:
            raise ConfigError(f"ensemble: got {len(self.models)} model; expected at least two")
        first = self.models[0]
        for other in self.models[1:]:
            check_same_task(first, other)

    @classmethod
    def is_folder(cls, folder: PathLike) -> bool:
        """Whether `folder` was written by `save`."""
        return (Path(folder) / FILE).is_file()

    @classmethod
    def from_folder(cls, folder: PathLike, name: str = "") -> "Ensemble":
        """The models in the folders that ``ensemble.json`` names, all of them below `folder`.

        Raises:
          CheckpointError: the file or a model is unreadable, or the models do not fit together.
        """
        root = Path(folder)
        try:
            found = read_json(root / FILE)
        except DatasetError as error:
            raise CheckpointError(error.message, hint=error.hint) from None
        names = found.get("models") if isinstance(found, dict) else None
        if not isinstance(names, list) or found.get("format") != FORMAT:
            raise CheckpointError(
                f"{root / FILE}: got another form; expected format {FORMAT} and a list of models",
                hint="make it again with `score-jax ensemble --mixed`",
            )
        wrong = [text for text in names if not isinstance(text, str) or not _PLAIN.fullmatch(text)]
        if wrong:
            raise CheckpointError(f"{root / FILE}: got {wrong[0]!r}; expected folders beside it")
        models = [Predictor.from_folder(root / text, text.partition("-")[2]) for text in names]
        try:
            ensemble = cls(models, name or root.name)
        except ConfigError as error:
            raise CheckpointError(error.message, hint=error.hint) from None
        ensemble.postprocessing = postprocessing.read(root, ensemble.regions)
        return ensemble

    @property
    def folders(self) -> list[str]:
        """Names of the models' folders when written."""
        return [f"{number}-{_plain(model.name)}" for number, model in enumerate(self.models)]

    def save(self, folder: PathLike) -> None:
        """Write it as a folder of model folders, whole or not at all; an existing one is replaced.

        Raises:
          OutputError: disk full or no permission.
        """
        target = Path(folder)
        with errors_of_disk(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
        try:
            for name, model in zip(self.folders, self.models, strict=True):
                model.save(temporary / name)
            write_json(temporary / FILE, {"format": FORMAT, "models": self.folders})
            if self.postprocessing.rules:
                postprocessing.write(temporary, self.postprocessing)
            with errors_of_disk(target):
                if target.exists():
                    shutil.rmtree(target)
                temporary.replace(target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    @property
    def regions(self) -> tuple[Region, ...]:
        return self.models[0].spec.regions

    @property
    def sha256(self) -> list[str]:
        return [checksum for model in self.models for checksum in model.sha256]

    def predict(
        self,
        volume_or_path: Volume | str | os.PathLike[str],
        *,
        tta: bool = False,
        soft: bool = False,
        postprocess: bool = True,
        crop: str | float | Crop = "none",
        progress: Progress | None = None,
    ) -> Segmentation:
        """Segment an image with every model, in its own grid and orientation.

        Arguments and errors as `Predictor.predict`; the probabilities are the mean ones. The first
        model looks for the cord, and the others see the same crop.
        """
        volume = volume_or_path if isinstance(volume_or_path, Volume) else load(volume_or_path)
        mean, seconds = Mean(), dict[str, float]()
        for model in self.models:
            found = model.predict(
                volume, tta=tta, soft=True, postprocess=False, crop=crop, progress=progress
            )
            crop = found.crop or crop
            assert found.probabilities is not None
            mean.add(stack(found.probabilities, self.regions))
            for stage, spent in found.seconds.items():
                seconds[stage] = seconds.get(stage, 0.0) + spent
        shares, exclusive = mean.value, self.models[0].spec.exclusive
        return Segmentation.of(
            masks_from_probabilities(shares, self.regions, exclusive=exclusive),
            volume,
            self.regions,
            rules=self.postprocessing.rules if postprocess else (),
            probabilities={r.name: shares[..., n] for n, r in enumerate(self.regions)}
            if soft
            else None,
            seconds=seconds,
            crop=crop if isinstance(crop, Crop) else None,
        )


Segmenter = Predictor | Ensemble  # what prediction on files takes


def check_same_task(first: Predictor, other: Predictor) -> None:
    """Refuse two models that read other channels or write other regions.

    Raises:
      ConfigError: names both models and what each has.
    """
    questions = (
        ("regions", lambda s: "; ".join(map(str, s.regions))),
        ("channels", lambda s: ", ".join(s.channel_names)),
        ("outputs", lambda s: "classes (softmax)" if s.exclusive else "regions (sigmoid)"),
    )
    for what, answer in questions:
        ours, theirs = answer(first.spec), answer(other.spec)
        if ours != theirs:
            raise ConfigError(
                f"{other.name}: got the {what} {theirs}; expected those of {first.name}: {ours}",
                hint="only models of the same task can be averaged",
            )


class Mean:
    """Mean of arrays of one shape that come one by one; a float32 sum, divided once."""

    def __init__(self) -> None:
        self._sum: np.ndarray | None = None
        self._count = 0

    def add(self, values: Float32[np.ndarray, "*shape"]) -> None:
        """Take one more."""
        self._sum = values if self._sum is None else self._sum + values
        self._count += 1

    @property
    def value(self) -> Float32[np.ndarray, "*shape"]:
        """The mean of what was taken; nothing taken is a fault of the caller's."""
        assert self._sum is not None
        return self._sum / np.float32(self._count)


def stack(
    by_name: Mapping[str, Float32[np.ndarray, "x y z"]], regions: Sequence[Region]
) -> Float32[np.ndarray, "x y z r"]:
    """Probabilities by name as one array, in the order of `regions`."""
    return np.stack([by_name[region.name] for region in regions], axis=-1)


_PLAIN = re.compile(r"\d+-[\w.+-]+")


def _plain(name: str) -> str:
    return re.sub(r"[^\w.+-]+", "-", name).strip(".") or "model"
