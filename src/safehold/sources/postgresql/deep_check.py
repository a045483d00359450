"""Whether every index agrees with its table, and every row can be read: asked of a private server, database by database.

``pg_amcheck`` does it, which came with version 14.  Where it is missing, the extension that it stands on is asked here: each
B-tree is held against all rows of its table, and each table is read to its last byte (``verify_heapam``, of 14, also looks into
rows' headers).
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

assert sys.platform != "win32"

from safehold.core.errors import ProgramMissing
from safehold.sources.postgresql.programs import Account

_DATABASES = "SELECT datname FROM pg_database WHERE datallowconn ORDER BY datname"
_INDEXES = """
SELECT c.oid::bigint, c.oid::regclass::text FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
JOIN pg_am a ON a.oid = c.relam
WHERE a.amname = 'btree' AND c.relkind = 'i' AND c.relpersistence <> 't' AND i.indisready AND i.indisvalid
ORDER BY c.relpages, c.oid
"""
"""As the manual's page on amcheck has it."""
_TABLES = """
SELECT c.oid::regclass::text, c.oid::regclass::text FROM pg_class c
WHERE c.relkind IN ('r', 'm') AND c.relpersistence <> 't' AND c.relispopulated ORDER BY c.relpages, c.oid
"""


def problem(sockets: Path, owner: str, programs: Path, account: Account) -> str:
    """The first thing that is wrong with a server's databases, in the engine's words; "" if nothing is.

    ``owner``: its superuser.  ``account``: who may pass through its sockets' folder.  Raises ``ProgramMissing``.
    """
    command = [str(programs / "pg_amcheck"), "--all", "--install-missing", "--heapallindexed"]
    where = ["-h", str(sockets), "-U", owner, "--no-password"]
    try:
        done = subprocess.run([*command, *where], capture_output=True, text=True, check=False, **account.popen)  # type: ignore[call-overload]
    except FileNotFoundError:
        return _asked(sockets, owner)
    if done.returncode == 0:
        return ""
    lines = (done.stdout + done.stderr).strip().splitlines()
    return str(lines[0]) if lines else "pg_amcheck says so"


def _asked(sockets: Path, owner: str) -> str:
    import psycopg

    with psycopg.connect(host=str(sockets), user=owner, dbname="postgres") as connection:
        names = [str(name) for (name,) in connection.execute(_DATABASES)]
    return next((f"{name}: {words}" for name in names if (words := _problem_of(sockets, owner, name))), "")


def _problem_of(sockets: Path, owner: str, database: str) -> str:
    import psycopg
    from psycopg import sql

    with psycopg.connect(host=str(sockets), user=owner, dbname=database, autocommit=True) as connection:
        try:
            connection.execute("CREATE EXTENSION IF NOT EXISTS amcheck")
        except psycopg.Error as error:
            raise ProgramMissing(
                "PostgreSQL's extension amcheck is needed, and is not on this machine.",
                "Install the package with the server's additions (postgresql-contrib).",
            ) from error
        for query, rows in (
            (sql.SQL("SELECT bt_index_check({}::oid::regclass, true)"), connection.execute(_INDEXES).fetchall()),
            (sql.SQL("COPY (SELECT * FROM ONLY {}) TO '/dev/null'"), connection.execute(_TABLES).fetchall()),
        ):
            for which, name in rows:
                try:
                    connection.execute(query.format(sql.SQL(str(which))))
                except psycopg.Error as error:
                    return f"{name}: {str(error).splitlines()[0]}"
    return ""
