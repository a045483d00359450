"""An open folder: listing it, and opening what lies in it, relative to its descriptor.

Every step is one name below an open folder, never a path: so nothing that is exchanged behind our back (a folder for a
symlink) leads elsewhere, and paths longer than the system takes (4096 bytes on Linux) are reached like any other.  Windows has
no such calls; there a folder is its path, with the prefix that lifts the length limit.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from contextlib import suppress

from safehold.core.entries import BLOCK_DEVICE, CHAR_DEVICE, DIRECTORY, FIFO, FILE, SOCKET, SYMLINK
from safehold.sources.files import metadata

Row = tuple[bytes, os.stat_result]

_KINDS = {
    stat.S_IFREG: FILE,
    stat.S_IFDIR: DIRECTORY,
    stat.S_IFLNK: SYMLINK,
    stat.S_IFIFO: FIFO,
    stat.S_IFSOCK: SOCKET,
    stat.S_IFCHR: CHAR_DEVICE,
    stat.S_IFBLK: BLOCK_DEVICE,
}
_NOT_A_FILE = frozenset({errno.ENOENT, errno.ELOOP, errno.ENXIO, errno.ENODEV, errno.ENOTDIR})
"""What opening says of a name that is gone, a symlink, a socket, a device without a driver: it is no file any more."""
_NOT_A_LINK = frozenset({errno.ENOENT, errno.EINVAL})
"""What reading a symlink says of a name that is gone, or is something else by now."""

_ENCODING = sys.getfilesystemencoding()
_ERRORS = sys.getfilesystemencodeerrors()
_NOATIME = getattr(os, "O_NOATIME", 0)
_FOLDER = getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | os.O_RDONLY
_FILE = (
    os.O_RDONLY
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NOCTTY", 0)
    | getattr(os, "O_BINARY", 0)
)


def read_soon(fd: int, offset: int, length: int) -> None:
    """Ask the system to have that stretch of an open file in memory when it is read; it may not listen."""
    if sys.platform == "linux":
        with suppress(OSError):
            os.posix_fadvise(fd, offset, length, os.POSIX_FADV_WILLNEED)


class Vanished(Exception):
    """What was listed is not there any more, or is something else now."""


if sys.platform != "win32":

    def read_at(fd: int, length: int, offset: int) -> bytes:
        """Up to ``length`` bytes from ``offset`` of an open file."""
        return os.pread(fd, length, offset)

    def device_numbers(st: os.stat_result) -> tuple[int, int] | None:
        """Major and minor number of a device node."""
        return os.major(st.st_rdev), os.minor(st.st_rdev)

    class Folder:
        """An open folder (POSIX)."""

        __slots__ = ("fd", "path")

        def __init__(self, fd: int, path: bytes) -> None:
            self.fd = fd
            self.path = path
            """How it was reached; may be longer than the system takes."""

        @classmethod
        def at(cls, path: bytes) -> Folder:
            """Open a folder by its path; a symlink is followed."""
            return cls(os.open(path, _FOLDER & ~os.O_NOFOLLOW), path.rstrip(b"/"))

        def rows(self) -> tuple[list[Row], list[tuple[bytes, OSError]]]:
            """Every name with its lstat, sorted by name; and the names that could not be looked at."""
            rows: list[Row] = []
            failed: list[tuple[bytes, OSError]] = []
            with os.scandir(self.fd) as found:
                for item in found:
                    name = item.name.encode(_ENCODING, _ERRORS)
                    try:
                        rows.append((name, item.stat(follow_symlinks=False)))
                    except FileNotFoundError:
                        continue  # vanished between the listing and the look
                    except OSError as error:
                        failed.append((name, error))
            rows.sort(key=_name_of)
            return rows, failed

        def folder(self, name: bytes) -> Folder:
            """Open a folder in this one.  Raises ``Vanished``, ``OSError``."""
            try:
                return Folder(os.open(name, _FOLDER, dir_fd=self.fd), self.path + b"/" + name)
            except (FileNotFoundError, NotADirectoryError) as error:
                raise Vanished from error

        def parent(self) -> Folder:
            """Open the folder that this one lies in."""
            return Folder(os.open(b"..", _FOLDER, dir_fd=self.fd), self.path.rpartition(b"/")[0])

        def open_file(self, name: bytes) -> int:
            """Open a file for reading, without touching its access time if we may.  Raises ``Vanished``, ``OSError``."""
            try:
                return self._open(name, _FILE | _NOATIME)
            except PermissionError:
                if not _NOATIME:
                    raise
                return self._open(name, _FILE)  # O_NOATIME is for the owner of a file only

        def _open(self, name: bytes, flags: int) -> int:
            try:
                return os.open(name, flags, dir_fd=self.fd)
            except OSError as error:
                if error.errno in _NOT_A_FILE:
                    raise Vanished from error
                raise

        def look(self, name: bytes) -> os.stat_result:
            """lstat.  Raises ``Vanished``."""
            try:
                return os.stat(name, dir_fd=self.fd, follow_symlinks=False)
            except FileNotFoundError as error:
                raise Vanished from error

        def link_target(self, name: bytes) -> bytes:
            """Where a symlink points.  Raises ``Vanished``, ``OSError``."""
            try:
                return os.readlink(name, dir_fd=self.fd)
            except OSError as error:
                if error.errno in _NOT_A_LINK:
                    raise Vanished from error
                raise

        def xattrs(self, name: bytes) -> dict[str, bytes] | None:
            """Extended attributes of something that is not opened: a symlink, a device."""
            if sys.platform != "linux":
                return None
            return metadata.read_xattrs(b"/proc/self/fd/%d/%b" % (self.fd, name), False)

        def file_xattrs(self, name: bytes, fd: int) -> dict[str, bytes] | None:
            """Extended attributes of an open file in this folder; with an empty name, of the folder itself."""
            return metadata.read_xattrs(fd)

        def stat(self) -> os.stat_result:
            return os.fstat(self.fd)

        def close(self) -> None:
            if self.fd >= 0:
                os.close(self.fd)
                self.fd = -1

else:

    def read_at(fd: int, length: int, offset: int) -> bytes:
        """Up to ``length`` bytes from ``offset`` of an open file."""
        os.lseek(fd, offset, os.SEEK_SET)
        return os.read(fd, length)

    def device_numbers(st: os.stat_result) -> tuple[int, int] | None:
        """There are no device nodes here."""
        return None

    class Folder:
        """A folder by its path (Windows)."""

        __slots__ = ("_where", "fd", "path")

        def __init__(self, path: str) -> None:
            self._where = path
            self.path = os.fsencode(path)
            self.fd = 0

        @classmethod
        def at(cls, path: bytes) -> Folder:
            """Open a folder by its path."""
            return cls("\\\\?\\" + os.path.abspath(os.fsdecode(path)))

        def rows(self) -> tuple[list[Row], list[tuple[bytes, OSError]]]:
            """Every name with its lstat, sorted by name; and the names that could not be looked at."""
            rows: list[Row] = []
            failed: list[tuple[bytes, OSError]] = []
            for text in os.listdir(self._where):
                name = os.fsencode(text)
                try:
                    rows.append((name, os.lstat(self._path(name))))  # scandir's stat lacks inode and link count here
                except FileNotFoundError:
                    continue
                except OSError as error:
                    failed.append((name, error))
            rows.sort(key=_name_of)
            return rows, failed

        def folder(self, name: bytes) -> Folder:
            """A folder in this one."""
            return Folder(self._path(name))

        def parent(self) -> Folder:
            """The folder that this one lies in."""
            return Folder(os.path.dirname(self._where))

        def open_file(self, name: bytes) -> int:
            """Open a file for reading.  Raises ``Vanished``, ``OSError``."""
            try:
                return os.open(self._path(name), _FILE)
            except FileNotFoundError as error:
                raise Vanished from error

        def look(self, name: bytes) -> os.stat_result:
            """lstat.  Raises ``Vanished``."""
            try:
                return os.lstat(self._path(name))
            except FileNotFoundError as error:
                raise Vanished from error

        def link_target(self, name: bytes) -> bytes:
            """Where a symlink points.  Raises ``Vanished``, ``OSError``."""
            try:
                return os.fsencode(os.readlink(self._path(name)))
            except OSError as error:
                if error.errno in _NOT_A_LINK:
                    raise Vanished from error
                raise

        def xattrs(self, name: bytes) -> dict[str, bytes] | None:
            """Alternate data streams are read with the file; nothing else has any."""
            return None

        def file_xattrs(self, name: bytes, fd: int) -> dict[str, bytes] | None:
            """Alternate data streams of a file in this folder; with an empty name, of the folder itself."""
            return metadata.read_xattrs(os.fsencode(self._path(name) if name else self._where))

        def stat(self) -> os.stat_result:
            return os.lstat(self._where)

        def close(self) -> None:
            """Nothing is held open."""

        def _path(self, name: bytes) -> str:
            return os.path.join(self._where, os.fsdecode(name))


def _name_of(row: Row) -> bytes:
    return row[0]


def kind_of(mode: int) -> int:
    """The entry kind of a file type (``core.entries``); -1 for what no snapshot holds."""
    return _KINDS.get(stat.S_IFMT(mode), -1)


def same_file(one: os.stat_result, other: os.stat_result) -> bool:
    """Whether two looks saw the same, unchanged file."""
    return (
        one.st_ino == other.st_ino
        and one.st_size == other.st_size
        and one.st_mtime_ns == other.st_mtime_ns
        and one.st_ctime_ns == other.st_ctime_ns
        and one.st_dev == other.st_dev
    )
