"""The folders above what is backed up, so that a snapshot holds its sources under their full paths."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import msgspec

from safehold.core.entries import DIRECTORY, Entry, Node, Totals
from safehold.core.errors import SourceMissing, UsageError
from safehold.repo import trees
from safehold.repo.writer import ChunkWriter
from safehold.sources.files.folders import Folder


class Root(msgspec.Struct):
    """A folder on the way to a source."""

    path: bytes
    below: dict[bytes, Root] = {}
    is_source: bool = False


def resolve(paths: list[str]) -> list[bytes]:
    """Absolute paths of sources, without those that lie in another.  Raises ``SourceMissing``, ``UsageError``."""
    found: list[bytes] = []
    for text in paths:
        if not text:
            raise UsageError("A source is an empty name.", "Name a folder or file.")
        path = os.fsencode(os.path.abspath(text))
        if not os.path.lexists(path):
            raise SourceMissing(f"There is no {text} to back up.", "Check the name; nothing was backed up.")
        if os.path.islink(path) and os.path.isdir(path):
            path = os.path.realpath(path)  # somebody who names a link to a folder means the folder
        found.append(path)
    return [p for p in sorted(set(found)) if not any(_inside(p, other) for other in found)]


def plan(paths: list[bytes]) -> Root:
    """The tree of folders that leads to these absolute paths."""
    top = Root(b"/")
    for path in paths:
        here = top
        for name in components(path):
            here = here.below.setdefault(name, Root(os.path.join(here.path, name)))
        here.is_source = True
    return top


def components(path: bytes) -> list[bytes]:
    """The names on the way to an absolute path; on Windows the drive comes first, without its colon."""
    drive, rest = os.path.splitdrive(path)
    names = [drive.rstrip(b":").replace(b"\\", b"_")] if drive else []
    return names + [name for name in rest.replace(b"\\", b"/").split(b"/") if name] if os.sep == "\\" else _posix(path)


def store(
    writer: ChunkWriter,
    root: Root,
    walk: Callable[[Root, bytes], Entry | None],
    entry: Callable[[Folder, bytes, bytes, Totals], Entry],
    above: list[bytes],
) -> tuple[bytes, Totals]:
    """Store everything below ``root``; its tree id.  ``walk`` stores a source, ``entry`` makes the entry of a folder above.

    The ids of the trees of folders above are added to ``above``.
    """
    entries = list(_entries(writer, root, walk, entry, above))
    above.append(trees.write_node(writer, Node(entries)))
    return above[-1], trees.total(entries)


def _entries(
    writer: ChunkWriter,
    root: Root,
    walk: Callable[[Root, bytes], Entry | None],
    entry: Callable[[Folder, bytes, bytes, Totals], Entry],
    above: list[bytes],
) -> Iterator[Entry]:
    for name, child in sorted(root.below.items()):
        if child.is_source:
            found = walk(child, name)
            if found is not None:
                yield found
        else:
            tree, totals = store(writer, child, walk, entry, above)
            folder = Folder.at(child.path)
            try:
                yield entry(folder, name, tree, totals)
            finally:
                folder.close()


def _posix(path: bytes) -> list[bytes]:
    return [name for name in path.split(b"/") if name]


def _inside(path: bytes, other: bytes) -> bool:
    return path != other and path.startswith(other.rstrip(b"/") + b"/")


def is_folder(entry: Entry) -> bool:
    """Whether an entry is a folder's."""
    return entry.kind == DIRECTORY
