"""A backup of files and folders, from its session mark to its snapshot."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from blake3 import blake3

from safehold import __version__
from safehold.codec.chunker import Chunker
from safehold.core.entries import Entry, Totals
from safehold.core.errors import SessionExpired
from safehold.core.events import Progress, Reporter
from safehold.ops.backup import roots
from safehold.ops.backup.capture import Capture
from safehold.ops.backup.content import ContentWriter
from safehold.ops.backup.memory import Memory
from safehold.ops.backup.walk import Walker, WalkOptions
from safehold.repo import adopt, condemned, contents, seen, snapshots
from safehold.repo.repository import Repository
from safehold.repo.sessions import Session
from safehold.repo.snapshots import Snapshot, Source, Statistics
from safehold.repo.writer import ChunkWriter, WriterOptions
from safehold.sources.files.exclude import Excluder
from safehold.sources.files.folders import Folder

RACY_NS = 2_000_000_000
"""What changed so shortly before the backup began may change again within the same time stamp (FAT: 2 s)."""
TICK_SECONDS = 0.2


class BackupOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What to back up, and how."""

    paths: list[str]
    excludes: list[str] = []
    exclude_caches: bool = False
    one_file_system: bool = False
    tags: list[str] = []
    parent: str = ""
    """The id of the snapshot to recognise unchanged files by; empty: the last one of the same paths."""
    force: bool = False
    writer: WriterOptions = WriterOptions()
    host: str = ""


class Result(msgspec.Struct, frozen=True):
    """A finished backup."""

    id: str
    """Of the snapshot; empty after a dry run."""
    snapshot: Snapshot


def back_up(repository: Repository, options: BackupOptions) -> Result:
    """Back up files and folders.  Raises ``SourceMissing`` before anything is written, ``StoreFull`` and other store errors."""
    paths = roots.resolve(options.paths)
    try:
        return _Backup(repository, options, paths).run()
    except SessionExpired:
        return _Backup(repository, options, paths).run()


class _Backup:
    def __init__(self, repository: Repository, options: BackupOptions, paths: list[bytes]) -> None:
        self._repository = repository
        self._options = options
        self._paths = paths
        self._host = options.host or socket.gethostname()
        self._excluder = Excluder(options.excludes)
        self._above: list[bytes] = []
        self._started_ns = repository.clock.now_ns()
        self._started = repository.clock.monotonic()

    def run(self) -> Result:
        repository = self._repository
        with repository.session("backup") as session, self._memory() as memory:
            hurt = condemned.distrusted(repository.condemned())
            known = set(snapshots.names(repository.store)) - hurt
            trusted = bool(memory.snapshot) and memory.snapshot in known
            repository.index.before_use(lambda: adopt.adopt(repository))
            writer = repository.writer(self._options.writer)
            try:
                snapshot = self._walk(writer, memory, trusted)
                writer.finish()
            except BaseException:
                writer.abort()
                raise
            snapshot = self._with_added(snapshot, writer)
            return self._commit(session, writer, memory, snapshot)

    def _walk(self, writer: ChunkWriter, memory: Memory, trusted: bool) -> Snapshot:
        repository, options = self._repository, self._options
        ticker = _Ticker(repository.report, repository.clock.monotonic)
        content = ContentWriter(writer, Chunker(repository.seals.chunker_seed, repository.config.chunks), ticker.advance)
        capture = Capture(writer, content, repository.report, trusted=trusted)
        ticker.watch(capture)
        walk_options = WalkOptions(
            excluder=self._excluder,
            exclude_caches=options.exclude_caches,
            one_file_system=options.one_file_system,
            skip=_own_folders(repository),
            trusted=trusted,
            trusted_before=self._started_ns - RACY_NS,
            force=options.force,
        )
        walker = Walker(writer, capture, memory, walk_options, repository.report, ticker.tick)
        if trusted:
            writer.assume(contents.split_ids(memory.above))
        plan = roots.plan(self._paths)
        tree, totals = roots.store(writer, plan, _source(walker, capture), _above(capture), self._above)
        counts = capture.counts
        statistics = Statistics(
            new=counts.new, changed=counts.changed, unchanged=counts.unchanged, read=ticker.read, errors=counts.errors
        )
        return Snapshot(
            time_ns=self._started_ns,
            host=self._host,
            user=_user(),
            source=Source(kind="files", paths=self._paths, excludes=options.excludes),
            tree=tree,
            totals=totals,
            tags=sorted(set(options.tags)),
            incomplete=counts.errors > 0,
            statistics=statistics,
            parent=memory.snapshot if trusted else "",
            program=f"safehold {__version__}",
        )

    def _with_added(self, snapshot: Snapshot, writer: ChunkWriter) -> Snapshot:
        statistics = msgspec.structs.replace(
            snapshot.statistics,
            added_raw=writer.added.raw,
            added_stored=writer.added.stored,
            seconds=round(self._repository.clock.monotonic() - self._started, 3),
        )
        return msgspec.structs.replace(snapshot, statistics=statistics)

    def _commit(self, session: Session, writer: ChunkWriter, memory: Memory, snapshot: Snapshot) -> Result:
        """The snapshot is stored only while the session is known to be alive, and counts only if it still is afterwards."""
        repository = self._repository
        session.require_alive()
        slot = repository.keyring.slot_id.hex()
        snapshot = msgspec.structs.replace(snapshot, previous=seen.load(repository.cache).last.get(slot, ""))
        name = snapshots.write(repository.seals, repository.store, writer.session, snapshot)
        session.require_alive()
        memory.commit(name, b"".join(self._above))
        seen.remember(repository.cache, [name], last=(slot, name))
        return Result(name, snapshot)

    @contextmanager
    def _memory(self) -> Iterator[Memory]:
        """The local memory of these paths, under these rules."""
        rules = (self._host, self._paths, self._options.excludes, self._options.exclude_caches, self._options.one_file_system)
        name = blake3(msgspec.msgpack.encode(rules)).hexdigest(16)
        repository = self._repository
        memory = Memory(repository.cache / f"files-{name}.db", repository.seals.cache_key, repository.seals.random)
        try:
            yield memory
        finally:
            memory.close()


class _Ticker:
    """Turns counts into progress events, a few a second."""

    def __init__(self, report: Reporter, monotonic: Callable[[], float]) -> None:
        self.read = 0
        self._report = report
        self._monotonic = monotonic
        self._next = 0.0
        self._capture: Capture | None = None
        self._path = ""

    def watch(self, capture: Capture) -> None:
        self._capture = capture

    def advance(self, count: int) -> None:
        """Bytes were read."""
        self.read += count

    def tick(self, path: bytes) -> None:
        now = self._monotonic()
        if now >= self._next and self._capture is not None:
            self._next = now + TICK_SECONDS
            counts = self._capture.counts
            self._report(Progress(phase="backup", files=counts.files, bytes=counts.bytes, path=os.fsdecode(path)))


def _source(walker: Walker, capture: Capture) -> Callable[[roots.Root, bytes], Entry | None]:
    def store(root: roots.Root, name: bytes) -> Entry | None:
        if os.path.isdir(root.path) and not os.path.islink(root.path):
            return walker.walk(root.path, name)
        folder = Folder.at(os.path.dirname(root.path))
        try:
            return capture.entry(folder, name, folder.look(name), None, 0)
        finally:
            folder.close()

    return store


def _above(capture: Capture) -> Callable[[Folder, bytes, bytes, Totals], Entry]:
    def entry(folder: Folder, name: bytes, tree: bytes, totals: Totals) -> Entry:
        return capture.folder(folder, name, folder.stat(), tree, totals)

    return entry


def _own_folders(repository: Repository) -> frozenset[tuple[int, int]]:
    """The repository, if it is a folder here, and the local cache: a backup of them would chase its own tail."""
    found = set()
    for path in (repository.store.location, str(repository.cache.parent)):
        try:
            st = Path(path).stat()
        except (OSError, ValueError):
            continue
        found.add((st.st_dev, st.st_ino))
    return frozenset(found)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""
