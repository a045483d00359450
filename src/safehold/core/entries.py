"""One entry of a directory: what sources capture, what trees store, what a restore needs.

Names and link targets are bytes, as the operating system gives them (on Windows: UTF-8 with surrogates passed).  Times are
nanoseconds since 1970 UTC, sizes are bytes.  The stored form is the msgpack encoding of these structures and is part of
the repository format: ``docs/format/trees.md``.

They hold nothing that could hold them, so the garbage collector need not look at them (``gc=False``): there are many.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import msgspec

FILE = 0
DIRECTORY = 1
SYMLINK = 2
FIFO = 3
SOCKET = 4
CHAR_DEVICE = 5
BLOCK_DEVICE = 6

KIND_NAMES = ("file", "directory", "symlink", "fifo", "socket", "char-device", "block-device")


class Totals(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What lies in a directory and everything below it, the directory itself not counted."""

    files: int = 0
    directories: int = 0
    others: int = 0
    bytes: int = 0


class More(msgspec.Struct, omit_defaults=True, kw_only=True, frozen=True, gc=False):
    """What few entries have.  A field that is not set is not stored."""

    target: bytes | None = msgspec.field(default=None, name="t")
    """Of a symlink: where it points."""
    device: tuple[int, int] | None = msgspec.field(default=None, name="d")
    """Of a device node: major and minor number."""
    link: tuple[int, int] | None = msgspec.field(default=None, name="l")
    """Of a non-directory with more than one name: (device, inode) at capture.  Equal pairs are one file."""
    attributes: dict[bytes, bytes] | None = msgspec.field(default=None, name="x")
    """Extended attributes, POSIX ACLs and capabilities among them.  Names are bytes: the system allows any."""
    holes: list[int] | None = msgspec.field(default=None, name="h")
    """Of a sparse file: offset, length, offset, length ... of what was never written; sorted, not overlapping."""
    totals: Totals | None = msgspec.field(default=None, name="s")
    """Of a directory."""
    flags: int = msgspec.field(default=0, name="f")
    """Inode flags that a restore sets again (Linux FS_*_FL, macOS st_flags)."""
    birth_ns: int | None = msgspec.field(default=None, name="b")
    """Creation time, where the system lets a restore set it."""
    windows: tuple[int, str] | None = msgspec.field(default=None, name="w")
    """On Windows: file attributes and the security descriptor as SDDL."""
    map: bytes | None = msgspec.field(default=None, name="m")
    """Of a file with very many chunks: the id of its chunk list (then ``content`` is empty)."""
    paged: int = msgspec.field(default=0, name="p")
    """Of a paged file: its page size; ``map`` then names its page map."""

    @property
    def xattrs(self) -> dict[str, bytes] | None:
        """The extended attributes with names as ``os`` has them: surrogates for bytes that are not UTF-8."""
        return None if self.attributes is None else {os.fsdecode(name): value for name, value in self.attributes.items()}


class Entry(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One name in a directory."""

    name: bytes
    kind: int
    mode: int
    """Permission bits, 0 to 0o7777."""
    uid: int
    gid: int
    mtime_ns: int
    ctime_ns: int
    size: int
    inode: int
    content: bytes = b""
    """Of a file: its chunk ids, 24 bytes each.  Of a directory: its tree id."""
    more: More | None = None


class Node(msgspec.Struct, array_like=True, frozen=True):
    """One directory: its entries, sorted by name, and the names of the numeric owners that appear in them."""

    entries: list[Entry]
    owners: dict[int, str] = {}
    groups: dict[int, str] = {}
    parts: list[bytes] = []
    """Of a huge directory: the ids of nodes that hold the entries (then ``entries`` is empty), in order of name."""


def attributes(xattrs: dict[str, bytes] | None) -> dict[bytes, bytes] | None:
    """Extended attributes, named as ``os`` has them, in the form that is stored."""
    return None if xattrs is None else {os.fsencode(name): value for name, value in xattrs.items()}


def data_ranges(size: int, holes: list[int]) -> Iterator[tuple[int, int]]:
    """Offset and end of each stretch of a file of ``size`` bytes that is not in ``holes``."""
    at = 0
    for offset, length in zip(holes[::2], holes[1::2], strict=True):
        if offset > at:
            yield at, offset
        at = offset + length
    if size > at:
        yield at, size
