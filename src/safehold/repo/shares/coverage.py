"""Which segments may be handed out as they are: those of which every byte is shared.  ``docs/sharing.md``.

Counted are bytes and not chunks: of a page that was stored with others and then overwritten, what else its chunk holds is an
older state of the file, which nobody meant to share.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from safehold.core.errors import DamageError
from safehold.repo.prune.columns import Columns
from safehold.repo.repository import Repository
from safehold.repo.seals import DATA
from safehold.repo.shards import ChunkPlace, SegmentPlace

Ranges = list[tuple[int, int]]
"""Start and end, ascending, neither touching nor overlapping."""


def merged(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """The same bytes, as ranges that do not touch."""
    found: Ranges = []
    for start, end in sorted(ranges):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return found


class Coverage:
    """Where the wanted chunks lie, and which of their segments hold nothing else."""

    def __init__(self, repository: Repository, wanted: Mapping[bytes, Ranges]) -> None:
        """``wanted``: of each chunk the bytes that are shared.  Raises ``DamageError`` for a chunk that is nowhere."""
        self._repository = repository
        self.places: dict[bytes, ChunkPlace] = {}
        self._segments: dict[bytes, SegmentPlace] = {}
        self._used: dict[bytes, list[tuple[int, int]]] = {}
        self._raw: dict[bytes, int] = {}
        self._proven: dict[bytes, int] = {}
        """Segments that a chunk was read from, because only a writer says that it lies there, and their raw length."""
        for name, ranges in wanted.items():
            self._take(name, ranges)
        self._measure()
        self.pure: dict[bytes, SegmentPlace] = {
            segment_id: self._segments[segment_id]
            for segment_id, used in self._used.items()
            if merged(used) == [(0, self._length(segment_id))] and self._stays(segment_id)
        }
        """By id.  Every byte of them is shared."""

    def raw(self, segment_id: bytes) -> int:
        """Bytes of a pure segment before it was compressed."""
        return self._length(segment_id)

    def _take(self, name: bytes, ranges: Ranges) -> None:
        repository = self._repository
        place = repository.index.find(name)
        if place is None:
            repository.index.refresh()
            place = repository.index.find(name)
        if place is None:
            raise DamageError(f"Data {name.hex()[:8]} is in no index.", "Run `safehold check`, then `safehold repair`.")
        segment = place.segment
        if not repository.index.vouches(name, place):
            # A hijacked writer could say that a chunk fills a segment that holds somebody else's files.
            repository.reader.read_at(DATA, name, place)
            self._proven[segment.id] = len(repository.reader.segment(segment))
        self.places[name] = place
        self._segments[segment.id] = segment
        self._used.setdefault(segment.id, []).extend((place.offset + start, place.offset + end) for start, end in ranges)

    def _measure(self) -> None:
        """How long each segment is: up to where any shard says that it holds a chunk."""
        for shard in self._repository.index.shards:
            columns = Columns(shard)
            ends = np.zeros(len(columns.segments), np.uint64)
            np.maximum.at(ends, columns.places[:, 0], columns.places[:, 1:].astype(np.uint64).sum(axis=1))
            for row, end in zip(columns.segments, ends.tolist(), strict=True):
                segment_id = row["id"].tobytes()
                if segment_id in self._used:
                    self._raw[segment_id] = max(self._raw.get(segment_id, 0), int(end))

    def _length(self, segment_id: bytes) -> int:
        return max(self._raw.get(segment_id, 0), self._proven.get(segment_id, 0))

    def _stays(self, segment_id: bytes) -> bool:
        return self._segments[segment_id].pack not in self._repository.index.avoid
