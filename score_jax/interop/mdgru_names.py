"""The tensors of MD-GRU's two programs by one kind of key, in one layout.

PyTorch stores filters ``(out, in, *taps)`` under names such as
``model.0.model.0.cgrus.1.0.filter_x_gates``, TensorFlow ``(*taps, in, out)`` under
``default/1/mdgru/dim2/forward/rnn/CGRUCell/Gates/ConvLinear/FilterInp`` (MD-GRU at 791ee4f).
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np

from score_jax.errors import CheckpointError
from score_jax.interop.pickle_machine import printable

_TORCH: Final = re.compile(
    r"(?P<root>(?:.*\.)?)model\.(?P<block>\d{1,3})\.model\.(?:"
    r"0\.cgrus\.(?P<axis>\d)\.(?P<way>[01])\.(?P<cell>filter_[xh]_(?:gates|candidate)|"
    r"bias_x_(?:gates|candidate)|dropconnect_[xh]_(?:gates|candidate))"
    r"|1\.(?P<linear>weight|bias))"
)
_TENSORFLOW: Final = re.compile(
    r"(?P<root>(?:.*/)?)(?P<block>\d{1,3})/(?:"
    r"mdgru/dim(?P<axis>\d)/(?P<way>forward|backward)/rnn/CGRUCell/"
    r"(?P<cell>(?:Gates|Candidate)/(?:Bias|ConvLinear/FilterInp|ConvLinear/FilterStat))"
    r"|(?P<linear>W|b|resW))"
)
_TENSORFLOW_CELL: Final = {
    "Gates/ConvLinear/FilterInp": "filter_x_gates",
    "Gates/ConvLinear/FilterStat": "filter_h_gates",
    "Gates/Bias": "bias_x_gates",
    "Candidate/ConvLinear/FilterInp": "filter_x_candidate",
    "Candidate/ConvLinear/FilterStat": "filter_h_candidate",
    "Candidate/Bias": "bias_x_candidate",
}
_TENSORFLOW_LINEAR: Final = {"W": "weight", "b": "bias", "resW": "residual"}
CELL: Final = tuple(_TENSORFLOW_CELL.values())

# (block, axis, 0 forward or 1 backward, name) or (block, name) -> array in our layout
Key = tuple[int, int, int, str] | tuple[int, str]


def is_weight(name: str) -> bool:
    """Whether a variable is a weight; the optimiser's are not read at all."""
    return not re.search(r"/Adadelta(_\d+)?$|(^|/)global_step$", name)


def from_torch(state: Mapping[str, Any], where: str) -> Iterator[tuple[Key, np.ndarray]]:
    """Keys and arrays of a PyTorch state dict; DropConnect's last mask is left out.

    Raises:
      CheckpointError: an unknown name, several networks, or values that are not floats.
    """
    root = None
    for name, value in state.items():
        found = _TORCH.fullmatch(str(name))
        if found is None:
            raise _unknown(where, str(name))
        root = _one_root(where, root, found["root"])
        array = _floats(value, where, name)
        if found["cell"] is None:
            if found["linear"] == "weight":
                array = _matrix(array, (1, 0), where, name)
            yield (int(found["block"]), found["linear"]), array
        elif not found["cell"].startswith("dropconnect"):
            if array.ndim > 1:
                array = np.moveaxis(array, (0, 1), (-1, -2))
            yield (int(found["block"]), int(found["axis"]), int(found["way"]), found["cell"]), array


def from_tensorflow(variables: Mapping[str, Any], where: str) -> Iterator[tuple[Key, np.ndarray]]:
    """Keys and arrays of TensorFlow variables.

    Raises:
      CheckpointError: as `from_torch`.
    """
    root = None
    for name, value in variables.items():
        if not is_weight(name):
            continue
        found = _TENSORFLOW.fullmatch(name)
        if found is None:
            raise _unknown(where, name)
        root = _one_root(where, root, found["root"])
        array, block = _floats(value, where, name), int(found["block"]) - 1
        if found["cell"] is None:
            if found["linear"] != "b":
                array = _matrix(array, (0, 1), where, name)
            yield (block, _TENSORFLOW_LINEAR[found["linear"]]), array
        else:
            way = int(found["way"] == "backward")
            yield (block, int(found["axis"]) - 1, way, _TENSORFLOW_CELL[found["cell"]]), array


def _unknown(where: str, name: str) -> CheckpointError:
    hint = "batch normalisation (add_x_bn, add_h_bn, add_a_bn) is not supported"
    return CheckpointError(
        f"{where}: unknown tensor {printable(name)}; expected the weights of an MD-GRU",
        hint=hint if re.search("bn|norm|moving|scale", name, re.IGNORECASE) else "",
    )


def _one_root(where: str, root: str | None, found: str) -> str:
    if root not in (None, found):
        raise CheckpointError(
            f"{where}: networks under {printable(root or '')!r} and {printable(found)!r}; "
            "expected one"
        )
    return found


def _floats(value: Any, where: str, name: Any) -> np.ndarray:
    array = np.asarray(value)
    if array.dtype.kind != "f":
        raise CheckpointError(
            f"{where}: {printable(str(name))}: got {array.dtype}; expected floats"
        )
    return array.astype(np.float32, copy=False)


def _matrix(array: np.ndarray, axes: tuple[int, int], where: str, name: Any) -> np.ndarray:
    """The weights of a voxel-wise layer as (in, out), without its axes of one tap."""
    # torch: (out, in, 1, ...); TensorFlow: (1, ..., in, out)
    used = array.shape[:2] if axes == (1, 0) else array.shape[-2:]
    if array.ndim < 2 or array.size != used[0] * used[1]:
        raise CheckpointError(
            f"{where}: {printable(str(name))}: got shape {array.shape}; expected one tap"
        )
    return array.reshape(used).transpose(axes)
