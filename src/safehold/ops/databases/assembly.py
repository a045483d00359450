"""A snapshot's tree, put together from files that arrive one after the other, in any order: a database's stream or folder.

What the last snapshot held is known from the local memory (``ops/backup/memory.py``), one row per folder, so that a machine
that may only write can store changed pages and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import msgspec

from safehold.codec.chunker import Chunker
from safehold.core.entries import DIRECTORY, FILE, SYMLINK, Entry, More, Node, Totals
from safehold.ops.backup.content import ContentWriter
from safehold.ops.backup.frames import node_of
from safehold.ops.backup.memory import Memory, Remembered
from safehold.ops.backup.paged import PagedWriter
from safehold.ops.backup.patching import Patch, Patcher, Patching
from safehold.ops.backup.previous import Parent
from safehold.repo import trees
from safehold.repo.repository import Repository
from safehold.repo.writer import ChunkWriter


class Attributes(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a file beside its bytes.  ``ctime_ns`` and ``inode`` serve to recognise it unchanged: 0 where unknown."""

    mode: int = 0o600
    uid: int = 0
    gid: int = 0
    mtime_ns: int = 0
    ctime_ns: int = 0
    inode: int = 0
    extended: dict[bytes, bytes] | None = None
    """Extended attributes."""


PLAIN = Attributes()
FOLDER = Attributes(mode=0o700)


class Growing(NamedTuple):
    """A file stored by page that is not whole yet."""

    add: Callable[[bytes | None], None]
    """Takes the next block: 1 MiB, or what the file ends with; None for zeros."""
    finish: Callable[[int], None]
    """Takes its size."""


class Patched(NamedTuple):
    """A file of which only what is new comes."""

    add: Callable[[int, bytes], None]
    """Takes new pages, in order: where they begin, and their bytes, all in one block of 1 MiB."""
    finish: Callable[[int], None]
    """Takes its size, no less than that of the old one."""


class Assembly:
    """Collects files; ``finish`` stores the tree.  Paths are relative, without a slash at either end.  Belongs to one thread."""

    def __init__(
        self,
        repository: Repository,
        writer: ChunkWriter,
        memory: Memory,
        advance: Callable[[int], None],
        *,
        trusted: bool,
        older: Parent | None = None,
    ) -> None:
        """``advance`` is told of bytes read; ``trusted``: what the memory, or ``older``, refers to is known to be stored.

        ``older``: the snapshot before, read from the repository, where nothing is remembered.
        """
        reader = repository.reader if repository.seals.can_read else None
        self.paged_writer = PagedWriter(writer, memory, advance, trusted=trusted, reader=reader)
        self._patcher = Patcher(self.paged_writer, writer, memory, reader, advance)
        self._older = older
        self.files = 0
        self.unchanged = 0
        self._writer = writer
        self._memory = memory
        self._trusted = trusted
        self._content = ContentWriter(writer, Chunker(repository.seals.chunker_seed, repository.config.chunks), advance)
        self._folders: dict[bytes, dict[bytes, Entry]] = {b"": {}}
        self._attributes: dict[bytes, Attributes] = {}
        self._known: dict[bytes, dict[bytes, Entry]] = {}
        self._kept: set[bytes] = set()

    def previous(self, path: bytes) -> Entry | None:
        """What the last snapshot has at that path, if all of it is known to be stored."""
        folder, _, name = path.rpartition(b"/")
        return self._known_in(folder).get(name) if self._trusted else None

    def keep(self, path: bytes, entry: Entry) -> None:
        """Take an entry of the last snapshot over, as ``previous`` gave it."""
        self.files += 1
        self.unchanged += 1
        self._put(path, entry)

    def distrust(self, path: bytes) -> None:
        """Have a file that was added be read again next time, changed or not."""
        folder, _, name = path.rpartition(b"/")
        entry = self._folder(folder)[name]
        self._put(path, msgspec.structs.replace(entry, ctime_ns=0, inode=0))

    def keep_folder(self, path: bytes) -> None:
        """Take over all that the last snapshot has in that folder and below it, but what was or will be added there.

        Nothing, where ``previous`` would know of nothing.
        """
        if self._trusted and path not in self._kept:
            self._kept.add(path)
            self._folders[path] = self._known_in(path) | self._folder(path)

    def folder(self, path: bytes, attributes: Attributes = FOLDER) -> None:
        """A folder, which is otherwise made, with attributes of little, for the first file in it."""
        self._folder(path)
        self._attributes[path] = attributes

    def link(self, path: bytes, target: bytes, attributes: Attributes = PLAIN) -> None:
        """A symbolic link."""
        self._put(path, _entry(path, SYMLINK, attributes, 0, b"", More(target=target)))

    def data(self, path: bytes, content: bytes, attributes: Attributes = PLAIN) -> None:
        """A small file, whole."""
        rest = [content]
        self.stream(path, lambda most: rest.pop() if rest else b"", attributes)

    def stream(self, path: bytes, read: Callable[[int], bytes], attributes: Attributes = PLAIN, *, text: bool = False) -> int:
        """A file cut by content, from ``read(most)``, which gives b"" at its end and may give fewer bytes; its size.

        ``text``: if it is text, it is cut finely.
        """
        stored = self._content.store_stream(read, text=text)
        more = More(map=stored.map, attributes=attributes.extended) if stored.map or attributes.extended else None
        self.files += 1
        self._put(path, _entry(path, FILE, attributes, stored.size, stored.ids, more))
        return stored.size

    def paged(self, path: bytes, blocks: Iterator[bytes | None], size: int, page: int, attributes: Attributes = PLAIN) -> None:
        """A file stored by page, from its blocks of 1 MiB (the last may be shorter, None is zeros), ``size`` bytes in all."""
        stored = self.paged_writer.store_blocks(blocks, path, size, page, self.previous(path))
        self.files += 1
        self._put(
            path, _entry(path, FILE, attributes, size, b"", More(map=stored.map, paged=page, attributes=attributes.extended))
        )

    def patched(self, path: bytes, patch: Patch, attributes: Attributes = PLAIN) -> bool:
        """A file stored by page of which only what is new is at hand; whether it is known what the last snapshot has there."""
        old = self.previous(path)
        stored = self._patcher.patch(path, old, patch) if old is not None else None
        if stored is None:
            return False
        self.files += 1
        more = More(map=stored.map, paged=patch.page, attributes=attributes.extended)
        self._put(path, _entry(path, FILE, attributes, stored.size, b"", more))
        return True

    def patching(self, path: bytes, old: Entry, page: int, attributes: Attributes = PLAIN) -> Patched | None:
        """The same for a file whose new pages come in between those of others; ``old``: as ``previous`` gave it."""
        file: Patching | None = self._patcher.begin(path, old, page, old.size)
        if file is None:
            return None

        def finish(size: int) -> None:
            more = More(map=file.finish(size).map, paged=page, attributes=attributes.extended)
            self.files += 1
            self._put(path, _entry(path, FILE, attributes, size, b"", more))

        return Patched(file.add, finish)

    def growing(self, path: bytes, page: int, attributes: Attributes = PLAIN) -> Growing:
        """The same for a file whose blocks come in between those of others."""
        file = self.paged_writer.begin(path, page, self.previous(path))

        def finish(size: int) -> None:
            more = More(map=file.finish(size).map, paged=page, attributes=attributes.extended)
            self.files += 1
            self._put(path, _entry(path, FILE, attributes, size, b"", more))

        return Growing(file.add, finish)

    def finish(self) -> tuple[bytes, Totals]:
        """Store the tree; its id and totals."""
        for path in sorted(self._folders, key=lambda p: p.count(b"/") + bool(p), reverse=True):
            tree, totals = self._store(path)
            if not path:
                return tree, totals
            above, _, name = path.rpartition(b"/")
            entry = _entry(name, DIRECTORY, self._attributes.get(path, FOLDER), 0, tree, More(totals=totals))
            self._folder(above)[name] = entry
        raise AssertionError("the root is always there")

    def _store(self, path: bytes) -> tuple[bytes, Totals]:
        node = node_of(list(self._folders[path].values()))
        tree, totals = trees.write_node(self._writer, node), trees.total(node.entries)
        self._memory.put(self._memory.row_key(path), Remembered(b"", tree, totals, 0), node)
        return tree, totals

    def _put(self, path: bytes, entry: Entry) -> None:
        folder, _, name = path.rpartition(b"/")
        self._folder(folder)[name] = entry

    def _folder(self, path: bytes) -> dict[bytes, Entry]:
        while path not in self._folders:
            self._folders[path] = {}
            path_above = path.rpartition(b"/")[0]
            if path_above not in self._folders:
                self._folder(path_above)
        return self._folders[path]

    def _known_in(self, path: bytes) -> dict[bytes, Entry]:
        known = self._known.get(path)
        if known is None:
            node = self._older_node(path) if self._older else self._memory.node(self._memory.row_key(path))
            known = self._known[path] = {entry.name: entry for entry in node.entries} if node else {}
        return known

    def _older_node(self, path: bytes) -> Node | None:
        tree = self._older.tree(b"/" + path) if self._older else None
        return self._older.node(tree) if self._older and tree else None


def _entry(path: bytes, kind: int, attributes: Attributes, size: int, content: bytes, more: More | None) -> Entry:
    a = attributes
    return Entry(path.rpartition(b"/")[2], kind, a.mode, a.uid, a.gid, a.mtime_ns, a.ctime_ns, size, a.inode, content, more)
