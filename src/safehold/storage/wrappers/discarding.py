"""A place for what a dry run would store: small objects are kept, of large ones only the size."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from safehold.core.errors import ObjectExists, ObjectMissing, StoreError
from safehold.storage.keys import check_key, check_prefix
from safehold.storage.store import Buffer, Capabilities, ObjectInfo, Upload


class Discarding:
    """The scratch store of a ``DryRunStore``.  Objects that were uploaded cannot be read back."""

    capabilities = Capabilities(local=True)
    location = "nowhere"

    def __init__(self) -> None:
        self._objects: dict[str, bytes | None] = {}
        self._sizes: dict[str, int] = {}
        self._lock = threading.Lock()

    def keep(self, key: str, data: bytes | None, size: int) -> None:
        """Take in an object; ``data`` is None where it is not kept."""
        check_key(key)
        with self._lock:
            if key in self._sizes:
                raise ObjectExists(f"{key} already exists.")
            self._objects[key] = data
            self._sizes[key] = size

    def put(self, key: str, data: Buffer) -> None:
        self.keep(key, bytes(data), memoryview(data).nbytes)

    def upload(self) -> Upload:
        return _Discarded(self)

    def get(self, key: str) -> bytes:
        self.size(key)
        data = self._objects[key]
        if data is None:
            raise StoreError(f"{key} was not kept: this is a dry run.")
        return data

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        return self.get(key)[offset:][:length]

    def size(self, key: str) -> int:
        check_key(key)
        try:
            return self._sizes[key]
        except KeyError:
            raise ObjectMissing(f"{key} is missing.") from None

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        check_prefix(prefix)
        with self._lock:
            lines = [ObjectInfo(key, size) for key, size in self._sizes.items() if key.startswith(prefix)]
        return iter(lines)

    def delete(self, key: str) -> None:
        check_key(key)
        with self._lock:
            self._objects.pop(key, None)
            self._sizes.pop(key, None)

    def quarantine(self, key: str) -> None:
        raise StoreError(f"{key} cannot be quarantined: this is a dry run.")

    def close(self) -> None:
        """Nothing to let go of."""


class _Discarded:
    def __init__(self, store: Discarding) -> None:
        self._store = store
        self._size = 0

    def write(self, data: Buffer) -> None:
        self._size += memoryview(data).nbytes

    def commit(self, key: str) -> None:
        self._store.keep(key, None, self._size)

    def abort(self) -> None:
        """Nothing was kept."""
