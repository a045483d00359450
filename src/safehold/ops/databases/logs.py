"""A database's logs in the repository: what happened after a base, log file by log file.  ``docs/databases.md``, "Logs".

Each commit is a snapshot of role ``logs`` whose tree holds every log file of this machine's memory: those of the commit before,
which are not stored again, and the new ones.  What counts is the union over all such snapshots of a database: the catalogue.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise

import msgspec

from safehold.core.entries import Entry
from safehold.core.errors import FormatError, LogConflict
from safehold.ops.backup.memory import Memory
from safehold.ops.backup.record import Result
from safehold.ops.databases.assembly import Assembly, Attributes
from safehold.ops.databases.known_logs import KnownLogs
from safehold.ops.databases.recording import Filled, RecordOptions, record_database
from safehold.ops.listing import listing, walk
from safehold.repo.repository import Repository
from safehold.repo.snapshots import Database, Stored

ROOT = b"logs"
FACTS = b"user.safehold.log"
"""The extended attribute of a stored log file that holds its ``Log``."""


class Log(msgspec.Struct, array_like=True, frozen=True):
    """One log file: a stretch of a database's history.  Positions as of ``repo.snapshots.Database``."""

    name: str
    timeline: int
    start: int
    end: int
    """One past its last position: equal to the ``start`` of the one that follows it without a gap."""
    digest: bytes = b""
    """SHA-256 of its bytes."""
    first_ns: int = 0
    """When the first transaction in it was committed; 0: unknown, or there is none."""
    last_ns: int = 0
    """When the last was; 0: unknown, or there is none."""
    facts: dict[str, str] = {}
    growing: bool = False
    """It is not whole: when more of it is there it is stored again, and the newest counts."""


class NewLog(msgspec.Struct, frozen=True):
    """A log file that is to be stored.  ``read(most)`` gives b"" at its end."""

    log: Log
    read: Callable[[int], bytes]


class StoredLog(msgspec.Struct, frozen=True):
    """A log file in the repository."""

    log: Log
    entry: Entry
    snapshot: str


class Span(msgspec.Struct, frozen=True):
    """Logs of one timeline that follow each other without a gap."""

    timeline: int
    logs: list[StoredLog]

    @property
    def start(self) -> int:
        return self.logs[0].log.start

    @property
    def end(self) -> int:
        return self.logs[-1].log.end

    @property
    def last_ns(self) -> int:
        """When the last transaction in it was committed; 0: unknown."""
        return max(stored.log.last_ns for stored in self.logs)


def commit(repository: Repository, database: Database, logs: Iterable[NewLog], options: RecordOptions) -> Result:
    """Store log files and make them count, all or none.  ``database``: what they are of; role, start and stop are filled in.

    One that this machine committed before is not stored again.  Raises ``LogConflict`` if it had other content then.
    """

    def fill(assembly: Assembly, memory: Memory) -> Filled:
        del memory
        assembly.keep_folder(b"")
        new = [_store(assembly, each) for each in logs]
        made = msgspec.structs.replace(
            database,
            role="logs",
            timeline=max(log.timeline for log in new),
            start=min(log.start for log in new),
            stop=max(log.end for log in new),
            stop_ns=max(log.last_ns for log in new),
        )
        return Filled(database=made)

    return record_database(repository, database.engine, f"logs\0{database.system}", options, fill)


def _store(assembly: Assembly, new: NewLog) -> Log:
    folder = folder_of(new.log)
    assembly.keep_folder(ROOT)
    assembly.keep_folder(folder)
    known = assembly.previous(folder + b"/" + new.log.name.encode())
    if known is not None and not (new.log.growing and log_of(known).digest != new.log.digest):
        require_same(log_of(known), new.log)
        return new.log
    attributes = Attributes(mtime_ns=new.log.last_ns, extended={FACTS: msgspec.msgpack.encode(new.log)})
    assembly.stream(folder + b"/" + new.log.name.encode(), new.read, attributes)
    return new.log


def folder_of(log: Log) -> bytes:
    """Where in the tree of a commit a log file lies."""
    return b"%s/%08X%08X" % (ROOT, log.timeline, log.start >> 32)


def require_same(known: Log, new: Log) -> None:
    """Raise ``LogConflict`` if two log files of one name have different content."""
    if known.digest != new.digest:
        raise LogConflict(
            f"{new.name} is in the repository already, with other content; it was not replaced.",
            "Two servers archive as the same one: a restored copy must not archive into the log of what it was copied from.",
        )


class Catalogue:
    """Every stored log file of a database, once each."""

    def __init__(self, logs: Iterable[StoredLog]) -> None:
        unique: dict[tuple[int, int, str], StoredLog] = {}
        self.conflicts: list[str] = []
        """Names of log files that are stored with different contents.  The one that was stored first counts."""
        for stored in logs:
            key = stored.log.timeline, stored.log.start, stored.log.name
            if stored.log.growing:
                unique[key] = stored
                continue
            first = unique.setdefault(key, stored)
            if first.log.digest != stored.log.digest:
                self.conflicts.append(stored.log.name)
        self.logs = sorted(unique.values(), key=lambda s: (s.log.timeline, s.log.start, s.log.end, s.log.name))

    def spans(self) -> list[Span]:
        """The logs of each timeline, cut where one is missing.  Log files without extent (history files) are left out."""
        found: list[Span] = []
        for stored in self.logs:
            log = stored.log
            if log.end == log.start:
                continue
            last = found[-1] if found else None
            if last is not None and last.timeline == log.timeline and last.end == log.start:
                last.logs.append(stored)
            else:
                found.append(Span(log.timeline, [stored]))
        return found

    def gaps(self) -> list[tuple[int, int, int]]:
        """(timeline, from, to): what is missing between logs of one timeline."""
        spans = self.spans()
        return [
            (before.timeline, before.end, after.start)
            for before, after in pairwise(spans)
            if before.timeline == after.timeline and after.start > before.end
        ]

    def covering(self, timeline: int, position: int) -> Span | None:
        """The unbroken stretch of a timeline that holds that position."""
        return next((s for s in self.spans() if s.timeline == timeline and s.start <= position < s.end), None)

    def named(self, name: str) -> StoredLog | None:
        """The log file of that name; the newest, if timelines share it."""
        return next((s for s in reversed(self.logs) if s.log.name == name), None)


def catalogue(repository: Repository, engine: str, system: str, snapshots: Iterable[Stored] | None = None) -> Catalogue:
    """The logs of a database over all snapshots that are not in the trash.

    Raises ``NotPermitted`` for a writer, ``DamageError``.
    """
    stored = repository.visible_snapshots() if snapshots is None else snapshots
    commits = [each for each in stored if _is_commit(each, engine, system)]
    if not commits:
        return Catalogue([])
    known = KnownLogs(repository, ROOT, engine, system)
    return Catalogue(StoredLog(log_of(entry), entry, commit.id) for entry, commit in known.of(commits))


def _is_commit(stored: Stored, engine: str, system: str) -> bool:
    database = stored.snapshot.source.database
    return database is not None and stored.snapshot.is_logs and (database.engine, database.system) == (engine, system)


def held_by(repository: Repository, stored: Stored, known: dict[bytes, list[StoredLog]]) -> list[StoredLog]:
    """The logs of one commit.  ``known``: what folders hold, by their trees; most commits share most folders."""
    found: list[StoredLog] = []
    for folder in listing(repository.reader, stored.snapshot.tree, ROOT):
        tree = folder.entry.content
        if tree not in known:
            inside = walk(repository.reader, tree, folder.path, recursive=False)
            known[tree] = [StoredLog(log_of(listed.entry), listed.entry, stored.id) for listed in inside]
        found += known[tree]
    return found


def log_of(entry: Entry) -> Log:
    """What a stored log file's entry says of it.  Raises ``FormatError``."""
    facts = entry.more.attributes.get(FACTS) if entry.more is not None and entry.more.attributes else None
    try:
        return msgspec.msgpack.decode(facts or b"", type=Log)
    except msgspec.MsgspecError as error:
        raise FormatError(f"The log file {entry.name!r} does not say which stretch of history it holds.") from error
