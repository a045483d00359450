"""What ``stat`` says of things in a mount.  Times are nanoseconds."""

from __future__ import annotations

import os
import stat
import sys

assert sys.platform != "win32"  # there is no FUSE; the command refuses before it comes here

from safehold.core.entries import BLOCK_DEVICE, CHAR_DEVICE, DIRECTORY, FIFO, FILE, SOCKET, SYMLINK, Entry
from safehold.views.tree import Node

TYPES = {
    FILE: stat.S_IFREG,
    DIRECTORY: stat.S_IFDIR,
    SYMLINK: stat.S_IFLNK,
    FIFO: stat.S_IFIFO,
    SOCKET: stat.S_IFSOCK,
    CHAR_DEVICE: stat.S_IFCHR,
    BLOCK_DEVICE: stat.S_IFBLK,
}
BLOCK = 512
"""Unit of st_blocks."""
FOLDER_SIZE = 4096
"""What most file systems say of a small folder; a snapshot does not keep it."""
SIZE_MOST = 2**63 - 1
NUMBER_MOST = 2**32
"""Of a device: Linux' major and minor numbers are smaller."""

Attributes = dict[str, int]


def of_node(node: Node, links: int) -> Attributes:
    """Of something in a snapshot.  A folder has one link, as on btrfs: its subfolders are not counted."""
    entry = node.entry
    size = _size(entry)
    found = {
        "st_ino": node.inode,
        "st_mode": TYPES.get(entry.kind, stat.S_IFREG) | (entry.mode & 0o7777),
        "st_nlink": links,
        "st_uid": entry.uid,
        "st_gid": entry.gid,
        "st_size": size,
        "st_blocks": _blocks(entry),
        "st_blksize": FOLDER_SIZE,
        "st_atime": entry.mtime_ns,
        "st_mtime": entry.mtime_ns,
        "st_ctime": entry.ctime_ns,
    }
    if entry.more is not None and entry.more.device is not None:
        found["st_rdev"] = _device(*entry.more.device)
    return found


def of_shelf(inode: int, time_ns: int) -> Attributes:
    """Of a folder above the snapshots."""
    return _made_up(inode, stat.S_IFDIR | 0o755, FOLDER_SIZE, time_ns)


def of_link(inode: int, target: bytes, time_ns: int) -> Attributes:
    """Of a symlink above the snapshots."""
    return _made_up(inode, stat.S_IFLNK | 0o777, len(target), time_ns)


def _made_up(inode: int, mode: int, size: int, time_ns: int) -> Attributes:
    return {
        "st_ino": inode,
        "st_mode": mode,
        "st_nlink": 1,
        "st_uid": os.getuid(),
        "st_gid": os.getgid(),
        "st_size": size,
        "st_blksize": FOLDER_SIZE,
        "st_atime": time_ns,
        "st_mtime": time_ns,
        "st_ctime": time_ns,
    }


def _size(entry: Entry) -> int:
    if entry.kind == DIRECTORY:
        return FOLDER_SIZE
    if entry.more is not None and entry.more.target is not None:
        return len(entry.more.target)
    return min(max(0, entry.size), SIZE_MOST)


def _device(major: int, minor: int) -> int:
    """Numbers that no device can have become 0: one odd entry must not spoil the listing of its folder."""
    fit = 0 <= major < NUMBER_MOST and 0 <= minor < NUMBER_MOST
    return os.makedev(major, minor) if fit else 0


def _blocks(entry: Entry) -> int:
    """Blocks of what is no hole, so that ``du`` and ``cp --sparse`` see a sparse file as one."""
    if entry.kind != FILE:
        return 0
    holes = (entry.more.holes if entry.more else None) or []
    return max(0, -(-(entry.size - sum(holes[1::2])) // BLOCK))
