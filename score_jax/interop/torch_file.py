"""What a torch checkpoint holds, as NumPy arrays and plain values, without torch.

Both layouts: the zip archive of torch >= 1.6 and the older stream of pickles followed by raw
numbers (layout: ``torch/serialization.py``). Nothing stored in a file is ever called
(`pickle_machine`), no number is read before it is asked for, and every size is checked
against the size of the file before memory is taken.
"""

import contextlib
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final, final

import numpy as np

from score_jax._types import PathLike
from score_jax.errors import CheckpointError
from score_jax.interop.pickle_machine import (
    MAX_STREAM_BYTES,
    PickleMachine,
    Shell,
    Symbol,
    printable,
    shown,
)
from score_jax.interop.torch_values import SYMBOLS, Storage, StoredTensor, storage_from_id

MAX_DEPTH: Final = 100  # of containers in containers
_LEGACY_MAGIC: Final = 0x1950A86A20F9469CFC6C
_LEGACY_VERSION: Final = 1001

Bytes = np.ndarray[Any, np.dtype[np.uint8]]


def read(path: PathLike, *, only: Collection[str] | None = None, where: str | None = None) -> Any:
    """The value saved in a torch checkpoint: tensors as read-only arrays, all else plain.

    bfloat16 tensors become float32 (exactly); parameters, devices and NumPy numbers become
    arrays, text and Python numbers. Tensors that share a storage share memory here too.

    Args:
      path: a file written by ``torch.save``, zip or legacy.
      only: if the value is a dict, the entries to keep; the numbers of others are not read.
      where: what messages call the file; its path by default.

    Raises:
      CheckpointError: not a checkpoint, damaged, truncated, or anything in it that is not data.
    """
    path = Path(path)
    where = where or str(path)
    with _one_line(where), path.open("rb") as file:
        start = file.read(64)
        if start[:4] == b"PK\x03\x04":
            return _read_zip(file, where, only)
        if start[:1] == b"\x80":
            return _read_legacy(file, where, only)
    raise CheckpointError(f"{where}: {_what_it_is(start)}; expected a file written by torch.save")


def _what_it_is(start: bytes) -> str:
    if not start:
        return "the file is empty"
    if start.startswith(b"version https://git-lfs"):
        return "this is a Git LFS pointer, not the file itself (git lfs pull fetches it)"
    return f"starts with {start[:8]!r}"


@contextlib.contextmanager
def _one_line(where: str) -> Iterator[None]:
    """Whatever goes wrong in reading a damaged file becomes one `CheckpointError`."""
    try:
        yield
    except CheckpointError:
        raise
    except OSError as reason:
        raise CheckpointError(f"{where}: {reason.strerror or reason}") from None
    except (
        zipfile.BadZipFile, zlib.error, EOFError, ValueError, TypeError, LookupError, struct.error,
        OverflowError, NotImplementedError, RuntimeError, MemoryError,
    ) as reason:  # fmt: skip
        raise CheckpointError(
            f"{where}: damaged ({printable(str(reason)) or type(reason).__name__}); "
            "expected a file written by torch.save"
        ) from None


# The zip layout: <name>/data.pkl, <name>/data/<key>, <name>/byteorder.


def _read_zip(file: BinaryIO, where: str, only: Collection[str] | None) -> Any:
    size = file.seek(0, 2)
    with zipfile.ZipFile(file) as archive:
        entries = _checked_entries(archive, where, size)
        stem = _stem(entries, where)
        if f"{stem}constants.pkl" in entries:
            raise CheckpointError(
                f"{where}: this is a TorchScript program; expected a checkpoint of weights",
                hint="save the model's state_dict with torch.save",
            )
        tree, _ = PickleMachine(
            archive.read(entries[f"{stem}data.pkl"]),
            where=where,
            symbols=SYMBOLS,
            persistent=storage_from_id,
        ).run()
        order = entries.get(f"{stem}byteorder")
        swap = order is not None and archive.read(order).strip() == b"big"

        def fetch(storage: Storage) -> Bytes:
            entry = entries.get(f"{stem}data/{storage.key}")
            held = -1 if entry is None else entry.file_size
            if entry is None or held != storage.nbytes:
                found = "no such entry" if entry is None else f"{held} bytes"
                raise CheckpointError(
                    f"{where}: storage {printable(storage.key)}: got {found}; "
                    f"expected {storage.nbytes} bytes"
                )
            return np.frombuffer(archive.read(entry), np.uint8)

        return _Resolver(where, fetch, swap=swap).top(tree, only)


def _checked_entries(archive: zipfile.ZipFile, where: str, size: int) -> dict[str, zipfile.ZipInfo]:
    """Entries by name; torch stores them as they are, so together they fit into the file."""
    entries: dict[str, zipfile.ZipInfo] = {}
    total = 0
    for entry in archive.infolist():
        name = entry.filename
        wrong = _wrong_with(entry)
        if name in entries:
            wrong = "is there twice"
        if wrong:
            raise CheckpointError(f"{where}: zip entry {printable(name)!r} {wrong}")
        total += entry.file_size
        entries[name] = entry
    if total > size:
        raise CheckpointError(f"{where}: zip entries of {total} bytes in a file of {size}")
    return entries


def _wrong_with(entry: zipfile.ZipInfo) -> str:
    if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
        return "is compressed; torch.save stores its entries as they are"
    if entry.flag_bits & 1:
        return "is encrypted"
    if stat.S_ISLNK(entry.external_attr >> 16):
        return "is a link"
    parts = entry.filename.replace("\\", "/").split("/")
    if ".." in parts or entry.filename.startswith(("/", "\\")) or ":" in parts[0]:
        return "points outside the archive"
    if entry.filename.endswith("data.pkl") and entry.file_size > MAX_STREAM_BYTES:
        return f"has {entry.file_size} bytes; at most {MAX_STREAM_BYTES} are read"
    return ""


def _stem(entries: dict[str, zipfile.ZipInfo], where: str) -> str:
    """The folder that holds ``data.pkl``, with its slash."""
    stems = [name[: -len("data.pkl")] for name in entries if name.endswith("/data.pkl")]
    if len(stems) != 1:
        raise CheckpointError(
            f"{where}: zip archive with {len(stems)} data.pkl; expected a file of torch.save",
            hint="an nnU-Net model that was zipped is read by: score-jax import nnunet PATH",
        )
    return stems[0]


# The legacy layout: magic, version, system, value, keys as five pickles; then count and bytes of
# each storage in the order of the keys.


def _read_legacy(file: BinaryIO, where: str, only: Collection[str] | None) -> Any:
    size = file.seek(0, 2)
    file.seek(0)
    used: dict[str, Storage] = {}

    def remember(identity: Any) -> Storage:
        storage = storage_from_id(identity)
        return used.setdefault(storage.key, storage)

    data = file.read(MAX_STREAM_BYTES)
    machine = PickleMachine(data, where=where, symbols=SYMBOLS, persistent=remember)
    head, at = [], 0
    for _ in range(5):
        value, at = machine.run(at)
        head.append(value)
        if head[0] != _LEGACY_MAGIC or type(head[0]) is not int:
            raise CheckpointError(
                f"{where}: a plain pickle; expected a file written by torch.save",
                hint="MD-GRU's <name>.pickle holds the state of training; the weights are in "
                "the file <name>-<step>",
            )
    if head[1] != _LEGACY_VERSION:
        raise CheckpointError(
            f"{where}: legacy format {shown(head[1])}; expected {_LEGACY_VERSION}"
        )
    tree, keys = head[3], head[4]
    places = _legacy_places(file, where, at, size, keys, used)

    def fetch(storage: Storage) -> Bytes:
        if storage.key not in places:
            raise CheckpointError(f"{where}: storage {printable(storage.key)} is missing")
        start, nbytes = places[storage.key]
        if nbytes != storage.nbytes:
            raise CheckpointError(
                f"{where}: storage {printable(storage.key)}: got {nbytes} bytes; "
                f"expected {storage.nbytes}"
            )
        file.seek(start)
        return np.frombuffer(file.read(nbytes), np.uint8)

    return _Resolver(where, fetch, swap=False).top(tree, only)


def _legacy_places(
    file: BinaryIO, where: str, at: int, size: int, keys: Any, used: dict[str, Storage]
) -> dict[str, tuple[int, int]]:
    """Start and length in bytes of every storage, by key."""
    places: dict[str, tuple[int, int]] = {}
    if type(keys) is not list:
        raise CheckpointError(f"{where}: the list of storages is missing")
    for key in keys:
        storage = used.get(key) if isinstance(key, str) else None
        if storage is None or key in places:
            raise CheckpointError(f"{where}: a storage that no tensor uses, or one listed twice")
        file.seek(at)
        (count,) = struct.unpack("<q", file.read(8))
        nbytes = count * storage.item_bytes
        if count < 0 or at + 8 + nbytes > size:
            raise CheckpointError(
                f"{where}: truncated: storage {printable(key)} of {nbytes} bytes at byte {at}; "
                f"the file has {size}"
            )
        places[key] = (at + 8, nbytes)
        at += 8 + nbytes
    return places


# From the machine's values to the caller's.


@final
class _Resolver:
    """Turns a tree of stored tensors into arrays, reading each storage once."""

    def __init__(self, where: str, fetch: Callable[[Storage], Bytes], *, swap: bool) -> None:
        self._where, self._fetch, self._swap = where, fetch, swap
        self._data: dict[str, Bytes] = {}
        self._done: dict[int, Any] = {}
        self._open: set[int] = set()

    def top(self, tree: Any, only: Collection[str] | None) -> Any:
        if only is not None and type(tree) is dict:
            tree = {key: value for key, value in tree.items() if key in only}
        return self.value(tree)

    def value(self, found: Any) -> Any:
        match found:
            case StoredTensor():
                return self._array(found)
            case Shell():
                return found.value
            case Symbol() | Storage():
                return found.name if isinstance(found, Symbol) else found.key
            case dict() | list() | tuple():
                return self._container(found)
            case _:
                return found

    def _container(self, found: dict[Any, Any] | list[Any] | tuple[Any, ...]) -> Any:
        """Containers may share members (done once) but not hold themselves."""
        mark = id(found)
        if mark in self._done:
            return self._done[mark]
        if mark in self._open or len(self._open) >= MAX_DEPTH:
            raise CheckpointError(
                f"{self._where}: containers that hold themselves or are nested deeper than "
                f"{MAX_DEPTH}; expected a dict of tensors"
            )
        self._open.add(mark)
        if isinstance(found, dict):
            result: Any = {key: self.value(item) for key, item in found.items()}
        else:
            result = type(found)(self.value(item) for item in found)
        self._open.remove(mark)
        self._done[mark] = result
        return result

    def _array(self, tensor: StoredTensor) -> np.ndarray:
        key = tensor.storage.key
        if key not in self._data:
            self._data[key] = self._fetch(tensor.storage)
        if len(self._data[key]) != tensor.storage.nbytes:
            raise CheckpointError(f"{self._where}: storage {printable(key)} has two sizes")
        return tensor.view(self._data[key], swap=self._swap)
