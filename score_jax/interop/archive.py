"""Single files out of a zip that nobody vouches for.

Names that point outside, links, encryption, unknown compression and entries that would unpack to
more than they may are refused before anything is written; nothing is ever written under a name
that the zip chose.
"""

import stat
import zipfile
import zlib
from io import BufferedWriter
from pathlib import Path
from types import TracebackType
from typing import Any, Final, final

from score_jax.errors import CheckpointError
from score_jax.interop.pickle_machine import printable

MAX_ENTRIES: Final = 100_000
MAX_FILE_BYTES: Final = 8 << 30
MAX_RATIO: Final = 200  # weights hardly compress; text does, to about a tenth
_CHUNK: Final = 1 << 20
_BROKEN: Final = (
    zipfile.BadZipFile, zlib.error, EOFError, ValueError, LookupError, NotImplementedError,
    RuntimeError, OverflowError,
)  # fmt: skip


@final
class Archive:
    """A zip opened for reading, every entry judged; use it in a ``with``.

    Raises:
      CheckpointError: not a zip, damaged, or an entry that is refused, by name.
    """

    def __init__(self, path: Path) -> None:
        self._where = str(path)
        try:
            self._zip = zipfile.ZipFile(path)
        except OSError as error:
            raise CheckpointError(f"{path}: {error.strerror or error}") from None
        except _BROKEN as error:
            raise CheckpointError(f"{path}: not a zip archive ({printable(str(error))})") from None
        try:
            self._entries = self._judged()
        except CheckpointError:
            self._zip.close()
            raise

    def __enter__(self) -> "Archive":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._zip.close()

    @property
    def names(self) -> tuple[str, ...]:
        """The files in it (folders are not listed)."""
        return tuple(self._entries)

    def read(self, name: str, most: int) -> bytes:
        """The content of a small file.

        Raises:
          CheckpointError: no such file, larger than `most` bytes, or damaged.
        """
        entry = self._entry(name)
        if entry.file_size > most:
            raise CheckpointError(f"{self._where}/{printable(name)}: larger than {most} bytes")
        try:
            with self._zip.open(entry) as file:
                return file.read(most)
        except _BROKEN as error:
            raise self._damaged(name, error) from None

    def unpack(self, name: str, target: Path) -> None:
        """Write the file `name` as `target`.

        Raises:
          CheckpointError: no such file, damaged, or the disk is full.
        """
        entry = self._entry(name)
        try:
            with self._zip.open(entry) as file, target.open("wb") as out:
                self._copy(file, out, entry.file_size, name)
        except OSError as error:
            raise CheckpointError(f"{target}: {error.strerror or error}") from None
        except _BROKEN as error:
            if isinstance(error, CheckpointError):
                raise
            raise self._damaged(name, error) from None

    def _copy(self, file: Any, out: BufferedWriter, size: int, name: str) -> None:
        left = size
        while chunk := file.read(_CHUNK):
            left -= len(chunk)
            if left < 0:
                raise CheckpointError(
                    f"{self._where}/{printable(name)}: unpacks to more than it says"
                )
            out.write(chunk)

    def _entry(self, name: str) -> zipfile.ZipInfo:
        if name not in self._entries:
            raise CheckpointError(f"{self._where}: no file {printable(name)} in it")
        return self._entries[name]

    def _damaged(self, name: str, error: Exception) -> CheckpointError:
        return CheckpointError(
            f"{self._where}/{printable(name)}: damaged ({printable(str(error))})"
        )

    def _judged(self) -> dict[str, zipfile.ZipInfo]:
        listed = self._zip.infolist()
        if len(listed) > MAX_ENTRIES:
            raise CheckpointError(f"{self._where}: {len(listed)} entries; at most {MAX_ENTRIES}")
        entries: dict[str, zipfile.ZipInfo] = {}
        for entry in listed:
            wrong = "is there twice" if entry.filename in entries else _wrong_with(entry)
            if wrong:
                raise CheckpointError(
                    f"{self._where}: zip entry {printable(entry.filename)!r} {wrong}"
                )
            if not entry.is_dir():
                entries[entry.filename] = entry
        return entries


def _wrong_with(entry: zipfile.ZipInfo) -> str:
    parts = entry.filename.replace("\\", "/").split("/")
    if ".." in parts or entry.filename.startswith(("/", "\\")) or ":" in parts[0]:
        return "points outside the archive"
    if stat.S_ISLNK(entry.external_attr >> 16):
        return "is a link"
    if entry.flag_bits & 1:
        return "is encrypted"
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return f"is compressed by method {entry.compress_type}; expected stored or deflated"
    if entry.file_size > MAX_FILE_BYTES:
        return f"unpacks to {entry.file_size} bytes; at most {MAX_FILE_BYTES} are read"
    if entry.file_size > MAX_RATIO * (entry.compress_size + 4096):
        return f"unpacks to {entry.file_size} bytes from {entry.compress_size}"
    return ""
