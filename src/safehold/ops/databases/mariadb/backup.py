"""A base: the backup program's files as a snapshot.  ``docs/mariadb.md``."""

from __future__ import annotations

import os
from contextlib import ExitStack

from safehold.core.errors import DatabaseFailed
from safehold.core.events import Note, Warn
from safehold.ops.backup.memory import Memory
from safehold.ops.backup.record import Result
from safehold.ops.databases.assembly import Assembly, Attributes
from safehold.ops.databases.mariadb import merging
from safehold.ops.databases.mariadb import state as states
from safehold.ops.databases.mariadb.asking import Asked, BaseOptions, Ground
from safehold.ops.databases.mariadb.merging import NOTE, Merged, Since, Unmergeable
from safehold.ops.databases.mariadb.state import State
from safehold.ops.databases.mariadb.storing import Files, Spaces
from safehold.ops.databases.recording import Filled, RecordOptions, record_database
from safehold.repo.repository import Repository
from safehold.repo.snapshots import Database
from safehold.sources.mariadb import binlog
from safehold.sources.mariadb import server as servers
from safehold.sources.mariadb.connecting import Address, connect
from safehold.sources.mariadb.server import Server
from safehold.sources.mariadb.taking import Program, Taken, started


def back_up(repository: Repository, asked: Asked, base: BaseOptions, options: RecordOptions) -> Result:
    """Take a base.  Raises ``DatabaseUnreachable`` and ``DatabaseFailed``, with no snapshot made."""
    if asked.refused:
        repository.report(Note(message=f"No checkpoint was made first, so more redo log is stored: {asked.refused}."))
    if not asked.server.has_log:
        repository.report(
            Warn(
                code="no-log",
                message="The server writes no binary log: this base can be restored, and no moment after it.",
                hint="Set log_bin in its configuration and restart it.",
            )
        )
    result = _Base(repository, asked, base).record(options)
    database = result.snapshot.source.database
    if database is not None and database.facts.get("binlog") and not options.dry_run:
        _begin_following(repository, database.system, database)
    return result


class _Base:
    """A base under way: from what changed, and if that cannot be, from all files."""

    def __init__(self, repository: Repository, asked: Asked, base: BaseOptions) -> None:
        self._repository = repository
        self._asked = asked
        self._where = asked.where
        self._server = asked.server
        self._ground = asked.ground
        self._base = base
        self._system = asked.server.system(base.system)
        self._merges = base.delta and asked.ground is not None
        self._merging = False
        self._programs = ExitStack()
        self._program: Program | None = None

    def record(self, options: RecordOptions) -> Result:
        try:
            return self._record(options)
        except (Unmergeable, DatabaseFailed) as error:
            if not self._merging:
                raise
            why = str(error).rstrip(".")
        self._repository.report(Note(message=f"All files are read, because changed pages alone do not do: {why}."))
        self._merges = False
        return self._record(options)

    def _record(self, options: RecordOptions) -> Result:
        with ExitStack() as self._programs:
            self._program = None
            return record_database(self._repository, self._server.engine, self._system, options, self._fill, begin=self._begin)

    def _begin(self, memory: Memory) -> None:
        """Have the backup program started while the rest is made ready, which takes as long."""
        since = self._likely(memory)
        self._start(since.lsn if since else -1)

    def _start(self, since: int) -> Program:
        """The backup program that streams what changed since then, and no other."""
        if self._program is None or self._program.since != since or self._program.is_read:
            self._programs.close()
            running = started(self._where, self._server, self._asked.program, self._base.parallel, since)
            self._program = self._programs.enter_context(running)
        return self._program

    def _fill(self, assembly: Assembly, memory: Memory) -> Filled:
        since = self._since(assembly, memory)
        self._merging = since is not None
        files = Files(assembly, self._server.page_size, attributes(self._server))
        into = Merged(assembly, files, since.spaces, self._server.page_size, attributes(self._server)) if since else files
        with self._start(since.lsn if since else -1).reading() as taking:
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

    def _likely(self, memory: Memory) -> Since | None:
        """Where changed pages begin, as far as memory and server say."""
        since, now = merging.decode(memory.note(NOTE)), self._ground
        if not self._merges or since is None or now is None or now.exchanged(since) or not now.goes_on_from(since):
            return None
        return since

    def _since(self, assembly: Assembly, memory: Memory) -> Since | None:
        """The same where all is stored that they are laid over; None: every file has to be read."""
        since = self._likely(memory)
        return since if since and all(assembly.previous(path) for path in since.spaces) else None

    def _prove(self, since: Since, taken: Taken) -> None:
        """Raises ``Unmergeable`` unless what came is all that is new, also at the end."""
        if taken.checkpoints.get("from_lsn") != str(since.lsn):
            raise Unmergeable(f"{since.lsn} was asked for, and {taken.checkpoints.get('from_lsn')} came")
        connection = connect(self._where)
        try:
            now = Ground.of(connection)
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
