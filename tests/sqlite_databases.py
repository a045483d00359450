"""SQLite databases for tests, and applications that write to them at full speed, in processes of their own.

Every transaction moves an amount from one account to another and adds a line to a ledger: the sum stays the same, and the
ledger's numbers rise without a gap.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

ACCOUNTS = 2000
BALANCE = 1000

APPLICATION = """
import os, random, signal, sqlite3, sys, time
path, pause, setup = sys.argv[1], float(sys.argv[2]), sys.argv[3:]
going = True
def stop(*_):
    global going
    going = False
signal.signal(signal.SIGTERM, stop)
db = sqlite3.connect(path, timeout=30, isolation_level=None)
for statement in setup:
    if not statement.startswith("often:"):
        db.execute(statement).fetchall()
often = [s.removeprefix("often:") for s in setup if s.startswith("often:")]
accounts = db.execute("SELECT count(*) FROM accounts").fetchone()[0]
draw = random.Random(os.getpid())
done, slowest = 0, 0.0
print("going", flush=True)
while going:
    a, b, amount = draw.randrange(accounts) + 1, draw.randrange(accounts) + 1, draw.randrange(100)
    started = time.perf_counter()
    db.execute("BEGIN IMMEDIATE")
    db.execute("UPDATE accounts SET balance = balance - ?, note = ? WHERE id = ?", (amount, draw.randbytes(40), a))
    db.execute("UPDATE accounts SET balance = balance + ? WHERE id = ?", (amount, b))
    db.execute("INSERT INTO ledger (at) VALUES (?)", (time.time(),))
    db.execute("COMMIT")
    slowest = max(slowest, time.perf_counter() - started)
    done += 1
    if often and done % 200 == 0:
        db.execute(often[done // 200 % len(often)]).fetchall()
    if pause:
        time.sleep(pause)
print(done, slowest, flush=True)
"""


def make(path: Path, *, mode: str = "wal", page: int = 4096, accounts: int = ACCOUNTS) -> Path:
    """A database with accounts that hold ``BALANCE`` each, and an empty ledger."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(f"PRAGMA page_size = {page}")
        db.execute(f"PRAGMA journal_mode = {mode}").fetchall()
        db.execute("CREATE TABLE accounts (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL, note BLOB, filling BLOB)")
        db.execute("CREATE TABLE ledger (id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL)")
        db.execute("BEGIN")
        db.executemany(
            "INSERT INTO accounts (balance, note, filling) VALUES (?, ?, ?)",
            ((BALANCE, os.urandom(40), os.urandom(200)) for _ in range(accounts)),
        )
        db.execute("COMMIT")
    return path


def verify(path: Path, accounts: int = ACCOUNTS) -> int:
    """Check that a restored database is whole and that no transaction is in it in part; the number of the ledger's lines."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert db.execute("SELECT sum(balance), count(*) FROM accounts").fetchone() == (accounts * BALANCE, accounts)
        count, last = db.execute("SELECT count(*), coalesce(max(id), 0) FROM ledger").fetchone()
        assert count == last
        return int(count)


def lines(path: Path) -> int:
    """How many lines the ledger has; asked in a process of its own, which may be done while the database is in use."""
    return int(run(path, "SELECT count(*) FROM ledger"))


def run(path: Path, *statements: str) -> str:
    """What statements give, in a process of their own: its first value, of the last one."""
    code = (
        "import sqlite3, sys\ndb = sqlite3.connect(sys.argv[1], timeout=30, isolation_level=None)\n"
        "for s in sys.argv[2:]: row = db.execute(s).fetchone()\nprint(row[0] if row else '')"
    )
    done = subprocess.run([sys.executable, "-c", code, path, *statements], capture_output=True, text=True, check=True)
    return done.stdout.strip()


class Application:
    """A process that writes until it is told to stop, or killed."""

    def __init__(self, path: Path, pause: float, setup: tuple[str, ...]) -> None:
        words = [sys.executable, "-c", APPLICATION, path, str(pause), *setup]
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "going\n"

    def stop(self) -> tuple[int, float]:
        """How many transactions it did, and how long the slowest one took."""
        self.process.send_signal(signal.SIGTERM)
        done, _ = self.process.communicate(timeout=60)
        assert self.process.returncode == 0
        count, slowest = done.split()
        return int(count), float(slowest)

    def kill(self) -> None:
        """In the middle of whatever it does."""
        self.process.kill()
        self.process.communicate()


@contextmanager
def application(path: Path, *setup: str, pause: float = 0.0) -> Iterator[Application]:
    """An application that writes to a database.  ``setup``: statements at first; those after ``often:`` now and then."""
    made = Application(path, pause, setup)
    try:
        yield made
    finally:
        if made.process.poll() is None:
            made.kill()


def until(condition: object, seconds: float = 30) -> None:
    """Wait for something to be true."""
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)
