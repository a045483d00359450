"""The content of a stored file, however it is kept: whole, by ranges, and which chunks it needs."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from typing import Protocol

from safehold.core.entries import Entry, data_ranges
from safehold.core.errors import DamageError, FormatError
from safehold.repo import contents, paged
from safehold.repo.reader import ChunkReader
from safehold.repo.seals import DATA, ID_SIZE, MAP
from safehold.repo.segments import LIMIT

STEP = 1024 * 1024


class FileContent(Protocol):
    """The bytes of a stored file.  Raises ``DamageError`` when what it needs is missing or damaged."""

    size: int

    def read(self, offset: int, length: int) -> bytes:
        """Bytes from ``offset``; fewer at the end, zeros where holes are."""

    def pieces(self) -> Iterator[tuple[int, int]]:
        """Offset and length of stretches that cover all that is not a hole, in order, cut where reading is cheapest."""


def open_file(reader: ChunkReader, entry: Entry) -> FileContent:
    """The content of a file's entry."""
    if entry.more is not None and entry.more.paged:
        return _Paged(reader, entry)
    return _Chunked(reader, entry)


def small_content(reader: ChunkReader, entry: Entry) -> bytes | None:
    """The whole content of a file that lists its chunks and has no holes; None for others."""
    if entry.more is not None and (entry.more.map is not None or entry.more.holes):
        return None
    if len(entry.content) == ID_SIZE:
        data = reader.read(DATA, entry.content)
    else:
        data = b"".join([reader.read(DATA, name) for name in contents.chunk_names(entry)])
    if len(data) != entry.size:
        raise DamageError(f"The stored content of {entry.name!r} has {len(data)} bytes, not the {entry.size} it should.")
    return data


def references(reader: ChunkReader, entry: Entry) -> Iterator[tuple[int, bytes]]:
    """Every chunk that a file's content needs, as (kind, id), some more than once.  Each map comes right before it is read."""
    more = entry.more
    if more is None or more.map is None:
        for name in contents.chunk_names(entry):
            yield DATA, name
        return
    for kind, name, _, _ in mapped(reader, entry, more.map):
        yield kind, name


def mapped(reader: ChunkReader, entry: Entry, top: bytes) -> Iterator[paged.Claim]:
    """The same for a file with a map, with the least and the most bytes that each chunk must have by what the maps say.

    Raises ``FormatError`` where the maps contradict themselves.
    """
    yield MAP, top, 0, LIMIT
    if entry.more is not None and entry.more.paged:
        yield from paged.claims(reader, entry)
        return
    for part, below in contents.top_rows(reader, top):
        yield MAP, part, 0, LIMIT
        rows = contents.part_rows(reader, part)
        if sum(length for _, length in rows) != below:
            raise FormatError("A part of a chunk list does not have the bytes that the list says.")
        for name, length in rows:
            yield DATA, name, length, length


def require_size(reader: ChunkReader, entry: Entry, top: bytes) -> None:
    """Raise ``FormatError`` unless the map of a file has as many bytes as the entry says."""
    if entry.more is not None and entry.more.paged:
        paged.PageMap(reader, entry)
    elif sum(length for _, length in contents.top_rows(reader, top)) != stored_size(entry):
        raise FormatError(f"The chunk list of {entry.name!r} does not have the {entry.size} bytes it should.")


def stored_size(entry: Entry) -> int:
    """Bytes of a file's content, holes left out.  Raises ``FormatError`` for holes that cannot be."""
    return sum(end - start for start, end, _ in _stretches(entry))


def stream(content: FileContent) -> Iterator[bytes]:
    """All bytes of a file, holes as zeros."""
    at = 0
    for offset, length in content.pieces():
        yield from _zeros(offset - at)
        yield content.read(offset, length)
        at = offset + length
    yield from _zeros(content.size - at)


def _zeros(count: int) -> Iterator[bytes]:
    while count > 0:
        yield bytes(min(count, STEP))
        count -= STEP


class _Chunked:
    """A file kept as chunks of its data, one after the other, holes left out."""

    def __init__(self, reader: ChunkReader, entry: Entry) -> None:
        self.size = entry.size
        self._reader = reader
        self._chunks = list(contents.pieces(reader, entry))
        self._stretches = _stretches(entry)
        if sum(chunk.length for chunk in self._chunks) != stored_size(entry):
            raise DamageError(f"The stored content of {entry.name!r} does not have the {entry.size} bytes it should.")

    def pieces(self) -> Iterator[tuple[int, int]]:
        chunks = iter(self._chunks)
        chunk = next(chunks, None)
        for start, end, first in self._stretches:
            at = first
            while at < first + end - start and chunk is not None:
                stop = min(chunk.offset + chunk.length, first + end - start)
                yield start + at - first, stop - at
                at = stop
                if stop == chunk.offset + chunk.length:
                    chunk = next(chunks, None)

    def read(self, offset: int, length: int) -> bytes:
        end = min(offset + length, self.size)
        data = bytearray(max(0, end - offset))
        for start, stop, first in self._stretches:
            low, high = max(offset, start), min(end, stop)
            if low < high:
                data[low - offset : high - offset] = self._read_stored(first + low - start, high - low)
        return bytes(data)

    def _read_stored(self, offset: int, length: int) -> bytes:
        """Bytes of the content with the holes left out."""
        number = bisect_right(self._chunks, offset, key=lambda chunk: chunk.offset) - 1
        parts = []
        while length > 0:
            chunk = self._chunks[number]
            inside = offset - chunk.offset
            data = self._reader.read(DATA, chunk.name)
            if len(data) != chunk.length:
                raise DamageError("A chunk does not have the length that the list that names it says.")
            part = data[inside : inside + length]
            parts.append(part)
            offset += len(part)
            length -= len(part)
            number += 1
        return b"".join(parts)


class _Paged:
    """A paged file."""

    def __init__(self, reader: ChunkReader, entry: Entry) -> None:
        self.size = entry.size
        self._map = paged.PageMap(reader, entry)

    def pieces(self) -> Iterator[tuple[int, int]]:
        for offset, block in self._map.blocks():
            if block.extents:
                yield offset, min(paged.BLOCK, self.size - offset)

    def read(self, offset: int, length: int) -> bytes:
        return self._map.read(offset, length)


def _stretches(entry: Entry) -> list[tuple[int, int, int]]:
    """Start and end of what is no hole, and how many stored bytes lie before it."""
    holes = (entry.more.holes if entry.more else None) or []
    at = 0
    for start, length in zip(holes[::2], holes[1::2], strict=False):
        if start < at or length <= 0:
            raise FormatError(f"The entry {entry.name!r} has holes that cannot be.")
        at = start + length
    if len(holes) % 2 or at > entry.size:
        raise FormatError(f"The entry {entry.name!r} has holes beyond its end.")
    found = []
    first = 0
    for start, end in data_ranges(entry.size, holes):
        found.append((start, end, first))
        first += end - start
    return found
