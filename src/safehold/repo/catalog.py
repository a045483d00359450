"""The whole index as columns: every shard merged into one sorted table, with a mark for what turned out to be damaged.

Ten million chunks are arrays of about 400 MB here, never ten million Python objects.  Lookups take many names at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from safehold.repo.seals import ID_SIZE, SessionRef
from safehold.repo.segments import LIMIT
from safehold.repo.shards import Shard

Numbers = NDArray[np.signedinteger[Any]]

_SEGMENT = np.dtype([("id", "V16"), ("pack", "<u4"), ("session", "<u4"), ("offset", "<u4"), ("length", "<u4")])
_PACK = np.dtype([("id", "V32"), ("size", "<u8"), ("kind", "u1"), ("pad", "V7")])


class Listed(msgspec.Struct, frozen=True):
    """A segment as the index lists it."""

    number: int
    """In this catalogue."""
    id: bytes
    kind: int
    offset: int
    length: int
    session: SessionRef
    trusted: bool


class Catalog:
    """Chunk -> row -> segment -> pack, over all shards."""

    def __init__(self, shards: Sequence[Shard]) -> None:
        self.shards = list(shards)
        self.implausible: set[str] = set()
        """Names of shards with rows that point where nothing can be, or that are not sorted."""
        self.packs: list[tuple[bytes, int, int]] = []
        """Id, size and kind of every pack, as often as shards list it."""
        self.kinds = np.zeros(0, np.uint8)
        """Per segment: what it holds.  One more of no kind stands at the end, for rows that point outside."""
        self._join_segments()
        self.bad_segments = np.zeros(len(self.kinds), bool)
        self._join_rows()
        self.bad_rows = self._implausible_rows()
        self.whole = np.zeros(len(self.prefixes), bool)
        """Rows of trees and maps below which everything is known to be well."""

    def find(self, names: bytes, kind: int) -> Numbers:
        """The row of each of these chunks (ids in a row) that is of that kind and not damaged; -1 where there is none."""
        prefix, rest = _split(names)
        at = np.searchsorted(self.prefixes, prefix).astype(np.int64)
        found = np.full(len(prefix), -1, np.int64)
        left = np.arange(len(prefix))
        while left.size:
            left = left[at[left] < len(self.prefixes)]
            left = left[self.prefixes[at[left]] == prefix[left]]
            rows = at[left]
            segments = self.row_segment[rows]
            good = (self.rests[rows] == rest[left]).all(axis=1) & (self.kinds[segments] == kind)
            good &= ~self.bad_rows[rows] & ~self.bad_segments[segments]
            found[left[good]] = rows[good]
            left = left[~good]
            at[left] += 1
        return found

    def find_one(self, name: bytes, kind: int) -> int:
        """The row of one chunk, or -1."""
        return int(self.find(name, kind)[0])

    def listed_in(self, name: bytes) -> list[bytes]:
        """Ids of all packs that are said to hold a chunk, damaged or not."""
        prefix, rest = _split(name)
        first, last = (int(np.searchsorted(self.prefixes, prefix, side)[0]) for side in ("left", "right"))
        rows = [row for row in range(first, last) if (self.rests[row] == rest[0]).all()]
        return list(dict.fromkeys(self.pack_of_row(row) for row in rows if self.row_segment[row] < len(self.kinds) - 1))

    def pack_of_row(self, row: int) -> bytes:
        """The id of the pack that a row points into."""
        return self.packs[int(self.segment_pack[self.row_segment[row]])][0]

    def mark_segment(self, number: int) -> None:
        """A segment turned out to be damaged."""
        self.bad_segments[number] = True

    def extended(self, shard: Shard) -> Catalog:
        """This catalogue and one more shard; what is marked as damaged stays so."""
        made = Catalog([*self.shards, shard])
        made.bad_segments[: len(self.kinds) - 1] = self.bad_segments[:-1]
        for row in self.bad_rows.nonzero()[0]:
            same = made.prefixes == self.prefixes[row]
            made.bad_rows |= same & (made.row_segment == self.row_segment[row])
        return made

    def numbers(self, pack_id: bytes) -> list[int]:
        """The segments that are listed in a pack, by their numbers, in every shard that lists it."""
        packs = self._pack_numbers.get(pack_id, ())
        return [int(n) for pack in packs for n in self._range(self._by_pack, pack) if self.kinds[n]]

    def segments(self, pack_id: bytes) -> list[Listed]:
        """The segments that are listed in a pack."""
        return [self._listed(number) for number in self.numbers(pack_id)]

    def chunks(self, segment: int) -> list[tuple[bytes, int, int, int]]:
        """What is listed in a segment, by offset: chunk id, offset, length, row."""
        rows = self._range(self._by_segment, segment)
        lines = [(self.name(int(row)), int(self.row_offset[row]), int(self.row_length[row]), int(row)) for row in rows]
        return sorted(lines, key=lambda line: (line[1], line[2]))

    def name(self, row: int) -> bytes:
        """The id of the chunk of a row."""
        return int(self.prefixes[row]).to_bytes(8, "big") + bytes(self.rests[row].tobytes())

    def shard_of(self, segment: int) -> Shard:
        """The shard that lists a segment."""
        return self.shards[int(np.searchsorted(self._segment_base, segment, "right")) - 1]

    def beyond(self, pack_id: bytes, size: int) -> Iterator[int]:
        """Segments that are said to lie where a pack of ``size`` bytes has ended."""
        for number in self.numbers(pack_id):
            if int(self.segment_offset[number]) + int(self.segment_length[number]) > size:
                yield number

    @cached_property
    def _pack_numbers(self) -> dict[bytes, list[int]]:
        found: dict[bytes, list[int]] = {}
        for number, (pack_id, _, _) in enumerate(self.packs):
            found.setdefault(pack_id, []).append(number)
        return found

    @cached_property
    def _by_pack(self) -> tuple[Numbers, NDArray[Any]]:
        order = np.argsort(self.segment_pack, kind="stable")
        return order, self.segment_pack[order]

    @cached_property
    def _by_segment(self) -> tuple[Numbers, NDArray[Any]]:
        order = np.argsort(self.row_segment, kind="stable")
        return order, self.row_segment[order]

    def _range(self, grouped: tuple[Numbers, NDArray[Any]], value: int) -> Numbers:
        order, values = grouped
        first, last = np.searchsorted(values, value, "left"), np.searchsorted(values, value, "right")
        return order[first:last]

    def _listed(self, number: int) -> Listed:
        shard = self.shard_of(number)
        place = shard.segment_place(number - int(self._segment_base[self.shards.index(shard)]))
        return Listed(number, place.id, place.kind, place.offset, place.length, place.session, shard.trusted)

    def _join_segments(self) -> None:
        parts = []
        bases = [0]
        for shard in self.shards:
            packs = np.frombuffer(shard.pack_rows, _PACK)
            rows = np.frombuffer(shard.segment_rows, _SEGMENT)
            outside = (rows["pack"] >= len(packs)) | (rows["session"] >= len(shard.tail.sessions))
            if outside.any():
                self.implausible.add(shard.name)
            inside = np.where(outside, 0, rows["pack"]) if len(packs) else np.zeros(len(rows), np.uint32)
            kinds = np.where(outside, 0, packs["kind"][inside]) if len(packs) else np.zeros(len(rows), np.uint8)
            parts.append((inside + len(self.packs), kinds, rows["offset"], rows["length"]))
            self.packs += shard.packs()
            bases.append(bases[-1] + len(rows))
        self._segment_base = np.array(bases[:-1], np.int64)
        columns = list(zip(*parts, strict=True)) or [()] * 4
        self.segment_pack = _joined(columns[0], np.uint32)
        self.kinds = np.append(_joined(columns[1], np.uint8), np.uint8(0))
        self.segment_offset = _joined(columns[2], np.uint32)
        self.segment_length = _joined(columns[3], np.uint32)

    def _join_rows(self) -> None:
        parts = []
        nowhere = len(self.kinds) - 1
        for base, shard in zip(self._segment_base, self.shards, strict=True):
            prefixes = np.array(shard.prefixes(), np.uint64)
            places = np.frombuffer(shard.places, "<u4").reshape(-1, 3)
            outside = places[:, 0] >= shard.segments
            if outside.any() or (prefixes[:-1] > prefixes[1:]).any():
                self.implausible.add(shard.name)
            segments = np.where(outside, nowhere, places[:, 0] + np.uint32(base))
            parts.append((prefixes, np.frombuffer(shard.rests, "<u8").reshape(-1, 2), segments, places[:, 1], places[:, 2]))
        columns = list(zip(*parts, strict=True)) or [()] * 5
        prefixes = _joined(columns[0], np.uint64)
        order = np.argsort(prefixes, kind="stable")
        self.prefixes = prefixes[order]
        self.rests = (np.concatenate(columns[1]) if columns[1] else np.zeros((0, 2), "<u8"))[order]
        self.row_segment = _joined(columns[2], np.uint32)[order]
        self.row_offset = _joined(columns[3], np.uint32)[order]
        self.row_length = _joined(columns[4], np.uint32)[order]

    def _implausible_rows(self) -> NDArray[np.bool_]:
        ends = self.row_offset.astype(np.int64) + self.row_length
        bad: NDArray[np.bool_] = (self.row_segment >= len(self.kinds) - 1) | (ends > LIMIT)
        return bad


def _split(names: bytes) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """The two parts of ids in a row: sorted column and rest, as in a shard."""
    table = np.frombuffer(names, np.uint8).reshape(-1, ID_SIZE)
    prefix = np.ascontiguousarray(table[:, :8]).view(">u8").ravel().astype(np.uint64)
    return prefix, np.ascontiguousarray(table[:, 8:]).view("<u8")


def _joined(parts: Sequence[NDArray[Any]], kind: type[np.generic]) -> NDArray[Any]:
    return np.concatenate(parts).astype(kind, copy=False) if parts else np.zeros(0, kind)
