"""The database: SQLite of its own, or a PostgreSQL that several servers share.

Everything here blocks, and is called from threads.  A write transaction on SQLite takes the write lock when it begins, so none
fails half-way because another came between.  On PostgreSQL each statement of one sees what was committed before it (READ
COMMITTED), and what must not be done twice at once is behind a row's lock.  Locks are taken in this order, so that no two
transactions wait for each other: the repository's row, the account's row, anything else; the audit log's last of all.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy import Connection, Table, create_engine, event, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError

from safehold.core.clock import SystemClock
from safehold.core.errors import SafeholdError
from safehold.server.together import Together

_WRITES: dict[str, Any] = {"safehold_write": True}
_ONE_MOMENT: dict[str, Any] = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
_WAL_TRIES, _WAL_PAUSE = 200, 0.05
_WAIT_SECONDS = 30
"""For SQLite's one writer: longer than any transaction here takes by far."""


class Database:
    """Connections to one database, whose tables are those of this version."""

    def __init__(self, url: str) -> None:
        parsed = make_url(url)
        if parsed.get_backend_name() == "postgresql":
            parsed = parsed.set(drivername="postgresql+psycopg")
        self.is_sqlite = parsed.get_backend_name() == "sqlite"
        self.url = parsed
        self.changes = 0
        """How many transactions this server made that changed something: what was looked up before one may not hold after it."""
        self._counting = threading.Lock()
        level = {} if self.is_sqlite else {"isolation_level": "READ COMMITTED"}  # whatever the server's own default is
        self.engine = create_engine(parsed, pool_size=20, max_overflow=20, pool_pre_ping=not self.is_sqlite, **level)
        if self.is_sqlite:
            event.listen(self.engine, "connect", _prepare_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)
        self._together = Together(self._open) if self.is_sqlite else None

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection to look with, which sees one moment; nothing can be written with it."""
        options = {} if self.is_sqlite else _ONE_MOMENT
        with self.engine.connect().execution_options(**options) as connection, connection.begin():
            yield connection

    @contextmanager
    def write(self, *, alone: bool = False, keeps_lookups: bool = False) -> Iterator[Connection]:
        """A transaction, durable when the block ends, undone if it raises.

        On SQLite those that wait for one another are made durable together (``together``).  ``alone``: this one is not, because
        it does something that is not undone with it.  ``keeps_lookups``: what was looked up before (``Recent``) still holds.
        """
        try:
            if self._together is not None:
                with self._together.join(alone) as connection:
                    yield connection
            else:
                with self._open() as connection, connection.begin():
                    yield connection
        finally:
            if not keeps_lookups:
                with self._counting:
                    self.changes += 1

    def _open(self) -> Connection:
        return self.engine.connect().execution_options(**_WRITES)

    def prepare(self) -> None:
        """Bring the tables to this version.  Raises ``SafeholdError`` if they are of a newer one, or it cannot be reached."""
        if self.is_sqlite and self.url.database:
            Path(self.url.database).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        try:
            with self.write(alone=True) as connection:  # of several servers that start at once one brings the tables up to date
                if not self.is_sqlite:
                    connection.execute(text("SELECT pg_advisory_xact_lock(7233160)"))
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
        except CommandError as error:
            head = ScriptDirectory.from_config(config).get_current_head()
            raise SafeholdError(
                f"The database is of a newer Safehold (this one knows {head}).", "Update this server, too."
            ) from error
        except OperationalError as error:
            raise SafeholdError(f"The database cannot be used: {_plainly(error)}.", "Look at DATABASE_URL.") from error
        if self.is_sqlite and self.url.database:
            os.chmod(self.url.database, 0o600)

    def close(self) -> None:
        """Let go of all connections."""
        self.engine.dispose()


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # transactions begin where they are said to
    cursor = connection.cursor()
    for pragma in (f"busy_timeout={_WAIT_SECONDS * 1000}", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    _use_wal(cursor)
    cursor.close()


def _use_wal(cursor: sqlite3.Cursor) -> None:
    """Have the database keep a write-ahead log.  Of several that say so of a new one at once, SQLite lets some fail."""
    for left in reversed(range(_WAL_TRIES)):
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError:
            if not left:
                raise
            SystemClock().sleep(_WAL_PAUSE)


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("safehold_write")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def insert_new(connection: Connection, table: Table, **values: object) -> bool:
    """Insert a row unless one with its key is there; whether it was inserted."""
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    return connection.execute(dialect.insert(table).values(**values).on_conflict_do_nothing()).rowcount == 1


def upsert(connection: Connection, table: Table, key: dict[str, object], values: dict[str, object]) -> None:
    """Insert a row, or change the one that has this key."""
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    made = dialect.insert(table).values(**key, **values)
    connection.execute(made.on_conflict_do_update(index_elements=list(key), set_=values))


def alone(connection: Connection, what: str) -> None:
    """Wait until no other transaction, of any server, does that: for what has no row to lock.  On SQLite there is one writer."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:what, 7233160))"), {"what": what})


def _plainly(error: OperationalError) -> str:
    return str(error.orig).strip().split("\n", 1)[0].rstrip(".")
