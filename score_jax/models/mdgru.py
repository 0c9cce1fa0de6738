"""MDGRU: multi-dimensional gated recurrent units for segmentation (Andermatt et al., 2016)."""

from collections.abc import Sequence
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray

from score_jax.models.cgru import DropConnect, MDGRULayer


class MDGRU(nnx.Module):
    """Blocks of an MDGRU layer, a voxel-wise linear layer and tanh; the last block has no tanh.

    Every voxel sees the whole image; sizes are free (no down-sampling). The defaults are the
    authors': hidden channels 16, 32, 64 and linear layers of 25, 45 and `out_channels` outputs.

    Args:
      in_channels: channels of the image.
      out_channels: classes (background included) or regions.
      ndim: 2 or 3 image axes.
      hidden: hidden channels of each MDGRU layer.
      linear: outputs of the linear layer after each but the last; None leaves out the linear
        layer and the tanh of that block.
      kernel: taps of the convolutions, odd; one number, or one an axis.
      kernel_state: the same for the state convolutions; as `kernel` by default.
      keep_rate: DropConnect's keep rate q; 1 turns it off.
      bernoulli: draw DropConnect's masks as Bernoulli(q) / q instead of Gaussian.
      drop_candidates: DropConnect on the candidates' kernels too.
      residual: add a projection of each block's input (no bias) before its tanh, MD-GRU's
        ``resmdgru``.
      combine: how a layer joins its sweeps, see `MDGRULayer`.
      put_r_back: see `ConvGRU`.
      rngs: source of the initial weights.

    Raises:
      ValueError: `linear` does not have one entry fewer than `hidden`, `ndim` is not 2 or 3,
        `combine` is unknown, or `residual` without a linear layer in every block.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        ndim: int,
        hidden: Sequence[int] = (16, 32, 64),
        linear: Sequence[int | None] = (25, 45),
        kernel: int | Sequence[int] = 7,
        kernel_state: int | Sequence[int] | None = None,
        keep_rate: float = 0.5,
        bernoulli: bool = False,
        drop_candidates: bool = False,
        residual: bool = False,
        combine: Literal["mean", "sum", "concat"] = "mean",
        put_r_back: bool = False,
        rngs: nnx.Rngs,
    ) -> None:
        if ndim not in (2, 3):
            raise ValueError(f"ndim: got {ndim}; expected 2 or 3")
        if len(linear) != len(hidden) - 1:
            raise ValueError(
                f"linear: got {len(linear)} entries for {len(hidden)} layers; expected one fewer"
            )
        if residual and None in linear:
            raise ValueError("residual: expected a linear layer in every block, got None")
        if combine not in ("mean", "sum", "concat"):
            raise ValueError(f"combine: got {combine!r}; expected 'mean', 'sum' or 'concat'")
        taps = _per_axis(kernel, ndim)
        taps_state = taps if kernel_state is None else _per_axis(kernel_state, ndim)
        self.ndim, self.in_channels, self.out_channels = ndim, in_channels, out_channels
        self.remat = False  # layers are computed again in the backward pass, to save memory
        self.drop = (keep_rate, bernoulli, drop_candidates)
        self.layers = nnx.List()
        self.linears = nnx.List()
        self.shortcuts = nnx.List()
        dense = partial(
            nnx.Linear,
            kernel_init=nnx.initializers.glorot_normal(),
            precision="highest",
            rngs=rngs,
        )
        channels = in_channels
        for units, outputs in zip(hidden, (*linear, out_channels), strict=True):
            layer = MDGRULayer(
                channels,
                units,
                kernel=taps,
                kernel_state=taps_state,
                combine=combine,
                put_r_back=put_r_back,
                rngs=rngs,
            )
            width = units * (2 * ndim if combine == "concat" else 1)
            self.layers.append(layer)
            self.linears.append(None if outputs is None else dense(width, outputs))
            if residual and outputs is not None:
                self.shortcuts.append(dense(channels, outputs, use_bias=False))
            channels = width if outputs is None else outputs

    def __call__(
        self, x: Float[Array, "b *space c_in"], *, key: PRNGKeyArray | None = None
    ) -> Float[Array, "b *space c_out"]:
        """Logits of every voxel; a `key` turns DropConnect on (training, Monte Carlo)."""
        keep_rate, bernoulli, candidates = self.drop
        drop = DropConnect(keep_rate, bernoulli=bernoulli, candidates=candidates)
        last = len(self.layers) - 1
        for number, (layer, linear) in enumerate(zip(self.layers, self.linears, strict=True)):
            layer_key = None if key is None else jax.random.fold_in(key, number)
            run = partial(layer.__call__, drop=drop, key=layer_key)
            y = (jax.checkpoint(run) if self.remat else run)(x)
            if linear is not None:
                y = linear(y)
                y = y + self.shortcuts[number](x) if self.shortcuts else y
                y = y if number == last else jnp.tanh(y)
            x = y
        return x


def _per_axis(kernel: int | Sequence[int], ndim: int) -> tuple[int, ...]:
    taps = (kernel,) * ndim if isinstance(kernel, int) else tuple(kernel)
    if len(taps) != ndim or any(n % 2 == 0 or n < 1 for n in taps):
        raise ValueError(f"kernel: got {kernel}; expected an odd number, or {ndim} of them")
    return taps
