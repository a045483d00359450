"""The content of files: which chunks, in which order.  ``docs/format/contents.md``.

A file of few chunks lists them in its entry.  One of many has a chunk list: map chunks of rows (chunk id, length), named by a
top map of rows (map id, bytes below it).  Lists are cut where an id says so, so that a change in the middle of a large file
changes one part of its list.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

import msgspec

from safehold.core.entries import Entry
from safehold.core.errors import FormatError
from safehold.repo.reader import ChunkReader
from safehold.repo.seals import DATA, ID_SIZE, MAP
from safehold.repo.writer import Adder

DIRECT = 64
"""Chunks that an entry lists itself."""
ROW = struct.Struct("<24sI")
TOP_ROW = struct.Struct("<24sQ")
CUT_MASK = 0x0FFF
"""A list part ends where the first two bytes of a chunk id, as a big-endian number, have these bits zero ..."""
CUT_MOST = 16384
"""... or after so many rows."""


class Piece(msgspec.Struct, frozen=True, gc=False):
    """A chunk in a file's content: where its bytes begin (holes not counted), its name, its length."""

    offset: int
    name: bytes
    length: int


def write_list(writer: Adder, chunks: Sequence[tuple[bytes, int]]) -> bytes:
    """Store the chunk list of a file of many chunks; the id of its top map."""
    top = []
    for part in _cut(chunks):
        data = b"".join(ROW.pack(name, length) for name, length in part)
        top.append(TOP_ROW.pack(writer.add(MAP, data), sum(length for _, length in part)))
    return writer.add(MAP, b"".join(top))


def chunk_names(entry: Entry) -> list[bytes]:
    """The chunks that an entry lists itself.  Raises ``FormatError``."""
    if len(entry.content) % ID_SIZE:
        raise FormatError(f"The entry {entry.name!r} does not list whole chunk ids.")
    return split_ids(entry.content)


def split_ids(ids: bytes) -> list[bytes]:
    """Chunk ids that stand in a row."""
    return [ids[at : at + ID_SIZE] for at in range(0, len(ids), ID_SIZE)]


def pieces(reader: ChunkReader, entry: Entry) -> Iterator[Piece]:
    """The chunks of a file that is not paged, in order.  Raises ``DamageError``."""
    offset = 0
    for name, length in _listed(reader, entry):
        yield Piece(offset, name, length)
        offset += length


def map_ids(reader: ChunkReader, top: bytes) -> list[bytes]:
    """The ids of the list parts below a top map."""
    return [name for name, _ in top_rows(reader, top)]


def part_rows(reader: ChunkReader, part: bytes) -> list[tuple[bytes, int]]:
    """The rows of a list part: chunk id, length."""
    return list(_rows(ROW, reader.read(MAP, part)))


def read(reader: ChunkReader, entry: Entry) -> Iterator[bytes]:
    """The content of a file that is not paged, chunk after chunk, holes left out."""
    if entry.more is None or entry.more.map is None:
        for name in chunk_names(entry):
            yield reader.read(DATA, name)
    else:
        for piece in pieces(reader, entry):
            yield reader.read(DATA, piece.name)


def _listed(reader: ChunkReader, entry: Entry) -> Iterator[tuple[bytes, int]]:
    if entry.more is None or entry.more.map is None:
        for name in chunk_names(entry):
            yield name, reader.length(name)
        return
    for part in map_ids(reader, entry.more.map):
        yield from part_rows(reader, part)


def _rows(row: struct.Struct, data: bytes) -> Iterator[tuple[bytes, int]]:
    if len(data) % row.size:
        raise FormatError("A chunk list is not made of whole rows.")
    yield from row.iter_unpack(data)


def _cut(chunks: Sequence[tuple[bytes, int]]) -> Iterator[list[tuple[bytes, int]]]:
    part: list[tuple[bytes, int]] = []
    for chunk in chunks:
        part.append(chunk)
        if int.from_bytes(chunk[0][:2], "big") & CUT_MASK == 0 or len(part) >= CUT_MOST:
            yield part
            part = []
    if part:
        yield part


def top_rows(reader: ChunkReader, top: bytes) -> list[tuple[bytes, int]]:
    """The rows of a top map: map id, bytes below it."""
    return list(_rows(TOP_ROW, reader.read(MAP, top)))
