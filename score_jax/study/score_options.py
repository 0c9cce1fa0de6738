"""How the SCORE study is done: sizes, folds, choices that the paper leaves open."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, final

from score_jax import strict
from score_jax.config import TrainConfig, load_config, override, preset, set_value
from score_jax.errors import ConfigError
from score_jax.study.failures import FailureRules
from score_jax.study.report import Choice

Scale = Literal["smoke", "small", "full"]
SCALES: tuple[Scale, ...] = ("smoke", "small", "full")


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Lengths:
    """Optimiser steps of each kind of network.

    Args:
      tissue: cord and grey matter (and lesions, with `joint`).
      lesion: lesions.
      canal: spinal canal.
      parts: anterior and posterior horns, commissure (and the canal, with `joint`).
    """

    tissue: int = 4000
    lesion: int = 4000
    canal: int = 2000
    parts: int = 2000


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class FailureTruth:
    """What counts as a failure where the truth is known: Dice below."""

    dice_cord: float = 0.90
    dice_gm: float = 0.60


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class StudyOptions:
    """The SCORE study.

    Args:
      subjects: people of each group, where they are simulated.
      scans: of a control, where they are simulated.
      field_of_view_mm: of simulated scans, in-plane.
      contrast: BIDS suffix of the images; empty takes AMIRA, else the only one there is.
      raters: folders below ``derivatives/``; the first rater also drew the parts and the rescans.
      truth: folder below ``derivatives/`` with the truth, used if it is there.
      folds: of the first stage; each person is held out once.
      folds_parts: of the second stage.
      split_seed: who is held out together.
      joint: one network for cord, grey matter and lesions, one for all of the second stage, instead
        of one a target.
      rescans: which networks also train on scans 2, 3: ``rater1`` those of the rater who drew them
        (what was drawn); ``propagated`` all, with the first rater's rescans; ``none``.
      inter: the pair of scans of the inter-session comparison.
      alignment: how a rescan's masks are laid on the first scan's before DSC and HD.
      grid_mm: pixel side on which networks see and scores are taken; other scans are resampled.
      failures: bounds of the automatic detection.
      failure_truth: what a failure is, against the truth.
      lengths: optimiser steps.
      checkpoints: how often a training is saved on its way (a killed one goes on from there).
      tables: options of the tables (`score_tables_options`).
    """

    subjects: int = 24
    scans: int = 3
    field_of_view_mm: float = 40.0
    contrast: str = ""
    raters: tuple[str, ...] = ("rater1", "rater2", "rater3")
    truth: str = "truth"
    folds: int = 3
    folds_parts: int = 2
    split_seed: int = 2023
    joint: bool = False
    rescans: Literal["rater1", "propagated", "none"] = "rater1"
    inter: Literal["1-3", "2-3"] = "1-3"
    alignment: Literal["rigid", "centroid", "none"] = "rigid"
    grid_mm: float = 1 / 3
    failures: FailureRules = field(default_factory=FailureRules)
    failure_truth: FailureTruth = field(default_factory=FailureTruth)
    lengths: Lengths = field(default_factory=Lengths)
    checkpoints: int = 10
    tables: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if min(self.folds, self.folds_parts) < 2 or not self.raters or self.checkpoints < 1:
            raise ConfigError(
                f"folds, folds_parts, raters, checkpoints: got {self.folds}, {self.folds_parts}, "
                f"{len(self.raters)}, {self.checkpoints}; expected at least 2, 2, 1 and 1"
            )
        if not 0.05 <= self.grid_mm <= 2:
            raise ConfigError(f"grid_mm: got {self.grid_mm}; expected .05 to 2")


# What a scale changes of the options and of the recipe (`configs/mdgru.toml`); docs/study_score.md
# says what each costs.
_SCALES: dict[Scale, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "smoke": (
        (
            "subjects=3", "field_of_view_mm=32.0", "checkpoints=5", "lengths.tissue=200",
            "lengths.lesion=120", "lengths.canal=80", "lengths.parts=100",
        ),
        (
            "mdgru.hidden=[6, 8]", "mdgru.linear=[8]", "mdgru.kernel=5", "sampling.patch=[48, 48]",
            "sampling.batch=2", "optimizer.learning_rate=0.02", "augment.spatial.order=1",
        ),
    ),
    "small": (
        (
            "subjects=8", "lengths.tissue=700", "lengths.lesion=600", "lengths.canal=300",
            "lengths.parts=400",
        ),
        ("mdgru.hidden=[8, 16]", "mdgru.linear=[16]", "sampling.patch=[64, 64]"),
    ),
    "full": ((), ("sampling.patch=[96, 96]", "sampling.batch=8")),
}  # fmt: skip


def read_options(
    scale: str, overrides: Sequence[str] = (), *, joint: bool = False, seed: int = 0
) -> tuple[StudyOptions, TrainConfig]:
    """The options and the networks' recipe of a scale, with ``key=value`` overrides on top.

    Args:
      scale: ``smoke``, ``small`` or ``full``.
      overrides: ``train.KEY=VALUE`` changes the recipe (`TrainConfig`), any other key the options.
      joint: as `StudyOptions.joint`.
      seed: of the networks.

    Raises:
      ConfigError: an unknown scale, key or type; a key of the recipe that the study sets itself.
    """
    if scale not in SCALES:
        raise ConfigError(f"--scale: got {scale!r}; expected one of {', '.join(SCALES)}")
    own, recipe = _SCALES[scale]
    given = [text for text in overrides if not text.startswith("train.")]
    ours: dict[str, Any] = {}
    for text in (*own, *given):
        set_value(ours, text, example="folds=3 or train.loss.smooth=0")
    options = strict.read(StudyOptions, ours, "")
    if joint:
        options = dataclasses.replace(options, joint=True)
    theirs = tuple(t.removeprefix("train.") for t in overrides if t.startswith("train."))
    for text in theirs:
        if text.partition("=")[0].split(".")[0].strip() in _OURS:
            raise ConfigError(
                f"--set train.{text}: the study sets this itself; expected a key of the network, "
                "its patches, augmentation, loss or optimiser",
                hint="steps are lengths.tissue, lengths.lesion, lengths.canal, lengths.parts",
            )
    config = override(load_config(preset("mdgru")), (*recipe, f"seed={seed}", *theirs))
    return options, config


_OURS = {"data", "ensemble", "steps", "validate_each", "seed", "preprocessing", "slice_axis"}


def choices(options: StudyOptions) -> list[Choice]:
    """What the paper leaves open or contradicts itself in, and what these options say."""
    o = options
    return [
        Choice(
            "joint", str(o.joint).lower(),
            "Published: separate networks for GM/WM and for lesions, then for canal and for the "
            "parts of the grey matter, controls and patients apart. true: one network a stage.",
        ),
        Choice(
            "rescans", o.rescans,
            "The paper trains the controls' networks on all three acquisitions, and says that "
            "raters 2 and 3 drew the first one only. rater1: rater 1's networks see three scans, "
            "the others one. propagated: all see three, raters 2 and 3 with rater 1's rescans.",
        ),
        Choice(
            "inter", o.inter,
            "Inter-session is said to compare the third scan with \"scans\"; 1-3 or 2-3.",
        ),
        Choice(
            "alignment", o.alignment,
            "How DSC and HD between two scans were taken is not said. Here the second scan's masks "
            "are laid on the first's by a rigid motion in the plane found from cord and grey "
            "matter of the same method; RSD needs none.",
        ),
        Choice(
            "grid_mm", f"{o.grid_mm:.4g}",
            "The scanned pixel is .67 mm, but a DSC of .92 with an HD of .53 mm is impossible "
            "there: scores are taken on the interpolated grid.",
        ),
        Choice(
            "train.*", "last weights of a fixed number of steps",
            "Nothing is said of how a training ended. No slice of a test subject is used, not even "
            "to choose weights: none are held out within the training subjects either.",
        ),
        Choice(
            "second stage", "most probable part of each voxel of the consensus grey matter",
            "How the horns' networks were tied to the grey matter is not said; the manual parts of "
            "a consensus are rater 1's, each voxel as the nearest one drawn.",
        ),
        Choice(
            "failures.*", "rules a to f",
            "The paper's failures were seen by eye, and its counts do not add up (855 - 817 = 38, "
            "not 34; 287 - 271 = 16, not 17). Bounds: "
            + ", ".join(f"{k} {v}" for k, v in dataclasses.asdict(o.failures).items()) + ".",
        ),
        Choice(
            "HD of an empty mask", "n.a.; in the sensitivity analysis the other mask's diagonal",
            "A failure without any mask has no distance; the diagonal of the bounding box of the "
            "mask that is there stands for it where failures are included.",
        ),
    ]  # fmt: skip
