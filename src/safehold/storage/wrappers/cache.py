"""Small objects kept in a local folder, so that a distant store is asked for each of them once."""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import secrets
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from safehold.core.clock import Clock
from safehold.core.errors import StoreError
from safehold.storage.keys import check_key
from safehold.storage.store import Buffer, ObjectInfo, Store
from safehold.storage.wrappers.passthrough import PassThrough

_DIGEST = 32
"""Bytes of SHA-256 in front of each cached object."""
_KEEP = 0.9
"""The part of the limit that is left after old objects made room."""
_SHA256_NAME = re.compile(r"[0-9a-f]{64}")


class CachedStore(PassThrough):
    """Keeps whole objects whose key starts with one of ``prefixes``, at most ``limit`` bytes of them, the ones used last.

    The cache is a hint.  Every object read from it is compared with its SHA-256, and one whose name is its SHA-256 with that,
    too; what does not fit is fetched again.  A folder that can't be written only makes it slower.  ``get`` may still
    answer for an object that another client has deleted since; a listing of its prefix ends that.
    """

    def __init__(self, store: Store, folder: Path, prefixes: tuple[str, ...], limit: int, clock: Clock) -> None:
        super().__init__(store)
        self._folder = folder
        self._prefixes = prefixes
        self._limit = limit
        self._clock = clock
        self._lock = threading.Lock()
        self._total = sum(size for _, size, _ in _files(folder))

    def put(self, key: str, data: Buffer) -> None:
        self.inner.put(key, data)
        if self._wanted(key):
            self._keep(key, bytes(data))

    def get(self, key: str) -> bytes:
        check_key(key)
        if not self._wanted(key):
            return self.inner.get(key)
        data = self._kept(key)
        if data is None:
            data = self.inner.get(key)
            self._keep(key, data)
        return data

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        check_key(key)
        data = self._kept(key) if self._wanted(key) else None
        if data is None:
            return self.inner.get_range(key, offset, length)
        if offset >= 0 and offset + length > len(data):
            raise StoreError(
                f"{key} in the store {self.location} has {len(data)} bytes; {length} from {offset} on were asked for."
            )
        return data[offset:][:length]

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """A listing that is read to its end also drops from the cache what is not in it."""
        before = [key for key in self._keys() if key.startswith(prefix)]
        return self._listed(self.inner.list(prefix), set(before))

    def delete(self, key: str) -> None:
        check_key(key)
        self._drop(key)
        self.inner.delete(key)

    def quarantine(self, key: str) -> None:
        check_key(key)
        self._drop(key)
        self.inner.quarantine(key)

    def _listed(self, lines: Iterator[ObjectInfo], cached: set[str]) -> Iterator[ObjectInfo]:
        for line in lines:
            cached.discard(line.key)
            yield line
        for key in cached:
            self._drop(key)

    def _wanted(self, key: str) -> bool:
        return key.startswith(self._prefixes)

    def _keys(self) -> Iterator[str]:
        return (path.relative_to(self._folder).as_posix() for path, _, _ in _files(self._folder))

    def _kept(self, key: str) -> bytes | None:
        """The cached object, if it is there and what it was."""
        path = self._folder / key
        try:
            content = path.read_bytes()
            now = self._clock.now_ns()
            os.utime(path, ns=(now, now))
        except OSError:
            return None
        data = content[_DIGEST:]
        if content[:_DIGEST] != hashlib.sha256(data).digest():
            self._drop(key)
            return None
        return data

    def _keep(self, key: str, data: bytes) -> None:
        digest = hashlib.sha256(data)
        name = key.rpartition("/")[2]
        if len(data) > self._limit or (_SHA256_NAME.fullmatch(name) and name != digest.hexdigest()):
            return
        with suppress(OSError):
            self._write(self._folder / key, digest.digest() + data)
        if self._total > self._limit:
            self._make_room()

    def _write(self, path: Path, content: bytes) -> None:
        """Atomic, and not durable: what a crash tears has the wrong SHA-256."""
        path.parent.mkdir(0o700, parents=True, exist_ok=True)
        unfinished = path.with_name(f"{path.name}.{secrets.token_hex(8)}.new")
        try:
            unfinished.write_bytes(content)
            now = self._clock.now_ns()
            os.utime(unfinished, ns=(now, now))
            unfinished.replace(path)
        except OSError:
            unfinished.unlink(missing_ok=True)
            raise
        with self._lock:
            self._total += len(content)

    def _drop(self, key: str) -> None:
        with suppress(OSError):
            (self._folder / key).unlink()

    def _make_room(self) -> None:
        with self._lock:
            files = sorted(_files(self._folder), key=lambda file: file[2], reverse=True)
            sizes = itertools.accumulate(size for _, size, _ in files)
            for (path, _, _), total in zip(files, sizes, strict=True):
                if total > self._limit * _KEEP:
                    with suppress(OSError):
                        path.unlink()
            self._total = sum(size for _, size, _ in _files(self._folder))


def _files(folder: Path) -> Iterator[tuple[Path, int, int]]:
    """Path, size in bytes and time of last use in ns of every file in a cache folder."""
    with suppress(OSError):
        for path in folder.rglob("*"):
            with suppress(OSError):
                status = path.stat()
                if path.is_file():
                    yield path, status.st_size, status.st_mtime_ns
