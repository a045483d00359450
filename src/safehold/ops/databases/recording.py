"""From an engine's files to a committed snapshot: what every kind of database backup has in common."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec
from blake3 import blake3

from safehold import __version__
from safehold.core.events import Progress
from safehold.ops.backup import previous
from safehold.ops.backup.memory import Memory
from safehold.ops.backup.record import Result, record_once, user_name
from safehold.ops.databases.assembly import Assembly
from safehold.repo.repository import Repository
from safehold.repo.snapshots import Database, Snapshot, Source, Statistics
from safehold.repo.writer import ChunkWriter, WriterOptions

TICK_SECONDS = 0.2


class RecordOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a database's snapshot is kept."""

    tags: list[str] = []
    host: str = ""
    writer: WriterOptions = WriterOptions()
    dry_run: bool = False
    """The store is one that changes nothing; nothing is remembered."""
    whole: bool = False
    """Rely on nothing that is remembered of the last snapshot."""


class Filled(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine says when all its files are in the assembly."""

    database: Database
    errors: int = 0
    """Things that could not be read, or pages that are damaged in the database: the snapshot is marked incomplete."""


def record_database(
    repository: Repository,
    engine: str,
    lineage: str,
    options: RecordOptions,
    fill: Callable[[Assembly, Memory], Filled],
    *,
    begin: Callable[[Memory], None] | None = None,
) -> Result:
    """Let ``fill`` put an engine's files into an assembly, and commit a snapshot of them.

    ``lineage`` names what is backed up, and how, for the local memory: the next backup of the same lineage finds what this one
    stored.  ``begin``: is called before anything else is, to start what takes its time.  Raises what ``fill`` raises, with no
    snapshot made, and ``SessionExpired``.
    """
    with _memory(repository, engine, lineage) as memory:
        if begin is not None:
            begin(memory)
        result = record_once(
            repository,
            options.writer,
            lambda w: _build(repository, w, memory, options, (engine, lineage), fill),
            remember=not options.dry_run,
        )
        if options.dry_run:
            return msgspec.structs.replace(result, id="")
        memory.commit(result.id, result.snapshot.totals, b"")
        return result


def _build(
    repository: Repository,
    writer: ChunkWriter,
    memory: Memory,
    options: RecordOptions,
    which: tuple[str, str],
    fill: Callable[[Assembly, Memory], Filled],
) -> Snapshot:
    started_ns = repository.clock.now_ns()
    memory.reset()
    host = options.host or socket.gethostname()
    older = None if memory.snapshot or options.whole else previous.of_lineage(repository, host, *which)
    trusted = not options.whole and repository.proves(older.id if older else memory.snapshot)
    counter = _Counter(repository, memory.totals.bytes)
    assembly = Assembly(repository, writer, memory, counter.advance, trusted=trusted, older=older)
    filled = fill(assembly, memory)
    tree, totals = assembly.finish()
    statistics = Statistics(
        new=0 if trusted else assembly.files,
        changed=assembly.files - assembly.unchanged if trusted else 0,
        unchanged=assembly.unchanged,
        read=counter.read,
        errors=filled.errors,
    )
    database = msgspec.structs.replace(filled.database, lineage=which[1])
    return Snapshot(
        time_ns=started_ns,
        host=host,
        user=user_name(),
        source=Source(kind=database.engine, paths=[database.name.encode()], database=database),
        tree=tree,
        totals=totals,
        tags=sorted(set(options.tags)),
        incomplete=filled.errors > 0,
        statistics=statistics,
        parent=(older.id if older else memory.snapshot) if trusted else "",
        program=f"safehold {__version__}",
    )


@contextmanager
def _memory(repository: Repository, engine: str, lineage: str) -> Iterator[Memory]:
    name = blake3(msgspec.msgpack.encode((engine, lineage))).hexdigest(16)
    memory = Memory(repository.cache / f"{engine}-{name}.db", repository.seals.cache_key, repository.seals.random)
    try:
        yield memory
    finally:
        memory.close()


class _Counter:
    """Bytes read, as progress events, a few a second."""

    def __init__(self, repository: Repository, expected: int) -> None:
        self.read = 0
        self._report = repository.report
        self._monotonic = repository.clock.monotonic
        self._expected = expected
        self._next = 0.0

    def advance(self, count: int) -> None:
        self.read += count
        now = self._monotonic()
        if now >= self._next:
            self._next = now + TICK_SECONDS
            self._report(Progress(phase="backup", bytes=self.read, total_bytes=self._expected))
