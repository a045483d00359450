"""The folders above what is backed up, so that a snapshot holds its sources under their full paths."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from types import ModuleType

import msgspec

from safehold.core.entries import Entry, Totals
from safehold.core.errors import SourceMissing, UsageError
from safehold.ops.backup.frames import node_of
from safehold.repo import trees
from safehold.repo.writer import ChunkWriter


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


def plan(paths: list[bytes], system: ModuleType = os.path) -> Root:
    """The tree of folders that leads to these absolute paths; ``system``: ``posixpath`` or ``ntpath``."""
    top = Root(b"/")
    for path in paths:
        drive = system.splitdrive(path)[0]
        here = top
        for name in components(path, system):
            is_drive = bool(drive) and here is top
            here = here.below.setdefault(name, Root(drive + b"\\" if is_drive else system.join(here.path, name)))
        here.is_source = True
    return top


def components(path: bytes, system: ModuleType = os.path) -> list[bytes]:
    """The names on the way to an absolute path; on Windows the drive comes first, without its colon.

    ``C:\\Users`` is C, Users; a share ``\\\\server\\share\\x`` is __server_share, x.
    """
    drive, rest = system.splitdrive(path)
    if system.sep == "\\":
        rest = rest.replace(b"\\", b"/")
    names = [drive.rstrip(b":").replace(b"\\", b"_")] if drive else []
    return names + [name for name in rest.split(b"/") if name]


def store(
    writer: ChunkWriter,
    root: Root,
    walk: Callable[[Root, bytes], Entry | None],
    entry: Callable[[bytes, bytes, bytes, Totals], Entry],
    above: list[bytes],
) -> tuple[bytes, Totals]:
    """Store everything below ``root``; its tree id and totals.

    ``walk`` stores a source, given its root and name; None if it could not.  ``entry`` makes the entry of a folder above,
    given its path, name, tree and totals.  The ids of the trees of folders above are added to ``above``.
    """
    whole = walk(root, b"") if root.is_source else None  # only / itself: other sources have a folder above them
    if whole is not None and whole.more is not None and whole.more.totals is not None:
        return whole.content, whole.more.totals
    entries = list(_entries(writer, root, walk, entry, above))
    above.append(trees.write_node(writer, node_of(entries)))
    return above[-1], trees.total(entries)


def _entries(
    writer: ChunkWriter,
    root: Root,
    walk: Callable[[Root, bytes], Entry | None],
    entry: Callable[[bytes, bytes, bytes, Totals], Entry],
    above: list[bytes],
) -> Iterator[Entry]:
    for name, child in sorted(root.below.items()):
        if child.is_source:
            found = walk(child, name)
            if found is not None:
                yield found
        else:
            tree, totals = store(writer, child, walk, entry, above)
            yield entry(child.path, name, tree, totals)


def _inside(path: bytes, other: bytes) -> bool:
    separator = os.fsencode(os.sep)
    return path != other and path.startswith(other.rstrip(separator) + separator)
