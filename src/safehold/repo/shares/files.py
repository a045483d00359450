"""Share files: a share that needs no server.  ``docs/format/shares.md``.

    magic (8) | length of the header (u32) | header (msgpack, clear) | manifest | objects, one after the other
"""

from __future__ import annotations

import struct
import threading
from pathlib import Path

import msgspec

from safehold.core.errors import DamageError, FormatError, UsageError
from safehold.repo.shares.keys import Lock
from safehold.repo.shares.manifest import LIMIT, STORED, Segment

MAGIC = b"SHSHFIL1"
PREFIX = struct.Struct("<8sI")
MOST_HEADER = 1024 * 1024


class Header(msgspec.Struct, array_like=True, frozen=True):
    """The clear part of a share file."""

    share: bytes
    lock: Lock
    manifest: int
    """Length."""
    objects: list[int]
    """Lengths."""


class ShareFile:
    """An opened file.  A ``ShareSource`` for what is in it; safe to use from several threads."""

    def __init__(self, path: Path) -> None:
        """Raises ``UsageError`` where there is no such file, ``FormatError`` where it is no share."""
        try:
            self._file = path.open("rb", buffering=0)
        except OSError as error:
            raise UsageError(f"The share file {path} cannot be read: {error.strerror}.", "Check its name.") from error
        self._lock = threading.Lock()
        try:
            self.header = self._read_header(path)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def manifest(self, offset: int, length: int) -> bytes:
        """Bytes of the manifest object, fewer at its end."""
        return self._read(self._manifest_at + offset, min(length, max(0, self.header.manifest - offset)))

    def segment(self, segment: Segment) -> bytes:
        """A sealed segment that is in the file.  Raises ``DamageError``."""
        if not STORED < segment.object <= len(self._objects_at):
            raise DamageError("This share file does not hold all that it should.", "Ask for it again.")
        size = self.header.objects[segment.object - 1]
        if segment.offset + segment.length > size:
            raise DamageError("This share file does not hold all that it should.", "Ask for it again.")
        data = self._read(self._objects_at[segment.object - 1] + segment.offset, segment.length)
        if len(data) != segment.length:
            raise DamageError("This share file is cut off.", "It was not copied or downloaded to its end; get it again.")
        return data

    def _read_header(self, path: Path) -> Header:
        begin = self._read(0, PREFIX.size)
        magic, length = PREFIX.unpack(begin) if len(begin) == PREFIX.size else (b"", 0)
        if magic != MAGIC or length > MOST_HEADER:
            raise FormatError(f"{path} is no share file.", "`safehold share create --file` makes one.")
        try:
            header = msgspec.msgpack.decode(self._read(PREFIX.size, length), type=Header)
        except (ValueError, RecursionError) as error:
            raise FormatError(f"The beginning of the share file {path} cannot be read: {error}.") from error
        if len(header.share) != 16 or header.manifest < 0 or any(size < 0 for size in header.objects):
            raise FormatError(f"The beginning of the share file {path} cannot be right.")
        self._manifest_at = PREFIX.size + length
        self._objects_at = []
        at = self._manifest_at + header.manifest
        for size in header.objects:
            self._objects_at.append(at)
            at += size
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


def encode_head(header: Header) -> bytes:
    """What a share file begins with."""
    data = msgspec.msgpack.encode(header)
    return PREFIX.pack(MAGIC, len(data)) + data
