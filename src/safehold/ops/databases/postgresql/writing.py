"""The bytes of a base's files: of new ones all, of others where they differ."""

from __future__ import annotations

import errno
import mmap
import os
import sys
from collections.abc import Iterator

assert sys.platform != "win32"

import msgspec

from safehold.core.entries import Entry
from safehold.core.errors import DamageError
from safehold.ops.databases.postgresql.ground import Opened
from safehold.repo import contents
from safehold.repo.paged import BLOCK, Buffer, PageMap
from safehold.repo.reader import ChunkReader
from safehold.repo.seals import DATA
from safehold.sources.postgresql.names import PAGE

ALIGNED = 4096
"""Of what goes past the page cache, place and length are multiples of this."""


class Piece(msgspec.Struct, frozen=True, gc=False):
    """A stretch of a file, with the name that its bytes have; empty where that is not known."""

    offset: int
    length: int
    name: bytes


def pieces(reader: ChunkReader, entry: Entry) -> tuple[list[Piece], PageMap | None]:
    """The stretches of a file that cover all of it, and its page map if it has one.  Raises ``DamageError``."""
    if entry.more is not None and entry.more.paged:
        pages = PageMap(reader, entry)
        found = [Piece(at, min(BLOCK, entry.size - at), block.digest if block.extents else b"") for at, block in pages.blocks()]
        return found, pages
    listed = [Piece(piece.offset, piece.length, piece.name) for piece in contents.pieces(reader, entry)]
    if sum(piece.length for piece in listed) != entry.size:
        raise DamageError(f"The stored content of {entry.name!r} does not have the {entry.size} bytes it should.")
    return listed, None


def fill(file: Opened, reader: ChunkReader, wanted: list[Piece], pages: PageMap | None) -> int:
    """Write pieces of a new file that follow each other; the bytes that were written.  Raises ``DamageError``, OSError."""
    room = memoryview(mmap.mmap(-1, BLOCK))  # aligned as a disk wants it
    for piece in wanted:
        data = pages.block(piece.offset, room) if pages is not None else reader.read(DATA, piece.name)
        if file.direct < 0 or len(data) > BLOCK or not _write_direct(file.direct, room, data, piece.offset):
            _write(file.fd, data, piece.offset)
    return sum(piece.length for piece in wanted)


def update(fd: int, reader: ChunkReader, wanted: list[Piece], pages: PageMap | None) -> int:
    """Write pieces of a file where it differs; the bytes that were written.  Raises ``DamageError``, OSError."""
    written = 0
    for piece in wanted:
        old = _read(fd, piece)
        if piece.name and len(old) == piece.length and reader.name(DATA, old) == piece.name:
            continue
        data = pages.read(piece.offset, piece.length) if pages is not None else reader.read(DATA, piece.name)
        for start, stop in _differing(old, data):
            _write(fd, data[start:stop], piece.offset + start)
            written += stop - start
    return written


def _differing(old: bytes, new: bytes) -> Iterator[tuple[int, int]]:
    """Start and end of the stretches, in whole pages, that are not in ``new`` what they are in ``old``."""
    if len(old) != len(new):
        yield 0, len(new)
        return
    if old == new:
        return
    start = None
    for at in range(0, len(new), PAGE):
        if old[at : at + PAGE] == new[at : at + PAGE]:
            if start is not None:
                yield start, at
            start = None
        elif start is None:
            start = at
    if start is not None:
        yield start, len(new)


def _read(fd: int, piece: Piece) -> bytes:
    data = os.pread(fd, piece.length, piece.offset)
    while len(data) < piece.length and (more := os.pread(fd, piece.length - len(data), piece.offset + len(data))):
        data += more
    return data


def _write(fd: int, data: Buffer, offset: int) -> None:
    done = os.pwrite(fd, data, offset)
    while done < len(data):
        done += os.pwrite(fd, data[done:], offset + done)


def _write_direct(fd: int, room: memoryview, data: Buffer, offset: int) -> bool:
    """The same past the page cache, from aligned memory; False where the disk does not take it, as the end of a file."""
    if offset % ALIGNED or len(data) % ALIGNED:
        return False
    if isinstance(data, bytes):
        room[: len(data)] = data
    try:
        return os.pwrite(fd, room[: len(data)], offset) == len(data)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return False
