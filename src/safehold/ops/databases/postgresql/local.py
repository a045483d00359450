"""A base read from the data directory itself, with several threads, while the server is told that a backup runs."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

assert sys.platform != "win32"

import msgspec

from safehold.core.errors import DatabaseFailed
from safehold.ops.databases.assembly import Assembly
from safehold.ops.databases.postgresql.filling import Filling, Origin
from safehold.ops.databases.postgresql.terms import LOCAL, Taken
from safehold.repo.repository import Repository
from safehold.sources.postgresql import connecting, folder, labels, manifest
from safehold.sources.postgresql.connecting import Server
from safehold.sources.postgresql.positions import parse_lsn

if TYPE_CHECKING:
    from safehold.sources.postgresql.connecting import Session

LABEL = "safehold"


class Place(msgspec.Struct, frozen=True):
    """A server and its data directory on this machine."""

    session: Session
    server: Server
    folder: Path


def take(repository: Repository, place: Place, assembly: Assembly, known: dict[bytes, manifest.File]) -> tuple[Taken, bytes]:
    """Put the data directory into the assembly; what is known of the base, and its manifest.

    ``known``: the rows of the last base's manifest.  Raises ``DatabaseFailed``.
    """
    keeps = _keep_log(place.session)
    start = parse_lsn(_begin(place))
    at, system = place.folder, place.server.system
    origin = Origin(place.server, at, at / "pg_wal", lambda: folder.read_control(at, system), start)
    filling = Filling(repository, origin, assembly, known)
    filling.fill()
    stop, label_text = _end(place)
    stop_ns = repository.clock.now_ns()
    label = labels.parse(label_text)
    filling.small(b"backup_label", label_text)
    filling.log(label.timeline, label.start, stop)
    made = manifest.made(place.server.major, place.server.system, filling.rows, label.timeline, label.start, stop)
    taken = Taken(
        method=LOCAL,
        timeline=label.timeline,
        start=label.start,
        stop=stop,
        stop_ns=stop_ns,
        tablespaces=folder.tablespaces(place.folder),
        errors=filling.errors,
        facts={} if keeps else {"slot": "none"},
    )
    return taken, manifest.encode(made)


def _keep_log(session: Session) -> bool:
    """Have the server keep its log until the connection ends, or not: then a segment that is gone shows at the end."""
    import psycopg

    name = f"safehold_{os.getpid()}"
    try:
        session.execute("SELECT pg_create_physical_replication_slot(%s, true, true)", [name])
    except psycopg.Error:
        return False  # no slots are configured, or the user may not
    return True


def _begin(place: Place) -> str:
    if place.server.major >= 15:
        return _ask(place.session, "SELECT pg_backup_start(%s, true)", [LABEL])[0]
    return _ask(place.session, "SELECT pg_start_backup(%s, true, false)", [LABEL])[0]


def _end(place: Place) -> tuple[int, bytes]:
    """The position from which on the base is consistent, and its label.  Never waits for the log to be archived."""
    call = "pg_backup_stop(false)" if place.server.major >= 15 else "pg_stop_backup(false, false)"
    lsn, label = _ask(place.session, f"SELECT lsn::text, labelfile FROM {call}", [])
    return parse_lsn(lsn), label.encode()


def _ask(session: Session, statement: str, values: list[str]) -> list[str]:
    import psycopg

    try:
        row = session.execute(statement.encode(), values).fetchone()
    except psycopg.Error as error:
        text = connecting.first_line(error)
        raise DatabaseFailed(
            f"PostgreSQL did not let the base begin or end, no snapshot was made: {text}.", "See the server's log."
        ) from error
    return [str(value) for value in row or ()]
