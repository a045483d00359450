"""What this machine remembers of the last backup of a set of paths: the local cache.  ``docs/backup.md``, "Unchanged files".

A row per folder: a fingerprint of what its listing said, its tree id and totals, and the node itself, sealed (a writer cannot
read its own backups, so it cannot ask the repository).  When the fingerprint is the same, no entry of the folder has to be built.

It is a hint.  The rows mirror one snapshot, whose id stands beside them: while that snapshot is stored, all it refers to is
too.  When it is not, every chunk is looked up in the index before it is relied on.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec
from blake3 import blake3

from safehold.codec import compression, sealing
from safehold.core.entries import Node, Totals
from safehold.core.errors import DamageError
from safehold.repo.trees import decode_node, encode_node

NODE_LIMIT = 1 << 30
SCHEMA = """
CREATE TABLE IF NOT EXISTS folders (
    key BLOB PRIMARY KEY, fingerprint BLOB NOT NULL, tree BLOB NOT NULL, totals BLOB NOT NULL,
    trusted_before INTEGER NOT NULL, node BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS pages (
    key BLOB NOT NULL, number INTEGER NOT NULL, map BLOB NOT NULL, sealed BLOB NOT NULL, PRIMARY KEY (key, number)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS state (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""
VERSION = "1"


class Remembered(msgspec.Struct, frozen=True, gc=False):
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
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._db = _open(path)
        self.snapshot = self._state("snapshot")
        """The snapshot that the rows mirror; empty if none."""
        self.above = bytes.fromhex(self._state("above"))
        """Ids of the trees of the folders above what was backed up, in a row."""
        self.totals = self._totals()
        """Of that snapshot: what the next backup will find, more or less."""

    def row_key(self, path: bytes) -> bytes:
        """The key of a folder's row."""
        return blake3(path, key=self._key).digest(16)

    def get(self, key: bytes) -> Remembered | None:
        """What is remembered of a folder, without its node."""
        row = self._db.execute("SELECT fingerprint, tree, totals, trusted_before FROM folders WHERE key = ?", (key,)).fetchone()
        if row is None:
            return None
        return Remembered(row[0], row[1], msgspec.msgpack.decode(row[2], type=Totals), row[3])

    def node(self, key: bytes) -> Node | None:
        """The node of a folder; None if it is not remembered, or does not open."""
        row = self._db.execute("SELECT node FROM folders WHERE key = ?", (key,)).fetchone()
        if row is None:
            return None
        try:
            return decode_node(self._unseal(row[0], key))
        except DamageError:
            return None

    def pages(self, key: bytes, number: int, group_map: bytes) -> bytes | None:
        """What is remembered of a group of a paged file whose group map has that id."""
        row = self._db.execute(
            "SELECT sealed FROM pages WHERE key = ? AND number = ? AND map = ?", (key, number, group_map)
        ).fetchone()
        try:
            return self._unseal(row[0], key) if row else None
        except DamageError:
            return None

    def page_maps(self, key: bytes) -> list[bytes]:
        """The ids of the group maps of a paged file, in order."""
        rows = self._db.execute("SELECT map FROM pages WHERE key = ? ORDER BY number", (key,))
        return [row[0] for row in rows]

    def put_pages(self, key: bytes, number: int, group_map: bytes, data: bytes) -> None:
        """Remember a group of a paged file, once ``commit`` is called."""
        self._db.execute("INSERT OR REPLACE INTO pages VALUES (?, ?, ?, ?)", (key, number, group_map, self._seal(data, key)))

    def cut_pages(self, key: bytes, groups: int) -> None:
        """Drop what is remembered of a paged file beyond that many groups."""
        self._db.execute("DELETE FROM pages WHERE key = ? AND number >= ?", (key, groups))

    def put(self, key: bytes, remembered: Remembered, node: Node) -> None:
        """Remember a folder, once ``commit`` is called."""
        sealed = self._seal(encode_node(node), key)
        totals = msgspec.msgpack.encode(remembered.totals)
        row = (key, remembered.fingerprint, remembered.tree, totals, remembered.trusted_before, sealed)
        self._db.execute("INSERT OR REPLACE INTO folders VALUES (?, ?, ?, ?, ?, ?)", row)

    def forget(self, keys: Iterable[bytes]) -> None:
        """Drop rows of folders that are gone."""
        self._db.executemany("DELETE FROM folders WHERE key = ?", ((key,) for key in keys))

    def commit(self, snapshot: str, totals: Totals, above: bytes) -> None:
        """The rows now mirror ``snapshot``; ``above``: tree ids of the folders above, in a row."""
        self._db.execute("INSERT OR REPLACE INTO state VALUES ('totals', ?)", (msgspec.json.encode(totals).decode(),))
        self._db.execute("INSERT OR REPLACE INTO state VALUES ('above', ?)", (above.hex(),))
        self._db.execute("INSERT OR REPLACE INTO state VALUES ('snapshot', ?)", (snapshot,))
        self._db.execute("COMMIT")

    def reset(self) -> None:
        """Drop what was not committed, and begin again."""
        self._db.execute("ROLLBACK")
        self._db.execute("BEGIN IMMEDIATE")

    def close(self) -> None:
        """Drop what was not committed."""
        self._db.close()

    def _seal(self, data: bytes, key: bytes) -> bytes:
        nonce = self._random(12)
        return nonce + sealing.aead_seal(self._key, nonce, compression.pack(data, 1), key)

    def _unseal(self, sealed: bytes, key: bytes) -> bytes:
        return compression.unpack(sealing.aead_open(self._key, sealed[:12], sealed[12:], key), NODE_LIMIT)

    def _totals(self) -> Totals:
        try:
            return msgspec.json.decode(self._state("totals"), type=Totals)
        except msgspec.MsgspecError:
            return Totals()

    def _state(self, name: str) -> str:
        row = self._db.execute("SELECT value FROM state WHERE name = ?", (name,)).fetchone()
        return row[0] if row else ""


def _open(path: Path) -> sqlite3.Connection:
    """The database, with its write lock held; one that is broken or of another version is made anew: it is only a hint."""
    try:
        return _connect(path)
    except sqlite3.OperationalError:
        return _connect(":memory:")  # another backup of the same paths is running: this one remembers nothing
    except sqlite3.DatabaseError:
        for leftover in (path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-journal")):
            leftover.unlink(missing_ok=True)
        return _connect(path)


def _connect(path: Path | str) -> sqlite3.Connection:
    if isinstance(path, Path):
        path.touch(mode=0o600)
    db = sqlite3.connect(path, timeout=0.2, isolation_level=None, check_same_thread=False)
    try:
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute("PRAGMA journal_mode = WAL")
        db.executescript(SCHEMA)
        db.execute("BEGIN IMMEDIATE")
        db.execute("INSERT OR IGNORE INTO state VALUES ('version', ?)", (VERSION,))
        if db.execute("SELECT value FROM state WHERE name = 'version'").fetchone()[0] != VERSION:
            raise sqlite3.DatabaseError("of another version")
    except sqlite3.Error:
        db.close()
        raise
    return db
