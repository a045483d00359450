"""Restoring a base into a data directory: ``place`` puts everything but the control file there, ``finish`` lets it start.

Between the two, a restore to a moment adds what the server needs to recover from the log.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import re
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import wait
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

assert sys.platform != "win32"

import msgspec

from safehold.core.entries import DIRECTORY, FILE, SYMLINK, Entry
from safehold.core.errors import DamageError, DatabaseFailed, TargetError
from safehold.core.events import Progress
from safehold.core.pools import Pool
from safehold.ops.databases.postgresql import target as targets
from safehold.ops.databases.postgresql.ground import Ground, Opened
from safehold.ops.databases.postgresql.target import Target
from safehold.ops.databases.postgresql.writing import Piece, fill, pieces, update
from safehold.ops.listing import Listed, walk
from safehold.ops.restore import refuse_own
from safehold.repo.paged import PageMap
from safehold.repo.repository import Repository
from safehold.repo.snapshots import Stored
from safehold.sources.files.system import system
from safehold.sources.postgresql import control, manifest

_T = TypeVar("_T")

FILES = 2
"""Large files at once: while the last stretches of one are written and it is synced, the next has begun."""
WORKERS = 3
"""Threads that fetch and write: two work while one waits for the disk.  More only wait for Python's lock."""
CACHED = 4
"""A base of more than this part of the machine's memory is written past the page cache.  It would not stay there beside what
the server and others need, and to copy it there takes more CPU than all the rest."""
STEP = 8
"""Pieces (of 1 MiB, mostly) of a large file that are one thread's task."""
TOGETHER = 32
"""Small files that are."""
SMALL = 4 * 1024 * 1024
TICK_SECONDS = 0.2
_IN_TABLESPACE = re.compile(rb"/pg_tblspc/[0-9]+(?:/PG_[0-9]+_[0-9]+(?:/[0-9]+(?:/[^/]+)?|/pgsql_tmp)?)?")
_CONTROL = b"/" + control.PATH
_MANIFEST = b"/" + manifest.NAME


class RestoreOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Where a base goes."""

    target: Path
    tablespaces: list[str] = []
    """OLD=NEW: by number, folder or name."""
    verify: bool = False
    """Read everything again afterwards, and complete the manifest's checksums from what is on the disk."""


class Placed(msgspec.Struct, frozen=True):
    """A base in its place, which does not start yet."""

    target: Target
    files: int
    bytes: int
    """Of all files."""
    written: int
    """Bytes that were not there already."""
    removed: int
    """Things of the target that the base does not have."""


def examine(repository: Repository, stored: Stored, options: RestoreOptions) -> Target:
    """Look at the target, and write nothing.  Raises ``TargetError``, ``WrongDatabase``, ``UsageError``."""
    database = stored.snapshot.source.database
    assert database is not None
    refuse_own(repository, options.target)
    return targets.examine(options.target, database, options.tablespaces)


def place(repository: Repository, stored: Stored, options: RestoreOptions) -> Placed:
    """Put a base's files into the target.  It does not start before ``finish``; until then, it can be done again.

    Raises what ``examine`` raises before anything is written, ``DamageError``, and ``TargetError`` when it takes nothing more.
    """
    target = examine(repository, stored, options)
    database = stored.snapshot.source.database
    assert database is not None
    listed = list(walk(repository.reader, stored.snapshot.tree, b""))
    _require_base(listed)
    try:
        targets.begin(target, database, stored.id)
        placed = _Placing(repository, target, listed).run()
        if options.verify:
            again = msgspec.structs.replace(target, is_new=False)
            _require_written(_Placing(repository, again, listed).run(complete=True), target.folder)
        return placed
    except OSError as error:
        raise _failed(target.folder, error) from error


def finish(placed: Placed) -> None:
    """Let a server start on a base that is in its place.  Raises ``TargetError``."""
    try:
        targets.end(placed.target.folder)
    except OSError as error:
        raise _failed(placed.target.folder, error) from error


def _require_written(again: Placed, folder: Path) -> None:
    if again.written:
        raise DamageError(
            f"{again.written:,} bytes in {folder} were not as they had been written; no server starts on it as it is.",
            "See the system's log for errors of the disk; then run it again.",
        )


def _failed(folder: Path, error: OSError) -> TargetError:
    return TargetError(
        f"The restore into {folder} failed: {error.strerror}. No server starts on it as it is.", "Run it again to complete it."
    )


def _require_base(listed: list[Listed]) -> None:
    paths = {each.path for each in listed}
    for needed in (_CONTROL, b"/backup_label", b"/PG_VERSION"):
        if needed not in paths:
            raise TargetError(f"The snapshot is no whole base: {needed.decode()} is missing.", "Restore another one.")
    for path in paths:  # tablespaces lie outside of the target: nothing but what a server makes there is written
        if path.startswith(b"/pg_tblspc/") and not _IN_TABLESPACE.fullmatch(path):
            raise DamageError(
                f"The base holds {path.decode(errors='replace')}, which no tablespace does.", "Run `safehold check`."
            )


class _Placing:
    """One base on its way into its place."""

    def __init__(self, repository: Repository, target: Target, listed: list[Listed]) -> None:
        self._reader = repository.reader
        self._target = target
        self._listed = listed
        spaces = {space.oid.encode(): space.target for space in target.tablespaces if space.target is not None}
        self._links = spaces
        self._ground = Ground(target.folder, spaces, _owner(target, listed))
        self._lock = threading.Lock()
        self._written = 0
        self._done = 0
        size = sum(each.entry.size for each in listed if each.entry.kind == FILE)
        self._is_direct = size > _memory() // CACHED
        self._progress = _Progress(repository, size)

    def run(self, *, complete: bool = False) -> Placed:
        """Folders first, then files, then what the disk has to be told.  ``complete``: the manifest's checksums, too."""
        system.keep_memory()
        try:
            removed = self._folders()
            with Pool(WORKERS, "piece") as self._pieces, Pool(FILES, "place") as pool:
                run_all(pool, self._tasks())
                if complete:
                    self._complete_manifest(pool)
            self._settle()
        finally:
            self._ground.close()
        files = [each.entry for each in self._listed if each.entry.kind == FILE]
        return Placed(self._target, len(files), sum(entry.size for entry in files), self._written, removed)

    def _settle(self) -> None:
        """Have all that was written through to the disk, and what an interrupted restore had left."""
        if not self._target.is_settled:
            self._ground.sync_all()
            return
        for each in self._listed:
            if each.entry.kind == DIRECTORY:
                self._ground.sync(each.path[1:])
        self._ground.sync(b"")

    def _folders(self) -> int:
        """Make all folders and links, and remove what the base does not have; how much that was."""
        inside: dict[bytes, set[bytes]] = defaultdict(set)
        for each in self._listed:
            above, _, name = each.path[1:].rpartition(b"/")
            inside[above].add(name)
        inside[b""].add(targets.MARK.encode())
        inside[b"global"].add(targets.WAITING.encode())
        inside[b"pg_tblspc"] |= self._links.keys()
        self._ground.make_folder(b"", 0o700)
        removed = 0
        for each in self._listed:
            path = each.path[1:]
            if each.entry.kind == SYMLINK and each.entry.more is not None:
                self._ground.link(path, each.entry.more.target or b"")
            elif each.entry.kind == DIRECTORY:
                self._folder(path, each.entry.mode)
        if not self._target.is_new:
            folders = [each.path[1:] for each in self._listed if each.entry.kind == DIRECTORY]
            removed = sum(self._ground.clear(path, inside[path]) for path in [b"", *folders] if self._may_clear(path))
        return removed

    def _folder(self, path: bytes, mode: int) -> None:
        if self._ground.is_root(path):
            self._ground.link(path, os.fsencode(self._links[path.removeprefix(b"pg_tblspc/")]))
        self._ground.make_folder(path, mode)

    def _may_clear(self, path: bytes) -> bool:
        """A tablespace's folder may hold those of other versions."""
        return path == b"" or not self._ground.is_root(path)

    def _tasks(self) -> list[Callable[[], None]]:
        """What the threads have to do: the largest files first."""
        files = sorted((each for each in self._listed if each.entry.kind == FILE), key=lambda each: -each.entry.size)
        large = [each for each in files if each.entry.size > SMALL]
        small = files[len(large) :]
        tasks: list[Callable[[], None]] = [lambda each=each: self._large(each) for each in large]  # type: ignore[misc]
        for at in range(0, len(small), TOGETHER):
            tasks.append(lambda group=small[at : at + TOGETHER]: self._small(group))  # type: ignore[misc]
        return tasks

    def _small(self, group: list[Listed]) -> None:
        for each in group:
            self._large(each)

    def _large(self, each: Listed) -> None:
        entry = each.entry
        path = each.path[1:]
        if each.path == _CONTROL:
            path = path.replace(b"pg_control", targets.WAITING.encode())
        wanted, pages = pieces(self._reader, entry)
        is_large = entry.size > SMALL
        with self._ground.file(path, entry.mode, direct=is_large and self._is_direct) as opened:
            is_changed = opened.is_touched
            if not opened.is_new and os.fstat(opened.fd).st_size != entry.size:
                os.ftruncate(opened.fd, entry.size)
                is_changed = True
            if opened.direct >= 0:
                system.reserve(opened.fd, entry.size)  # several threads write it; it is to lie in one piece all the same
            is_changed = self._put(opened, wanted, pages) > 0 or is_changed
            if is_changed and (self._target.is_settled or is_large):  # the disk is at work while others are fetched
                os.fsync(opened.fd)

    def _put(self, file: Opened, wanted: list[Piece], pages: PageMap | None) -> int:
        """The pieces of a file; those of a large one by several threads.  The bytes that were written."""

        def step(part: list[Piece]) -> int:
            written = fill(file, self._reader, part, pages) if file.is_new else update(file.fd, self._reader, part, pages)
            with self._lock:
                self._written += written
                self._done += sum(piece.length for piece in part)
                self._progress.tick(self._done)
            return written

        if len(wanted) <= STEP:
            return step(wanted)
        return sum(run_all(self._pieces, [partial(step, wanted[at : at + STEP]) for at in range(0, len(wanted), STEP)]))

    def _complete_manifest(self, pool: Pool) -> None:
        """Add the checksums of files that were put together without having been read."""
        found = next((each for each in self._listed if each.path == _MANIFEST), None)
        if found is None:
            return
        with self._ground.file(manifest.NAME, found.entry.mode) as opened:
            fd = opened.fd
            try:
                stored = manifest.parse(os.pread(fd, found.entry.size, 0))
            except DatabaseFailed:
                return
            missing = [row for row in stored.files if not row.checksum]
            if not missing:
                return
            sums = dict(zip((row.path for row in missing), pool.map(self._summed, missing), strict=True))
            rows = [sums.get(row.path, row) if not row.checksum else row for row in stored.files]
            data = manifest.encode(msgspec.structs.replace(stored, files=rows))
            os.ftruncate(fd, 0)
            os.pwrite(fd, data, 0)
            os.fsync(fd)

    def _summed(self, row: manifest.File) -> manifest.File:
        with self._ground.file(manifest.path_of(row), None) as opened, os.fdopen(os.dup(opened.fd), "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return msgspec.structs.replace(row, algorithm="SHA256", checksum=digest)


def _owner(target: Target, listed: list[Listed]) -> tuple[int, int] | None:
    """Whom the files are given to: the owner of the target that was made for them; else, by root, the stored one."""
    if os.geteuid() != 0:
        return None
    if target.owner is not None:
        return target.owner
    of = next(each for each in listed if each.path == b"/PG_VERSION")
    with suppress(KeyError):
        record = pwd.getpwnam(of.owner)
        return record.pw_uid, record.pw_gid
    return _ids(of.entry)


def _ids(entry: Entry) -> tuple[int, int]:
    return entry.uid, entry.gid


def run_all(pool: Pool, tasks: Iterable[Callable[[], _T]]) -> list[_T]:
    """What tasks return.  Raises what the first failed with, when none of them runs any more."""
    futures = [pool.submit(task) for task in tasks]
    try:
        return [future.result() for future in futures]
    except BaseException:
        wait([future for future in futures if not future.cancel()])
        raise


def _memory() -> int:
    """Bytes of memory of this machine."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


class _Progress:
    """Progress events, a few a second."""

    def __init__(self, repository: Repository, total: int) -> None:
        self._report = repository.report
        self._monotonic = repository.clock.monotonic
        self._total = total
        self._next = 0.0

    def tick(self, done: int) -> None:
        now = self._monotonic()
        if now >= self._next:
            self._next = now + TICK_SECONDS
            self._report(Progress(phase="restore", bytes=done, total_bytes=self._total))
