"""Linux: extended attributes, inode flags, holes, and the few calls that Python's ``os`` lacks.

Constants are those of ``<linux/fs.h>`` and ``<linux/falloc.h>``; their values are part of the kernel's ABI.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import stat
import sys
from functools import cache
from pathlib import Path

assert sys.platform == "linux"

_FS_IOC_GETFLAGS = 0x80086601
_FS_IOC_SETFLAGS = 0x40086602
_COMPRESS, _SYNC, _IMMUTABLE, _APPEND, _NODUMP, _NOATIME, _NOCOMPRESS = 0x4, 0x8, 0x10, 0x20, 0x40, 0x80, 0x400
_DIRSYNC, _NOCOW, _PROJECT_INHERIT, _CASEFOLD = 0x10000, 0x800000, 0x20000000, 0x40000000

EARLY_FLAGS = _COMPRESS | _NOCOMPRESS | _NOCOW | _CASEFOLD
"""Flags that only work on a file without data, or a folder without entries."""
LOCKING_FLAGS = _IMMUTABLE | _APPEND
"""Flags that forbid writing."""
RESTORED_FLAGS = EARLY_FLAGS | LOCKING_FLAGS | _SYNC | _NODUMP | _NOATIME | _DIRSYNC | _PROJECT_INHERIT
"""Flags that a restore sets again.  The others describe how the file system stores the file."""

_PR_SET_PDEATHSIG = 1
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEEP_SIZE_AND_PUNCH = 0x1 | 0x2
_NO_XATTRS = frozenset({errno.ENOTSUP, errno.ENODATA, errno.ENOSYS})
_NO_FLAGS = frozenset({errno.ENOTTY, errno.ENOTSUP, errno.EINVAL, errno.ENOSYS})
_SYSTEM = frozenset({"system.posix_acl_access", "system.posix_acl_default"})
_NAMESPACES = ("user.", "trusted.", "security.", "btrfs.")

_selinux = Path("/sys/fs/selinux/enforce").exists()
_without_flags: set[int] = set()


def _kept(name: str) -> bool:
    """Whether a restore can set this attribute again: not what the kernel makes up, and no hash over the inode."""
    if name.startswith("system."):
        return name in _SYSTEM
    if name.startswith("security."):
        return name != "security.evm" and (name != "security.selinux" or _selinux)
    return name.startswith(_NAMESPACES)


def read_xattrs(where: int | bytes, follow: bool = True) -> dict[str, bytes] | None:
    """Extended attributes of an open file or a path, ACLs and capabilities among them; None if there are none.

    Raises OSError when an attribute that is there cannot be read.
    """
    try:
        names = os.listxattr(where, follow_symlinks=True if isinstance(where, int) else follow)
    except OSError as error:
        if error.errno in _NO_XATTRS:
            return None
        raise
    return _values(where, names, follow) if names else None


def _values(where: int | bytes, names: list[str], follow: bool) -> dict[str, bytes] | None:
    found = {}
    for name in names:
        if _kept(name):
            try:
                found[name] = os.getxattr(where, name, follow_symlinks=True if isinstance(where, int) else follow)
            except OSError as error:
                if error.errno not in _NO_XATTRS:
                    raise
    return found or None


def write_xattr(where: int | bytes, name: str, value: bytes, follow: bool = True) -> None:
    """Set one extended attribute."""
    os.setxattr(where, name, value, follow_symlinks=True if isinstance(where, int) else follow)


def remove_xattr(where: int | bytes, name: str, follow: bool = True) -> None:
    """Remove one extended attribute."""
    os.removexattr(where, name, follow_symlinks=True if isinstance(where, int) else follow)


def has_default_acl(folder: int) -> bool:
    """Whether what is created in this folder inherits an ACL."""
    try:
        os.getxattr(folder, "system.posix_acl_default")
    except OSError:
        return False
    return True


def read_flags(fd: int, device: int) -> int:
    """Inode flags of an open file or folder that a restore sets again; 0 where the file system has none.

    ``device`` is its ``st_dev``, by which a file system without flags is asked only once.  One ioctl is 0.5 us.
    """
    if device in _without_flags:
        return 0
    try:
        return int.from_bytes(fcntl.ioctl(fd, _FS_IOC_GETFLAGS, bytes(8))[:4], sys.byteorder) & RESTORED_FLAGS
    except OSError as error:
        if error.errno not in _NO_FLAGS:
            raise
        _without_flags.add(device)
        return 0


def write_flags(fd: int, flags: int, among: int = RESTORED_FLAGS) -> None:
    """Make the flags within ``among`` those of ``flags``.  Raises OSError where the file system does not have them."""
    now = int.from_bytes(fcntl.ioctl(fd, _FS_IOC_GETFLAGS, bytes(8))[:4], sys.byteorder)
    wanted = (now & ~among) | (flags & among)
    if wanted != now:
        fcntl.ioctl(fd, _FS_IOC_SETFLAGS, wanted.to_bytes(8, sys.byteorder))


def read_birth(found: os.stat_result) -> int | None:
    """Creation time: Linux lets nobody set it, so it is not read."""
    return None


def write_birth(fd: int, birth_ns: int) -> None:
    """Linux lets nobody set a creation time."""


def holes(fd: int, size: int) -> list[int]:
    """Offset, length, offset, length ... of what was never written, below ``size``.  Leaves the file offset at 0."""
    found: list[int] = []
    position = 0
    while position < size:
        data = _next_data(fd, position, size)
        if data > position:
            found += (position, data - position)
        position = os.lseek(fd, data, os.SEEK_HOLE) if data < size else size
    os.lseek(fd, 0, os.SEEK_SET)
    return found


def _next_data(fd: int, position: int, size: int) -> int:
    try:
        return min(os.lseek(fd, position, os.SEEK_DATA), size)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return size
        if error.errno == errno.EINVAL:
            return position
        raise


@cache
def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
    libc.prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]
    return libc


def punch(fd: int, offset: int, length: int) -> bool:
    """Make a hole in an open file; False where the file system cannot."""
    return bool(_libc().fallocate(fd, _KEEP_SIZE_AND_PUNCH, offset, length) == 0)


def reserve(fd: int, size: int) -> bool:
    """Have the file system set so many bytes aside for an open file, in one piece if it can; False where it cannot."""
    return bool(_libc().fallocate(fd, 0, 0, size) == 0)


def sync_filesystem(fd: int) -> None:
    """Return when everything written to the file system of this open folder is on its medium."""
    if _libc().syncfs(fd) != 0:
        number = ctypes.get_errno()
        if number != errno.ENOSYS:
            raise OSError(number, os.strerror(number))
        os.sync()


def end_with_parent(signal: int) -> None:
    """Have the system send this process that signal when the thread that forked it ends."""
    _libc().prctl(_PR_SET_PDEATHSIG, signal, 0, 0, 0)


def keep_memory() -> None:
    """Have freed memory stay with this process, for one that allocates and frees buffers of some MiB all the time."""
    mallopt = getattr(_libc(), "mallopt", None)  # glibc's; others have none
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 32 * 1024 * 1024)
        mallopt(_M_TRIM_THRESHOLD, 64 * 1024 * 1024)


def path_in(folder: int, name: bytes) -> bytes:
    """A path for calls that take no folder descriptor; only for calls that do not follow a final symlink."""
    return b"/proc/self/fd/%d/%b" % (folder, name)


def chmod_in(folder: int, name: bytes, mode: int) -> None:
    """Set the permissions of a node that is no symlink, never following one (fchmodat cannot promise that)."""
    fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        if stat.S_ISLNK(os.fstat(fd).st_mode):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        Path(f"/proc/self/fd/{fd}").chmod(mode)
    finally:
        os.close(fd)
