"""Index shards: immutable sorted tables from chunk to place.  ``docs/format/index.md``.

The body of an ``index`` object, and, byte for byte, the file that the local cache keeps of it and maps into memory:

    header | prefixes u64[n] | rests 16 B[n] | places 12 B[n] | segments 32 B[s] | packs 48 B[p] | tail (msgpack)

A chunk id is split: its first 8 bytes, read as a big-endian number, form the sorted column that is searched; the other 16 lie
beside it.  Columns make the search a C ``bisect`` over a mapped array: a repository of ten million chunks is opened without
building ten million objects.
"""

from __future__ import annotations

import struct
import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from safehold.core.errors import FormatError
from safehold.repo.packs import PackRecord
from safehold.repo.seals import SessionRef

MAGIC = b"SHINDEX1"
HEADER = struct.Struct("<8sQIIQ")
"""Magic, chunks, segments, packs, length of the tail."""
REST = 16
PLACE = struct.Struct("<III")
"""Segment (its number in this shard), offset in the raw segment, length."""
SEGMENT = struct.Struct("<16sIIII")
"""Id, pack and session (their numbers in this shard), offset in the pack, length."""
PACK = struct.Struct("<32sQB7x")
"""Id, size, kind."""
MOST_CHUNKS = 1_000_000
"""A writer starts another shard beyond this."""


class Tail(msgspec.Struct, array_like=True, frozen=True):
    """The part of a shard without fixed width."""

    sessions: list[SessionRef]
    replaces: list[str] = []
    """Names of older shards whose every living entry is in this one, or in others that were stored before it."""
    voucher: bytes = b""
    """Slot id of the device whose word the entries rest on, where a prune took them over from its shards."""


class SegmentPlace(msgspec.Struct, frozen=True, gc=False):
    """Where a segment lies, and whose key opens it."""

    id: bytes
    kind: int
    pack: bytes
    offset: int
    length: int
    session: SessionRef


class ChunkPlace(msgspec.Struct, frozen=True, gc=False):
    """Where a chunk lies: ``offset`` and ``length`` count raw bytes of the segment."""

    segment: SegmentPlace
    offset: int
    length: int


def encode(records: Sequence[PackRecord], replaces: Sequence[str] = ()) -> bytes:
    """The shard of these packs.  A chunk that lies in several places is listed in each."""
    sessions: dict[SessionRef, int] = {}
    rows: list[bytes] = []
    segments: list[bytes] = []
    for number, record in enumerate(records):
        for segment, chunks in zip(record.footer.segments, record.chunks, strict=True):
            session = sessions.setdefault(record.footer.sessions[segment.session], len(sessions))
            rows += _rows(len(segments), chunks)
            segments.append(SEGMENT.pack(segment.id, number, session, segment.offset, segment.length))
    packs = [PACK.pack(record.id, record.size, record.kind) for record in records]
    tail = msgspec.msgpack.encode(Tail(list(sessions), list(replaces)))
    return assemble(rows, segments, packs, tail)


def assemble(rows: list[bytes], segments: list[bytes], packs: list[bytes], tail: bytes) -> bytes:
    """A shard from rows of chunk id and packed place (sorted here) and encoded tables."""
    rows.sort()
    prefixes = array("Q", [int.from_bytes(row[:8], "big") for row in rows])
    if sys.byteorder == "big":
        prefixes.byteswap()
    return b"".join(
        [
            HEADER.pack(MAGIC, len(rows), len(segments), len(packs), len(tail)),
            prefixes.tobytes(),
            b"".join([row[8:24] for row in rows]),
            b"".join([row[24:] for row in rows]),
            *segments,
            *packs,
            tail,
        ]
    )


def _rows(segment: int, chunks: Iterable[tuple[bytes, int]]) -> Iterator[bytes]:
    offset = 0
    for name, length in chunks:
        yield name + PLACE.pack(segment, offset, length)
        offset += length


class Shard:
    """A shard over a buffer (bytes, or a mapped file).  Read-only; safe to use from several threads."""

    def __init__(self, name: str, buffer: bytes | memoryview, *, trusted: bool, signer: bytes = b"") -> None:
        """``trusted``: chunks listed here may be built upon (``Seals.trusts`` of whose word they rest on)."""
        view = memoryview(buffer)
        self.name = name
        if len(view) < HEADER.size:
            raise FormatError(f"Index shard {name[:8]} is shorter than its header.")
        magic, self.chunks, self.segments, self.pack_count, tail = HEADER.unpack_from(view)
        sizes = [8 * self.chunks, REST * self.chunks, PLACE.size * self.chunks, SEGMENT.size * self.segments]
        sizes += [PACK.size * self.pack_count, tail]
        if magic != MAGIC or HEADER.size + sum(sizes) != len(view):
            raise FormatError(f"Index shard {name[:8]} does not have the size that its header claims.")
        parts = []
        at = HEADER.size
        for size in sizes:
            parts.append(view[at : at + size])
            at += size
        self._prefixes = _numbers(parts[0])
        self.rests, self.places, self.segment_rows, self.pack_rows = parts[1:5]
        self.tail = self._decode_tail(parts[5])
        self.trusted = trusted
        self.signer = signer
        self._segment_places: dict[int, SegmentPlace] = {}

    def packs(self) -> list[tuple[bytes, int, int]]:
        """Id, size and kind of each pack."""
        return list(PACK.iter_unpack(self.pack_rows))

    def rows(self, name: bytes) -> Sequence[int]:
        """The numbers of the rows that list this chunk (mostly none or one)."""
        prefix = int.from_bytes(name[:8], "big")
        prefixes = self._prefixes
        row = bisect_left(prefixes, prefix)
        if row == self.chunks or prefixes[row] != prefix:
            return ()
        found = []
        while row < self.chunks and prefixes[row] == prefix:
            if self.rests[row * REST : row * REST + REST] == name[8:]:
                found.append(row)
            row += 1
        return found

    def place(self, row: int) -> ChunkPlace:
        """Where the chunk of a row lies.  Raises ``FormatError``."""
        segment, offset, length = PLACE.unpack_from(self.places, row * PLACE.size)
        return ChunkPlace(self._segment_places.get(segment) or self._segment(segment), offset, length)

    def pack_of(self, row: int) -> bytes:
        """The id of the pack that holds the chunk of a row."""
        return self.place(row).segment.pack

    def names(self) -> Iterator[bytes]:
        """Every chunk id, sorted; those that lie in several places more than once."""
        for row in range(self.chunks):
            yield self._prefixes[row].to_bytes(8, "big") + bytes(self.rests[row * REST : row * REST + REST])

    def prefixes(self) -> Sequence[int]:
        """The sorted first 8 bytes of the ids, as numbers."""
        return self._prefixes

    def all_segments(self) -> Iterator[SegmentPlace]:
        """Every segment listed here, in their order."""
        return (self.segment_place(n) for n in range(self.segments))

    def segment_place(self, number: int) -> SegmentPlace:
        """One segment by its number.  Raises ``FormatError``."""
        return self._segment_places.get(number) or self._segment(number)

    def _segment(self, number: int) -> SegmentPlace:
        try:
            segment_id, pack, session, offset, length = SEGMENT.unpack_from(self.segment_rows, number * SEGMENT.size)
            pack_id, _, kind = PACK.unpack_from(self.pack_rows, pack * PACK.size)
            place = SegmentPlace(segment_id, kind, pack_id, offset, length, self.tail.sessions[session])
        except (struct.error, IndexError) as error:
            raise FormatError(f"Index shard {self.name[:8]} points outside itself.") from error
        self._segment_places[number] = place
        return place

    def _decode_tail(self, data: memoryview) -> Tail:
        try:
            return msgspec.msgpack.decode(data, type=Tail)
        except (ValueError, RecursionError) as error:
            raise FormatError(f"The tail of index shard {self.name[:8]} cannot be read: {error}.") from error


def _numbers(column: memoryview) -> Sequence[int]:
    """The prefix column as machine integers."""
    if sys.byteorder == "little":
        return column.cast("Q")
    numbers = array("Q", bytes(column))
    numbers.byteswap()
    return numbers
