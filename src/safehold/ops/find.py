"""Searching snapshots for names.

A folder without a match is remembered by its path and tree id, and not read again in another snapshot: searching a hundred
snapshots of the same folders costs little more than searching one.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Callable, Iterable, Iterator

import msgspec

from safehold.core.entries import DIRECTORY, Entry
from safehold.repo import trees
from safehold.repo.reader import ChunkReader
from safehold.repo.snapshots import Stored


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What to look for."""

    pattern: str
    """A glob where it has ``*``, ``?`` or ``[``, of a whole path where it has a slash; else a part of the name."""
    ignore_case: bool = False
    kinds: frozenset[int] = frozenset()
    """Only these kinds of entry; empty: all."""
    newer_ns: int | None = None
    """Modified at this time or after."""
    older_ns: int | None = None
    """Modified at this time or before."""


class Found(msgspec.Struct, frozen=True):
    """A match."""

    snapshot: Stored
    path: bytes
    entry: Entry


class _Frame:
    __slots__ = ("entries", "found", "path", "tree")

    def __init__(self, path: bytes, tree: bytes, entries: Iterator[Entry]) -> None:
        self.path = path
        self.tree = tree
        self.entries = entries
        self.found = False


def find(reader: ChunkReader, snapshots: Iterable[Stored], wanted: Wanted) -> Iterator[Found]:
    """Every match in these snapshots, one after the other."""
    fits = _matcher(wanted)
    barren: set[tuple[bytes, bytes]] = set()
    for stored in snapshots:
        for path, entry in _search(reader, stored.snapshot.tree, fits, barren):
            yield Found(stored, path, entry)


def _search(
    reader: ChunkReader, tree: bytes, fits: Callable[[bytes, Entry], bool], barren: set[tuple[bytes, bytes]]
) -> Iterator[tuple[bytes, Entry]]:
    stack = [_frame(reader, b"", tree)]
    while stack:
        frame = stack[-1]
        entry = next(frame.entries, None)
        if entry is None:
            _end(stack, barren)
            continue
        path = frame.path + b"/" + entry.name
        if fits(path, entry):
            frame.found = True
            yield path, entry
        if entry.kind == DIRECTORY and (path, entry.content) not in barren:
            stack.append(_frame(reader, path, entry.content))


def _frame(reader: ChunkReader, path: bytes, tree: bytes) -> _Frame:
    return _Frame(path, tree, iter(trees.read_node(reader, tree).entries))


def _end(stack: list[_Frame], barren: set[tuple[bytes, bytes]]) -> None:
    frame = stack.pop()
    if not frame.found:
        barren.add((frame.path, frame.tree))
    elif stack:
        stack[-1].found = True


def _matcher(wanted: Wanted) -> Callable[[bytes, Entry], bool]:
    expression = _expression(wanted.pattern, re.IGNORECASE if wanted.ignore_case else 0)
    whole_path = "/" in wanted.pattern

    def fits(path: bytes, entry: Entry) -> bool:
        return (
            (not wanted.kinds or entry.kind in wanted.kinds)
            and (wanted.newer_ns is None or entry.mtime_ns >= wanted.newer_ns)
            and (wanted.older_ns is None or entry.mtime_ns <= wanted.older_ns)
            and expression(os.fsdecode(path if whole_path else entry.name)) is not None
        )

    return fits


def _expression(pattern: str, flags: int) -> Callable[[str], re.Match[str] | None]:
    if any(sign in pattern for sign in "*?["):
        return re.compile(fnmatch.translate(pattern), flags).match
    return re.compile(re.escape(pattern), flags).search
