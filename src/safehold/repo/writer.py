"""Adding chunks to a repository: gather, compress, seal, pack, store - in worker threads, behind one producing thread.

    add() -> gathered into a segment -> [worker: compress, seal] -> [lock: append to the open pack] -> [worker: commit]

Memory is bounded by the number of segments under way.  What is acknowledged to the caller is only the chunk's name; it is
safe to build a snapshot on it after ``finish`` has returned (packs durable, then the index).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from functools import partial
from typing import Protocol

import msgspec
from blake3 import blake3

from safehold.codec import compression
from safehold.codec.levels import Levels
from safehold.core.pools import Pool
from safehold.repo import shards
from safehold.repo.claims import Claims
from safehold.repo.index import Index
from safehold.repo.packs import TARGET as PACK_TARGET
from safehold.repo.packs import PackBuilder, PackRecord
from safehold.repo.seals import DATA, ID_SIZE, Seals, SessionKey
from safehold.repo.segments import TARGET as SEGMENT_TARGET
from safehold.repo.segments import SealedSegment, Sealer
from safehold.repo.uploads import Uploads
from safehold.storage.store import Store

CHECKPOINT_CHUNKS = 250_000
"""After so many new chunks the index of what is stored is written, which bounds memory and what a crash can undo."""


SMALL = 0
"""Chunks of small files, trees and maps share segments with their like."""
PAGES = 1
"""Changed pages of paged files share segments with each other."""
ALONE = 2
"""Chunks of large files are segments of their own."""
BLOCKS = 4
"""Blocks of paged files are segments of their own, too; databases have pages that are smaller in columns."""
STREAM = 3
"""Small chunks of a large text share segments with each other, not with other files: they can be handed out by themselves."""


PAGES_TARGET = 256 * 1024
"""Bytes of changed pages that are gathered into a segment.  A block is put together from pages of many backups, so a reader has
a segment of each of them in memory at a time."""


PAGES_LEVEL = 6
"""Of the first changed pages, and of blocks and pages that are smaller in columns, unless another level than the usual was asked
for.  Of pgbench's pages in columns it makes a fourth less than level 3 does, for 1 ms of CPU each MB."""
PAGES_HARDER = 16 * 1024 * 1024
"""So many bytes of changed pages are compressed at that level, columns or not (8 ms of CPU each MB); where more changed, time
counts for more."""


class WriterOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How chunks are written."""

    level: int = compression.DEFAULT_LEVEL
    verify: bool = True
    workers: int = 0
    """Threads that compress; 0: one per core."""


class Added(msgspec.Struct):
    """What a writer has added so far.  Bytes."""

    chunks: int = 0
    raw: int = 0
    """Before compression."""
    stored: int = 0
    """As packs in the store."""
    metadata: int = 0
    """The part of ``stored`` that is trees and maps."""


class Adder(Protocol):
    """Takes chunks in."""

    def add(self, kind: int, data: bytes | memoryview, group: int = SMALL) -> bytes:
        """Store a chunk unless it is there already; its name.  ``group`` says what it may share a segment with."""

    def knows(self, name: bytes) -> bool:
        """Whether a chunk is stored, or about to be."""


class Gathering:
    """Small chunks of one kind that wait to become a segment."""

    __slots__ = ("names", "pieces", "size")

    def __init__(self) -> None:
        self.names: list[bytes] = []
        self.pieces: list[bytes | memoryview] = []
        self.size = 0

    def add(self, name: bytes, data: bytes | memoryview) -> None:
        """One more."""
        self.names.append(name)
        self.pieces.append(data)
        self.size += len(data)


class ChunkWriter:
    """Adds chunks.  ``add`` and ``finish`` belong to one thread."""

    def __init__(
        self, seals: Seals, store: Store, index: Index, session: SessionKey, options: WriterOptions, *, pad: bool = False
    ) -> None:
        """``pad``: as the repository's config says."""
        self.added = Added()
        self.session = session
        self._seals = seals
        self._store = store
        self.index = self._index = index
        self.sealer = Sealer(seals, session, options.level, pad, options.verify)
        usual = options.level == compression.DEFAULT_LEVEL
        level = PAGES_LEVEL if usual else options.level
        self._for_first_pages = msgspec.structs.replace(self.sealer, level=level, columns=level)
        self._for_blocks = msgspec.structs.replace(self.sealer, columns=level, levels=Levels() if usual else None)
        self._pages = 0
        self._naming = seals.naming
        workers = options.workers or os.cpu_count() or 2
        self._pool = Pool(workers, "seal")
        self._room = threading.Semaphore(2 * workers + 2)
        self._failure: BaseException | None = None
        self._gathering: dict[tuple[int, int], Gathering] = {}
        self._known: set[bytes] = set()
        self._claims: Claims | None = None
        self._open: dict[int, PackBuilder] = {}
        self._lock = threading.Lock()
        self._uploads = Uploads(store.capabilities.uploads)
        self._records: list[PackRecord] = []
        self._unindexed = 0

    def add(self, kind: int, data: bytes | memoryview, group: int = SMALL) -> bytes:
        """Store a chunk unless it is there already; its name.  ``group`` says what it may share a segment with."""
        name: bytes = blake3(data, key=self._naming[kind]).digest(ID_SIZE)
        self.add_named(kind, name, data, group)
        return name

    def assume(self, names: Iterable[bytes]) -> None:
        """These chunks are known to be stored, so the index need not be asked for them."""
        self._known.update(names)

    def add_named(self, kind: int, name: bytes, data: bytes | memoryview, group: int) -> None:
        """The same for data whose name the caller has just computed."""
        if self.knows(name):
            return
        self._known.add(name)
        if self._claims is not None:
            self._claims.add(name)
        if group in (ALONE, BLOCKS):
            self._start(kind, [name], [data], self._for_blocks if group == BLOCKS else self.sealer)
            return
        gathering = self._gathering.get((kind, group))
        if gathering is None:
            gathering = self._gathering[kind, group] = Gathering()
        gathering.add(name, data)
        if gathering.size >= (PAGES_TARGET if group == PAGES else SEGMENT_TARGET):
            self._submit(kind, group)

    def name(self, kind: int, data: bytes | memoryview) -> bytes:
        """The name that a chunk of these bytes has."""
        return blake3(data, key=self._naming[kind]).digest(ID_SIZE)

    @property
    def page_key(self) -> bytes:
        """The key of the hashes by which changed pages are known: the naming key of data chunks."""
        return self._naming[DATA]

    def knows(self, name: bytes) -> bool:
        """Whether a chunk is stored, or about to be."""
        if name in self._known or self._index.has(name):
            return True
        return self._claims is not None and self._claims.has(name)

    def share(self) -> Claims:
        """From now on segment makers in other processes add chunks, too, and use what this returns to tell which."""
        self._claims = claims = Claims()
        for name in self._known:
            claims.add(name)
        return claims

    def take(self, segment: SealedSegment) -> None:
        """Store a segment that another process has made.  May be called from any thread."""
        with self._lock:
            self.added.chunks += len(segment.chunks)
            self.added.raw += segment.raw
        self._store_sealed(segment)

    def length(self, name: bytes) -> int:
        """Bytes of a stored chunk; 0 for one that the index does not list."""
        place = self._index.find(name)
        return place.length if place else 0

    def finish(self) -> None:
        """Everything added is durable and indexed when this returns.  Raises what a worker failed with."""
        for kind, group in list(self._gathering):
            self._submit(kind, group)
        self._pool.shutdown(wait=True)
        self._check()
        self._commit_open()
        self._write_index()

    def abort(self) -> None:
        """Stop; what is in whole packs stays stored, and is indexed if that still works."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        for builder in self._open.values():
            builder.abort()
        self._open.clear()
        self._uploads.stop()

    def salvage(self) -> None:
        """Stop before the end, but keep what was compressed so far: open packs are committed and indexed."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._commit_open()
        self._write_index()

    def _submit(self, kind: int, group: int) -> None:
        gathering = self._gathering.pop((kind, group), None)
        if gathering is None:
            return
        self._start(kind, gathering.names, gathering.pieces, self._for_pages(gathering.size) if group == PAGES else self.sealer)

    def _for_pages(self, size: int) -> Sealer:
        self._pages += size
        return self._for_first_pages if self._pages <= PAGES_HARDER else self._for_blocks

    def _start(self, kind: int, names: list[bytes], pieces: list[bytes | memoryview], sealer: Sealer) -> None:
        self._check()
        with self._lock:
            self.added.chunks += len(names)
            self.added.raw += sum(map(len, pieces))
        self._room.acquire()
        self._pool.submit(self._guarded, self._process, sealer, kind, names, pieces)

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure
        self._uploads.check()
        if self._unindexed >= CHECKPOINT_CHUNKS:
            self._write_index()

    def _guarded(self, work: Callable[..., None], *arguments: object) -> None:
        """Run in a worker; the first failure is kept and raised in the producing thread."""
        try:
            if self._failure is None:
                work(*arguments)
        except BaseException as error:
            self._failure = self._failure or error
        finally:
            self._room.release()

    def _process(self, sealer: Sealer, kind: int, names: list[bytes], pieces: list[bytes | memoryview]) -> None:
        self._store_sealed(sealer.seal(kind, names, pieces))

    def _store_sealed(self, segment: SealedSegment) -> None:
        full = self._pack(segment)
        if full is not None:
            self._uploads.run(partial(self._commit, full), full.abort)

    def _pack(self, segment: SealedSegment) -> PackBuilder | None:
        """Append to the open pack of its sort; the pack, if that filled it."""
        with self._lock:
            builder = self._open.get(segment.kind)
            if builder is None:
                builder = self._open[segment.kind] = PackBuilder(self._seals, self._store.upload(), segment.kind)
            builder.append(segment)
            if segment.kind != DATA:
                self.added.metadata += len(segment.body) + len(segment.table)
            return self._open.pop(segment.kind) if builder.size >= PACK_TARGET else None

    def _commit_open(self) -> None:
        """Every pack is durable when this returns."""
        for kind in list(self._open):
            builder = self._open.pop(kind)
            self._uploads.run(partial(self._commit, builder), builder.abort)
        self._uploads.wait()

    def _commit(self, builder: PackBuilder) -> None:
        record = builder.finish()
        with self._lock:
            self._records.append(record)
            self._unindexed += sum(map(len, record.chunks))
            self.added.stored += record.size

    def _write_index(self) -> None:
        """Index the packs committed since the last time, and forget their chunks: the index knows them now."""
        with self._lock:
            records, self._records, self._unindexed = self._records, [], 0
        if not records:
            return
        self._index.publish(shards.encode(records))
        for record in records:
            for chunks in record.chunks:
                self._known.difference_update(chunk for chunk, _ in chunks)
