"""How to train: data, network, patches, loss, optimiser."""

from dataclasses import dataclass, field
from typing import Any, Literal

from score_jax.config.augment import AugmentConfig
from score_jax.config.model import Preprocessing
from score_jax.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class DataConfig:
    """Which files of a dataset are the images and the truth.

    Args:
      regions: names of the regions to learn (BIDS and tables), or for label maps what each is
        made of and written as, in writing order: ``["cord = [1, 2] -> 1", "lesion = [2] -> 2"]``;
        empty takes those the dataset declares.
      derivative: folder under ``derivatives/`` that holds the masks (BIDS); empty takes truth,
        else labels.
      contrast: image suffix to take, e.g. "T2w" (BIDS); empty takes the only one there is.
      raters: derivatives folders, one a rater; then `derivative` is not used.
      rater_choice: with several raters, "any" draws one for every patch, "mean" trains on the share
        of raters that marked a voxel (soft consensus).
      validation_fraction: share of the subjects held out for validation when `folds` is 0.
      folds: number of folds of a cross-validation; `fold` is the one held out.
      fold: which fold.
      split_seed: seed of the split; a subject never stands on both sides.
      validation_images: score at most so many held-out images while training (0 = all); the end
        of the run scores all of them.
      simulated: share of the batches made by the phantom instead of cut from the dataset (axial
        slices or volumes, one channel; regions by the phantom's names).
      simulated_contrast: "T2w", "T2starw", "random" or "mixed".
      simulated_strength: how much contrast, deformation, shading and noise vary: 1 as in
        `score_jax.phantom`, 0 fixes the contrast.
      simulated_artefacts: whether the phantom adds metal, ghosts and, on axial slices, lesions
        to some of the patches.
    """

    regions: tuple[str, ...] = ()
    derivative: str = ""
    contrast: str = ""
    raters: tuple[str, ...] = ()
    rater_choice: Literal["any", "mean"] = "any"
    validation_fraction: float = 0.2
    folds: int = 0
    fold: int = 0
    split_seed: int = 42
    validation_images: int = 0
    simulated: float = 0.0
    simulated_contrast: str = "mixed"
    simulated_strength: float = 1.0
    simulated_artefacts: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.validation_fraction < 1:
            raise ConfigError(
                f"data.validation_fraction: got {self.validation_fraction}; expected 0 to below 1"
            )
        if not 0 <= self.simulated <= 1:
            raise ConfigError(f"data.simulated: got {self.simulated}; expected a share, 0 to 1")
        if self.folds and not 0 <= self.fold < self.folds:
            raise ConfigError(f"data.fold: got {self.fold}; expected 0 to {self.folds - 1}")


@dataclass(frozen=True, kw_only=True, slots=True)
class MDGRUConfig:
    """Options of `score_jax.MDGRU`; the defaults are the authors'."""

    ndim: int = 2
    hidden: tuple[int, ...] = (16, 32, 64)
    linear: tuple[int, ...] = (25, 45)
    kernel: int = 7
    keep_rate: float = 0.5
    bernoulli: bool = False
    drop_candidates: bool = False
    residual: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class UNetConfig:
    """Options of `score_jax.UNet3D`; the defaults make a compact 3-D network for a CPU.

    Empty `kernels`, `strides`, `convs_encoder`, `convs_decoder` mean 3 taps, halving at every
    stage but the first, and two convolutions a stage.
    """

    ndim: int = 3
    features: tuple[int, ...] = (8, 16, 32, 64)
    kernels: tuple[tuple[int, ...], ...] = ()
    strides: tuple[tuple[int, ...], ...] = ()
    convs_encoder: tuple[int, ...] = ()
    convs_decoder: tuple[int, ...] = ()
    residual: bool = False
    deep_supervision: bool = True

    def arguments(self) -> dict[str, Any]:
        """The network's arguments, empty ones filled in (deep supervision apart)."""
        stages, n = len(self.features), self.ndim
        return {
            "features": self.features,
            "kernels": self.kernels or ((3,) * n,) * stages,
            "strides": self.strides or ((1,) * n, *((2,) * n,) * (stages - 1)),
            "convs_encoder": self.convs_encoder or (2,) * stages,
            "convs_decoder": self.convs_decoder or (2,) * (stages - 1),
            "residual": self.residual,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplingConfig:
    """Patches of a batch.

    Args:
      patch: size in voxels of the network's grid; one number an axis the network sees.
      batch: patches a step.
      foreground: share of a batch's patches centred on a voxel of a region, each region as
        likely as another; at least one patch where the share is above 0 (nnU-Net: a third).
    """

    patch: tuple[int, ...] = (48, 48, 48)
    batch: int = 2
    foreground: float = 0.34

    def __post_init__(self) -> None:
        if not self.patch or min(self.patch) < 1 or self.batch < 1:
            raise ConfigError(
                f"sampling: got patch {list(self.patch)}, batch {self.batch}; expected them >= 1"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class LossConfig:
    """Loss of one output; deep-supervision outputs weigh 1, 1/2, 1/4, ..., the last 0.

    Args:
      kind: "dice_bce" (sigmoid regions, nnU-Net), "dice_ce" (softmax classes) or
        "generalized_dice_ce" (MD-GRU's).
      smooth: added to numerator and denominator of Dice; 0 for very small lesions.
      batch_dice: sum over the batch before the Dice quotient.
      dice_weight: weight of the Dice part; the cross-entropy weighs 1.
      region_weights: one a region, for both parts; only their ratios count. Empty = equal.
      focal_gamma: above 0, voxels that are right already count less in the cross-entropy (focal
        loss); 2 is usual.
      tversky_beta: weight of the missed voxels against the false ones in the Dice part (Tversky
        loss); 0.5 is Dice, 0.7 favours sensitivity.
    """

    kind: Literal["dice_bce", "dice_ce", "generalized_dice_ce"] = "dice_bce"
    smooth: float = 1e-5
    batch_dice: bool = True
    dice_weight: float = 1.0
    region_weights: tuple[float, ...] = ()
    focal_gamma: float = 0.0
    tversky_beta: float = 0.5

    def __post_init__(self) -> None:
        if any(weight < 0 for weight in self.region_weights) or (
            self.region_weights and not sum(self.region_weights)
        ):
            raise ConfigError(
                f"loss.region_weights: got {list(self.region_weights)}; expected weights >= 0, "
                "not all of them 0"
            )
        if self.smooth < 0 or self.focal_gamma < 0 or not 0 < self.tversky_beta < 1:
            raise ConfigError(
                f"loss: got smooth {self.smooth}, focal_gamma {self.focal_gamma}, tversky_beta "
                f"{self.tversky_beta}; expected the first two >= 0 and the last between 0 and 1"
            )
        if self.kind == "generalized_dice_ce" and (
            self.region_weights or self.focal_gamma or self.tversky_beta != 0.5
        ):
            raise ConfigError(
                "loss: generalized_dice_ce has its own weights; expected no region_weights, "
                "focal_gamma or tversky_beta with it",
                hint="use loss.kind=dice_ce",
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class EnsembleConfig:
    """Networks of the same shape trained in one program; each has its own batches.

    The members are all combinations of what is asked for; member m has the seed ``seed + m``.

    Args:
      seeds: networks that differ by nothing but their seed.
      folds: one network for each of the ``data.folds`` folds.
      splits: one network for each of these ``data.split_seed`` (SCIseg's 7, 42, 50, 123, 710).
      raters: one network for each of ``data.raters``.
    """

    seeds: int = 1
    folds: bool = False
    splits: tuple[int, ...] = ()
    raters: bool = False

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise ConfigError(f"ensemble.seeds: got {self.seeds}; expected at least 1")
        if self.folds and self.splits:
            raise ConfigError("ensemble: got folds and splits; expected one of them")


@dataclass(frozen=True, kw_only=True, slots=True)
class ComputeConfig:
    """How a step is computed; none of it changes what is learned, but for rounding.

    Args:
      precision: of the network's arithmetic; weights, losses and optimiser stay float32.
      accumulate: parts a batch is cut into, one after another, to save memory (`batch_dice`
        then sums over a part).
      remat: compute each stage's inner values again in the backward pass instead of keeping them.
      workers: processes that cut patches beside the training; 0 uses a thread of this one.
      devices_members: devices that the members of an ensemble are spread over.
      devices_batch: devices that each batch is spread over.
      devices_space: devices that the first axis of each patch is spread over.
    """

    precision: Literal["float32", "bfloat16"] = "float32"
    accumulate: int = 1
    remat: bool = False
    workers: int = 0
    devices_members: int = 1
    devices_batch: int = 1
    devices_space: int = 1

    def __post_init__(self) -> None:
        counts = (self.accumulate, self.devices_members, self.devices_batch, self.devices_space)
        if min(counts) < 1 or self.workers < 0:
            raise ConfigError(
                f"compute: got accumulate, devices {list(counts)}, workers {self.workers}; "
                "expected them >= 1, and workers >= 0"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimizerConfig:
    """Optax optimiser.

    Args:
      kind: "sgd" (Nesterov, nnU-Net), "adamw" or "adadelta" (MD-GRU).
      learning_rate: its peak.
      schedule: "poly" (power 0.9), "cosine" or "constant" over all steps.
      warmup_steps: linear increase from 0 before it.
      weight_decay: L2 for sgd, decoupled for adamw.
      momentum: of sgd; rho of adadelta.
      clip_norm: bound of the gradient's global norm; 0 = none.
    """

    kind: Literal["sgd", "adamw", "adadelta"] = "adamw"
    learning_rate: float = 3e-3
    schedule: Literal["poly", "cosine", "constant"] = "cosine"
    warmup_steps: int = 20
    weight_decay: float = 1e-4
    momentum: float = 0.99
    clip_norm: float = 12.0


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """One training run. See `configs/*.toml` for the presets.

    Args:
      model: "unet" or "mdgru"; only that network's table is used.
      seed: of weights, batches, augmentation and DropConnect; the same seed repeats a run.
      steps: optimiser steps in all.
      steps_per_epoch: what `--epochs` counts in (nnU-Net's 250).
      validate_each: steps between validations on whole images, and between checkpoints.
      patience: validations without a better score after which the run ends; 0 = never.
      score_smoothing: the best weights are chosen by an exponential average of the score with this
        share of the old value (nnU-Net's 0.9); 0 takes the score itself.
      weights_ema: exponential average of the weights with this share of the old value, used for
        validation and for the result; 0 = none.
      slice_axis: for a 2-D network, the canonical axis whose slices it sees.
    """

    model: Literal["unet", "mdgru"] = "unet"
    seed: int = 0
    steps: int = 1000
    steps_per_epoch: int = 250
    validate_each: int = 100
    patience: int = 0
    score_smoothing: float = 0.0
    weights_ema: float = 0.0
    slice_axis: int = 2
    data: DataConfig = field(default_factory=DataConfig)
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    unet: UNetConfig = field(default_factory=UNetConfig)
    mdgru: MDGRUConfig = field(default_factory=MDGRUConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    ensemble: EnsembleConfig = field(default_factory=EnsembleConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)

    def __post_init__(self) -> None:
        if self.steps < 1 or self.validate_each < 1:
            raise ConfigError(
                f"steps, validate_each: got {self.steps}, {self.validate_each}; expected >= 1"
            )
        if not (0 <= self.score_smoothing < 1 and 0 <= self.weights_ema < 1) or self.patience < 0:
            raise ConfigError(
                f"patience, score_smoothing, weights_ema: got {self.patience}, "
                f"{self.score_smoothing}, {self.weights_ema}; expected >= 0, and 0 to below 1"
            )
        if self.sampling.batch % (self.compute.accumulate * self.compute.devices_batch):
            raise ConfigError(
                f"sampling.batch: got {self.sampling.batch}; expected a multiple of "
                f"compute.accumulate x compute.devices_batch ({self.compute.accumulate} x "
                f"{self.compute.devices_batch})"
            )
        if self.ensemble.folds and not self.data.folds:
            raise ConfigError(
                "ensemble.folds: data.folds is 0; expected the number of folds",
                hint="--set data.folds=5",
            )
        if self.ensemble.raters and not self.data.raters:
            raise ConfigError(
                "ensemble.raters: data.raters is empty; expected one derivatives folder a rater",
                hint='--set \'data.raters=["rater-1", "rater-2"]\'',
            )
        if len(self.sampling.patch) != self.ndim:
            raise ConfigError(
                f"sampling.patch: got {list(self.sampling.patch)}; expected {self.ndim} values "
                f"for a {self.ndim}-D {self.model}"
            )
        if self.slice_axis not in (0, 1, 2):
            raise ConfigError(f"slice_axis: got {self.slice_axis}; expected 0, 1 or 2")
        self.augment.check_axes(self.ndim)

    @property
    def ndim(self) -> int:
        return self.unet.ndim if self.model == "unet" else self.mdgru.ndim

    @property
    def exclusive(self) -> bool:
        return self.loss.kind != "dice_bce"
