"""What a snapshot holds, entry by entry."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from safehold.core.entries import DIRECTORY, Entry, Node
from safehold.repo import trees
from safehold.repo.reader import ChunkReader


class Listed(msgspec.Struct, frozen=True):
    """An entry with its full path (from ``/`` on) and the names of its owner, where they are known."""

    path: bytes
    entry: Entry
    owner: str
    group: str


def listing(reader: ChunkReader, tree: bytes, path: bytes, *, recursive: bool = False) -> Iterator[Listed]:
    """What lies in the folder at ``path`` (all that lies below it, if ``recursive``), sorted; or the one file there.

    Raises ``PathMissing``, ``DamageError``.
    """
    entry = trees.find(reader, tree, path)
    path = b"/" + path.strip(b"/")
    if entry is None:
        return walk(reader, tree, b"", recursive=recursive)
    if entry.kind == DIRECTORY:
        return walk(reader, entry.content, path, recursive=recursive)
    return _one(reader, tree, path)


def walk(reader: ChunkReader, tree: bytes, above: bytes, *, recursive: bool = True) -> Iterator[Listed]:
    """The entries of a tree, folders before what is in them; ``above`` is its path without a slash at the end."""
    stack = [_entries(reader, tree, above)]
    while stack:
        listed = next(stack[-1], None)
        if listed is None:
            stack.pop()
            continue
        yield listed
        if recursive and listed.entry.kind == DIRECTORY:
            stack.append(_entries(reader, listed.entry.content, listed.path))


def _entries(reader: ChunkReader, tree: bytes, above: bytes) -> Iterator[Listed]:
    node = trees.read_node(reader, tree)
    return (_listed(node, above, entry) for entry in node.entries)


def _one(reader: ChunkReader, tree: bytes, path: bytes) -> Iterator[Listed]:
    above, _, name = path.rpartition(b"/")
    folder = trees.find(reader, tree, above)
    node = trees.read_node(reader, tree if folder is None else folder.content)
    return (_listed(node, above, entry) for entry in node.entries if entry.name == name)


def _listed(node: Node, above: bytes, entry: Entry) -> Listed:
    return Listed(above + b"/" + entry.name, entry, node.owners.get(entry.uid, ""), node.groups.get(entry.gid, ""))
