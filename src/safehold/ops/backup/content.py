"""Storing the content of one file while it may be changing."""

from __future__ import annotations

import os
from collections.abc import Callable

import msgspec

from safehold.codec.chunker import Chunker
from safehold.core.entries import data_ranges
from safehold.repo import contents
from safehold.repo.seals import DATA
from safehold.repo.writer import ALONE, STREAM, Adder
from safehold.sources.files.folders import read_at, read_soon

WINDOW = 8 * 1024 * 1024
"""Of a large file, so much is read at a time; no less than the most a chunk can have."""

TEXT = 64 * 1024
"""Content without a zero byte in so many bytes from its beginning is taken for text."""


class Content(msgspec.Struct, frozen=True, gc=False):
    """What was stored: chunk ids in a row, or the id of a chunk list; and how many bytes were read."""

    ids: bytes
    map: bytes | None
    size: int


class ContentWriter:
    """Reads files and stores their chunks.  Belongs to one thread."""

    def __init__(self, writer: Adder, chunker: Chunker, advance: Callable[[int], None]) -> None:
        """``advance`` is told of bytes read, for progress."""
        self._writer = writer
        self._chunker = chunker
        self._advance = advance
        self.large = chunker.sizes.large
        self._least = chunker.sizes.fine[0]

    def store(self, fd: int, size: int, holes: list[int] | None = None) -> Content:
        """The content of an open file that was said to have ``size`` bytes; what lies in ``holes`` is not read."""
        if size >= self.large or holes:
            return self.store_stream(_reader(fd, size, holes or []))
        data = os.read(fd, size + 1)
        if len(data) == size:
            return self.store_small(data)
        return self.store_stream(_after(data, fd))  # it has changed since it was looked at: to its end, wherever that is

    def store_small(self, data: bytes) -> Content:
        """The content of a file below the size that counts as large."""
        size = len(data)
        self._advance(size)
        if size <= self._least:
            return Content(self._writer.add(DATA, data) if data else b"", None, size)
        add = self._writer.add
        return Content(b"".join([add(DATA, piece.data) for piece in self._chunker.fine(data)]), None, size)

    def store_stream(self, read: Callable[[int], bytes], *, text: bool = False) -> Content:
        """Content of any length from ``read(most)``, which gives b"" at its end.  Short content is stored as a small file.

        ``text``: where it turns out to be text, it is cut as finely as small files are.  Of a dump of a database with 1,000
        changed rows, chunks of 1 MiB are nearly all new, and small ones nearly all known.
        """
        buffer = _fill(read, WINDOW)
        fine = text and b"\0" not in buffer[:TEXT]
        if len(buffer) < self.large:
            return self.store_small(buffer)
        chunks: list[tuple[bytes, int]] = []
        ended = False
        while buffer:
            ended = ended or len(buffer) < WINDOW
            buffer = self._cut(buffer, chunks, ended, fine)
            if not ended:
                buffer += _fill(read, WINDOW - len(buffer))
        return self._listed(chunks)

    def _cut(self, buffer: bytes, chunks: list[tuple[bytes, int]], ended: bool, fine: bool) -> bytes:
        """Store the chunks of a stretch; what is left over, because its end may not be a cut point."""
        pieces = list(self._chunker.fine(buffer) if fine else self._chunker.coarse(buffer))
        keep = 0 if ended or len(pieces) == 1 else pieces[-1].length
        for piece in pieces[:-1] if keep else pieces:
            chunks.append((self._writer.add(DATA, piece.data, STREAM if fine else ALONE), piece.length))
        self._advance(len(buffer) - keep)
        return buffer[len(buffer) - keep :] if keep else b""

    def _listed(self, chunks: list[tuple[bytes, int]]) -> Content:
        size = sum(length for _, length in chunks)
        if len(chunks) <= contents.DIRECT:
            return Content(b"".join(name for name, _ in chunks), None, size)
        return Content(b"", contents.write_list(self._writer, chunks), size)


def _after(head: bytes, fd: int) -> Callable[[int], bytes]:
    """Reads what was read already, then the rest of an open file."""
    pending = head

    def read(most: int) -> bytes:
        nonlocal pending
        if pending:
            data, pending = pending[:most], pending[most:]
            return data
        return os.read(fd, most)

    return read


def _fill(read: Callable[[int], bytes], wanted: int) -> bytes:
    parts = []
    while wanted > 0:
        data = read(wanted)
        if not data:
            break
        parts.append(data)
        wanted -= len(data)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _sequential(fd: int) -> Callable[[int], bytes]:
    """Reads an open file from front to back, with the next window asked of the disk while this one is worked on."""
    at = 0

    def read(most: int) -> bytes:
        nonlocal at
        read_soon(fd, at + most, most)
        data = os.read(fd, most)
        at += len(data)
        return data

    return read


def _reader(fd: int, size: int, holes: list[int]) -> Callable[[int], bytes]:
    """Reads what lies between the holes, in order; without holes, to the end of the file wherever that is by then."""
    if not holes:
        return _sequential(fd)
    ranges = data_ranges(size, holes)
    at, end = next(ranges, (0, 0))

    def read(most: int) -> bytes:
        nonlocal at, end
        while True:
            if at >= end:
                at, end = next(ranges, (0, 0))
                if end == 0:
                    return b""
            length = min(most, end - at)
            data = read_at(fd, length, at) or bytes(length)  # zeros where it was cut off meanwhile, so that the holes stay right
            at += len(data)
            return data

    return read
