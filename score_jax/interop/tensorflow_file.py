"""The variables of a TensorFlow checkpoint (Saver V2), as NumPy arrays, without TensorFlow.

``<prefix>.index`` is a table of name -> place, type, shape and checksum of each variable;
``<prefix>.data-00000-of-0000N`` hold the numbers (``tensorflow/core/protobuf/
tensor_bundle.proto``, ``core/util/tensor_bundle``). Only the variables asked for are read.
"""

import math
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

import numpy as np

from score_jax._types import PathLike
from score_jax.errors import CheckpointError
from score_jax.interop.crc32c import crc32c, masked
from score_jax.interop.pickle_machine import printable
from score_jax.interop.sorted_table import entries, varint

MAX_INDEX_BYTES: Final = 256 << 20
_BFLOAT16: Final = 14
_STRING: Final = 7
_TYPES: Final = {  # tensorflow/core/framework/types.proto
    1: "float32", 2: "float64", 3: "int32", 4: "uint8", 5: "int16", 6: "int8", 8: "complex64",
    9: "int64", 10: "bool", _BFLOAT16: "uint16", 17: "uint16", 18: "complex128", 19: "float16",
    22: "uint32", 23: "uint64",
}  # fmt: skip


@final
@dataclass(frozen=True, slots=True)
class _Entry:
    """Where the numbers of one variable are."""

    kind: int = 0
    shape: tuple[int, ...] = ()
    shard: int = 0
    offset: int = 0
    size: int = 0
    crc: int = 0
    sliced: bool = False


def read(
    prefix: PathLike, *, keep: Callable[[str], bool] = lambda name: True
) -> dict[str, np.ndarray]:
    """The variables of a checkpoint, in the order of their names.

    Text variables (the object graph of newer programs) are left out; bfloat16 becomes float32.

    Args:
      prefix: the checkpoint's name without suffix; one of its files, or a folder that holds only
        one checkpoint, is understood as well.
      keep: the names to read.

    Raises:
      CheckpointError: files that are missing, damaged, truncated or in another format.
    """
    stem = checkpoint_prefix(prefix)
    index = Path(f"{stem}.index")
    try:
        if index.stat().st_size > MAX_INDEX_BYTES:
            raise CheckpointError(f"{index}: larger than {MAX_INDEX_BYTES} bytes")
        table = entries(index.read_bytes(), str(index))
    except OSError as reason:
        raise CheckpointError(
            f"{index}: {reason.strerror or reason}",
            hint="give the checkpoint's name without .index, .meta or .data-00000-of-00001",
        ) from None
    try:
        shards = _shards(table.pop("", b""))
        found = {name: _entry(table[name]) for name in sorted(filter(keep, table))}
    except (ValueError, IndexError, struct.error) as reason:
        raise CheckpointError(f"{index}: damaged ({reason})") from None
    return {
        name: _numbers(Path(f"{stem}.data-{entry.shard:05d}-of-{shards:05d}"), name, entry)
        for name, entry in found.items()
        if entry.kind != _STRING
    }


def is_checkpoint(path: PathLike) -> bool:
    """Whether `path` names a TensorFlow checkpoint in one of the ways `read` understands."""
    path = Path(path)
    if path.is_dir():
        return any(path.glob("*.index"))
    stem = checkpoint_prefix(path)
    return Path(f"{stem}.index").is_file()


def checkpoint_prefix(path: PathLike) -> Path:
    """The checkpoint's common name, from that name, one of its files or its folder.

    Raises:
      CheckpointError: a folder that holds none or several.
    """
    path = Path(path)
    if path.is_dir():
        found = sorted(path.glob("*.index"))
        if len(found) != 1:
            raise CheckpointError(
                f"{path}: holds {len(found)} TensorFlow checkpoints; expected one",
                hint="name one of them: " + ", ".join(f.stem for f in found[:5]) if found else "",
            )
        path = found[0]
    name = path.name
    for suffix in (".index", ".meta"):
        name = name.removesuffix(suffix)
    stem, dash, rest = name.rpartition(".data-")
    return path.with_name(stem if dash and "-of-" in rest else name)


def _shards(header: bytes) -> int:
    """Number of data files, from the header entry."""
    fields = dict(_fields(header))
    if fields.get(2, 0) != 0:
        raise ValueError("big-endian numbers")
    shards = fields.get(1, 0)
    if not isinstance(shards, int) or not 1 <= shards <= 99999:
        raise ValueError("no header")
    return shards


def _entry(data: bytes) -> _Entry:
    """A BundleEntryProto."""
    fields = dict(_fields(data))
    shape = tuple(_sizes(_message(fields.get(2, b""))))
    kind, shard, offset, size, crc = (_count(fields.get(key, 0)) for key in (1, 3, 4, 5, 6))
    return _Entry(kind, shape, shard, offset, size, crc, sliced=7 in fields)


def _sizes(shape: bytes) -> Iterator[int]:
    """The sizes in a TensorShapeProto."""
    for number, value in _fields(shape):
        if number == 2:
            yield _count(dict(_fields(_message(value))).get(1, 0))
        elif number == 3 and value:
            raise ValueError("a variable of unknown rank")


def _count(value: int | bytes) -> int:
    if not isinstance(value, int) or value >= 1 << 48:
        raise ValueError("a field that is not a count")
    return value


def _message(value: int | bytes) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError("a field that is not a message")
    return value


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Field numbers and raw values of a protocol buffer message."""
    at = 0
    while at < len(data):
        tag, at = varint(data, at)
        kind = tag & 7
        if kind == 0:
            value, at = varint(data, at)
        elif kind in (1, 5):
            (value,) = struct.unpack_from("<Q" if kind == 1 else "<I", data, at)
            at += 8 if kind == 1 else 4
        elif kind == 2:
            length, at = varint(data, at)
            if at + length > len(data):
                raise ValueError("a field reaches beyond its message")
            value = data[at : at + length]
            at += length
        else:
            raise ValueError(f"a field of wire type {kind}")
        yield tag >> 3, value


def _numbers(shard: Path, name: str, entry: _Entry) -> np.ndarray:
    """One variable from its data file, its size and checksum verified."""
    where = f"{shard}: variable {printable(name)}"
    if entry.sliced:
        raise CheckpointError(f"{where}: stored in slices; expected one piece")
    if entry.kind not in _TYPES or len(entry.shape) > 32:
        raise CheckpointError(
            f"{where}: type {entry.kind} of {len(entry.shape)} axes; expected numbers"
        )
    kind = np.dtype(_TYPES[entry.kind])
    if math.prod(entry.shape) * kind.itemsize != entry.size:
        raise CheckpointError(
            f"{where}: {entry.size} bytes for shape {entry.shape} of {kind}; "
            f"expected {math.prod(entry.shape) * kind.itemsize}"
        )
    try:
        with shard.open("rb") as file:
            if entry.offset + entry.size > file.seek(0, 2):
                raise CheckpointError(f"{where}: the file is too short; it was cut or exchanged")
            file.seek(entry.offset)
            data = file.read(entry.size)
    except OSError as reason:
        raise CheckpointError(f"{where}: {reason.strerror or reason}") from None
    if masked(crc32c(data)) != entry.crc:
        raise CheckpointError(f"{where}: damaged (checksum); copy the checkpoint again")
    values = np.frombuffer(data, kind).reshape(entry.shape)
    if entry.kind == _BFLOAT16:
        return (values.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return values
