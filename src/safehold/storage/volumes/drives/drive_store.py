"""A drive's store: a local one that knows its drive's name, and what was written to it."""

from __future__ import annotations

import errno
import hashlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from safehold.core.errors import DamageError, StoreError, StoreFull, StoreUnreachable
from safehold.storage.local import LocalStore
from safehold.storage.oserrors import explained
from safehold.storage.store import Buffer, ObjectInfo, Upload
from safehold.storage.volumes.drives.caches import drop_cached, drop_device
from safehold.storage.volumes.drives.mounts import Mount, goes_away, is_plugged_in
from safehold.storage.wrappers.passthrough import PassThrough, PassThroughUpload

_T = TypeVar("_T")
_PIECE = 1 << 20
_FAULTS = (errno.EIO, errno.EROFS)
"""What a drive gives that is being pulled: FAT turns read-only at the first fault."""
GOING_SECONDS = 3.0
"""So long after a fault it may take the system to notice that the drive is gone."""
NAMED_BY_CONTENT = ("packs/", "index/", "snapshots/", "condemned/")
"""Their names end in the SHA-256 of their bytes, so who reads one back knows whether it is what was written."""


class DriveStore(PassThrough):
    """The store of one drive.  ``written`` holds the keys of what was stored through it."""

    def __init__(self, folder: Path, title: str, mount: Mount | None = None) -> None:
        """``title``: what people call it; ``mount``: the file system it is on.  Raises ``StoreUnreachable``."""
        # A drive's own filesystem has exact locks: a stick that was pulled is not filled by what never got finished.
        super().__init__(LocalStore(folder, sweeps_after=0))
        self.folder = folder
        self.title = title
        self.written: list[str] = []
        self.deleted = False
        """Whether anything of lasting use was deleted."""
        self._mount = mount or Mount("")
        self._lock = threading.Lock()

    @property
    def changed(self) -> bool:
        """Whether the repository is another than it was: session marks come and go, and don't count."""
        return self.deleted or any(not key.startswith("sessions/") for key in self.written)

    def put(self, key: str, data: Buffer) -> None:
        self.guarded(lambda: self.inner.put(key, data))
        self.note(key)

    def upload(self) -> Upload:
        return _DriveUpload(self.guarded(self.inner.upload), self)

    def get(self, key: str) -> bytes:
        return self.guarded(lambda: self.inner.get(key))

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        return self.guarded(lambda: self.inner.get_range(key, offset, length))

    def size(self, key: str) -> int:
        return self.guarded(lambda: self.inner.size(key))

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        try:
            yield from self.inner.list(prefix)
        except StoreError as error:
            raise self.explained(error) from error

    def delete(self, key: str) -> None:
        self.guarded(lambda: self.inner.delete(key))
        self.deleted = self.deleted or not key.startswith("sessions/")

    def quarantine(self, key: str) -> None:
        self.guarded(lambda: self.inner.quarantine(key))
        self.deleted = True

    def close(self) -> None:
        """Also where the drive has gone: what was not flushed then was never promised."""
        try:
            self.guarded(self.inner.close)
        except StoreUnreachable:
            return

    def note(self, key: str) -> None:
        """Something was stored."""
        with self._lock:
            self.written.append(key)

    def guarded(self, action: Callable[[], _T]) -> _T:
        """Do something, and say what is wrong with the drive if it fails."""
        try:
            return action()
        except StoreError as error:
            raise self.explained(error) from error

    def explained(self, error: StoreError) -> StoreError:
        """An error of the local store, as one of this drive."""
        if isinstance(error, StoreUnreachable) or self._is_gone(error):
            return StoreUnreachable(
                f"{self.title} is gone: it was unplugged, or unmounted, while it was in use.",
                "What was finished is safe.  Plug it in again and run it again: it goes on where it was.",
            )
        if isinstance(error, StoreFull):
            return StoreFull(
                f"{self.title} is full.",
                "`safehold forget` and `safehold prune` make room, or a larger drive takes its place; what was finished is safe.",
            )
        return error

    def _is_gone(self, error: StoreError) -> bool:
        if not is_plugged_in(self._mount.device):
            return True
        cause = error.__cause__
        failed = isinstance(cause, OSError) and cause.errno in _FAULTS
        return failed and bool(self._mount.device) and goes_away(self._mount.device, GOING_SECONDS)

    def read_back(self) -> int:
        """Read from the drive itself, past the system's memory, what was written; the bytes that were read.

        Raises ``DamageError`` if it is not what was written.
        """
        total = 0
        with self._lock:
            keys = sorted({key for key in self.written if key.startswith(NAMED_BY_CONTENT)})
        drop_device(self._mount)
        for key in keys:
            try:
                size, digest = self._digest(key)
            except FileNotFoundError:
                next(self.list("snapshots/"), None)  # raises if it is the drive that is not there
                continue  # deleted again meanwhile
            except OSError as error:
                raise self.explained(explained(error, key, self.location)) from error
            if digest != key.rpartition("/")[2]:
                raise DamageError(
                    f"{self.title} does not give back what was written to it ({key[:24]}).",
                    "Do not rely on this drive: back up to another one, and run `safehold volumes verify`.",
                )
            total += size
        return total

    def _digest(self, key: str) -> tuple[int, str]:
        """Size and SHA-256 of an object as the drive has it."""
        size, digest = 0, hashlib.sha256()
        with open(self.folder / key, "rb", buffering=0) as file:
            drop_cached(file.fileno())
            while piece := file.read(_PIECE):
                digest.update(piece)
                size += len(piece)
        return size, digest.hexdigest()


class _DriveUpload(PassThroughUpload):
    def __init__(self, upload: Upload, store: DriveStore) -> None:
        super().__init__(upload)
        self._store = store

    def write(self, data: Buffer) -> None:
        self._store.guarded(lambda: self.inner.write(data))

    def commit(self, key: str) -> None:
        self._store.guarded(lambda: self.inner.commit(key))
        self._store.note(key)
