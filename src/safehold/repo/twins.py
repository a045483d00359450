"""Repaired twins: a snapshot made from a hurt one, without what is lost.  The hurt one stays as it is."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

import msgspec

from safehold.core.entries import Entry, More, Node, Totals
from safehold.core.errors import DamageError
from safehold.repo import snapshots, trees
from safehold.repo.checking.walk import TreeWalk
from safehold.repo.reader import ChunkReader
from safehold.repo.repository import Repository
from safehold.repo.seals import TREE
from safehold.repo.sessions import Session
from safehold.repo.snapshots import MOST_LOST, REPAIRED, Stored
from safehold.repo.writer import ChunkWriter

Mended = tuple[bytes, Totals]


def make(repository: Repository, session: Session, found: Sequence[Stored], walk: TreeWalk | None, names: list[str]) -> list[str]:
    """Store a twin of each of these snapshots; their ids.  The index must not list lost chunks any more.

    Raises ``SessionExpired``.
    """
    if not names or walk is None:
        return []
    writer = repository.writer()
    try:
        mender = _Mender(repository.reader, writer, walk)
        wanted = [stored for stored in found if stored.id in set(names)]
        made = [_twin(stored, walk, mender.mend(stored.snapshot.tree)) for stored in wanted]
        writer.finish()
    except BaseException:
        writer.abort()
        raise
    return [snapshots.commit(session, repository.seals, repository.store, writer.session, each) for each in made]


def _twin(stored: Stored, walk: TreeWalk, mended: Mended) -> snapshots.Snapshot:
    tree, totals = mended
    lost = [path for path, _ in islice(walk.lost_paths(stored.snapshot.tree), MOST_LOST)]
    return msgspec.structs.replace(
        stored.snapshot,
        tree=tree,
        totals=totals,
        tags=sorted({*stored.snapshot.tags, REPAIRED}),
        incomplete=True,
        previous="",
        original=stored.id,
        lost=lost,
    )


class _Mender:
    """Writes trees without what is lost; each once, however many snapshots hold it."""

    def __init__(self, reader: ChunkReader, writer: ChunkWriter, walk: TreeWalk) -> None:
        self._reader = reader
        self._writer = writer
        self._walk = walk
        self._done: dict[bytes, Mended] = {}

    def mend(self, tree: bytes) -> Mended:
        """The tree id and totals of what is left of a hurt tree; the deepest first."""
        stack = [tree]
        while stack:
            here = stack[-1]
            todo = [below for below in self._walk.hurt[here].folders.values() if below not in self._done]
            if here in self._done or not todo:
                stack.pop()
                self._done.setdefault(here, self._mend_one(here))
            else:
                stack += todo
        return self._done[tree]

    def _mend_one(self, tree: bytes) -> Mended:
        hurt = self._walk.hurt[tree]
        node = self._readable(tree)
        entries = [self._entry(e, hurt.folders) for e in node.entries if e.name not in hurt.files]
        mended = Node(entries, node.owners, node.groups)
        return trees.write_node(self._writer, mended), trees.total(entries)

    def _entry(self, entry: Entry, folders: dict[bytes, bytes]) -> Entry:
        if entry.name not in folders:
            return entry
        tree, totals = self._done[entry.content]
        return msgspec.structs.replace(entry, content=tree, more=msgspec.structs.replace(entry.more or More(), totals=totals))

    def _readable(self, tree: bytes) -> Node:
        """As much of a node as can be read: without parts that are lost; empty if all of it is."""
        node = self._node(tree)
        parts = [part for part in map(self._node, node.parts) if part.entries]
        try:
            return trees.joined(node, parts)
        except DamageError:
            return Node([])  # refused by the walk as well

    def _node(self, name: bytes) -> Node:
        try:
            return trees.decode_node(self._reader.read(TREE, name))
        except DamageError:
            return Node([])  # told as lost by the walk
