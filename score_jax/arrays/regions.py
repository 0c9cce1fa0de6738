"""Label maps and region channels, and the order in which regions are written back.

A *label* is an integer of a label map; a *region* is a named union of labels that may overlap
others (cord = labels 1 and 2, lesion = label 2). A network with sigmoid outputs has one channel a
region; one with softmax outputs has a background channel first and regions that exclude each
other.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Integer, Num, UInt8

from score_jax.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Region:
    """A named union of labels and the value it is written as.

    Args:
      name: e.g. ``"cord"``.
      labels: the labels of a label map that belong to it, each at least 1.
      value: what a voxel of this region becomes in a written label map (1 to 255).
    """

    name: str
    labels: tuple[int, ...]
    value: int

    def __post_init__(self) -> None:
        if not self.labels or min(self.labels) < 1:
            raise ConfigError(
                f"region {self.name!r}: got labels {list(self.labels)}; expected one or more >= 1"
            )
        if not 1 <= self.value <= 255:
            raise ConfigError(f"region {self.name!r}: got value {self.value}; expected 1 to 255")

    def __str__(self) -> str:
        return f"{self.name} = {list(self.labels)} -> {self.value}"

    @classmethod
    def parse(cls, text: str) -> "Region":
        """The region that `str` wrote.

        Raises:
          ConfigError: another form.

        >>> Region.parse("cord = [1, 2] -> 1")
        Region(name='cord', labels=(1, 2), value=1)
        """
        match = _WRITTEN.fullmatch(text.strip())
        if match is None:
            raise ConfigError(f"region: got {text!r}; expected e.g. 'cord = [1, 2] -> 1'")
        return cls(match[1], tuple(int(label) for label in match[2].split(",")), int(match[3]))


_WRITTEN = re.compile(r"(\w+)\s*=\s*\[\s*(\d+(?:\s*,\s*\d+)*)\s*\]\s*->\s*(\d+)")


def check_regions(regions: Sequence[Region]) -> None:
    """Refuse regions that cannot all appear in a written label map.

    Regions are written in order and later ones overwrite earlier ones (nnU-Net's
    ``regions_class_order``), so a region whose labels all belong to a later one never shows.

    Raises:
      ConfigError: no region, a name or a value used twice, or a region hidden by a later one.
    """
    if not regions:
        raise ConfigError("regions: got none; expected at least one, e.g. cord = [1] -> 1")
    columns: tuple[tuple[str, list[object]], ...] = (
        ("name", [r.name for r in regions]),
        ("value", [r.value for r in regions]),
    )
    for kind, values in columns:
        for value in values:
            if values.count(value) > 1:
                raise ConfigError(f"regions: {kind} {value!r} is used twice; expected it once")
    for position, region in enumerate(regions):
        for later in regions[position + 1 :]:
            if set(region.labels) <= set(later.labels):
                raise ConfigError(
                    f"regions: {later} is written after {region} and hides it",
                    hint=f"list {later.name!r} before {region.name!r}",
                )


def masks_from_labels(
    labels: Integer[np.ndarray, "*space"], regions: Sequence[Region]
) -> Bool[np.ndarray, "*space r"]:
    """One mask a region, stacked on a new last axis; labels of no region are background."""
    masks = [np.isin(labels, region.labels) for region in regions]
    return np.stack(masks, axis=-1)


def labels_from_masks(
    masks: Bool[np.ndarray, "*space r"], regions: Sequence[Region]
) -> UInt8[np.ndarray, "*space"]:
    """The label map written for `masks`: in order, later regions overwrite earlier ones.

    Nesting is not enforced: a lesion outside the cord keeps the lesion's value, as in nnU-Net.
    No mask at all gives zeros.
    """
    labels = np.zeros(masks.shape[:-1], np.uint8)
    for channel, region in enumerate(regions):
        labels[masks[..., channel]] = region.value
    return labels


def written_values(regions: Sequence[Region], number: int) -> tuple[int, ...]:
    """The values that region `number` has in a written label map: its own and of those in it."""
    return tuple(regions[inside].value for inside in _contents(regions)[number])


def classes_from_masks(
    masks: Bool[np.ndarray, "*space r"],
) -> Bool[np.ndarray, "*space k"]:
    """Classes that exclude each other, background first: a voxel goes to its *last* region."""
    owner = np.zeros(masks.shape[:-1], np.int64)
    for channel in range(masks.shape[-1]):
        owner[masks[..., channel]] = channel + 1
    return owner[..., None] == np.arange(masks.shape[-1] + 1)


def masks_from_logits(
    logits: Num[np.ndarray, "*space k"], regions: Sequence[Region], *, exclusive: bool
) -> Bool[np.ndarray, "*space r"]:
    """Region masks from network outputs.

    Args:
      logits: one channel a region, or with `exclusive` a background channel before them.
      regions: what the channels mean.
      exclusive: softmax classes (the largest logit wins, ties to the lower channel); a region
        holds its own class and those of the regions inside it (a voxel of grey matter is cord).
        Otherwise sigmoid regions (probability above one half, strictly, as nnU-Net).
    """
    if not exclusive:
        return logits > 0
    winner = np.argmax(logits, axis=-1)[..., None] == np.arange(1, logits.shape[-1])
    parts = [winner[..., inside].any(axis=-1) for inside in _contents(regions)]
    return np.stack(parts, axis=-1)


def probabilities(
    logits: Num[np.ndarray, "*space k"], regions: Sequence[Region], *, exclusive: bool
) -> Num[np.ndarray, "*space r"]:
    """Probability of each region, float32; arguments as in `masks_from_logits`."""
    logits = logits.astype(np.float32)
    if not exclusive:
        return 0.5 * (1 + np.tanh(0.5 * logits))  # the sigmoid, without overflow
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    shares = (shifted / shifted.sum(axis=-1, keepdims=True))[..., 1:]
    parts = [shares[..., inside].sum(axis=-1) for inside in _contents(regions)]
    return np.stack(parts, axis=-1)


def masks_from_probabilities(
    shares: Num[np.ndarray, "*space r"], regions: Sequence[Region], *, exclusive: bool
) -> Bool[np.ndarray, "*space r"]:
    """Region masks from the `probabilities` of regions, e.g. from an average over networks.

    Sigmoid regions: above one half, strictly. Softmax classes: the most probable class, ties to
    the lower one; the share of a class is that of its region less that of the classes inside it.
    """
    if not exclusive:
        return shares > 0.5
    inside = _contents(regions)
    joins = np.array([[n in row for n in range(len(regions))] for row in inside], np.float64)
    classes = shares.astype(np.float64) @ np.linalg.inv(joins).T
    background = 1 - classes.sum(axis=-1, keepdims=True)
    return masks_from_logits(
        np.concatenate([background, classes], axis=-1), regions, exclusive=True
    )


def _contents(regions: Sequence[Region]) -> list[list[int]]:
    """For each region, which regions lie in it by their labels: itself, and those nested in it."""
    return [
        [n for n, inner in enumerate(regions) if set(inner.labels) <= set(outer.labels)]
        for outer in regions
    ]
