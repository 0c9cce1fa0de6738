"""Plain values (from TOML or JSON) into typed dataclasses, without guessing."""

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal

from score_jax.errors import ConfigError


def read(kind: Any, value: Any, where: str) -> Any:
    """`value` as `kind`: a dataclass, tuple, Literal, optional or plain type.

    An integer serves as a float; nothing else is converted.

    Args:
      kind: the type wanted.
      value: what a TOML or JSON reader returned.
      where: dotted name of the value, for messages.

    Raises:
      ConfigError: an unknown key (the nearest known one is named) or a value of another type.
    """
    origin = typing.get_origin(kind)
    if dataclasses.is_dataclass(kind):
        return _read_dataclass(kind, value, where)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ConfigError(f"{where}: expected a list, got {value!r}")
        item = typing.get_args(kind)[0]
        return tuple(read(item, v, f"{where}[{i}]") for i, v in enumerate(value))
    if origin is Literal:
        if value not in typing.get_args(kind):
            options = ", ".join(map(repr, typing.get_args(kind)))
            raise ConfigError(f"{where}: got {value!r}; expected one of {options}")
        return value
    if origin in (typing.Union, types.UnionType):
        return None if value is None else read(typing.get_args(kind)[0], value, where)
    if kind is float and type(value) is int:
        return float(value)
    if isinstance(kind, type) and type(value) is not kind:
        raise ConfigError(f"{where}: expected {kind.__name__}, got {value!r}")
    return value


def _read_dataclass(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where or 'configuration'}: expected a table, got {value!r}")
    names = [field.name for field in dataclasses.fields(kind)]
    hints = typing.get_type_hints(kind)
    for key in value:
        if key not in names:
            near = difflib.get_close_matches(key, names, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names)}"
            raise ConfigError(f"{_join(where, key)}: unknown key; {hint}")
    arguments = {key: read(hints[key], item, _join(where, key)) for key, item in value.items()}
    try:
        return kind(**arguments)
    except TypeError as error:  # a required key is missing
        raise ConfigError(f"{where or 'configuration'}: {error}") from None


def _join(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key
