"""Storing a paged file of which only the new pages are at hand: laid over what is stored of it, without reading that.

What comes of it is a whole file, like any other: the old extents with new ones between them.  The digest of a block that was put
together so is not known, and left empty.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import msgspec

from safehold.core.entries import Entry
from safehold.core.errors import DamageError
from safehold.ops.backup.memory import Memory
from safehold.ops.backup.paged import (
    HASH,
    Before,
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
from safehold.repo.writer import ALONE, PAGES, ChunkWriter

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
        known = self._paged.known(path, patch.page, old)
        before = known.before
        if old.more is None:
            group = Before(blocks=self._blocks(old))
            before = lambda number: group if number == 0 else Before()  # noqa: E731
        elif not known.sure:
            return None
        runs = _Runs(patch.runs)
        names = [
            self._group(known.key, number, before(number), old.size, patch, runs)
            for number in range(-(-patch.size // (GROUP * BLOCK)))
        ]
        return finished(self._writer, self._memory, known.key, names, patch.size)

    def _blocks(self, old: Entry) -> list[Block]:
        """A small file that lists its chunks, as blocks."""
        extents = []
        at = 0
        for name in contents.chunk_names(old):
            extents.append(Extent(at, name, 0, self._writer.length(name)))
            at += extents[-1].length
        return [Block(b"", extents)] if extents else []

    def _group(self, key: bytes, number: int, before: Before, old_size: int, patch: Patch, runs: _Runs) -> bytes:
        """Store a group; the id of its map."""
        done: list[Block] = []
        hashes: list[bytes] = []
        first = number * GROUP
        for index in range(min(GROUP, -(-patch.size // BLOCK) - first)):
            start = (first + index) * BLOCK
            old = before.blocks[index] if index < len(before.blocks) else Block()
            marks = before.hashes(index) if before.map and index < len(before.blocks) else b""
            span = _Span(min(BLOCK, patch.size - start), max(0, min(BLOCK, min(patch.kept, old_size) - start)), old_size - start)
            new = runs.take(start)
            if new or not span.is_same:
                old, marks = self._block(old, marks, span, new, patch.page)
            done.append(old)
            hashes.append(marks)
        encoded = encode_group(done)
        name = self._writer.add(MAP, encoded)
        if before.map != encoded:
            self._memory.put_pages(key, number, name, msgspec.msgpack.encode(Remembered(encoded, hashes)))
        return name

    def _block(self, old: Block, marks: bytes, span: _Span, new: list[Run], page: int) -> tuple[Block, bytes]:
        """A block with what is new in it, and its page hashes; b"" where those of the old pages are not known."""
        self._advance(sum(len(data) for _, data in new))
        over, fresh = gathered(self._writer, new, span.length)
        kept = cut(old.extents, span.kept)
        extents = splice(kept, over)
        is_known = bool(marks) or not kept
        marks = self._hashes(marks[: span.kept // page * HASH] if kept else b"", span.length, new, page) if is_known else b""
        whole = self._whole(extents, fresh, span.length, only_new=not kept)
        if whole is not None:
            digest = self._writer.add(DATA, whole, ALONE)
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


class _Span(msgspec.Struct, frozen=True):
    """Of a block: how long it becomes, how much of the old one stays, and how far the old file goes from its start."""

    length: int
    kept: int
    old: int

    @property
    def is_same(self) -> bool:
        """Whether it becomes what it was, if there is nothing new in it."""
        return self.kept == self.length == min(BLOCK, max(0, self.old))


class _Runs:
    """Runs, taken block by block."""

    def __init__(self, runs: Iterable[Run]) -> None:
        self._runs: Iterator[Run] = iter(runs)
        self._next = next(self._runs, None)

    def take(self, start: int) -> list[Run]:
        """Those of the block that begins at ``start``, with offsets in it."""
        found = []
        while self._next is not None and self._next[0] < start + BLOCK:
            found.append((self._next[0] - start, self._next[1]))
            self._next = next(self._runs, None)
        return found
