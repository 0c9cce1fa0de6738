"""Writes torch checkpoints without torch, opcode by opcode, for the tests."""

import struct
import zipfile

import numpy as np

_KINDS = {"float32": "FloatStorage", "float64": "DoubleStorage", "int64": "LongStorage"}


def write(path, value):
    """`value` (dicts, lists, tuples, text, numbers, arrays) as ``torch.save`` would write it."""
    storages = []
    stream = b"\x80\x02" + _encode(value, storages) + b"."
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("m/data.pkl", stream)
        archive.writestr("m/version", b"3\n")
        for number, data in enumerate(storages):
            archive.writestr(f"m/data/{number}", data)
    return path


def _encode(value, storages):
    if value is None:
        return b"N"
    if isinstance(value, bool):
        return b"\x88" if value else b"\x89"
    if isinstance(value, int):
        return b"\x8a\x08" + struct.pack("<q", value)
    if isinstance(value, float):
        return b"G" + struct.pack(">d", value)
    if isinstance(value, str):
        data = value.encode()
        return b"X" + struct.pack("<I", len(data)) + data
    if isinstance(value, dict):
        pairs = (_encode(k, storages) + _encode(v, storages) for k, v in value.items())
        return b"}(" + b"".join(pairs) + b"u"
    if isinstance(value, list | tuple):
        items = b"(" + b"".join(_encode(v, storages) for v in value)
        return items + b"t" if isinstance(value, tuple) else b"]" + items + b"e"
    return _tensor(np.asarray(value), storages)


def _tensor(array, storages):
    storages.append(np.ascontiguousarray(array).tobytes())
    strides = tuple(step // array.itemsize for step in np.ascontiguousarray(array).strides)
    storage = b"(" + _encode("storage", storages) + b"ctorch\n"
    storage += _KINDS[str(array.dtype)].encode() + b"\n"
    storage += _encode(str(len(storages) - 1), storages) + _encode("cpu", storages)
    storage += _encode(array.size, storages) + b"tQ"
    shape = _encode(array.shape, storages) + _encode(strides, storages)
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K\x00" + shape + b"\x89}tR"
