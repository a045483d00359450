"""Making what is not there yet: files, symlinks, FIFOs, sockets and device nodes."""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Iterator

assert sys.platform != "win32"

from safehold.core.entries import BLOCK_DEVICE, CHAR_DEVICE, FIFO, SOCKET, SYMLINK, Entry
from safehold.core.errors import DamageError
from safehold.sources.files.data import Data
from safehold.sources.files.placing.attributes import Attributes
from safehold.sources.files.placing.contents import Bytes, hole_pairs, write_all, write_new
from safehold.sources.files.placing.folders import Folder, Spot

NEW_FILE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NODE_TYPES = {FIFO: stat.S_IFIFO, SOCKET: stat.S_IFSOCK, CHAR_DEVICE: stat.S_IFCHR, BLOCK_DEVICE: stat.S_IFBLK}


class NeedsRoot(Exception):
    """Only root may make this; a restore by somebody else goes on without it."""


class Absent:
    """A file whose bytes the caller found unneeded; if they are needed after all, that entry fails (OSError)."""

    def __init__(self, size: int) -> None:
        self.size = size

    def read(self, offset: int, length: int) -> bytes:
        raise OSError(errno.EAGAIN, "it changed while it was being restored; run the restore again")

    def pieces(self) -> Iterator[tuple[int, int]]:
        yield 0, self.size


def checked(entry: Entry, data: bytes | Data | None) -> Data:
    """The bytes of a file, whose number must be the entry's.  Raises DamageError."""
    source: Data
    if data is None:
        source = Absent(entry.size)
    elif isinstance(data, bytes):
        source = Bytes(data)
    else:
        source = data
    if source.size != entry.size:
        raise DamageError(f"The stored file has {source.size} bytes, its entry says {entry.size}", "run `safehold check`")
    return source


def make_file(attributes: Attributes, spot: Spot, data: Data) -> int:
    """Write a new file and put its attributes on; removes it again if that fails.  Returns the bytes written."""
    holes = hole_pairs(spot.entry.more.holes if spot.entry.more else None, spot.entry.size)
    fd = os.open(spot.entry.name, NEW_FILE, 0o600, dir_fd=spot.parent)
    try:
        if spot.folder.default_acl:
            attributes.strip_inherited(fd)
        attributes.early(fd, spot)
        written = write_new(fd, data, holes)
        attributes.finish(fd, spot, fresh=True)
    except BaseException:
        os.unlink(spot.entry.name, dir_fd=spot.parent)
        raise
    finally:
        os.close(fd)
    return written


def make_plain(attributes: Attributes, folder: Folder, parent: int, entry: Entry, content: bytes) -> bool:
    """The short way for a file with its bytes in hand and nothing special.  False if the name is taken.

    Six system calls: open, write, fchown, fchmod, utimensat, close.
    """
    try:
        fd = os.open(entry.name, NEW_FILE, 0o600, dir_fd=parent)
    except FileExistsError:
        return False
    try:
        if content:
            written = os.write(fd, content)
            if written != len(content):
                write_all(fd, content[written:], written)
        attributes.plain(fd, folder, entry)
    except BaseException:
        os.unlink(entry.name, dir_fd=parent)
        raise
    finally:
        os.close(fd)
    return True


def make_node(attributes: Attributes, spot: Spot) -> None:
    """Make a symlink, FIFO, socket or device node and put its attributes on.  Raises NeedsRoot."""
    more = spot.entry.more
    if spot.entry.kind == SYMLINK:
        if more is None or not more.target or b"\0" in more.target:
            raise DamageError("The target of a symlink is missing", "run `safehold check`")
        os.symlink(more.target, spot.entry.name, dir_fd=spot.parent)
    else:
        device = os.makedev(*more.device) if more and more.device else 0
        _mknod(spot.parent, spot.entry, device)
    attributes.finish_name(spot)


def _mknod(parent: int, entry: Entry, device: int) -> None:
    kind = _NODE_TYPES.get(entry.kind)
    if kind is None:
        raise DamageError(f"Entries of kind {entry.kind} are not known", "restore with a newer Safehold")
    try:
        os.mknod(entry.name, kind | 0o600, device, dir_fd=parent)
    except OSError as error:
        if error.errno == errno.EPERM and entry.kind in (CHAR_DEVICE, BLOCK_DEVICE):
            raise NeedsRoot from error
        raise
