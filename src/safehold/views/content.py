"""The bytes of a stored file at any offset.  The one place of this package that knows how files are kept."""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import OrderedDict
from itertools import accumulate
from typing import Protocol

import msgspec

from safehold.core.entries import Entry, data_ranges
from safehold.core.errors import DamageError, FormatError
from safehold.repo import contents, files
from safehold.repo.reader import ChunkReader
from safehold.repo.seals import DATA

CACHED_PARTS = 4
"""Parts of a long chunk list kept per open file; each describes about 4 GB."""


class Content(Protocol):
    """The bytes of a stored file.  Safe to use from several threads."""

    size: int

    def read(self, offset: int, length: int) -> bytes:
        """Bytes from ``offset``; fewer at the end, zeros where holes are.  Raises ``DamageError``."""


def content_of(reader: ChunkReader, entry: Entry) -> Content:
    """The content of a file's entry.  Raises ``DamageError`` when its chunk list is damaged, or does not fit its size."""
    if entry.more is not None and entry.more.paged:
        return files.open_file(reader, entry)
    return Chunked(reader, entry)


class Run(msgspec.Struct, frozen=True, gc=False):
    """Chunks one after the other: their names, and where each begins."""

    names: list[bytes]
    starts: list[int]


class Chunked:
    """A file kept as chunks of its data, one after the other, holes left out.

    Of a file with a chunk list only the parts of the list that are read from are ever loaded.
    """

    def __init__(self, reader: ChunkReader, entry: Entry) -> None:
        self.size = entry.size
        self._reader = reader
        self._stretches = Stretches(entry)
        self._lock = threading.Lock()
        self._runs: OrderedDict[int, Run] = OrderedDict()
        more = entry.more
        if more is not None and more.map is not None:
            self._parts = contents.top_rows(reader, more.map)
            self._starts = [0, *accumulate(length for _, length in self._parts)]
            stored = self._starts.pop()
        else:
            self._parts, self._starts = [], [0]
            chunks = self._listed(entry)
            self._runs[0] = _run(chunks)
            stored = sum(length for _, length in chunks)
        if stored != self._stretches.stored:
            raise DamageError(f"The stored content of {entry.name!r} does not have the {entry.size} bytes it should.")

    def read(self, offset: int, length: int) -> bytes:
        end = min(offset + length, self.size)
        found = self._stretches.between(offset, end)
        if len(found) == 1 and found[0][1] - found[0][0] == end - offset:
            return self._read_stored(found[0][2], end - offset)
        data = bytearray(max(0, end - offset))
        for start, stop, stored in found:
            data[start - offset : stop - offset] = self._read_stored(stored, stop - start)
        return bytes(data)

    def _listed(self, entry: Entry) -> list[tuple[bytes, int]]:
        """The chunks that an entry lists; one alone that is all of the file need not be looked up."""
        names = contents.chunk_names(entry)
        if len(names) == 1 and self._stretches.stored == entry.size:
            return [(names[0], entry.size)]
        return [(name, self._reader.length(name)) for name in names]

    def _read_stored(self, offset: int, length: int) -> bytes:
        """Bytes of the content with the holes left out."""
        parts = []
        while length > 0:
            data = self._from_chunk(offset, length)
            parts.append(data)
            offset += len(data)
            length -= len(data)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _from_chunk(self, offset: int, length: int) -> bytes:
        """What the chunk at ``offset`` has of the bytes wanted."""
        part = bisect_right(self._starts, offset) - 1
        run = self._run(part)
        offset -= self._starts[part]
        number = bisect_right(run.starts, offset) - 1
        chunk = self._reader.read(DATA, run.names[number]) if number >= 0 else b""
        data = chunk[offset - run.starts[number] :][:length] if length < len(chunk) else chunk[offset - run.starts[number] :]
        if not data:
            raise DamageError("A chunk is shorter than the list that names it says.", "Run `safehold check`.")
        return data

    def _run(self, part: int) -> Run:
        with self._lock:
            run = self._runs.get(part)
            if run is not None:
                self._runs.move_to_end(part)
                return run
        name, length = self._parts[part]
        chunks = contents.part_rows(self._reader, name)
        if sum(size for _, size in chunks) != length:
            raise FormatError("A part of a chunk list does not have the length that its top map says.")
        run = _run(chunks)
        with self._lock:
            self._runs[part] = run
            while len(self._runs) > CACHED_PARTS:
                self._runs.popitem(last=False)
        return run


class Stretches:
    """What of a file is no hole."""

    def __init__(self, entry: Entry) -> None:
        """Raises ``FormatError`` for holes that cannot be."""
        self._all = list(data_ranges(entry.size, _holes(entry)))
        self._ends = [end for _, end in self._all]
        lengths = list(accumulate((end - start for start, end in self._all), initial=0))
        self._before = lengths[:-1]
        self.stored = lengths[-1]
        """Bytes that are no hole."""

    def between(self, offset: int, end: int) -> list[tuple[int, int, int]]:
        """Start and end of what lies within ``offset`` and ``end``, and how many stored bytes lie before it."""
        found = []
        for number in range(bisect_right(self._ends, offset), len(self._all)):
            start, stop = self._all[number]
            if start >= end:
                break
            low = max(start, offset)
            found.append((low, min(stop, end), self._before[number] + low - start))
        return found

    def data_from(self, offset: int) -> int | None:
        """Where the next data lies at or after ``offset``; None if only a hole follows."""
        number = bisect_right(self._ends, offset)
        return max(offset, self._all[number][0]) if number < len(self._all) else None

    def hole_from(self, offset: int) -> int:
        """Where the next hole begins at or after ``offset``; the end of a file counts as one."""
        number = bisect_right(self._ends, offset)
        if number < len(self._all) and self._all[number][0] <= offset:
            return self._all[number][1]
        return offset


def _holes(entry: Entry) -> list[int]:
    holes = (entry.more.holes if entry.more else None) or []
    at = 0
    for start, length in zip(holes[::2], holes[1::2], strict=False):
        if start < at or length <= 0:
            raise FormatError(f"The entry {entry.name!r} has holes that cannot be.")
        at = start + length
    if len(holes) % 2 or at > entry.size or entry.size < 0:
        raise FormatError(f"The entry {entry.name!r} has holes beyond its end.")
    return holes


def _run(chunks: list[tuple[bytes, int]]) -> Run:
    return Run([name for name, _ in chunks], list(accumulate((length for _, length in chunks), initial=0))[:-1])
