"""Weights of the original MD-GRU, PyTorch or TensorFlow, as a `score_jax.MDGRU`.

The architecture is read from the shapes. Names and layouts: MD-GRU at 791ee4f (its model code and
the checkpoints it writes); the arrays alone are taken, nothing of a checkpoint is run.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, final

import numpy as np

from score_jax._types import PathLike
from score_jax.errors import CheckpointError
from score_jax.interop import mdgru_names, tensorflow_file, torch_file
from score_jax.interop.fill import abstract, put
from score_jax.interop.mdgru_names import CELL, Key
from score_jax.models import MDGRU


@final
@dataclass(frozen=True, slots=True)
class Architecture:
    """What the shapes of a checkpoint say about its network (arguments of `MDGRU`)."""

    in_channels: int
    out_channels: int
    ndim: int
    hidden: tuple[int, ...]
    linear: tuple[int | None, ...]
    kernel: tuple[int, ...]
    kernel_state: tuple[int, ...]
    residual: bool
    combine: Literal["mean", "sum", "concat"]

    def options(self, *, put_r_back: bool) -> dict[str, Any]:
        """The arguments of `MDGRU` besides its channels, as a model folder stores them."""
        options: dict[str, Any] = {
            "ndim": self.ndim,
            "hidden": self.hidden,
            "linear": self.linear,
            "kernel": self.kernel,
            "kernel_state": self.kernel_state,
        }
        extra = {"residual": self.residual, "put_r_back": put_r_back}
        options.update({name: True for name, value in extra.items() if value})
        return options | ({} if self.combine == "mean" else {"combine": self.combine})


def from_torch(path_or_state: PathLike | Mapping[str, Any]) -> MDGRU:
    """The network in a checkpoint of MD-GRU's PyTorch program.

    Args:
      path_or_state: the file ``temp-<step>``, ``final-<step>``, ... (zip or legacy), or the
        state dict itself as arrays, or a dict that holds it under ``"model"``.

    The last DropConnect mask, which the program stores too, is left out.

    Raises:
      CheckpointError: not a checkpoint, tensors that are missing, unknown or do not fit together.
    """
    if isinstance(path_or_state, Mapping):
        where, state = "state", path_or_state
    else:
        where, state = str(path_or_state), torch_file.read(path_or_state)
    if isinstance(state, Mapping) and isinstance(state.get("model"), Mapping):
        state = state["model"]
    if not isinstance(state, Mapping):
        raise CheckpointError(f"{where}: got a {type(state).__name__}; expected a dict of weights")
    return _network(dict(mdgru_names.from_torch(state, where)), where)


def from_tensorflow(
    prefix: PathLike,
    *,
    legacy_cgru_addition: bool = False,
    put_r_back: bool = False,
    resgrux: bool = False,
    resgruh: bool = False,
) -> MDGRU:
    """The network in a checkpoint of MD-GRU's TensorFlow program (all published weights are such).

    Residual blocks (``resmdgru``) and concatenated sweeps (``dontsumcgrus``) show in the shapes;
    the options below do not and must be given if the network was trained with them.

    Args:
      prefix: the checkpoint's name without ``.index``, one of its files, or its folder.
      legacy_cgru_addition: sweeps are added instead of averaged.
      put_r_back: the reset state replaces the state.
      resgrux: the input is added to the gates; it becomes part of their kernels here.
      resgruh: the state is added to the gates, likewise.

    Raises:
      CheckpointError: not a checkpoint, variables that are missing, unknown or do not fit
        together (batch normalisation, several networks in one file).
    """
    stem = tensorflow_file.checkpoint_prefix(prefix)
    variables = tensorflow_file.read(stem, keep=mdgru_names.is_weight)
    return from_tensorflow_variables(
        variables,
        where=str(stem),
        legacy_cgru_addition=legacy_cgru_addition,
        put_r_back=put_r_back,
        resgrux=resgrux,
        resgruh=resgruh,
    )


def from_tensorflow_variables(
    variables: Mapping[str, Any],
    *,
    where: str = "variables",
    legacy_cgru_addition: bool = False,
    put_r_back: bool = False,
    resgrux: bool = False,
    resgruh: bool = False,
) -> MDGRU:
    """`from_tensorflow` of variables that are arrays already, by TensorFlow's names."""
    weights = dict(mdgru_names.from_tensorflow(variables, where))
    network = _network(
        weights,
        where,
        combine="sum" if legacy_cgru_addition else "mean",
        put_r_back=put_r_back,
        identity=(resgrux, resgruh),
    )
    return network


# The architecture, and the network with the weights in it.


def architecture(
    weights: Mapping[Key, np.ndarray], where: str, combine: Literal["mean", "sum"] = "mean"
) -> Architecture:
    """What the shapes of `weights` (keys of this module) say.

    Raises:
      CheckpointError: weights that are missing or do not fit together.
    """
    blocks = 1 + max((key[0] for key in weights), default=-1)
    first = weights.get((0, 0, 0, "filter_x_candidate"))
    if first is None:
        raise CheckpointError(
            f"{where}: no weights of an MD-GRU; expected names such as "
            "model.0.model.0.cgrus.0.0.filter_x_gates or 1/mdgru/dim1/forward/rnn/..."
        )
    ndim = first.ndim - 1
    if ndim not in (2, 3):
        raise CheckpointError(f"{where}: kernels of {ndim - 1} axes; expected 1 or 2")

    def units(block: int) -> int:
        bias = weights.get((block, 0, 0, "bias_x_candidate"))
        if bias is None:
            raise CheckpointError(f"{where}: block {block + 1} has no recurrent weights")
        return len(bias)

    hidden = tuple(units(block) for block in range(blocks))
    linear = tuple(
        weights[block, "bias"].size if (block, "bias") in weights else None
        for block in range(blocks)
    )
    if linear[-1] is None:
        raise CheckpointError(f"{where}: the last block has no linear layer; expected logits")
    inputs = [len(weights[b, "weight"]) if (b, "weight") in weights else 0 for b in range(blocks)]
    concat = any(n == 2 * ndim * units for n, units in zip(inputs, hidden, strict=True))
    return Architecture(
        in_channels=first.shape[-2],
        out_channels=linear[-1],
        ndim=ndim,
        hidden=hidden,
        linear=linear[:-1],
        kernel=_taps(weights, ndim, "filter_x_candidate", where),
        kernel_state=_taps(weights, ndim, "filter_h_candidate", where),
        residual=(blocks - 1, "residual") in weights,
        combine="concat" if concat else combine,
    )


def _taps(weights: Mapping[Key, np.ndarray], ndim: int, name: str, where: str) -> tuple[int, ...]:
    """Kernel size along each image axis; the cell of an axis holds the sizes of the others."""
    found = []
    for axis in range(2):
        kernel = weights.get((0, axis, 0, name))
        if kernel is None:
            raise CheckpointError(f"{where}: no forward weights along axis {axis + 1}")
        found.append(kernel.shape[: ndim - 1])
    taps = (found[1][0], *found[0])
    if any(n % 2 == 0 for n in taps):
        raise CheckpointError(f"{where}: kernels of {taps} taps; expected odd numbers")
    return taps


def _network(
    weights: Mapping[Key, np.ndarray],
    where: str,
    *,
    combine: Literal["mean", "sum"] = "mean",
    put_r_back: bool = False,
    identity: tuple[bool, bool] = (False, False),
) -> MDGRU:
    found = architecture(weights, where, combine)
    options = found.options(put_r_back=put_r_back)
    network = abstract(
        lambda rngs: MDGRU(found.in_channels, found.out_channels, rngs=rngs, **options), where
    )
    left = dict(weights)
    for block, layer in enumerate(network.layers):
        for axis, directions in enumerate(layer.cells):
            for way, cell in enumerate(directions):
                parts = [_pop(left, (block, axis, way, name), where) for name in CELL]
                _fill_cell(cell, parts, identity, f"{where}: block {block + 1}, axis {axis + 1}")
        linear = network.linears[block]
        if linear is not None:
            at = f"{where}: block {block + 1}, linear layer"
            put(linear.kernel, _pop(left, (block, "weight"), where), at)
            put(linear.bias, _pop(left, (block, "bias"), where), at)
        if network.shortcuts:
            value = _pop(left, (block, "residual"), where)
            put(network.shortcuts[block].kernel, value, f"{where}: block {block + 1}, residual")
    if left:
        raise CheckpointError(f"{where}: weights without a place: {_shown(next(iter(left)))}")
    return network


def _fill_cell(
    cell: Any, parts: Sequence[np.ndarray], identity: tuple[bool, bool], where: str
) -> None:
    gates_x, gates_h, gates_bias, candidate_x, candidate_h, candidate_bias = parts
    units = len(candidate_bias)
    if identity[0] and units % gates_x.shape[-2] == 0:  # else MD-GRU skips it too
        gates_x = _with_identity(gates_x)
    if identity[1]:
        gates_h = _with_identity(gates_h)
    for param, pair in (
        (cell.x_kernel, (gates_x, candidate_x)),
        (cell.h_kernel, (gates_h, candidate_h)),
        (cell.bias, (gates_bias, candidate_bias)),
    ):
        if pair[0].shape[:-1] != pair[1].shape[:-1] or pair[0].shape[-1] != 2 * units:
            raise CheckpointError(
                f"{where}: gates {pair[0].shape} and candidate {pair[1].shape} do not fit together"
            )
        put(param, np.concatenate(pair, axis=-1), where)


def _with_identity(kernel: np.ndarray) -> np.ndarray:
    """The kernel whose convolution adds its input, repeated along the outputs, to the result."""
    out = kernel.copy()
    centre = tuple(n // 2 for n in kernel.shape[:-2])
    c_in, c_out = kernel.shape[-2:]
    out[centre] += np.tile(np.eye(c_in, dtype=kernel.dtype), (1, c_out // c_in))
    return out


def _pop(left: dict[Key, np.ndarray], key: Key, where: str) -> np.ndarray:
    if key not in left:
        raise CheckpointError(f"{where}: missing weights: {_shown(key)}")
    return left.pop(key)


def _shown(key: Key) -> str:
    if len(key) == 2:
        return f"block {key[0] + 1}, linear layer, {key[1]}"
    way = ("forward", "backward")[key[2]]
    return f"block {key[0] + 1}, axis {key[1] + 1}, {way}, {key[3]}"
