"""How devices are: whether their backups come, and whether they are suddenly small.  Nothing here asks a clock."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, and_, select, update

from safehold.core.clock import NS
from safehold.server.database import upsert
from safehold.server.schema import devices, reports, sources

USUAL = 5
"""Backups whose median is what a source usually has ..."""
HALF = 2
"""... and less than this part of it is suddenly little."""
SMALL_FILES = 20
SMALL_BYTES = 1 << 20
"""A source with less than this may shrink as it likes."""
GRACE = 4
"""A device may be late by this part of its time (a quarter) before anybody is told ..."""
LEAST_GRACE_NS = 3600 * NS
"""... or by an hour, if that is more."""


class Size(msgspec.Struct, frozen=True):
    """Of a backup, or what is usual."""

    files: int
    bytes: int


def due(done_ns: int, every_seconds: int) -> int:
    """When the next backup is expected; 0: never."""
    return done_ns + every_seconds * NS if every_seconds else 0


def is_overdue(due_ns: int, now_ns: int) -> bool:
    """Whether a backup should have come by now."""
    return 0 < due_ns < now_ns


def told_after(due_ns: int, every_seconds: int) -> int:
    """From when on somebody is told that it has not come."""
    return due_ns + max(every_seconds * NS // GRACE, LEAST_GRACE_NS)


def usual(past: Sequence[Size]) -> Size | None:
    """What the last ``USUAL`` backups had; None: there were too few to say."""
    if len(past) < USUAL:
        return None
    return Size(int(median(each.files for each in past)), int(median(each.bytes for each in past)))


def is_shrunk(now: Size, before: Size) -> bool:
    """Whether a backup has less than half of what is usual."""
    fewer = before.files >= SMALL_FILES and now.files * HALF < before.files
    smaller = before.bytes >= SMALL_BYTES and now.bytes * HALF < before.bytes
    return fewer or smaller


def overdue(now_ns: int) -> ColumnElement[bool]:
    """The devices that should have backed up by now."""
    return and_(devices.c.due_ns > 0, devices.c.due_ns < now_ns, devices.c.revoked.is_(False))


def note_report(connection: Connection, device: str, source: str, status: str, size: Size, now_ns: int) -> bool:
    """Write down how a device's backup went, before its report is recorded; whether its backups have shrunk just now."""
    row = connection.execute(select(devices).where(devices.c.id == device).with_for_update()).one()
    values: dict[str, object] = {"reported_ns": now_ns, "status": status}
    if status == "done":
        values |= {"done_ns": now_ns, "due_ns": due(now_ns, row.every_seconds)}
    connection.execute(update(devices).where(devices.c.id == device).values(**values))
    return status == "done" and _note_size(connection, row, source, size, now_ns)


def _note_size(connection: Connection, device: Row[Any], source: str, size: Size, now_ns: int) -> bool:
    """A source that has shrunk stays so until a backup has what was usual again, or somebody has released the brake: else a
    thief would send five small reports."""
    mine = (sources.c.device == device.id) & (sources.c.source == source)
    known = connection.execute(select(sources).where(mine)).first()
    if known is not None and known.shrunk_ns:
        if not is_shrunk(size, Size(known.usual_files, known.usual_bytes)):
            connection.execute(update(sources).where(mine).values(shrunk_ns=0))
        return False
    before = usual(_past(connection, device.id, source))
    shrunk = before is not None and is_shrunk(size, before)
    values: dict[str, object] = {"repository": device.repository, "shrunk_ns": now_ns if shrunk else 0}
    if before is not None:
        values |= {"usual_files": before.files, "usual_bytes": before.bytes}
    upsert(connection, sources, {"device": device.id, "source": source}, values)
    return shrunk


def _past(connection: Connection, device: str, source: str) -> list[Size]:
    where = (reports.c.device == device) & (reports.c.source == source) & (reports.c.status == "done")
    query = select(reports.c.files, reports.c.bytes).where(where).order_by(reports.c.received_ns.desc()).limit(USUAL)
    return [Size(row.files, row.bytes) for row in connection.execute(query)]


def vouch(connection: Connection, repository: str) -> None:
    """Whoever released the brake says that the backups are meant to be small."""
    connection.execute(update(sources).where(sources.c.repository == repository).values(shrunk_ns=0))
