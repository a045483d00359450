"""A store in a folder: each object a file, at the path that its key says.

How the guarantees are reached is told in ``docs/storage.md``.  In short: bytes go to ``tmp/``, are flushed, get their
name by a hard link (which never replaces anything), and the folder is flushed before anybody is told that it is done.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from safehold.core.errors import ObjectExists, ObjectMissing, StoreError
from safehold.storage import filesystem as fs
from safehold.storage.keys import RESERVED, check_key, check_prefix, quarantine_keys, top_of
from safehold.storage.local_files import OpenFiles
from safehold.storage.local_folders import Folders, folder_of
from safehold.storage.local_upload import LocalUpload
from safehold.storage.oserrors import explained, unreachable
from safehold.storage.store import Buffer, Capabilities, ObjectInfo

_T = TypeVar("_T")

_UNFINISHED = ".part"
_LOCK = f"{RESERVED}/publish.lock"
STALE_SECONDS = 86400.0
"""After so long what lies in ``tmp/`` is left over also where locks may be known to one machine only (network filesystems)."""


def _random_name() -> str:
    return secrets.token_hex(12)


class LocalStore:
    """A store in the folder ``path``, which is made, parents too, if ``create``.

    Raises ``StoreUnreachable`` if the folder is not there.  ``name`` gives unique names of temporary files.
    ``sweeps_after``: the first upload removes what dead writers left that many seconds ago or longer; never, if it is ``None``.
    """

    def __init__(
        self,
        path: str | Path,
        create: bool = False,
        name: Callable[[], str] = _random_name,
        sweeps_after: float | None = None,
    ) -> None:
        root = os.path.abspath(path)
        self._name = name
        self._sweeps_after = sweeps_after
        self._files = OpenFiles()
        try:
            if create:
                fs.make_folders(Path(root))
            self._folders = Folders(root)
        except FileNotFoundError:
            raise unreachable(root) from None
        except OSError as error:
            raise explained(error, "The folder", root) from error

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(local=True)

    @property
    def location(self) -> str:
        return self._folders.root

    def put(self, key: str, data: Buffer) -> None:
        check_key(key)
        if os.path.lexists(self._folders.path(key)):
            raise self._exists(key)
        upload = self.upload()
        upload.write(data)
        upload.commit(key)

    def upload(self) -> LocalUpload:
        try:
            upload = self._in_folder(RESERVED, self._begin)
        except OSError as error:
            raise explained(error, "A new object", self.location) from error
        if self._sweeps_after is not None:
            self._sweep_once(upload, self._sweeps_after)
        return upload

    def get(self, key: str) -> bytes:
        check_key(key)
        try:
            self._folders.check(folder_of(key))
            descriptor, size = fs.open_object(self._folders.path(key))
            with open(descriptor, "rb", buffering=0) as file:
                return fs.read_all(file, size)
        except OSError as error:
            raise self._unread(error, key) from error

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        check_key(key)
        try:
            self._folders.check(folder_of(key))
            data, size = self._files.read(self._folders.path(key), offset, length)
        except OSError as error:
            raise self._unread(error, key) from error
        if offset >= 0 and len(data) != length:
            raise StoreError(f"{key} in the store {self.location} has {size} bytes; {length} from {offset} on were asked for.")
        return data

    def is_open(self, key: str) -> bool:
        """Whether ``descriptor`` waits for nothing."""
        return self._files.is_open(self._folders.path(key))

    @contextmanager
    def descriptor(self, key: str) -> Iterator[int]:
        """An open file with the bytes of an object, for reading at offsets.  Raises ``ObjectMissing``."""
        check_key(key)
        with ExitStack() as lent:
            try:
                self._folders.check(folder_of(key))
                found = lent.enter_context(self._files.lend(self._folders.path(key)))
            except OSError as error:
                raise self._unread(error, key) from error
            yield found

    def size(self, key: str) -> int:
        check_key(key)
        try:
            self._folders.check(folder_of(key))
            status = os.lstat(self._folders.path(key))
        except OSError as error:
            raise self._unread(error, key) from error
        if not stat.S_ISREG(status.st_mode):
            raise self._missing(key)
        return status.st_size

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        check_prefix(prefix)
        return self._walk(prefix.rstrip("/"))

    def delete(self, key: str) -> None:
        check_key(key)
        path = self._folders.path(key)
        self._files.forget(path)
        try:
            self._folders.flush_deletions(but=top_of(key))
            self._folders.check(folder_of(key))
            os.unlink(path)
        except (FileNotFoundError, NotADirectoryError):
            self._folders.check_root()
        except OSError as error:
            raise explained(error, key, self.location) from error
        else:
            self._folders.note_deletion(folder_of(key))

    def quarantine(self, key: str) -> None:
        self.size(key)
        try:
            for place in quarantine_keys(key):
                check_key(place)
                with suppress(FileExistsError):
                    self._move(self._folders.path(key), place)
                    break
            self._folders.flush(folder_of(key))
        except OSError as error:
            raise self._unread(error, key) from error
        self._files.forget(self._folders.path(key))

    def sweep(self, older_than_seconds: float, now_ns: int) -> int:
        """Remove what dead processes left in ``tmp/`` longer ago than that; returns the bytes that were freed.

        A file that a live process is writing is locked, and stays however old it is.
        """
        freed = 0
        before_ns = now_ns - int(older_than_seconds * 1e9)
        try:
            for name, status in self._folders.scan(RESERVED):
                if name.endswith(_UNFINISHED) and status is not None and status.st_mtime_ns < before_ns:
                    freed += self._remove_unfinished(name, status)
        except OSError as error:
            raise explained(error, RESERVED, self.location) from error
        return freed

    def tidy(self, prefix: str) -> None:
        """Remove the empty folders of a prefix that only this process uses.  ``delete`` leaves them, as others may need them."""
        check_prefix(prefix)
        try:
            self._folders.remove_empty(prefix.rstrip("/"))
        except FileNotFoundError:
            self._folders.check_root()
        except OSError as error:
            raise explained(error, prefix, self.location) from error

    def close(self) -> None:
        self._files.close()
        try:
            self._folders.flush_deletions()
        except OSError as error:
            raise explained(error, "A deletion", self.location) from error

    def _begin(self) -> LocalUpload:
        return LocalUpload(self._folders.path(f"{RESERVED}/{self._name()}{_UNFINISHED}"), self.location, self._publish)

    def _sweep_once(self, upload: LocalUpload, seconds: float) -> None:
        """By the filesystem's own clock.  Leftovers only cost room, so what can't be looked at now is left for another time."""
        self._sweeps_after = None
        with suppress(StoreError, OSError):
            self.sweep(seconds if upload.is_locked() else max(seconds, STALE_SECONDS), upload.began_ns())

    def _publish(self, path: str, key: str) -> None:
        try:
            self._move(path, key)
        except FileExistsError:
            raise self._exists(key) from None

    def _move(self, path: str, key: str) -> None:
        """Give a file its name as an object, durably, or raise ``FileExistsError``."""
        self._folders.flush_deletions(but=top_of(key))
        folder = folder_of(key)
        lock = self._folders.path(_LOCK)
        self._in_folder(folder, lambda: fs.move_exclusive(path, self._folders.path(key), lock))
        self._folders.flush(folder)

    def _in_folder(self, folder: str, action: Callable[[], _T]) -> _T:
        """Do something that needs a folder, which may have to be made; again if somebody tidied it up meanwhile."""
        self._folders.make(folder)
        try:
            return action()
        except FileNotFoundError:
            self._folders.forget()
            self._folders.make(RESERVED)
            self._folders.make(folder)
            return action()

    def _walk(self, prefix: str) -> Iterator[ObjectInfo]:
        """Looks for the drive before and after, since what is left behind by one that went away is an empty folder."""
        self._folders.check_root()
        waiting = [prefix]
        while waiting:
            folder = waiting.pop()
            start = f"{folder}/" if folder else ""
            try:
                for name, status in self._folders.scan(folder):
                    if status is not None:
                        yield ObjectInfo(start + name, status.st_size, status.st_mtime_ns)
                    elif start or name != RESERVED:
                        waiting.append(start + name)
            except OSError as error:
                raise explained(error, folder or "The folder", self.location) from error
        self._folders.check_root()

    def _remove_unfinished(self, name: str, status: os.stat_result) -> int:
        with suppress(FileNotFoundError):
            if fs.remove_unless_held(self._folders.path(f"{RESERVED}/{name}")):
                # A second name means that it was published, and that only its first name was left over.
                return status.st_size if status.st_nlink == 1 else 0
        return 0

    def _exists(self, key: str) -> StoreError:
        """The error for a key that is taken.  Whoever relies on the object may: its name is durable by now."""
        try:
            self._folders.flush(folder_of(key))
        except OSError as error:
            return explained(error, key, self.location)
        return ObjectExists(f"{key} already exists in the store {self.location}.")

    def _unread(self, error: OSError, key: str) -> StoreError:
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            return self._missing(key)
        return explained(error, key, self.location)

    def _missing(self, key: str) -> StoreError:
        self._folders.check_root()
        return ObjectMissing(f"{key} is not in the store {self.location}.")
