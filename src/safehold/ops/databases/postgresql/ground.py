"""Files of a base in their places: reached folder by folder without following a link."""

from __future__ import annotations

import os
import shutil
import stat
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

assert sys.platform != "win32"

import msgspec

from safehold.sources.files.system import system

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_DIRECT: int = getattr(os, "O_DIRECT", 0)
FOLDER_MODE = 0o700
"""What the server takes: the group may read at most, and others nothing."""
MODE = 0o750


class Opened(msgspec.Struct, frozen=True):
    """A file in its place, open for reading and writing."""

    fd: int
    is_new: bool
    is_touched: bool
    """It is new, or its mode or owner was changed."""
    direct: int = -1
    """A descriptor for writing past the page cache, if that was asked for and the file is new; -1: the file system has none."""


class Ground:
    """The data directory, and the folders of tablespaces.  May be used from several threads."""

    def __init__(self, folder: Path, spaces: dict[bytes, Path], owner: tuple[int, int] | None) -> None:
        """``spaces``: by number.  ``owner``: whom everything is given to."""
        self._roots = {b"": os.open(folder, _FOLDER)}
        self._owner = owner
        for oid, place in spaces.items():
            self._roots[b"pg_tblspc/" + oid] = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def close(self) -> None:
        """Close what is open."""
        for fd in self._roots.values():
            os.close(fd)

    @contextmanager
    def folder(self, path: bytes) -> Iterator[int]:
        """A folder's descriptor.  Raises OSError."""
        at = b"/".join(path.split(b"/")[:2])
        root, names = (at, path.split(b"/")[2:]) if at in self._roots else (b"", path.split(b"/") if path else [])
        fd = os.dup(self._roots[root])
        try:
            for name in names:
                below = os.open(name, _FOLDER, dir_fd=fd)
                os.close(fd)
                fd = below
            yield fd
        finally:
            os.close(fd)

    def is_root(self, path: bytes) -> bool:
        """Whether it is a folder that was there before: the data directory, or a tablespace's."""
        return path in self._roots

    def make_folder(self, path: bytes, mode: int) -> None:
        """A folder; what is in its place and is none is removed."""
        if not self.is_root(path):
            above, _, name = path.rpartition(b"/")
            with self.folder(above) as fd:
                with suppress(FileNotFoundError):
                    if not stat.S_ISDIR(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode):
                        os.unlink(name, dir_fd=fd)
                with suppress(FileExistsError):
                    os.mkdir(name, FOLDER_MODE, dir_fd=fd)
        with self.folder(path) as fd:
            self._give(fd, mode & MODE | FOLDER_MODE)

    def link(self, path: bytes, target: bytes) -> None:
        """A symbolic link."""
        above, _, name = path.rpartition(b"/")
        with self.folder(above) as fd:
            with suppress(OSError):
                if os.readlink(name, dir_fd=fd) == target:
                    return
            _remove(name, fd)
            os.symlink(target, name, dir_fd=fd)
            if self._owner is not None:
                os.chown(name, *self._owner, dir_fd=fd, follow_symlinks=False)

    def clear(self, path: bytes, keep: set[bytes]) -> int:
        """Remove from a folder what is not among ``keep``; how many things."""
        with self.folder(path) as fd:
            extra = [name for name in map(os.fsencode, os.listdir(fd)) if name not in keep and name != b"lost+found"]
            for name in extra:
                _remove(name, fd)
        return len(extra)

    @contextmanager
    def file(self, path: bytes, mode: int | None, *, direct: bool = False) -> Iterator[Opened]:
        """A file open for reading and writing.  ``mode``: None for one that has its mode and owner already."""
        above, _, name = path.rpartition(b"/")
        with ExitStack() as opened:
            with self.folder(above) as folder:
                fd, is_new = _open(name, folder)
                opened.callback(os.close, fd)
                past = _open_direct(name, folder) if direct and is_new else -1
            if past >= 0:
                opened.callback(os.close, past)
            is_given = mode is not None and self._give(fd, mode & MODE & 0o666 | 0o600)
            yield Opened(fd, is_new, is_new or is_given, past)

    def sync(self, path: bytes) -> None:
        """Have a folder's names written through to the disk."""
        with self.folder(path) as fd:
            os.fsync(fd)

    def sync_all(self) -> None:
        """Have everything written through to the disks: at once, since a thousand small files take as many flushes one by one."""
        for fd in self._roots.values():
            system.sync_filesystem(fd)

    def _give(self, fd: int, mode: int) -> bool:
        """Mode and owner, where they are not so already; whether that was so."""
        st = os.fstat(fd)
        owner = self._owner or (st.st_uid, st.st_gid)
        if (stat.S_IMODE(st.st_mode), st.st_uid, st.st_gid) == (mode, *owner):
            return False
        os.fchmod(fd, mode)
        self._own(fd)
        return True

    def _own(self, fd: int) -> None:
        if self._owner is not None:
            os.fchown(fd, *self._owner)


def _open(name: bytes, folder: int) -> tuple[int, bool]:
    try:
        fd = os.open(name, _FILE, dir_fd=folder)
        if stat.S_ISREG(os.fstat(fd).st_mode):
            return fd, False
        os.close(fd)
    except FileNotFoundError:
        pass
    except OSError:
        pass  # a link, a folder or something else: it is replaced
    _remove(name, folder)
    return os.open(name, _FILE | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=folder), True


def _open_direct(name: bytes, folder: int) -> int:
    try:
        return os.open(name, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC | _DIRECT, dir_fd=folder) if _DIRECT else -1
    except OSError:
        return -1


def _remove(name: bytes, folder: int) -> None:
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        pass
    except IsADirectoryError:
        shutil.rmtree(name, dir_fd=folder)
