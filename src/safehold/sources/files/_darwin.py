"""macOS: extended attributes (the resource fork is one), st_flags, creation times, holes.

Python's ``os`` has no extended attributes here, so they go through libSystem.  Constants are those of
``<sys/xattr.h>``, ``<sys/stat.h>`` and ``<sys/fcntl.h>``.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct
import sys
from functools import cache

assert sys.platform == "darwin"

_NODUMP, _IMMUTABLE, _APPEND, _OPAQUE, _HIDDEN = 0x1, 0x2, 0x4, 0x8, 0x8000
_SYSTEM_IMMUTABLE, _SYSTEM_APPEND = 0x20000, 0x40000

EARLY_FLAGS = 0
LOCKING_FLAGS = _IMMUTABLE | _APPEND | _SYSTEM_IMMUTABLE | _SYSTEM_APPEND
RESTORED_FLAGS = LOCKING_FLAGS | _NODUMP | _OPAQUE | _HIDDEN

_XATTR_NOFOLLOW = 1
_F_PUNCHHOLE = 99
_F_GETPATH = 50
_NO_XATTRS = frozenset({errno.ENOTSUP, errno.ENOATTR, errno.EPERM})
_MADE_UP = frozenset({"com.apple.system.Security", "com.apple.decmpfs", "com.apple.provenance"})


@cache
def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    for name in ("listxattr", "flistxattr", "getxattr", "fgetxattr"):
        getattr(libc, name).restype = ctypes.c_ssize_t
    return libc


def _size(value: int) -> ctypes.c_size_t:
    return ctypes.c_size_t(value)


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def _listing(where: int | bytes, buffer: ctypes.Array[ctypes.c_char] | None, options: int) -> int:
    room = _size(len(buffer) if buffer is not None else 0)
    if isinstance(where, int):
        return _checked(_libc().flistxattr(where, buffer, room, 0))
    return _checked(_libc().listxattr(where, buffer, room, options))


def _value(where: int | bytes, name: bytes, buffer: ctypes.Array[ctypes.c_char] | None, options: int) -> int:
    room = _size(len(buffer) if buffer is not None else 0)
    if isinstance(where, int):
        return _checked(_libc().fgetxattr(where, name, buffer, room, 0, 0))
    return _checked(_libc().getxattr(where, name, buffer, room, 0, options))


def read_xattrs(where: int | bytes, follow: bool = True) -> dict[str, bytes] | None:
    """Extended attributes of an open file or a path, the resource fork among them; None if there are none."""
    options = 0 if follow else _XATTR_NOFOLLOW
    try:
        room = _listing(where, None, options)
        buffer = ctypes.create_string_buffer(max(room, 1))
        raw = buffer.raw[: _listing(where, buffer, options)] if room else b""
    except OSError as error:
        if error.errno in _NO_XATTRS:
            return None
        raise
    found = {}
    for name in raw.split(b"\0"):
        if name and os.fsdecode(name) not in _MADE_UP:
            value = ctypes.create_string_buffer(max(_value(where, name, None, options), 1))
            found[os.fsdecode(name)] = value.raw[: _value(where, name, value, options)]
    return found or None


def write_xattr(where: int | bytes, name: str, value: bytes, follow: bool = True) -> None:
    """Set one extended attribute."""
    key, room = os.fsencode(name), _size(len(value))
    if isinstance(where, int):
        _checked(_libc().fsetxattr(where, key, value, room, 0, 0))
    else:
        _checked(_libc().setxattr(where, key, value, room, 0, 0 if follow else _XATTR_NOFOLLOW))


def remove_xattr(where: int | bytes, name: str, follow: bool = True) -> None:
    """Remove one extended attribute."""
    if isinstance(where, int):
        _checked(_libc().fremovexattr(where, os.fsencode(name), 0))
    else:
        _checked(_libc().removexattr(where, os.fsencode(name), 0 if follow else _XATTR_NOFOLLOW))


def has_default_acl(folder: int) -> bool:
    """Whether what is created in this folder inherits a POSIX ACL: macOS has none."""
    return False


def read_flags(fd: int, device: int) -> int:
    """``st_flags`` that a restore sets again."""
    return os.fstat(fd).st_flags & RESTORED_FLAGS


def write_flags(fd: int, flags: int, among: int = RESTORED_FLAGS) -> None:
    """Make the flags within ``among`` those of ``flags``."""
    now = os.fstat(fd).st_flags
    wanted = (now & ~among) | (flags & among)
    if wanted != now:
        _checked(_libc().fchflags(fd, ctypes.c_uint(wanted)))


def read_birth(found: os.stat_result) -> int | None:
    """Creation time in nanoseconds."""
    return int(found.st_birthtime * 1e9)


def write_birth(fd: int, birth_ns: int) -> None:
    """Set the creation time: a modification time before it moves it back (HFS+, APFS).

    The caller sets that time next.
    """
    os.utime(fd, ns=(birth_ns, birth_ns))


def holes(fd: int, size: int) -> list[int]:
    """Offset, length, offset, length ... of what was never written, below ``size``.  Leaves the file offset at 0."""
    found: list[int] = []
    position = 0
    while position < size:
        try:
            data = min(os.lseek(fd, position, os.SEEK_DATA), size)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            data = size
        if data > position:
            found += (position, data - position)
        position = os.lseek(fd, data, os.SEEK_HOLE) if data < size else size
    os.lseek(fd, 0, os.SEEK_SET)
    return found


def punch(fd: int, offset: int, length: int) -> bool:
    """Make a hole in an open file; False where the file system cannot (its blocks must be aligned)."""
    try:
        fcntl.fcntl(fd, _F_PUNCHHOLE, struct.pack("=IIqq", 0, 0, offset, length))
    except OSError:
        return False
    return True


def reserve(fd: int, size: int) -> bool:
    """Never: what it is for, writing past the page cache, has no flag here."""
    del fd, size
    return False


def sync_filesystem(fd: int) -> None:
    """Return when everything written is on its medium."""
    os.sync()
    fcntl.fcntl(fd, fcntl.F_FULLFSYNC)


def keep_memory() -> None:
    """The allocator has no such settings."""


def path_in(folder: int, name: bytes) -> bytes:
    """A path for calls that take no folder descriptor; only for calls that do not follow a final symlink."""
    found = fcntl.fcntl(folder, _F_GETPATH, bytes(1024))
    return found.rstrip(b"\0") + b"/" + name


def chmod_in(folder: int, name: bytes, mode: int) -> None:
    """Set the permissions of a node, never following a symlink."""
    os.chmod(name, mode, dir_fd=folder, follow_symlinks=False)
