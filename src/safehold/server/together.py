"""Transactions of one SQLite database, made durable several at a time.

SQLite has one writer, and each commit waits for the disk.  So those who queue for their turn do their work one after the other
in one transaction, each behind a savepoint of its own, and the last one commits for all.  Everybody is told only then that it is
durable; a commit that fails, fails for all of them.  Nobody waits for the sake of company: who is alone commits at once.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, OperationalError

MOST = 64
"""Transactions in one commit."""


class _Batch:
    """Some transactions that will be durable at the same moment."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.transaction = connection.begin()
        self.members = 0
        self.is_lost = False
        """That what its members did is undone, or cannot be told apart."""
        self._ended = threading.Event()
        self._error: BaseException | None = None

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """What is done inside is undone alone if it raises."""
        self.members += 1
        self._say("SAVEPOINT one")
        try:
            yield
        except BaseException:
            self._undo_one()
            raise
        self._require_whole()
        self._say("RELEASE one")

    def _undo_one(self) -> None:
        try:
            self._require_whole()
            self._say("ROLLBACK TO one")
            self._say("RELEASE one")
        except DBAPIError:
            self.is_lost = True

    def _require_whole(self) -> None:
        """SQLite undoes everything by itself when the disk is full or does not answer.  Raises ``OperationalError`` then."""
        driver: Any = self.connection.connection.dbapi_connection
        if not driver.in_transaction:
            self.is_lost = True
            raise OperationalError("COMMIT", None, sqlite3.OperationalError("SQLite undid the transaction"))

    def _say(self, statement: str) -> None:
        self.connection.exec_driver_sql(statement)

    def end(self) -> None:
        """Make it durable, or undo all of it, and tell those who wait.  Does not raise: each of them does."""
        try:
            with self.connection:
                if self.is_lost:
                    self.transaction.rollback()
                self._require_whole()
                self.transaction.commit()
        except BaseException as error:
            self._error = error
        finally:
            self._ended.set()

    def require_durable(self) -> None:
        """Wait for its end.  Raises ``OperationalError`` if it is undone."""
        self._ended.wait()
        if self._error is not None:
            raise self._error


class Together:
    """The writers of one process."""

    def __init__(self, open_connection: Callable[[], Connection]) -> None:
        self._open = open_connection
        self._turn = threading.Lock()
        self._counting = threading.Lock()
        self._waiting = 0
        self._batch: _Batch | None = None
        """The one that is open; touched by who has the turn."""

    @contextmanager
    def join(self, alone: bool) -> Iterator[Connection]:
        """A connection in a transaction; durable when the block ends, undone if it raises.

        ``alone``: what came before is durable when the block begins, and what is done in it when the next one does.
        """
        with self._counting:
            self._waiting += 1
        with self._turn:
            with self._counting:
                self._waiting -= 1
            if alone:
                self._end()
            batch = self._batch = self._batch or _Batch(self._open())
            try:
                with batch.savepoint():
                    yield batch.connection
            finally:
                if alone or not self._waiting or batch.members >= MOST or batch.is_lost:
                    self._end()
        batch.require_durable()

    def _end(self) -> None:
        batch, self._batch = self._batch, None
        if batch is not None:
            batch.end()
