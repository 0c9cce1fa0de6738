"""A pickle stream read as data: a small stack machine that cannot call anything.

`pickle.load` runs whatever a stream names. Here a name (``GLOBAL``) is looked up in a table of our
own pure functions and everything else is refused, as are the opcodes that build instances. The
work, and with it the memory, is bounded by a fixed budget, so that a small stream cannot grow.

Opcodes: CPython, ``Lib/pickletools.py`` (protocols 2 to 5; the text opcodes of 0 and 1 are refused,
no program that saves networks writes them).
"""

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, final

from score_jax.errors import CheckpointError

MAX_STREAM_BYTES: Final = 64 << 20
MAX_STEPS: Final = 2_000_000  # one opcode, or one element copied by a function, is a step
MAX_INTEGER_BYTES: Final = 64

_REFUSED: Final = {
    b"i": "INST", b"o": "OBJ", b"\x81": "NEWOBJ", b"\x92": "NEWOBJ_EX", b"P": "PERSID",
    b"\x82": "EXT1", b"\x83": "EXT2", b"\x84": "EXT4", b"2": "DUP", b"I": "INT", b"L": "LONG",
    b"F": "FLOAT", b"S": "STRING", b"V": "UNICODE", b"g": "GET", b"p": "PUT", b"d": "DICT",
    b"l": "LIST", b"\x97": "NEXT_BUFFER", b"\x98": "READONLY_BUFFER",
}  # fmt: skip


@final
@dataclass(frozen=True, slots=True)
class Symbol:
    """What a name in a stream stands for; inert unless `make` is given.

    Args:
      name: ``module.name`` as in the stream.
      make: our own function that turns the arguments of the call into plain values.
      value: what the name means to us, e.g. the NumPy type of ``torch.FloatStorage``.
    """

    name: str
    make: Callable[..., Any] | None = None
    value: Any = None


@final
class Shell:
    """A value that a later BUILD completes: `finish` turns the state into the value."""

    __slots__ = ("finish", "value")

    def __init__(self, finish: Callable[[Any], Any], value: Any = None) -> None:
        self.finish = finish
        self.value = value


class RefusedError(ValueError):
    """A stream that asks for something that is not data; the machine adds file and place."""


@final
class PickleMachine:
    """Reads one pickle stream after another from the same bytes.

    Args:
      data: the bytes that hold the stream, and possibly more after it.
      where: the file, for messages.
      symbols: ``module.name`` -> what a stream may use; any other name is refused.
      persistent: turns a persistent id (torch: a reference to a storage) into a value.
    """

    def __init__(
        self,
        data: bytes | memoryview,
        *,
        where: str,
        symbols: Mapping[str, Symbol],
        persistent: Callable[[Any], Any] | None = None,
    ) -> None:
        self._data = memoryview(data)
        self._where = where
        self._symbols = symbols
        self._persistent = persistent
        self._memo: dict[int, Any] = {}
        self._stack: list[Any] = []
        self._marks: list[list[Any]] = []
        self._at = 0
        self._steps = 0

    def run(self, start: int = 0) -> tuple[Any, int]:
        """The value of the stream that begins at byte `start`, and the position after its end.

        Containers are Python's own; they may share members and even hold themselves.

        Raises:
          CheckpointError: a name outside the table, an opcode that is not data, a broken or
            truncated stream, or one that exceeds the budget of `MAX_STEPS`.
        """
        self._memo, self._stack, self._marks, self._at = {}, [], [], start
        try:
            while not self._step():
                pass
        except (IndexError, struct.error):
            raise self._error("the stream is truncated or not a pickle") from None
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as reason:
            raise self._error(printable(str(reason))) from None
        return self._stack.pop(), self._at

    def _error(self, what: str) -> CheckpointError:
        return CheckpointError(
            f"{self._where}: pickle byte {self._at}: {what}; expected tensors, numbers and text",
            hint="the file is damaged, not a checkpoint, or carries code; nothing of it was run",
        )

    def _step(self) -> bool:
        """Execute one opcode; true at the end of the stream."""
        opcode = bytes(self._take(1))
        self._spend(1)
        if opcode == b".":
            if self._marks or len(self._stack) != 1:
                raise RefusedError(f"STOP with {len(self._stack)} values instead of 1")
            return True
        if not (self._constant(opcode) or self._collect(opcode) or self._refer(opcode)):
            raise RefusedError(self._unknown(opcode))
        return False

    def _unknown(self, opcode: bytes) -> str:
        name = _REFUSED.get(opcode)
        if name is None:
            return f"unknown opcode {opcode!r}"
        named = [v.name for v in self._stack[-3:] if isinstance(v, Symbol)]
        if name == "INST":
            named = [f"{self._line()}.{self._line()}"]
        return f"opcode {name}{''.join(f' on {n}' for n in named)} is refused"

    def _spend(self, steps: int) -> None:
        self._steps += steps
        if self._steps > MAX_STEPS:
            raise RefusedError(f"more than {MAX_STEPS} steps")

    def _take(self, count: int) -> memoryview:
        end = self._at + count
        if count < 0 or end > len(self._data):
            raise IndexError
        found = self._data[self._at : end]
        self._at = end
        return found

    def _number(self, layout: str) -> Any:
        return struct.unpack(layout, self._take(struct.calcsize(layout)))[0]

    def _line(self) -> str:
        found = bytes(self._data[self._at : self._at + 1024])
        end = found.index(b"\n")
        self._at += end + 1
        return found[:end].decode("utf-8", "backslashreplace")

    # Values written into the stream.

    def _constant(self, opcode: bytes) -> bool:  # noqa: C901 - one case an opcode
        push = self._stack.append
        match opcode:
            case b"N":
                push(None)
            case b"\x88" | b"\x89":
                push(opcode == b"\x88")
            case b"J":
                push(self._number("<i"))
            case b"K":
                push(self._number("B"))
            case b"M":
                push(self._number("<H"))
            case b"\x8a":
                push(self._integer(self._number("B")))
            case b"\x8b":
                push(self._integer(self._number("<i")))
            case b"G":
                push(self._number(">d"))
            case b"X" | b"\x8c" | b"\x8d":
                length = self._number({b"X": "<I", b"\x8c": "B", b"\x8d": "<Q"}[opcode])
                push(str(self._take(length), "utf-8", "surrogatepass"))
            case b"T" | b"U":  # text of Python 2, which held bytes
                push(str(self._take(self._number("<i" if opcode == b"T" else "B")), "latin-1"))
            case b"B" | b"C" | b"\x8e" | b"\x96":
                length = self._number({b"B": "<I", b"C": "B"}.get(opcode, "<Q"))
                push(bytes(self._take(length)))
            case _:
                return False
        return True

    def _integer(self, length: int) -> int:
        if not 0 <= length <= MAX_INTEGER_BYTES:
            raise RefusedError(f"an integer of {length} bytes")
        return int.from_bytes(self._take(length), "little", signed=True)

    # Containers.

    def _collect(self, opcode: bytes) -> bool:  # noqa: C901 - one case an opcode
        push = self._stack.append
        match opcode:
            case b"(":
                self._marks.append(self._stack)
                self._stack = []
            case b"]":
                push([])
            case b"}":
                push({})
            case b"\x8f":
                push(set())
            case b")":
                push(())
            case b"a" | b"e":
                values = [self._stack.pop()] if opcode == b"a" else self._pop_mark()
                self._top(list).extend(values)
            case b"s" | b"u":
                values = self._pop(2) if opcode == b"s" else self._pop_mark()
                pairs = zip(values[::2], values[1::2], strict=True)
                self._top(dict).update((check_key(key), value) for key, value in pairs)
            case b"\x90":
                values = self._pop_mark()
                self._top(set).update(check_key(value) for value in values)
            case b"t":
                values = tuple(self._pop_mark())
                self._stack.append(values)
            case b"\x85" | b"\x86" | b"\x87":
                push(tuple(self._pop(opcode[0] - 0x84)))
            case b"\x91":
                values = self._pop_mark()
                self._stack.append(frozenset(check_key(value) for value in values))
            case _:
                return False
        return True

    def _pop(self, count: int) -> list[Any]:
        if len(self._stack) < count:
            raise IndexError
        values = self._stack[-count:]
        del self._stack[-count:]
        return values

    def _pop_mark(self) -> list[Any]:
        if not self._marks:
            raise RefusedError("values without a mark")
        values, self._stack = self._stack, self._marks.pop()
        return values

    def _top(self, kind: type) -> Any:
        target = self._stack[-1]
        if type(target) is not kind:
            raise RefusedError(f"items added to {type(target).__name__} as to a {kind.__name__}")
        return target

    # The stack and the memo, names, and what looks like a call.

    def _refer(self, opcode: bytes) -> bool:  # noqa: C901 - one case an opcode
        match opcode:
            case b"\x80":
                if (version := self._number("B")) > 5:
                    raise RefusedError(f"protocol {version}")
            case b"\x95":
                self._take(8)  # the length of a frame, which only helps buffering
            case b"0":
                self._stack.pop()
            case b"1":
                self._pop_mark()
            case b"q" | b"r" | b"\x94":
                index = len(self._memo)
                if opcode != b"\x94":
                    index = self._number("B" if opcode == b"q" else "<I")
                self._memo[index] = self._stack[-1]
            case b"h" | b"j":
                index = self._number("B" if opcode == b"h" else "<I")
                if index not in self._memo:
                    raise RefusedError(f"memo entry {index} does not exist")
                self._stack.append(self._memo[index])
            case b"c":
                self._stack.append(self._symbol(self._line(), self._line()))
            case b"\x93":
                self._stack.append(self._symbol(*self._pop(2)))
            case b"R":
                self._reduce(*self._pop(2))
            case b"b":
                self._build(self._stack.pop())
            case b"Q":
                if self._persistent is None:
                    raise RefusedError("a persistent id where none belongs")
                self._stack.append(self._persistent(self._stack.pop()))
            case _:
                return False
        return True

    def _symbol(self, module: Any, name: Any) -> Symbol:
        if not isinstance(module, str) or not isinstance(name, str):
            raise RefusedError("a name that is not text")
        symbol = self._symbols.get(f"{module}.{name}")
        if symbol is None:
            raise RefusedError(f"it names {module}.{name}, which is not allowed")
        return symbol

    def _reduce(self, function: Any, arguments: Any) -> None:
        if not isinstance(function, Symbol) or function.make is None:
            name = function.name if isinstance(function, Symbol) else type(function).__name__
            raise RefusedError(f"a call of {name} is refused")
        if type(arguments) is not tuple:
            raise RefusedError(f"a call of {function.name} without arguments")
        value = function.make(*arguments)
        if isinstance(value, bytes | str | set | frozenset | dict | list):
            self._spend(len(value) // (16 if isinstance(value, bytes | str) else 1))
        self._stack.append(value)

    def _build(self, state: Any) -> None:
        target = self._stack[-1]
        if isinstance(target, Shell):
            target.value = target.finish(state)
        elif type(target) is not dict:  # an OrderedDict's attributes (`_metadata`) are not needed
            raise RefusedError(f"BUILD on {type(target).__name__} is refused")


def check_key(key: Any) -> Any:
    """`key` if it is text, bytes, None or an integer of at most 32 bits.

    Nothing else is needed, and other keys can be made so that all of them collide (numbers) or
    overflow the C stack when hashed (nested tuples).

    Raises:
      RefusedError: any other key.
    """
    small = isinstance(key, int) and abs(key) < 1 << 32
    if not small and not isinstance(key, str | bytes | None):
        raise RefusedError(f"the key {shown(key)}")
    return key


def shown(value: Any) -> str:
    """`value` for a message: plain ones as they are, others by type (their repr may explode)."""
    if isinstance(value, str | int | float | None):
        return printable(repr(value))
    return type(value).__name__


def printable(text: str) -> str:
    """`text` on one line of at most 200 characters, control characters escaped."""
    shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text[:200])
    return shown + ("..." if len(text) > 200 else "")
