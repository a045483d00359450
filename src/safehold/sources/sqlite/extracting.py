"""One table out of a database, as SQL or as a database of its own."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from safehold.core.errors import DatabaseFailed, PathMissing, UsageError

ENDINGS = (".db", ".sqlite", ".sqlite3", ".db3")
"""A target that ends so gets a database; any other gets SQL."""


def check(path: Path) -> list[str]:
    """What SQLite's quick check finds wrong with a database that nobody uses."""
    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            return [row[0] for row in db.execute("PRAGMA quick_check(20)") if row[0] != "ok"]
    except sqlite3.DatabaseError as error:
        return [str(error)]


def extract(database: Path, tables: list[str], target: Path) -> int:
    """Write these tables with their indexes and triggers to ``target``; how many rows.

    Raises ``PathMissing`` for a table that is not there, ``UsageError`` for one that other tables make up, ``DatabaseFailed``.
    """
    try:
        with closing(sqlite3.connect(database, isolation_level=None)) as db:
            db.text_factory = lambda data: data.decode("utf-8", "surrogateescape")
            counter = _Counter()
            lines = _dump(db, tables, counter)
            if target.suffix in ENDINGS:
                _into_database(db, lines, target)
            else:
                with target.open("w", encoding="utf-8", errors="surrogateescape") as file:
                    file.writelines(f"{line}\n" for line in lines)
            return counter.rows
    except sqlite3.DatabaseError as error:
        raise DatabaseFailed(f"{', '.join(tables)} cannot be read: {error}.", "An older moment may be whole.") from error


class _Counter:
    rows = 0


def _dump(db: sqlite3.Connection, tables: list[str], counter: _Counter) -> Iterator[str]:
    wanted = [_schema(db, table) for table in tables]
    yield "PRAGMA foreign_keys = OFF;"
    yield "BEGIN TRANSACTION;"
    for name, sql in wanted:
        yield f"{sql};"
        for row in _rows(db, name):
            counter.rows += 1
            yield row
        yield from _sequence(db, name)
        others = db.execute(
            "SELECT sql FROM sqlite_schema WHERE tbl_name = ? AND type IN ('index', 'trigger') AND sql IS NOT NULL ORDER BY type",
            (name,),
        )
        yield from [f"{other};" for (other,) in others]
    yield "COMMIT;"


def _schema(db: sqlite3.Connection, table: str) -> tuple[str, str]:
    """A table's name as it is written in the database, and how it is made."""
    query = "SELECT name, sql FROM sqlite_schema WHERE type = 'table' AND name = ? COLLATE NOCASE"
    found = db.execute(query, (table,)).fetchone()
    if found is None or str(found[0]).startswith("sqlite_"):
        names = [row[0] for row in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name LIMIT 20")]
        raise PathMissing(f"The database has no table {table}.", f"It has: {', '.join(names) or 'none'}.")
    name, sql = found
    if str(sql).upper().startswith("CREATE VIRTUAL"):
        raise UsageError(f"{name} is a virtual table, which other tables make up.", "Restore the whole database.")
    return str(name), str(sql)


def _rows(db: sqlite3.Connection, table: str) -> Iterator[str]:
    quoted = _quoted(table)
    columns = [row[1] for row in db.execute(f"PRAGMA table_xinfo({quoted})") if row[6] == 0]
    values = " || ',' || ".join(f"quote({_quoted(column)})" for column in columns)
    names = ", ".join(_quoted(column) for column in columns)
    for (row,) in db.execute(f"SELECT {values} FROM {quoted}"):
        yield f"INSERT INTO {quoted} ({names}) VALUES({row});"


def _sequence(db: sqlite3.Connection, table: str) -> Iterator[str]:
    """What AUTOINCREMENT goes on from, which may be more than the largest key."""
    if db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'sqlite_sequence'").fetchone():
        for (last,) in db.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", (table,)):
            text = table.replace("'", "''")
            yield f"DELETE FROM sqlite_sequence WHERE name = '{text}';"
            yield f"INSERT INTO sqlite_sequence VALUES('{text}', {int(last)});"


def _into_database(db: sqlite3.Connection, lines: Iterator[str], target: Path) -> None:
    page, encoding = (db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_size", "encoding"))
    with closing(sqlite3.connect(target, isolation_level=None)) as made:
        made.execute(f"PRAGMA page_size = {int(page)}")
        made.execute(f"PRAGMA encoding = '{encoding}'")
        for line in lines:
            made.execute(line)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
