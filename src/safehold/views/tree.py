"""A snapshot as a lazy, seekable file tree: nothing is read before somebody asks for it."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Iterator
from functools import partial
from operator import attrgetter

import msgspec
from blake3 import blake3

from safehold.core.entries import DIRECTORY, FILE, Entry
from safehold.core.errors import DamageError, PathMissing, StoreError
from safehold.repo import snapshots, trees
from safehold.repo.repository import Repository
from safehold.views.content import Content, Stretches, content_of
from safehold.views.reading import CachedReader

CACHED_ENTRIES = 100_000
"""Entries of directories kept decoded, about half a kilobyte each."""
COUNTED_ENTRIES = 250_000
"""In snapshots of no more entries than this the names of hard-linked files are counted; that takes a second or two, once."""
AHEAD = 16 * 1024 * 1024
"""How far before a sequential reader chunks are fetched."""
STEP = 512 * 1024
"""Reading ahead touches the file so often; large chunks are 1 MiB on average, and of a shorter one at most a wait is lost."""
SLACK = 1024 * 1024
"""A reader that is so near to where the last read ended goes on from there: the kernel sends reads out of order."""

_name_of = attrgetter("name")


class Node(msgspec.Struct, frozen=True, eq=False):
    """One thing in a snapshot."""

    entry: Entry
    inode: int
    """Unique within the repository's snapshots and the same in every view; names of one file share it."""


class TreeCache:
    """Decoded directories by tree id, those used last.  Safe to use from several threads."""

    def __init__(self, reader: CachedReader, most: int = CACHED_ENTRIES) -> None:
        self._reader = reader
        self._most = most
        self._lock = threading.Lock()
        self._trees: OrderedDict[bytes, list[Entry]] = OrderedDict()
        self._held = 0

    def entries(self, tree: bytes) -> list[Entry]:
        """The entries of a directory, sorted by name.  Raises ``DamageError``."""
        with self._lock:
            entries = self._trees.get(tree)
            if entries is not None:
                self._trees.move_to_end(tree)
                return entries
        entries = trees.read_node(self._reader, tree).entries
        with self._lock:
            if tree not in self._trees:
                self._trees[tree] = entries
                self._held += len(entries) + 1
            while self._held > self._most and len(self._trees) > 1:
                self._held -= len(self._trees.popitem(last=False)[1]) + 1
        return entries


class Library:
    """What the views of one repository share: a reader with its memory, and decoded directories."""

    def __init__(self, repository: Repository) -> None:
        """Raises ``NotPermitted`` for a writer."""
        self.repository = repository
        self.reader = CachedReader(repository)
        self.trees = TreeCache(self.reader)

    def close(self) -> None:
        """Stop reading ahead."""
        self.reader.close()


class SnapshotView:
    """One snapshot's tree.  Safe to use from several threads."""

    def __init__(self, repository: Repository, snapshot: snapshots.Stored, library: Library | None = None) -> None:
        """``library``: shared with other views of the repository; one of its own without."""
        self.stored = snapshot
        self.library = library or Library(repository)
        found = snapshot.snapshot
        self._seed = bytes.fromhex(snapshot.id)
        root = Entry(b"", DIRECTORY, 0o755, 0, 0, found.time_ns, found.time_ns, 0, 0, found.tree)
        self.root = Node(root, _number(self._seed))
        self._lock = threading.Lock()
        self._links: dict[tuple[int, int], int] | None = None

    def lookup(self, path: bytes) -> Node:
        """What lies at a path below the root.  Raises ``PathMissing``, ``DamageError``."""
        node = self.root
        for name in path.split(b"/"):
            if name:
                node = self.child(node, name)
        return node

    def child(self, node: Node, name: bytes) -> Node:
        """What has this name in a directory.  Raises ``PathMissing``, ``DamageError``."""
        if node.entry.kind == DIRECTORY:
            entries = self.library.trees.entries(node.entry.content)
            at = bisect_left(entries, name, key=_name_of)
            if at < len(entries) and entries[at].name == name:
                return self._node(node, entries[at])
        raise PathMissing(f"There is no {name.decode(errors='replace')} in that folder.", "`safehold ls` shows what is.")

    def children(self, node: Node) -> list[Node]:
        """What lies in a directory, sorted by name.  Raises ``DamageError``; ``PathMissing`` for what is no directory."""
        if node.entry.kind != DIRECTORY:
            raise PathMissing(f"{node.entry.name.decode(errors='replace')} is not a folder.")
        return [self._node(node, entry) for entry in self.library.trees.entries(node.entry.content)]

    def open(self, node: Node) -> SeekableFile:
        """The content of a file.  Raises ``DamageError``; ``PathMissing`` for what is no file."""
        if node.entry.kind != FILE:
            raise PathMissing(f"{node.entry.name.decode(errors='replace')} is not a file.")
        return SeekableFile(self.library.reader, node.entry)

    def links(self, node: Node) -> int:
        """How many names a thing has in this snapshot (2 for those of several in a huge snapshot, which are not counted)."""
        link = node.entry.more.link if node.entry.more else None
        if link is None:
            return 1
        try:
            with self._lock:
                if self._links is None:
                    self._links = self._count_links()
                return self._links.get(link, 2)
        except StoreError:
            return 2  # they are counted when the store is there again

    def _node(self, folder: Node, entry: Entry) -> Node:
        link = entry.more.link if entry.more else None
        if link is not None and entry.kind != DIRECTORY:
            return Node(entry, _number(b"%b/%d/%d" % (self._seed, *link)))
        return Node(entry, _number(folder.inode.to_bytes(8, "big") + entry.name))

    def _count_links(self) -> dict[tuple[int, int], int]:
        totals = self.stored.snapshot.totals
        counts: dict[tuple[int, int], int] = {}
        if totals.files + totals.directories + totals.others <= COUNTED_ENTRIES:
            for entry in self._below(self.root.entry.content):
                if entry.more is not None and entry.more.link is not None:
                    counts[entry.more.link] = counts.get(entry.more.link, 0) + 1
        return counts

    def _below(self, tree: bytes) -> Iterator[Entry]:
        """Every entry of a tree.  What is damaged is left out: whoever looks there is told."""
        pending = [tree]
        while pending:
            try:
                entries = self.library.trees.entries(pending.pop())
            except DamageError:
                continue
            yield from entries
            pending += [entry.content for entry in entries if entry.kind == DIRECTORY]


class SeekableFile:
    """The content of a file, read at any offset.  Safe to use from several threads."""

    def __init__(self, reader: CachedReader, entry: Entry) -> None:
        self.size = entry.size
        self._entry = entry
        self._reader = reader
        self._content: Content = content_of(reader, entry)
        self._next = 0
        self._fetched = 0

    def read(self, offset: int, length: int) -> bytes:
        """Bytes from ``offset``; fewer at the end, none beyond it.  Raises ``DamageError``."""
        if self.size > SLACK:
            self._read_ahead(offset, offset + length)
        return self._content.read(offset, length)

    def data_from(self, offset: int) -> int | None:
        """Where data lies next, at or after ``offset``; None if only a hole follows."""
        return Stretches(self._entry).data_from(offset)

    def hole_from(self, offset: int) -> int:
        """Where a hole begins next, at or after ``offset``; the end of the file counts as one."""
        return Stretches(self._entry).hole_from(offset)

    def _read_ahead(self, offset: int, end: int) -> None:
        """If reading goes on from where it was, fetch what comes next.  (Two threads here do no harm: each chunk comes once.)"""
        going_on = abs(offset - self._next) <= SLACK and offset > 0
        self._next = end
        if not going_on:
            self._fetched = end
            return
        stop = min(end + AHEAD, self.size)
        at = max(self._fetched, end)
        while at < stop:
            self._reader.ahead(partial(self._content.read, at, 1))
            at += STEP
        self._fetched = max(at, self._fetched)


def _number(seed: bytes) -> int:
    """An inode number: 64 bits of a hash, so that no table of all files is needed (1 and 0 mean something else to FUSE)."""
    return max(2, int.from_bytes(blake3(seed).digest(8), "big"))
