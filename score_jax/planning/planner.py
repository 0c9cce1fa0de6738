"""nnU-Net's experiment planner: from a dataset's fingerprint to network, patch and batch.

Isensee et al., Nature Methods 2021, and the residual encoder presets of MICCAI 2024, in the
details of nnU-Net 2.8.1 (every plan is equal to that program's). Array axes are nnU-Net's: z, y,
x as stored; inside a plan, the axis of the coarsest target spacing comes first.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, final

import numpy as np

from score_jax.errors import ConfigError, DatasetError
from score_jax.planning.description import channel_names
from score_jax.planning.presets import PLANNERS, Planner
from score_jax.planning.topology import Topology, feature_maps, topology

ANISOTROPY: Final = 3.0
LOWRES_SHARE: Final = 0.25  # a patch below this share of the median image wants a coarser grid
_SCHEMES: Final = {
    "ct": "CTNormalization",
    "nonorm": "NoNormalization",
    "zscore": "ZScoreNormalization",
    "rescale_to_0_1": "RescaleTo01Normalization",
    "rgb_to_0_1": "RGBTo01Normalization",
}
_READERS: Final = {
    ".nii.gz": "SimpleITKIO", ".nrrd": "SimpleITKIO", ".mha": "SimpleITKIO",
    ".gipl": "SimpleITKIO", ".nii": "NibabelIO", ".png": "NaturalImage2DIO",
    ".bmp": "NaturalImage2DIO", ".tif": "Tiff3DIO", ".tiff": "Tiff3DIO",
}  # fmt: skip


def plan(
    fingerprint: Mapping[str, Any],
    dataset: Mapping[str, Any],
    *,
    dataset_name: str,
    preset: str = "default",
    gpu_memory_gb: float | None = None,
    spacing: Sequence[float] | None = None,
    plans_name: str | None = None,
) -> dict[str, Any]:
    """The plans of a dataset, as nnU-Net writes them.

    Args:
      fingerprint: as `fingerprint.combine` or nnU-Net's ``dataset_fingerprint.json``.
      dataset: nnU-Net's ``dataset.json``.
      dataset_name: recorded in the plans.
      preset: which planner.
      gpu_memory_gb: memory to plan for; the planner's own by default (8, 8, 24, 40 GB).
      spacing: target spacing in mm, z, y, x, instead of the rule's.
      plans_name: recorded in the plans; the planner's own by default.

    Raises:
      ConfigError: an unknown planner, or a memory or spacing that is not positive.
      DatasetError: an entry of fingerprint or dataset that is missing or malformed.
    """
    if preset not in PLANNERS:
        raise ConfigError(f"planner: got {preset!r}; expected one of {', '.join(PLANNERS)}")
    planner = PLANNERS[preset]
    memory = planner.reference_gb if gpu_memory_gb is None else gpu_memory_gb
    if not memory > 0:
        raise ConfigError(f"gpu memory: got {memory} GB; expected more than 0")
    if spacing is not None and (len(spacing) != 3 or not min(spacing) > 0):
        raise ConfigError(f"spacing: got {list(spacing)}; expected three positive numbers (mm)")
    session = _Session(planner, fingerprint, dataset, memory, plans_name or planner.plans_name)
    return session.plan(dataset_name, None if spacing is None else np.asarray(spacing, float))


def target_spacing(fingerprint: Mapping[str, Any]) -> np.ndarray:
    """The spacing of the full-resolution grid, z, y, x, in mm.

    The median along each axis; if one axis is more than 3 times as coarse as the others and has
    less than a third of their voxels, its 10th percentile (but not finer than the others).
    """
    spacings = np.vstack(fingerprint["spacings"]).astype(float)
    target = np.percentile(spacings, 50, 0)
    sizes = np.percentile(np.vstack(fingerprint["shapes_after_crop"]), 50, 0)
    worst = int(np.argmax(target))
    others = [axis for axis in range(3) if axis != worst]
    coarse = target[worst] > ANISOTROPY * max(target[others])
    few = sizes[worst] * ANISOTROPY < min(sizes[others])
    if coarse and few:
        finer = np.percentile(spacings[:, worst], 10)
        if finer < max(target[others]):
            finer = max(target[others]) + 1e-5
        target[worst] = finer
    return target


@final
class _Session:
    """One planning, so that its constants need not travel through every call."""

    def __init__(
        self,
        planner: Planner,
        fingerprint: Mapping[str, Any],
        dataset: Mapping[str, Any],
        memory: float,
        plans_name: str,
    ) -> None:
        self._planner, self._plans_name = planner, plans_name
        self._budget = memory / planner.reference_gb
        self._fingerprint, self._dataset = fingerprint, dataset
        self._check()

    def _check(self) -> None:
        for key in ("spacings", "shapes_after_crop", "median_relative_size_after_cropping",
                    "foreground_intensity_properties_per_channel"):  # fmt: skip
            if key not in self._fingerprint:
                raise DatasetError(f"fingerprint: no entry {key}; expected nnU-Net's layout")
        spacings, shapes = self._fingerprint["spacings"], self._fingerprint["shapes_after_crop"]
        three = all(len(row) == 3 and min(row) > 0 for row in (*spacings, *shapes))
        if not spacings or len(spacings) != len(shapes) or not three:
            raise DatasetError(
                "fingerprint: spacings, shapes_after_crop: expected three positive numbers a case"
            )
        for key in ("labels", "numTraining"):
            if key not in self._dataset:
                raise DatasetError(f"dataset.json: no entry {key}; expected nnU-Net's layout")
        channel_names(self._dataset, "dataset.json")

    def plan(self, name: str, spacing: np.ndarray | None) -> dict[str, Any]:
        fingerprint = self._fingerprint
        full = target_spacing(fingerprint) if spacing is None else spacing
        first = int(np.argmax(full))
        forward = [first, *(axis for axis in range(3) if axis != first)]
        resampled = [
            [round(old / new * size) for old, new, size in zip(row, full, shape, strict=True)]
            for row, shape in zip(
                fingerprint["spacings"], fingerprint["shapes_after_crop"], strict=True
            )
        ]
        median, full = np.median(resampled, 0)[forward], full[forward]
        voxels = float(np.prod(median) * self._dataset["numTraining"])
        flat = self._configuration("2d", full[1:], median[1:], voxels) | {"batch_dice": True}
        configurations = {"2d": flat}
        if median[0] != 1:
            configurations |= self._volumetric(full, median, voxels)
        spacings, shapes = fingerprint["spacings"], fingerprint["shapes_after_crop"]
        return {
            "dataset_name": name,
            "plans_name": self._plans_name,
            "original_median_spacing_after_transp": np.median(spacings, 0)[forward].tolist(),
            "original_median_shape_after_transp": [
                round(float(n)) for n in np.median(shapes, 0)[forward]
            ],
            "image_reader_writer": self._reader(),
            "transpose_forward": forward,
            "transpose_backward": [forward.index(axis) for axis in range(3)],
            "configurations": configurations,
            "experiment_planner_used": self._planner.class_name,
            "label_manager": "LabelManager",
            "foreground_intensity_properties_per_channel": fingerprint[
                "foreground_intensity_properties_per_channel"
            ],
        }

    def _volumetric(
        self, spacing: np.ndarray, median: np.ndarray, voxels: float
    ) -> dict[str, dict[str, Any]]:
        """3d_fullres and, where the patch sees too little of the image, 3d_lowres."""
        full = self._configuration("3d_fullres", spacing, median, voxels)
        patch, here = float(np.prod(full["patch_size"])), float(np.prod(median))
        low, coarse = None, spacing.copy()
        while patch / here < LOWRES_SHARE:
            # the fine axes first, until they are within a factor 2 of the coarsest
            fine = coarse.max() / coarse > 2
            coarse[fine if fine.any() else slice(None)] *= 1.03
            here = float(np.prod(spacing / coarse * median))
            smaller = [round(float(n)) for n in spacing / coarse * median]
            low = self._configuration(
                "3d_lowres", coarse, smaller, here * self._dataset["numTraining"]
            )
            patch = float(np.prod(low["patch_size"]))
        if low is None or float(np.prod(median)) / here < 2:
            return {"3d_fullres": full | {"batch_dice": False}}
        return {
            "3d_lowres": low | {"batch_dice": False, "next_stage": "3d_cascade_fullres"},
            "3d_fullres": full | {"batch_dice": True},
            "3d_cascade_fullres": {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"},
        }

    def _configuration(
        self, name: str, spacing: np.ndarray, median: Sequence[float] | np.ndarray, voxels: float
    ) -> dict[str, Any]:
        """Patch, network and batch for a grid: the largest patch that fits the memory."""
        planner, ndim = self._planner, len(spacing)
        shape = self._shrunk(spacing, np.asarray(median, float))
        reference, base = self._reference(ndim), (2, 12)[ndim == 2]
        estimate = self._estimate(shape)
        batch = round(reference / estimate * base)
        most = round(voxels * planner.covered / float(np.prod(shape.patch)))
        schemes = [
            _SCHEMES.get(channel.casefold(), "ZScoreNormalization")
            for channel in channel_names(self._dataset)
        ]
        cropped = self._fingerprint["median_relative_size_after_cropping"] < 0.75
        identifier = "nnUNetPlans" if planner.residual and name != "3d_lowres" else None
        return {
            "data_identifier": f"{identifier or self._plans_name}_{name}",
            "preprocessor_name": "DefaultPreprocessor",
            "batch_size": max(min(batch, most), 2),
            "patch_size": list(shape.patch),
            "median_image_size_in_voxels": [n if isinstance(n, int) else float(n) for n in median],
            "spacing": spacing.tolist(),
            "normalization_schemes": schemes,
            "use_mask_for_norm": [cropped and s == "ZScoreNormalization" for s in schemes],
            "resampling_fn_data": "resample_data_or_seg_to_shape",
            "resampling_fn_seg": "resample_data_or_seg_to_shape",
            "resampling_fn_data_kwargs": _resampling(is_seg=False, order=3),
            "resampling_fn_seg_kwargs": _resampling(is_seg=True, order=1),
            "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
            "resampling_fn_probabilities_kwargs": _resampling(is_seg=False, order=1),
            "architecture": self._architecture(shape),
        }

    def _shrunk(self, spacing: np.ndarray, median: np.ndarray) -> Topology:
        """The topology of the largest patch whose estimate fits."""
        ndim = len(spacing)
        edge, power = (256**3, 1 / 3) if ndim == 3 else (2048**2, 1 / 2)
        inverse = 1 / spacing
        cube = [round(float(n)) for n in inverse * (edge / np.prod(inverse)) ** power]
        shape = topology(
            spacing.tolist(), [min(a, float(b)) for a, b in zip(cube, median, strict=True)]
        )
        # the plain planner compares at batch 2, the residual ones at their reference batch
        scale = 1.0 if self._planner.residual else 2 / (2, 12)[ndim == 2]
        while self._estimate(shape) * scale > self._reference(ndim):
            share = [n / m for n, m in zip(shape.patch, median, strict=True)]
            axis = int(np.argsort(share)[-1])
            probe = list(shape.patch)
            probe[axis] -= shape.divisor[axis]
            step = topology(spacing.tolist(), probe).divisor[axis]
            patch = list(shape.patch)
            patch[axis] -= step
            if min(patch) < 1:
                raise ConfigError(
                    "gpu memory: not even the smallest patch fits; expected a larger budget"
                )
            shape = topology(spacing.tolist(), patch)
        return shape

    def _reference(self, ndim: int) -> float:
        return self._planner.reference[ndim == 2] * self._budget

    def _estimate(self, shape: Topology) -> int:
        encoder, decoder = self._convs(shape.stages)
        outputs = len(self._dataset["labels"])  # background and ignore count, as in nnU-Net
        return feature_maps(
            shape, _features(shape), encoder, decoder, outputs, residual=self._planner.residual
        )

    def _convs(self, stages: int) -> tuple[list[int], list[int]]:
        convs = self._planner.convs
        encoder = [convs[min(stage, len(convs) - 1)] for stage in range(stages)]
        return encoder, [1 if self._planner.residual else 2] * (stages - 1)

    def _architecture(self, shape: Topology) -> dict[str, Any]:
        encoder, decoder = self._convs(shape.stages)
        ndim = len(shape.patch)
        return {
            "network_class_name": self._planner.network,
            "arch_kwargs": {
                "n_stages": shape.stages,
                "features_per_stage": _features(shape),
                "conv_op": f"torch.nn.modules.conv.Conv{ndim}d",
                "kernel_sizes": [list(kernel) for kernel in shape.kernels],
                "strides": [list(stride) for stride in shape.strides],
                ("n_blocks_per_stage" if self._planner.residual else "n_conv_per_stage"): encoder,
                "n_conv_per_stage_decoder": decoder,
                "conv_bias": True,
                "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{ndim}d",
                "norm_op_kwargs": {"eps": 1e-05, "affine": True},
                "dropout_op": None,
                "dropout_op_kwargs": None,
                "nonlin": "torch.nn.LeakyReLU",
                "nonlin_kwargs": {"inplace": True},
            },
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
        }

    def _reader(self) -> str:
        named = self._dataset.get("overwrite_image_reader_writer", "None")
        if named != "None":
            return str(named)
        ending = str(self._dataset.get("file_ending", ".nii.gz")).lower()
        if ending not in _READERS:
            raise DatasetError(
                f"dataset.json: file_ending: got {ending!r}; expected one of {', '.join(_READERS)}"
            )
        return _READERS[ending]


def _features(shape: Topology) -> list[int]:
    most = 512 if len(shape.patch) == 2 else 320
    return [min(most, 32 * 2**stage) for stage in range(shape.stages)]


def _resampling(*, is_seg: bool, order: int) -> dict[str, Any]:
    return {"is_seg": is_seg, "order": order, "order_z": 0, "force_separate_z": None}
