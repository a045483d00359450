"""The catalogue of a volume set: which volumes there are, where they lie, and how they are.

An SQLite database at ``<state>/volumes/NAME/catalogue.sqlite``.  What is committed survives a loss of power.  It holds no key
and nothing of what is in files.  Labels and places are private, so what goes onto volumes is sealed first (``dump``).
Times are nanoseconds since 1970, 0 for never.
"""

from __future__ import annotations

import re
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from safehold.core.errors import FormatError, StoreError, UsageError

FOLDER = "volumes"
"""In the machine's state folder."""
FILE = "catalogue.sqlite"
_ITS_PLACE = "What this machine knows of its volume sets is kept there; SAFEHOLD_STATE_DIR names another place."
VERSION = 1
STATES = ("blank", "open", "full", "closed", "verified", "damaged", "lost", "retired")
"""Blank: nothing is on it; open: more may be added; full and closed: no more; verified: read back whole since it was last
written; damaged: not all of it can be read; lost: it is gone; retired: it counts no more."""
USABLE = ("blank", "open", "full", "closed", "verified")
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,59}", re.IGNORECASE)
_WAL = b"\x02\x02"
_ROLLBACK = b"\x01\x01"
_T = TypeVar("_T")
_SCHEMA = """
CREATE TABLE IF NOT EXISTS sets (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, kind TEXT NOT NULL, media TEXT NOT NULL, capacity INTEGER NOT NULL,
    inner TEXT NOT NULL, parity TEXT NOT NULL, copies INTEGER NOT NULL, created_ns INTEGER NOT NULL, settings TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS volumes (
    uuid TEXT PRIMARY KEY, number INTEGER NOT NULL, label TEXT NOT NULL, kind TEXT NOT NULL, capacity INTEGER NOT NULL,
    state TEXT NOT NULL, place TEXT NOT NULL, fs_uuid TEXT NOT NULL, serial TEXT NOT NULL, path TEXT NOT NULL,
    seen_ns INTEGER NOT NULL, written_ns INTEGER NOT NULL, verified_ns INTEGER NOT NULL, used INTEGER NOT NULL,
    generation INTEGER NOT NULL, copy INTEGER NOT NULL, parity INTEGER NOT NULL, settings TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS forgotten (
    snapshot TEXT PRIMARY KEY, time_ns INTEGER NOT NULL, undone INTEGER NOT NULL
);
"""


class VolumeSet(msgspec.Struct, frozen=True, kw_only=True):
    """What a set is."""

    id: str
    """16 random bytes, in hex."""
    name: str
    kind: str
    """``drives`` or ``discs``."""
    media: str
    """The name of a profile."""
    capacity: int = 0
    """Bytes of one volume; 0 for drives."""
    inner: str = ""
    """Parity inside a volume, such as ``100+15``; empty: none."""
    parity: str = ""
    """Parity across volumes, such as ``8+2``; empty: none."""
    copies: int = 1
    created_ns: int = 0
    settings: dict[str, Any] = {}
    """What only one kind of set knows: of discs ``images`` and ``device``."""


class Volume(msgspec.Struct, frozen=True, kw_only=True):
    """One volume."""

    uuid: str
    """16 random bytes, in hex: ours, whatever the file system says."""
    number: int
    """From 1 on; never given twice."""
    label: str
    kind: str
    """The name of a profile."""
    capacity: int = 0
    state: str = "blank"
    place: str = ""
    """Where it is kept: "safe", "mother's house"."""
    fs_uuid: str = ""
    serial: str = ""
    path: str = ""
    """Where it was last: the folder of a drive, the image file of a disc."""
    seen_ns: int = 0
    written_ns: int = 0
    verified_ns: int = 0
    used: int = 0
    """Bytes on it."""
    generation: int = 0
    copy: int = 0
    """0: the first; else which further copy of the volume of the same number of its group."""
    parity: bool = False
    """Holds parity across volumes, and no data of its own."""
    settings: dict[str, Any] = {}


_SET_FIELDS = VolumeSet.__struct_fields__
_FIELDS = Volume.__struct_fields__


def folder_of(state: Path, name: str) -> Path:
    """The folder of a set on this machine.  Raises ``UsageError`` for what is no name."""
    if not _NAME.fullmatch(name) or name.endswith("."):
        raise UsageError(f"{name!r} cannot be the name of a volume set.", "Use letters, digits, dots, - and _; at most 60.")
    return state / FOLDER / name


def names(state: Path) -> list[str]:
    """The sets that this machine knows."""
    return sorted(each.parent.name for each in (state / FOLDER).glob(f"*/{FILE}"))


def _known(folder: Path) -> str:
    there = names(folder.parent.parent)
    return f"There are: {', '.join(there)}. " if there else ""


class Catalogue:
    """The catalogue in a folder.  Every method may be called from several threads."""

    def __init__(self, folder: Path, *, create: bool = False) -> None:
        """Raises ``StoreError`` if there is none and it is not to be made."""
        self.folder = folder
        path = folder / FILE
        if create:
            try:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            except OSError as error:
                raise StoreError(f"The folder {folder} cannot be made: {error.strerror}.", _ITS_PLACE) from error
        elif not path.is_file():
            raise UsageError(
                f"This machine knows no volume set {folder.name}.",
                _known(folder) + "`safehold volumes create` makes one, `safehold volumes recover` finds one on its volumes.",
            )
        self._lock = threading.RLock()
        try:
            self._db = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
            self._db.row_factory = sqlite3.Row
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._prepare()
        except sqlite3.Error as error:
            raise self._failed(error) from error

    def _prepare(self) -> None:
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version > VERSION:
            raise StoreError(f"The catalogue {self.folder / FILE} is of a newer Safehold.", "Install a newer Safehold.")
        with self.transaction() as db:
            for statement in _SCHEMA.split(";"):
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {VERSION}")

    def extend(self, schema: str) -> None:
        """Make further tables (``CREATE TABLE IF NOT EXISTS ...;``) beside these."""
        with self.transaction() as db:
            for statement in schema.split(";"):
                db.execute(statement)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing, and durable at the end; one inside another belongs to it.  Raises ``StoreError``."""
        with self._lock:
            if self._db.in_transaction:
                yield self._db
                return
            try:
                self._db.execute("BEGIN IMMEDIATE")
                try:
                    yield self._db
                except BaseException:
                    self._db.execute("ROLLBACK")
                    raise
                self._db.execute("COMMIT")
            except sqlite3.Error as error:
                raise self._failed(error) from error

    def rows(self, query: str, values: Iterable[object] = ()) -> list[sqlite3.Row]:
        """What a query finds.  Raises ``StoreError``."""
        with self._lock:
            try:
                return self._db.execute(query, tuple(values)).fetchall()
            except sqlite3.Error as error:
                raise self._failed(error) from error

    @property
    def set(self) -> VolumeSet:
        """What the set is.  Raises ``StoreError`` where the making of it was cut short."""
        found = self.rows("SELECT * FROM sets")
        if not found:
            raise StoreError(
                f"The volume set {self.folder.name} was never finished.", "Make it again: `safehold volumes create`."
            )
        return _struct(found[0], VolumeSet)

    @property
    def exists(self) -> bool:
        """Whether the set was made."""
        return bool(self.rows("SELECT 1 FROM sets"))

    def put_set(self, volume_set: VolumeSet) -> None:
        """Keep what the set is, instead of what it was."""
        with self.transaction() as db:
            db.execute("DELETE FROM sets")
            _insert(db, "sets", _SET_FIELDS, volume_set)

    def volumes(self) -> list[Volume]:
        """All volumes, by their numbers."""
        return [_struct(row, Volume) for row in self.rows("SELECT * FROM volumes ORDER BY number, copy")]

    def volume(self, uuid: str) -> Volume | None:
        """The volume with our UUID."""
        found = self.rows("SELECT * FROM volumes WHERE uuid = ?", (uuid,))
        return _struct(found[0], Volume) if found else None

    def named(self, text: str) -> Volume:
        """The volume that a user means: its number, its label, or the beginning of its UUID.  Raises ``UsageError``."""
        every = self.volumes()
        fitting = [each for each in every if text == str(each.number) or text.lower() == each.label.lower()]
        if not fitting and len(text) >= 4:
            fitting = [each for each in every if each.uuid.startswith(text.lower())]
        if len(fitting) != 1:
            what = f"{len(fitting)} volumes of {self.folder.name} are" if fitting else f"No volume of {self.folder.name} is"
            known = ", ".join(f"{each.number} ({each.label})" for each in every[:8])
            raise UsageError(f"{what} called {text}.", f"There are: {known}." if known else "It has none yet.")
        return fitting[0]

    def put(self, volume: Volume) -> None:
        """Keep a volume as it is now, a new one or one that was known."""
        if volume.state not in STATES:
            raise ValueError(volume.state)
        with self.transaction() as db:
            _insert(db, "volumes", _FIELDS, volume)

    def change(self, uuid: str, **values: object) -> Volume:
        """Change some fields of a volume; as it is then.  Raises ``KeyError`` for one that is not known."""
        with self.transaction():
            before = self.volume(uuid)
            if before is None:
                raise KeyError(uuid)
            after: Volume = msgspec.structs.replace(before, **values)
            if after != before:
                self.put(after)
            return after

    def next_number(self) -> int:
        """The number of the next volume."""
        return int(self.rows("SELECT coalesce(max(number), 0) + 1 FROM volumes")[0][0])

    def forget(self, snapshots: Iterable[str], now_ns: int) -> None:
        """Remember that snapshots are to go from every volume."""
        with self.transaction() as db:
            rows = [(name, now_ns) for name in snapshots]
            db.executemany("INSERT OR REPLACE INTO forgotten VALUES (?, ?, 0)", rows)

    def undelete(self, snapshots: Iterable[str], now_ns: int) -> None:
        """Remember that snapshots are to stay after all, where they still are in the trash."""
        with self.transaction() as db:
            rows = [(now_ns, name) for name in snapshots]
            db.executemany("UPDATE forgotten SET time_ns = ?, undone = 1 WHERE snapshot = ?", rows)

    def forgotten(self) -> dict[str, int]:
        """Snapshots that are to go from every volume -> when that was said."""
        return {row["snapshot"]: row["time_ns"] for row in self.rows("SELECT * FROM forgotten WHERE NOT undone")}

    def undeleted(self) -> dict[str, int]:
        """Snapshots that were forgotten and taken back -> when."""
        return {row["snapshot"]: row["time_ns"] for row in self.rows("SELECT * FROM forgotten WHERE undone")}

    def dump(self) -> bytes:
        """The whole catalogue as bytes, to be sealed: an SQLite database."""
        with self._lock, closing(sqlite3.connect(":memory:")) as copy:
            try:
                self._db.backup(copy)
                data = copy.serialize()
            except sqlite3.Error as error:
                raise self._failed(error) from error
        return data[:18] + _ROLLBACK + data[20:] if data[18:20] == _WAL else data

    def merge(self, data: bytes) -> None:
        """Learn from another machine's ``dump`` of this set: volumes that are not known here, and news of what was forgotten.

        Raises ``FormatError``.
        """
        try:
            with closing(sqlite3.connect(":memory:")) as other:
                other.row_factory = sqlite3.Row
                other.deserialize(data or b"nothing")
                forgotten = [tuple(row) for row in other.execute("SELECT snapshot, time_ns, undone FROM forgotten")]
                volumes = [_struct(row, Volume) for row in other.execute("SELECT * FROM volumes")]
        except (sqlite3.Error, TypeError, ValueError) as error:
            raise FormatError(f"The catalogue that was found cannot be read: {error}.") from error
        with self.transaction() as db:
            known = {row["snapshot"]: row["time_ns"] for row in self.rows("SELECT * FROM forgotten")}
            newer = [row for row in forgotten if row[1] > known.get(row[0], 0)]
            db.executemany("INSERT OR REPLACE INTO forgotten VALUES (?, ?, ?)", newer)
            for each in volumes:
                if self.volume(each.uuid) is None:
                    taken = any(mine.number == each.number for mine in self.volumes())
                    self.put(msgspec.structs.replace(each, number=self.next_number()) if taken else each)

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def _failed(self, error: sqlite3.Error) -> StoreError:
        return StoreError(
            f"The catalogue {self.folder / FILE} cannot be used: {error}.",
            "Is its disk full?  If it is damaged, move it away: `safehold volumes recover` makes it anew from the volumes.",
        )


def restore(data: bytes, folder: Path) -> Catalogue:
    """A catalogue from what ``dump`` gave, in a folder that has none.  Raises ``FormatError``, ``StoreError``."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    partial = folder / f"{FILE}.tmp"
    try:
        partial.unlink(missing_ok=True)
        partial.write_bytes(data)
        with closing(sqlite3.connect(partial)) as check:
            if check.execute("PRAGMA quick_check").fetchone()[0] != "ok":
                raise sqlite3.DatabaseError("it is damaged")
    except sqlite3.Error as error:
        partial.unlink(missing_ok=True)
        raise FormatError(f"The catalogue that was found cannot be read: {error}.") from error
    partial.replace(folder / FILE)
    return Catalogue(folder)


def _insert(db: sqlite3.Connection, table: str, fields: tuple[str, ...], value: msgspec.Struct) -> None:
    values = [_stored(getattr(value, name)) for name in fields]
    marks = ", ".join("?" * len(fields))
    db.execute(f"INSERT OR REPLACE INTO {table} ({', '.join(fields)}) VALUES ({marks})", values)


def _stored(value: object) -> object:
    return msgspec.json.encode(value).decode() if isinstance(value, dict) else value


def _struct(row: sqlite3.Row, kind: type[_T]) -> _T:
    values = dict(row)
    values["settings"] = msgspec.json.decode(values["settings"])
    if kind is Volume:
        values["parity"] = bool(values["parity"])
    return kind(**values)
