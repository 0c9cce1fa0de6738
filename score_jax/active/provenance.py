"""What the JSON beside an ingested mask says of its origin, and the phases of a dataset.

Phases are counted as SCIseg counts them: phase 1 is what was drawn by hand; the model trained on it
predicts, people correct, and those masks join in phase 2; and so on.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

from score_jax import strict
from score_jax.errors import ConfigError, DatasetError
from score_jax.imaging import read_json
from score_jax.imaging.bids import stem

KEY = "ActiveLearning"
FIRST = 1  # the phase of what was drawn by hand


@final
@dataclass(frozen=True, slots=True)
class Origin:
    """Where an ingested mask comes from; all of it is in its sidecar.

    Args:
      phase: in which it joined the dataset, from 2.
      rater: who corrected; None if it was not said.
      date: of the correction, YYYY-MM-DD.
      model: name of the model that predicted.
      weights_sha256: of each of its members.
      prediction: file of the prediction in the dataset, relative to it.
      prediction_sha256: of the predicted mask's file.
      correction: checksum of each corrected file, by its name.
      sha256: of the file in the dataset.
      dice: of prediction and correction, by region; NaN if both are empty.
      lesion_outside_cord: share of the lesion's voxels.
      unchanged: whether no voxel was changed.
      replaced: file of the mask that this one replaced, relative to the dataset, or None.
      replaced_sha256: of that file, or None.
    """

    phase: int
    rater: str | None
    date: str
    model: str
    weights_sha256: tuple[str, ...]
    prediction: str
    prediction_sha256: str
    correction: Mapping[str, str]
    sha256: str
    dice: Mapping[str, float]
    lesion_outside_cord: float
    unchanged: bool
    replaced: str | None = None
    replaced_sha256: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The entry of the sidecar, in BIDS's capitals."""
        return {_capitals(name): value for name, value in asdict(self).items()}


def sidecar(mask: Path) -> Path:
    """The JSON beside a mask."""
    return mask.with_name(f"{stem(mask)}.json")


def origin(mask: Path) -> Origin | None:
    """Where a mask comes from; None for one that was not ingested.

    Raises:
      DatasetError: a sidecar that is not JSON or of another form.
    """
    path = sidecar(mask)
    if not path.is_file():
        return None
    value = read_json(path)
    found = value.get(KEY) if isinstance(value, dict) else None
    if found is None:
        return None
    try:
        small = {_small(name): entry for name, entry in dict(found).items()}
        numbers = small.pop("dice").items()
        dice = {name: float("nan") if v is None else float(v) for name, v in numbers}
        return strict.read(Origin, {**small, "dice": dice}, f"{path}: {KEY}")
    except (ConfigError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise DatasetError(
            f"{path}: got another form of {KEY} ({error}); expected what `score-jax active ingest` "
            "writes",
            hint="ingest the mask again with --replace, or remove this entry",
        ) from None


_WORDS = {"sha256": "SHA256"}


def _capitals(name: str) -> str:
    return "".join(_WORDS.get(word, word.capitalize()) for word in name.split("_"))


def _small(name: str) -> str:
    return _NAMES.get(name, name)


_NAMES = {_capitals(name): name for name in Origin.__dataclass_fields__}
