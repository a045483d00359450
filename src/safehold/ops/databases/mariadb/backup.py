"""A base: the backup program's files as a snapshot.  ``docs/mariadb.md``."""

from __future__ import annotations

import os

import msgspec

from safehold.core.errors import DatabaseFailed
from safehold.core.events import Note, Warn
from safehold.ops.backup.memory import Memory
from safehold.ops.backup.record import Result
from safehold.ops.databases.assembly import Assembly, Attributes
from safehold.ops.databases.mariadb import merging
from safehold.ops.databases.mariadb import state as states
from safehold.ops.databases.mariadb.merging import NOTE, Merged, Since, Unmergeable
from safehold.ops.databases.mariadb.state import State
from safehold.ops.databases.mariadb.storing import Files, Spaces
from safehold.ops.databases.recording import Filled, RecordOptions, record_database
from safehold.repo.repository import Repository
from safehold.repo.snapshots import Database
from safehold.sources.mariadb import binlog
from safehold.sources.mariadb import server as servers
from safehold.sources.mariadb.connecting import Address, Connection, connect
from safehold.sources.mariadb.server import Server, Standing
from safehold.sources.mariadb.taking import Taken, take


class BaseOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a base is taken."""

    parallel: int = 2
    """Threads of the backup program that read the database's files."""
    checkpoint: bool = True
    """Have the server write its changed pages first, so that little redo log comes along."""
    delta: bool = True
    """Have only changed pages streamed, where what they are laid over is known."""
    system: str = ""
    """Stands for the server's own identity; empty: as the server has it."""


def back_up(repository: Repository, where: Address, base: BaseOptions, options: RecordOptions) -> Result:
    """Take a base.  Raises ``DatabaseUnreachable`` and ``DatabaseFailed``, with no snapshot made."""
    connection = connect(where)
    try:
        server = servers.ask(connection)
        if base.checkpoint and server.engine == "mariadb":
            _checkpoint(repository, servers.checkpoint(connection))
        ground = _Ground.of(connection) if server.engine == "mariadb" else None
    finally:
        connection.close()
    if not server.has_log:
        repository.report(
            Warn(
                code="no-log",
                message="The server writes no binary log: this base can be restored, and no moment after it.",
                hint="Set log_bin in its configuration and restart it.",
            )
        )
    result = _Base(repository, where, server, ground, base).record(options)
    database = result.snapshot.source.database
    if database is not None and database.facts.get("binlog") and not options.dry_run:
        _begin_following(repository, database.system, database)
    return result


class _Ground(msgspec.Struct, frozen=True):
    """What tells whether the changed pages of a server are all that is new since an earlier base."""

    standing: Standing
    tables: dict[int, int]

    @classmethod
    def of(cls, connection: Connection) -> _Ground | None:
        standing, tables = servers.standing(connection), servers.tables(connection)
        return cls(standing, tables) if standing and tables else None

    def goes_on_from(self, since: Since) -> bool:
        """Whether the process that wrote the base before still runs: nobody has put another database in its place."""
        now = self.standing
        return now.process == since.process and now.connection > since.connection and now.lsn >= since.last_lsn

    def exchanged(self, since: Since) -> list[int]:
        """Tablespaces that may have been imported since that base began: their pages do not say that they are new.

        A table gets another number when it is imported.  Of one that was made since, the number before is not known; but
        both numbers count up by one with every table that is made, so that they stay as far apart as they were.
        """
        newest = max(since.tables, default=0)
        apart = since.tables.get(newest, 0) - newest
        return [space for space, table in self.tables.items() if table != since.tables.get(space, space + apart)]


class _Base:
    """A base under way: from what changed, and if that cannot be, from all files."""

    def __init__(self, repository: Repository, where: Address, server: Server, ground: _Ground | None, base: BaseOptions) -> None:
        self._repository = repository
        self._where = where
        self._server = server
        self._ground = ground
        self._base = base
        self._system = server.system(base.system)
        self._merges = base.delta and ground is not None
        self._merging = False

    def record(self, options: RecordOptions) -> Result:
        try:
            return record_database(self._repository, self._server.engine, self._system, options, self._fill)
        except (Unmergeable, DatabaseFailed) as error:
            if not self._merging:
                raise
            why = str(error).rstrip(".")
        self._repository.report(Note(message=f"All files are read, because changed pages alone do not do: {why}."))
        self._merges = False
        return record_database(self._repository, self._server.engine, self._system, options, self._fill)

    def _fill(self, assembly: Assembly, memory: Memory) -> Filled:
        since = self._since(assembly, memory)
        self._merging = since is not None
        files = Files(assembly, self._server.page_size, attributes(self._server))
        into = Merged(assembly, files, since.spaces, self._server.page_size, attributes(self._server)) if since else files
        with take(self._where, self._server, self._base.parallel, since=since.lsn if since else -1) as taking:
            for chunk in taking:
                into.put(chunk)
            into.finish()
            taken = taking.taken
        if since:
            self._prove(since, taken)
        memory.put_note(NOTE, merging.encode(None if files.is_odd else self._next(taken, into.spaces)))
        database = _database(self._repository, self._where, self._server, self._system, taken)
        if since:
            database.facts["since_lsn"] = str(since.lsn)
        return Filled(database=database)

    def _since(self, assembly: Assembly, memory: Memory) -> Since | None:
        """Where changed pages begin; None: every file has to be read."""
        since, now = merging.decode(memory.note(NOTE)), self._ground
        if not self._merges or since is None or now is None or now.exchanged(since) or not now.goes_on_from(since):
            return None
        return since if all(assembly.previous(path) for path in since.spaces) else None

    def _prove(self, since: Since, taken: Taken) -> None:
        """Raises ``Unmergeable`` unless what came is all that is new, also at the end."""
        if taken.checkpoints.get("from_lsn") != str(since.lsn):
            raise Unmergeable(f"{since.lsn} was asked for, and {taken.checkpoints.get('from_lsn')} came")
        connection = connect(self._where)
        try:
            now = _Ground.of(connection)
        finally:
            connection.close()
        if now is None or now.exchanged(since) or not now.goes_on_from(since):
            raise Unmergeable("tables were imported meanwhile, or the server was restarted")

    def _next(self, taken: Taken, spaces: Spaces) -> Since | None:
        if self._ground is None:
            return None
        now, last = self._ground.standing, int(taken.checkpoints.get("last_lsn") or 0)
        return Since(now.checkpoint, last, now.process, now.connection, spaces, self._ground.tables)


def _begin_following(repository: Repository, system: str, database: Database) -> None:
    """Whoever follows the log, and has not begun, begins with the file that this base needs."""
    if states.load(repository, system) is None:
        states.save(repository, system, State(database.facts["binlog"]))


def _checkpoint(repository: Repository, refused: str) -> None:
    if refused:
        repository.report(Note(message=f"No checkpoint was made first, so more redo log is stored: {refused}."))


def attributes(server: Server) -> Attributes:
    """Of every file: those of the server's folder, where it can be seen from here."""
    try:
        found = os.stat(server.variables["datadir"])
    except (OSError, KeyError):
        return Attributes(mode=0o660)
    return Attributes(mode=0o660, uid=found.st_uid, gid=found.st_gid)


def facts_of(server: Server, taken: Taken) -> dict[str, str]:
    """What is kept with a base: of the server, and of the backup."""
    facts = {name: server.variables[name] for name in servers.KEPT if server.variables.get(name)}
    facts |= {
        "to_lsn": taken.checkpoints.get("to_lsn", ""),
        "last_lsn": taken.checkpoints.get("last_lsn", ""),
        "tool_version": taken.info.get("tool_version", ""),
        "binlog": taken.binlog,
        "position": str(taken.position) if taken.binlog else "",
        "gtid": taken.gtid,
        "binlog_created": _created(server, taken.binlog) if taken.binlog else "",
    }
    return {name: value for name, value in facts.items() if value}


def _database(repository: Repository, where: Address, server: Server, system: str, taken: Taken) -> Database:
    facts = facts_of(server, taken)
    start = taken.number << 32
    return Database(
        engine=server.engine,
        system=system,
        name=where.url.public,
        version=server.version,
        method="xtrabackup" if server.engine == "mysql" else "mariadb-backup",
        timeline=states.timeline_of(states.load(repository, system), taken.number, int(facts.get("binlog_created") or 0)),
        start=start,
        stop=start | taken.position,
        stop_ns=repository.clock.now_ns(),
        facts=facts,
    )


def _created(server: Server, name: str) -> str:
    """When that binary log was begun; empty if its file cannot be seen from here.  Number and time name it for good."""
    try:
        with open(os.path.join(os.path.dirname(server.variables["log_bin_basename"]), name), "rb") as file:
            return str(binlog.created(file.read(9)) or "")
    except (OSError, KeyError):
        return ""
