"""What a server says of itself: who it is, where its files lie, where its binary log stands."""

from __future__ import annotations

import hashlib
import re

import msgspec

from safehold.core.errors import DatabaseUnreachable
from safehold.sources.mariadb.connecting import Connection, rows, said

KEPT = (
    "version_comment",
    "innodb_page_size",
    "lower_case_table_names",
    "default_storage_engine",
    "character_set_server",
    "collation_server",
    "sql_mode",
    "server_id",
    "binlog_format",
    "log_bin_basename",
    "datadir",
    "plugin_dir",
)
"""Variables that are kept with a base: a private server for its restore is started alike."""


class Server(msgspec.Struct, frozen=True):
    """A server, as its variables describe it."""

    variables: dict[str, str]

    @property
    def engine(self) -> str:
        """mariadb or mysql."""
        return "mariadb" if "mariadb" in self.version.lower() else "mysql"

    @property
    def version(self) -> str:
        """As it says: ``10.11.19-MariaDB-0+deb12u1-log``."""
        return self.variables["version"]

    @property
    def series(self) -> str:
        """The first two numbers of the version."""
        return series(self.version)

    @property
    def has_log(self) -> bool:
        """Whether it writes a binary log."""
        return self.variables.get("log_bin", "OFF") in ("ON", "1")

    @property
    def page_size(self) -> int:
        return int(self.variables.get("innodb_page_size", 16384))

    def system(self, named: str = "") -> str:
        """What tells this database from others.

        MySQL's ``server_uuid``.  MariaDB has none: its ``server_uid`` stands for machine and port, so the data folder is hashed
        with it.  ``named`` takes the place of both where machines come and go (containers).
        """
        v = self.variables
        if not named and v.get("server_uuid"):
            return v["server_uuid"]
        own = (v.get("server_uid") or f"{v.get('hostname', '')}\0{v.get('port', '')}", v.get("datadir", ""))
        return hashlib.sha256("\0".join((named,) if named else own).encode()).hexdigest()[:32]


def series(version: str) -> str:
    """The first two numbers of a version; empty if it does not begin with them."""
    match = re.match(r"(\d+\.\d+)", version)
    return match[1] if match else ""


def ask(connection: Connection) -> Server:
    """The server at the other end.  Raises ``DatabaseUnreachable``."""
    return Server({str(name).lower(): str(value) for name, value in rows(connection, "show global variables")})


class Binlog(msgspec.Struct, frozen=True):
    """One binary log file that a server has."""

    name: str
    size: int

    @property
    def number(self) -> int:
        return number_of(self.name)


def number_of(name: str) -> int:
    """A binary log's number: 17 of ``mariadb-bin.000017``."""
    return int(name.rpartition(".")[2])


def binlogs(connection: Connection) -> list[Binlog]:
    """Its binary logs, oldest first.  Raises ``DatabaseUnreachable`` without the privilege BINLOG MONITOR."""
    return [Binlog(str(row[0]), int(row[1])) for row in rows(connection, "show binary logs")]


def checkpoint(connection: Connection) -> str:
    """Have all changed pages written, so that a backup carries little redo log.  Why that was not possible, or "".

    Only a user with SUPER may, and only some versions have it; a backup is right without, and larger.
    """
    import pymysql

    try:
        with connection.cursor() as cursor:
            cursor.execute("set global innodb_log_checkpoint_now = on")
    except pymysql.err.MySQLError as error:
        return said(error)
    return ""


class Standing(msgspec.Struct, frozen=True):
    """Where InnoDB stands, and in which process."""

    checkpoint: int
    """A position of its log: all that was changed before it is in its files."""
    lsn: int
    """How far its log goes."""
    process: int
    """When the server's process was started, in seconds since 1970, as its clock said then."""
    connection: int
    """The number of this connection; it grows with each."""


_STANDING = (
    "select connection_id(), unix_timestamp(), max(if(variable_name = 'UPTIME', variable_value, null)),"
    " max(if(variable_name = 'INNODB_LSN_LAST_CHECKPOINT', variable_value, null)),"
    " max(if(variable_name = 'INNODB_LSN_CURRENT', variable_value, null)) from information_schema.global_status"
    " where variable_name in ('UPTIME', 'INNODB_LSN_LAST_CHECKPOINT', 'INNODB_LSN_CURRENT')"
)


def standing(connection: Connection) -> Standing | None:
    """Where InnoDB stands; None where the server does not say (MySQL, and MariaDB before 10.5)."""
    import pymysql

    try:
        with connection.cursor() as cursor:
            cursor.execute(_STANDING)
            number, now, uptime, checkpoint, lsn = (int(value) for value in cursor.fetchone() or ())
    except (pymysql.err.MySQLError, TypeError, ValueError):
        return None
    return Standing(checkpoint, lsn, now - uptime, number)


def tables(connection: Connection) -> dict[int, int]:
    """The number of the table in each of InnoDB's tablespaces; empty where the server does not say.

    A table whose file was exchanged (``ALTER TABLE ... IMPORT TABLESPACE``) keeps its tablespace, and has another number.
    """
    import pymysql

    try:
        with connection.cursor() as cursor:
            cursor.execute("select space, table_id from information_schema.innodb_sys_tables where space > 0")
            return {int(space): int(table) for space, table in cursor.fetchall()}
    except pymysql.err.MySQLError:
        return {}


def require_log(server: Server, public: str) -> None:
    """Raises ``DatabaseUnreachable`` for a server that writes no binary log."""
    if not server.has_log:
        raise DatabaseUnreachable(
            f"The server at {public} writes no binary log, so there is nothing to follow.",
            "Set log_bin in its configuration and restart it; until then every base is a moment of its own.",
        )
