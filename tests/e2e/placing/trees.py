"""A folder as a tree of entries with their bytes in hand, and its way back through a Placer."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path
from typing import Any

from safehold.core.entries import DIRECTORY, FILE, SYMLINK, Entry, More, attributes
from safehold.core.events import Event, Warn
from safehold.sources.files import metadata
from safehold.sources.files.folders import kind_of
from safehold.sources.files.placing import Placer
from safehold.sources.files.placing.terms import Counts, Options, Placed

Tree = list[tuple[Entry, Any]]


def _more(path: bytes, found: os.stat_result, kind: int) -> More | None:
    fields: dict[str, Any] = {"attributes": attributes(metadata.read_xattrs(path, follow=False))}
    if kind == SYMLINK:
        fields["target"] = os.readlink(path)
    if stat.S_ISCHR(found.st_mode) or stat.S_ISBLK(found.st_mode):
        fields["device"] = (os.major(found.st_rdev), os.minor(found.st_rdev))
    if kind != DIRECTORY and found.st_nlink > 1:
        fields["link"] = (found.st_dev, found.st_ino)
    if kind in (FILE, DIRECTORY):
        fd = os.open(path, os.O_RDONLY)
        try:
            fields["flags"] = metadata.read_flags(fd, found.st_dev)
            if kind == FILE and found.st_blocks * 512 < found.st_size:
                fields["holes"] = metadata.holes(fd, found.st_size)
        finally:
            os.close(fd)
    return More(**fields) if any(fields.values()) else None


def entry_of(path: bytes) -> Entry:
    found = os.lstat(path)
    kind = kind_of(found.st_mode)
    size = found.st_size if kind == FILE else 0
    mode = stat.S_IMODE(found.st_mode)
    times = (found.st_mtime_ns, found.st_ctime_ns)
    more = _more(path, found, kind)
    return Entry(os.path.basename(path), kind, mode, found.st_uid, found.st_gid, *times, size, found.st_ino, b"", more)


def capture(top: Path | bytes) -> Tree:
    top = os.fsencode(top)
    tree: Tree = []
    with os.scandir(top) as found:
        names = sorted(entry.name for entry in found)
    for name in names:
        path = top + b"/" + name
        entry = entry_of(path)
        content = None
        if entry.kind == DIRECTORY:
            content = capture(path)
        elif entry.kind == FILE:
            content = Path(os.fsdecode(path)).read_bytes()
        tree.append((entry, content))
    return tree


class Restored:
    """What one restore counted and told."""

    def __init__(self) -> None:
        self.counts = Counts()
        self.events: list[Event] = []

    @property
    def warned(self) -> list[tuple[str, str]]:
        return [(event.code, event.path) for event in self.events if isinstance(event, Warn)]

    @property
    def told(self) -> list[tuple[str, str]]:
        return [(event.action, event.path) for event in self.events if isinstance(event, Placed)]


def restore(tree: Tree, target: Path, **options: Any) -> Restored:
    result = Restored()
    with Placer(target, Options(**options), result.events.append) as placer:
        fill(placer, placer.root, tree)
        result.counts = placer.finish()
    return result


def fill(placer: Placer, folder: Any, tree: Tree) -> None:
    """Place everything of a tree."""
    placer.prune(folder, {entry.name for entry, _ in tree})
    for entry, content in tree:
        if entry.kind == DIRECTORY:
            inside = placer.enter(folder, entry)
            if inside is not None:
                fill(placer, inside, content)
                placer.leave(inside)
        else:
            placer.place(folder, entry, content)


def compared(source: Path, target: Path) -> str:
    """What an independent program finds different: bytes, owners, modes, times, links, devices, attributes, ACLs."""
    command = ["rsync", "-aHAXn", "--checksum", "--itemize-changes", "--delete", f"{source}/", f"{target}/"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
