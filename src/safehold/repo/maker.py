"""Making segments in a process that has no store: chunks in, sealed segments out."""

from __future__ import annotations

from blake3 import blake3

from safehold.repo.claims import Claims
from safehold.repo.index import Index
from safehold.repo.seals import ID_SIZE
from safehold.repo.segments import TARGET, SealedSegment, Sealer
from safehold.repo.writer import ALONE, SMALL, Gathering


class SegmentMaker:
    """Adds chunks as ``ChunkWriter`` does.  What it has sealed has to be handed to a writer.  Belongs to one thread."""

    def __init__(self, sealer: Sealer, index: Index, claims: Claims) -> None:
        """``claims``: shared with the writer."""
        self._sealer = sealer
        self._index = index
        self._claims = claims
        self._known: set[bytes] = set()
        self._gathering: dict[tuple[int, int], Gathering] = {}
        self._sealed: list[SealedSegment] = []

    def add(self, kind: int, data: bytes | memoryview, group: int = SMALL) -> bytes:
        """Have a chunk stored unless somebody has it; its name."""
        name: bytes = blake3(data, key=self._sealer.seals.naming[kind]).digest(ID_SIZE)
        if self.knows(name):
            return name
        self._known.add(name)
        self._claims.add(name)
        gathering = self._gathering.get((kind, group))
        if gathering is None:
            gathering = self._gathering[kind, group] = Gathering()
        gathering.add(name, data)
        if gathering.size >= TARGET or group == ALONE:
            self._seal(kind, group)
        return name

    def knows(self, name: bytes) -> bool:
        """Whether a chunk is stored, or about to be."""
        return name in self._known or self._claims.has(name) or self._index.has(name)

    def take(self, everything: bool = False) -> list[SealedSegment]:
        """The segments that are full, or all."""
        if everything:
            for kind, group in list(self._gathering):
                self._seal(kind, group)
        sealed, self._sealed = self._sealed, []
        return sealed

    def _seal(self, kind: int, group: int) -> None:
        gathering = self._gathering.pop((kind, group))
        self._sealed.append(self._sealer.seal(kind, gathering.names, gathering.pieces))
