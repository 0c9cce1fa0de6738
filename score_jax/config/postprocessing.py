"""How the masks of a trained model are cleaned; it travels with the weights."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from score_jax import strict
from score_jax.arrays.cleaning import Rule
from score_jax.arrays.regions import Region
from score_jax.errors import ConfigError

FORMAT = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Postprocessing:
    """Rules in the order in which they are applied.

    Args:
      rules: none: masks stay as the network found them.
      evidence: on how many cases the rules were found, and the scores before and after; for
        people, never read by the program.
    """

    rules: tuple[Rule, ...] = ()
    evidence: Mapping[str, Any] = field(default_factory=dict)

    def check(self, regions: Sequence[Region], where: str) -> None:
        """Refuse rules for regions that the model does not have.

        Raises:
          ConfigError: names the rule's region and the model's.
        """
        known = [region.name for region in regions]
        for rule in self.rules:
            strange = [name for name in rule.regions if name not in known]
            if strange:
                raise ConfigError(
                    f"{where}: got a rule for the region {strange[0]!r}; expected one of "
                    f"{', '.join(known)}",
                    hint="it belongs to another model: run `score-jax postprocess` for this one",
                )

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON, with the format's number."""
        return {"format": FORMAT, **dataclasses.asdict(self)}

    @classmethod
    def from_json(cls, value: Any, where: str) -> "Postprocessing":
        """Read what `to_json` wrote.

        Raises:
          ConfigError: a newer format, an unknown key, a wrong type.
        """
        found = value.get("format") if isinstance(value, Mapping) else None
        if found != FORMAT:
            raise ConfigError(
                f"{where}: got post-processing format {found}; this version reads {FORMAT}",
                hint="upgrade score-jax, or run `score-jax postprocess` again",
            )
        return strict.read(cls, {k: v for k, v in value.items() if k != "format"}, where)
