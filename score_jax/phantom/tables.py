"""The phantom's numbers, read from `tables.json` (sources stated there, entry by entry)."""

import functools
import json
from importlib.resources import files
from typing import Any

import numpy as np
from jaxtyping import Float

from score_jax.errors import ConfigError

BUTTERFLY = ("xa", "ya", "a1", "a2", "ta", "xb", "yb", "rb", "xt", "yt", "rt", "yc", "hc", "k")


@functools.cache
def tables() -> dict[str, Any]:
    """All tables as plain dicts; `tables()["about"]` says what the source tags mean."""
    return json.loads(files("score_jax.phantom").joinpath("tables.json").read_text())


@functools.cache
def level_names() -> tuple[str, ...]:
    """C1 to L1, cranial first."""
    return tuple(tables()["levels"]["name"])


def level_index(name: str) -> int:
    """Position of a vertebral level in the tables.

    Raises:
      ConfigError: a level the tables do not hold.
    """
    if name not in level_names():
        raise ConfigError(
            f"vertebral level: got {name!r}; expected one of {' '.join(level_names())}"
        )
    return level_names().index(name)


def level_middle(name: str) -> float:
    """Position of a level's middle along the cord, mm (0 = top of the C2/C3 disc, cranial +)."""
    return float(tables()["levels"]["middle_s_mm"][level_index(name)])


def level_curve(column: str, s: Float[np.ndarray, " s"]) -> Float[np.ndarray, " s"]:
    """A column of the level table at positions `s`: linear between level middles, then constant."""
    levels = tables()["levels"]
    middle = np.asarray(levels["middle_s_mm"])
    return np.interp(s, middle[::-1], np.asarray(levels[column], float)[::-1])


def butterfly_curve(column: str, s: Float[np.ndarray, " s"]) -> Float[np.ndarray, " s"]:
    """One of the 14 butterfly numbers, or ``GAP_mm``/``GRL_mm``, at positions `s`."""
    table = tables()["butterfly"]
    values = (
        np.asarray(table["GMP"])[:, BUTTERFLY.index(column)]
        if column in BUTTERFLY
        else np.asarray(table[column], float)
    )
    return np.interp(s, np.asarray(tables()["levels"]["middle_s_mm"])[::-1], values[::-1])


def level_coordinate(s: Float[np.ndarray, " s"]) -> Float[np.ndarray, " s"]:
    """Continuous level index (C1 runs 0 to 1, C2 1 to 2 ...), extended straight at both ends."""
    levels = tables()["levels"]
    edges = np.asarray([*levels["top_edge_s_mm"], levels["bottom_edge_s_mm"][-1]])
    inside = np.interp(s, edges[::-1], np.arange(len(edges))[::-1])
    above = (s - edges[0]) / (edges[0] - edges[1])
    below = (edges[-1] - s) / (edges[-2] - edges[-1])
    return inside - np.maximum(above, 0) + np.maximum(below, 0)
