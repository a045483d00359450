"""Marking: which rows of the index are referred to by a set of snapshots."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from safehold.core.entries import DIRECTORY, Entry
from safehold.core.errors import DamageError, FormatError
from safehold.repo import files
from safehold.repo.prune.columns import Columns, Flags
from safehold.repo.reader import ChunkReader
from safehold.repo.seals import ID_SIZE, TREE
from safehold.repo.trees import decode_node

BATCH = 500_000
"""Ids that are looked up together: sorted first, they pass through each shard once."""


class Marks:
    """A flag per row of each shard: somebody refers to its chunk (in a chunk of several places, all of them)."""

    def __init__(self, columns: Sequence[Columns]) -> None:
        self.columns = columns
        self.live: list[Flags] = [np.zeros(shard.rows, np.bool_) for shard in columns]
        self._pending = bytearray()

    def add(self, ids: bytes) -> None:
        """Note chunk ids, 24 bytes each.  Raises ``DamageError`` for one that is in no shard, here or later."""
        self._pending += ids
        if len(self._pending) >= BATCH * ID_SIZE:
            self.flush()

    def flush(self) -> None:
        """Look up what was noted.  Raises ``DamageError``."""
        ids = np.frombuffer(bytes(self._pending), ">u8").reshape(-1, 3).astype(np.uint64)
        self._pending.clear()
        ids = ids[np.argsort(ids[:, 0])]
        found = np.zeros(len(ids), np.bool_)
        for columns, live in zip(self.columns, self.live, strict=True):
            _mark(columns, live, ids, found)
        if not found.all():
            missing = ids[~found][0].astype(">u8").tobytes()
            raise DamageError(f"Chunk {missing.hex()[:8]} is in no index.", "Run `safehold check`, then `safehold repair`.")


def _mark(columns: Columns, live: Flags, ids: NDArray[np.uint64], found: Flags) -> None:
    """Set ``live`` where a row has one of ``ids`` (k, 3; sorted), and ``found`` (k,) where there is such a row."""
    at = np.searchsorted(columns.prefixes, ids[:, 0])
    wanted = np.arange(len(ids))
    while len(wanted):
        inside = at < columns.rows
        wanted, at = wanted[inside], at[inside]
        same = columns.prefixes[at] == ids[wanted, 0]
        wanted, at = wanted[same], at[same]
        hit = (columns.rests[at] == ids[wanted, 1:]).all(axis=1)
        live[at[hit]] = True
        found[wanted[hit]] = True
        at = at + 1  # several rows may share a prefix


class TreeWalk:
    """Walks trees, each once however many snapshots share it.  Raises ``DamageError`` at the first that cannot be read."""

    def __init__(self, reader: ChunkReader, marks: Marks) -> None:
        self._reader = reader
        self._marks = marks
        self._visited: set[bytes] = set()

    def walk(self, root: bytes) -> None:
        """Mark everything below a tree, and the tree."""
        stack = [root]
        while stack:
            tree = stack.pop()
            if tree not in self._visited:
                self._visited.add(tree)
                stack += self._visit(tree)
        self._marks.flush()

    def _visit(self, tree: bytes) -> list[bytes]:
        node = decode_node(self._reader.read(TREE, tree))
        self._marks.add(tree)
        below = list(node.parts)
        for entry in node.entries:
            if entry.kind == DIRECTORY:
                below.append(_tree_of(entry))
            elif entry.more is not None and entry.more.map is not None:
                self._mark_map(entry, entry.more.map)
            elif entry.content:
                self._marks.add(_chunks_of(entry))
        return below

    def _mark_map(self, entry: Entry, top: bytes) -> None:
        self._marks.add(_chunks_of(entry))
        if top not in self._visited:
            self._visited.add(top)
            for _, name in files.references(self._reader, entry):
                self._marks.add(name)


def _chunks_of(entry: Entry) -> bytes:
    if len(entry.content) % ID_SIZE:
        raise FormatError(f"The entry {entry.name!r} does not list whole chunk ids.")
    return entry.content


def _tree_of(entry: Entry) -> bytes:
    if len(entry.content) != ID_SIZE:
        raise FormatError(f"The folder {entry.name!r} names no tree.")
    return entry.content
