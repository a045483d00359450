"""Connecting to a PostgreSQL server, and what it says of itself."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from safehold.core.errors import DatabaseUnreachable, UsageError
from safehold.sources import database_url

if TYPE_CHECKING:
    from psycopg import Connection

    Session = Connection[tuple[object, ...]]

OLDEST = 13
NEWEST = 18
"""Versions whose files and protocol are known; a newer one is tried all the same."""
PROGRAM = "safehold"
TIMEOUT_SECONDS = 20
_SETTINGS = (
    "server_version server_version_num wal_segment_size block_size segment_size data_checksums data_directory port "
    "summarize_wal wal_level archive_mode config_file hba_file ident_file"
)
"""Names of settings, between spaces."""


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """What a server says of itself."""

    system: str
    """The system identifier, in decimal."""
    number: int
    """The version: 150018."""
    version: str
    """The version as people write it: 15.18."""
    segment: int
    """Bytes of a segment of the log."""
    page: int
    """Bytes of a page."""
    relation_pages: int
    """Pages of a file, before a relation goes on in the next one."""
    checksums: bool
    standby: bool
    settings: dict[str, str] = {}
    """Those of ``_SETTINGS`` that the user may see."""
    started: float = 0.0
    """When it was started, in seconds since 1970; 0: not known."""
    superuser: str = ""
    """The one that the cluster was made with; empty: not known."""

    @property
    def major(self) -> int:
        return self.number // 10000


def public_name(url: str) -> str:
    """A connection's URL without its password.  Raises ``UsageError``."""
    return database_url.parse(url).public


def parameters(url: str, **more: str) -> str:
    """A connection string for libpq.  Raises ``UsageError`` for a URL that is none."""
    import psycopg
    from psycopg import conninfo

    try:
        known = conninfo.conninfo_to_dict(url)
        # An encoding, since from a database of SQL_ASCII without one text comes as bytes.
        ours = {"application_name": PROGRAM, "connect_timeout": str(TIMEOUT_SECONDS), "client_encoding": "UTF8"}
        settings = {**ours, **known, **more}
        return conninfo.make_conninfo("", **settings)
    except psycopg.Error as error:
        raise UsageError(
            f"{public_name(url)} is not a PostgreSQL URL: {first_line(error)}.",
            "Write postgresql://user@host:port/database?host=/socket/folder, of which everything may be left out.",
        ) from error


def connect(url: str) -> Session:
    """An open connection, each statement its own transaction.  Raises ``DatabaseUnreachable``."""
    import psycopg

    try:
        return psycopg.connect(parameters(url), autocommit=True)
    except psycopg.Error as error:
        raise unreachable(url, error) from error


def unreachable(url: str, error: Exception) -> DatabaseUnreachable:
    """The error for a server that cannot be connected to."""
    said = first_line(error)
    if "Peer authentication failed" in said or ('role "' in said and "does not exist" in said):
        hint = (
            "By its socket it lets in whoever the system calls so: run this as the server's own user, as after `su - postgres`."
        )
        return DatabaseUnreachable(f"The PostgreSQL server {public_name(url)} does not let this user in: {said}.", hint)
    return DatabaseUnreachable(
        f"The PostgreSQL server {public_name(url)} cannot be reached: {said}.",
        "Check the URL with its sslmode, that the server runs, and that pg_hba.conf lets this user in; "
        "passwords come from PGPASSWORD or ~/.pgpass.",
    )


def first_line(error: Exception) -> str:
    """An error of the server's, without its final full stop, for a sentence."""
    text = str(error).strip().removeprefix("connection failed: ").removeprefix("connection is bad: ")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    wanted = next((line for line in lines if "FATAL" in line or "ERROR" in line), lines[0] if lines else type(error).__name__)
    return " ".join(wanted.rstrip(".").split())


def inquire(session: Session) -> Server:
    """Ask a server about itself by SQL.  Raises ``DatabaseUnreachable`` for a version that is too old."""
    rows = session.execute("SELECT name, setting FROM pg_settings WHERE name = ANY(%s)", [_SETTINGS.split(" ")]).fetchall()
    settings = {str(name): str(value) for name, value in rows}
    row = session.execute(
        "SELECT (SELECT system_identifier FROM pg_control_system())::text, pg_is_in_recovery(),"
        " extract(epoch FROM pg_postmaster_start_time())::float8, (SELECT rolname FROM pg_roles WHERE oid = 10)"
    ).fetchone()
    assert row is not None
    return require_known(
        Server(
            system=str(row[0]),
            number=int(settings["server_version_num"]),
            version=settings["server_version"].split()[0],
            segment=int(settings["wal_segment_size"]),
            page=int(settings["block_size"]),
            relation_pages=int(settings["segment_size"]),
            checksums=settings["data_checksums"] == "on",
            standby=bool(row[1]),
            settings=settings,
            started=float(str(row[2])),
            superuser=str(row[3] or ""),
        )
    )


def require_known(server: Server) -> Server:
    """The server, if its version is one that can be backed up.  Raises ``DatabaseUnreachable``."""
    if server.major < OLDEST:
        raise DatabaseUnreachable(
            f"PostgreSQL {server.version} is too old: Safehold backs up versions {OLDEST} to {NEWEST}.",
            "Use pg_dump with `command:`, or upgrade the server.",
        )
    return server


def tablespaces(session: Session) -> dict[str, str]:
    """The names of tablespaces by their number, but the two that every cluster has."""
    rows = session.execute("SELECT oid::text, spcname FROM pg_tablespace WHERE spcname NOT IN ('pg_default', 'pg_global')")
    return {str(oid): str(name) for oid, name in rows.fetchall()}


def archiver_trouble(session: Session) -> str:
    """What is wrong with the archiving of the log, in a sentence; empty if nothing is known to be."""
    import psycopg

    with suppress(psycopg.Error):
        row = session.execute(
            "SELECT failed_count, last_failed_wal, last_archived_wal FROM pg_stat_archiver"
            " WHERE last_failed_time > coalesce(last_archived_time, '-infinity')"
        ).fetchone()
        if row is not None:
            return f"PostgreSQL cannot archive its log: {row[1]} failed (the archive command failed {row[0]} times in all)."
    return ""
