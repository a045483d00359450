"""Reading what a share gives: its tree, and the bytes of its files.  ``docs/sharing.md``.

Whoever made a share may be hostile: references lead forward only, each folder is entered once, and there is no more of
anything than the root says.  Bytes are taken only from segments that open under the keys in the sealed manifest.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator
from itertools import accumulate
from typing import NamedTuple, Protocol

from safehold.codec import compression, sealing
from safehold.core.entries import DIRECTORY, FILE
from safehold.core.errors import FormatError, PathMissing
from safehold.repo.seals import DATA
from safehold.repo.segments import LIMIT
from safehold.repo.shares.keys import ShareKey
from safehold.repo.shares.manifest import SLICE, Entry, Manifest, Node, Part, Segment

CACHE_BYTES = 64 * 1024 * 1024
CACHED_PARTS = 16
STEP = 4 * 1024 * 1024
"""A stretch of a file is no longer than this when it is read piece by piece."""


class ShareSource(Protocol):
    """Where the bytes of a share come from.  All it gives is checked; it may be called from several threads."""

    def manifest(self, offset: int, length: int) -> bytes:
        """Bytes of the manifest object, fewer at its end."""

    def segment(self, segment: Segment) -> bytes:
        """A sealed segment."""


class Slice(NamedTuple):
    """Bytes of a segment; zeros, if there is none."""

    segment: Segment | None
    offset: int
    length: int


class OpenShare:
    """A share that was opened.  Safe to use from several threads."""

    def __init__(self, key: ShareKey, source: ShareSource, cache_bytes: int = CACHE_BYTES) -> None:
        """Raises ``WrongKey``, ``DamageError``."""
        self._manifest = Manifest(key, source.manifest)
        self._source = source
        self.root = self._manifest.root
        self._lock = threading.Lock()
        self._loading = [threading.Lock() for _ in range(64)]
        self._parts: OrderedDict[int, Part] = OrderedDict()
        self._raw: OrderedDict[bytes, bytes] = OrderedDict()
        self._cached = 0
        self._cache_bytes = cache_bytes

    def part(self, number: int) -> Part:
        """A part of the manifest.  Raises ``DamageError``."""
        with self._lock:
            found = self._parts.get(number)
            if found is None:
                found = self._parts[number] = self._manifest.part(number)
                while len(self._parts) > CACHED_PARTS:
                    self._parts.popitem(last=False)
            return found

    def node(self, place: tuple[int, int]) -> Node:
        """A node by its place.  Raises ``DamageError``."""
        part, number = place
        nodes = self.part(part).nodes
        if not 0 <= number < len(nodes):
            raise FormatError("The listing of this share points outside itself.")
        return nodes[number]

    def walk(self) -> Walk:
        """A new walk through the share."""
        return Walk(self)

    def slices(self, part: int, entry: Entry) -> list[Slice]:
        """The content of a file whose node is in ``part``.  Raises ``DamageError``."""
        found = _resolved(self.part(part), entry.slices)
        total = sum(each.length for each in found)
        for number in entry.rest:
            rest = self.part(number)
            total += sum(rest.slices[2::SLICE])
            if number <= part or total > entry.size:
                raise FormatError("The listing of this share points back.")
            found += _resolved(rest, rest.slices)
        if total != entry.size:
            raise FormatError(f"The listing of this share does not have the {entry.size} bytes of {entry.name!r}.")
        return found

    def content(self, part: int, entry: Entry) -> Content:
        """The bytes of a file.  Raises ``DamageError``."""
        return Content(self, self.slices(part, entry), entry.size)

    def raw(self, segment: Segment) -> bytes:
        """What a segment holds.  Raises ``DamageError`` where it isn't what was shared."""
        found = self._remembered(segment.id)
        if found is None:
            with self._loading[segment.id[0] % len(self._loading)]:
                found = self._remembered(segment.id) or self._load(segment)
        return found

    def _remembered(self, segment_id: bytes) -> bytes | None:
        with self._lock:
            found = self._raw.get(segment_id)
            if found is not None:
                self._raw.move_to_end(segment_id)
            return found

    def _load(self, segment: Segment) -> bytes:
        raw = open_segment(self.root.repository, segment, self._source.segment(segment))
        with self._lock:
            self._raw[segment.id] = raw
            self._cached += len(raw)
            while self._cached > self._cache_bytes and len(self._raw) > 1:
                self._cached -= len(self._raw.popitem(last=False)[1])
        return raw


def open_segment(repository: bytes, segment: Segment, sealed: bytes) -> bytes:
    """The raw bytes of a sealed segment.  Raises ``DamageError``."""
    aad = b"safehold/1 segment\0" + repository + bytes([DATA]) + segment.id
    raw = compression.unpack(sealing.aead_open(segment.key, sealing.ZERO_NONCE, sealed, aad, "shared data"), LIMIT)
    if len(raw) != segment.raw:
        raise FormatError(f"A shared segment has {len(raw)} bytes, not the {segment.raw} it should.")
    return raw


def _resolved(part: Part, slices: list[int]) -> list[Slice]:
    return [
        Slice(part.segments[slices[at] - 1] if slices[at] else None, slices[at + 1], slices[at + 2])
        for at in range(0, len(slices), SLICE)
    ]


class Content:
    """The bytes of a shared file (``sources.files.data.Data``)."""

    def __init__(self, share: OpenShare, slices: list[Slice], size: int) -> None:
        self.size = size
        self._share = share
        self._slices = slices
        self._starts = [0, *accumulate(each.length for each in slices)]

    def read(self, offset: int, length: int) -> bytes:
        """Bytes from ``offset``; fewer at the end.  Raises ``DamageError``."""
        end = min(offset + length, self.size)
        number = bisect_right(self._starts, offset) - 1
        parts = []
        while offset < end:
            segment, start, count = self._slices[number]
            inside = offset - self._starts[number]
            take = min(count - inside, end - offset)
            parts.append(bytes(take) if segment is None else self._share.raw(segment)[start + inside : start + inside + take])
            offset += take
            number += 1
        return b"".join(parts)

    def pieces(self) -> Iterator[tuple[int, int]]:
        """Offset and length of what is not zeros, well read at once."""
        for start, (segment, _, length) in zip(self._starts, self._slices, strict=False):
            for at in range(0, length, STEP) if segment is not None else ():
                yield start + at, min(STEP, length - at)


class Walk:
    """A walk that never enters a folder twice, and takes no more than the root announces."""

    def __init__(self, share: OpenShare) -> None:
        self._share = share
        self._entered: set[tuple[int, int]] = set()
        self._entries = 0
        self._size = 0

    def folder(self, place: tuple[int, int] = (0, 0)) -> Iterator[tuple[int, Entry]]:
        """The entries of a folder, each with the part that its slices belong to.  Raises ``FormatError``."""
        before = b""
        at: tuple[int, int] | None = place
        while at is not None:
            if at in self._entered:
                raise FormatError("The listing of this share leads into one folder twice.")
            self._entered.add(at)
            node = self._share.node(at)
            for entry in node.entries:
                if entry.name <= before:
                    raise FormatError("The listing of this share holds a name twice.")
                before = entry.name
                self._count(at, entry)
                yield at[0], entry
            if node.more is not None and node.more <= at:
                raise FormatError("The listing of this share points back.")
            at = node.more

    def _count(self, at: tuple[int, int], entry: Entry) -> None:
        self._entries += 1
        self._size += entry.size if entry.kind == FILE else 0
        if self._entries > self._share.root.entries or self._size > self._share.root.size:
            raise FormatError("The listing of this share holds more than it announces.")
        if entry.kind == DIRECTORY and (entry.below is None or entry.below <= at):
            raise FormatError("The listing of this share points back.")


def find(share: OpenShare, path: bytes) -> tuple[int, Entry] | None:
    """The entry of a path below the shared folder, with its part; None for that folder.  Raises ``PathMissing``."""
    found: tuple[int, Entry] | None = None
    walk = share.walk()
    for name in [part for part in path.split(b"/") if part not in (b"", b".")]:
        place = (0, 0) if found is None else found[1].below
        found = next((row for row in walk.folder(place) if row[1].name == name), None) if place is not None else None
        if found is None:
            raise PathMissing(f"There is no {path.decode(errors='replace')} in this share.", "`safehold open --list` shows all.")
    return found
