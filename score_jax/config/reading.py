"""Training configurations from TOML files and ``key=value`` overrides, and back."""

import dataclasses
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from score_jax import strict
from score_jax._types import PathLike
from score_jax.config.training import TrainConfig
from score_jax.errors import ConfigError


def preset(name: str) -> Path:
    """The file of a preset by name (see `score_jax.configs`)."""
    return Path(__file__).parent.parent / "configs" / f"{name}.toml"


def load_config(path: PathLike | None = None, *, overrides: tuple[str, ...] = ()) -> TrainConfig:
    """The training configuration of a TOML file with ``key=value`` overrides on top.

    Args:
      path: TOML file; None starts from the defaults.
      overrides: e.g. ``("optimizer.learning_rate=3e-4", "unet.features=[8, 16]")``; the value is
        TOML, a bare word is taken as a string.

    Raises:
      ConfigError: no such file, not TOML, an unknown key (the nearest one is named), a wrong type.
    """
    table: dict[str, Any] = {}
    if path is not None:
        try:
            with open(path, "rb") as file:
                table = tomllib.load(file)
        except FileNotFoundError:
            raise ConfigError(f"{path}: no such file; expected a TOML configuration") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: not TOML ({error})") from None
    for override in overrides:
        set_value(table, override)
    return strict.read(TrainConfig, table, "")


def override(config: TrainConfig, overrides: tuple[str, ...]) -> TrainConfig:
    """`config` with ``key=value`` overrides on top (see `load_config`)."""
    table = _plain(dataclasses.asdict(config))
    for text in overrides:
        set_value(table, text)
    return strict.read(TrainConfig, table, "")


def to_toml(config: TrainConfig) -> str:
    """The whole configuration as TOML, defaults included; `load_config` reads it back."""
    import tomli_w

    return tomli_w.dumps(_plain(dataclasses.asdict(config)))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value


def set_value(
    table: dict[str, Any], override: str, *, example: str = "optimizer.learning_rate=1e-3"
) -> None:
    """Put one ``key=value`` into nested tables; the value is TOML, a bare word is text.

    Args:
      table: changed in place; the key's dots lead into it.
      override: as the command line's ``--set`` takes it.
      example: of such a text, for the message.

    Raises:
      ConfigError: no ``key=``, or a value where the key wants a table.
    """
    name, sign, text = override.partition("=")
    if not sign or not name.strip():
        raise ConfigError(f"--set {override!r}: expected key=value, e.g. {example}")
    try:
        value = tomllib.loads(f"v = {text}")["v"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    *parents, leaf = name.strip().split(".")
    for parent in parents:
        table = table.setdefault(parent, {})
        if not isinstance(table, dict):
            raise ConfigError(f"--set {override!r}: {parent!r} is a value, not a table")
    table[leaf] = value
