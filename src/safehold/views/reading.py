"""Chunks for many readers at once: kept after they were checked, fetched once however many ask, fetched ahead of the reader.

A mount reads a file in pieces of 128 KiB, several at a time.  Without this every piece would decode and hash its whole chunk.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from safehold.repo.reader import ChunkReader
from safehold.repo.repository import Repository

CACHE_BYTES = 64 * 1024 * 1024
"""Checked chunks kept in memory, at least; what is being fetched comes on top."""
SEGMENT_BYTES = 16 * 1024 * 1024
"""Raw segments kept beside them: the neighbours of a small chunk."""
AHEAD_THREADS = 4
"""Enough to hide a store's latency; on a local disk two already keep the decoder busy."""


class CachedReader(ChunkReader):
    """A chunk reader with a memory.  Safe to use from several threads."""

    def __init__(self, repository: Repository, cache_bytes: int = CACHE_BYTES) -> None:
        """Raises ``NotPermitted`` for a writer."""
        repository.require_reader()
        super().__init__(repository.seals, repository.store, repository.index, SEGMENT_BYTES)
        self._guard = threading.Lock()
        self._chunks: OrderedDict[tuple[int, bytes], Future[bytes]] = OrderedDict()
        self._held = 0
        self._most = cache_bytes
        self._pool = ThreadPoolExecutor(AHEAD_THREADS, thread_name_prefix="read-ahead")

    def read(self, kind: int, name: bytes) -> bytes:
        """The bytes of a chunk.  Raises ``DamageError``; a failure is not remembered."""
        key = (kind, name)
        with self._guard:
            future = self._chunks.get(key)
            mine = future is None
            if future is None:
                future = self._chunks[key] = Future()
            else:
                self._chunks.move_to_end(key)
        if mine:
            self._fetch(key, future)
        return future.result()

    def ahead(self, work: Callable[[], object]) -> None:
        """Do something that reads chunks, some time soon, in another thread; how it ends is nobody's concern."""
        self._pool.submit(work)

    def close(self) -> None:
        """Stop reading ahead."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _fetch(self, key: tuple[int, bytes], future: Future[bytes]) -> None:
        try:
            data = super().read(*key)
        except BaseException as error:
            with self._guard:
                del self._chunks[key]
            future.set_exception(error)
            return
        future.set_result(data)
        with self._guard:
            self._held += len(data)
            self._evict()

    def _evict(self) -> None:
        """Drop what was used longest ago.  What is still being fetched is not counted yet, and stays."""
        while self._held > self._most:
            key, future = self._chunks.popitem(last=False)
            if future.done():
                self._held -= len(future.result())
            else:
                self._chunks[key] = future
