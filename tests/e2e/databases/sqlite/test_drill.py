"""A drill of an SQLite backup: whole ones are proved, and damage that came with the backup is found."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from cli_program import Program


def _database(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE t (n INTEGER PRIMARY KEY, m TEXT)")
        connection.executemany("INSERT INTO t VALUES (?, ?)", [(n, f"{n * 7919:040}") for n in range(5000)])
        connection.execute("CREATE INDEX i ON t (m)")
    connection.close()


def test_a_whole_one_is_proved(safehold: Program, tmp_path: Path) -> None:
    safehold.set(SAFEHOLD_STATE_DIR=str(tmp_path / "state"))
    _database(tmp_path / "data.db")
    safehold.do("backup", f"sqlite:{tmp_path / 'data.db'}")
    proved = safehold.do("drill", "--json", "--scratch", tmp_path).value
    assert proved["event"] == "drill" and int(str(proved["bytes"])) >= (tmp_path / "data.db").stat().st_size
    assert not list(tmp_path.glob("safehold-drill-*"))


def test_damage_that_came_with_it_is_found(safehold: Program, tmp_path: Path) -> None:
    safehold.set(SAFEHOLD_STATE_DIR=str(tmp_path / "state"))
    _database(tmp_path / "data.db")
    with (tmp_path / "data.db").open("r+b") as file:
        file.seek(30 * 4096)
        file.write(b"\xff" * 4096)
    safehold.do("backup", f"sqlite:{tmp_path / 'data.db'}")
    failed = safehold("drill", "--scratch", tmp_path)
    assert failed.status == 4 and "damaged" in failed.err
    assert not list(tmp_path.glob("safehold-drill-*"))
