"""What every wrapper does unless it says otherwise: hand it on."""

from __future__ import annotations

from collections.abc import Iterator

from safehold.storage.store import Buffer, Capabilities, Composition, ObjectInfo, Store, Upload, compose_in


class PassThrough:
    """A store that is another store."""

    def __init__(self, store: Store) -> None:
        self.inner = store

    @property
    def capabilities(self) -> Capabilities:
        return self.inner.capabilities

    @property
    def location(self) -> str:
        return self.inner.location

    def put(self, key: str, data: Buffer) -> None:
        self.inner.put(key, data)

    def upload(self) -> Upload:
        return self.inner.upload()

    def get(self, key: str) -> bytes:
        return self.inner.get(key)

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        return self.inner.get_range(key, offset, length)

    def size(self, key: str) -> int:
        return self.inner.size(key)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        return self.inner.list(prefix)

    def delete(self, key: str) -> None:
        self.inner.delete(key)

    def quarantine(self, key: str) -> None:
        self.inner.quarantine(key)

    def compose(self, wanted: Composition) -> str:
        return compose_in(self.inner, wanted)

    def close(self) -> None:
        self.inner.close()


class PassThroughUpload:
    """An upload that is another upload."""

    def __init__(self, upload: Upload) -> None:
        self.inner = upload

    def write(self, data: Buffer) -> None:
        self.inner.write(data)

    def commit(self, key: str) -> None:
        self.inner.commit(key)

    def abort(self) -> None:
        self.inner.abort()


def driver_of(store: Store) -> Store:
    """What is behind all wrappers."""
    while isinstance(store, PassThrough):
        store = store.inner
    return store
