"""nnU-Net's ``dataset.json``: channels, what labels mean, orientation."""

import re
import reprlib
from collections.abc import Mapping
from typing import Any, Final

from score_jax.arrays.regions import Region
from score_jax.errors import DatasetError

_OPPOSITE: Final = str.maketrans("LRAPSI", "RLPAIS")


def channel_names(dataset: Mapping[str, Any], where: str = "dataset") -> tuple[str, ...]:
    """Names of the image channels in their order (``channel_names``, formerly ``modality``).

    Raises:
      DatasetError: none, or numbers that leave one out.
    """
    names = dataset.get("channel_names", dataset.get("modality"))
    wanted = [str(number) for number in range(len(names))] if isinstance(names, Mapping) else []
    if not wanted or sorted(names, key=str) != sorted(wanted):
        raise DatasetError(
            f"{where}: channel_names: got {reprlib.repr(names)}; expected {{'0': 'T2w', ...}}"
        )
    return tuple(str(names[number]) for number in wanted)


def regions(dataset: Mapping[str, Any], where: str = "dataset") -> tuple[tuple[Region, ...], bool]:
    """The outputs of a network trained on `dataset`, and whether they exclude each other.

    Any label that is a list of several makes regions (sigmoid each), in the order of the file and
    written as ``regions_class_order`` says; else labels are classes (softmax), written as they
    are. Background and the ignore label have no region.

    Raises:
      DatasetError: labels that are not consecutive, or an order of another length.
      ConfigError: a region that the order hides.
    """
    labels = dataset.get("labels")
    if not isinstance(labels, Mapping) or not labels:
        raise DatasetError(
            f"{where}: labels: got {reprlib.repr(labels)}; expected {{'background': 0, ...}}"
        )
    found = {
        str(name): tuple(int(v) for v in (value if isinstance(value, list | tuple) else [value]))
        for name, value in labels.items()
        if name != "ignore"
    }
    foreground = {name: values for name, values in found.items() if set(values) - {0}}
    plain = [re.sub("[^0-9A-Za-z]", "", name) for name in foreground]
    if not all(0 < len(name) <= 64 for name in plain) or len({*map(str.lower, plain)}) < len(plain):
        raise DatasetError(
            f"{where}: labels: got the names {reprlib.repr(list(foreground))}; expected names that "
            "differ in letters or digits, since files are named after them"
        )
    if all(len(values) == 1 for values in foreground.values()):
        ordered = sorted(foreground.items(), key=lambda item: item[1])
        if [values for _, values in ordered] != [(n + 1,) for n in range(len(ordered))]:
            raise DatasetError(
                f"{where}: labels: got {reprlib.repr(dict(labels))}; expected consecutive "
                "numbers from 0"
            )
        return tuple(Region(name, values, values[0]) for name, values in ordered), True
    order = dataset.get("regions_class_order")
    if not isinstance(order, list | tuple) or len(order) != len(foreground):
        raise DatasetError(
            f"{where}: regions_class_order: got {reprlib.repr(order)}; expected one number for "
            f"each of {', '.join(foreground)}",
            hint="it says which value each region is written as, in the order of the regions",
        )
    pairs = zip(foreground.items(), order, strict=True)
    return tuple(Region(name, values, int(value)) for (name, values), value in pairs), False


def axcodes(dataset: Mapping[str, Any], where: str = "dataset") -> str:
    """Orientation the images were brought to, in nibabel's letters; "" where none is stated.

    The key ``image_orientation`` is the Spinal Cord Toolbox's: its letters name the side an axis
    *starts* at, so its "RPI" is nibabel's "LAS". nnU-Net itself takes images as they are stored.

    Raises:
      DatasetError: not three letters of three axes.
    """
    found = dataset.get("image_orientation")
    if found is None:
        return ""
    letters = str(found).upper().translate(_OPPOSITE)
    if sorted(letters.translate(str.maketrans("LPI", "RAS"))) != ["A", "R", "S"]:
        raise DatasetError(
            f"{where}: image_orientation: got {reprlib.repr(found)}; expected such as 'RPI'"
        )
    return letters
