"""Paged files: content that changes in place, kept by page.  ``docs/format/paged.md``."""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator

import msgspec

from safehold.core.entries import Entry
from safehold.core.errors import DamageError, FormatError
from safehold.repo import contents
from safehold.repo.reader import ChunkReader
from safehold.repo.seals import DATA, ID_SIZE, MAP
from safehold.repo.segments import LIMIT

BLOCK = 1024 * 1024
GROUP = 64
PAGE_SIZES = frozenset(1 << bits for bits in range(9, 21))
CACHED_GROUPS = 8
_KEPT = 4 * BLOCK
"""Bytes of chunks in memory while a block is put together from them."""


class Extent(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A stretch of a block that lies in a chunk."""

    offset: int
    chunk: bytes
    start: int
    length: int


class Block(msgspec.Struct, array_like=True, frozen=True):
    """1 MiB of a paged file."""

    digest: bytes = b""
    extents: list[Extent] = []


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[Block])

Buffer = bytes | memoryview


def encode_group(blocks: list[Block]) -> bytes:
    """The stored form of a group map."""
    return _encoder.encode(blocks)


def decode_group(data: bytes) -> list[Block]:
    """The blocks of a group map.  Raises ``FormatError``, also for extents that overlap or pass the block's end."""
    try:
        blocks = _decoder.decode(data)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"A page map cannot be read: {error}.") from error
    if len(blocks) > GROUP or not all(_is_sound(block) for block in blocks):
        raise FormatError("A page map describes blocks that cannot be.")
    return blocks


def _is_sound(block: Block) -> bool:
    at = 0
    for extent in block.extents:
        if extent.offset < at or extent.length <= 0 or extent.start < 0:
            return False
        at = extent.offset + extent.length
    return at <= BLOCK and len(block.digest) in (0, ID_SIZE)


class PageMap:
    """The page map of a stored file, read group by group.  Safe to use from several threads, as the reader is."""

    def __init__(self, reader: ChunkReader, entry: Entry) -> None:
        """Raises ``FormatError`` if the entry's map does not fit its size."""
        more = entry.more
        if more is None or more.map is None or more.paged not in PAGE_SIZES:
            raise FormatError(f"The entry {entry.name!r} is paged, but has no page map of a known page size.")
        self._reader = reader
        self.size = entry.size
        self.page = more.paged
        self.groups = contents.top_rows(reader, more.map)
        if sum(length for _, length in self.groups) != entry.size or any(n != GROUP * BLOCK for _, n in self.groups[:-1]):
            raise FormatError(f"The page map of {entry.name!r} does not cover its {entry.size} bytes.")
        self._lock = threading.Lock()
        self._cache: OrderedDict[int, list[Block]] = OrderedDict()

    def group(self, number: int) -> list[Block]:
        """The blocks of a group."""
        with self._lock:
            blocks = self._cache.get(number)
        if blocks is None:
            name, length = self.groups[number]
            blocks = decode_group(self._reader.read(MAP, name))
            if len(blocks) != -(-length // BLOCK):
                raise FormatError("A group map does not have the blocks that it should.")
            last = blocks[-1].extents[-1:] if blocks else []
            if last and last[0].offset + last[0].length > length - (len(blocks) - 1) * BLOCK:
                raise FormatError("A group map has bytes beyond the end of its group.")
            self._remember(number, blocks)
        return blocks

    def _remember(self, number: int, blocks: list[Block]) -> None:
        with self._lock:
            self._cache[number] = blocks
            while len(self._cache) > CACHED_GROUPS:
                self._cache.popitem(last=False)

    def blocks(self) -> Iterator[tuple[int, Block]]:
        """Every block with its offset in the file."""
        for number in range(len(self.groups)):
            for index, block in enumerate(self.group(number)):
                yield (number * GROUP + index) * BLOCK, block

    def data_ranges(self) -> Iterator[tuple[int, int]]:
        """Offset and length of what is not known to be zeros: where extents lie."""
        for offset, block in self.blocks():
            for extent in block.extents:
                yield offset + extent.offset, extent.length

    def read(self, offset: int, length: int) -> bytes:
        """Bytes of the file; fewer at its end."""
        end = min(offset + length, self.size)
        parts = []
        while offset < end:
            number, inside = divmod(offset, BLOCK)
            block = self.group(number // GROUP)[number % GROUP]
            stop = min(BLOCK, inside + end - offset)
            parts.append(self._assemble(block, inside, stop, min(BLOCK, self.size - number * BLOCK)))
            offset += stop - inside
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def block(self, offset: int, room: memoryview) -> Buffer:
        """The block that begins at ``offset``, whole; put together in ``room`` (1 MiB), where it is not one chunk."""
        number = offset // BLOCK
        block, whole = self.group(number // GROUP)[number % GROUP], min(BLOCK, self.size - offset)
        if _is_chunk(block) or not self._proved(block, room[:whole]):
            return self._assemble(block, 0, whole, whole)
        return room[:whole]

    def _assemble(self, block: Block, start: int, stop: int, whole: int) -> bytes:
        """Bytes ``start`` to ``stop`` of a block of ``whole`` bytes; a block read whole is checked against its digest."""
        is_named = start == 0 and stop == whole and block.digest and not _is_chunk(block)
        if is_named and self._proved(block, memoryview(room := bytearray(whole))):
            return bytes(room)
        data = assemble(block, start, stop, self._chunk)
        if is_named and self._reader.name(DATA, data) != block.digest:
            raise DamageError("A block of a paged file is not what was stored, though its pieces are.", "Run `safehold check`.")
        return data

    def _proved(self, block: Block, room: memoryview) -> bool:
        """Put a whole block together from pieces that are not compared with their names; whether the block has its own.

        Of a block with a hundred changed pages everything is hashed once, instead of once more for each page by itself.  If it
        is not what it should be, its pieces are to be read with care.
        """
        if not block.digest:
            return False
        try:
            _lay(block.extents, 0, room, self._unproven)
        except DamageError:
            return False
        return self._reader.name(DATA, room) == block.digest

    def _unproven(self, name: bytes) -> Buffer:
        found = self._reader.unproven(DATA, name)
        return self._reader.read(DATA, name) if found is None else found

    def _chunk(self, name: bytes) -> bytes:
        return self._reader.read(DATA, name)


def _is_chunk(block: Block) -> bool:
    """Whether a block is one chunk, which whoever reads it has compared with its name."""
    return len(block.extents) == 1 and block.extents[0].chunk == block.digest


def assemble(block: Block, start: int, stop: int, chunk: Callable[[bytes], bytes]) -> bytes:
    """Bytes ``start`` to ``stop`` of a block; ``chunk`` gives a chunk's bytes."""
    extents = block.extents
    if len(extents) == 1 and extents[0].offset <= start and extents[0].offset + extents[0].length >= stop:
        return bytes(_piece(extents[0], start, stop, chunk))
    data = bytearray(stop - start)
    _lay(extents, start, memoryview(data), chunk)
    return bytes(data)


def _lay(extents: list[Extent], start: int, room: memoryview, chunk: Callable[[bytes], Buffer]) -> None:
    """Fill ``room`` with the bytes of a block from ``start`` on."""
    stop = start + len(room)
    once = _once(chunk)
    at = start
    first = max(0, bisect_right(extents, start, key=lambda e: e.offset) - 1)
    for extent in extents[first:]:
        low, high = max(start, extent.offset), min(stop, extent.offset + extent.length)
        if low >= stop:
            break
        if low < high:
            if at < low:
                room[at - start : low - start] = bytes(low - at)
            room[low - start : high - start] = _piece(extent, low, high, once)
            at = high
    if at < stop:
        room[at - start :] = bytes(stop - at)


def _once(chunk: Callable[[bytes], Buffer]) -> Callable[[bytes], Buffer]:
    """The same, with what was read kept for the other extents of the block: to read a chunk is also to prove it."""
    kept: dict[bytes, Buffer] = {}
    size = 0

    def read(name: bytes) -> Buffer:
        nonlocal size
        data = kept.get(name)
        if data is None:
            data = chunk(name)
            size += len(data)
            if size > _KEPT:  # only a block that we did not write lies in so much
                kept.clear()
                size = len(data)
            kept[name] = data
        return data

    return read


def _piece(extent: Extent, low: int, high: int, chunk: Callable[[bytes], Buffer]) -> Buffer:
    """Bytes ``low`` to ``high`` of a block, all in one of its extents.  Raises ``DamageError`` where its chunk is too short."""
    whole = chunk(extent.chunk)
    at = extent.start + low - extent.offset
    piece = whole if at == 0 and high - low == len(whole) else whole[at : at + high - low]
    if len(piece) != high - low:
        raise DamageError("A piece of a paged file is shorter than its map says.")
    return piece


Claim = tuple[int, bytes, int, int]
"""Kind and id of a chunk, and the least and the most bytes that it must have."""


def claims(reader: ChunkReader, entry: Entry) -> Iterator[Claim]:
    """Every chunk that a paged file needs, some more than once; each group map comes right before it is read."""
    pages = PageMap(reader, entry)
    for number, (name, _) in enumerate(pages.groups):
        yield MAP, name, 0, LIMIT
        for block in pages.group(number):
            for extent in block.extents:
                yield DATA, extent.chunk, extent.start + extent.length, LIMIT
