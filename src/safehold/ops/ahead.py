"""Reading chunks with their segments fetched and opened before they are asked for.

Threads fetch whole segments, which lets go of Python's lock for milliseconds.  Handing them single chunks, to be compared with
their names as well, was slower than no threads at all: each lock that is let go for microseconds has to be waited for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from safehold.repo.reader import ChunkReader
from safehold.repo.shards import ChunkPlace

THREADS = 2
"""Enough to hide a store's round trips; more than two have no use where they take none."""
MOST_SEGMENTS = 12
MOST_BYTES = 16 << 20
"""So much is fetched ahead, in stored bytes: what comes of it has room in the reader's memory, mostly."""


class Ahead:
    """Reads chunks of one kind.  Belongs to one thread."""

    def __init__(self, pool: ThreadPoolExecutor, reader: ChunkReader, kind: int, wanted: Iterator[bytes]) -> None:
        """``wanted``: names of chunks in the order in which they will be taken, mostly."""
        self._pool = pool
        self._reader = reader
        self._kind = kind
        self._wanted = wanted
        self._places: dict[bytes, ChunkPlace] = {}
        self._segments: Counter[bytes] = Counter()
        """Of each segment fetched ahead, how many chunks have not been taken."""
        self._bytes = 0

    def take(self, name: bytes) -> bytes:
        """The bytes of a chunk.  Raises ``DamageError``, and what ``wanted`` raises."""
        while len(self._segments) < MOST_SEGMENTS and self._bytes < MOST_BYTES and self.advance():
            continue
        place = self._places.pop(name, None)
        if place is None:
            return self._reader.read(self._kind, name)
        self._taken(place)
        return self._reader.read_at(self._kind, name, place)

    def expects(self, name: bytes) -> bool:
        """Whether a chunk was wanted and has not been taken."""
        return name in self._places

    def advance(self) -> bool:
        """Look at one more chunk that is wanted; False at the end."""
        name = next(self._wanted, None)
        if name is None:
            return False
        place = self._reader.place(name) if name not in self._places else None
        if place is not None:
            self._places[name] = place
            self._expect(place)
        return True

    def _expect(self, place: ChunkPlace) -> None:
        if place.segment.id not in self._segments:
            self._bytes += place.segment.length
            self._pool.submit(self._reader.segment, place.segment)  # what it raises is raised when a chunk is taken
        self._segments[place.segment.id] += 1

    def _taken(self, place: ChunkPlace) -> None:
        self._segments[place.segment.id] -= 1
        if not self._segments[place.segment.id]:
            del self._segments[place.segment.id]
            self._bytes -= place.segment.length
