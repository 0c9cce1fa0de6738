"""nnU-Net's ``plans.json`` and ``dataset.json``: what a configuration means in our terms.

Reads the layout of nnU-Net 2.3 and newer and the older one (``UNet_class_name``, ...), resolves
``inherits_from``, and turns a configuration into a `ModelSpec`. Array axes in a plan are nnU-Net's:
z, y, x as stored, then ``transpose_forward``.
"""

import math
import reprlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

from score_jax.config import ModelSpec, Preprocessing
from score_jax.errors import ConfigError, DatasetError
from score_jax.models.unet import architecture_options
from score_jax.planning import description

_SCHEMES: Final = {
    "ZScoreNormalization": "zscore",
    "CTNormalization": "ct",
    "RescaleTo01Normalization": "rescale",
    "NoNormalization": "none",
}


def configuration(plans: Mapping[str, Any], name: str, where: str = "plans") -> dict[str, Any]:
    """The configuration `name` with everything it inherits, in the new layout.

    Raises:
      ConfigError: no such configuration, or one that inherits from itself.
    """
    table = plans.get("configurations")
    if not isinstance(table, Mapping):
        raise ConfigError(f"{where}: got no configurations; expected nnU-Net's plans")
    merged: dict[str, Any] = {}
    chain: list[str] = []
    while True:
        if name not in table or not isinstance(table[name], Mapping):
            raise ConfigError(
                f"{where}: no configuration {name!r}; expected one of {', '.join(table)}"
            )
        if name in chain:
            raise ConfigError(f"{where}: configurations inherit in a circle: {' -> '.join(chain)}")
        chain.append(name)
        merged = {**table[name], **merged}
        if "inherits_from" not in table[name]:
            break
        name = table[name]["inherits_from"]
    merged.pop("inherits_from", None)
    if "architecture" not in merged and "UNet_class_name" in merged:
        merged["architecture"] = _old_architecture(merged)
    return merged


def _old_architecture(old: Mapping[str, Any]) -> dict[str, Any]:
    """The ``architecture`` entry of a plan written before nnU-Net 2.3."""
    kernels = old["conv_kernel_sizes"]
    stages, axes = len(kernels), len(kernels[0])
    base, most = old["UNet_base_num_features"], old["unet_max_num_features"]
    residual = old["UNet_class_name"] == "ResidualEncoderUNet"
    return {
        "network_class_name": "dynamic_network_architectures.architectures.unet."
        + old["UNet_class_name"],
        "arch_kwargs": {
            "n_stages": stages,
            "features_per_stage": [min(base * 2**stage, most) for stage in range(stages)],
            "conv_op": f"torch.nn.modules.conv.Conv{axes}d",
            "kernel_sizes": kernels,
            "strides": old["pool_op_kernel_sizes"],
            "n_blocks_per_stage" if residual else "n_conv_per_stage": old[
                "n_conv_per_stage_encoder"
            ],
            "n_conv_per_stage_decoder": old["n_conv_per_stage_decoder"],
            "conv_bias": True,
            "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{axes}d",
            "norm_op_kwargs": {"eps": 1e-05, "affine": True},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        },
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }


def preprocessing(
    plans: Mapping[str, Any], settings: Mapping[str, Any], dataset: Mapping[str, Any], where: str
) -> Preprocessing:
    """The rules of a resolved configuration, from the stored image to the network's grid.

    Raises:
      ConfigError: a scheme, a resampling or a mask rule that we do not have.
    """
    schemes = settings.get("normalization_schemes", [])
    names = []
    for scheme in schemes:
        if scheme not in _SCHEMES:
            raise ConfigError(
                f"{where}: normalization_schemes: got {reprlib.repr(scheme)}; expected one of "
                f"{', '.join(_SCHEMES)}"
            )
        names.append(_SCHEMES[scheme])
    masked = {
        flag
        for flag, name in zip(settings.get("use_mask_for_norm", []), names, strict=True)
        if name == "zscore"
    }
    if len(masked) > 1:
        raise ConfigError(f"{where}: use_mask_for_norm: expected the same for every channel")
    _check_resampling(settings, where)
    spacing = tuple(float(mm) for mm in settings["spacing"])
    properties = plans.get("foreground_intensity_properties_per_channel", {})
    keys = ("mean", "std", "percentile_00_5", "percentile_99_5")
    statistics = tuple(
        tuple(float(properties[str(channel)][key]) for key in keys)
        if name == "ct"
        else (0.0, 1.0, 0.0, 0.0)
        for channel, name in enumerate(names)
    )
    return Preprocessing(
        axcodes=description.axcodes(dataset, where),
        transpose=tuple(2 - int(axis) for axis in plans["transpose_forward"]),
        spacing_mm=spacing if len(spacing) == 3 else (0.0, *spacing),
        normalization=tuple(names),
        crop_nonzero=True,
        mask_normalization=True in masked,
        ct_statistics=statistics if "ct" in names else (),
        order=int((settings.get("resampling_fn_data_kwargs") or {}).get("order", 3)),
    )


def _check_resampling(settings: Mapping[str, Any], where: str) -> None:
    """Only nnU-Net's default resampling is done: order 0 across slices, order 1 for logits."""
    for kind, order in (("data", None), ("probabilities", 1)):
        function = settings.get(f"resampling_fn_{kind}", "resample_data_or_seg_to_shape")
        options = settings.get(f"resampling_fn_{kind}_kwargs") or {}
        wanted = {"is_seg": False, "order_z": 0, "force_separate_z": None}
        if order is not None:
            wanted["order"] = order
        wrong = {
            key: options[key] for key in wanted if options.get(key, wanted[key]) != wanted[key]
        }
        if function != "resample_data_or_seg_to_shape" or wrong:
            raise ConfigError(
                f"{where}: resampling_fn_{kind}: got {function} with {wrong or options}; expected "
                "resample_data_or_seg_to_shape with nnU-Net's defaults"
            )


def _check_sizes(settings: Mapping[str, Any]) -> None:
    """Refuse sizes that no network has: plans come from strangers and may ask for any amount."""
    if not isinstance(settings["architecture"], Mapping):
        raise KeyError("architecture")
    if "arch_kwargs" not in settings["architecture"]:
        return  # another program's network; its class is refused by name
    kwargs = settings["architecture"]["arch_kwargs"]
    spacing, patch = settings["spacing"], settings["patch_size"]
    convs = [key for key in kwargs if key.startswith(("n_conv_per", "n_blocks_per"))]
    bounds = {  # name -> value, depth of its lists, largest number
        "n_stages": (kwargs["n_stages"], (0,), 16),
        "features_per_stage": (kwargs["features_per_stage"], (0, 1), 1 << 14),
        "kernel_sizes": (kwargs["kernel_sizes"], (2,), 31),
        "strides": (kwargs["strides"], (2,), 31),
        **{key: (kwargs[key], (0, 1), 64) for key in convs},
        "patch_size": (patch, (1,), 1 << 13),
    }
    for name, (value, depths, most) in bounds.items():
        if not any(_whole_numbers(value, depth, most) for depth in depths):
            raise ValueError(
                f"{name}: got {reprlib.repr(value)}; expected whole numbers from 1 to {most}"
            )
    if not all(isinstance(mm, int | float) and 0 < mm < 1e6 for mm in spacing):
        raise ValueError(f"spacing: got {reprlib.repr(spacing)}; expected millimetres")
    axes = {len(spacing), len(patch), *map(len, kwargs["kernel_sizes"]),
            *map(len, kwargs["strides"])}  # fmt: skip
    if axes not in ({2}, {3}):
        raise ValueError("spacing, patch_size, kernel_sizes, strides: expected 2 or 3 axes in each")


def _axes(axes: Sequence[Any], ndim: int) -> tuple[int, ...]:
    if not all(type(axis) is int and 0 <= axis < ndim for axis in axes) or len(axes) > ndim:
        raise ValueError(
            f"mirroring axes: got {reprlib.repr(axes)}; expected some of 0 to {ndim - 1}"
        )
    return tuple(sorted(set(axes)))


def _check_fit(tile: tuple[int, ...], options: Mapping[str, Any]) -> None:
    """The patch must halve as often as the network does, and kernels must have a centre."""
    total = [math.prod(stride[axis] for stride in options["strides"]) for axis in range(len(tile))]
    if any(size % divisor for size, divisor in zip(tile, total, strict=True)):
        raise ValueError(f"patch_size: got {list(tile)}; expected multiples of {total}")
    if any(taps % 2 == 0 for kernel in options["kernels"] for taps in kernel):
        raise ValueError(f"kernel_sizes: got {options['kernels']}; expected odd numbers")


def _whole_numbers(value: Any, depth: int, most: int) -> bool:
    """Whether `value` is lists of lists, `depth` deep, of numbers from 1 to `most`."""
    if depth == 0:
        return type(value) is int and 1 <= value <= most
    return (
        isinstance(value, list | tuple)
        and len(value) > 0
        and all(_whole_numbers(item, depth - 1, most) for item in value)
    )


def model_spec(
    plans: Mapping[str, Any],
    dataset: Mapping[str, Any],
    name: str,
    *,
    mirror_axes: Sequence[Any] = (),
    where: str = "plans",
) -> ModelSpec:
    """The specification of a network of the configuration `name`.

    Args:
      plans: as read from ``plans.json``, either layout.
      dataset: as read from ``dataset.json``.
      name: e.g. ``"3d_fullres"``.
      mirror_axes: axes of the network that may be mirrored at test time.
      where: the folder, for messages.

    Raises:
      ConfigError, DatasetError: something is missing, or not supported, by name.
    """
    settings = configuration(plans, name, where)
    if settings.get("previous_stage"):
        raise ConfigError(
            f"{where}: {name} needs the output of {settings['previous_stage']}; cascades are not "
            "supported",
            hint="use the folder of 3d_fullres or 3d_lowres",
        )
    try:
        _check_sizes(settings)
        options = architecture_options(settings["architecture"])
        found, exclusive = description.regions(dataset, where)
        channels = description.channel_names(dataset, where)
        tile = tuple(int(n) for n in settings["patch_size"])
        _check_fit(tile, options)
        return ModelSpec(
            kind="unet",
            options=options,
            in_channels=len(channels),
            channel_names=channels,
            regions=found,
            exclusive=exclusive,
            preprocessing=preprocessing(plans, settings, dataset, where),
            tile=tile,
            slice_axis=0 if len(tile) == 2 else 2,
            mirror_axes=_axes(mirror_axes, len(tile)),
        )
    except (KeyError, TypeError, AttributeError, IndexError, OverflowError) as error:
        raise ConfigError(f"{where}: {name}: missing or malformed entry {error}") from None
    except ValueError as error:
        if isinstance(error, ConfigError | DatasetError):
            raise
        raise ConfigError(f"{where}: {name}: {error}") from None
