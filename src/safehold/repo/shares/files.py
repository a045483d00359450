"""Share files: a share that needs no server.  ``docs/format/shares.md``.

    magic (8) | segments | manifest | header (msgpack, clear) | tail (12): length of the header (u32), magic

The end comes last, so a file is written in one go, and one that was cut off is known at once.
"""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec

from safehold.core.errors import DamageError, FormatError, TargetError, UsageError
from safehold.repo.shares.keys import Lock
from safehold.repo.shares.manifest import LIMIT, STORED, Segment
from safehold.storage.filesystem import replace_durably

MAGIC = b"SHSHFIL1"
END = b"SHSHEND1"
TAIL = struct.Struct("<I8s")
MOST_HEADER = 1024 * 1024
SUFFIX = ".safehold-share"


class Header(msgspec.Struct, array_like=True, frozen=True):
    """The clear part of a share file."""

    share: bytes
    lock: Lock
    data: int
    """Bytes of all segments in the file."""
    manifest: int
    """Bytes of the manifest."""


class ShareFile:
    """An opened file.  A ``ShareSource`` for what is in it; safe to use from several threads."""

    def __init__(self, path: Path, elsewhere: Callable[[Segment], bytes] | None = None) -> None:
        """``elsewhere``: fetches segments that are not in the file.

        Raises ``UsageError`` where there is no such file, ``FormatError`` where it is no share.
        """
        self.elsewhere = elsewhere
        self._lock = threading.Lock()
        try:
            self._file = path.open("rb", buffering=0)
        except OSError as error:
            raise UsageError(f"The share file {path} cannot be read: {error.strerror}.", "Check its name.") from error
        try:
            self.header = self._read_header(path)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def manifest(self, offset: int, length: int) -> bytes:
        """Bytes of the manifest, fewer at its end."""
        return self._read(len(MAGIC) + self.header.data + offset, min(length, max(0, self.header.manifest - offset)))

    def segment(self, segment: Segment) -> bytes:
        """A sealed segment.  Raises ``DamageError``."""
        if segment.object == STORED:
            if self.elsewhere is None:
                raise DamageError("This share file does not hold all that it should.", "Ask for it again.")
            return self.elsewhere(segment)
        if segment.object != 1 or segment.offset + segment.length > self.header.data:
            raise DamageError("This share file does not hold all that it should.", "Ask for it again.")
        return self._read(len(MAGIC) + segment.offset, segment.length)

    def _read_header(self, path: Path) -> Header:
        size = self._file.seek(0, os.SEEK_END)
        if self._read(0, len(MAGIC)) != MAGIC:
            raise FormatError(f"{path} is no share file.", "`safehold share create --file` makes one.")
        end = self._read(max(0, size - TAIL.size), TAIL.size)
        length, magic = TAIL.unpack(end) if len(end) == TAIL.size else (0, b"")
        if magic != END or length > min(MOST_HEADER, size):
            raise FormatError(f"The share file {path} is cut off.", "It was not copied or downloaded to its end; get it again.")
        try:
            header = msgspec.msgpack.decode(self._read(size - TAIL.size - length, length), type=Header)
        except (ValueError, RecursionError) as error:
            raise FormatError(f"The share file {path} cannot be read: {error}.") from error
        whole = len(MAGIC) + header.data + header.manifest + length + TAIL.size
        if len(header.share) != 16 or header.data < 0 or header.manifest < 0 or whole != size:
            raise FormatError(f"The share file {path} does not have the size that it should.", "Get it again.")
        return header

    def _read(self, offset: int, length: int) -> bytes:
        if length > 2 * LIMIT:
            raise FormatError("This share file asks for more memory than any share needs.")
        with self._lock:
            self._file.seek(offset)
            parts = []
            while length > 0 and (data := self._file.read(length)):
                parts.append(data)
                length -= len(data)
        return b"".join(parts)


class FileSink:
    """Writes a share file: a ``Sink`` for its segments, then the rest.  Nothing has its name until it is whole."""

    def __init__(self, path: Path) -> None:
        """Raises ``TargetError``; also if there is a file of that name."""
        self._path = path
        self._partial = path.with_name(path.name + ".partial")
        self._size = 0
        try:
            if path.exists():
                raise TargetError(f"There already is a file {path}.", "A share file never replaces one; name another.")
            self._file = os.fdopen(os.open(self._partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")
            self._file.write(MAGIC)
        except OSError as error:
            raise TargetError(f"The share file {path} cannot be written: {error.strerror}.", "Name another place.") from error

    def write(self, body: bytes) -> tuple[int, int]:
        """Take a segment.  Raises ``TargetError``."""
        at = self._size
        self._put(body)
        self._size += len(body)
        return 1, at

    def finish(self) -> None:
        """Segments are all in."""

    def close(self, share: bytes, lock: Lock, manifest: bytes) -> int:
        """End the file, durably, and give it its name; its size.  Raises ``TargetError``."""
        header = msgspec.msgpack.encode(Header(share, lock, self._size, len(manifest)))
        self._put(manifest + header + TAIL.pack(len(header), END))
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            size = self._file.tell()
            self._file.close()
            replace_durably(str(self._partial), str(self._path))
        except OSError as error:
            raise TargetError(f"The share file {self._path} cannot be written: {error.strerror}.") from error
        return size

    def abort(self) -> None:
        """Remove what there is of it."""
        with suppress(OSError):
            self._file.close()
        with suppress(OSError):
            self._partial.unlink(missing_ok=True)

    def _put(self, data: bytes) -> None:
        try:
            self._file.write(data)
        except OSError as error:
            raise TargetError(f"The share file {self._path} cannot be written: {error.strerror}.") from error
