"""A base of a PostgreSQL cluster: from its data directory if that is here, else from the server's stream."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from safehold.core.errors import DamageError, DatabaseFailed, DatabaseUnreachable, UsageError
from safehold.core.events import Warn
from safehold.ops.backup.memory import Memory
from safehold.ops.backup.record import Result
from safehold.ops.databases.assembly import Assembly, Attributes
from safehold.ops.databases.postgresql import stream
from safehold.ops.databases.postgresql.terms import ENGINE, LOCAL, MANIFEST_NOTE, BaseOptions, Taken, describe
from safehold.ops.databases.recording import Filled, record_database
from safehold.repo import files
from safehold.repo.repository import Repository
from safehold.sources.postgresql import connecting, folder, manifest
from safehold.sources.postgresql.connecting import Server
from safehold.sources.postgresql.replication import Replication

if TYPE_CHECKING:
    from safehold.sources.postgresql.connecting import Session

Fill = Callable[[Assembly, bytes | None], tuple[Taken, bytes]]


def back_up(repository: Repository, options: BaseOptions) -> Result:
    """Take a base.  Raises ``DatabaseUnreachable``, ``DatabaseFailed`` and ``UsageError``, with no snapshot made."""
    try:
        session = connecting.connect(options.url)
    except DatabaseUnreachable:
        if options.method == LOCAL:
            raise
        return _without_sql(repository, options)
    with session:
        server = connecting.inquire(session)
        names = connecting.tablespaces(session)
        _tell_trouble(repository, session)
        return _record(repository, options, server, names, _way(repository, options, server, session))


def _without_sql(repository: Repository, options: BaseOptions) -> Result:
    """The user may have no more than the right to replicate."""
    with Replication(options.url) as replication:
        server = replication.server()
    return _record(repository, options, server, {}, _streamed(repository, options, server))


def _way(repository: Repository, options: BaseOptions, server: Server, session: Session) -> Fill:
    place = folder.find(server) if options.method in ("", LOCAL) else None
    if place is None and options.method == LOCAL:
        named = server.settings.get("data_directory") or "of the server"
        raise UsageError(
            f"The data directory {named} is not on this machine, or may not be read by this user.",
            "Run it on the server as postgres or root, with a user who may see `data_directory`; or use --method stream.",
        )
    if place is None or (options.method == "" and not _may_begin(session, server)):
        return _streamed(repository, options, server)
    if sys.platform == "win32":
        raise UsageError("On Windows, bases are streamed.", "Use --method stream.")
    from safehold.ops.databases.postgresql import local

    at = local.Place(session, server, place)
    return lambda assembly, last: local.take(repository, at, assembly, rows(last))


def _streamed(repository: Repository, options: BaseOptions, server: Server) -> Fill:
    return lambda assembly, last: stream.take(repository, options, server, assembly, last)


def _may_begin(session: Session, server: Server) -> bool:
    """Whether the user may have a backup begin: functions are granted by name and types."""
    function = "pg_backup_start(text, boolean)" if server.major >= 15 else "pg_start_backup(text, boolean, boolean)"
    row = session.execute("SELECT has_function_privilege(%s, 'EXECUTE')", [function]).fetchone()
    return bool(row and row[0])


def _record(repository: Repository, options: BaseOptions, server: Server, names: dict[str, str], way: Fill) -> Result:
    return record_database(repository, ENGINE, server.system, options.record, filling(repository, options, server, names, way))


def filling(
    repository: Repository, options: BaseOptions, server: Server, names: dict[str, str], way: Fill
) -> Callable[[Assembly, Memory], Filled]:
    """What puts a base together in one of its ways.  ``names``: of tablespaces, by number."""

    def fill(assembly: Assembly, memory: Memory) -> Filled:
        taken, made = way(assembly, _last_manifest(repository, assembly, memory))
        assembly.data(manifest.NAME, made, Attributes(mtime_ns=taken.stop_ns))
        memory.put_note(MANIFEST_NOTE, b"" if taken.errors else made)  # damage is looked for again, not built upon
        return Filled(database=describe(options, server, taken, names), errors=taken.errors)

    return fill


def _last_manifest(repository: Repository, assembly: Assembly, memory: Memory) -> bytes | None:
    """The manifest of the base that the assembly can build upon; from the repository where it is not remembered."""
    entry = assembly.previous(manifest.NAME)
    if entry is None:
        return None
    noted = memory.note(MANIFEST_NOTE)
    if noted is not None:
        return noted if len(noted) == entry.size else None
    if repository.seals.can_read:
        with suppress(DamageError):
            return files.small_content(repository.reader, entry)
    return None


def rows(last: bytes | None) -> dict[bytes, manifest.File]:
    """The rows of the last base's manifest."""
    try:
        return manifest.parse(last).by_path() if last else {}
    except DatabaseFailed:
        return {}


def _tell_trouble(repository: Repository, session: Session) -> None:
    """A base holds all of the log that it needs; a restore to a later moment needs what is archived."""
    trouble = connecting.archiver_trouble(session)
    if trouble:
        repository.report(Warn(code="archiving", message=trouble, hint="See the server's log; till then its log fills the disk."))
