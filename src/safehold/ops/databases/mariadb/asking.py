"""What a base has to know of its server before it is begun: asked beside the opening of the repository."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from safehold.core.threads import beside
from safehold.sources.mariadb import programs
from safehold.sources.mariadb import server as servers
from safehold.sources.mariadb.connecting import Address, Connection, connect
from safehold.sources.mariadb.server import Server, Standing

if TYPE_CHECKING:
    from safehold.ops.databases.mariadb.merging import Since


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


class Ground(msgspec.Struct, frozen=True):
    """What tells whether the changed pages of a server are all that is new since an earlier base."""

    standing: Standing
    tables: dict[int, int]

    @classmethod
    def of(cls, connection: Connection) -> Ground | None:
        """As it is now; None where the server does not say."""
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


class Asked(msgspec.Struct, frozen=True):
    """A server that a base can be taken of, and how it stood before."""

    where: Address
    server: Server
    ground: Ground | None
    program: str
    """The backup program, of a version that fits."""
    refused: str
    """Why the server did not write its changed pages first; empty if it did, or was not to."""


def ask(where: Address, base: BaseOptions) -> Asked:
    """Ask a server, and have it write its changed pages.  Raises ``DatabaseUnreachable``, ``DatabaseFailed``."""
    ours = beside(_mariadb_backup, "version")
    connection = connect(where)
    try:
        server = servers.ask(connection)
        is_mariadb = server.engine == "mariadb"
        refused = servers.checkpoint(connection) if base.checkpoint and is_mariadb else ""
        ground = Ground.of(connection) if is_mariadb else None
    finally:
        connection.close()
    if not is_mariadb:  # XtraBackup's own versions are near to MySQL's, not the same
        return Asked(where, server, ground, programs.find("backup", server.engine), refused)
    program, version = ours.result()
    programs.require_same_series(program, version, server.version, "The server")
    return Asked(where, server, ground, program, refused)


def _mariadb_backup() -> tuple[str, str]:
    program = programs.find("backup", "mariadb")
    return program, programs.version(program)
