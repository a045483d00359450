"""A backup of files and folders, from its session mark to its snapshot."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
from blake3 import blake3

from safehold import __version__
from safehold.codec.chunker import Chunker
from safehold.core.entries import Entry, Totals
from safehold.core.errors import SourceMissing, UsageError
from safehold.core.events import Progress, Reporter
from safehold.ops.backup import previous, readers, roots
from safehold.ops.backup.capture import Capture, Counts, Paging
from safehold.ops.backup.content import ContentWriter
from safehold.ops.backup.memory import Memory
from safehold.ops.backup.options import BackupOptions
from safehold.ops.backup.paged import PAGE, PagedWriter
from safehold.ops.backup.record import Result, record, user_name
from safehold.ops.backup.walk import Walker
from safehold.ops.backup.walk_options import WalkOptions
from safehold.repo import contents
from safehold.repo.repository import Repository
from safehold.repo.snapshots import Snapshot, Source, Statistics
from safehold.repo.writer import ChunkWriter
from safehold.sources.files.exclude import Excluder
from safehold.sources.files.folders import Folder

RACY_NS = 2_000_000_000
"""What changed so shortly before the backup began may change again within the same time stamp (FAT: 2 s)."""
TICK_SECONDS = 0.2


def back_up(repository: Repository, options: BackupOptions) -> Result:
    """Back up files and folders.  Raises ``SourceMissing`` before anything is written, ``StoreFull`` and other store errors."""
    paths = roots.resolve(options.paths)
    _refuse_repository(repository, paths)
    return _Backup(repository, options, paths).run()


class _Backup:
    def __init__(self, repository: Repository, options: BackupOptions, paths: list[bytes]) -> None:
        self._repository = repository
        self._options = options
        self._paths = paths
        self._host = options.host or socket.gethostname()
        self._excluder = Excluder(options.excludes)
        self._above: list[bytes] = []

    def run(self) -> Result:
        options = self._options
        with self._memory() as memory:
            result = record(self._repository, options.writer, lambda w: self._walk(w, memory), remember=not options.dry_run)
            if options.dry_run:
                return msgspec.structs.replace(result, id="")
            memory.commit(result.id, result.snapshot.totals, b"".join(self._above))
            return result

    def _walk(self, writer: ChunkWriter, memory: Memory) -> Snapshot:
        repository, options = self._repository, self._options
        started_ns = repository.clock.now_ns()
        memory.reset()
        trusted = self._repository.proves(memory.snapshot)
        older = None if memory.snapshot else previous.parent(repository, options.parent, self._host, self._paths)
        ticker = _Ticker(repository.report, repository.clock.monotonic, older.totals if older else memory.totals)
        content = ContentWriter(writer, self._chunker(), ticker.advance)
        entries_trusted = self._repository.proves(older.id) if older else trusted
        reader = repository.reader if repository.seals.can_read else None
        pages = PagedWriter(writer, memory, ticker.advance, trusted=entries_trusted, reader=reader)
        paging = Paging(pages, options.page_size or PAGE, options.paged)
        capture = Capture(writer, content, paging, repository.report, trusted=entries_trusted)
        ticker.watch(capture)
        walk_options = WalkOptions(
            excluder=self._excluder,
            exclude_caches=options.exclude_caches,
            devices=_devices(options.paths) if options.one_file_system else frozenset(),
            skip=_own_folders(repository),
            trusted=trusted,
            trusted_before=started_ns - RACY_NS,
            previous_before=older.time_ns - RACY_NS if older else 0,
            force=options.force,
        )
        with self._readers(writer, capture.counts, ticker.advance) as reading:
            walker = Walker(writer, capture, memory, walk_options, repository.report, ticker.tick, older, reading)
            tree, totals = self._store(writer, walker, older, memory.above if trusted else b"", capture)
        counts = capture.counts
        statistics = Statistics(
            new=counts.new, changed=counts.changed, unchanged=counts.unchanged, read=ticker.read, errors=counts.errors
        )
        return Snapshot(
            time_ns=started_ns,
            host=self._host,
            user=user_name(),
            source=Source(kind="files", paths=self._paths, excludes=options.excludes),
            tree=tree,
            totals=totals,
            tags=sorted(set(options.tags)),
            incomplete=counts.errors > 0,
            statistics=statistics,
            parent=memory.snapshot if trusted else older.id if older else "",
            program=f"safehold {__version__}",
        )

    def _store(
        self, writer: ChunkWriter, walker: Walker, older: previous.Parent | None, above: bytes, capture: Capture
    ) -> tuple[bytes, Totals]:
        """Store all sources; the tree of the snapshot.  ``above``: trees above them that are known to be stored."""
        sources = _Sources(walker, older)
        self._above = []
        writer.assume(contents.split_ids(above))
        stored = roots.store(writer, roots.plan(self._paths), sources.store, _above(capture), self._above)
        sources.require_one()
        return stored

    @contextmanager
    def _readers(
        self, writer: ChunkWriter, counts: Counts, advance: Callable[[int], None]
    ) -> Iterator[Callable[[], readers.Readers | None]]:
        """Makes readers when they are wanted for the first time; at the end there are none any more."""
        made: list[readers.Readers | None] = []
        take = readers.taker(counts, advance, self._repository.report)

        def make() -> readers.Readers | None:
            if not made:
                made.append(readers.make(writer, self._chunker, self._paths, take))
            return made[0]

        finished = False
        try:
            yield make
            for each in filter(None, made):
                each.finish()
            finished = True
        finally:
            for each in filter(None, made):
                each.close(stop=not finished)

    def _chunker(self) -> Chunker:
        return Chunker(self._repository.seals.chunker_seed, self._repository.config.chunks)

    @contextmanager
    def _memory(self) -> Iterator[Memory]:
        """The local memory of these paths, whatever is excluded: that shows in the fingerprints."""
        name = blake3(msgspec.msgpack.encode((self._host, self._paths))).hexdigest(16)
        repository = self._repository
        memory = Memory(repository.cache / f"files-{name}.db", repository.seals.cache_key, repository.seals.random)
        try:
            yield memory
        finally:
            memory.close()


class _Ticker:
    """Turns counts into progress events, a few a second."""

    def __init__(self, report: Reporter, monotonic: Callable[[], float], expected: Totals) -> None:
        """``expected``: the totals of last time."""
        self.read = 0
        self._report = report
        self._monotonic = monotonic
        self._next = 0.0
        self._capture: Capture | None = None
        self._expected = expected

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
            self._report(
                Progress(
                    phase="backup",
                    files=counts.files,
                    bytes=counts.bytes,
                    total_files=self._expected.files,
                    total_bytes=self._expected.bytes,
                    path=os.fsdecode(path),
                )
            )


class _Sources:
    """Stores one source after the other; one that cannot be read does not keep the others from being stored."""

    def __init__(self, walker: Walker, older: previous.Parent | None) -> None:
        self._walker = walker
        self._older = older
        self._stored = 0
        self._failure: OSError | None = None

    def store(self, root: roots.Root, name: bytes) -> Entry | None:
        try:
            entry = self._store(root.path, name)
        except OSError as error:
            self._failure = error
            self._walker.lost(root.path, error)
            return None
        self._stored += entry is not None
        return entry

    def require_one(self) -> None:
        """Raise ``SourceMissing`` if nothing at all could be read: there is nothing to make a snapshot of."""
        if not self._stored:
            reason = f": {self._failure.strerror}" if self._failure else ""
            raise SourceMissing(f"Nothing could be read of what was to be backed up{reason}.", "No snapshot was made.")

    def _store(self, path: bytes, name: bytes) -> Entry | None:
        older = self._older
        if os.path.isdir(path) and not os.path.islink(path):
            return self._walker.walk(path, name, older.tree(path) if older else None)
        return self._walker.single(path, name, older.entry(path) if older else None)


def _above(capture: Capture) -> Callable[[bytes, bytes, bytes, Totals], Entry]:
    def entry(path: bytes, name: bytes, tree: bytes, totals: Totals) -> Entry:
        try:
            folder = Folder.at(path)
        except OSError:  # it may be passed through, but not read: its attributes are not of the source
            return capture.plain_folder(name, os.stat(path), tree, totals)
        try:
            return capture.folder(folder, name, folder.stat(), tree, totals)
        except OSError:
            return capture.plain_folder(name, folder.stat(), tree, totals)
        finally:
            folder.close()

    return entry


def _devices(paths: list[str]) -> frozenset[int]:
    """The file systems that the sources lie on, those too that lie in another source."""
    found = set()
    for path in paths:
        with suppress(OSError):
            found.add(os.stat(path).st_dev)
    return frozenset(found)


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


def _refuse_repository(repository: Repository, paths: list[bytes]) -> None:
    """A source in the repository itself would grow while it is read."""
    where = repository.store.location
    for path in paths:
        if "://" not in where and Path(os.path.realpath(os.fsdecode(path))).is_relative_to(os.path.realpath(where)):
            raise UsageError(f"{os.fsdecode(path)} lies in the repository itself.", "Name a folder outside it.")
