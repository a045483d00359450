"""Which database a path holds: a random name, kept by this machine for as long as the path holds the same file.

SQLite gives its databases no id.  A path alone would take a database that was put in another's place for the same one, and an
inode number alone is used again.  So the name is remembered by path, and holds while inode and time of birth, where the system
tells it, are the same.  A database that was replaced by renaming over it is another: what follows is not its history.
"""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from safehold.core.errors import SafeholdError

_SCHEMA = "CREATE TABLE IF NOT EXISTS databases (path TEXT PRIMARY KEY, file TEXT NOT NULL, system TEXT NOT NULL) WITHOUT ROWID"


def system_of(path: str, state: Path, random: Callable[[int], bytes] = os.urandom) -> str:
    """The name of the database at ``path``: 32 hexadecimal digits.  ``state``: the folder that remembers.

    Raises ``SafeholdError`` where that folder cannot be used, ``OSError`` where there is no file.
    """
    real, file = os.path.realpath(path), _file(path)
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        with closing(sqlite3.connect(state / "databases.db", timeout=10, isolation_level=None)) as db:
            db.execute(_SCHEMA)
            db.execute("BEGIN IMMEDIATE")
            known = db.execute("SELECT file, system FROM databases WHERE path = ?", (real,)).fetchone()
            system = known[1] if known is not None and known[0] == file else random(16).hex()
            db.execute("INSERT OR REPLACE INTO databases VALUES (?, ?, ?)", (real, file, system))
            db.execute("COMMIT")
    except (OSError, sqlite3.Error) as error:
        raise SafeholdError(
            f"What this machine knows of SQLite databases cannot be kept in {state}: {error}.",
            "Set SAFEHOLD_STATE_DIR to a folder of yours.",
        ) from error
    return str(system)


def _file(path: str) -> str:
    found = os.stat(path)
    born = getattr(found, "st_birthtime_ns", 0) if sys.version_info >= (3, 12) else 0
    return f"{found.st_ino}:{born}"
