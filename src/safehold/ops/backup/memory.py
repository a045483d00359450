"""What this machine remembers of the last backup of a set of paths: the local cache.  ``docs/backup.md``, "Unchanged files".

A row per folder: a fingerprint of what its listing said, its tree id and totals, and the node itself, sealed (a writer cannot
read its own backups, so it cannot ask the repository).  When the fingerprint is the same, no entry of the folder has to be built.

It is a hint.  The rows mirror one snapshot, whose id stands beside them: while that snapshot is stored, all it refers to is
too.  When it is not, every chunk is looked up in the index before it is relied on.  A row is believed only if its mark (a keyed
hash) is right, and a database that fails in the middle of a backup is given up without stopping the backup.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec
from blake3 import blake3

from safehold.codec import compression, sealing
from safehold.core.entries import Node, Totals
from safehold.core.errors import DamageError
from safehold.repo.trees import decode_node, encode_node

NODE_LIMIT = 1 << 30
SCHEMA = """
CREATE TABLE IF NOT EXISTS folders (key BLOB PRIMARY KEY, row BLOB NOT NULL, node BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS pages (
    key BLOB NOT NULL, number INTEGER NOT NULL, map BLOB NOT NULL, sealed BLOB NOT NULL, PRIMARY KEY (key, number)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS notes (name TEXT PRIMARY KEY, sealed BLOB NOT NULL) WITHOUT ROWID;
"""
VERSION = "1"
_MARK = 16
"""Bytes of a row's mark."""
_Value = bytes | str | int


class Remembered(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A folder as the last backup left it."""

    fingerprint: bytes
    tree: bytes
    totals: Totals
    trusted_before: int
    """Entries whose ctime is not before this (ns) may have changed without showing it."""


class Memory:
    """The rows of one set of paths.  Belongs to one thread."""

    def __init__(self, path: Path, key: bytes, random: Callable[[int], bytes]) -> None:
        """``key``: seals nodes and names rows; known to this device only."""
        self._key = key
        self._random = random
        self._failed = False
        self._noted: set[str] = set()
        self._db = _open(path)
        found = self._one("SELECT value FROM state WHERE name = 'snapshot'")
        self.snapshot = str(found[0]) if found else ""
        """The snapshot that the rows mirror; empty if none."""
        self.above = self._above()
        """Ids of the trees of the folders above what was backed up, in a row."""
        self.totals = self._totals()
        """Of that snapshot: what the next backup will find, more or less."""

    def reset(self) -> None:
        """Drop what was not committed: a backup begins, perhaps for the second time."""
        with suppress(sqlite3.Error):
            self._db.execute("ROLLBACK")
        self._noted.clear()
        self._change("BEGIN IMMEDIATE")

    def row_key(self, path: bytes) -> bytes:
        """The key of a folder's row."""
        return blake3(path, key=self._key).digest(16)

    def get(self, key: bytes) -> Remembered | None:
        """What is remembered of a folder, without its node."""
        found = self._one("SELECT row FROM folders WHERE key = ?", key)
        if found is None:
            return None
        row = found[0]
        if not isinstance(row, bytes) or self._mark(key, row[_MARK:]) != row[:_MARK]:
            return None
        return _rows.decode(row[_MARK:])

    def node(self, key: bytes) -> Node | None:
        """The node of a folder; None if it is not remembered, or does not open."""
        found = self._one("SELECT node FROM folders WHERE key = ?", key)
        data = self._unseal(found[0], key) if found else None
        return decode_node(data) if data is not None else None

    def pages(self, key: bytes, number: int, group_map: bytes) -> bytes | None:
        """What is remembered of a group of a paged file whose group map has that id."""
        found = self._one("SELECT sealed FROM pages WHERE key = ? AND number = ? AND map = ?", key, number, group_map)
        return self._unseal(found[0], key + group_map) if found else None

    def page_maps(self, key: bytes) -> list[bytes]:
        """The ids of the group maps of a paged file, in order."""
        try:
            return [row[0] for row in self._db.execute("SELECT map FROM pages WHERE key = ? ORDER BY number", (key,))]
        except sqlite3.Error:
            return []

    def put_pages(self, key: bytes, number: int, group_map: bytes, data: bytes) -> None:
        """Remember a group of a paged file, once ``commit`` is called."""
        sealed = self._seal(data, key + group_map)
        self._change("INSERT OR REPLACE INTO pages VALUES (?, ?, ?, ?)", key, number, group_map, sealed)

    def cut_pages(self, key: bytes, groups: int) -> None:
        """Drop what is remembered of a paged file beyond that many groups."""
        self._change("DELETE FROM pages WHERE key = ? AND number >= ?", key, groups)

    def note(self, name: str) -> bytes | None:
        """What was noted of the snapshot under that name."""
        found = self._one("SELECT sealed FROM notes WHERE name = ?", name)
        return self._unseal(found[0], name.encode()) if found else None

    def put_note(self, name: str, data: bytes) -> None:
        """Note something of the snapshot that is being made, once ``commit`` is called."""
        self._noted.add(name)
        self._change("INSERT OR REPLACE INTO notes VALUES (?, ?)", name, self._seal(data, name.encode()))

    def put(self, key: bytes, remembered: Remembered, node: Node) -> None:
        """Remember a folder, once ``commit`` is called."""
        row = _encoder.encode(remembered)
        sealed = self._seal(encode_node(node), key)
        self._change("INSERT OR REPLACE INTO folders VALUES (?, ?, ?)", key, self._mark(key, row) + row, sealed)

    def forget(self, key: bytes) -> None:
        """Drop the row of something that is gone."""
        self._change("DELETE FROM folders WHERE key = ?", key)

    def commit(self, snapshot: str, totals: Totals, above: bytes) -> None:
        """The rows now mirror ``snapshot``; ``above``: tree ids of the folders above, in a row.

        Notes of the one before are dropped.  If the database failed meanwhile, the rows stay as they were before.
        """
        for name in [row[0] for row in self._db.execute("SELECT name FROM notes") if row[0] not in self._noted]:
            self._change("DELETE FROM notes WHERE name = ?", name)
        self._change("INSERT OR REPLACE INTO state VALUES ('above', ?)", (self._mark(b"above", above) + above).hex())
        self._change("INSERT OR REPLACE INTO state VALUES ('totals', ?)", msgspec.json.encode(totals).decode())
        self._change("INSERT OR REPLACE INTO state VALUES ('snapshot', ?)", snapshot)
        self._change("COMMIT")

    def close(self) -> None:
        """Drop what was not committed."""
        self._db.close()

    def _above(self) -> bytes:
        found = self._one("SELECT value FROM state WHERE name = 'above'")
        try:
            marked = bytes.fromhex(str(found[0])) if found else b""
        except ValueError:
            return b""
        above = marked[_MARK:]
        return above if self._mark(b"above", above) == marked[:_MARK] else b""

    def _totals(self) -> Totals:
        found = self._one("SELECT value FROM state WHERE name = 'totals'")
        try:
            return msgspec.json.decode(str(found[0]) if found else "", type=Totals)
        except msgspec.MsgspecError:
            return Totals()

    def _one(self, query: str, *values: _Value) -> tuple[_Value, ...] | None:
        """The first row of a query; None if there is none, or the database is broken."""
        try:
            found: tuple[_Value, ...] | None = self._db.execute(query, values).fetchone()
        except sqlite3.Error:
            return None
        return found

    def _change(self, statement: str, *values: _Value) -> None:
        """After one failure (a full disk, say) nothing is changed any more, so that nothing is committed in part."""
        if not self._failed:
            try:
                self._db.execute(statement, values)
            except sqlite3.Error:
                self._failed = True

    def _mark(self, key: bytes, row: bytes) -> bytes:
        return blake3(key + row, key=self._key).digest(_MARK)

    def _seal(self, data: bytes, key: bytes) -> bytes:
        nonce = self._random(12)
        return nonce + sealing.aead_seal(self._key, nonce, compression.pack(data, 1), key)

    def _unseal(self, sealed: _Value, key: bytes) -> bytes | None:
        if not isinstance(sealed, bytes):
            return None
        try:
            return compression.unpack(sealing.aead_open(self._key, sealed[:12], sealed[12:], key), NODE_LIMIT)
        except DamageError:
            return None


_encoder = msgspec.msgpack.Encoder()
_rows = msgspec.msgpack.Decoder(Remembered)


def _open(path: Path) -> sqlite3.Connection:
    """The database, with its write lock held; one that is broken or of another version is made anew: it is only a hint."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return _connect(path)
    except (OSError, sqlite3.OperationalError):
        return _connect(":memory:")  # another backup of the same paths is running, or the folder takes nothing: remember nothing
    except sqlite3.DatabaseError:
        for ending in ("", "-wal", "-shm"):
            path.with_name(path.name + ending).unlink(missing_ok=True)
        return _connect(path)


def _connect(path: Path | str) -> sqlite3.Connection:
    if isinstance(path, Path):
        path.touch(mode=0o600)
    db = sqlite3.connect(path, timeout=0.2, isolation_level=None, check_same_thread=False)
    try:
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("CREATE TABLE IF NOT EXISTS state (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID")
        db.execute("INSERT OR IGNORE INTO state VALUES ('version', ?)", (VERSION,))
        if db.execute("SELECT value FROM state WHERE name = 'version'").fetchone() != (VERSION,):
            raise sqlite3.DatabaseError("of another version")
        db.executescript(SCHEMA)
        db.execute("BEGIN IMMEDIATE")
    except sqlite3.Error:
        db.close()
        raise
    return db
