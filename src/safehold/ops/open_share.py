"""Opening shares: looking at what there is, and bringing it into a folder.  ``docs/sharing.md``.

What is placed is placed as a restore does it: no name leads out of the target, no link is followed, and nobody but the
person who opens the share owns what comes of it.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from safehold.core import entries
from safehold.core.entries import DIRECTORY, FILE, SYMLINK, More
from safehold.core.errors import DamageError, StoreError
from safehold.core.events import Progress, Reporter, Warn
from safehold.ops.lending import Told
from safehold.ops.placing import Work
from safehold.repo.packs import key_of, read_tail
from safehold.repo.shares.manifest import Entry, Segment
from safehold.repo.shares.opening import Content, OpenShare, Walk, find
from safehold.sources.files.placing import Folder, Placer
from safehold.sources.files.placing.terms import Counts, Options, Tally
from safehold.storage.store import Store

SMALL = 4 * 1024 * 1024
"""Files up to this many bytes are placed at once, larger ones piece by piece."""


class Result(msgspec.Struct, frozen=True):
    """What opening a share brought, and did not."""

    counts: Counts
    damaged: int
    """Files left out because what came of them was not what was shared."""


class Listed(msgspec.Struct, frozen=True):
    """An entry with its path from the shared folder on."""

    path: bytes
    entry: Entry


def listing(share: OpenShare, path: bytes = b"") -> Iterator[Listed]:
    """Everything in a share, or below a path in it, folders before what is in them.  Raises ``PathMissing``, ``DamageError``."""
    walk, found = share.walk(), find(share, path)
    above = b"/".join(part for part in path.split(b"/") if part)
    if found is not None and found[1].kind != DIRECTORY:
        yield Listed(above, found[1])
        return
    stack = [_listed(walk, found[1].below if found else (0, 0), above)]
    while stack:
        each = next(stack[-1], None)
        if each is None:
            stack.pop()
            continue
        yield each
        if each.entry.below is not None:
            stack.append(_listed(walk, each.entry.below, each.path))


def _listed(walk: Walk, place: tuple[int, int] | None, above: bytes) -> Iterator[Listed]:
    for _, entry in walk.folder(place or (0, 0)):
        yield Listed(above + b"/" + entry.name if above else entry.name, entry)


def bring(share: OpenShare, target: Path, options: Options, report: Reporter, path: bytes = b"") -> Result:
    """Place what a share holds (at ``path`` in it: a folder's contents, or one file) into ``target``.

    Raises ``PathMissing``, ``TargetError``, what the source of the share raises, and ``FormatError`` for a listing that nobody
    who is honest makes.  A file whose bytes are not what was shared is told, counted and left out.
    """
    found = find(share, path)
    with Placer(target, options, report) as placer:
        run = _Bringing(share, placer, report)
        work = Work(run, placer, 0)
        try:
            if found is not None and found[1].kind != DIRECTORY:
                work.add(placer.root, [run.known(*found)])
            else:
                run.fill(work, found[1].below if found is not None and found[1].below else (0, 0))
            work.wait()
        except BaseException:
            work.stop()
            raise
        finally:
            work.close()
        return Result(placer.finish(), run.damaged)


class _Bringing:
    """One opening: walks the listing, and places what it is handed back (``ops.lending.Placing``)."""

    def __init__(self, share: OpenShare, placer: Placer, report: Reporter) -> None:
        self.damaged = 0
        self._share = share
        self._placer = placer
        self._report = report
        self._lock = threading.Lock()
        self._waiting: dict[bytes, tuple[int, Entry]] = {}
        """Files under way, by the number that stands for their content."""
        self._number = 0
        self._files = self._bytes = 0

    def fill(self, work: Work, place: tuple[int, int]) -> None:
        """Have everything in a folder, and below it, placed."""
        walk = self._share.walk()
        stack: list[tuple[Folder, tuple[int, int]]] = [(self._placer.root, place)]
        while stack:
            folder, at = stack.pop()
            below = []
            for part, entry in walk.folder(at):
                if entry.kind == DIRECTORY:
                    below.append(entry)
                else:
                    work.add(folder, [self.known(part, entry)])
            for entry in reversed(below):
                made = self._placer.enter(folder, _core(entry))
                if made is not None and entry.below is not None:
                    stack.append((made, entry.below))
            if folder is not self._placer.root:
                self._placer.leave(folder)

    def known(self, part: int, entry: Entry) -> entries.Entry:
        """An entry as placing takes it."""
        if entry.kind != FILE:
            return _core(entry)
        with self._lock:
            self._number += 1
            token = self._number.to_bytes(8, "big")
            self._waiting[token] = (part, entry)
        return _core(entry, token)

    def place(self, folder: Folder, wanted: list[entries.Entry]) -> None:
        """Place entries that are no folders.  What is damaged is told, and left out."""
        for each in wanted:
            data: bytes | Content | None = None
            if each.kind == FILE:
                with self._lock:
                    part, entry = self._waiting.pop(each.content)
                if folder.fresh or self._placer.needs(folder, each):
                    try:
                        data = self._data(part, entry)
                    except DamageError as error:
                        self._lost(folder.path(each.name), error)
                        continue
            self._placer.place(folder, each, data)
            self._advance(folder.path(each.name), each.size)

    def become_child(self) -> None:
        """Never asked for: nothing is placed by child processes here."""

    def borrow(self, bodies: Mapping[bytes, bytes]) -> None:
        """Never asked for either."""

    def take_left(self) -> list[entries.Entry]:
        """Nothing: see above."""
        return []

    def take(self) -> Told:
        """Nothing: see above."""
        return Told(Tally(Counts(), []), [], 0, 0, 0)

    def merge(self, told: Told) -> None:
        """Nothing is to be merged: see above."""

    def _data(self, part: int, entry: Entry) -> bytes | Content:
        content = self._share.content(part, entry)
        return content.read(0, entry.size) if entry.size <= SMALL and not entry.holes else content

    def _advance(self, path: bytes, size: int) -> None:
        with self._lock:
            self._files += 1
            self._bytes += size
            root = self._share.root
            event = Progress(
                phase="open",
                files=self._files,
                bytes=self._bytes,
                total_files=root.entries,
                total_bytes=root.size,
                path=os.fsdecode(path),
            )
        self._report(event)

    def _lost(self, path: bytes, error: DamageError) -> None:
        with self._lock:
            self.damaged += 1
        self._report(Warn(code=error.code, message=f"Left out: {error}", path=os.fsdecode(path), hint=error.hint))


def _core(entry: Entry, token: bytes = b"") -> entries.Entry:
    """As a restore has it: the person who opens the share owns it."""
    uid, gid = own_ids()
    more = More(target=entry.target) if entry.kind == SYMLINK else More(holes=entry.holes) if entry.holes else None
    time_ns = entry.mtime_ns
    return entries.Entry(entry.name, entry.kind, entry.mode, uid, gid, time_ns, time_ns, entry.size, 0, token, more)


def own_ids() -> tuple[int, int]:
    """User and group of this process; zeros on systems that have no such numbers."""
    if sys.platform == "win32":
        return 0, 0
    return os.getuid(), os.getgid()


class StoreSource:
    """Segments of a share file that names a store: looked for where they lay, then in the clear footers of all packs."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._map: dict[bytes, tuple[str, int, int]] | None = None

    def __call__(self, segment: Segment) -> bytes:
        """A sealed segment.  Raises ``DamageError``, ``StoreError``."""
        try:
            return self._store.get_range(key_of(segment.pack), segment.offset, segment.length)
        except StoreError as error:
            if error.retryable:
                raise
        with self._lock:
            if self._map is None:
                self._map = self._look()
            place = self._map.get(segment.id)
        if place is None or place[2] != segment.length:
            raise DamageError("A part of what was shared is not in that store any more.", "Ask whoever shared it.")
        return self._store.get_range(*place)

    def _look(self) -> dict[bytes, tuple[str, int, int]]:
        found = {}
        for info in self._store.list("packs/"):
            try:
                tail = read_tail(self._store, info.key)
            except DamageError:
                continue
            found.update({each.id: (info.key, each.offset, each.length) for each in tail.footer.segments})
        return found
