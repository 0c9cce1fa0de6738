"""No stream makes the machine run anything: every way pickle offers is tried."""

import collections
import copyreg
import os
import pickle
import struct
import sys
from functools import partial

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from score_jax.errors import CheckpointError
from score_jax.interop import pickle_machine
from score_jax.interop.pickle_machine import PickleMachine
from score_jax.interop.torch_values import SYMBOLS, storage_from_id

touched = []


def run(data):
    return PickleMachine(data, where="f.pt", symbols=SYMBOLS, persistent=storage_from_id).run()[0]


def value_or_refusal(data):
    """The value and "", or None and the refusal in one line; anything else is our fault."""
    try:
        return run(data), ""
    except CheckpointError as reason:
        return None, str(reason)


class Calls:
    """Pickles as a call of `function` with `arguments`."""

    def __init__(self, function, *arguments, state=None):
        self.parts = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self):
        return self.parts


class Plain:
    pass


class WithState:
    def __setstate__(self, state):
        touched.append(state)


class WithNew:
    def __new__(cls, *args, **kwargs):
        touched.append(args)
        return super().__new__(cls)

    def __getnewargs_ex__(self):
        return ((), {"a": 1})


MALICIOUS = {
    "os.system": Calls(os.system, "touch /tmp/owned"),
    "eval": Calls(eval, "1 + 1"),
    "exec": Calls(exec, "import os"),
    "getattr chain": Calls(getattr, Calls(__import__, "os"), "system"),
    "import": Calls(__import__, "os"),
    "partial": Calls(partial, os.getcwd),
    "open": Calls(open, "/etc/passwd"),
    "nested in a set": {"a": [Calls(os.getpid)]},
    "as an OrderedDict's argument": Calls(collections.OrderedDict, Calls(eval, "[]")),
    "in a state": Calls(collections.OrderedDict, state={"a": Calls(os.getpid)}),
    "type of a type": Calls(type, "X", (), {}),
    "instance": Plain(),
    "instance with state": WithState(),
    "instance with new": WithNew(),
    "copyreg": Calls(copyreg._reconstructor, Plain, object, None),
    "module level function": os.system,
    "class": dict,
    "exception": Calls(ValueError, "x"),
}


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("name", MALICIOUS)
def test_nothing_is_run(name, protocol):
    data = pickle.dumps(MALICIOUS[name], protocol)
    touched.clear()
    with pytest.raises(CheckpointError, match=r"f\.pt: pickle byte \d+: ") as caught:
        run(data)
    assert not touched
    assert "nothing of it was run" in caught.value.hint


def text(value, opcode=b"X"):
    return opcode + struct.pack("<I", len(value)) + value


@pytest.mark.parametrize(
    ("stream", "match"),
    [
        (b"cposix\nsystem\n(X\x02\x00\x00\x00idtR.", "names posix.system"),
        (b"cnt\nsystem\n.", "names nt.system"),
        (b"(cos\nsystem\nX\x02\x00\x00\x00ido.", "names os.system"),
        (b"(cbuiltins\nset\no.", "opcode OBJ on builtins.set"),
        (b"(X\x02\x00\x00\x00idios\nsystem\n.", "opcode INST on os.system"),
        (b"\x80\x02\x82\x01.", "opcode EXT1"),
        (b"\x80\x02\x83\x01\x00.", "opcode EXT2"),
        (b"\x80\x02\x84\x01\x00\x00\x00.", "opcode EXT4"),
        (b"\x8c\x02os\x8c\x06system\x93.", "names os.system"),
        (b"\x8c\x02os\x8c\x0bsystem\nevil\x93.", r"names os.system\\nevil"),
        (b"\x8c\x08builtins\x8c\x16set.__class__.mro.x.yy\x93.", "names builtins.set.__class__"),
        (b"ccollections\nOrderedDict\n)\x81.", "opcode NEWOBJ on collections.OrderedDict"),
        (b"ccollections\nOrderedDict\n)}\x92.", "opcode NEWOBJ_EX"),
        (b"ctorch\nFloatStorage\n)R.", "call of torch.FloatStorage"),
        (b"]q\x00)R.", "call of list"),
        (b"ctorch\ndevice\n]R.", "without arguments"),
        (b"ctorch\nFloatStorage\n}b.", "BUILD on Symbol"),
        (b"ctorch\nSize\n)R}b.", "BUILD on tuple"),
        (b"NN\x93.", "a name that is not text"),
        (b"P123\n.", "opcode PERSID"),
        (b"X\x02\x00\x00\x00idQ.", "not a storage"),
        (b"(X\x06\x00\x00\x00moduleNNNNtQ.", "not a storage"),
        (b"(X\x07\x00\x00\x00storageNNNNNtQ.", "without a type of numbers"),
        (b"N2.", "opcode DUP"),
        (b"\x80\x07N.", "protocol 7"),
        (b"\xfe.", "unknown opcode"),
        (b"NN.", "STOP with 2 values"),
        (b".", "STOP with 0 values"),
        (b"(.", "STOP"),
        (b"N", "truncated"),
        (b"X\xff\xff\xff\x7fab.", "truncated"),
        (b"\x8d" + b"\xff" * 8 + b".", "truncated"),
        (b"T\xff\xff\xff\xff.", "truncated"),
        (b"\x8b\xff\xff\xff\x7f.", "an integer of 2147483647 bytes"),
        (b"\x8b\xff\xff\xff\xff.", "an integer of -1 bytes"),
        (b"h\x05.", "memo entry 5"),
        (b"Nj\xff\xff\xff\xff.", "memo entry 4294967295"),
        (b"X\x01\x00\x00\x00\xff.", "codec can't decode"),
        (b"}]Ns.", "the key list"),
        (b"})Ns.", "the key tuple"),
        (b"}G@\x00\x00\x00\x00\x00\x00\x00Ns.", r"the key 2\.0"),
        (b"}\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x0fNs.", "the key 1152921504606846975"),
        (b"](NNu.", "items added to list"),
        (b"}Na.", "items added to dict"),
        (b"](N\x90.", "items added to list"),
        (b"}(Nu.", "zip"),
        (b"t.", "without a mark"),
        (b"\x85.", "truncated"),
    ],
)
def test_refusals_by_hand(stream, match):
    with pytest.raises(CheckpointError, match=match) as caught:
        run(stream)
    assert "\n" not in str(caught.value)


def test_the_extension_registry_is_not_looked_at(monkeypatch):
    copyreg.add_extension("os", "system", 200)
    try:
        with pytest.raises(CheckpointError, match="opcode EXT1"):
            run(b"\x80\x02\x82\xc8.")
    finally:
        copyreg.remove_extension("os", "system", 200)


def call(name, *arguments):
    module, _, leaf = name.rpartition(".")
    return b"c" + f"{module}\n{leaf}\n".encode() + b"(" + b"".join(arguments) + b"tR"


FLOAT = call("numpy.dtype", text(b"f8"))
STORAGE = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000NK\x02tQ"


@pytest.mark.parametrize(
    ("stream", "match"),
    [
        (call("_codecs.encode", text(b"a"), text(b"rot13")), "encoding other than latin1"),
        (call("_codecs.encode", text("ä€".encode())), "latin-1"),
        (call("torch.Size", b"]"), "not a tuple"),
        (call("torch.device", b"]"), "device"),
        (call("builtins.set", b"}"), "not made of a list"),
        (call("builtins.set", b"]]a"), "the key list"),
        (call("collections.OrderedDict", b"}"), "not made of pairs"),
        (call("collections.OrderedDict", b"](Nta"), "not enough values"),
        (call("numpy.dtype", text(b"O8")), "NumPy type 'O8'"),
        (call("numpy.dtype", text(b"V8")), "NumPy type 'V8'"),
        (call("numpy.dtype", text(b"f3")), "not understood"),
        (call("numpy.dtype", b"]"), "NumPy type list"),
        (FLOAT + b"(K\x03X\x01\x00\x00\x00xNNNtb", "byte order 'x'"),
        (FLOAT + b"(K\x03X\x01\x00\x00\x00<]NNtb", "with fields"),
        (call("numpy.core.multiarray.scalar", FLOAT, b"C\x04abcd"), "another size"),
        (call("numpy.core.multiarray.scalar", b"N"), "number without a type"),
        (call("numpy._core.multiarray._reconstruct") + b"(K\x01)NNNtb", "array without a type"),
        (
            call("numpy._core.multiarray._reconstruct") + b"(K\x01)" + FLOAT + b"\x89]tb",
            "not plain numbers",
        ),
        (
            call("numpy._core.multiarray._reconstruct") + b"(K\x01(K\x09t" + FLOAT + b"\x89C\x00tb",
            "reshape",
        ),
        (call("numpy._core.multiarray._reconstruct") + b"Nb", "unpack"),
        (call("torch._utils._rebuild_tensor_v2", *[b"N"] * 6), "without a storage"),
        (call("torch._utils._rebuild_tensor_v2"), "missing"),
        (call("torch._utils._rebuild_tensor_v3", *[b"N"] * 7), "without a type"),
        (call("torch._utils._rebuild_tensor_v2", STORAGE, b"K\x00NNNN"), "disagree"),
        (call("torch._tensor._rebuild_from_type_v2", *[b"N"] * 4), "not torch's own"),
        (
            call(
                "torch._tensor._rebuild_from_type_v2",
                b"ctorch._tensor\n_rebuild_from_type_v2\n",
                *[b"N"] * 3,
            ),
            "not torch's own",
        ),
    ],
)
def test_arguments_that_are_not_what_torch_or_numpy_write(stream, match):
    with pytest.raises(CheckpointError, match=match):
        run(stream + b".")


def test_a_tensor_of_a_type_is_a_tensor():
    stream = call(
        "torch._tensor._rebuild_from_type_v2",
        b"ctorch._utils\n_rebuild_tensor_v2\n",
        b"ctorch\nTensor\n",
        b"(" + STORAGE + b"K\x00K\x02\x85K\x01\x85\x89}t",
        b"}",
    )
    assert run(stream + b".").shape == (2,)


def test_work_is_bounded_where_little_input_makes_much_output(monkeypatch):
    monkeypatch.setattr(pickle_machine, "MAX_STEPS", 20_000)
    big = text(b"a" * 100_000) + b"q\x000"
    with pytest.raises(CheckpointError, match="more than 20000 steps"):
        run(big + b"(" + call("_codecs.encode", b"h\x00") * 10 + b"t.")
    with pytest.raises(CheckpointError, match="more than 20000 steps"):
        run(b"(" + b"]" * 20_000 + b"t.")
    pairs = b"](" + b"".join(b"K" + bytes([n]) for n in range(200)) + b"eq\x000"
    with pytest.raises(CheckpointError, match="more than 20000 steps"):
        run(pairs + b"(" + call("builtins.set", b"h\x00") * 150 + b"t.")


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
    | st.binary(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner)
    | st.dictionaries(st.text() | st.integers(-(2**31), 2**31), inner)
    | st.sets(st.text()) | st.frozensets(st.integers(0, 99)),
    max_leaves=30,
)  # fmt: skip


@given(plain, st.integers(2, 5))
@settings(max_examples=150, deadline=None)
def test_plain_values_are_what_pickle_gives(value, protocol):
    found, refusal = value_or_refusal(pickle.dumps(value, protocol))
    if refusal:
        assert "an integer of" in refusal or "the key" in refusal or protocol == 2
    else:
        assert found == value


@given(st.binary(max_size=300))
@example(b"(" * 300)
@example(b"]" + b"\x94" * 250)
@settings(max_examples=400, deadline=None)
def test_random_bytes_give_a_value_or_one_line(data):
    assert "\n" not in value_or_refusal(data)[1]


OPCODES = b"(.0129:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[]abcdefghijklmnopqrstu}\x80\x81\x82\x83\x84\x85"
OPCODES += bytes(range(0x86, 0x99))
NAMES = sorted(SYMBOLS)
piece = st.one_of(
    st.sampled_from([bytes([b]) for b in OPCODES]),
    st.sampled_from(NAMES).map(lambda n: b"c" + n.rpartition(".")[0].encode() + b"\n"
                               + n.rpartition(".")[2].encode() + b"\n"),
    st.integers(0, 255).map(lambda n: b"K" + bytes([n])),
    st.text(max_size=4).map(lambda t: text(t.encode())),
    st.just(STORAGE), st.just(FLOAT), st.just(b")R"), st.just(b"tR"),
)  # fmt: skip


@given(st.lists(piece, max_size=40).map(b"".join))
@settings(max_examples=600, deadline=None)
def test_random_programs_give_a_value_or_one_line(data):
    before = set(sys.modules)
    assert "\n" not in value_or_refusal(data + b".")[1]
    assert set(sys.modules) <= before | {"encodings.rot_13"}
