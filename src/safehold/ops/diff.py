"""What changed between two trees.  Folders with the same tree id are equal all the way down, and are not looked into."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec

from safehold.core.entries import DIRECTORY, FILE, Entry, More
from safehold.repo import trees
from safehold.repo.reader import ChunkReader

Mark = Literal["+", "-", "M", "T", "U"]
_NONE = More()


class Change(msgspec.Struct, frozen=True):
    """One path that differs: ``+`` added, ``-`` removed, ``M`` other content, ``T`` other type, ``U`` other metadata
    (mode, owner, attributes, of a file its time)."""

    mark: Mark
    path: bytes
    old: Entry | None
    new: Entry | None


_Pair = tuple[bytes, Entry | None, Entry | None]


def diff(reader: ChunkReader, old: bytes | None, new: bytes | None, above: bytes = b"") -> Iterator[Change]:
    """Every change from tree ``old`` to tree ``new``, sorted by path; None is an empty folder."""
    stack = [_pairs(reader, old, new, above)]
    while stack:
        pair = next(stack[-1], None)
        if pair is None:
            stack.pop()
            continue
        path, before, after = pair
        mark = _mark(before, after)
        if mark:
            yield Change(mark, path, before, after)
        trees_below = _tree(before), _tree(after)
        if trees_below[0] != trees_below[1]:
            stack.append(_pairs(reader, *trees_below, path))


def _pairs(reader: ChunkReader, old: bytes | None, new: bytes | None, above: bytes) -> Iterator[_Pair]:
    """The entries of two folders side by side, those of the same name together."""
    before = _by_name(reader, old)
    after = _by_name(reader, new)
    for name in sorted(before.keys() | after.keys()):
        yield above + b"/" + name, before.get(name), after.get(name)


def _by_name(reader: ChunkReader, tree: bytes | None) -> dict[bytes, Entry]:
    return {} if tree is None else {entry.name: entry for entry in trees.read_node(reader, tree).entries}


def _tree(entry: Entry | None) -> bytes | None:
    return entry.content if entry is not None and entry.kind == DIRECTORY else None


def _mark(old: Entry | None, new: Entry | None) -> Mark | None:
    if old is None:
        return "+"
    if new is None:
        return "-"
    if old.kind != new.kind:
        return "T"
    if _content(old) != _content(new):
        return "M"
    return "U" if _metadata(old) != _metadata(new) else None


def _content(entry: Entry) -> tuple[object, ...]:
    """What the bytes of an entry depend on; of a folder nothing, since what is in it is compared by itself."""
    more = entry.more or _NONE
    if entry.kind == FILE:
        return entry.size, entry.content, more.map, more.holes
    return more.target, more.device


def _metadata(entry: Entry) -> tuple[object, ...]:
    """The time of a folder changes with every name in it, so it says nothing of its own."""
    more = entry.more or _NONE
    time = 0 if entry.kind == DIRECTORY else entry.mtime_ns
    return entry.mode, entry.uid, entry.gid, time, more.xattrs or None, more.flags, more.windows
