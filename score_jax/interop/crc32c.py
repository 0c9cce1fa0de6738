"""CRC-32C (Castagnoli, RFC 3720 appendix B.4) of large buffers, with NumPy only.

The remainder is linear over GF(2), so a buffer is cut into equal pieces, the pieces advance
together (one table look-up a byte for all of them), and the remainders are joined by the linear
map that appends a piece's length of zeros.
"""

from functools import cache
from typing import Final

import numpy as np

_POLYNOMIAL: Final = 0x82F63B78  # reflected
_PIECE: Final = 4096
_MASK_DELTA: Final = 0xA282EAD8


@cache
def _table() -> np.ndarray:
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = (table >> np.uint32(1)) ^ np.where(table & 1, np.uint32(_POLYNOMIAL), np.uint32(0))
    return table


@cache
def _append_zeros() -> np.ndarray:
    """[byte, value] -> the remainder after a piece of zeros, for each byte of a remainder."""
    states = np.uint32(1) << np.arange(32, dtype=np.uint32)
    for _ in range(_PIECE):
        states = _table()[states & 0xFF] ^ (states >> np.uint32(8))
    maps = np.zeros((4, 256), np.uint32)
    for byte in range(4):
        for bit in range(8):
            has = (np.arange(256) >> bit & 1).astype(bool)
            maps[byte, has] ^= states[8 * byte + bit]
    return maps


def _advance(remainder: int, data: bytes) -> int:
    table = _table().tolist()
    for byte in data:
        remainder = table[(remainder ^ byte) & 0xFF] ^ (remainder >> 8)
    return remainder


def crc32c(data: bytes | memoryview) -> int:
    """The CRC-32C of `data`; of no bytes it is 0."""
    buffer = np.frombuffer(data, np.uint8)
    pieces = len(buffer) // _PIECE
    table = _table()
    heads = np.zeros(pieces, np.uint32)
    if pieces:
        columns = np.ascontiguousarray(buffer[: pieces * _PIECE].reshape(pieces, _PIECE).T)
        for column in columns:
            heads = table[(heads ^ column) & 0xFF] ^ (heads >> np.uint32(8))
    maps = _append_zeros().tolist() if pieces else []
    remainder = 0xFFFFFFFF
    for head in heads.tolist():
        r = remainder
        remainder = (
            maps[0][r & 255] ^ maps[1][r >> 8 & 255] ^ maps[2][r >> 16 & 255] ^ maps[3][r >> 24]
        ) ^ head
    return _advance(remainder, bytes(buffer[pieces * _PIECE :])) ^ 0xFFFFFFFF


def masked(crc: int) -> int:
    """A CRC as TensorFlow and LevelDB store it: rotated by 15 bits plus a constant."""
    return ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFFFFFF
