"""A process that holds one moment of a database until its standard input ends: ``python -m safehold.sources.sqlite.holder PATH``.

A line of JSON says which moment; each line of its input is an order, answered by a line.  It is a process of its own because
others read the database's files meanwhile, which a process that has locks on them must not (see the package).
"""

from __future__ import annotations

import json
import os
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from safehold.sources.files.folders import read_at
from safehold.sources.sqlite import wal

TIMEOUT_SECONDS = 10.0
"""So long a lock is waited for; the application's own writes wait no longer for this than for any of its readers."""
TRIES = 2000
"""To find a moment between two commits: at 5,000 commits a second, most tries find one."""
MOST_PROBLEMS = 100
CHECKS = {"quick": "quick_check", "full": "integrity_check"}


def connect(path: str, *, writable: bool = False) -> sqlite3.Connection:
    """A connection that changes nothing, not even by a checkpoint when it is closed; unless ``writable``.

    Raises ``sqlite3.Error``.
    """
    uri = f"{Path(path).absolute().as_uri()}?mode={'rw' if writable else 'ro'}"
    db = sqlite3.connect(uri, uri=True, timeout=TIMEOUT_SECONDS, isolation_level=None, check_same_thread=False)
    db.execute("PRAGMA mmap_size = 0")
    return db


def pin(db: sqlite3.Connection) -> None:
    """Begin a transaction that reads, so that the database stays for it as it is."""
    db.execute("BEGIN")
    db.execute("SELECT count(*) FROM (SELECT 1 FROM sqlite_schema LIMIT 1)").fetchone()


def read_index(descriptor: int) -> wal.Index | None:
    """The WAL's index just now; None if it is being written, even after some looks."""
    for _ in range(50):
        found = wal.parse_index(read_at(descriptor, wal.INDEX_HEADER, 0))
        if found is not None:
            return found
    return None


def pin_known(db: sqlite3.Connection, descriptor: int) -> wal.Index | None:
    """Begin such a transaction, and say at which commit; None if commits come too fast to say.

    ``backfilled`` of the answer is either less than ``frames``, and then frames up to ``frames`` are kept as long as it lasts;
    or equal, and then the database file is.
    """
    for _ in range(TRIES):
        before = read_index(descriptor)
        pin(db)
        after = read_index(descriptor)
        if before is not None and after is not None and _same(before, after):
            done = (before.backfilled == before.frames, after.backfilled == after.frames)
            if done[0] == done[1]:
                return after
        db.execute("COMMIT")
    return None


def _same(before: wal.Index, after: wal.Index) -> bool:
    return (before.salts, before.frames, before.changes) == (after.salts, after.frames, after.changes)


def main(words: list[str], orders: IO[str], answers: IO[str]) -> int:
    """Hold, and answer orders until there are no more."""
    path = words[0]
    try:
        db = _open(path)
        said = _hold(db, path)
    except sqlite3.Error as error:
        said = {"error": str(error), "name": getattr(error, "sqlite_errorname", "")}
    _say(answers, said)
    for line in orders if "error" not in said else ():
        order, _, argument = line.rstrip("\n").partition(" ")
        for answer in _obey(db, order, argument):
            _say(answers, answer)
    return 0


def _open(path: str) -> sqlite3.Connection:
    db = connect(path)
    try:
        pin(db)
        db.execute("COMMIT")
    except sqlite3.OperationalError as error:
        if getattr(error, "sqlite_errorname", "") != "SQLITE_READONLY_ROLLBACK":
            raise
        db.close()  # a journal of a transaction that was cut off: whoever opens the database first rolls it back
        db = connect(path, writable=True)
    return db


def _hold(db: sqlite3.Connection, path: str) -> dict[str, object]:
    """Pin the database, and say at what."""
    mode = str(db.execute("PRAGMA journal_mode").fetchone()[0])
    file = os.stat(path)
    said: dict[str, object] = {"mode": mode, "device": file.st_dev, "inode": file.st_ino}
    if mode == "wal" and sys.platform != "win32":
        # Never closed: that would drop this process's locks.
        index = pin_known(db, os.open(path + "-shm", os.O_RDONLY))
        if index is not None:
            log = os.stat(path + "-wal")
            return said | {"known": True, "salts": index.salts.hex(), "frames": index.frames, "pages": index.pages,
                           "sums": index.sums, "done": index.backfilled == index.frames, "log": log.st_ino}  # fmt: skip
    pin(db)
    return said | {"known": False}


def _obey(db: sqlite3.Connection, order: str, argument: str) -> Iterator[dict[str, object]]:
    try:
        if order == "copy":
            copy = sqlite3.connect(argument, isolation_level=None)
            copy.execute("PRAGMA synchronous = OFF")
            db.backup(copy)
            copy.close()
            yield {"copied": True}
        else:
            rows = db.execute(f"PRAGMA {CHECKS[order]}({MOST_PROBLEMS})").fetchall()
            yield {"problems": [row[0] for row in rows if row[0] != "ok"]}
    except sqlite3.DatabaseError as error:
        yield {"problems": [str(error)], "error": str(error)}


def _say(answers: IO[str], value: dict[str, object]) -> None:
    answers.write(json.dumps(value) + "\n")
    answers.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], sys.stdin, sys.stdout))
