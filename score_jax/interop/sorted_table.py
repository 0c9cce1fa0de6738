"""Entries of a LevelDB-like table, the format of TensorFlow's ``.index`` files.

Layout: LevelDB ``doc/table_format.md`` and TensorFlow ``core/lib/io/format.h``: blocks of entries
whose keys share prefixes, each block with its compression and checksum, an index block of their
places, and a footer of 48 bytes.
"""

import struct
from typing import Final

from score_jax.errors import CheckpointError
from score_jax.interop.crc32c import crc32c, masked

_MAGIC: Final = 0xDB4775248B80FB57
_FOOTER: Final = 48
MAX_BLOCK_BYTES: Final = 64 << 20


def entries(data: bytes, where: str) -> dict[str, bytes]:
    """All keys and values of the table in the file content `data`.

    Raises:
      CheckpointError: not a table, truncated, or a checksum that does not fit.
    """
    try:
        return _entries(data)
    except (ValueError, IndexError, struct.error) as reason:
        raise CheckpointError(
            f"{where}: damaged ({reason}); expected the .index file of a TensorFlow checkpoint"
        ) from None


def _entries(data: bytes) -> dict[str, bytes]:
    if len(data) < _FOOTER or struct.unpack("<Q", data[-8:])[0] != _MAGIC:
        raise ValueError("it does not end like a table")
    footer = data[-_FOOTER:]
    _, at = _handle(footer, 0)
    index, _ = _handle(footer, at)
    found: dict[str, bytes] = {}
    budget = 4 * MAX_BLOCK_BYTES
    for _, place in _block(data, index):
        block = _block(data, _handle(place, 0)[0])
        budget -= sum(len(key) + len(value) for key, value in block)
        if budget < 0:
            raise ValueError("more entries than a checkpoint of weights has")
        found.update((key.decode("utf-8"), value) for key, value in block)
    return found


def _handle(data: bytes, at: int) -> tuple[tuple[int, int], int]:
    start, at = varint(data, at)
    size, at = varint(data, at)
    return (start, size), at


def varint(data: bytes, at: int) -> tuple[int, int]:
    """A little-endian base-128 number of at most 64 bits at `at`, and the position after it."""
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            if value >= 1 << 64:
                break
            return value, at
    raise ValueError("a number of more than 64 bits")


def _block(data: bytes, handle: tuple[int, int]) -> list[tuple[bytes, bytes]]:
    start, size = handle
    if start + size + 5 > len(data):
        raise ValueError("a block reaches beyond the file")
    kind = data[start + size]
    (stored,) = struct.unpack_from("<I", data, start + size + 1)
    if stored != masked(crc32c(data[start : start + size + 1])):
        raise ValueError(f"checksum of the block at byte {start}")
    content = data[start : start + size]
    if kind not in (0, 1):
        raise ValueError(f"compression {kind}")
    return _pairs(unsnappy(content) if kind == 1 else content)


def _pairs(content: bytes) -> list[tuple[bytes, bytes]]:
    (restarts,) = struct.unpack_from("<I", content, len(content) - 4)
    end = len(content) - 4 - 4 * restarts
    if end < 0:
        raise ValueError("a block without room for its restarts")
    pairs: list[tuple[bytes, bytes]] = []
    key, at, budget = b"", 0, 16 * len(content) + 4096
    while at < end:
        shared, at = varint(content, at)
        fresh, at = varint(content, at)
        length, at = varint(content, at)
        if shared > len(key) or at + fresh + length > end:
            raise ValueError("an entry reaches beyond its block")
        key = key[:shared] + content[at : at + fresh]
        budget -= len(key)
        if budget < 0:
            raise ValueError("keys that grow beyond their block")
        pairs.append((key, content[at + fresh : at + fresh + length]))
        at += fresh + length
    return pairs


def unsnappy(data: bytes) -> bytes:
    """A Snappy block decompressed (google/snappy ``format_description.txt``)."""
    size, at = varint(data, 0)
    if size > MAX_BLOCK_BYTES:
        raise ValueError(f"a block of {size} bytes")
    out = bytearray()
    while at < len(data):
        tag = data[at]
        at += 1
        if tag & 3 == 0:
            length = tag >> 2
            if length >= 60:
                extra = length - 59
                length = int.from_bytes(data[at : at + extra], "little")
                at += extra
            length += 1
            if at + length > len(data):
                raise ValueError("a literal reaches beyond its block")
            out += data[at : at + length]
            at += length
        else:
            length, offset, at = _copy(data, tag, at)
            if not 0 < offset <= len(out):
                raise ValueError("a copy from before its block")
            for start in range(0, length, offset):
                chunk = min(offset, length - start)
                out += out[-offset : len(out) - offset + chunk]
        if len(out) > size:
            break
    if len(out) != size:
        raise ValueError(f"a block of {len(out)} bytes instead of {size}")
    return bytes(out)


def _copy(data: bytes, tag: int, at: int) -> tuple[int, int, int]:
    """Length and offset of a Snappy back reference, and the position after it."""
    if tag & 3 == 1:
        return (tag >> 2 & 7) + 4, (tag >> 5) << 8 | data[at], at + 1
    width = 2 if tag & 3 == 2 else 4
    if at + width > len(data):
        raise ValueError("a copy reaches beyond its block")
    return (tag >> 2) + 1, int.from_bytes(data[at : at + width], "little"), at + width
