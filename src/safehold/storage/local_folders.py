"""The root of a local store and the folders below it: made when needed, remembered, durable, and never links.

All methods but ``check_root`` raise ``OSError``; ``check_root`` raises ``StoreUnreachable``.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import suppress

from safehold.storage import filesystem as fs
from safehold.storage.keys import is_part, top_of
from safehold.storage.oserrors import unreachable


class Folders:
    """Folders are named as in keys, without a slash at the end; the root is empty."""

    def __init__(self, root: str) -> None:
        self.root = root
        self._identity = _identity(root)
        self._checked: set[str] = {""}
        self._durable: set[str] = {""}
        self._lock = threading.Lock()
        self._undurable: set[str] = set()

    def path(self, key: str) -> str:
        """Where a key, or folder, is."""
        return f"{self.root}/{key}"

    def check_root(self) -> None:
        """Tell a missing object from a missing drive, whose empty mount point may still be there."""
        with suppress(OSError):
            found = _identity(self.root)
            if found == self._identity or (found[0] == self._identity[0] and fs.renumbers(found[0])):
                return
        raise unreachable(self.root)

    def check(self, folder: str) -> None:
        """Make sure, once, that no part of the way to ``folder`` is a link, which could lead out of the root."""
        if folder not in self._checked:
            for part in _way_to(folder):
                require_folder(self.path(part))
            self._checked.add(folder)

    def make(self, folder: str) -> None:
        """Make a folder and those above it, once; durable on return."""
        if folder in self._durable:
            return
        self.check_root()
        for part in _way_to(folder):
            if part not in self._durable:
                self._make_one(part)

    def forget(self) -> None:
        """Look again: somebody removed a folder that is remembered."""
        self._checked = {""}
        self._durable = {""}

    def flush(self, folder: str) -> None:
        """Make the names in a folder durable."""
        fs.flush_folder(self.path(folder))

    def note_deletion(self, folder: str) -> None:
        """A name in ``folder`` was removed, which is not durable yet."""
        with self._lock:
            self._undurable.add(folder)

    def remove_empty(self, folder: str) -> None:
        """Remove a folder and those below it as far as they are empty.

        Only for a folder that no other process uses: it may remember that the folder is there, and durable.
        """
        self.check(folder)
        for path, _, _ in os.walk(self.path(folder), topdown=False):
            with suppress(OSError):
                os.rmdir(path)
        self.forget()

    def flush_deletions(self, but: str | None = None) -> None:
        """Make removals durable, those below the top folder ``but`` excepted."""
        if not self._undurable:
            return
        with self._lock:
            folders = {folder for folder in self._undurable if top_of(folder) != but}
            self._undurable -= folders
        try:
            for folder in folders:
                self._flush_if_there(folder)
        except OSError:
            with self._lock:
                self._undurable |= folders
            raise

    def scan(self, folder: str) -> Iterator[tuple[str, os.stat_result | None]]:
        """The names in a folder that may be part of a key: files with their status, folders with ``None``."""
        try:
            self.check(folder)
            entries = os.scandir(self.path(folder))
        except FileNotFoundError:
            self.check_root()
            return
        with entries:
            for entry in entries:
                if not is_part(entry.name):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    yield entry.name, None
                elif (status := self._status(entry)) is not None:
                    yield entry.name, status

    def _status(self, entry: os.DirEntry[str]) -> os.stat_result | None:
        """``None`` if it is no object, or gone by now.  A link could hide objects, so it is an error."""
        if entry.is_symlink():
            require_folder(entry.path)
        try:
            status = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            self.check_root()
            return None
        return status if stat.S_ISREG(status.st_mode) else None

    def _make_one(self, folder: str) -> None:
        path = self.path(folder)
        try:
            os.mkdir(path, fs.FOLDER_MODE)
        except FileExistsError:
            require_folder(path)
        # Also if it was there: whoever made it may not have come to this line.
        self.flush(folder_of(folder))
        self._durable.add(folder)
        self._checked.add(folder)

    def _flush_if_there(self, folder: str) -> None:
        try:
            self.flush(folder)
        except FileNotFoundError:
            self.check_root()


def folder_of(key: str) -> str:
    """The folder that a key, or folder, is in."""
    return key.rpartition("/")[0]


def require_folder(path: str) -> None:
    """Raise ``OSError`` unless ``path`` is a folder itself, and not a link to one."""
    mode = os.lstat(path).st_mode
    if stat.S_ISLNK(mode):
        raise OSError(errno.ELOOP, "there is a symbolic link inside the store", path)
    if not stat.S_ISDIR(mode):
        raise NotADirectoryError(errno.ENOTDIR, "not a folder", path)


def _identity(path: str) -> tuple[int, int]:
    """Device and inode of a folder."""
    status = os.stat(path)
    if not stat.S_ISDIR(status.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, "not a folder", path)
    return status.st_dev, status.st_ino


def _way_to(folder: str) -> Iterator[str]:
    """``a``, ``a/b``, ``a/b/c`` for ``a/b/c``; nothing for the root."""
    position = 0
    while folder and position >= 0:
        position = folder.find("/", position + 1)
        yield folder if position < 0 else folder[:position]
