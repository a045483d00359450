"""Trees: directory nodes as chunks.  ``docs/format/trees.md``.

A node is the msgpack encoding of ``core.entries.Node``.  A directory of very many entries is split where the CRC-32 of a name
says so, which keeps the parts the same when entries come and go.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import msgspec

from safehold.core.entries import DIRECTORY, FILE, Entry, Node, Totals
from safehold.core.errors import FormatError, PathMissing
from safehold.repo.reader import ChunkReader
from safehold.repo.seals import TREE
from safehold.repo.writer import ChunkWriter

SPLIT_FROM = 8192
"""Nodes of more entries are split ..."""
SPLIT_MASK = 0x7FF
"""... where these bits of the CRC-32 of a name are zero, so into parts of 2048 entries on average ..."""
SPLIT_MOST = 16384
"""... and of no more than these."""

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Node)
_FORBIDDEN = (b"", b".", b"..")


def write_node(writer: ChunkWriter, node: Node) -> bytes:
    """Store a node (entries sorted by name); its tree id."""
    if len(node.entries) > SPLIT_FROM:
        parts = [writer.add(TREE, _encoder.encode(Node(part))) for part in _split(node.entries)]
        node = Node([], node.owners, node.groups, parts)
    return writer.add(TREE, _encoder.encode(node))


def encode_node(node: Node) -> bytes:
    """The encoding of a node, not split: what a local cache keeps."""
    return _encoder.encode(node)


def decode_node(data: bytes) -> Node:
    """A node from its bytes.  Raises ``FormatError``, also for names that no directory can hold."""
    try:
        node = _decoder.decode(data)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"A directory node cannot be read: {error}.") from error
    _check_names(node.entries)
    return node


def read_node(reader: ChunkReader, tree: bytes) -> Node:
    """A whole node, its parts put together.  Raises ``DamageError``."""
    node = decode_node(reader.read(TREE, tree))
    return joined(node, [decode_node(reader.read(TREE, part)) for part in node.parts])


def joined(node: Node, parts: list[Node]) -> Node:
    """A node with the entries of its parts.  Raises ``FormatError``."""
    if not node.parts:
        return node
    if any(part.parts for part in parts):
        raise FormatError("A part of a directory node is itself split, which is not allowed.")
    entries = [*node.entries, *(entry for part in parts for entry in part.entries)]
    _check_names(entries)  # over all parts: no name may come twice
    return Node(entries, node.owners, node.groups)


def part_ids(reader: ChunkReader, tree: bytes) -> list[bytes]:
    """The ids of every chunk that makes up a node: itself, and its parts."""
    return [tree, *decode_node(reader.read(TREE, tree)).parts]


def find(reader: ChunkReader, tree: bytes, path: bytes) -> Entry | None:
    """The entry of a path below a tree; None for the tree itself.  Raises ``PathMissing``."""
    entry: Entry | None = None
    for name in [part for part in path.split(b"/") if part not in (b"", b".")]:
        inside = entry is None or entry.kind == DIRECTORY
        entry = next((e for e in read_node(reader, tree).entries if e.name == name), None) if inside else None
        if entry is None:
            raise PathMissing(f"There is no {path.decode(errors='replace')} in that snapshot.", "`safehold ls` shows what is.")
        tree = entry.content
    return entry


def total(entries: list[Entry]) -> Totals:
    """The totals of a folder with these entries."""
    files = directories = others = size = 0
    for entry in entries:
        if entry.kind == FILE:
            files += 1
            size += entry.size
        elif entry.kind == DIRECTORY:
            below = entry.more.totals if entry.more and entry.more.totals else Totals()
            files += below.files
            directories += below.directories + 1
            others += below.others
            size += below.bytes
        else:
            others += 1
    return Totals(files, directories, others, size)


def _check_names(entries: list[Entry]) -> None:
    before = b""
    for entry in entries:
        name = entry.name
        if name <= before or name in _FORBIDDEN or b"/" in name or b"\0" in name:
            raise FormatError(f"A directory node holds the name {name!r}, which is not allowed there.")
        before = name


def _split(entries: list[Entry]) -> Iterator[list[Entry]]:
    part: list[Entry] = []
    for entry in entries:
        part.append(entry)
        if zlib.crc32(entry.name) & SPLIT_MASK == 0 or len(part) >= SPLIT_MOST:
            yield part
            part = []
    if part:
        yield part
