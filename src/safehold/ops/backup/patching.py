"""Storing a paged file of which only the new pages are at hand: laid over what is stored of it, without reading that.

What comes of it is a whole file, like any other: the old extents with new ones between them.  The digest of a block that was put
together so is not known, and left empty.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from safehold.core.entries import Entry
from safehold.core.errors import DamageError
from safehold.ops.backup.memory import Memory
from safehold.ops.backup.paged import (
    HASH,
    Before,
    Known,
    PagedWriter,
    Remembered,
    Stored,
    cut,
    finished,
    gathered,
    is_better_whole,
    page_hashes,
    splice,
)
from safehold.repo import contents
from safehold.repo.paged import BLOCK, GROUP, Block, Extent, assemble, encode_group
from safehold.repo.reader import ChunkReader
from safehold.repo.seals import DATA, MAP
from safehold.repo.writer import BLOCKS, PAGES, ChunkWriter

Run = tuple[int, bytes]
"""New pages that follow each other: where they begin, and their bytes."""


class Patch(msgspec.Struct, frozen=True):
    """What is to become of a file: of its old content the first ``kept`` bytes, zeros up to ``size``, and over both ``runs``.

    Runs ascend, are whole pages, and none lies in two blocks of 1 MiB.
    """

    size: int
    kept: int
    page: int
    runs: Iterable[Run]


class Unknown(Exception):
    """What a file was made of is not known after all."""


class Patcher:
    """Patches paged files.  Belongs to one thread."""

    def __init__(
        self, paged: PagedWriter, writer: ChunkWriter, memory: Memory, reader: ChunkReader | None, advance: Callable[[int], None]
    ) -> None:
        """``reader``: to store a block whole that has come to lie in too many pieces; None with a key that cannot read."""
        self._paged = paged
        self._writer = writer
        self._memory = memory
        self._reader = reader
        self._advance = advance

    def patch(self, path: bytes, old: Entry, patch: Patch) -> Stored | None:
        """Store the file; None if it is not known of what its old content is made."""
        patching = self.begin(path, old, patch.page, patch.kept)
        if patching is None:
            return None
        try:
            for at, data in patch.runs:
                patching.add(at, data)
            return patching.finish(patch.size)
        except Unknown:
            return None

    def begin(self, path: bytes, old: Entry, page: int, kept: int) -> Patching | None:
        """The same for a file whose new pages come in between those of others; of its old content ``kept`` bytes stay."""
        known = self._paged.known(path, page, old)
        if old.more is None:
            group = Before(blocks=self._blocks(old))
            known = msgspec.structs.replace(known, before=lambda number: group if number == 0 else Before())
        elif not known.sure:
            return None
        return Patching(self, known, old.size, page, kept)

    def _blocks(self, old: Entry) -> list[Block]:
        """A small file that lists its chunks, as blocks."""
        extents = []
        at = 0
        for name in contents.chunk_names(old):
            extents.append(Extent(at, name, 0, self._writer.length(name)))
            at += extents[-1].length
        return [Block(b"", extents)] if extents else []

    def close_group(self, known: Known, number: int, before: Before, blocks: list[tuple[Block, bytes]]) -> bytes:
        """Store a group of blocks with their page hashes; the id of its map."""
        encoded = encode_group([block for block, _ in blocks])
        name = self._writer.add(MAP, encoded)
        if before.map != encoded:
            row = msgspec.msgpack.encode(Remembered(encoded, [marks for _, marks in blocks]))
            self._memory.put_pages(known.key, number, name, row)
        return name

    def finished(self, known: Known, names: list[bytes], size: int) -> Stored:
        """Store the top map of a file of these groups."""
        return finished(self._writer, self._memory, known.key, names, size)

    def block(self, old: Block, marks: bytes, span: Span, new: list[Run], page: int) -> tuple[Block, bytes]:
        """A block with what is new in it, and its page hashes; b"" where those of the old pages are not known."""
        self._advance(sum(len(data) for _, data in new))
        over, fresh = gathered(self._writer, new, span.length)
        kept = cut(old.extents, span.kept)
        extents = splice(kept, over)
        is_known = bool(marks) or not kept
        marks = self._hashes(marks[: span.kept // page * HASH] if kept else b"", span.length, new, page) if is_known else b""
        whole = self._whole(extents, fresh, span.length, only_new=not kept)
        if whole is not None:
            digest = self._writer.add(DATA, whole, BLOCKS)
            return Block(digest, [Extent(0, digest, 0, span.length)]), marks
        for name, data in fresh.items():
            self._writer.add_named(DATA, name, data, PAGES)
        return Block(b"", extents), marks

    def _hashes(self, old: bytes, length: int, new: list[Run], page: int) -> bytes:
        key = self._writer.page_key
        marks = bytearray(old)
        if missing := -(-length // page) - len(marks) // HASH:
            marks += page_hashes(key, bytes(page), page) * missing
        for at, data in new:
            marks[at // page * HASH : -(-(at + len(data)) // page) * HASH] = page_hashes(key, data, page)
        return bytes(marks)

    def _whole(self, extents: list[Extent], fresh: dict[bytes, bytes], length: int, *, only_new: bool) -> bytes | None:
        """The bytes of a block that had better be stored whole, if they can be had."""
        if not extents or not (
            only_new or is_better_whole(self._writer, extents, {name: len(data) for name, data in fresh.items()})
        ):
            return None
        if not only_new and self._reader is None:
            return None  # a key that may only write keeps the pieces, of which there are never more than pages
        try:
            return assemble(Block(b"", extents), 0, length, lambda name: fresh.get(name) or self._stored(name))
        except DamageError:
            return None

    def _stored(self, name: bytes) -> bytes:
        if self._reader is None:
            raise DamageError("A chunk that cannot be read is needed.")
        return self._reader.read(DATA, name)


class Span(msgspec.Struct, frozen=True):
    """Of a block: how long it becomes, how much of the old one stays, and how far the old file goes from its start."""

    length: int
    kept: int
    old: int

    @property
    def is_same(self) -> bool:
        """Whether it becomes what it was, if there is nothing new in it."""
        return self.kept == self.length == min(BLOCK, max(0, self.old))


class Patching:
    """A file that is being patched: its new pages come in the order of their places.  Belongs to one thread.

    Raises ``Unknown`` where it turns out that what is remembered of the old content cannot be read any more.
    """

    def __init__(self, patcher: Patcher, known: Known, old_size: int, page: int, kept: int) -> None:
        self._patcher = patcher
        self._known = known
        self._old_size = old_size
        self._page = page
        self._kept = min(kept, old_size)
        self._names: list[bytes] = []
        self._before = Before()
        self._done: list[tuple[Block, bytes]] = []
        self._new: list[Run] = []
        self._at = 0
        """Where the block begins to which ``_new`` belongs: all before it are done."""

    def add(self, at: int, data: bytes) -> None:
        """New pages from ``at`` on, in one block of 1 MiB.  They come in order."""
        self._go_on(at // BLOCK * BLOCK)
        self._new.append((at - self._at, data))

    def finish(self, size: int) -> Stored:
        """It has that many bytes, no less than what was added."""
        self._go_on(size // BLOCK * BLOCK)
        if size % BLOCK:
            self._close_block(size % BLOCK)
        if self._done:
            self._close_group()
        return self._patcher.finished(self._known, self._names, size)

    def _go_on(self, to: int) -> None:
        """Close the blocks up to the one that begins at ``to``."""
        while self._at < to:
            self._close_block(BLOCK)

    def _close_block(self, length: int) -> None:
        if not self._done:
            self._before = self._group(len(self._names))
        before, index = self._before, len(self._done)
        is_there = index < len(before.blocks)
        old = before.blocks[index] if is_there else Block()
        marks = before.hashes(index) if before.map and is_there else b""
        span = Span(length, max(0, min(length, self._kept - self._at)), self._old_size - self._at)
        if self._new or not span.is_same:
            old, marks = self._patcher.block(old, marks, span, self._new, self._page)
        self._done.append((old, marks))
        self._new = []
        self._at += length
        if len(self._done) == GROUP:
            self._close_group()

    def _group(self, number: int) -> Before:
        """What is known of a group, all of it."""
        before = self._known.before(number)
        expected = min(GROUP, -(-self._old_size // BLOCK) - number * GROUP)
        if len(before.blocks) < expected and number * GROUP * BLOCK < self._kept:
            raise Unknown
        return before

    def _close_group(self) -> None:
        self._names.append(self._patcher.close_group(self._known, len(self._names), self._before, self._done))
        self._done = []
