"""From a plan to a training configuration of ours."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from score_jax import strict
from score_jax.config import (
    AugmentConfig,
    MDGRUConfig,
    ModelSpec,
    SamplingConfig,
    TrainConfig,
    UNetConfig,
)
from score_jax.planning import plans as plan_files


def train_config(
    plans: Mapping[str, Any],
    dataset: Mapping[str, Any],
    name: str = "3d_fullres",
    *,
    base: TrainConfig | None = None,
    where: str = "plans",
) -> TrainConfig:
    """`base` with the network, grid, patch and batch that a plan asks for.

    Optimiser, augmentation, seeds and lengths stay as in `base`, but for mirror axes that patches
    of this plan do not have. Classes that exclude each other get a softmax loss, regions a sigmoid
    one.

    Args:
      plans: ``plans.json`` of ours or of nnU-Net, either layout.
      dataset: ``dataset.json``.
      name: the configuration.
      base: settings to start from; the defaults if None.
      where: the files, for messages.

    Raises:
      ConfigError, DatasetError: as `plans.model_spec`.
    """
    base = base or TrainConfig()
    spec = plan_files.model_spec(plans, dataset, name, where=where)
    settings = plan_files.configuration(plans, name, where)
    loss = dataclasses.replace(
        base.loss,
        kind="dice_ce" if spec.exclusive else "dice_bce",
        batch_dice=bool(settings.get("batch_dice", base.loss.batch_dice)),
    )
    return dataclasses.replace(
        base,
        model="unet",
        slice_axis=spec.slice_axis,
        preprocessing=spec.preprocessing,
        unet=UNetConfig(ndim=len(spec.tile), **spec.options),
        sampling=SamplingConfig(
            patch=spec.tile,
            batch=int(settings.get("batch_size", base.sampling.batch)),
            foreground=base.sampling.foreground,
        ),
        augment=_mirrored(base, spec),
        loss=loss,
    )


def like(spec: ModelSpec, *, base: TrainConfig | None = None) -> TrainConfig:
    """`base` with the network, grid and patch of a model, to fine-tune it.

    Args:
      spec: the model's specification.
      base: settings to start from; the defaults if None.

    Raises:
      ConfigError: the model has options that a training configuration cannot say.
    """
    base = base or TrainConfig()
    options = dict(spec.options)
    if spec.kind == "mdgru":
        kernel, state = (_one_number(options.get(n)) for n in ("kernel", "kernel_state"))
        options |= {"kernel": kernel, "kernel_state": None if state == kernel else state}
        usual = {name: value for name, value in options.items() if value in (None, False, "mean")}
        options = {name: value for name, value in options.items() if name not in usual}
        network = {"mdgru": strict.read(MDGRUConfig, options, "mdgru")}
    else:
        settings = {"ndim": len(spec.tile), "deep_supervision": base.unet.deep_supervision}
        network = {"unet": strict.read(UNetConfig, {**settings, **options}, "unet")}
    kind = base.loss.kind if base.exclusive == spec.exclusive else _LOSS[spec.exclusive]
    return dataclasses.replace(
        base,
        model=spec.kind,
        slice_axis=spec.slice_axis,
        preprocessing=spec.preprocessing,
        sampling=dataclasses.replace(base.sampling, patch=spec.tile),
        augment=_mirrored(base, spec),
        loss=dataclasses.replace(base.loss, kind=kind),
        **network,
    )


def _mirrored(base: TrainConfig, spec: ModelSpec) -> AugmentConfig:
    axes = tuple(axis for axis in base.augment.mirror_axes if axis < len(spec.tile))
    return dataclasses.replace(base.augment, mirror_axes=axes)


_LOSS = {True: "dice_ce", False: "dice_bce"}


def _one_number(taps: Any) -> Any:
    """A kernel of equal taps as one number, as the configuration says it."""
    return taps[0] if isinstance(taps, list | tuple) and len(set(taps)) == 1 else taps
