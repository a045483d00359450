"""A base: one moment of a database, stored by its own pages."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from safehold.core.events import Warn
from safehold.ops.backup.memory import Memory
from safehold.ops.backup.record import Result
from safehold.ops.databases.assembly import Assembly, Attributes
from safehold.ops.databases.recording import Filled, RecordOptions, record_database
from safehold.repo.repository import Repository
from safehold.repo.snapshots import Database
from safehold.sources.sqlite.header import library_version
from safehold.sources.sqlite.identity import system_of
from safehold.sources.sqlite.pinned import Pinned, pinned

ENGINE = "sqlite"
SMALL = 64 * 1024
"""Smaller databases are stored whole."""


class Spot(msgspec.Struct, frozen=True):
    """Where in a followed history a moment lies."""

    timeline: int = 0
    position: int = 0


class BaseOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a base is made."""

    record: RecordOptions = RecordOptions()
    check: str = ""
    """quick or full: what SQLite checks of the moment that is stored; empty: nothing."""
    spot: Callable[[Pinned], Spot] = lambda moment: Spot()
    """Where the moment lies; may refuse it by an exception."""


def back_up(repository: Repository, path: str, state: Path, options: BaseOptions) -> Result:
    """Store the database at ``path``.  ``state``: the folder by which databases are told apart.

    Raises ``SourceMissing``, ``DatabaseFailed``, ``DatabaseUnreachable``; no snapshot is made then.
    """
    path = os.path.abspath(path)

    def fill(assembly: Assembly, memory: Memory) -> Filled:
        del memory
        with pinned(path, repository.cache / "scratch") as moment:
            return _fill(repository, assembly, moment, path, state, options)

    return record_database(repository, ENGINE, os.path.realpath(path), options.record, fill)


def _fill(repository: Repository, assembly: Assembly, moment: Pinned, path: str, state: Path, options: BaseOptions) -> Filled:
    now = repository.clock.now_ns()
    spot = options.spot(moment)
    _store(assembly, moment, path)
    problems = moment.check(options.check) if options.check else []
    for problem in problems:
        message = f"SQLite finds {path} damaged: {problem}."
        repository.report(Warn(code="database-damaged", message=message, path=path, hint="An older snapshot may hold it whole."))
    head = moment.header
    facts = {"mode": moment.moment.mode, "page_size": str(moment.page), "encoding": head.encoding}
    if head.application:
        facts["application_id"] = f"{head.application:08x}"
    if head.user_version:
        facts["user_version"] = str(head.user_version)
    if options.check:
        facts["checked"] = options.check
    database = Database(
        engine=ENGINE, system=system_of(path, state), name=path, version=library_version(head.library),
        method="snapshot", timeline=spot.timeline, start=spot.position, stop=spot.position, stop_ns=now, facts=facts,
    )  # fmt: skip
    return Filled(database=database, errors=len(problems))


def _store(assembly: Assembly, moment: Pinned, path: str) -> None:
    name, found = os.fsencode(os.path.basename(path)), moment.stat
    attributes = Attributes(
        mode=found.st_mode & 0o7777, uid=found.st_uid, gid=found.st_gid, mtime_ns=found.st_mtime_ns,
        ctime_ns=found.st_ctime_ns, inode=found.st_ino,
    )  # fmt: skip
    if moment.size < SMALL:
        assembly.data(name, b"".join(moment.blocks()), attributes)
    else:
        assembly.paged(name, _optional(moment.blocks()), moment.size, moment.page, attributes)


def _optional(blocks: Iterator[bytes]) -> Iterator[bytes | None]:
    yield from blocks
