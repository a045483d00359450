"""From base and logs to a moment: what is there, what would be used, what is missing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import pairwise

import msgspec

from safehold.core.entries import FILE, Entry
from safehold.core.errors import DamageError, FormatError, SnapshotMissing
from safehold.ops.databases import logs
from safehold.ops.databases.logs import Catalogue, StoredLog
from safehold.ops.databases.sqlite.backup import ENGINE
from safehold.repo import files, trees
from safehold.repo.repository import Repository
from safehold.repo.snapshots import Database, Stored
from safehold.sources.sqlite import steps
from safehold.sources.sqlite.steps import Step

UNTIL = "until"
"""Fact of a log: up to this time (ns) nothing was committed that is not in it or in one before."""
LATE_NS = 2_000_000_000
"""A moment that lies further behind the one that was asked for is worth a word."""


class Reach(msgspec.Struct, frozen=True):
    """A base, and what follows it without a gap."""

    base: Stored
    logs: list[StoredLog]
    quiet_ns: int = 0
    """After all of them it was followed up to then, and nothing was changed; 0: that is not known."""

    @property
    def database(self) -> Database:
        assert self.base.snapshot.source.database is not None
        return self.base.snapshot.source.database

    @property
    def from_ns(self) -> int:
        """The first moment that it reaches."""
        return self.database.stop_ns

    @property
    def until_ns(self) -> int:
        """The last one."""
        return max([self.from_ns, self.quiet_ns, *(until_of(stored) for stored in self.logs)])


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a restore would do."""

    base: Stored
    logs: list[StoredLog]
    wanted_ns: int
    """0: the base as it is."""
    as_of_ns: int
    """The restored database is as it was then; see ``docs/sqlite.md``."""
    next_ns: int
    """When it was looked at again; 0: never, or nothing was changed."""
    size: int
    reaches: list[tuple[int, int]]
    """From and until when moments can be restored; times in ns."""
    gaps: list[tuple[int, int]]
    """Between which moments nothing is known."""

    @property
    def log_bytes(self) -> int:
        return sum(stored.entry.size for stored in self.logs)


def until_of(stored: StoredLog) -> int:
    """Up to when a log tells everything."""
    fact = stored.log.facts.get(UNTIL, "")
    return max(stored.log.last_ns, int(fact) if fact.isdecimal() else 0)


def reaches(repository: Repository, like: Stored, snapshots: list[Stored] | None = None) -> list[Reach]:
    """Every base of the same path on the same host, oldest first, each with what follows it.

    ``snapshots``: where these are known, all of the repository's visible ones.
    """
    of = like.snapshot.source.database
    assert of is not None
    everything = repository.visible_snapshots() if snapshots is None else snapshots
    found: list[Reach] = []
    catalogues: dict[str, Catalogue] = {}
    for stored in everything:
        database = stored.snapshot.source.database
        if database is None or database.engine != ENGINE or database.role != "base":
            continue
        if (database.name, stored.snapshot.host) == (of.name, like.snapshot.host):
            if database.system not in catalogues:
                catalogues[database.system] = logs.catalogue(repository, ENGINE, database.system, everything)
            found.append(_reach(stored, catalogues[database.system], database))
    return found


def _reach(stored: Stored, catalogue: Catalogue, database: Database) -> Reach:
    following = _following(catalogue, database)
    end = following[-1].log.end if following else database.start
    quiet = [s for s in catalogue.logs if (s.log.timeline, s.log.start, s.log.end) == (database.timeline, end, end)]
    return Reach(stored, following, max((until_of(mark) for mark in quiet), default=0) if database.start else 0)


def _following(catalogue: Catalogue, database: Database) -> list[StoredLog]:
    span = catalogue.covering(database.timeline, database.start) if database.start else None
    return [stored for stored in span.logs if stored.log.end > database.start] if span else []


def make_plan(repository: Repository, stored: Stored, wanted_ns: int | None) -> Plan:
    """How to restore to a moment, or with None the base ``stored`` itself; a wanted time of 0 means the latest there is.

    Raises ``SnapshotMissing`` if it can't be reached, with what can.
    """
    all_reaches = reaches(repository, stored)
    windows = _windows(all_reaches)
    if wanted_ns is None:
        own = Reach(stored, [])
        return _plan(repository, own, 0, windows)
    if wanted_ns == 0:
        wanted_ns = max(reach.until_ns for reach in all_reaches)
    # Compared by microseconds at the end, as people can write them.
    chosen = [reach for reach in all_reaches if reach.from_ns <= wanted_ns and wanted_ns // 1000 <= reach.until_ns // 1000]
    if not chosen:
        raise _unreachable(wanted_ns, windows)
    return _plan(repository, max(chosen, key=lambda reach: reach.from_ns), wanted_ns, windows)


def _plan(repository: Repository, reach: Reach, wanted_ns: int, windows: list[tuple[int, int]]) -> Plan:
    needed = [stored for stored in reach.logs if 0 < stored.log.first_ns <= wanted_ns]
    as_of, following = reach.from_ns, 0
    size = base_file(repository, reach.base).size
    around = reach.logs[max(0, len(needed) - 1) : len(needed) + 1] if wanted_ns else []
    for step in (step for stored in around for step, _, _ in read_log(repository, stored)):
        if step.seen_ns > wanted_ns:
            following = step.seen_ns
            as_of = max(as_of, min(wanted_ns, step.after_ns))
            break
        if step.end > reach.database.start:
            as_of, size = max(as_of, step.seen_ns), step.pages * _page(repository, reach.base)
    if wanted_ns and not following:
        as_of = max(as_of, min(wanted_ns, reach.until_ns))
    gaps = [(before[1], after[0]) for before, after in pairwise(windows)]
    return Plan(
        base=reach.base, logs=needed, wanted_ns=wanted_ns, as_of_ns=as_of, next_ns=following, size=size,
        reaches=windows, gaps=gaps,
    )  # fmt: skip


def _page(repository: Repository, base: Stored) -> int:
    database = base.snapshot.source.database
    size = database.facts.get("page_size", "") if database else ""
    if not size.isdecimal():
        raise FormatError(f"Snapshot {base.id[:8]} does not say how large its database's pages are.")
    return int(size)


def _windows(found: list[Reach]) -> list[tuple[int, int]]:
    """The times that can be restored, joined where they overlap."""
    joined: list[tuple[int, int]] = []
    for start, end in sorted((reach.from_ns, reach.until_ns) for reach in found):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined


def _unreachable(wanted_ns: int, windows: list[tuple[int, int]]) -> SnapshotMissing:
    before = max((end for start, end in windows if end < wanted_ns), default=0)
    after = min((start for start, _ in windows if start > wanted_ns), default=0)
    known = [f"the last one before it is {moment_text(before)}"] if before else []
    known += [f"the next one after it is {moment_text(after, up=True)}"] if after else []
    what = f"{moment_text(wanted_ns)} cannot be restored: there are no logs of that moment; {', '.join(known)}."
    return SnapshotMissing(what, "Take one of these for --to-time; `--plan` lists what can be reached.")


def moment_text(time_ns: int, *, up: bool = False) -> str:
    """Local time to the microsecond, as `--to-time` takes it; ``up``: not before the moment, else not after it."""
    micros = -(-time_ns // 1000) if up else time_ns // 1000
    return f"{datetime.fromtimestamp(micros // 1_000_000):%Y-%m-%d %H:%M:%S}.{micros % 1_000_000:06d}"


def base_file(repository: Repository, base: Stored) -> Entry:
    """The database file of a base.  Raises ``FormatError``."""
    entries = trees.read_node(repository.reader, base.snapshot.tree).entries
    if len(entries) != 1 or entries[0].kind != FILE:
        raise FormatError(f"Snapshot {base.id[:8]} does not hold one database file.")
    return entries[0]


def read_log(repository: Repository, stored: StoredLog) -> Iterator[tuple[Step, list[int], bytes]]:
    """The steps of a log file.  Raises ``DamageError`` if it is not the one that was stored."""
    read = _reader(files.stream(files.open_file(repository.reader, stored.entry)))
    log = stored.log
    head = steps.require_head(read(steps.FILE_HEADER.size), log.name)
    end = head.start
    for step, numbers, pages in steps.read_steps(read, head.page):
        if step.start != end:
            break
        end = step.end
        yield step, numbers, pages
    if (head.timeline, head.start, end) != (log.timeline, log.start, log.end):
        raise DamageError(f"The log file {log.name} does not hold what it says.", "Run `safehold check`.")


def _reader(pieces: Iterator[bytes]) -> Callable[[int], bytes]:
    """``read(count)`` over pieces of any length."""
    buffer = bytearray()

    def read(count: int) -> bytes:
        while len(buffer) < count:
            piece = next(pieces, None)
            if piece is None:
                break
            buffer.extend(piece)
        data = bytes(buffer[:count])
        del buffer[:count]
        return data

    return read
