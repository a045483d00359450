"""Folders of the target, each reached from the one above it by one name, and not more open than allowed.

A folder is opened with O_NOFOLLOW | O_DIRECTORY relative to its parent's descriptor.  When too many are open, the one
not used for longest is closed; it is opened again by walking down from the nearest ancestor that is still open, and
must then be the same folder (device and inode) as before.  So whatever somebody does to the target meanwhile, nothing
is written through a symlink, paths may be of any length, and the depth of a tree costs no descriptors.
"""

from __future__ import annotations

import errno
import os
import sys
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

assert sys.platform != "win32"

from safehold.core.entries import Entry

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Folder:
    """One folder of the target that is being filled.  ``owners`` and ``groups`` are the names in its Node."""

    __slots__ = (
        "born",
        "default_acl",
        "entry",
        "fd",
        "fresh",
        "gids",
        "groups",
        "identity",
        "missing",
        "name",
        "owners",
        "parent",
        "pending",
        "uids",
        "users",
        "widened",
    )

    def __init__(self, parent: Folder | None, name: bytes, entry: Entry | None) -> None:
        self.parent = parent
        self.name = name
        self.entry = entry
        self.owners: Mapping[int, str] = {}
        self.groups: Mapping[int, str] = {}
        self.uids: dict[int, int] = {}
        self.gids: dict[int, int] = {}
        self.fd = -1
        self.users = 0
        self.pending = 1
        self.identity = (0, 0)
        self.fresh = False
        """Made by this restore, so nothing is in it that this restore did not put there."""
        self.born: tuple[int, int] | None = None
        """If fresh: owner and group that files get when they are made in it; None before the first."""
        self.missing = False
        """In a dry run: does not exist."""
        self.default_acl = False
        self.widened: int | None = None
        """The mode it had before its owner's rights were added for the time of the restore."""

    def path(self, name: bytes = b"") -> bytes:
        """The path from the top of the target, for messages only."""
        parts = [name] if name else []
        folder: Folder | None = self
        while folder is not None and folder.parent is not None:
            parts.append(folder.name)
            folder = folder.parent
        return b"/".join(reversed(parts))


class Spot(NamedTuple):
    """Where an entry belongs: a folder, its descriptor (-1 where none is needed), and the entry for a name in it."""

    folder: Folder
    parent: int
    entry: Entry


class Folders:
    """The open ones among the folders; may be used from several threads."""

    def __init__(self, limit: int) -> None:
        self._limit = max(limit, 8)
        self._open: OrderedDict[Folder, None] = OrderedDict()
        self._lock = threading.RLock()

    def add(self, folder: Folder, fd: int) -> None:
        """Take charge of a folder's first descriptor."""
        found = os.fstat(fd)
        folder.identity = (found.st_dev, found.st_ino)
        with self._lock:
            self._keep(folder, fd)

    @contextmanager
    def using(self, folder: Folder) -> Iterator[int]:
        """The folder's descriptor, not closed while the block runs.  Raises OSError if it cannot be reached again."""
        fd = self.acquire(folder)
        try:
            yield fd
        finally:
            self.release(folder)

    def acquire(self, folder: Folder) -> int:
        """The folder's descriptor, not closed until ``release``."""
        with self._lock:
            if folder.fd < 0:
                self._reopen(folder)
            elif folder.parent is not None:
                self._open.move_to_end(folder)
            folder.users += 1
            return folder.fd

    def release(self, folder: Folder) -> None:
        """Undo one ``acquire``."""
        with self._lock:
            folder.users -= 1

    def close(self, folder: Folder) -> None:
        """Close a folder that is not needed soon."""
        with self._lock:
            self._open.pop(folder, None)
            if folder.fd >= 0:
                os.close(folder.fd)
                folder.fd = -1

    def close_all(self) -> None:
        """Close everything but the top, which its owner closes."""
        for folder in list(self._open):
            self.close(folder)

    def _keep(self, folder: Folder, fd: int) -> None:
        folder.fd = fd
        if folder.parent is None:
            return
        self._open[folder] = None
        if len(self._open) > self._limit:
            for oldest in self._open:
                if not oldest.users and oldest is not folder:
                    self.close(oldest)
                    break

    def _reopen(self, folder: Folder) -> None:
        way = [folder]
        while (above := way[-1].parent) is not None and above.fd < 0:
            way.append(above)
        for step in reversed(way):
            self._reopen_one(step)

    def _reopen_one(self, folder: Folder) -> None:
        parent = folder.parent
        if parent is None:
            raise OSError(errno.EBADF, "The target is closed already")
        fd = os.open(folder.name, _OPEN, dir_fd=parent.fd)
        found = os.fstat(fd)
        if (found.st_dev, found.st_ino) != folder.identity:
            os.close(fd)
            raise OSError(errno.ESTALE, "The folder was replaced by another one during the restore")
        self._keep(folder, fd)


def open_folder(name: bytes, parent: int) -> int:
    """Open one folder below another, following nothing.  Raises OSError."""
    return os.open(name, _OPEN, dir_fd=parent)


def names_in(fd: int) -> list[bytes]:
    """All names in an open folder."""
    with os.scandir(fd) as found:
        return [os.fsencode(entry.name) for entry in found]
