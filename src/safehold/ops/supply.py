"""Sealed segments for child processes that cannot ask the store themselves: a connection to another machine is not shared with a
fork.  ``docs/restore.md``, "From another machine".

The parent's threads fetch what some entries need, whole segments as they are stored, and hand them on; the child opens them.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable
from typing import NamedTuple

from safehold.core.entries import FILE, Entry
from safehold.core.errors import SafeholdError
from safehold.repo import contents
from safehold.repo.reader import ChunkReader
from safehold.repo.shards import SegmentPlace
from safehold.sources.files.placing import Folder

MOST_FILE = 8 << 20
"""Larger files are placed by the parent: theirs is little work a byte, and a child is given all that it needs at once."""
MOST_BYTES = 16 << 20
"""Of sealed segments for one child at once.  Files that were stored over many backups may each lie in another segment."""
KEPT_BYTES = 32 << 20
"""Of sealed segments: neighbouring lots need the same ones."""


class Supplied(NamedTuple):
    """What a child can place, and with what."""

    lots: list[tuple[Folder, list[Entry]]]
    kept: list[tuple[Folder, list[Entry]]]
    """What it can't, or should not."""
    bodies: dict[bytes, bytes]
    """Segment id -> sealed segment."""


class Supply:
    """Fetches for children.  Safe to use from several threads."""

    def __init__(self, reader: ChunkReader) -> None:
        self._reader = reader
        self._lock = threading.Lock()
        self._fetching = [threading.Lock() for _ in range(64)]
        """By the first byte of a segment's id: who wants one that another thread is fetching waits for it."""
        self._kept: OrderedDict[bytes, bytes] = OrderedDict()
        self._bytes = 0

    def gather(self, lots: Iterable[tuple[Folder, list[Entry]]]) -> Supplied:
        """Fetch what files need that go into folders where nothing was before: of others a child may find that they need nothing.

        What cannot be had for good is left to the parent, which knows other places, or tells what is damaged.  Raises
        ``StoreUnreachable``.
        """
        needed: dict[bytes, SegmentPlace] = {}
        wanted = [(folder, [(entry, self._needs(folder, entry, needed)) for entry in entries]) for folder, entries in lots]
        bodies = {name: body for name, place in needed.items() if (body := self._body(place))}
        found = Supplied([], [], bodies)
        for folder, entries in wanted:
            can = [entry for entry, places in entries if places is not None and all(place.id in bodies for place in places)]
            found.lots.append((folder, can))
            chosen = set(map(id, can))
            found.kept.append((folder, [entry for entry, _ in entries if id(entry) not in chosen]))
        return found

    def _needs(self, folder: Folder, entry: Entry, needed: dict[bytes, SegmentPlace]) -> list[SegmentPlace] | None:
        """Note what an entry needs, if it is for a child and does not make it too much at once."""
        places = self._segments(folder, entry)
        if places:
            more = {place.id: place for place in places if place.id not in needed}
            if sum(place.length for place in [*more.values(), *needed.values()]) > MOST_BYTES:
                return None
            needed |= more
        return places

    def _segments(self, folder: Folder, entry: Entry) -> list[SegmentPlace] | None:
        """Where the content of an entry lies; None if it is not for a child."""
        if entry.kind != FILE:
            return []
        listed = entry.more is None or not (entry.more.map or entry.more.paged or entry.more.holes)
        if not folder.fresh or entry.size > MOST_FILE or not listed:
            return None
        try:
            places = [self._reader.place(name) for name in contents.chunk_names(entry)]
        except SafeholdError:
            return None
        return None if None in places else [place.segment for place in places if place is not None]

    def _body(self, place: SegmentPlace) -> bytes:
        """A sealed segment; nothing if it can't be had for good."""
        with self._fetching[place.id[0] % len(self._fetching)]:
            with self._lock:
                body = self._kept.get(place.id, b"")
            if body:
                return body
            try:
                body = self._reader.sealed(place)
            except SafeholdError as error:
                if error.retryable:
                    raise
                return b""
        self._keep(place.id, body)
        return body

    def _keep(self, name: bytes, body: bytes) -> None:
        with self._lock:
            self._kept[name] = body
            self._bytes += len(body)
            while self._bytes > KEPT_BYTES:
                self._bytes -= len(self._kept.popitem(last=False)[1])
