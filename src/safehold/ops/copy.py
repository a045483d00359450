"""Copying snapshots into another repository: read, named anew, sealed anew.  ``docs/copy.md``.

Chunks keep their cut points.  Their names change, since each repository names with a key of its own; trees and maps hold
names, so they are written anew from the bottom up.  What was copied before is remembered in the local cache, and believed only
where the target still has it: a chunk that its index lists, a tree below a snapshot that is not in the trash.
"""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Collection, Iterator
from contextlib import closing, suppress
from itertools import islice
from pathlib import Path

import msgspec

from safehold.core.entries import DIRECTORY, Entry, Node
from safehold.core.errors import SessionExpired, SnapshotMissing, UsageError
from safehold.core.events import Progress
from safehold.core.pools import Pool
from safehold.ops.ahead import THREADS, Ahead
from safehold.repo import contents, files, snapshots, trees
from safehold.repo.paged import BLOCK, GROUP, Block, PageMap, encode_group
from safehold.repo.reader import ChunkReader
from safehold.repo.repository import Repository
from safehold.repo.seals import DATA, MAP
from safehold.repo.sessions import Session
from safehold.repo.snapshots import Snapshot, Stored
from safehold.repo.writer import ALONE, BLOCKS, PAGES, SMALL, ChunkWriter

BATCH_BYTES = 1 << 30
"""After so many bytes added, the snapshots that are complete are committed."""
LOOKUPS = 500
"""Chunks that are looked up at once; SQLite takes 999 values, and newer ones more."""
MOST_LOADED = 100_000
"""Of them so many are kept: far more than are looked up ahead."""
SCHEMA = """
CREATE TABLE IF NOT EXISTS chunks (old BLOB PRIMARY KEY, new BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS trees (old BLOB PRIMARY KEY, new BLOB NOT NULL, snapshot TEXT NOT NULL) WITHOUT ROWID;
"""


class CopyResult(msgspec.Struct, frozen=True, kw_only=True):
    """What was copied."""

    copied: dict[str, str]
    """Id in the source -> id in the target."""
    skipped: list[str]
    """Ids in the source of those that the target had."""
    read: int
    """Bytes of file content that were read."""
    added: int
    """Bytes that were stored in the target."""


class Memory:
    """What this machine knows of earlier copies between two repositories.  It only saves work: failing to keep it is no error."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._db = _open(path)
        self._chunks: dict[bytes, bytes] = {}
        self._loaded: dict[bytes, bytes] = {}

    def chunk(self, old: bytes) -> bytes | None:
        """The name in the target of a chunk of the source."""
        new = self.loaded(old)
        if new is not None:
            return new
        row = self._db.execute("SELECT new FROM chunks WHERE old = ?", (old,)).fetchone()
        return row[0] if row else None

    def load(self, olds: list[bytes]) -> None:
        """Look up many chunks at once, for ``loaded``: each look-up lets go of Python's lock, and waits to get it back."""
        for at in range(0, len(olds), LOOKUPS):
            some = olds[at : at + LOOKUPS]
            query = f"SELECT old, new FROM chunks WHERE old IN ({','.join('?' * len(some))})"
            self._loaded.update(self._db.execute(query, some))
        while len(self._loaded) > MOST_LOADED:
            del self._loaded[next(iter(self._loaded))]

    def loaded(self, old: bytes) -> bytes | None:
        """The same as ``chunk``, if it was put, or loaded not long ago."""
        return self._chunks.get(old) or self._loaded.get(old)

    def put_chunk(self, old: bytes, new: bytes) -> None:
        """Remember a chunk, from the next ``commit`` on for good."""
        self._chunks[old] = new

    def tree(self, old: bytes, visible: Collection[str]) -> bytes | None:
        """The tree in the target that a tree of the source was copied to, if a visible snapshot still holds it."""
        row = self._db.execute("SELECT new, snapshot FROM trees WHERE old = ?", (old,)).fetchone()
        return row[0] if row and row[1] in visible else None

    def commit(self, written: dict[bytes, bytes], snapshot: str) -> None:
        """Keep the trees (old -> new) of a snapshot that is stored now, and all chunks put so far."""
        rows = [(old, new, snapshot) for old, new in written.items()]
        with suppress(sqlite3.OperationalError), self._db:
            self._db.executemany("INSERT OR REPLACE INTO trees VALUES (?, ?, ?)", rows)
            self._db.executemany("INSERT OR REPLACE INTO chunks VALUES (?, ?)", self._chunks.items())
            self._chunks.clear()

    def close(self) -> None:
        self._db.close()


def copy_snapshots(source: Repository, target: Repository, ids: Collection[str]) -> CopyResult:
    """Copy snapshots (whole ids) with all they hold.  One that the target has already, as ``original`` says, is left out.

    Raises ``SnapshotMissing`` before anything is written, ``DamageError`` where the source cannot be read, store errors.
    """
    if source.id == target.id:
        raise UsageError("Source and target are the same repository.", "Name another one with --to.")
    source.require_reader()
    target.require_reader()
    wanted = _load(source, ids)
    try:
        return _copy(source, target, wanted)
    except SessionExpired:
        return _copy(source, target, wanted)


def _copy(source: Repository, target: Repository, wanted: list[Stored]) -> CopyResult:
    with (
        target.session("copy") as session,
        closing(Memory(target.cache / f"copy-{source.id.hex()}.db")) as memory,
    ):
        return _Copy(source, target, session, memory).run(wanted)


def _load(source: Repository, ids: Collection[str]) -> list[Stored]:
    """The snapshots to copy, oldest first."""
    stored = set(snapshots.names(source.store))
    for name in ids:
        if name not in stored:
            raise SnapshotMissing(f"There is no snapshot {name}; nothing was copied.", "`safehold snapshots` lists them.")
    loaded = [snapshots.load(source.seals, source.store, name) for name in sorted(set(ids))]
    return sorted(loaded, key=lambda each: (each.snapshot.time_ns, each.id))


class _Done(msgspec.Struct):
    """A snapshot whose content is copied, to be committed when all of it is durable."""

    old: str
    snapshot: Snapshot
    trees: dict[bytes, bytes]


class _Copy:
    def __init__(self, source: Repository, target: Repository, session: Session, memory: Memory) -> None:
        self._source = source
        self._target = target
        self._session = session
        self._memory = memory
        self._pending: list[_Done] = []
        self._copied: dict[str, str] = {}
        self._read = 0
        self._added = 0

    def run(self, wanted: list[Stored]) -> CopyResult:
        visible = self._target.visible_snapshots()
        have = {each.snapshot.original for each in visible}
        came = {f"{self._target.id.hex()}/{each.id}" for each in visible}
        todo = [each for each in wanted if self._original(each) not in have and each.snapshot.original not in came]
        names = {each.id for each in visible}
        while todo:
            todo = self._batch(todo, names)
        skipped = [each.id for each in wanted if each.id not in self._copied]
        return CopyResult(copied=self._copied, skipped=skipped, read=self._read, added=self._added)

    def _original(self, stored: Stored) -> str:
        return f"{self._source.id.hex()}/{stored.id}"

    def _batch(self, todo: list[Stored], visible: set[str]) -> list[Stored]:
        """Copy and commit some snapshots; those that are left."""
        writer = self._target.writer()
        try:
            while todo and writer.added.raw < BATCH_BYTES:
                self._pending.append(self._content(writer, todo[0], visible))
                todo = todo[1:]
            writer.finish()
        except BaseException:
            writer.abort()
            raise
        for done in self._pending:
            self._commit(writer, done, visible)
        self._pending.clear()
        self._added += writer.added.stored
        return todo

    def _content(self, writer: ChunkWriter, stored: Stored, visible: set[str]) -> _Done:
        pool = Pool(THREADS, "read")
        try:
            translation = Translation(self._source.reader, writer, self._memory, visible, self._target.config.chunks.large, pool)
            tree = translation.tree(stored.snapshot.tree)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
        self._read += translation.read
        self._target.report(Progress(phase="copy", files=stored.snapshot.totals.files, bytes=self._read))
        snapshot = msgspec.structs.replace(stored.snapshot, tree=tree, parent="", previous="", original=self._original(stored))
        return _Done(stored.id, snapshot, translation.written)

    def _commit(self, writer: ChunkWriter, done: _Done, visible: set[str]) -> None:
        target = self._target
        name = snapshots.commit(self._session, target.seals, target.store, writer.session, done.snapshot)
        self._memory.commit(done.trees, name)
        self._copied[done.old] = name
        visible.add(name)


class Translation:
    """Copies what is below a tree, and tells the new names.

    Trees are walked some way ahead of where they are written anew, so that the chunks of files are read meanwhile.
    """

    def __init__(
        self,
        reader: ChunkReader,
        writer: ChunkWriter,
        memory: Memory,
        visible: Collection[str],
        large: int,
        pool: Pool,
    ) -> None:
        """``visible``: snapshots of the target whose trees can be relied on; ``large``: bytes from which a file is large."""
        self.written: dict[bytes, bytes] = {}
        """Trees, old -> new."""
        self.read = 0
        """Bytes of chunks of file content."""
        self._reader = reader
        self._writer = writer
        self._memory = memory
        self._visible = visible
        self._large = large
        self._pool = pool
        self._nodes: deque[tuple[bytes, Node]] = deque()
        """Trees that were walked and not yet written, those below others first."""

    def tree(self, root: bytes) -> bytes:
        """Copy a tree and all below it; its new name.  Works however deep it is."""
        self._ahead = Ahead(self._pool, self._reader, DATA, self._wanted(root))
        while self._ahead.advance() or self._nodes:
            while self._nodes:
                old, node = self._nodes.popleft()
                self.written[old] = trees.write_node(self._writer, self._node(node))
        new = self._known(root)
        assert new is not None
        return new

    def _wanted(self, root: bytes) -> Iterator[bytes]:
        """The chunks of files that have to be read."""
        for old, node in self._walk(root):
            self._nodes.append((old, node))
            chunks = (chunk for entry in node.entries if entry.kind != DIRECTORY for chunk in _chunks(self._reader, entry))
            while some := list(islice(chunks, LOOKUPS)):
                self._memory.load(some)
                yield from (chunk for chunk in some if not self._is_copied(chunk))

    def _walk(self, root: bytes) -> Iterator[tuple[bytes, Node]]:
        """Every tree that has to be copied, those below others first."""
        seen = {root}
        stack = [] if self._known(root) else [self._level(root)]
        while stack:
            old, node, below = stack[-1]
            if not below:
                stack.pop()
                yield old, node
                continue
            child = below.pop()
            if child not in seen and self._known(child) is None:
                seen.add(child)
                stack.append(self._level(child))

    def _level(self, old: bytes) -> tuple[bytes, Node, list[bytes]]:
        """A tree, and the trees right below it in reverse."""
        node = trees.read_node(self._reader, old)
        return old, node, [entry.content for entry in reversed(node.entries) if entry.kind == DIRECTORY]

    def _is_copied(self, old: bytes) -> bool:
        """Whether the target has a chunk, as far as is remembered."""
        new = self._memory.loaded(old)
        return new is not None and self._writer.knows(new)

    def _known(self, old: bytes) -> bytes | None:
        return self.written.get(old) or self._memory.tree(old, self._visible)

    def _node(self, node: Node) -> Node:
        return Node([self._entry(entry) for entry in node.entries], node.owners, node.groups)

    def _entry(self, entry: Entry) -> Entry:
        if entry.kind == DIRECTORY:
            new = self._known(entry.content)
            assert new is not None
            return msgspec.structs.replace(entry, content=new)
        if not entry.content and (entry.more is None or entry.more.map is None):
            return entry
        return self.content(entry)

    def content(self, entry: Entry) -> Entry:
        """The entry of a file with its content copied: the one place that knows how an entry names its chunks."""
        group = ALONE if entry.size >= self._large else SMALL
        if entry.more is None or entry.more.map is None:
            new = b"".join(self._chunk(name, group) for name in contents.chunk_names(entry))
            return msgspec.structs.replace(entry, content=new)
        if entry.more.paged:
            more = msgspec.structs.replace(entry.more, map=self._page_map(PageMap(self._reader, entry)))
            return msgspec.structs.replace(entry, more=more)
        listed = [(self._chunk(piece.name, group), piece.length) for piece in contents.pieces(self._reader, entry)]
        more = msgspec.structs.replace(entry.more, map=contents.write_list(self._writer, listed))
        return msgspec.structs.replace(entry, more=more)

    def _page_map(self, pages: PageMap) -> bytes:
        rows = []
        for number, (_, length) in enumerate(pages.groups):
            first = number * GROUP
            blocks = [self._block(pages, first + index, block) for index, block in enumerate(pages.group(number))]
            rows.append(contents.TOP_ROW.pack(self._writer.add(MAP, encode_group(blocks)), length))
        return self._writer.add(MAP, b"".join(rows))

    def _block(self, pages: PageMap, number: int, block: Block) -> Block:
        """A block with its chunks copied.  Its digest is keyed: without memory of it, it is read whole."""
        extents = [msgspec.structs.replace(e, chunk=self._chunk(e.chunk, self._page_group(e.chunk))) for e in block.extents]
        if not block.digest:
            return Block(b"", extents)
        digest = self._memory.chunk(block.digest)
        if digest is None:
            digest = self._writer.name(DATA, pages.read(number * BLOCK, BLOCK))
            self._memory.put_chunk(block.digest, digest)
        return Block(digest, extents)

    def _page_group(self, chunk: bytes) -> int:
        """Whole blocks are segments of their own; runs of changed pages, at most half a block, share them."""
        return BLOCKS if self._reader.length(chunk) > BLOCK // 2 else PAGES

    def _chunk(self, old: bytes, group: int) -> bytes:
        new = self._memory.loaded(old) if self._ahead.expects(old) else self._memory.chunk(old)
        if new is not None and self._writer.knows(new):
            return new
        data = self._ahead.take(old)
        self.read += len(data)
        new = self._writer.add(DATA, data, group)
        self._memory.put_chunk(old, new)
        return new


def _chunks(reader: ChunkReader, entry: Entry) -> Iterator[bytes]:
    """The chunks of a file in the order in which they are copied."""
    return (name for kind, name in files.references(reader, entry) if kind == DATA)


def _open(path: Path) -> sqlite3.Connection:
    """The database; a damaged one is thrown away, for it only saves work."""
    for _ in range(2):
        db = sqlite3.connect(path)
        try:
            db.executescript(SCHEMA)
        except sqlite3.DatabaseError:
            db.close()
            path.unlink(missing_ok=True)
            continue
        return db
    db = sqlite3.connect(":memory:")
    db.executescript(SCHEMA)
    return db
