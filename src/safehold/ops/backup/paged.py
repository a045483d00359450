"""Storing paged files: only the pages that changed.  ``docs/format/paged.md``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from itertools import islice

import msgspec
from blake3 import blake3

from safehold.core.entries import Entry, data_ranges
from safehold.core.errors import DamageError
from safehold.ops.backup.memory import Memory
from safehold.repo import contents
from safehold.repo.paged import BLOCK, GROUP, Block, Extent, PageMap, decode_group, encode_group
from safehold.repo.reader import ChunkReader
from safehold.repo.seals import DATA, MAP
from safehold.repo.writer import BLOCKS, PAGES, ChunkWriter
from safehold.sources.files.folders import read_soon
from safehold.sources.files.reading import read_bytes

PAGE = 16 * 1024
"""Page size where the source names none: small enough for a file system's scattered writes, large enough to hash fast."""
HASH = 8
"""Bytes of a page hash, keyed BLAKE3.  It is compared with that of the same page as it was before, and with no other."""
AHEAD = 8 * 1024 * 1024
"""So much is asked of the disk before it is needed."""
LEAST = 4 * 1024 * 1024
"""Smaller files are chunked by content, whatever their name."""
MOST = 1 << 44
"""Larger ones too: the map of a larger file would not fit a segment (16 MiB of rows of 32 bytes, each for 64 MiB: twice this)."""
MOST_PIECES = 64
"""A block that lies in more chunks is stored whole again.  Fewer cost more: each page that is changed in a block of its own pays
for a part of the block (1 / 64 of it).  More would make maps large, and readers would need many segments at a time."""
WHOLE_FROM = (7, 8)
"""A block of which a greater part than this has changed is stored whole."""
MOST_KEPT = 2 * BLOCK
"""A block whose pieces lie in chunks of more bytes than this is stored whole again: of a chunk that is hidden in part by newer
ones, the hidden part can never be given back."""
NAMES = (
    "*.img *.raw *.qcow *.qcow2 *.qed *.vmdk *.vdi *.vhd *.vhdx *.hdd *.dsk *.luks *.hc *.tc *.ibd *.mdf *.ndf *.ldf "
    "*.edb *.pst *.ost *.mdb *.accdb *.fdb *.gdb *.dbf *.sqlite *.sqlite3 *.db ibdata[0-9]*"
)
"""Names of files that change in place, as patterns."""

_ZEROS = bytes(BLOCK)


class Remembered(msgspec.Struct, array_like=True, frozen=True):
    """A group as the local memory keeps it: its map's encoding, and the page hashes of each block."""

    map: bytes
    hashes: list[bytes]


class Before(msgspec.Struct, frozen=True):
    """A group as it was stored last, as far as that is known."""

    blocks: list[Block] = []
    map: bytes = b""
    """Its encoding, where the local memory has it as it is."""
    hashes: Callable[[int], bytes] = lambda _: b""
    """The page hashes of a block, by its number in the group; empty where they are not known."""


class Known(msgspec.Struct, frozen=True):
    """What is known of a file that was stored before."""

    key: bytes
    """Of its rows in the local memory."""
    before: Callable[[int], Before]
    """Each of its groups, by number."""
    sure: bool
    """All of that is known to be stored."""


class Stored(msgspec.Struct, frozen=True, gc=False):
    """A paged file that was stored: its map's id, and its size."""

    map: bytes
    size: int


def is_paged(name: bytes) -> bool:
    """Whether a file of that name changes in place, as far as one can tell."""
    text = os.fsdecode(name).lower()
    return any(fnmatchcase(text, pattern) for pattern in NAMES.split())


class PagedWriter:
    """Stores paged files.  Belongs to one thread."""

    def __init__(
        self,
        writer: ChunkWriter,
        memory: Memory,
        advance: Callable[[int], None],
        *,
        trusted: bool,
        reader: ChunkReader | None = None,
    ) -> None:
        """``advance`` is told of bytes read; ``trusted``: what old entries refer to is known to be stored.

        ``reader``: asked for what the memory does not have; None with a key that cannot read.
        """
        self._advance = advance
        self._writer = writer
        self._memory = memory
        self._trusted = trusted
        self._reader = reader

    def store(self, fd: int, path: bytes, size: int, page: int, holes: list[int], old: Entry | None) -> Stored:
        """The content of an open file, remembered by ``path``.  Blocks in ``holes`` are not read, nor bytes beyond ``size``.

        ``old``: its entry in the snapshot before.
        """
        return self.store_blocks(file_blocks(fd, size, holes), path, size, page, old)

    def store_blocks(self, blocks: Iterator[bytes | None], path: bytes, size: int, page: int, old: Entry | None) -> Stored:
        """The same from blocks of 1 MiB, the last of which may be shorter; None for one of zeros."""
        file = self.begin(path, page, old)
        for data in islice(blocks, -(-size // BLOCK)):
            file.add(data)
        return file.finish(size)

    def begin(self, path: bytes, page: int, old: Entry | None) -> PagedFile:
        """The same for a file whose blocks come in between those of others, and whose size is known at its end."""
        return PagedFile(self._writer, self._memory, self._advance, page, self.known(path, page, old))

    def known(self, path: bytes, page: int, old: Entry | None) -> Known:
        """What is known of a file."""
        key = self._memory.row_key(b"pages\0%d\0" % page + path)
        rows = self._memory.page_maps(key)
        remembered = self._mirrors(old, rows)
        stored = None if remembered or old is None else self._page_map(old, page)

        def before(number: int) -> Before:
            return _listed(stored, number, self._writer.page_key) if stored else self._old(key, number, rows)

        return Known(key, before, self._trusted and (remembered or stored is not None))

    def _mirrors(self, old: Entry | None, known: list[bytes]) -> bool:
        """Whether these groups are what that entry refers to; rows may be older, if the file could not be read meanwhile."""
        return old is not None and old.more is not None and old.more.map == self._writer.name(MAP, _top_map(known, old.size))

    def _page_map(self, old: Entry, page: int) -> PageMap | None:
        """What the repository has of a file that is not remembered as that entry says; None if it cannot be read."""
        if self._reader is None or old.more is None or old.more.paged != page:
            return None
        try:
            return PageMap(self._reader, old)
        except DamageError:
            return None

    def _old(self, key: bytes, number: int, known: list[bytes]) -> Before:
        data = self._memory.pages(key, number, known[number]) if number < len(known) else None
        if data is None:
            return Before()
        try:
            found = msgspec.msgpack.decode(data, type=Remembered)
            return Before(decode_group(found.map), found.map, found.hashes.__getitem__)
        except (msgspec.MsgspecError, DamageError):
            return Before()


class PagedFile:
    """A file that is being stored by page.  Belongs to one thread."""

    def __init__(self, writer: ChunkWriter, memory: Memory, advance: Callable[[int], None], page: int, known: Known) -> None:
        self._writer = writer
        self._memory = memory
        self._advance = advance
        self._page = page
        self._known = known
        self._names: list[bytes] = []
        self._before = Before()
        self._done: list[Block] = []
        self._hashes: list[bytes] = []

    def add(self, data: bytes | None) -> None:
        """The next block: 1 MiB, or what the file ends with; None for zeros."""
        if not self._done:
            self._before = self._known.before(len(self._names))
        block, marks = self._block(data, self._before, len(self._done), self._page)
        self._done.append(block)
        self._hashes.append(marks)
        if len(self._done) == GROUP:
            self._close_group()

    def finish(self, size: int) -> Stored:
        """It has that many bytes."""
        if self._done:
            self._close_group()
        return finished(self._writer, self._memory, self._known.key, self._names, size)

    def _close_group(self) -> None:
        encoded = encode_group(self._done)
        name = self._writer.add(MAP, encoded)
        if self._before.map != encoded:
            row = msgspec.msgpack.encode(Remembered(encoded, self._hashes))
            self._memory.put_pages(self._known.key, len(self._names), name, row)
        self._names.append(name)
        self._done, self._hashes = [], []

    def _block(self, data: bytes | None, before: Before, index: int, page: int) -> tuple[Block, bytes]:
        """A block and its page hashes; None for data: it lies in a hole."""
        if data is None or data == _ZEROS[: len(data)]:
            return Block(), b""
        self._advance(len(data))
        writer = self._writer
        digest = writer.name(DATA, data)
        old = before.blocks[index] if index < len(before.blocks) else None
        if old is not None and not self._stored(old):
            old = None
        if old is not None and old.digest == digest:
            return old, before.hashes(index) if before.map else page_hashes(writer.page_key, data, page)
        hashes = page_hashes(writer.page_key, data, page)
        extents = self._changed(data, old, before.hashes(index), hashes, page) if old is not None else None
        if extents is None:
            writer.add_named(DATA, digest, data, BLOCKS)
            extents = [Extent(0, digest, 0, len(data))]
        return Block(digest, extents), hashes

    def _stored(self, old: Block) -> bool:
        """Whether everything an old block needs can be relied on."""
        if self._known.sure:
            return True
        knows = self._writer.knows
        return all(knows(extent.chunk) for extent in old.extents)

    def _changed(self, data: bytes, old: Block, old_hashes: bytes, hashes: bytes, page: int) -> list[Extent] | None:
        """The old block's extents with changed pages stored and put in; None where storing it whole is better."""
        pages = len(hashes) // HASH
        changed = [n for n in range(pages) if hashes[n * HASH : n * HASH + HASH] != old_hashes[n * HASH : n * HASH + HASH]]
        if len(changed) * WHOLE_FROM[1] > pages * WHOLE_FROM[0]:
            return None
        runs = [(first * page, data[first * page : last * page]) for first, last in _runs(changed)]
        new, chunks = gathered(self._writer, runs, len(data))
        extents = splice(cut(old.extents, len(data)), new)
        if is_better_whole(self._writer, extents, {name: len(piece) for name, piece in chunks.items()}):
            return None
        for name, piece in chunks.items():
            self._writer.add_named(DATA, name, piece, PAGES)
        return extents


def finished(writer: ChunkWriter, memory: Memory, key: bytes, names: list[bytes], size: int) -> Stored:
    """Store the top map of a file of these groups."""
    memory.cut_pages(key, len(names))
    return Stored(writer.add(MAP, _top_map(names, size)), size)


def is_better_whole(writer: ChunkWriter, extents: list[Extent], lengths: dict[bytes, int]) -> bool:
    """Whether a block lies in too many pieces, or hides too much of them; ``lengths``: of chunks that are not stored yet."""
    chunks = {extent.chunk for extent in extents}
    return len(chunks) > MOST_PIECES or sum(lengths.get(c) or writer.length(c) for c in chunks) > MOST_KEPT


def gathered(writer: ChunkWriter, runs: list[tuple[int, bytes]], length: int) -> tuple[list[Extent], dict[bytes, bytes]]:
    """Where changed pages (offset in the block of ``length`` bytes, bytes) will lie, and in which chunks.

    One for each run, or one for all where they are more than half of the block: a chunk of its own costs a run about 100 bytes,
    and what it gives is that it can be left out as soon as it is hidden.
    """
    if 2 * sum(len(piece) for _, piece in runs) <= length:
        chunks = {writer.name(DATA, piece): piece for _, piece in runs}
        return [Extent(at, writer.name(DATA, piece), 0, len(piece)) for at, piece in runs], chunks
    whole = b"".join(piece for _, piece in runs)
    name = writer.name(DATA, whole)
    extents = []
    start = 0
    for at, piece in runs:
        extents.append(Extent(at, name, start, len(piece)))
        start += len(piece)
    return extents, {name: whole}


def _listed(pages: PageMap, number: int, key: bytes) -> Before:
    """A group as the repository has it; what is damaged is not known.  Page hashes come from the blocks themselves."""

    def hashes(index: int) -> bytes:
        try:
            return page_hashes(key, pages.read((number * GROUP + index) * BLOCK, BLOCK), pages.page)
        except DamageError:
            return b""

    try:
        blocks = pages.group(number) if number < len(pages.groups) else []
    except DamageError:
        return Before()
    return Before(blocks, b"", hashes)


def page_hashes(key: bytes, data: bytes, page: int) -> bytes:
    """The hashes of a block's pages, one after the other."""
    view = memoryview(data)
    return b"".join([blake3(view[at : at + page], key=key).digest(HASH) for at in range(0, len(data), page)])


def _top_map(names: list[bytes], size: int) -> bytes:
    rows = (contents.TOP_ROW.pack(name, min(GROUP * BLOCK, size - n * GROUP * BLOCK)) for n, name in enumerate(names))
    return b"".join(rows) if len(names) == -(-size // (GROUP * BLOCK)) else b""


def cut(extents: list[Extent], length: int) -> list[Extent]:
    """Extents of a block that has become no longer than that."""
    return [msgspec.structs.replace(e, length=min(e.length, length - e.offset)) for e in extents if e.offset < length]


def splice(old: list[Extent], new: list[Extent]) -> list[Extent]:
    """Extents of a block with newer ones laid over them; both sorted."""
    result: list[Extent] = []
    for extent in old:
        at, end = extent.offset, extent.offset + extent.length
        for over in new:
            if over.offset < end and over.offset + over.length > at:
                if over.offset > at:
                    result.append(Extent(at, extent.chunk, extent.start + at - extent.offset, over.offset - at))
                at = max(at, over.offset + over.length)
        if at < end:
            result.append(Extent(at, extent.chunk, extent.start + at - extent.offset, end - at))
    return sorted(result + new, key=lambda extent: extent.offset)


def _runs(numbers: list[int]) -> Iterator[tuple[int, int]]:
    """First and one past last of each run of consecutive numbers."""
    start = 0
    for index in range(1, len(numbers) + 1):
        if index == len(numbers) or numbers[index] != numbers[index - 1] + 1:
            yield numbers[start], numbers[index - 1] + 1
            start = index


def file_blocks(fd: int, size: int, holes: list[int]) -> Iterator[bytes | None]:
    """The blocks of a file; None for one that lies in a hole."""
    ranges = iter(data_ranges(size, holes))
    start, end = next(ranges, (size, size))
    for at in range(0, size, BLOCK):
        stop = min(at + BLOCK, size)
        while end <= at and start < size:
            start, end = next(ranges, (size, size))
        if start >= stop:
            yield None
            continue
        if at % AHEAD == 0:
            read_soon(fd, at + AHEAD, AHEAD)
        data = read_bytes(fd, stop - at, at)
        if len(data) < stop - at:
            data += bytes(stop - at - len(data))  # cut off while it was read; the caller sees that its size changed
        yield data
