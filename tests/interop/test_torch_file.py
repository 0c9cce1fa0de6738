"""Torch checkpoints: the values torch wrote, and nothing but values."""

import pickle
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from score_jax.errors import CheckpointError
from score_jax.interop import torch_file

DATA = Path(__file__).parent / "data"
FILES = ("torch_zip.pt", "torch_zip_protocol5.pt", "torch_legacy.pt")


def flat(tree, prefix=""):
    for key, item in tree.items():
        if isinstance(item, dict):
            yield from flat(item, f"{prefix}{key}/")
        else:
            yield f"{prefix}{key}", item


@pytest.mark.parametrize("name", FILES)
def test_every_type_view_and_plain_value(name):
    found = torch_file.read(DATA / name)
    values = dict(flat(found))
    with np.load(DATA / "torch_expected.npz") as expected:
        for key in expected.files:
            assert values[key].dtype == expected[key].dtype, key
            np.testing.assert_array_equal(values[key], expected[key], err_msg=key)
    assert found["plain"] == {
        "int": -7, "big": 2**70, "float": 0.1, "text": "käse\n", "none": None, "true": True,
        "tuple": (1, (2, 3), ()), "list": [1, [2.5, "x"]], "bytes": b"\x00\xff", 3: "key",
        "set": {1, 2}, "size": (2, 3), "device": "cuda:1", "cpu": "cpu", "dtype": "torch.float32",
    }  # fmt: skip
    assert found["numpy"]["scalar"] == 0.25
    assert type(found["numpy"]["scalar"]) is float
    assert found["numpy"]["float32"] == float(np.float32(0.1))
    assert found["numpy"]["int"] == -5
    assert found["numpy"]["bool"] is True
    np.testing.assert_array_equal(found["numpy"]["fortran"], np.arange(6).reshape(2, 3))
    np.testing.assert_array_equal(found["numpy"]["array"], np.arange(6.0).reshape(2, 3))
    assert found["numpy"]["text"].tolist() == ["ab", "c"]


@pytest.mark.parametrize("name", FILES)
def test_views_share_memory_and_cannot_be_written(name):
    views = torch_file.read(DATA / name)["views"]
    assert np.shares_memory(views["base"], views["cut"])
    with pytest.raises(ValueError, match="read-only"):
        views["base"][0] = 1


@pytest.mark.parametrize("name", FILES)
def test_only_leaves_the_rest_unread(name):
    assert list(torch_file.read(DATA / name, only={"layer", "absent"})) == ["layer"]


def test_a_damaged_number_in_an_entry_that_is_not_asked_for_does_not_matter(tmp_path):
    parts = entries(DATA / "torch_zip.pt")
    tree = torch_file.read(DATA / "torch_zip.pt", only={"layer"})
    key = next(n for n, data in parts.items() if "/data/" in n and len(data) == 24 * 4)
    path = archive(tmp_path, {**parts, key: b""})
    np.testing.assert_array_equal(
        torch_file.read(path, only={"layer"})["layer"]["weight"], tree["layer"]["weight"]
    )
    with pytest.raises(CheckpointError, match=r"got 0 bytes; expected 96 bytes"):
        torch_file.read(path)


@pytest.mark.parametrize("which", ["2d", "3d"])
def test_checkpoints_of_the_reference(fixtures, which):
    folder = fixtures / "mdgru" / f"ckpt_{which}"
    with np.load(fixtures / "mdgru" / f"ckpt_{which}_expected.npz") as expected:
        for path in (next(folder.glob("temp-*")), next(folder.glob("legacy-*"))):
            found = torch_file.read(path)
            assert list(found) == ["model", "optimizer", "globalstep"]
            for key in expected.files:
                if key.startswith("w/"):
                    np.testing.assert_array_equal(found["model"][key[2:]], expected[key])
            slots = found["optimizer"]["state"][0]
            assert set(slots) == {"step", "square_avg", "acc_delta"}


def test_checkpoints_of_nnunet(fixtures):
    import json

    contents = json.loads((fixtures / "nnunet/model/checkpoint_contents.json").read_text())
    for path in sorted((fixtures / "nnunet/model").rglob("*.pth")):
        found = torch_file.read(path)
        assert isinstance(found["_best_ema"], float | None)
        assert found["init_args"]["device"] == "cpu"
        if "plainconv_3d" in str(path):
            shapes = {name: list(item.shape) for name, item in found["network_weights"].items()}
            assert shapes == contents["network_weights"]


def test_torch_and_pickle_stay_out(tmp_path):
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import pickle\n"
        "pickle.Unpickler = pickle.load = pickle.loads = None\n"
        "from score_jax.interop import torch_file\n"
        f"print(len(torch_file.read({str(DATA / 'torch_zip.pt')!r})))\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.stdout.strip() == "7", run.stderr


# Files built by hand, to see each refusal.


def entries(path):
    with zipfile.ZipFile(path) as found:
        return {name: found.read(name) for name in found.namelist()}


def archive(tmp_path, parts, **options):
    path = tmp_path / "made.pt"
    with zipfile.ZipFile(path, "w", **options) as made:
        for name, data in parts.items():
            made.writestr(name, data)
    return path


def zipped(tmp_path, stream, **more):
    return archive(tmp_path, {"m/data.pkl": stream, "m/version": b"3", **more})


def refuse(path, match):
    with pytest.raises(CheckpointError, match=match) as caught:
        torch_file.read(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600
    return str(caught.value)


def tensor(shape, strides, offset=0, count=4, kind="FloatStorage", key="0"):
    """The stream torch writes for one tensor."""

    def number(value):
        return b"\x8a\x08" + struct.pack("<q", value)

    def many(values):
        return b"(" + b"".join(map(number, values)) + b"t"

    text = b"X" + struct.pack("<I", len(key)) + key.encode()
    return (
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\n"
        + kind.encode()
        + b"\n"
        + text
        + b"X\x03\x00\x00\x00cpu"
        + number(count)
        + b"tQ"
        + number(offset)
        + many(shape)
        + many(strides)
        + b"\x89}tR."
    )


NUMBERS = {"m/data/0": np.arange(4, dtype="<f4").tobytes()}


def test_a_tensor_made_by_hand(tmp_path):
    found = torch_file.read(zipped(tmp_path, tensor([2, 2], [1, 2]), **NUMBERS))
    np.testing.assert_array_equal(found, [[0, 2], [1, 3]])


def test_big_endian_numbers(tmp_path):
    swapped = {"m/data/0": np.arange(4, dtype=">f4").tobytes(), "m/byteorder": b"big"}
    found = torch_file.read(zipped(tmp_path, tensor([4], [1]), **swapped))
    np.testing.assert_array_equal(found, [0, 1, 2, 3])
    assert found.dtype.isnative


@pytest.mark.parametrize(
    ("stream", "match"),
    [
        (tensor([5], [1]), r"reaches element 4 of 4 in storage '0'"),
        (tensor([2], [1], offset=3), r"reaches element 4 of 4"),
        (tensor([2, 2], [3, 1]), r"reaches element 4 of 4"),
        (tensor([1 << 40], [0]), r"1099511627776 elements over a storage of 4"),
        (tensor([-1], [1]), r"size of an axis: got -1"),
        (tensor([2], [-1]), r"stride of an axis: got -1"),
        (tensor([1 << 60], [1]), r"size of an axis"),
        (tensor([2], [1, 1]), r"shape and strides disagree"),
        (tensor([1] * 40, [1] * 40), r"40 axes"),
        (tensor([4], [1], count=1 << 45), r"got 16 bytes; expected 140737488355328 bytes"),
        (tensor([1], [1], kind="DoubleStorage"), r"got 16 bytes; expected 32 bytes"),
        (tensor([1], [1], kind="QInt8Storage"), r"names torch.QInt8Storage"),
        (tensor([1], [1], kind="device"), r"without a type of numbers"),
        (tensor([1], [1], key="../../etc/passwd"), r"passwd: got no such entry"),
    ],
)
def test_tensors_that_do_not_fit_their_storage(tmp_path, stream, match):
    refuse(zipped(tmp_path, stream, **NUMBERS), match)


def test_an_expanded_tensor_stays_a_view(tmp_path):
    found = torch_file.read(zipped(tmp_path, tensor([1 << 20], [0]), **NUMBERS))
    assert found.strides == (0,)


@pytest.mark.parametrize("number", [b"\x00", b"\xff\xff\xff\x7f", b"."])
def test_short_files_that_start_like_a_stream(tmp_path, number):
    path = tmp_path / "short.pt"
    path.write_bytes(b"\x80\x02" + number)
    refuse(path, "pickle byte")


def test_what_is_not_a_checkpoint(tmp_path):
    path = tmp_path / "x.pt"
    for data, match in (
        (b"", "the file is empty"),
        (b"hello world", "starts with b'hello wo'"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "Git LFS pointer"),
        (b"PK\x03\x04 nothing more", "damaged"),
        (pickle.dumps({"a": 1}, 2), "a plain pickle"),
        (pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1002, 2) + b"\x80\x02N." * 3,
         "legacy format 1002"),
    ):  # fmt: skip
        path.write_bytes(data)
        refuse(path, match)
    refuse(tmp_path, "directory")
    refuse(tmp_path / "absent", "No such file")


def test_zip_archives_that_are_not_torch_files(tmp_path):
    good = tensor([4], [1])
    refuse(archive(tmp_path, {"a.txt": b"x"}), "0 data.pkl")
    refuse(archive(tmp_path, {"a/data.pkl": good, "b/data.pkl": good}), "2 data.pkl")
    refuse(zipped(tmp_path, good, **{"m/constants.pkl": b""}), "TorchScript")
    refuse(zipped(tmp_path, good, **{"../evil": b""}), "points outside")
    refuse(zipped(tmp_path, good, **{"/evil": b""}), "points outside")
    refuse(zipped(tmp_path, good, **{"C:\\evil": b""}), "points outside")
    packed = archive(tmp_path, {"m/data.pkl": good, **NUMBERS}, compression=zipfile.ZIP_DEFLATED)
    refuse(packed, "is compressed")
    link = zipfile.ZipInfo("m/link")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "link.pt", "w") as made:
        made.writestr("m/data.pkl", good)
        made.writestr(link, "/etc/passwd")
    refuse(tmp_path / "link.pt", "is a link")


def test_entries_that_share_their_bytes_cannot_add_up(tmp_path):
    """Two directory records of one entry under two names: more bytes than the file has."""
    path = archive(tmp_path, {"m/data.pkl": tensor([4], [1]), "m/data/0": bytes(400_000)})
    data = path.read_bytes()
    at = data.rindex(b"PK\x01\x02")
    end = data.rindex(b"PK\x05\x06")
    record = data[at:end]
    copies = b"".join(record.replace(b"data/0", b"data/%d" % n) for n in range(3))
    tail = bytearray(data[end:])
    struct.pack_into("<HH", tail, 8, 4, 4)
    struct.pack_into("<I", tail, 12, end - data.index(b"PK\x01\x02") + 2 * len(record))
    path.write_bytes(data[:at] + copies + tail)
    refuse(path, r"zip entries of \d+ bytes in a file of \d+")


def test_a_changed_number_is_noticed(tmp_path):
    path = zipped(tmp_path, tensor([4], [1]), **NUMBERS)
    data = bytearray(path.read_bytes())
    data[data.index(NUMBERS["m/data/0"]) + 5] ^= 1
    path.write_bytes(data)
    refuse(path, "CRC")


def legacy(stream, *, keys=("0",), counts=(4,), data=NUMBERS["m/data/0"]):
    head = [pickle.dumps(v, 2) for v in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})]
    numbers = b"".join(struct.pack("<q", count) + data for count in counts)
    return b"".join([*head, stream, pickle.dumps(list(keys), 2), numbers])


def test_legacy_streams_made_by_hand(tmp_path):
    path = tmp_path / "old.pt"
    stream = tensor([4], [1])
    path.write_bytes(legacy(stream))
    np.testing.assert_array_equal(torch_file.read(path), [0, 1, 2, 3])
    for data, match in (
        (legacy(stream)[:-1], "truncated: storage 0 of 16 bytes"),
        (legacy(stream, counts=(1 << 60,)), "truncated"),
        (legacy(stream, counts=(-1,)), "truncated"),
        (legacy(stream, counts=(3,)), "got 12 bytes; expected 16"),
        (legacy(stream, keys=("0", "0"), counts=(4, 4)), "listed twice"),
        (legacy(stream, keys=("other",)), "no tensor uses"),
        (legacy(stream, keys=()), "storage 0 is missing"),
        (legacy(stream, keys=([],)), "no tensor uses"),
        (legacy(stream)[:40], "truncated"),
    ):
        path.write_bytes(data)
        refuse(path, match)


def test_containers_that_hold_themselves_or_explode(tmp_path):
    refuse(zipped(tmp_path, b"\x80\x02]q\x00h\x00a."), "hold themselves")
    refuse(zipped(tmp_path, b"\x80\x02" + b")" + b"\x85" * 200 + b"."), "nested deeper than 100")
    # 2**90 leaves if walked without a memory of what is done
    doubled = b"\x80\x02]q\x00" + b"".join(
        b"]q" + bytes([n + 1]) + b"(h" + bytes([n]) + b"h" + bytes([n]) + b"e" for n in range(90)
    )
    found = torch_file.read(
        zipped(tmp_path, doubled.replace(b"\x80\x02]", b"\x80\x02(]", 1) + b"t.")
    )
    assert len(found) == 91


GOOD = {name: (DATA / name).read_bytes() for name in FILES}


@given(st.sampled_from(FILES), st.data())
@settings(max_examples=150, deadline=None)
def test_flipped_cut_or_doubled_bytes_give_values_or_one_line(tmp_path_factory, name, data):
    """A damaged file reads (where the damage does not matter) or is refused in one line."""
    content = bytearray(GOOD[name])
    at = data.draw(st.integers(0, len(content) - 1))
    match data.draw(st.sampled_from(["flip", "cut", "double", "zero"])):
        case "flip":
            for _ in range(data.draw(st.integers(1, 4))):
                content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(
                    st.integers(1, 255)
                )
        case "cut":
            del content[at:]
        case "double":
            content[at:at] = content[at : at + 50]
        case _:
            content[at : at + 8] = b"\xff" * 8
    path = tmp_path_factory.getbasetemp() / "fuzz.pt"
    path.write_bytes(content)
    try:
        torch_file.read(path)
        message = ""
    except CheckpointError as reason:
        message = str(reason)
    assert "\n" not in message
