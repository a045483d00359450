"""A record of what was asked of a store, for statistics and for tests that assert which I/O happened."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass

from safehold.storage.store import Buffer, ObjectInfo, Store, Upload
from safehold.storage.wrappers.passthrough import PassThrough, PassThroughUpload


@dataclass(frozen=True, slots=True)
class Operation:
    """One finished operation: its name in the protocol (``upload`` for a committed one), its key or prefix, and its bytes."""

    name: str
    key: str
    bytes: int = 0


class RecordingStore(PassThrough):
    """``operations`` holds what succeeded, in the order in which it ended."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._lock = threading.Lock()
        self.operations: list[Operation] = []

    def record(self, name: str, key: str, size: int = 0) -> None:
        """Add a line."""
        with self._lock:
            self.operations.append(Operation(name, key, size))

    def bytes_up(self) -> int:
        """Bytes stored so far."""
        return sum(operation.bytes for operation in self.operations if operation.name in ("put", "upload"))

    def bytes_down(self) -> int:
        """Bytes read so far."""
        return sum(operation.bytes for operation in self.operations if operation.name in ("get", "get_range"))

    def put(self, key: str, data: Buffer) -> None:
        self.inner.put(key, data)
        self.record("put", key, memoryview(data).nbytes)

    def upload(self) -> Upload:
        return _RecordingUpload(self.inner.upload(), self)

    def get(self, key: str) -> bytes:
        data = self.inner.get(key)
        self.record("get", key, len(data))
        return data

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        data = self.inner.get_range(key, offset, length)
        self.record("get_range", key, len(data))
        return data

    def size(self, key: str) -> int:
        size = self.inner.size(key)
        self.record("size", key)
        return size

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        lines = self.inner.list(prefix)
        self.record("list", prefix)
        return lines

    def delete(self, key: str) -> None:
        self.inner.delete(key)
        self.record("delete", key)

    def quarantine(self, key: str) -> None:
        self.inner.quarantine(key)
        self.record("quarantine", key)


class _RecordingUpload(PassThroughUpload):
    def __init__(self, upload: Upload, store: RecordingStore) -> None:
        super().__init__(upload)
        self._store = store
        self._size = 0

    def write(self, data: Buffer) -> None:
        self.inner.write(data)
        self._size += memoryview(data).nbytes

    def commit(self, key: str) -> None:
        self.inner.commit(key)
        self._store.record("upload", key, self._size)
