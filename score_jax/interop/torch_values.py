"""The names a torch checkpoint may use, each with a harmless function of ours behind it.

What torch calls to rebuild its values (``torch/_utils.py``, ``torch/serialization.py``) and what
NumPy calls to rebuild its own; none of them imports, opens or runs anything.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np

from score_jax.interop.pickle_machine import RefusedError, Shell, Symbol, check_key, shown

MAX_EXPANDED: Final = 1 << 20  # elements of a tensor that repeats its storage (stride 0)

# bfloat16 has no NumPy type: it is read as 16-bit integers and widened to float32, which is exact.
BFLOAT16: Final = "bfloat16"
_STORAGES: Final[dict[str, str]] = {
    "FloatStorage": "float32", "DoubleStorage": "float64", "HalfStorage": "float16",
    "BFloat16Storage": BFLOAT16, "LongStorage": "int64", "IntStorage": "int32",
    "ShortStorage": "int16", "CharStorage": "int8", "ByteStorage": "uint8", "BoolStorage": "bool",
    "ComplexFloatStorage": "complex64", "ComplexDoubleStorage": "complex128",
    "UntypedStorage": "uint8",
}  # fmt: skip
_DTYPES: Final[dict[str, str]] = {
    "float32": "float32", "float": "float32", "float64": "float64", "double": "float64",
    "float16": "float16", "half": "float16", "bfloat16": BFLOAT16, "int64": "int64",
    "long": "int64", "int32": "int32", "int": "int32", "int16": "int16", "short": "int16",
    "int8": "int8", "uint8": "uint8", "uint16": "uint16", "uint32": "uint32", "uint64": "uint64",
    "bool": "bool", "complex64": "complex64", "complex128": "complex128",
}  # fmt: skip


@final
@dataclass(frozen=True, slots=True)
class Storage:
    """A reference to the bytes of a tensor, not read yet.

    Args:
      key: its name in the file.
      dtype: a NumPy type, or `BFLOAT16`.
      count: elements of that type.
    """

    key: str
    dtype: str
    count: int

    @property
    def item_bytes(self) -> int:
        return 2 if self.dtype == BFLOAT16 else np.dtype(self.dtype).itemsize

    @property
    def nbytes(self) -> int:
        return self.count * self.item_bytes


@final
@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor as a view of a storage: `offset` and `strides` count elements of `dtype`."""

    storage: Storage
    dtype: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def view(self, data: np.ndarray[Any, np.dtype[np.uint8]], *, swap: bool) -> np.ndarray:
        """The array, read-only, over the storage's bytes `data` (`swap`: big-endian ones)."""
        kind = np.dtype("uint16" if self.dtype == BFLOAT16 else self.dtype)
        values = data.view(kind.newbyteorder(">") if swap else kind)
        steps = tuple(step * kind.itemsize for step in self.strides)
        window = values[self.offset :] if 0 not in self.shape else values[:0]
        shaped = np.lib.stride_tricks.as_strided(window, self.shape, steps, writeable=False)
        if self.dtype == BFLOAT16:
            return (shaped.astype(np.uint32) << np.uint32(16)).view(np.float32)
        return shaped.astype(kind) if swap else shaped


def storage_from_id(identity: Any) -> Storage:
    """The storage that torch's persistent id ``('storage', type, key, place, count)`` names."""
    if type(identity) is not tuple or len(identity) not in (5, 6) or identity[0] != "storage":
        raise RefusedError("a reference to something that is not a storage of numbers")
    _, kind, key, _, count = identity[:5]
    if len(identity) == 6 and identity[5] is not None:
        raise RefusedError("a storage that is a view of another (torch before 0.4)")
    if not isinstance(kind, Symbol) or not isinstance(kind.value, str) or kind.make is not None:
        raise RefusedError("a storage without a type of numbers")
    if not isinstance(key, str) or len(key) > 128:
        raise RefusedError("a storage whose name is not a short text")
    return Storage(key, kind.value, _whole(count, "elements of a storage"))


def _whole(value: Any, what: str) -> int:
    if type(value) is not int or not 0 <= value < 1 << 48:
        raise RefusedError(f"{what}: got {shown(value)}; expected a count")
    return value


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, dtype: str) -> StoredTensor:
    if not isinstance(storage, Storage):
        raise RefusedError("a tensor without a storage")
    if type(shape) is not tuple or type(strides) is not tuple or len(shape) != len(strides):
        raise RefusedError("a tensor whose shape and strides disagree")
    if len(shape) > 32:
        raise RefusedError(f"a tensor of {len(shape)} axes; at most 32 are read")
    sizes = tuple(_whole(size, "size of an axis") for size in shape)
    steps = tuple(_whole(step, "stride of an axis") for step in strides)
    start = _whole(offset, "offset of a tensor")
    width = 2 if dtype == BFLOAT16 else np.dtype(dtype).itemsize
    held, odd = divmod(storage.nbytes, width)
    if odd:
        raise RefusedError(f"storage {storage.key!r} is no whole number of {dtype}")
    count, last = 1, start
    for size, step in zip(sizes, steps, strict=True):
        count *= size
        last += (size - 1) * step
    if count and last >= held:
        raise RefusedError(f"a tensor reaches element {last} of {held} in storage {storage.key!r}")
    if count > max(held, MAX_EXPANDED):
        raise RefusedError(f"a tensor of {count} elements over a storage of {held}")
    return StoredTensor(storage, dtype, start, sizes, steps)


def _rebuild_tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> StoredTensor:
    dtype = storage.dtype if isinstance(storage, Storage) else ""
    return _tensor(storage, offset, shape, strides, dtype)


def _rebuild_tensor_v3(
    storage: Any,
    offset: Any,
    shape: Any,
    strides: Any,
    _grad: Any,
    _hooks: Any,
    dtype: Any,
    *_: Any,
) -> StoredTensor:
    if not isinstance(dtype, Symbol) or not isinstance(dtype.value, str):
        raise RefusedError("a tensor without a type of numbers")
    return _tensor(storage, offset, shape, strides, dtype.value)


def _rebuild_parameter(data: Any, *_: Any) -> Any:
    return data


def _rebuild_from_type(function: Any, _kind: Any, arguments: Any, _state: Any) -> StoredTensor:
    make = function.make if isinstance(function, Symbol) else None
    if make is None or make not in (_rebuild_tensor, _rebuild_tensor_v3):
        raise RefusedError("a tensor of a type that is not torch's own")
    return make(*arguments)


def _device(kind: Any = "cpu", index: Any = None) -> str:
    if not isinstance(kind, str) or not isinstance(index, int | None):
        raise RefusedError("a device that is not a name and a number")
    return kind if index is None else f"{kind}:{index}"


def _ordered_dict(pairs: Any = ()) -> dict[Any, Any]:
    if not isinstance(pairs, list | tuple):
        raise RefusedError("an OrderedDict that is not made of pairs")
    return {check_key(key): value for key, value in pairs}


def _set(values: Any = ()) -> set[Any]:
    if not isinstance(values, list | tuple):
        raise RefusedError("a set that is not made of a list")
    return {check_key(value) for value in values}


def _frozen_set(values: Any = ()) -> frozenset[Any]:
    return frozenset(_set(values))


def _size(values: Any = ()) -> tuple[Any, ...]:
    if type(values) is not tuple:
        raise RefusedError("a size that is not a tuple")
    return values


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise RefusedError("a text encoding other than latin1")
    return text.encode("latin-1")


# NumPy's values: a type (completed by BUILD), a scalar, an array (completed by BUILD).


def _numpy_dtype(code: Any, *_: Any) -> Shell:
    if not isinstance(code, str) or not re.fullmatch(r"[<>|=]?([biufc]\d{1,2}|[SU]\d{1,4})", code):
        raise RefusedError(f"the NumPy type {shown(code)}")

    def order(state: Any) -> np.dtype[Any]:
        mark = state[1] if type(state) is tuple and len(state) >= 2 else None
        if mark not in ("<", ">", "|", "=") or any(part is not None for part in state[2:5]):
            raise RefusedError(f"a NumPy type with the byte order {shown(mark)} or with fields")
        return np.dtype(code).newbyteorder(mark)

    return Shell(order, np.dtype(code))


def _numpy_scalar(kind: Any, data: Any = None) -> Any:
    if not isinstance(kind, Shell) or not isinstance(kind.value, np.dtype):
        raise RefusedError("a NumPy number without a type")
    raw = data.encode("latin-1") if isinstance(data, str) else data
    if not isinstance(raw, bytes) or len(raw) != kind.value.itemsize:
        raise RefusedError("a NumPy number of another size than its type")
    return np.frombuffer(raw, kind.value)[0].item()


def _numpy_array(*_: Any) -> Shell:
    def fill(state: Any) -> np.ndarray:
        _, shape, kind, fortran, data = state
        return _plain_array(data, kind, shape, fortran=bool(fortran))

    return Shell(fill)


def _numpy_buffer(data: Any, kind: Any, shape: Any, order: Any) -> np.ndarray:
    return _plain_array(data, kind, shape, fortran=order == "F")


def _plain_array(data: Any, kind: Any, shape: Any, *, fortran: bool) -> np.ndarray:
    raw = data.encode("latin-1") if isinstance(data, str) else data
    if not isinstance(kind, Shell) or not isinstance(kind.value, np.dtype):
        raise RefusedError("a NumPy array without a type")
    if not isinstance(raw, bytes) or type(shape) is not tuple or len(shape) > 32:
        raise RefusedError("a NumPy array that is not plain numbers")
    sizes = tuple(_whole(size, "size of an axis") for size in shape)
    return np.frombuffer(raw, kind.value).reshape(sizes, order="F" if fortran else "C")


def _symbols() -> dict[str, Symbol]:
    calls = {
        "torch._utils._rebuild_tensor": _rebuild_tensor,
        "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
        "torch._utils._rebuild_tensor_v3": _rebuild_tensor_v3,
        "torch._utils._rebuild_parameter": _rebuild_parameter,
        "torch._utils._rebuild_parameter_with_state": _rebuild_parameter,
        "torch._tensor._rebuild_from_type_v2": _rebuild_from_type,
        "torch.device": _device,
        "torch.Size": _size,
        "collections.OrderedDict": _ordered_dict,
        "builtins.set": _set,
        "__builtin__.set": _set,
        "builtins.frozenset": _frozen_set,
        "_codecs.encode": _encode,
        "numpy.dtype": _numpy_dtype,
    }
    for package in ("numpy.core", "numpy._core"):
        calls[f"{package}.multiarray.scalar"] = _numpy_scalar
        calls[f"{package}.multiarray._reconstruct"] = _numpy_array
        calls[f"{package}.numeric._frombuffer"] = _numpy_buffer
    named = {name: Symbol(name, make) for name, make in calls.items()}
    values: Mapping[str, str | None] = {
        **{f"torch.{name}": kind for name, kind in _STORAGES.items()},
        **{f"torch.cuda.{name}": kind for name, kind in _STORAGES.items()},
        **{f"torch.storage.{name}": kind for name, kind in _STORAGES.items()},
        **{f"torch.{name}": kind for name, kind in _DTYPES.items()},
        **dict.fromkeys(("torch.Tensor", "torch.nn.parameter.Parameter", "numpy.ndarray")),
    }
    named.update({name: Symbol(name, value=kind) for name, kind in values.items()})
    return named


SYMBOLS: Final[Mapping[str, Symbol]] = _symbols()
