"""What lies where on the discs of a set: objects, pieces, sessions and parity groups, in tables beside the catalogue's own."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator

import msgspec

from safehold.storage.volumes.catalogue import Catalogue

SCHEMA = """
CREATE TABLE IF NOT EXISTS objects (
    number INTEGER PRIMARY KEY, generation INTEGER NOT NULL, key TEXT NOT NULL, size INTEGER NOT NULL,
    time_ns INTEGER NOT NULL, data INTEGER NOT NULL, dead INTEGER NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX IF NOT EXISTS objects_live ON objects (generation, key) WHERE NOT dead;
CREATE TABLE IF NOT EXISTS pieces (
    object INTEGER NOT NULL, first INTEGER NOT NULL, frames INTEGER NOT NULL, volume INTEGER NOT NULL, slot INTEGER NOT NULL,
    PRIMARY KEY (object, first)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS pieces_volume ON pieces (volume);
CREATE TABLE IF NOT EXISTS disc_sessions (
    volume INTEGER NOT NULL, session INTEGER NOT NULL, reserved INTEGER NOT NULL, start INTEGER NOT NULL,
    frames INTEGER NOT NULL, end INTEGER NOT NULL, across INTEGER NOT NULL, closed_ns INTEGER NOT NULL, extras TEXT NOT NULL,
    PRIMARY KEY (volume, session)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS parity_groups (
    number INTEGER PRIMARY KEY, generation INTEGER NOT NULL, k INTEGER NOT NULL, m INTEGER NOT NULL, closed_ns INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS group_members (
    grp INTEGER NOT NULL, position INTEGER NOT NULL, volume INTEGER NOT NULL UNIQUE, folded INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (grp, position)
) WITHOUT ROWID
"""
UNFINISHED = 2
"""``dead`` of an object that goes on on the next volume, as long as not all of it is written."""
HIGHEST = "\U0010ffff"


class Stored(msgspec.Struct, array_like=True, frozen=True):
    """An object of a generation."""

    number: int
    generation: int
    key: str
    size: int
    time_ns: int
    data: int = 0
    """1: a pack of file content, which the machine keeps no copy of."""
    dead: int = 0


class Piece(msgspec.Struct, array_like=True, frozen=True):
    """Frames of an object that lie one behind the other on a volume."""

    object: int
    first: int
    """Which of the object's frames the first is."""
    frames: int
    volume: int
    """The volume's number."""
    slot: int


class Session(msgspec.Struct, array_like=True, frozen=True):
    """What was written to a volume until its parity was made."""

    volume: int
    session: int
    """From 1 on."""
    reserved: int
    """The slot at which the room for a directory begins."""
    start: int
    """The slot of the first data frame."""
    frames: int
    """Data frames, or across frames and what follows them."""
    end: int = 0
    """The slot behind everything; 0 while it is open."""
    across: int = 0
    """So many of the first frames are parity across volumes."""
    closed_ns: int = 0
    extras: str = "[]"
    """JSON: name, sector, bytes of each plain file."""

    @property
    def is_closed(self) -> bool:
        return self.end > 0


class Group(msgspec.Struct, array_like=True, frozen=True):
    """Volumes that have parity across them."""

    number: int
    generation: int
    k: int
    m: int
    closed_ns: int = 0


class Member(msgspec.Struct, array_like=True, frozen=True):
    """A volume of a group; positions from k on are its parity volumes."""

    grp: int
    position: int
    volume: int
    folded: int = 0
    """Its share of the parity is in files of this machine already."""


class Ledger:
    """Typed access to the tables.  Changes belong into ``catalogue.transaction()`` where they belong together."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        catalogue.extend(SCHEMA)

    def find(self, generation: int, key: str) -> Stored | None:
        """The object of a key."""
        rows = self.catalogue.rows(
            "SELECT number, generation, key, size, time_ns, data, dead FROM objects"
            " WHERE generation = ? AND key = ? AND NOT dead",
            (generation, key),
        )
        return Stored(*rows[0]) if rows else None

    def listing(self, generation: int, prefix: str) -> list[Stored]:
        """The objects below a prefix, which is a folder with its slash, or empty."""
        until = prefix[:-1] + chr(ord(prefix[-1]) + 1) if prefix else HIGHEST
        rows = self.catalogue.rows(
            "SELECT number, generation, key, size, time_ns, data, dead FROM objects"
            " WHERE generation = ? AND key >= ? AND key < ? AND NOT dead",
            (generation, prefix, until),
        )
        return [Stored(*row) for row in rows]

    def pieces(self, number: int) -> list[Piece]:
        """Where an object lies, in order."""
        rows = self.catalogue.rows("SELECT * FROM pieces WHERE object = ? ORDER BY first", (number,))
        return [Piece(*row) for row in rows]

    def add(self, found: Stored, pieces: Iterable[Piece]) -> None:
        """A new object."""
        with self.catalogue.transaction() as db:
            db.execute("INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?, ?, ?)", _values(found))
            db.executemany("INSERT OR REPLACE INTO pieces VALUES (?, ?, ?, ?, ?)", [_values(each) for each in pieces])

    def state_of_found(self, volume: int) -> str:
        """The state of a volume that is there again: one whose last session was never closed is written on."""
        sessions = self.sessions(volume)
        return "closed" if sessions and sessions[-1].is_closed else "open"

    def bury(self, generation: int, key: str) -> None:
        """The object of a key is deleted: it stays on its volume, and is not shown."""
        with self.catalogue.transaction() as db:
            db.execute("UPDATE objects SET dead = 1 WHERE generation = ? AND key = ? AND NOT dead", (generation, key))

    def rename(self, generation: int, key: str, place: str) -> bool:
        """Give an object another key; False if that is taken."""
        with self.catalogue.transaction() as db:
            try:
                db.execute("UPDATE objects SET key = ? WHERE generation = ? AND key = ? AND NOT dead", (place, generation, key))
            except sqlite3.IntegrityError:
                return False
        return True

    def sessions(self, volume: int) -> list[Session]:
        """The sessions of a volume, in order."""
        rows = self.catalogue.rows("SELECT * FROM disc_sessions WHERE volume = ? ORDER BY session", (volume,))
        return [Session(*row) for row in rows]

    def put_session(self, session: Session) -> None:
        """Keep a session as it is now."""
        with self.catalogue.transaction() as db:
            db.execute("INSERT OR REPLACE INTO disc_sessions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", _values(session))

    def groups(self) -> list[Group]:
        """All parity groups."""
        return [Group(*row) for row in self.catalogue.rows("SELECT * FROM parity_groups ORDER BY number")]

    def put_group(self, group: Group) -> None:
        """Keep a group as it is now."""
        with self.catalogue.transaction() as db:
            db.execute("INSERT OR REPLACE INTO parity_groups VALUES (?, ?, ?, ?, ?)", _values(group))

    def members(self, group: int) -> list[Member]:
        """The volumes of a group, by their positions."""
        rows = self.catalogue.rows("SELECT * FROM group_members WHERE grp = ? ORDER BY position", (group,))
        return [Member(*row) for row in rows]

    def member(self, volume: int) -> Member | None:
        """Which group a volume belongs to."""
        rows = self.catalogue.rows("SELECT * FROM group_members WHERE volume = ?", (volume,))
        return Member(*rows[0]) if rows else None

    def put_member(self, member: Member) -> None:
        """Keep a member of a group."""
        with self.catalogue.transaction() as db:
            db.execute("INSERT OR REPLACE INTO group_members VALUES (?, ?, ?, ?)", _values(member))

    def counts(self) -> tuple[int, int]:
        """How many objects and pieces there are."""
        objects = self.catalogue.rows("SELECT count(*) FROM objects")[0][0]
        pieces = self.catalogue.rows("SELECT count(*) FROM pieces")[0][0]
        return int(objects), int(pieces)

    def all_objects(self) -> Iterator[Stored]:
        """Every object there ever was."""
        for row in self.catalogue.rows("SELECT number, generation, key, size, time_ns, data, dead FROM objects"):
            yield Stored(*row)

    def all_pieces(self) -> Iterator[Piece]:
        """Every piece."""
        for row in self.catalogue.rows("SELECT * FROM pieces"):
            yield Piece(*row)


def _values(each: msgspec.Struct) -> tuple[object, ...]:
    return tuple(getattr(each, name) for name in each.__struct_fields__)
