"""Snapshots: finished backups, and the trash.  ``docs/format/snapshots.md``.

A snapshot object is the only commit point of a backup: sealed for readers, signed by its device, and naming that device's
previous one, so that forged, replayed and rolled-back snapshots show.  Forgetting one puts a mark into ``condemned/``; it can
be taken back until a prune finds the mark older than the trash period.
"""

from __future__ import annotations

from contextlib import suppress

import msgspec

from safehold.core.entries import Totals
from safehold.core.errors import FormatError, SafeholdError, SessionExpired
from safehold.repo import envelopes
from safehold.repo.seals import Seals, SessionKey
from safehold.repo.sessions import Session
from safehold.storage.store import Store

PREFIX = "snapshots/"
MOST_LOST = 10_000
REPAIRED = "repaired"
"""The tag of a repaired snapshot."""


class Database(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Which database a snapshot is of, and between which positions of its log.  ``docs/databases.md``.

    A position is a number that grows with every change: PostgreSQL's LSN, MariaDB's binary log number << 32 | offset, a
    counter of transactions for SQLite.  0: not known.
    """

    engine: str
    """postgresql, mariadb, mysql or sqlite."""
    role: str = "base"
    """base: the database's files, to begin a recovery from; logs: what happened to it, log file by log file; dump: SQL."""
    system: str
    """What tells this database from every other, also from a copy of it: the engine's own id where it has one."""
    name: str = ""
    """What people call it: its URL without a password, or its path."""
    version: str = ""
    """Of the engine."""
    lineage: str = ""
    """What was backed up, and how: snapshots of one lineage are compared with each other."""
    method: str = ""
    """How it was taken: the engine's page in ``docs/`` lists the words."""
    timeline: int = 0
    start: int = 0
    """Of a base: where the replay of logs begins.  Of logs: where the first one begins."""
    stop: int = 0
    """Of a base: from where on it is consistent.  Of logs: where the last one ends."""
    stop_ns: int = 0
    """When it was at ``stop``."""
    facts: dict[str, str] = {}
    """What else a restore needs; the engine's page lists the words."""


class Source(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was backed up."""

    kind: str = "files"
    """files, stdin, command, or a database's engine."""
    paths: list[bytes] = []
    """Absolute paths, as the system names them; for stdin and command the name given."""
    command: str = ""
    excludes: list[str] = []
    database: Database | None = None


class Statistics(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a backup went.  Sizes in bytes."""

    new: int = 0
    changed: int = 0
    unchanged: int = 0
    read: int = 0
    added_raw: int = 0
    added_stored: int = 0
    seconds: float = 0.0
    errors: int = 0
    """Things of the source that could not be read."""


class Snapshot(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One finished backup of one source at one moment."""

    time_ns: int
    """When the backup began."""
    host: str
    user: str = ""
    source: Source
    tree: bytes
    """The tree id of the root directory."""
    totals: Totals
    tags: list[str] = []
    incomplete: bool = False
    """Something of the source could not be read; never takes the place of a complete one."""
    statistics: Statistics = Statistics()
    parent: str = ""
    """The snapshot that unchanged files were recognised by."""
    previous: str = ""
    """The snapshot that this device made before."""
    original: str = ""
    """Of a copy, a retagged or a repaired one: the snapshot it was made from."""
    lost: list[bytes] = []
    """Of a repaired one: paths left out because their data is lost, at most ``MOST_LOST``.  One that ends in a slash is a
    folder whose listing, or a part of it, is lost with all that it named."""
    program: str = ""

    @property
    def is_logs(self) -> bool:
        """Whether it holds a database's logs: part of that database's backups, and none by itself."""
        return self.source.database is not None and self.source.database.role == "logs"


class Stored(msgspec.Struct, frozen=True):
    """A snapshot with its name in the store, and the device that signed it."""

    id: str
    snapshot: Snapshot
    signer: bytes


def write(seals: Seals, store: Store, session: SessionKey, snapshot: Snapshot) -> str:
    """Commit a snapshot; its id.  Everything it refers to must be durable by now."""
    data = envelopes.wrap(seals, "snapshot", msgspec.msgpack.encode(snapshot), session)
    name = envelopes.name_of(data)
    store.put(PREFIX + name, data)
    return name


def commit(session: Session, seals: Seals, store: Store, key: SessionKey, snapshot: Snapshot) -> str:
    """Commit a snapshot of a session that is known to be alive before and after.  Raises ``SessionExpired``.

    One that was given up in between takes its snapshot back: the prune may not have seen it.
    """
    session.require_alive()
    name = write(seals, store, key, snapshot)
    try:
        session.require_alive()
    except SessionExpired:
        with suppress(SafeholdError):
            store.delete(PREFIX + name)
        raise
    return name


def names(store: Store) -> list[str]:
    """The ids of all stored snapshots, those in the trash too."""
    return [info.key.removeprefix(PREFIX) for info in store.list(PREFIX)]


def unseal(seals: Seals, name: str, data: bytes) -> envelopes.Opened:
    """A stored snapshot's bytes, unsealed.  Raises ``DamageError``, or ``NotPermitted`` for a writer.

    One whose signer's key slot is lost is given, too: a damaged slot must not cost the backups that were made with it.
    """
    return envelopes.unwrap(seals, "snapshot", name, data, orphans=True)


def decode(name: str, signer: bytes, body: bytes) -> Stored:
    """What an unsealed snapshot says.  Raises ``FormatError``."""
    try:
        return Stored(name, _decoder.decode(body), signer)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"Snapshot {name[:8]} cannot be read: {error}.") from error


def parse(seals: Seals, name: str, data: bytes) -> Stored:
    """A stored snapshot.  Raises what ``unseal`` and ``decode`` do."""
    opened = unseal(seals, name, data)
    return decode(name, opened.header.signer, opened.body)


def load(seals: Seals, store: Store, name: str) -> Stored:
    """A snapshot from the store."""
    return parse(seals, name, store.get(PREFIX + name))


_decoder = msgspec.msgpack.Decoder(Snapshot)
