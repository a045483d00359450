"""The spool: WAL files that are safe on this machine and not yet in the repository.  ``docs/postgresql.md``, "The spool".

A folder with ``segments/NAME`` (a zstd frame with a checksum, durable under its name), ``system`` (whose log it is),
``committed`` (names and SHA-256 of what has gone to the repository), ``state.json`` (how the uploader fares), ``refused`` (why a
file was not taken) and ``uploader.lock``.

`archive-push` runs once for every segment while the server waits, so this module imports next to nothing.
"""

from __future__ import annotations

import errno
import mmap
import os
import sys
from io import FileIO

from safehold.core.errors import LogConflict, LogDamaged, StoreFull
from safehold.sources.postgresql import raw_zstd
from safehold.sources.postgresql.wal import LONG_HEADER, check_header, parse_name, read_header

LIMIT = 16 << 30
"""Bytes that a spool may take, unless an option says otherwise."""
LEVEL = -1
"""Of zstd: 11 ms of CPU for a segment where level 1 takes 13, at nine tenths of its gain."""
SEGMENTS = "segments"
PARTIAL = "partial"
COMMITTED = "committed"
REFUSED = "refused"
STATE = "state.json"
LOCK = "uploader.lock"
_SYSTEM = "system"
_FULL = {errno.ENOSPC, errno.EDQUOT}


class Spool:
    """The spool in a folder, which is made when the first file comes."""

    def __init__(self, folder: str, limit: int = LIMIT) -> None:
        self.folder = os.path.abspath(folder)
        self.segments = os.path.join(self.folder, SEGMENTS)
        self.limit = limit

    def path(self, name: str) -> str:
        """Of a file of the spool itself."""
        return os.path.join(self.folder, name)

    def add(self, path: str) -> bool:
        """Take a WAL file; False if it is here, or was, with the same content.

        Durable when this returns.  Raises ``LogConflict`` if it is of another database, or another file of that name was taken;
        ``StoreFull`` if there is no room; ``FormatError`` if it is not what its name says; ``OSError``.
        """
        name = os.path.basename(path)
        if parse_name(name) is None:
            raise LogConflict(f"{name} is no name of a WAL file.", "archive_command is: safehold pg archive-push %p")
        os.makedirs(self.segments, mode=0o700, exist_ok=True)
        with open(path, "rb", buffering=0) as source:
            self._check_system(source.read(LONG_HEADER), path, name)
            source.seek(0)
            if self._is_known(name, path):
                return False
            self._require_room(os.fstat(source.fileno()).st_size)
            try:
                self._store(name, source)
            except OSError as error:
                if error.errno in _FULL:
                    raise self._refusal(f"There is no room for {name} in the spool {self.folder}: its disk is full.") from error
                raise
        if os.path.exists(self.path(REFUSED)):
            os.unlink(self.path(REFUSED))
        return True

    def names(self) -> list[str]:
        """What waits here, in the order of the log; history files first."""
        try:
            found = [name for name in os.listdir(self.segments) if parse_name(name)]
        except FileNotFoundError:
            return []
        return sorted(found, key=lambda name: (not name.endswith(".history"), name))

    def open(self, name: str) -> bytes:
        """A file that waits here, whole.  Raises ``FileNotFoundError``, ``LogDamaged``."""
        with open(os.path.join(self.segments, name), "rb") as packed:
            return _unpack(packed.read(), packed.name)

    def partials(self) -> list[str]:
        """Segments that a receiver is at work on (``receiving.py``)."""
        try:
            return sorted(name for name in os.listdir(self.path(PARTIAL)) if name.endswith(".partial") and parse_name(name))
        except FileNotFoundError:
            return []

    def open_partial(self, name: str) -> bytes:
        """What there is of one of them."""
        with open(os.path.join(self.path(PARTIAL), name), "rb") as file:
            return file.read()

    def system(self) -> tuple[str, int]:
        """The system identifier of the database and the size of its segments; "" and 0 while nothing was taken."""
        try:
            with open(self.path(_SYSTEM), encoding="ascii") as file:
                words = file.read().split()
        except FileNotFoundError:
            return "", 0
        return (words[0], int(words[1])) if len(words) == 2 else ("", 0)

    def set_system(self, system: str, segment: int) -> None:
        """Whose log this is.  Raises ``LogConflict`` if it is another's already."""
        known, _ = self.system()
        if not known:
            os.makedirs(self.segments, mode=0o700, exist_ok=True)
            self.replace(_SYSTEM, f"{system} {segment}\n".encode())
        elif known != system:
            raise LogConflict(
                f"The spool {self.folder} holds WAL of the database system {known}, and this is of {system}.",
                "Give each database cluster a spool of its own with --spool.",
            )

    def forget(self, committed: dict[str, str], most: int = 20_000) -> None:
        """Let files go that are durable in the repository: name -> SHA-256 in hexadecimal digits.

        Their names are kept, so that one that comes again is known: the last ``most`` of them.
        """
        lines = self._committed().decode().splitlines()
        lines = [line for line in lines if line.split(" ")[0] not in committed]
        lines += [f"{name} {digest}" for name, digest in committed.items()]
        content = "".join(f"{line}\n" for line in lines[-most:]).encode()
        noted = self._note(COMMITTED, content)
        for name in committed:
            os.unlink(os.path.join(self.segments, name))
        if not noted:
            self.replace(COMMITTED, content)

    def _note(self, name: str, content: bytes) -> bool:
        """Write a file of the spool itself, where its disk is not full; whether it was written."""
        try:
            self.replace(name, content)
        except OSError as error:
            if error.errno not in _FULL:
                raise
            return False
        return True

    def note(self, name: str, content: bytes) -> None:
        """Write a file of the spool itself that may be missing: a full disk must not keep the spool from being emptied."""
        self._note(name, content)

    def replace(self, name: str, content: bytes) -> None:
        """Write a file of the spool itself, durable and all or nothing."""
        write(self.folder, name, content)

    def _check_system(self, head: bytes, path: str, name: str) -> None:
        parsed = parse_name(name)
        if parsed is not None and parsed.kind in {"segment", "partial"}:
            header = read_header(head, name)
            check_header(header, name)
            self.set_system(str(header.system), header.segment)
            return
        system = system_beside(path)
        known, _ = self.system()
        if system and known:
            self.set_system(system, 0)

    def _is_known(self, name: str, path: str) -> bool:
        digest = self._digest_of_committed(name)
        try:
            known = self.open(name) if not digest else None
        except FileNotFoundError:
            return False
        with open(path, "rb", buffering=0) as source:
            content = source.read()
        if known == content if known is not None else _sha256(content) == digest:
            return True
        raise LogConflict(
            f"{name} was archived before with other content; it is not replaced.",
            "Two servers archive into one spool, or this one was restored from a backup: give it a spool of its own.",
        )

    def _digest_of_committed(self, name: str) -> str:
        lines = b"\n" + self._committed()
        at = lines.find(b"\n%s " % name.encode())
        return lines[at + 2 + len(name) :].split(b"\n", 1)[0].decode() if at >= 0 else ""

    def _committed(self) -> bytes:
        try:
            with open(self.path(COMMITTED), "rb") as file:
                return file.read()
        except FileNotFoundError:
            return b""

    def _require_room(self, size: int) -> None:
        with os.scandir(self.segments) as found:
            taken = sum(entry.stat().st_size for entry in found)
        if taken + (size >> 3) > self.limit:
            raise self._refusal(f"The spool {self.folder} is full: {taken} bytes wait there, and its limit is {self.limit}.")

    def _refusal(self, message: str) -> StoreFull:
        hint = "The server keeps its WAL until there is room; `safehold db status` says why nothing is uploaded."
        self.note(REFUSED, message.encode())
        return StoreFull(message, hint)

    def _store(self, name: str, source: FileIO) -> None:
        compressor = raw_zstd.load().ZstdCompressor(options={raw_zstd.LEVEL: LEVEL, raw_zstd.CHECKSUM: 1})
        if not os.fstat(source.fileno()).st_size:  # nothing to map
            write(self.segments, name, compressor.flush())
            return
        # Mapped and in one go, nothing is copied on the way in: 11 ms for a segment instead of 15.
        with mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ) as content:
            packed = compressor.compress(content, raw_zstd.WHOLE)
        write(self.segments, name, packed)


def system_beside(path: str) -> str:
    """The system identifier in the ``pg_control`` of the data folder that a file of ``pg_wal`` lies in; "" if it isn't there."""
    for root in (os.path.join(os.path.dirname(path), os.pardir), os.curdir):
        try:
            with open(os.path.join(root, "global", "pg_control"), "rb") as control:
                return str(int.from_bytes(control.read(8), sys.byteorder))
        except OSError:
            continue
    return ""


def _unpack(data: bytes, path: str) -> bytes:
    zstd = raw_zstd.load()
    unpacking = zstd.ZstdDecompressor()
    try:
        content = bytes(unpacking.decompress(data))
    except zstd.ZstdError as error:
        raise LogDamaged(f"{path} is damaged: {error}.", "Check that disk, and take a new base.") from error
    if not unpacking.eof:
        raise LogDamaged(f"{path} is damaged: its end is missing.", "Check that disk, and take a new base.")
    return content


def write(folder: str, name: str, content: bytes) -> None:
    """A file under its name, durable, all or nothing.  Names with a dot in front are of writes that were cut off."""
    temporary = os.path.join(folder, f".{name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "wb", buffering=0) as file:
            view = memoryview(content)
            while view:
                view = view[file.write(view) :]
            os.fsync(file.fileno())
        os.replace(temporary, os.path.join(folder, name))
    except BaseException:
        os.unlink(temporary)
        raise
    sync_folder(folder)


def sync_folder(folder: str) -> None:
    """Make the names in a folder durable, where the system can."""
    if sys.platform != "win32":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _sha256(content: bytes) -> str:
    import hashlib

    return hashlib.sha256(content).hexdigest()
