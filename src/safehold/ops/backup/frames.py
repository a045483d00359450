"""A folder that is being walked: what is known of it, and how it is found again."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from stat import S_ISDIR

from blake3 import blake3

from safehold.core.entries import DIRECTORY, Entry, Node
from safehold.ops.backup.memory import Remembered
from safehold.sources.files import metadata
from safehold.sources.files.exclude import CACHEDIR_SIGNATURE, CACHEDIR_TAG
from safehold.sources.files.folders import Folder, Row, Vanished

_STAT = struct.Struct("<QqqqI")


class Frame:
    """A folder being walked."""

    __slots__ = ("entries", "failed", "fingerprint", "folder", "folders", "key", "known", "left", "lends", "name", "old",
                 "parent", "path", "position", "remembered", "same", "stat", "waiting")  # fmt: skip

    def __init__(self, folder: Folder, name: bytes, path: bytes, old: Node | None) -> None:
        self.folder = folder
        self.name = name
        self.path = path
        self.stat = folder.stat()
        self.old = old
        """The node of the snapshot before, where it comes from the repository."""
        self.key = b""
        self.remembered: Remembered | None = None
        self.fingerprint = b""
        self.folders: list[Row] = []
        self.position = 0
        """How many of ``folders`` are done."""
        self.entries: list[Entry] = []
        self.same = False
        """So far, nothing in it or below it differs from what is remembered; then ``entries`` is not filled."""
        self.known: dict[bytes, bytes] = {}
        """Unless ``same``: the trees of the folders in it, as it is remembered."""
        self.failed = False
        """Something that is listed in it is not in its node, so it must be looked at again next time."""
        self.parent: Frame | None = None
        self.lends = False
        """Its files may be read by children: nothing above it, nor itself, may turn out to be what is remembered."""
        self.waiting = 1
        """What it is not done without: the walk itself, its lots under way, and folders in it."""
        self.left = False
        """The walk is done with it."""

    def below(self, name: bytes) -> bytes:
        """The path of something in it."""
        return self.path.rstrip(b"/") + b"/" + name


def fingerprint(device: int, rows: list[Row]) -> bytes:
    """16 bytes that change when anything does that a listing shows: a name, inode, size, time or mode, or the device.

    The device is in it because hard links are known by device and inode, and device numbers change from mount to mount.
    """
    pack = _STAT.pack
    parts = [
        name + b"\0" + pack(st.st_ino, st.st_ctime_ns, 0, 0, st.st_mode)
        if S_ISDIR(st.st_mode)
        else name + b"\0" + pack(st.st_ino, st.st_ctime_ns, st.st_mtime_ns, st.st_size, st.st_mode)
        for name, st in rows
    ]
    return blake3(b"".join([b"%d/" % device, *parts])).digest(16)


def node_of(entries: list[Entry]) -> Node:
    """The node of a folder with these entries: sorted, with the names that this machine has for their owners."""
    owners = _names(metadata.owner_name, {entry.uid for entry in entries})
    groups = _names(metadata.group_name, {entry.gid for entry in entries})
    return Node(sorted(entries, key=_entry_name), owners, groups)


def _names(look_up: Callable[[int], str], numbers: set[int]) -> dict[int, str]:
    return {number: name for number in sorted(numbers) if (name := look_up(number))}


def _entry_name(entry: Entry) -> bytes:
    return entry.name


def trees_of(known: dict[bytes, Entry]) -> dict[bytes, bytes]:
    """The folders among these entries, with their trees."""
    return {name: entry.content for name, entry in known.items() if entry.kind == DIRECTORY}


def parent_of(folder: Folder, wanted: os.stat_result) -> Folder | None:
    """The folder above an open one, if it still is the one that is wanted."""
    try:
        return _if_same(folder.parent(), wanted) if folder.fd >= 0 else None
    except OSError:
        return None


def down_to(names: list[bytes], top: bytes, wanted: os.stat_result) -> Folder | None:
    """The folder that these names lead to from the path ``top``, if it still is the one that is wanted."""
    try:
        here = Folder.at(top)
        for name in names:
            above = here
            try:
                here = above.folder(name)
            finally:
                above.close()
        return _if_same(here, wanted)
    except (OSError, Vanished):
        return None


def is_cache(folder: Folder, rows: list[Row]) -> bool:
    """Whether this folder is tagged as a cache (https://bford.info/cachedir/)."""
    if not any(name == CACHEDIR_TAG for name, _ in rows):
        return False
    try:
        fd = folder.open_file(CACHEDIR_TAG)
    except (OSError, Vanished):
        return False
    try:
        return os.read(fd, len(CACHEDIR_SIGNATURE)) == CACHEDIR_SIGNATURE
    except OSError:
        return False  # it is read again as a file, and told then
    finally:
        os.close(fd)


def _if_same(folder: Folder, wanted: os.stat_result) -> Folder | None:
    found = folder.stat()
    if (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino):
        return folder
    folder.close()
    return None
