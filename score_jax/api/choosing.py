"""Which shipped model suits a scan: by its channels, its name and its grid, never its values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from score_jax import data, pretrained
from score_jax._types import PathLike
from score_jax.errors import ScoreError
from score_jax.imaging import Volume, bids, load_header

AXIAL_MM = 0.9  # in-plane voxels of a scan made for grey matter are no larger,
THICK = 2.0  # and its slices so many times thicker than they are wide


@dataclass(frozen=True, slots=True)
class Choice:
    """A shipped model for some inputs.

    Args:
      model: its name.
      why: in words.
      inputs: the files and folders it is for.
    """

    model: str
    why: str
    inputs: tuple[Path, ...]


def choose_models(inputs: Sequence[PathLike]) -> list[Choice]:
    """The shipped model for each input; inputs of one model stand together, in their order.

    A folder is judged by its first image, and an input that cannot be read goes to the default:
    whoever segments it will say what is wrong. The rules stand in the registry (``suits``): the
    number of channels; the contrast, where the name is BIDS; else an axial grid of thick slices.
    """
    chosen: dict[tuple[str, str], list[Path]] = {}
    for path in map(Path, inputs):
        chosen.setdefault(_choose(path), []).append(path)
    return [Choice(model, why, tuple(paths)) for (model, why), paths in chosen.items()]


def _choose(path: Path) -> tuple[str, str]:
    default = pretrained.default()
    try:
        image = data.discover(path, labelled=False).cases[0].images[0] if path.is_dir() else path
        scan = load_header(image)
    except ScoreError:
        return default, "the default"
    for model, entry in pretrained.registry().items():
        if why := _suits(entry.get("suits", {}), image, scan):
            return model, why
    return default, "the default"


def _suits(rules: Mapping[str, Any], image: Path, scan: Volume) -> str:
    """Why a model's rules take a scan; empty if they do not."""
    if scan.channels != rules.get("channels", 1):
        return ""
    if scan.channels > 1:
        return f"the scan has {scan.channels} channels"
    name = bids.parse(image)
    if name.is_bids:
        known = name.suffix in rules.get("contrasts", ())
        return f"the scan is a {name.suffix}" if known else ""
    if rules.get("axial") and _axial(scan):
        return "the scan is axial, of thick slices"
    return ""


def _axial(scan: Volume) -> bool:
    x, y, z = scan.reoriented("RAS").spacing
    return max(x, y) <= AXIAL_MM and z >= THICK * max(x, y)
