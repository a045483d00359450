"""What is shared: the tree below a path, and of each file which bytes of which chunks.  ``docs/sharing.md``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

from safehold.core import entries
from safehold.core.entries import DIRECTORY, FILE, SYMLINK, data_ranges
from safehold.core.errors import DamageError
from safehold.core.events import Reporter, Warn
from safehold.repo import contents, trees
from safehold.repo.paged import PageMap
from safehold.repo.reader import ChunkReader
from safehold.repo.shares.coverage import Ranges, merged


class Extent(NamedTuple):
    """Bytes of a chunk; or zeros, if ``chunk`` is empty."""

    chunk: bytes
    start: int
    length: int


class DraftEntry(msgspec.Struct, gc=False):
    """A name that is shared, and its content in order."""

    entry: entries.Entry
    extents: list[Extent]
    below: DraftNode | None = None


class DraftNode(msgspec.Struct):
    """A folder that is shared.  ``place``: where its node comes to lie in the manifest."""

    entries: list[DraftEntry]
    place: tuple[int, int] = (0, 0)


class Draft(msgspec.Struct):
    """Everything that is shared."""

    name: str
    root: DraftNode
    count: int
    """Of entries."""
    size: int
    wanted: dict[bytes, Ranges]
    """The bytes of each chunk that are shared."""
    order: list[bytes]
    """The chunks, as they are met first."""


def draft(reader: ChunkReader, tree: bytes, path: bytes, report: Reporter) -> Draft:
    """What lies at ``path`` below a tree: a folder's contents, or one file.  Raises ``PathMissing``, ``DamageError``.

    Devices, pipes and sockets are told of and left out: a friend has no use for them.
    """
    found = trees.find(reader, tree, path)
    name = b"" if found is None else found.name
    run = _Drafting(reader, report)
    if found is not None and found.kind != DIRECTORY:
        root = DraftNode(run.listed([found], b""))
    else:
        root = run.tree(tree if found is None else found.content)
    wanted = {chunk: merged(ranges) for chunk, ranges in run.wanted.items()}
    return Draft(name.decode("utf-8", "replace"), root, run.count, run.size, wanted, list(run.wanted))


class _Drafting:
    def __init__(self, reader: ChunkReader, report: Reporter) -> None:
        self._reader = reader
        self._report = report
        self.count = 0
        self.size = 0
        self.wanted: dict[bytes, list[tuple[int, int]]] = {}

    def tree(self, tree: bytes) -> DraftNode:
        """A folder and everything below it."""
        root = DraftNode([])
        stack = [(root, tree, b"")]
        while stack:
            node, below, path = stack.pop()
            node.entries = self.listed(trees.read_node(self._reader, below).entries, path)
            for each in reversed(node.entries):
                if each.entry.kind == DIRECTORY:
                    each.below = DraftNode([])
                    stack.append((each.below, each.entry.content, path + b"/" + each.entry.name))
        return root

    def listed(self, found: Iterable[entries.Entry], path: bytes) -> list[DraftEntry]:
        made = []
        for entry in found:
            if entry.kind in (FILE, DIRECTORY, SYMLINK):
                made.append(DraftEntry(entry, self._content(entry) if entry.kind == FILE else []))
                self.count += 1
                self.size += entry.size
            else:
                shown = (path + b"/" + entry.name).decode("utf-8", "backslashreplace")
                self._report(Warn(code="not-shared", message=f"A {entries.KIND_NAMES[entry.kind]} is not shared.", path=shown))
        return made

    def _content(self, entry: entries.Entry) -> list[Extent]:
        found = list(_extents(self._reader, entry))
        if sum(extent.length for extent in found) != entry.size:
            raise DamageError(f"The stored content of {entry.name!r} does not have the {entry.size} bytes it should.")
        for chunk, start, length in found:
            if chunk:
                self.wanted.setdefault(chunk, []).append((start, start + length))
        return found


def _extents(reader: ChunkReader, entry: entries.Entry) -> Iterator[Extent]:
    paged = entry.more is not None and entry.more.paged
    at = 0
    for offset, extent in _paged(reader, entry) if paged else _chunked(reader, entry):
        if offset > at:
            yield Extent(b"", 0, offset - at)
        yield extent
        at = offset + extent.length
    if entry.size > at:
        yield Extent(b"", 0, entry.size - at)


def _paged(reader: ChunkReader, entry: entries.Entry) -> Iterator[tuple[int, Extent]]:
    for offset, block in PageMap(reader, entry).blocks():
        for extent in block.extents:
            yield offset + extent.offset, Extent(extent.chunk, extent.start, extent.length)


def _chunked(reader: ChunkReader, entry: entries.Entry) -> Iterator[tuple[int, Extent]]:
    """Chunks fill what is no hole, one after the other; one may go on behind a hole."""
    holes = (entry.more.holes if entry.more else None) or []
    pieces = contents.pieces(reader, entry)
    name, start, left = b"", 0, 0
    for low, high in data_ranges(entry.size, holes):
        at = low
        while at < high:
            if not left:
                piece = next(pieces, None)
                if piece is None:
                    raise DamageError(f"The stored content of {entry.name!r} is shorter than it should be.")
                name, start, left = piece.name, 0, piece.length
            length = min(left, high - at)
            yield at, Extent(name, start, length)
            at, start, left = at + length, start + length, left - length
