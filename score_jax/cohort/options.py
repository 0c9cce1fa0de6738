"""What is done to every scan of a cohort."""

from dataclasses import asdict, dataclass
from typing import Any, final

from score_jax.errors import ConfigError


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How the scans are segmented and measured.

    Args:
      models: names or folders; several are averaged.
      soft: also write probabilities.
      tta: average over the flips the model allows.
      postprocess: clean the masks by the model's own rules.
      crop: "auto", "none" or a margin in mm, as `api.predict`.
      spread: also write how far the networks of an ensemble differ.
      runtime: what computes the network (`api.use_runtime`).
      areas: measure area and shape of every region, if there is a cord.
      lesions: measure the lesions, if the model finds any.
      qc: draw the pictures of the report.
      min_lesion_mm3: smaller lesions are left out of the tables.

    Raises:
      ConfigError: no model, or a negative volume.
    """

    models: tuple[str, ...]
    soft: bool = False
    tta: bool = False
    postprocess: bool = True
    crop: str | float = "auto"
    spread: bool = False
    runtime: str = "auto"
    areas: bool = True
    lesions: bool = True
    qc: bool = True
    min_lesion_mm3: float = 0.0

    def __post_init__(self) -> None:
        if not self.models:
            raise ConfigError("models: got none; expected a name or a folder")
        if not self.min_lesion_mm3 >= 0:
            raise ConfigError(f"min_lesion_mm3: got {self.min_lesion_mm3}; expected 0 or more")

    def parameters(self) -> dict[str, Any]:
        """The options that shape the results; models count by their weights, not their names."""
        return {name: value for name, value in asdict(self).items() if name != "models"}
