"""Removing from the target: one name, or a folder with everything in it, never through a symlink or a mount point."""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Callable

assert sys.platform != "win32"

from safehold.sources.files.placing.folders import names_in, open_folder
from safehold.sources.files.system import system


class _Level:
    """One folder that is being emptied."""

    __slots__ = ("above", "name", "stuck", "todo")

    def __init__(self, name: bytes, above: tuple[int, int], todo: list[bytes]) -> None:
        self.name = name
        self.above = above
        """Device and inode of the folder that it lies in."""
        self.todo = todo
        self.stuck = False


class Remover:
    """Removes one name of a folder.

    ``gone`` is told each path that was removed, ``failed`` each one that could not be; a failure stops nothing else.
    Goes down by names and up by ``..``, which must be the folder that we came from: two descriptors do for any depth.
    """

    def __init__(self, gone: Callable[[bytes], None], failed: Callable[[bytes, OSError], None]) -> None:
        self._gone = gone
        self._failed = failed
        self._base = b""
        self._way: list[_Level] = []
        self._device = 0

    def remove(self, parent: int, name: bytes, base: bytes) -> bool:
        """Remove ``name``, which lies at ``base`` below the target; whether it is gone."""
        self._base = base
        self._device = os.fstat(parent).st_dev
        top = _Level(b"", (0, 0), [name])
        self._way = [top]
        here = os.dup(parent)
        try:
            while top.todo or len(self._way) > 1:
                here = self._step(here)
        finally:
            os.close(here)
        return not top.stuck

    def _step(self, here: int) -> int:
        level = self._way[-1]
        if not level.todo:
            return self._leave(here)
        name = level.todo.pop()
        try:
            if not stat.S_ISDIR(os.stat(name, dir_fd=here, follow_symlinks=False).st_mode):
                os.unlink(name, dir_fd=here)
                self._gone(self._path(name))
                return here
            return self._enter(here, name)
        except OSError as error:
            level.stuck = True
            self._failed(self._path(name), error)
            return here

    def _enter(self, here: int, name: bytes) -> int:
        inside = _open_inside(name, here, self._device)
        try:
            todo = names_in(inside)
        except OSError:
            os.close(inside)
            raise
        self._way.append(_Level(name, _identity(here), todo))
        os.close(here)
        return inside

    def _leave(self, here: int) -> int:
        done = self._way[-1]
        above = _up(here, done.above)
        os.close(here)
        self._way.pop()
        if done.stuck:
            self._way[-1].stuck = True
            return above
        try:
            os.rmdir(done.name, dir_fd=above)
            self._gone(self._path(done.name))
        except OSError as error:
            self._way[-1].stuck = True
            self._failed(self._path(done.name), error)
        return above

    def _path(self, name: bytes) -> bytes:
        return b"/".join([part for part in (self._base, *(level.name for level in self._way), name) if part])


def _identity(fd: int) -> tuple[int, int]:
    found = os.fstat(fd)
    return found.st_dev, found.st_ino


def _open_inside(name: bytes, parent: int, device: int) -> int:
    """Open a folder that is to be emptied; refuses what is mounted there."""
    fd = open_widened(name, parent)
    found = os.fstat(fd)
    if found.st_dev != device:
        os.close(fd)
        raise OSError(errno.EXDEV, "Something is mounted there, which is never emptied")
    if found.st_mode & 0o300 != 0o300 and found.st_uid == os.geteuid():
        os.fchmod(fd, stat.S_IMODE(found.st_mode) | 0o700)
    return fd


def open_widened(name: bytes, parent: int) -> int:
    """Open a folder; if its owner may not, but is us, give the owner all rights first.  Raises OSError."""
    try:
        return open_folder(name, parent)
    except PermissionError:
        found = os.stat(name, dir_fd=parent, follow_symlinks=False)
        system.chmod_in(parent, name, stat.S_IMODE(found.st_mode) | 0o700)
        return open_folder(name, parent)


def _up(fd: int, identity: tuple[int, int]) -> int:
    parent = os.open("..", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=fd)
    if _identity(parent) != identity:
        os.close(parent)
        raise OSError(errno.ESTALE, "The folder was moved while it was being removed")
    return parent
