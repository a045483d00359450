"""From what is shared to the manifest that opens it.  ``docs/format/shares.md``.

Nodes are numbered in the order of a walk, each folder before what is in it, so that every reference points forward; a part
is closed when it has grown large.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from enum import Enum

import msgspec

from safehold.core.entries import DIRECTORY
from safehold.repo.packs import key_of
from safehold.repo.repository import Repository
from safehold.repo.seals import DATA
from safehold.repo.shards import SegmentPlace
from safehold.repo.shares.coverage import Coverage
from safehold.repo.shares.drafting import Draft, DraftEntry, DraftNode, Extent
from safehold.repo.shares.manifest import MODES, MOST_SLICES, PART_TARGET, SLICE, STORED, Entry, Node, Part, Segment
from safehold.repo.shares.opening import open_segment
from safehold.repo.shares.packing import SharePacker, Sink

_ENTRY = 24
_SLICE = 9
_SEGMENT = 64
"""About how many bytes these take; a part need not be measured exactly."""


class How(Enum):
    """How a friend gets at segments that are handed out as they are."""

    BY_ID = "by id"
    """From a server, which knows where each lies."""
    BY_PACK = "by pack"
    """From a plain store, where they lie now or, later, where the packs' footers say."""
    CARRIED = "carried"
    """They are copied along."""


class Locator:
    """Where shared bytes lie for who opens the share: in segments as they are, or packed again."""

    def __init__(self, repository: Repository, wanted: Draft, coverage: Coverage, sink: Sink, how: How) -> None:
        """Packs again what has to be."""
        self._coverage = coverage
        self._repository = repository
        self._reader = repository.reader
        self.segments: list[Segment] = []
        self._numbers: dict[bytes, int] = {}
        for place in coverage.pure.values():
            self._numbers[place.id] = len(self.segments)
            self.segments.append(self._pure(place, sink, how))
        packer = SharePacker(repository.seals, sink)
        self._moved: dict[bytes, list[tuple[int, int, int]]] = {}
        """Of a chunk that was packed again: start of a range, segment, where in that."""
        for name in wanted.order:
            if coverage.places[name].segment.id not in coverage.pure:
                self._pack(name, wanted, packer, len(coverage.pure))
        packer.finish()
        self.segments += packer.segments

    @property
    def stored(self) -> list[bytes]:
        """Ids of the segments that are used where the repository has them."""
        return [segment.id for segment in self.segments if segment.object == STORED]

    def find(self, extent: Extent) -> tuple[int, int]:
        """The number of the segment (in ``segments``) and the offset in it."""
        moved = self._moved.get(extent.chunk)
        if moved is not None:
            start, segment, offset = moved[bisect_right(moved, extent.start, key=lambda row: row[0]) - 1]
            return segment, offset + extent.start - start
        place = self._coverage.places[extent.chunk]
        return self._numbers[place.segment.id], place.offset + extent.start

    def _pure(self, place: SegmentPlace, sink: Sink, how: How) -> Segment:
        """A segment that is handed out as it is."""
        seals, store = self._repository.seals, self._repository.store
        key = seals.segment_key(seals.session_secret(place.session), place.id)
        found = Segment(place.id, key, self._coverage.raw(place.id), place.length)
        if how is How.BY_ID:
            return found
        if how is How.BY_PACK:
            return msgspec.structs.replace(found, offset=place.offset, pack=place.pack)
        body = store.get_range(key_of(place.pack), place.offset, place.length)
        open_segment(self._repository.id, found, body)  # what does not open is no gift
        number, offset = sink.write(body)
        return msgspec.structs.replace(found, object=number, offset=offset)

    def _pack(self, name: bytes, wanted: Draft, packer: SharePacker, first: int) -> None:
        data = self._reader.read(DATA, name)
        rows = []
        for start, end in wanted.wanted[name]:
            segment, offset = packer.add(data[start:end])
            rows.append((start, first + segment, offset))
        self._moved[name] = rows


class _Open(msgspec.Struct):
    """A part that is being filled."""

    number: int
    local: dict[int, int] = {}
    """Segment -> its number in this part."""
    nodes: list[tuple[list[tuple[DraftEntry, list[int], list[int]]], tuple[int, int] | None]] = []
    """Entries with their slices and the parts of their rest; where the folder goes on."""
    slices: list[int] = []
    size: int = 0


class Layout:
    """Distributes nodes to parts."""

    def __init__(self, locator: Locator) -> None:
        self._locator = locator
        self._parts: list[_Open] = []
        self._current = self._begin()

    def add_tree(self, root: DraftNode) -> None:
        """Take in a folder and everything below it."""
        stack = [root]
        while stack:
            node = stack.pop()
            self._add(node)
            stack += [each.below for each in reversed(node.entries) if each.below is not None]

    def parts(self) -> Iterator[Part]:
        """The finished parts; number 0 comes first."""
        for part in self._parts:
            segments = [self._locator.segments[number] for number in part.local]
            nodes = [Node([_entry(*each) for each in entries], more) for entries, more in part.nodes]
            yield Part(segments, nodes, part.slices)

    def _begin(self) -> _Open:
        part = _Open(len(self._parts))
        self._parts.append(part)
        return part

    def _add(self, node: DraftNode) -> None:
        if self._current.size >= PART_TARGET:
            self._current = self._begin()
        node.place = (self._current.number, len(self._current.nodes))
        entries: list[tuple[DraftEntry, list[int], list[int]]] = []
        for each in node.entries:
            if self._current.size >= PART_TARGET:
                part, self._current = self._current, self._begin()
                part.nodes.append((entries, (self._current.number, 0)))
                entries = []
            entries.append((each, *self._slices(each)))
            more = each.entry.more
            target = len(more.target or b"") if more else 0
            self._current.size += _ENTRY + len(each.entry.name) + target
        self._current.nodes.append((entries, None))

    def _slices(self, each: DraftEntry) -> tuple[list[int], list[int]]:
        """The slices that the entry holds itself, and the parts that hold them if they are very many."""
        if len(each.extents) <= MOST_SLICES:
            return self._localised(self._current, each.extents), []
        rest = []
        for at in range(0, len(each.extents), MOST_SLICES):
            part = self._begin()
            part.slices = self._localised(part, each.extents[at : at + MOST_SLICES])
            rest.append(part.number)
        return [], rest

    def _localised(self, part: _Open, extents: list[Extent]) -> list[int]:
        slices: list[int] = []
        for extent in extents:
            number, offset = self._locate(part, extent)
            if slices and slices[-SLICE] == number and (not number or slices[-2] + slices[-1] == offset):
                slices[-1] += extent.length
            else:
                slices += (number, offset, extent.length)
        part.size += _SLICE * len(slices) // SLICE
        return slices

    def _locate(self, part: _Open, extent: Extent) -> tuple[int, int]:
        if not extent.chunk:
            return 0, 0
        segment, offset = self._locator.find(extent)
        number = part.local.get(segment)
        if number is None:
            number = part.local[segment] = len(part.local)
            part.size += _SEGMENT
        return number + 1, offset


def _entry(each: DraftEntry, slices: list[int], rest: list[int]) -> Entry:
    entry, more = each.entry, each.entry.more
    return Entry(
        entry.name,
        entry.kind,
        entry.mode & MODES,
        entry.mtime_ns,
        entry.size,
        slices,
        (more.target or b"") if more else b"",
        (more.holes or []) if more else [],
        each.below.place if each.below is not None and entry.kind == DIRECTORY else None,
        rest,
    )
