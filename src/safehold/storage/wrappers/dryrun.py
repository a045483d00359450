"""What would be done, without doing it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from safehold.core.errors import ObjectExists, ObjectMissing
from safehold.storage.keys import check_key, quarantine_keys
from safehold.storage.store import Buffer, Capabilities, ObjectInfo, Store, Upload
from safehold.storage.wrappers.passthrough import PassThrough, PassThroughUpload


@dataclass(slots=True)
class Changes:
    """Keys (with sizes in bytes) that would be stored, deleted and quarantined, in this order of events."""

    stored: dict[str, int] = field(default_factory=dict)
    deleted: dict[str, int] = field(default_factory=dict)
    quarantined: dict[str, int] = field(default_factory=dict)


class DryRunStore(PassThrough):
    """Never changes ``store``.  What would be stored goes to ``scratch``, and is seen by reads as if it were there."""

    def __init__(self, store: Store, scratch: Store) -> None:
        super().__init__(store)
        self.changes = Changes()
        self._scratch = scratch
        self._hidden: set[str] = set()
        self._lock = threading.RLock()

    @property
    def capabilities(self) -> Capabilities:
        return replace(self.inner.capabilities, composes=False)

    def put(self, key: str, data: Buffer) -> None:
        with self._lock:
            self._require_free(key)
            self._scratch.put(key, data)
            self.changes.stored[key] = memoryview(data).nbytes

    def upload(self) -> Upload:
        return _DryRunUpload(self._scratch.upload(), self)

    def get(self, key: str) -> bytes:
        return self._holder(key).get(key)

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        return self._holder(key).get_range(key, offset, length)

    def size(self, key: str) -> int:
        return self._holder(key).size(key)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        lines = self.inner.list(prefix)
        with self._lock:
            added = {line.key: line for line in self._scratch.list(prefix)}
        return self._merged(lines, added)

    def delete(self, key: str) -> None:
        check_key(key)
        with self._lock:
            try:
                size = self.size(key)
            except ObjectMissing:
                return
            self._remove(key)
            if self.changes.stored.pop(key, None) is None:
                self.changes.deleted[key] = size

    def quarantine(self, key: str) -> None:
        with self._lock:
            data = self.get(key)
            place = next(place for place in quarantine_keys(key) if self._is_free(place))
            self._scratch.put(place, data)
            self._remove(key)
            self.changes.quarantined[key] = len(data)

    def commit(self, upload: Upload, key: str, size: int) -> None:
        """End an upload.  For the upload itself."""
        with self._lock:
            self._require_free(key)
            upload.commit(key)
            self.changes.stored[key] = size

    def _merged(self, lines: Iterator[ObjectInfo], added: dict[str, ObjectInfo]) -> Iterator[ObjectInfo]:
        for line in lines:
            if line.key not in self._hidden and line.key not in added:
                yield line
        yield from added.values()

    def _remove(self, key: str) -> None:
        self._scratch.delete(key)
        self._hidden.add(key)

    def _holder(self, key: str) -> Store:
        """Where an object is to be read."""
        check_key(key)
        try:
            self._scratch.size(key)
        except ObjectMissing:
            if key in self._hidden:
                raise
            return self.inner
        return self._scratch

    def _is_free(self, key: str) -> bool:
        try:
            self.size(key)
        except ObjectMissing:
            return True
        return False

    def _require_free(self, key: str) -> None:
        if not self._is_free(key):
            raise ObjectExists(f"{key} already exists in the store {self.location}.")


class _DryRunUpload(PassThroughUpload):
    def __init__(self, upload: Upload, store: DryRunStore) -> None:
        super().__init__(upload)
        self._store = store
        self._size = 0

    def write(self, data: Buffer) -> None:
        self.inner.write(data)
        self._size += memoryview(data).nbytes

    def commit(self, key: str) -> None:
        try:
            self._store.commit(self.inner, key, self._size)
        finally:
            self.inner.abort()
