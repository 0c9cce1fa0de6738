"""What a dataset is: cases with their files, the channels, and the regions that masks declare."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

from score_jax.arrays.regions import Region
from score_jax.errors import DatasetError, ScoreError


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One image (one or several channels) of one subject and session, with what was drawn on it.

    Args:
      id: unique in its dataset; names its outputs.
      subject: the person; splits never tear one apart.
      images: one file for each group of channels, in the order of the channels.
      labels: a label map, or None.
      region_masks: binary masks by region name; used when there is no label map.
    """

    id: str
    subject: str
    images: tuple[Path, ...]
    labels: Path | None = None
    region_masks: Mapping[str, Path] = field(default_factory=dict)

    @property
    def labelled(self) -> bool:
        """Whether anything was drawn on it."""
        return self.labels is not None or bool(self.region_masks)


@final
@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong with a dataset.

    Args:
      where: the file or case.
      message: got ...; expected ...
      hint: the remedy; may be empty.
    """

    where: str
    message: str
    hint: str = ""

    @classmethod
    def of(cls, where: object, error: ScoreError) -> "Problem":
        """The problem that an error reports, without its file name said twice."""
        return cls(str(where), error.message.removeprefix(f"{where}: "), error.hint)

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Dataset:
    """Cases that share channels and regions.

    Args:
      root: the folder or file it was found at.
      kind: ``nnunet``, ``bids``, ``table``, ``folder`` or ``file``.
      channel_names: one a channel, e.g. ``("T2w",)``.
      regions: what masks declare, in the order in which they are written; empty if unlabelled.
      exclusive: whether regions are classes of one label map that never overlap (softmax);
        otherwise they may overlap (sigmoid).
      cases: sorted by id; labelled unless asked otherwise.
      test_cases: nnU-Net's ``imagesTs``, with ``labelsTs`` where present.
      unlabelled: cases left out of `cases` because nothing was drawn on them.
      ignore: the label whose voxels take no part in training, or None.
      notes: choices made on the way, one line each.
    """

    root: Path
    kind: str
    channel_names: tuple[str, ...]
    regions: tuple[Region, ...]
    cases: tuple[Case, ...]
    exclusive: bool = False
    test_cases: tuple[Case, ...] = ()
    unlabelled: tuple[Case, ...] = ()
    ignore: int | None = None
    notes: tuple[str, ...] = ()

    def case(self, name: str) -> Case:
        """The case of this id.

        Raises:
          DatasetError: there is none; names a few that are there.
        """
        every = (*self.cases, *self.test_cases, *self.unlabelled)
        for case in every:
            if case.id == name:
                return case
        some = ", ".join(case.id for case in every[:5])
        raise DatasetError(f"{self.root}: got the case {name!r}; expected one of {some} ...")

    @property
    def declared_labels(self) -> tuple[int, ...]:
        """Every value a label map of this dataset may hold, 0 included."""
        values = {0, *(label for region in self.regions for label in region.labels)}
        return tuple(sorted(values | ({self.ignore} if self.ignore is not None else set())))


# What lies in what (anatomy, not a property of files): a lesion's voxels are cord by definition
# (SCIseg adds the lesion to the cord before training).
_INSIDE = {
    "canal": ("cord", "wm", "gm", "ah", "ph", "gc", "lesion"),
    "cord": ("wm", "gm", "ah", "ph", "gc", "lesion"),
    "gm": ("ah", "ph", "gc"),
}
_USUAL_ORDER = ("canal", "cord", "wm", "gm", "ah", "ph", "gc", "lesion")


def regions_from_names(names: Sequence[str]) -> tuple[Region, ...]:
    """Regions of binary masks: one value each, the larger before what lies inside it.

    Names that anatomy does not order follow in the given order. A region includes the labels of
    what lies inside it, so ``["lesion", "cord"]`` gives ``cord = [1, 2] -> 1``,
    ``lesion = [2] -> 2``.

    Raises:
      DatasetError: a name given twice.
    """
    if len(set(names)) < len(names):
        raise DatasetError(f"regions: got {list(names)}; expected each name once")
    known = [name for name in _USUAL_ORDER if name in names]
    order = [*known, *(name for name in names if name not in known)]
    value = {name: position for position, name in enumerate(order, 1)}
    return tuple(
        Region(
            name,
            (value[name], *(value[part] for part in _INSIDE.get(name, ()) if part in value)),
            value[name],
        )
        for name in order
    )


def duplicates(cases: Sequence[Case]) -> list[Problem]:
    """A problem for each id that two cases share (letter case ignored: files may be, too)."""
    seen: dict[str, Case] = {}
    problems = []
    for case in cases:
        first = seen.setdefault(case.id.lower(), case)
        if first is not case:
            problems.append(
                Problem(
                    str(case.images[0]),
                    f"the case {case.id!r} is there twice (also {first.images[0]}); expected once",
                    "rename or remove one of them",
                )
            )
    return problems
