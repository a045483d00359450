"""Packs that the store puts together of segments that it has, so that none of their bytes go over the wire."""

from __future__ import annotations

import msgspec

from safehold.core.errors import StoreError
from safehold.repo.packs import HEADER, TAIL, Footer, PackRecord, SegmentRef, end_of, id_of, read_tail
from safehold.repo.seals import Seals, SessionRef
from safehold.storage.store import Composition, Place, Store, compose_in


class Stored(msgspec.Struct, frozen=True):
    """A segment in a stored pack."""

    key: str
    segment: SegmentRef
    session: SessionRef
    chunks: list[tuple[bytes, int]]


class ComposedPack:
    """One such pack, segment by segment."""

    def __init__(self, seals: Seals, kind: int, session: SessionRef) -> None:
        """``session`` is listed though no segment may be its own: the pack is then not the same as any other of its segments."""
        self._seals = seals
        self._session = session
        self.kind = kind
        self.parts: list[Stored] = []
        self.size = HEADER.size

    def append(self, part: Stored) -> None:
        """Add a segment."""
        self.parts.append(part)
        self.size += part.segment.length + part.segment.table_length

    def finish(self, store: Store) -> PackRecord:
        """Have it stored, durably.  Raises ``StoreError`` where the store does not do that, or does something else.

        The store says what the pack's name is.  That it holds the right segments is compared by its footer; that their bytes
        are right is the store's word, as it is for every byte that nobody reads: a scrub and ``check --read-data`` look.
        """
        footer = self._footer()
        end = end_of(self._seals, footer)
        key = compose_in(store, Composition(self.kind, [_place(each) for each in self.parts], end))
        pack_id, tail, size = id_of(key), read_tail(store, key), store.size(key)
        if pack_id is None or (tail.kind, tail.encoded, size) != (self.kind, end[: -TAIL.size], self.size + len(end)):
            raise StoreError(f"The store {store.location} put together another pack than it was told to.")
        return PackRecord(pack_id, self.kind, size, footer, [each.chunks for each in self.parts])

    def _footer(self) -> Footer:
        sessions: dict[SessionRef, int] = {self._session: 0}
        body, table = HEADER.size, HEADER.size + sum(each.segment.length for each in self.parts)
        segments = []
        for each in self.parts:
            session = sessions.setdefault(each.session, len(sessions))
            segments.append(msgspec.structs.replace(each.segment, session=session, offset=body, table_offset=table))
            body, table = body + each.segment.length, table + each.segment.table_length
        return Footer(list(sessions), segments)


def _place(part: Stored) -> Place:
    segment = part.segment
    return Place(part.key, segment.offset, segment.length, segment.table_offset, segment.table_length, segment.digest)
