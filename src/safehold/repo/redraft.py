"""Drafts of index shards: what a repair writes in place of shards that are lost, or that list what is lost."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from safehold.repo.checking.segments import Claim
from safehold.repo.seals import SessionRef
from safehold.repo.shards import MOST_CHUNKS, PACK, PLACE, SEGMENT, Tail, assemble


class ShardDraft:
    """Packs and the segments in them that are known to be well."""

    def __init__(self) -> None:
        self.packs: list[bytes] = []
        self._rows: list[bytes] = []
        self._segments: list[bytes] = []
        self._sessions: dict[SessionRef, int] = {}

    @property
    def is_full(self) -> bool:
        """Whether another shard should be begun."""
        return len(self._rows) >= MOST_CHUNKS

    def add(self, pack_id: bytes, size: int, kind: int, claims: Sequence[Claim]) -> None:
        """List a pack with these segments and chunks."""
        number = len(self.packs)
        self.packs.append(PACK.pack(pack_id, size, kind))
        for claim in claims:
            session = self._sessions.setdefault(claim.session, len(self._sessions))
            segment = len(self._segments)
            self._segments.append(SEGMENT.pack(claim.id, number, session, claim.offset, claim.length))
            self._rows += [name + PLACE.pack(segment, offset, length) for name, offset, length, _ in claim.chunks]

    def encode(self, replaces: Sequence[str] = ()) -> bytes:
        """The body of the shard."""
        tail = msgspec.msgpack.encode(Tail(list(self._sessions), list(replaces)))
        return assemble(self._rows, self._segments, self.packs, tail)
