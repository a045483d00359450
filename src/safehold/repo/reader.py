"""Reading chunks: find, fetch, open, and prove that what came back has the name that was asked for."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping

from blake3 import blake3

from safehold.core.errors import DamageError, ObjectMissing, SafeholdError, StoreError
from safehold.repo import segments
from safehold.repo.index import Index
from safehold.repo.packs import key_of
from safehold.repo.seals import ID_SIZE, KIND_NAMES, Seals
from safehold.repo.shards import ChunkPlace, SegmentPlace
from safehold.storage.store import Store

CACHE_BYTES = 48 * 1024 * 1024
"""Raw segments kept in memory: neighbours in a segment are mostly wanted one after the other."""


class NotLent(SafeholdError):
    """A segment is wanted that was not handed over.  Nobody is told: who handed over the others reads it."""

    code = "not-lent"


class ChunkReader:
    """Reads chunks by name.  Safe to use from several threads."""

    def __init__(self, seals: Seals, store: Store, index: Index, cache_bytes: int = CACHE_BYTES) -> None:
        self._seals = seals
        self._store = store
        self._index = index
        self._lock = threading.Lock()
        self._loading = [threading.Lock() for _ in range(64)]
        """By the first byte of a segment's id: who wants one that another thread is fetching waits for it."""
        self._cache: OrderedDict[bytes, bytes] = OrderedDict()
        self._cached = 0
        self._cache_bytes = cache_bytes
        self._last: tuple[SegmentPlace | None, bytes] = (None, b"")
        """The segment that was read from last, which the next chunk mostly lies in, too; replaced as a whole."""
        self._lent: Mapping[bytes, bytes] | None = None

    def place(self, name: bytes) -> ChunkPlace | None:
        """Where a chunk lies; None if it is in no index."""
        return self._index.find(name)

    def read(self, kind: int, name: bytes) -> bytes:
        """The bytes of a chunk.  Raises ``DamageError`` when it is missing or not what it was."""
        return self.read_at(kind, name, self._index.find(name) or self._find_again(kind, name))

    def read_at(self, kind: int, name: bytes, place: ChunkPlace) -> bytes:
        """The same for a chunk that was found at a place."""
        segment, raw = self._last
        if segment is place.segment and segment.kind == kind:
            data = raw[place.offset : place.offset + place.length]
            if blake3(data, key=self._seals.naming[kind]).digest(ID_SIZE) == name:
                return data
        try:
            return self._read_at(kind, name, place)
        except (DamageError, StoreError) as error:
            if error.retryable:
                raise
            return self._read_elsewhere(kind, name, place, error)

    def unproven(self, kind: int, name: bytes) -> memoryview | None:
        """What lies where the index says that a chunk lies, not compared with its name; None where that is not to be had.

        For who proves what is made of it, and asks for what is proven where that fails: many small pieces of a block are a whole
        that has a name.  Raises what a store that does not answer raises.
        """
        place = self._index.find(name)
        if place is None or place.segment.kind != kind:
            return None
        segment, raw = self._last
        if segment is not place.segment:
            try:
                raw = self.segment(place.segment)
            except (DamageError, StoreError) as error:
                if error.retryable:
                    raise
                return None
        return memoryview(raw)[place.offset : place.offset + place.length]

    def prepare(self) -> None:
        """Have the index here: after this, finding a chunk that is in it needs no store."""
        self._index.load()

    def borrow(self, bodies: Mapping[bytes, bytes]) -> None:
        """From now on the store is never asked; sealed segments come from these, by id.  What needs others raises ``NotLent``."""
        self._lent = bodies

    def sealed(self, place: SegmentPlace) -> bytes:
        """A segment as it is stored."""
        return self._store.get_range(key_of(place.pack), place.offset, place.length)

    def limit(self, cache_bytes: int) -> None:
        """Keep no more than so many bytes of segments from now on."""
        self._cache_bytes = cache_bytes

    def name(self, kind: int, data: bytes | memoryview) -> bytes:
        """The name that a chunk of these bytes has."""
        return blake3(data, key=self._seals.naming[kind]).digest(ID_SIZE)

    def length(self, name: bytes) -> int:
        """The length of a chunk, from the index alone.  Raises ``DamageError`` when it isn't there."""
        place = self._index.find(name) or self._find_again(0, name)
        return place.length

    def segment(self, place: SegmentPlace) -> bytes:
        """The raw bytes of a segment, from memory or from the store."""
        raw = self._remembered(place.id)
        if raw is None:
            with self._loading[place.id[0] % len(self._loading)]:
                raw = self._remembered(place.id) or self._load(place)
        return raw

    def _load(self, place: SegmentPlace) -> bytes:
        body = self.sealed(place) if self._lent is None else self._lent.get(place.id)
        if body is None:
            raise NotLent("A segment was not handed over.")
        raw = segments.open_body(self._seals, self._seals.session_secret(place.session), place.kind, place.id, body)
        self._remember(place.id, raw)
        return raw

    def _remembered(self, segment_id: bytes) -> bytes | None:
        with self._lock:
            raw = self._cache.get(segment_id)
            if raw is not None:
                self._cache.move_to_end(segment_id)
            return raw

    def _read_at(self, kind: int, name: bytes, place: ChunkPlace) -> bytes:
        if place.segment.kind != kind:
            raise DamageError(f"Chunk {name.hex()[:8]} is not the {KIND_NAMES[kind]} it should be.")
        raw = self.segment(place.segment)
        self._last = (place.segment, raw)
        data = raw[place.offset : place.offset + place.length]
        if self.name(kind, data) != name:
            raise DamageError(f"Chunk {name.hex()[:8]} in pack {place.segment.pack.hex()[:8]} is not what was stored.")
        return data

    def _read_elsewhere(self, kind: int, name: bytes, tried: ChunkPlace, error: Exception) -> bytes:
        """From another copy, if there is one: after a prune that moved it, or in a repository that holds it twice."""
        self._ask_again()
        for place in self._index.find_all(name):
            if place.segment.id != tried.segment.id or place.segment.pack != tried.segment.pack:
                try:
                    return self._read_at(kind, name, place)
                except (DamageError, StoreError) as another:
                    if another.retryable:
                        raise
        if isinstance(error, DamageError):
            raise error
        what = "is missing" if isinstance(error, ObjectMissing) else "cannot be read there"
        raise DamageError(
            f"Pack {tried.segment.pack.hex()[:8]}, which holds chunk {name.hex()[:8]}, {what}.", "Run `safehold check`."
        ) from error

    def _find_again(self, kind: int, name: bytes) -> ChunkPlace:
        """Once more after listing the shards again: another machine may have added or moved it."""
        self._ask_again()
        place = self._index.find(name)
        if place is None:
            raise DamageError(
                f"{KIND_NAMES.get(kind, 'A chunk').capitalize()} {name.hex()[:8]} is in no index.",
                "Run `safehold check` to see what is affected, then `safehold repair`.",
            )
        return place

    def _ask_again(self) -> None:
        if self._lent is not None:
            raise NotLent("A chunk is to be looked for.")
        self._index.refresh()

    def _remember(self, segment_id: bytes, raw: bytes) -> None:
        with self._lock:
            if segment_id not in self._cache:
                self._cache[segment_id] = raw
                self._cached += len(raw)
            while self._cached > self._cache_bytes and len(self._cache) > 1:
                self._cached -= len(self._cache.popitem(last=False)[1])
