"""Transactions that are made durable several at a time: each is undone alone, and none is told too early or wrongly."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, insert, select
from sqlalchemy.exc import OperationalError

from safehold.server.database import Database
from safehold.server.schema import facts


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = Database(f"sqlite:///{tmp_path / 'db'}")
    made.prepare()
    yield made
    made.close()


def note(connection: Connection, name: str) -> None:
    connection.execute(insert(facts).values(name=name, value=b""))


def names(database: Database) -> set[str]:
    with database.read() as connection:
        return set(connection.execute(select(facts.c.name)).scalars())


class Queue:
    """Somebody holds the turn until the others wait for it, so that all of them come into one commit."""

    def __init__(self, database: Database, *blocks: object) -> None:
        self.told: dict[int, object] = {}
        self._database = database
        inside, go = threading.Event(), threading.Event()

        def first() -> None:
            with database.write() as connection:
                note(connection, "first")
                inside.set()
                assert go.wait(10)

        threads = [threading.Thread(target=self._run, args=(0, first))]
        threads[0].start()
        assert inside.wait(10)
        for number, block in enumerate(blocks, 1):
            threads.append(threading.Thread(target=self._run, args=(number, block)))
            threads[-1].start()
            while database._together._waiting < number:  # type: ignore[union-attr]
                pass
        go.set()
        for thread in threads:
            thread.join(10)

    def _run(self, number: int, block: object) -> None:
        try:
            block()  # type: ignore[operator]
            self.told[number] = None
        except Exception as error:
            self.told[number] = error


def writer(database: Database, name: str, error: Exception | None = None, alone: bool = False) -> object:
    def write() -> None:
        with database.write(alone=alone) as connection:
            note(connection, name)
            if error is not None:
                raise error

    return write


def test_one_that_fails_is_undone_alone(database: Database) -> None:
    told = Queue(database, writer(database, "a"), writer(database, "b", ValueError("b")), writer(database, "c")).told
    assert {number for number, error in told.items() if error is None} == {0, 1, 3}
    assert str(told[2]) == "b"
    assert names(database) >= {"first", "a", "c"} and "b" not in names(database)


def test_the_last_one_that_fails_commits_for_the_others(database: Database) -> None:
    told = Queue(database, writer(database, "a", ValueError("a"))).told
    assert told[0] is None and str(told[1]) == "a"
    assert "first" in names(database) and "a" not in names(database)


def test_a_commit_that_fails_fails_for_all(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    from sqlalchemy.engine import Transaction

    commit = Transaction.commit
    monkeypatch.setattr(Transaction, "commit", _fails)
    told = Queue(database, writer(database, "a")).told
    assert all(isinstance(told[number], OperationalError) for number in (0, 1))
    monkeypatch.setattr(Transaction, "commit", commit)
    assert not {"first", "a"} & names(database)
    writer(database, "later")()  # type: ignore[operator]
    assert "later" in names(database)


def _fails(_self: object) -> None:
    raise OperationalError("COMMIT", None, Exception("disk I/O error"))


def test_when_sqlite_undoes_everything_nobody_is_told_otherwise(database: Database) -> None:
    def full() -> None:
        with database.write() as connection:
            connection.exec_driver_sql("ROLLBACK")  # as SQLite does by itself when the disk is full
            raise OperationalError("INSERT", None, Exception("database or disk is full"))

    told = Queue(database, full, writer(database, "behind")).told
    assert isinstance(told[0], OperationalError) and isinstance(told[1], OperationalError)
    assert (told[2] is None) == ("behind" in names(database))  # whichever of the two had its turn first
    assert "first" not in names(database)
    writer(database, "later")()  # type: ignore[operator]
    assert "later" in names(database)


def test_what_is_not_undone_waits_until_what_came_before_is_durable(database: Database) -> None:
    seen: list[bool] = []

    def alone() -> None:
        with database.write(alone=True) as connection:
            seen.append("first" in names(database))
            note(connection, "alone")

    told = Queue(database, alone, writer(database, "after")).told
    assert set(told.values()) == {None} and seen == [True]
    assert names(database) >= {"first", "alone", "after"}


def test_many_at_once_all_last(database: Database) -> None:
    writers = [writer(database, f"n{number}") for number in range(60)]
    threads = [threading.Thread(target=write) for write in writers]  # type: ignore[arg-type]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {f"n{number}" for number in range(60)} <= names(database)
