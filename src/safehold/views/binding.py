"""Between libfuse and ``Operations``, through mfusepy.  Importing this raises ``OSError`` on a machine without libfuse.

mfusepy was chosen over pyfuse3, which comes without wheels.  Three things that it lacks are added here: names as bytes,
attributes along with a listing (FUSE's "readdirplus"), and ``lseek`` for holes.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from collections.abc import Callable
from ctypes.util import find_library
from typing import Any

if find_library("fuse3"):
    os.environ.setdefault("FUSE_LIBRARY_NAME", "fuse3")  # mfusepy would rather take libfuse 2, which has no readdirplus

assert sys.platform != "win32"  # there is no FUSE; the command refuses before it comes here

import mfusepy

from safehold.views.attributes import Attributes
from safehold.views.operations import Operations

FILL_PLUS = 1 << 1
"""FUSE_FILL_DIR_PLUS of <fuse.h>: the attributes are complete."""
IDLE_THREADS_SINCE = (3, 2)
THREADS = 10
CAP_READDIRPLUS_AUTO = 1 << 14
"""FUSE_CAP_READDIRPLUS_AUTO: the kernel guesses when attributes are wanted.  Here they cost nothing, so it need not guess."""
CAP_POSIX_ACL = 1 << 19
"""FUSE_CAP_POSIX_ACL of <fuse_common.h>: the kernel heeds ACLs when it checks permissions."""

"""Names and attributes stay in the kernel so long: snapshots don't change, and new ones are new names."""


class Calls:
    """The operations as mfusepy looks for them: what has no attribute here, the kernel is told, does not exist."""

    use_ns = True
    flag_nopath = True
    flag_nullpath_ok = True

    def __init__(self, operations: Operations, mounted: Callable[[], None], *, checked: bool) -> None:
        """``checked``: the kernel checks permissions, and is to heed ACLs (asking for those turns the checks on)."""
        self._operations = operations
        self._mounted = mounted
        self._checked = checked

    def init_with_config(self, connection: Any, config: Any) -> None:
        """The mount is there."""
        if config is not None:
            connection.want &= ~CAP_READDIRPLUS_AUTO
        if self._checked and config is not None and connection.capable & CAP_POSIX_ACL:
            connection.want |= CAP_POSIX_ACL
        self._mounted()

    def getattr(self, path: str, handle: int | None = None) -> Attributes:
        return self._operations.attributes(_bytes(path))

    def readlink(self, path: str) -> str:
        return _text(self._operations.target(_bytes(path)))

    def opendir(self, path: str) -> int:
        return self._operations.open_folder(_bytes(path))

    def readdir_with_offset(self, path: str | None, offset: int, handle: int) -> list[tuple[str, Attributes, int]]:
        """For libfuse 2; ``Binding.readdir_fuse_3`` is the way of libfuse 3."""
        return [(_text(name), found, after) for name, found, after in self._operations.list(handle, offset)]

    readdir = readdir_with_offset

    def releasedir(self, path: str | None, handle: int) -> int:
        self._operations.close(handle)
        return 0

    def open(self, path: str, flags: int) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return self._operations.open_file(_bytes(path))

    def read(self, path: str | None, size: int, offset: int, handle: int) -> bytes:
        return self._operations.read(handle, offset, size)

    def lseek(self, handle: int, offset: int, whence: int) -> int:
        return self._operations.seek(handle, offset, whence)

    def release(self, path: str | None, handle: int) -> int:
        self._operations.close(handle)
        return 0

    def listxattr(self, path: str) -> list[str]:
        return list(self._operations.xattrs(_bytes(path)))

    def getxattr(self, path: str, name: str, position: int = 0) -> bytes:
        value = self._operations.xattrs(_bytes(path)).get(name)
        if value is None:
            raise OSError(mfusepy.ENOATTR, os.strerror(mfusepy.ENOATTR))
        return value

    def statfs(self, path: str) -> dict[str, int]:
        return self._operations.volume()


class Binding(mfusepy.FUSE):  # type: ignore[misc]  # mfusepy is not typed
    """Mounts when it is made, and is done when the mount is gone."""

    def __init__(self, calls: Calls, mount_point: str, **options: object) -> None:
        super().__init__(calls, mount_point, foreground=True, **options)

    def readdir_fuse_3(self, path: bytes | None, buffer: Any, fill: Any, offset: int, info: Any, flags: int) -> int:
        """Fill the kernel's buffer until it is full; attributes come along, so that no ``lstat`` has to ask again."""
        status = mfusepy.c_stat()
        for name, found, after in self.operations._operations.list(info.contents.fh, offset):
            ctypes.memset(ctypes.byref(status), 0, ctypes.sizeof(status))
            mfusepy.set_st_attrs(status, found, use_ns=True)
            if fill(buffer, name, status, after, FILL_PLUS) != 0:
                break
        return 0

    def lseek(self, path: bytes | None, offset: int, whence: int, info: Any) -> int:
        return int(self.operations.lseek(info.contents.fh, offset, whence))


def _bytes(text: str) -> bytes:
    """A name as it is stored; mfusepy decodes in this way whatever the locale."""
    return text.encode("utf-8", "surrogateescape")


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def run(operations: Operations, mount_point: str, mounted: Callable[[], None], options: dict[str, object]) -> None:
    """Mount, answer until the mount is gone.  ``mounted`` is called when it is there.  Raises ``RuntimeError``."""
    if mfusepy.fuse_version_major >= 3:
        options.pop("nonempty", None)  # libfuse 3 does not ask, and does not know the word
    if (mfusepy.fuse_version_major, mfusepy.fuse_version_minor) >= IDLE_THREADS_SINCE:
        options["max_idle_threads"] = THREADS  # unset, 3.14 complains of its own default
    calls = Calls(operations, mounted, checked=bool(options["default_permissions"]))
    Binding(calls, mount_point, **options)
