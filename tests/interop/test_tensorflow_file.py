"""TensorFlow checkpoints: the variables TensorFlow wrote, their checksums, and refusals."""

import shutil
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from score_jax.errors import CheckpointError
from score_jax.interop import tensorflow_file
from score_jax.interop.crc32c import crc32c, masked
from score_jax.interop.sorted_table import entries, unsnappy

# A small writer of the same format, for cases TensorFlow's own files do not show.


def varint(value):
    out = b""
    while value >= 128:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def field(number, value):
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    return varint(number << 3) + varint(value)


def entry(kind, shape, data, *, offset=0, shard=0, crc=None, size=None, more=b""):
    dims = b"".join(field(2, field(1, n)) for n in shape)
    crc = masked(crc32c(data)) if crc is None else crc
    size = len(data) if size is None else size
    return (
        field(1, kind) + field(2, dims) + field(3, shard) + field(4, offset) + field(5, size)
        + varint(6 << 3 | 5) + struct.pack("<I", crc) + more
    )  # fmt: skip


def block(pairs, pack=None):
    out, last = b"", b""
    for key, value in pairs:
        shared = 0
        while shared < min(len(key), len(last)) and key[shared] == last[shared]:
            shared += 1
        out += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:]
        out += value
        last = key
    out += struct.pack("<II", 0, 1)
    kind = b"\x00"
    if pack:
        out, kind = pack(out), b"\x01"
    return out + kind + struct.pack("<I", masked(crc32c(out + kind)))


def table(pairs, pack=None):
    first = block(pairs, pack)
    meta = block([])
    index = block([(b"z", varint(0) + varint(len(first) - 5))])
    footer = varint(len(first)) + varint(len(meta) - 5)
    footer += varint(len(first) + len(meta)) + varint(len(index) - 5)
    return first + meta + index + footer.ljust(40, b"\x00") + struct.pack("<Q", 0xDB4775248B80FB57)


HEADER = (b"", field(1, 1) + field(3, field(1, 1)))


def write(tmp_path, pairs, data=b"", header=HEADER, pack=None):
    (tmp_path / "m.index").write_bytes(table([header, *pairs], pack))
    (tmp_path / "m.data-00000-of-00001").write_bytes(data)
    return tmp_path / "m"


def refuse(prefix, match):
    with pytest.raises(CheckpointError, match=match) as caught:
        tensorflow_file.read(prefix)
    assert "\n" not in str(caught.value)


def crc_by_the_bit(data):
    """The definition, one bit at a time."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def test_crc_of_the_standard():
    """RFC 3720 B.4 and the check value of the catalogue."""
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E
    assert crc32c(b"") == 0
    assert masked(crc32c(b"foo")) != crc32c(b"foo")


@pytest.mark.parametrize("size", [1, 4095, 4096, 4097, 12288, 20011])
def test_crc_of_long_buffers(rng, size):
    data = rng.bytes(size)
    assert crc32c(data) == crc_by_the_bit(data)
    assert crc32c(data) != zlib.crc32(data)


@pytest.mark.parametrize("which", ["2d", "3d"])
def test_checkpoints_of_the_reference(fixtures, which):
    folder = fixtures / "mdgru" / f"tfckpt_{which}"
    everything = tensorflow_file.read(folder / "temp-2")
    assert everything["default/global_step"].item() == 2
    with np.load(fixtures / "mdgru" / f"tfckpt_{which}_expected.npz") as expected:
        names = [key[2:] for key in expected.files if key.startswith("w/")]
        assert names
        for name in names:
            np.testing.assert_array_equal(everything[name], expected["w/" + name])
        kept = tensorflow_file.read(folder, keep=set(names).__contains__)
    assert list(kept) == sorted(names)


@pytest.mark.parametrize(
    "name", ["temp-2", "temp-2.index", "temp-2.meta", "temp-2.data-00000-of-00001", ""]
)
def test_every_way_to_name_a_checkpoint(fixtures, name):
    folder = fixtures / "mdgru" / "tfckpt_2d"
    assert tensorflow_file.checkpoint_prefix(folder / name) == folder / "temp-2"


def test_a_damaged_byte_is_noticed_and_only_where_it_is_read(fixtures, tmp_path):
    for path in (fixtures / "mdgru" / "tfckpt_2d").iterdir():
        shutil.copy(path, tmp_path)
    data = tmp_path / "temp-2.data-00000-of-00001"
    content = bytearray(data.read_bytes())
    content[5] ^= 1
    data.write_bytes(content)
    refuse(tmp_path, r"variable default/1/W: damaged \(checksum\)")
    assert tensorflow_file.read(tmp_path, keep=lambda name: name == "default/1/b")
    data.write_bytes(content[:50])
    refuse(tmp_path, "too short")
    data.unlink()
    refuse(tmp_path, r"data-00000-of-00001: variable default/1/W: No such file")


def test_types_text_and_widening(tmp_path):
    values = {
        b"a_double": (2, np.array([0.1, -2.0])),
        b"b_half": (19, np.array([[1.5], [2.5]], np.float16)),
        b"c_bool": (10, np.array([True, False])),
        b"d_scalar": (9, np.array(-3)),
    }
    data, pairs = b"", []
    for name, (kind, value) in values.items():
        pairs.append((name, entry(kind, value.shape, value.tobytes(), offset=len(data))))
        data += value.tobytes()
    brain = np.array([1.0, -3.5], np.float32)
    halves = (brain.view(np.uint32) >> 16).astype("<u2").tobytes()
    pairs.append((b"e_bfloat16", entry(14, (2,), halves, offset=len(data))))
    data += halves
    pairs.append((b"f_text", entry(7, (), b"graph", offset=len(data))))
    data += b"graph"
    found = tensorflow_file.read(write(tmp_path, pairs, data))
    assert list(found) == ["a_double", "b_half", "c_bool", "d_scalar", "e_bfloat16"]
    for name, (_, value) in values.items():
        np.testing.assert_array_equal(found[name.decode()], value)
        assert found[name.decode()].dtype == value.dtype
    np.testing.assert_array_equal(found["e_bfloat16"], brain)


NUMBERS = np.arange(4, dtype="<f4").tobytes()


@pytest.mark.parametrize(
    ("bad", "match"),
    [
        (entry(1, (5,), NUMBERS), r"16 bytes for shape \(5,\) of float32; expected 20"),
        (entry(1, (1 << 40,), NUMBERS), "expected 4398046511104"),
        (entry(1, (1 << 40,), NUMBERS, size=1 << 42), "too short"),
        (entry(1, (1 << 60,), NUMBERS), "not a count"),
        (entry(1, (4,), NUMBERS, offset=1 << 40), "too short"),
        (entry(1, (4,), NUMBERS, crc=1), "checksum"),
        (entry(1, (4,), NUMBERS, shard=3), "data-00003-of-00001"),
        (entry(1, (4,), NUMBERS, more=field(7, b"")), "stored in slices"),
        (entry(20, (4,), NUMBERS), "type 20 of 1 axes"),
        (entry(1, (1,) * 40, NUMBERS[:4]), "of 40 axes"),
        (field(1, b"x"), "not a count"),
        (field(2, 5), "not a message"),
        (field(2, field(3, 1)), "unknown rank"),
        (b"\x08", "damaged"),
        (b"\x0b", "wire type 3"),
        (field(2, b"abc")[:-1], "beyond its message"),
        (b"\x08" + b"\xff" * 11, "more than 64 bits"),
    ],
)
def test_entries_that_are_not_what_tensorflow_writes(tmp_path, bad, match):
    refuse(write(tmp_path, [(b"w", bad)], NUMBERS), match)


@pytest.mark.parametrize(
    ("header", "match"),
    [
        ((b"", field(1, 1) + field(2, 1)), "big-endian"),
        ((b"", b""), "no header"),
        ((b"", field(1, 1 << 40)), "no header"),
        ((b"w", b""), "no header"),
    ],
)
def test_headers_that_are_not_what_tensorflow_writes(tmp_path, header, match):
    refuse(write(tmp_path, [], header=header), match)


def test_files_that_are_missing_or_not_tables(tmp_path):
    refuse(tmp_path, "holds 0 TensorFlow checkpoints")
    refuse(tmp_path / "m", r"m\.index: No such file")
    (tmp_path / "m.index").write_bytes(b"hello")
    refuse(tmp_path / "m", "does not end like a table")
    (tmp_path / "n.index").write_bytes(b"")
    refuse(tmp_path, r"holds 2 TensorFlow checkpoints.*m, n")
    good = bytearray(table([HEADER]))
    good[0] ^= 1
    (tmp_path / "m.index").write_bytes(good)
    refuse(tmp_path / "m", "checksum of the block at byte 0")
    far = varint(0) + varint(0) + varint(1 << 40) + varint(9)
    (tmp_path / "m.index").write_bytes(far.ljust(40, b"\x00") + good[-8:])
    refuse(tmp_path / "m", "beyond the file")


def literal(data):
    """Snappy without compression: the whole as one literal."""
    return varint(len(data)) + b"\xf4" + struct.pack("<H", len(data) - 1) + data


def test_snappy_blocks(tmp_path):
    prefix = write(tmp_path, [(b"w", entry(1, (4,), NUMBERS))], NUMBERS, pack=literal)
    np.testing.assert_array_equal(tensorflow_file.read(prefix)["w"], [0, 1, 2, 3])


@pytest.mark.parametrize(
    ("packed", "plain"),
    [
        (b"\x00", b""),
        (b"\x05\x10hello", b"hello"),
        (b"\x09\x08abc\x09\x03", b"abcabcabc"),  # 1-byte offset: tag 0b010_01, length 4+2
        (b"\x07\x04ab\x12\x02\x00", b"abababa"),  # 2-byte offset, a copy that overlaps itself
        (b"\x07\x04ab\x13\x02\x00\x00\x00", b"abababa"),  # 4-byte offset
        (b"\x3d\xf0\x3c" + b"x" * 61, b"x" * 61),  # a literal with its length in a byte
    ],
)
def test_snappy_by_hand(packed, plain):
    assert unsnappy(packed) == plain


@pytest.mark.parametrize(
    "packed",
    [b"\x05\x10hell", b"\x04\x10hello", b"\x06\x10hello", b"\x04\x09\x01", b"\x04\x00a\x12\x05\x00",
     b"\x04\x00a\x12\x01", b"\xff\xff\xff\xff\x7f"],
)  # fmt: skip
def test_snappy_refusals(packed):
    with pytest.raises(ValueError, match="block"):
        unsnappy(packed)


def test_shared_prefixes_cannot_grow_without_end():
    """Each key repeats the last one whole: 2000 entries of 20 kB from 30 kB."""
    body = varint(0) + varint(20_000) + varint(0) + b"k" * 20_000
    body += (varint(20_000) + varint(0) + varint(0)) * 2000 + struct.pack("<II", 0, 1)
    stored = body + b"\x00" + struct.pack("<I", masked(crc32c(body + b"\x00")))
    index = block([(b"z", varint(0) + varint(len(body)))])
    footer = varint(0) + varint(0) + varint(len(stored)) + varint(len(index) - 5)
    data = stored + index + footer.ljust(40, b"\x00") + struct.pack("<Q", 0xDB4775248B80FB57)
    with pytest.raises(CheckpointError, match="grow beyond their block"):
        entries(data, "m.index")


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_damaged_indexes_give_variables_or_one_line(tmp_path_factory, data):
    """Checksums catch most; here they are renewed, so that the parsers see the damage."""
    folder = tmp_path_factory.getbasetemp() / "tf"
    folder.mkdir(exist_ok=True)
    pairs = [(b"", HEADER[1])] + [
        (b"w%d" % n, entry(1, (2, 2), NUMBERS, offset=0)) for n in range(3)
    ]
    content = bytearray(b"".join(key + value for key, value in pairs))
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    damaged, at = [], 0
    for key, value in pairs:
        damaged.append((key, bytes(content[at + len(key) : at + len(key) + len(value)])))
        at += len(key) + len(value)
    (folder / "m.index").write_bytes(table(damaged))
    (folder / "m.data-00000-of-00001").write_bytes(NUMBERS)
    assert "\n" not in read_or_refusal(folder / "m")


@given(st.binary(max_size=200))
@settings(max_examples=100, deadline=None)
def test_random_tables_give_one_line(tmp_path_factory, content):
    folder = tmp_path_factory.getbasetemp() / "tf2"
    folder.mkdir(exist_ok=True)
    (folder / "m.index").write_bytes(content + struct.pack("<Q", 0xDB4775248B80FB57))
    assert "\n" not in read_or_refusal(folder / "m")


def read_or_refusal(prefix):
    try:
        tensorflow_file.read(prefix)
    except CheckpointError as reason:
        return str(reason)
    return ""
