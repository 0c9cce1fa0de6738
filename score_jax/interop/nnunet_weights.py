"""An nnU-Net state dict as the weights of a `score_jax.UNet3D`.

Names as in dynamic-network-architectures 0.4.4: every tensor of the encoder has four names and
every block of the decoder two (``all_modules`` and ``decoder.encoder`` repeat what ``convs`` and
``encoder`` hold); one name a tensor is read, the others are ignored.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from score_jax.errors import CheckpointError
from score_jax.interop.fill import abstract, put
from score_jax.interop.pickle_machine import printable
from score_jax.models import UNet3D

_ALIAS: Final = re.compile(r"(^|\.)decoder\.encoder\.|\.all_modules\.")
_WRAPPERS: Final = ("module.", "_orig_mod.")  # DistributedDataParallel, torch.compile


def network(
    state: Mapping[str, Any], in_channels: int, out_channels: int, options: Mapping[str, Any],
    where: str,
) -> UNet3D:  # fmt: skip
    """The network with the weights of `state`.

    Args:
      state: name -> array, torch layouts.
      in_channels: channels of the image.
      out_channels: regions, or classes with background.
      options: arguments of `UNet3D` (`models.unet.architecture_options`).
      where: the file, for messages.

    Raises:
      CheckpointError: tensors that are missing, unknown or of another shape, by name.
    """
    left = _canonical(state, where)
    model = abstract(lambda rngs: UNet3D(in_channels, out_channels, rngs=rngs, **options), where)
    reader = _Reader(left, where)
    residual = model.stem is not None
    if residual:
        reader.block(model.stem, "encoder.stem.convs.0.")
    for s, stage in enumerate(model.encoder):
        for b, block in enumerate(stage):
            if residual:
                reader.residual(block, f"encoder.stages.{s}.blocks.{b}.")
            else:
                reader.block(block, f"encoder.stages.{s}.0.convs.{b}.")
    for d, stage in enumerate(model.decoder):
        reader.up(stage, f"decoder.transpconvs.{d}.")
        for c, block in enumerate(stage.convs):
            reader.block(block, f"decoder.stages.{d}.convs.{c}.")
        reader.conv(stage.head, f"decoder.seg_layers.{d}.")
    if left:
        name = printable(next(iter(left)))
        raise CheckpointError(f"{where}: unknown tensor {name}; the plans describe none of it")
    return model


def _canonical(state: Mapping[str, Any], where: str) -> dict[str, np.ndarray]:
    """The tensors by one name each, without the prefixes that wrappers add."""
    found: dict[str, np.ndarray] = {}
    for key, value in state.items():
        name = str(key)
        while name.startswith(_WRAPPERS):
            name = name.split(".", 1)[1]
        if _ALIAS.search(name):
            continue
        if not isinstance(value, np.ndarray):
            raise CheckpointError(f"{where}: {printable(name)}: expected a tensor")
        found[name] = value
    return found


class _Reader:
    """Takes tensors out of a state dict, one module after another."""

    def __init__(self, left: dict[str, np.ndarray], where: str) -> None:
        self._left, self._where = left, where

    def _put(self, param: Any, name: str, *, taps_last: bool = False) -> None:
        """`taps_last`: torch's (a, b, *taps) becomes (*taps, b, a)."""
        if name not in self._left:
            raise CheckpointError(f"{self._where}: no tensor {name}; the plans describe one")
        value = self._left.pop(name)
        if taps_last:
            if value.ndim < 2:
                raise CheckpointError(f"{self._where}: {name}: got shape {value.shape}")
            value = np.moveaxis(value, (0, 1), (-1, -2))
        put(param, value, f"{self._where}: {name}")

    def conv(self, conv: Any, name: str) -> None:
        self._put(conv.kernel, f"{name}weight", taps_last=True)
        if conv.bias is not None:
            self._put(conv.bias, f"{name}bias")

    def norm(self, norm: Any, name: str) -> None:
        self._put(norm.scale, f"{name}weight")
        self._put(norm.bias, f"{name}bias")

    def block(self, block: Any, name: str) -> None:
        self.conv(block.conv, f"{name}conv.")
        self.norm(block.norm, f"{name}norm.")

    def residual(self, block: Any, name: str) -> None:
        self.block(block.first, f"{name}conv1.")
        self.conv(block.second, f"{name}conv2.conv.")
        self.norm(block.norm, f"{name}conv2.norm.")
        if block.project is not None:
            at = int(any(step != 1 for step in block.stride))  # an average pool may stand at 0
            self.conv(block.project, f"{name}skip.{at}.conv.")
            self.norm(block.project_norm, f"{name}skip.{at}.norm.")

    def up(self, stage: Any, name: str) -> None:
        """Transposed convolutions are stored (in, out, *taps); ours are (*taps, in, out)."""
        weight = self._left.get(f"{name}weight")
        if weight is not None and weight.ndim > 2:
            self._left[f"{name}weight"] = np.swapaxes(weight, 0, 1)
        self._put(stage.up_kernel, f"{name}weight", taps_last=True)
        self._put(stage.up_bias, f"{name}bias")
