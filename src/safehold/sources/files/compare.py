"""Comparing an entry of a snapshot with what is on disk: ``restore --verify`` and drills."""

from __future__ import annotations

import os
import stat
import sys

assert sys.platform != "win32"

from safehold.core.entries import (
    BLOCK_DEVICE,
    CHAR_DEVICE,
    DIRECTORY,
    FILE,
    KIND_NAMES,
    SYMLINK,
    Entry,
)
from safehold.sources.files.data import Data
from safehold.sources.files.folders import kind_of
from safehold.sources.files.metadata import read_flags, read_xattrs
from safehold.sources.files.system import system

_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_STEP = 1 << 20


def differences(parent: int, entry: Entry, data: bytes | Data | None, ids: tuple[int, int] | None) -> list[str]:
    """How what lies under the entry's name in an open folder differs from the entry, one sentence part each.

    ``ids``: numbers that owner and group should have here; None leaves owners out.  ``data``: the bytes that a file
    should have; None leaves its bytes out.  Raises OSError if it cannot be read.
    """
    try:
        found = os.stat(entry.name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return ["is missing"]
    kind = kind_of(found.st_mode)
    if kind != entry.kind:
        there = KIND_NAMES[kind] if kind >= 0 else "something unknown"
        return [f"is a {there}, should be a {KIND_NAMES[entry.kind]}"]
    differ = _plain(found, entry, ids) + _special(parent, found, entry)
    if kind == FILE and found.st_size == entry.size and data is not None:
        differ += _content(parent, entry, data)
    return differ


def _plain(found: os.stat_result, entry: Entry, ids: tuple[int, int] | None) -> list[str]:
    pairs = [("modification time", found.st_mtime_ns, entry.mtime_ns)]
    if entry.kind == FILE:
        pairs.append(("size", found.st_size, entry.size))
    if ids is not None:
        pairs += [("owner", found.st_uid, ids[0]), ("group", found.st_gid, ids[1])]
    differ = [f"{what} is {there}, should be {wanted}" for what, there, wanted in pairs if there != wanted]
    mode = stat.S_IMODE(found.st_mode)
    if entry.kind != SYMLINK and mode != entry.mode & 0o7777:
        differ.append(f"permissions are {mode:04o}, should be {entry.mode & 0o7777:04o}")
    return differ


def _special(parent: int, found: os.stat_result, entry: Entry) -> list[str]:
    differ = []
    more = entry.more
    if entry.kind == SYMLINK and os.readlink(entry.name, dir_fd=parent) != (more.target if more else None):
        differ.append("points elsewhere")
    if entry.kind in (CHAR_DEVICE, BLOCK_DEVICE):
        device = (os.major(found.st_rdev), os.minor(found.st_rdev))
        if device != (more.device if more else None):
            differ.append(f"is device {device[0]}:{device[1]}")
    there = read_xattrs(system.path_in(parent, entry.name), follow=False) or {}
    wanted = (more.xattrs if more else None) or {}
    names = sorted(name for name in there.keys() | wanted.keys() if there.get(name) != wanted.get(name))
    differ += [f"extended attribute {name} differs" for name in names]
    if more and more.flags and entry.kind in (FILE, DIRECTORY):
        differ += _flags(parent, entry, found.st_dev, more.flags)
    return differ


def _flags(parent: int, entry: Entry, device: int, wanted: int) -> list[str]:
    fd = os.open(entry.name, _OPEN, dir_fd=parent)
    try:
        there = read_flags(fd, device)
    finally:
        os.close(fd)
    return [] if there == wanted else [f"inode flags are {there:#x}, should be {wanted:#x}"]


def _content(parent: int, entry: Entry, data: bytes | Data) -> list[str]:
    fd = os.open(entry.name, _OPEN, dir_fd=parent)
    try:
        if isinstance(data, bytes):
            same = _bytes_equal(fd, 0, data)
        else:
            same = _data_equals(fd, data)
    finally:
        os.close(fd)
    return [] if same else ["content differs"]


def _data_equals(fd: int, data: Data) -> bool:
    at = 0
    for offset, length in data.pieces():
        if not (_zero(fd, at, offset) and _bytes_equal(fd, offset, data.read(offset, length))):
            return False
        at = offset + length
    return _zero(fd, at, data.size)


def _zero(fd: int, start: int, end: int) -> bool:
    return not any(any(os.pread(fd, min(_STEP, end - at), at)) for at in range(start, end, _STEP))


def _bytes_equal(fd: int, offset: int, content: bytes) -> bool:
    return all(
        os.pread(fd, min(_STEP, len(content) - at), offset + at) == content[at : at + _STEP]
        for at in range(0, len(content), _STEP)
    )
