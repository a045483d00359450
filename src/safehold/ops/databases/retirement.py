"""Letting go of logs that no base needs, and of commits of logs that newer ones hold.  ``docs/databases.md``, "Retention".

Only an owner may, as with all that is forgotten.  Two steps: if commits hold logs that are not needed, the needed ones are
committed by themselves; then the commits that are no longer needed go to the trash.  Killed in between, the next run finds both,
and goes on: what counts is the union.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from safehold.core.events import Warn
from safehold.ops.backup.memory import Memory
from safehold.ops.databases import logs
from safehold.ops.databases.assembly import Assembly
from safehold.ops.databases.logs import Catalogue, Log, StoredLog
from safehold.ops.databases.recording import Filled, RecordOptions, record_database
from safehold.ops.forget import forget
from safehold.repo.repository import Repository
from safehold.repo.snapshots import Database, Stored

Key = tuple[int, int, str, bytes]
"""Of a log file: timeline, start, name and digest."""


class Retired(msgspec.Struct, frozen=True, kw_only=True):
    """What a retirement did, or would do."""

    commits: list[str]
    """Snapshots of logs that go to the trash."""
    logs: int
    """Log files that no commit holds any more."""
    bytes: int
    """Of those."""


class _Work(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be done for one database."""

    database: Database
    trash: list[str]
    rewrite: list[StoredLog]
    """Logs that are committed anew, by themselves; empty: nothing is."""
    dropped: list[StoredLog]


def retire(repository: Repository, *, gone: Iterable[str] = (), dry_run: bool = False) -> Retired:
    """Do it for every database of the repository.  ``gone``: snapshots that are taken for forgotten already.

    Does nothing at all where any snapshot or any log's entry cannot be read, and nothing for a database without a base.
    Raises ``NotPermitted``.
    """
    repository.require_owner("forget logs")
    with repository.session("retire"):
        names = repository.snapshot_names()
        found = repository.load_snapshots(names)
        if len(found) != len(names):
            if any(stored.snapshot.is_logs for stored in found):
                repository.report(Warn(code="retirement", message=_UNREADABLE, hint="Run `safehold check`."))
            return Retired(commits=[], logs=0, bytes=0)
        kept = [stored for stored in found if stored.id not in set(gone)]
        work = [made for database in _databases(kept) if (made := _plan(repository, database, kept)) is not None]
        if not dry_run:
            for each in work:
                _carry_out(repository, each)
    dropped = [stored for each in work for stored in each.dropped]
    return Retired(
        commits=[name for each in work for name in each.trash],
        logs=len(dropped),
        bytes=sum(stored.entry.size for stored in dropped),
    )


_UNREADABLE = "Not all snapshots can be read, so no logs of databases are let go."


def _databases(snapshots: list[Stored]) -> list[Database]:
    """One of the newest commit of logs of each database."""
    found = {}
    for stored in snapshots:
        database = stored.snapshot.source.database
        if database is not None and stored.snapshot.is_logs:
            found[database.engine, database.system] = database
    return list(found.values())


def _plan(repository: Repository, database: Database, snapshots: list[Stored]) -> _Work | None:
    """What is to go of one database's logs; None if nothing is, or if there is no base to say what is needed."""
    bases = [stored.snapshot.source.database for stored in snapshots if _is_of(stored, database, "base")]
    if not bases:
        return None
    oldest = min(base.start for base in bases if base is not None)
    commits = [stored for stored in snapshots if _is_of(stored, database, "logs")]
    known: dict[bytes, list[StoredLog]] = {}
    held = {stored.id: logs.held_by(repository, stored, known) for stored in commits}
    keepers, covered = _keepers(commits, held, oldest)
    rewrite: list[StoredLog] = []
    if any(not _is_needed(stored.log, oldest) for name in keepers for stored in held[name]):
        rewrite = list(covered.values())
        keepers = []
    trash = [stored.id for stored in commits if stored.id not in keepers]
    every = {_key(stored.log): stored for found in held.values() for stored in found}
    dropped = [stored for key, stored in every.items() if key not in covered]
    return _Work(database=database, trash=trash, rewrite=rewrite, dropped=dropped) if trash else None


def _keepers(commits: list[Stored], held: dict[str, list[StoredLog]], oldest: int) -> tuple[list[str], dict[Key, StoredLog]]:
    """The newest commits that together hold all that is needed, and what that is."""
    keepers: list[str] = []
    covered: dict[Key, StoredLog] = {}
    for stored in reversed(commits):
        new = {_key(each.log): each for each in held[stored.id] if _is_needed(each.log, oldest)}
        if new.keys() - covered.keys():
            keepers.append(stored.id)
            covered = new | covered
    return keepers, covered


def _is_of(stored: Stored, database: Database, role: str) -> bool:
    own = stored.snapshot.source.database
    return own is not None and (own.engine, own.system, own.role) == (database.engine, database.system, role)


def _is_needed(log: Log, oldest: int) -> bool:
    """Positions of a later timeline go on from where it branched off, so one comparison serves for all of them.

    Files without extent that say how timelines branch are small, and are needed as long as anything is.
    """
    return log.end > oldest or (log.end == log.start and not log.growing)


def _key(log: Log) -> Key:
    return log.timeline, log.start, log.name, log.digest


def _carry_out(repository: Repository, work: _Work) -> None:
    if work.rewrite:
        _commit(repository, work)
    forget(repository, work.trash)


def _commit(repository: Repository, work: _Work) -> None:
    """The needed logs by themselves.  Their data are stored, and the session keeps them so."""
    found = Catalogue(work.rewrite).logs

    def fill(assembly: Assembly, memory: Memory) -> Filled:
        del memory
        for stored in found:
            assembly.keep(logs.folder_of(stored.log) + b"/" + stored.log.name.encode(), stored.entry)
        made = msgspec.structs.replace(
            work.database,
            timeline=max(stored.log.timeline for stored in found),
            start=min(stored.log.start for stored in found),
            stop=max(stored.log.end for stored in found),
            stop_ns=max(stored.log.last_ns for stored in found),
        )
        return Filled(database=made)

    record_database(repository, work.database.engine, f"retired\0{work.database.system}", RecordOptions(whole=True), fill)
