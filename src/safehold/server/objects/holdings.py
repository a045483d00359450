"""What a repository holds, as the database says it: recording, finding, deleting, bringing back.

Bytes lie in the repository's ``Store`` under the same keys.  They are stored before their row, and removed after it: a crash
in between leaves bytes that nobody sees.  What is in the trash keeps its bytes where they are.  Whatever changes a repository
locks its row first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import BigInteger, Connection, Row, bindparam, case, cast, delete, func, insert, select, update

from safehold.core.clock import NS
from safehold.repo.packs import Footer
from safehold.server.asking import Asker, Place
from safehold.server.errors import Braked, Exists, NotAllowed, NotFound
from safehold.server.ids import new_id
from safehold.server.objects import chain, quota, rules
from safehold.server.objects.rules import Right
from safehold.server.schema import devices, objects, repositories, segments, sources, trash
from safehold.storage.keys import QUARANTINE
from safehold.storage.store import Store

DAY_NS = 24 * 3600 * NS
BRAKE_SHARE = 4
"""More than this part (a quarter) of a repository in a day is not deleted without a word ..."""
BRAKE_BYTES = 256 << 20
BRAKE_SNAPSHOTS = 10
"""... unless it is less than this: small repositories may be tidied."""

# Put into words once, because every upload asks them.
_LOCK = select(repositories).where(repositories.c.id == bindparam("repository")).with_for_update()
_FIND = select(objects).where(objects.c.repository == bindparam("repository"), objects.c.key == bindparam("key"))
_FIND_IN_TRASH = select(trash).where(trash.c.repository == bindparam("repository"), trash.c.key == bindparam("key"))
_ADD = insert(objects)
_OUT_OF_TRASH = delete(trash).where(trash.c.repository == bindparam("repository"), trash.c.key == bindparam("key"))
_COUNT = (
    update(repositories)
    .where(repositories.c.id == bindparam("repository"))
    .values(bytes=repositories.c.bytes + bindparam("more"), snapshots=repositories.c.snapshots + bindparam("more_snapshots"))
)

_DAMAGED = select(func.count()).select_from(objects).where(objects.c.repository == bindparam("repository"), objects.c.damage > "")
_TRASHED = select(func.count(), func.coalesce(func.sum(trash.c.size), 0)).where(trash.c.repository == bindparam("repository"))


class Received(msgspec.Struct, frozen=True):
    """An object whose bytes are durable and have no row yet."""

    key: str
    size: int
    sha256: str
    footer: Footer | None = None
    """Of a pack."""
    locked_ns: int = 0
    """Until when its bucket lets nobody remove it."""


def lock(connection: Connection, repository: str) -> Row[Any]:
    """Let nobody else change what a repository holds, on any server, till the transaction ends.  Its row."""
    return connection.execute(_LOCK, {"repository": repository}).one()


def remove_bytes(connection: Connection, store: Store, repository: str, key: str) -> bool:
    """Remove the bytes of a key for which no row stands, neither here nor in the trash; whether there was none.

    Who takes bytes over that are there already (``receiving``) does so behind the same lock, and looks for them again.
    """
    lock(connection, repository)
    if find(connection, repository, key) is not None or in_trash(connection, repository, key) is not None:
        return False
    store.delete(key)
    return True


def find(connection: Connection, repository: str, key: str) -> Row[Any] | None:
    """The row of an object, if there is one."""
    return connection.execute(_FIND, {"repository": repository, "key": key}).first()


def require(connection: Connection, place: Place, asker: Asker, key: str) -> Row[Any]:
    """The row of an object that the asker may read.  Raises ``NotFound``, ``NotAllowed``."""
    row = find(connection, place.id, key)
    if row is None:
        raise NotFound(f"There is no object {key}.")
    if rules.to_get(key) not in place.rights and not (Right.OWN in place.rights and row.actor == asker.actor):
        raise NotAllowed(f"You may not read {key}.", "A writer's token reads only what this device stored.")
    return row


def listing(connection: Connection, repository: str, prefix: str, after: str, limit: int) -> list[Row[Any]]:
    """Objects below a prefix, by key, those behind ``after``, at most ``limit``."""
    query = select(objects.c.key, objects.c.size, objects.c.received_ns).where(objects.c.repository == repository)
    if prefix:  # a range, which the primary key serves; "0" follows "/"
        query = query.where(objects.c.key >= prefix, objects.c.key < prefix[:-1] + "0")
    if after:
        query = query.where(objects.c.key > after)
    return list(connection.execute(query.order_by(objects.c.key).limit(limit)))


def record(connection: Connection, place: Place, asker: Asker, received: Received, now_ns: int) -> None:
    """Make an object visible.  Raises ``Exists``."""
    locked = lock(connection, place.id)
    if find(connection, place.id, received.key) is not None:
        raise Exists(f"{received.key} is stored already.")
    values = {"repository": place.id, "key": received.key, "size": received.size, "sha256": received.sha256}
    connection.execute(_ADD, {**values, "received_ns": now_ns, "actor": asker.actor, "locked_ns": received.locked_ns})
    connection.execute(_OUT_OF_TRASH, {"repository": place.id, "key": received.key})
    _count(connection, place, received.key, received.size, 1)
    if received.footer is not None and received.footer.segments:
        pack = rules.hash_in(received.key)
        connection.execute(delete(segments).where(segments.c.repository == place.id, segments.c.pack == pack))
        unique = {each.id: each for each in received.footer.segments}
        rows = [
            {"repository": place.id, "segment": each.id, "pack": pack, "start": each.offset, "length": each.length}
            for each in unique.values()
        ]
        connection.execute(insert(segments), rows)
    if rules.is_chained(received.key):
        chain.append(connection, locked, now_ns, "put", received.key, received.sha256, asker.actor)


def remove_mark(connection: Connection, place: Place, asker: Asker, key: str) -> bool:
    """Remove a session mark of the asker's own, at once and for good; False if it isn't there.  Raises ``NotAllowed``."""
    lock(connection, place.id)
    row = find(connection, place.id, key)
    if row is None:
        return False
    if row.actor != asker.actor and Right.DELETE not in place.rights:
        raise NotAllowed("You may not end another device's session.", "Whoever administers the repository may.")
    connection.execute(delete(objects).where(objects.c.repository == place.id, objects.c.key == key))
    _count(connection, place, key, -row.size, -1)
    return True


def discard(connection: Connection, place: Place, asker: Asker, key: str, now_ns: int) -> bool:
    """Put an object into the trash; False if it isn't there.  Raises ``Braked``, ``StepUpNeeded``, ``NotAllowed``."""
    place.require(Right.DELETE, "delete anything here")
    asker.require_second_factor(now_ns)
    counted = lock(connection, place.id)
    row = find(connection, place.id, key)
    if row is None:
        return False
    _brake(connection, place, counted, key, row.size, now_ns)
    connection.execute(delete(objects).where(objects.c.repository == place.id, objects.c.key == key))
    kept = {name: getattr(row, name) for name in ("repository", "key", "size", "sha256", "received_ns", "actor")}
    connection.execute(insert(trash).values(id=new_id(), **kept, deleted_ns=now_ns, deleted_by=asker.actor))
    _count(connection, place, key, -row.size, -1)
    chain.append(connection, counted, now_ns, "delete", key, row.sha256, asker.actor)
    return True


def bring_back(connection: Connection, place: Place, asker: Asker, wanted: Sequence[str], now_ns: int) -> int:
    """Take objects out of the trash, by their ids there; all of them if none are named.  How many.  Raises ``Full``."""
    place.require(Right.DELETE, "empty the trash here, nor take anything out of it")
    lock(connection, place.id)
    query = select(trash).where(trash.c.repository == place.id)
    rows = list(connection.execute(query.where(trash.c.id.in_(wanted)) if wanted else query))
    quota.release(connection, quota.reserve(connection, place.account, sum(row.size for row in rows), now_ns))
    for row in rows:
        connection.execute(delete(trash).where(trash.c.id == row.id))
        if find(connection, place.id, row.key) is None:
            kept = {name: getattr(row, name) for name in ("repository", "key", "size", "sha256", "received_ns", "actor")}
            connection.execute(insert(objects).values(**kept))
            _count(connection, place, row.key, row.size, 1)
            chain.append(connection, lock(connection, place.id), now_ns, "restore", row.key, row.sha256, asker.actor)
    return len(rows)


def lapsed(connection: Connection, now_ns: int, limit: int = 1000) -> list[Row[Any]]:
    """What has been in the trash for longer than its repository keeps it."""
    query = (
        select(trash.c.id, trash.c.repository, trash.c.key)
        .join(repositories, repositories.c.id == trash.c.repository)
        .where(trash.c.deleted_ns <= now_ns - cast(repositories.c.trash_days, BigInteger) * DAY_NS)
        .limit(limit)
    )
    return list(connection.execute(query))


def in_trash(connection: Connection, repository: str, key: str) -> Row[Any] | None:
    """The line of the trash of a key."""
    return connection.execute(_FIND_IN_TRASH, {"repository": repository, "key": key}).first()


def damaged(connection: Connection, repository: str) -> int:
    """How many objects a scrub found lost or changed."""
    return connection.execute(_DAMAGED, {"repository": repository}).scalar_one()


def trash_total(connection: Connection, repository: str) -> tuple[int, int]:
    """How many objects and bytes are in the trash."""
    row = connection.execute(_TRASHED, {"repository": repository}).one()
    return int(row[0]), int(row[1])


def by_kind(connection: Connection, repository: str) -> Sequence[Row[Any]]:
    """Objects and bytes by the first part of their keys, the most first.  What was put aside counts as ``quarantine``."""
    tops = (*rules.TOPS, QUARANTINE)
    kind = case(*((objects.c.key.like(f"{top}/%") | (objects.c.key == top), top) for top in tops), else_="other").label("kind")
    total = func.coalesce(func.sum(objects.c.size), 0)
    query = select(kind, func.count().label("objects"), cast(total, BigInteger).label("bytes"))
    return connection.execute(query.where(objects.c.repository == repository).group_by(kind).order_by(total.desc())).all()


def _count(connection: Connection, place: Place, key: str, size: int, number: int) -> None:
    is_snapshot = number if rules.top_of(key) == "snapshots" else 0
    connection.execute(_COUNT, {"repository": place.id, "more": size, "more_snapshots": is_snapshot})
    quota.charge(connection, place.account, size)


def _brake(connection: Connection, place: Place, row: Row[Any], key: str, size: int, now_ns: int) -> None:
    """Count a deletion; raises ``Braked`` if it is too much for one day.  ``row`` is the repository's, locked."""
    if now_ns >= row.brake_released_ns:
        _require_no_shrinking(connection, place)
    fresh = now_ns - row.window_ns < DAY_NS
    deleted = (row.window_bytes if fresh else 0) + size
    snapshots = (row.window_snapshots if fresh else 0) + (rules.top_of(key) == "snapshots")
    all_bytes = row.bytes - size + deleted
    all_snapshots = row.snapshots - (rules.top_of(key) == "snapshots") + snapshots
    too_much = deleted > BRAKE_BYTES and deleted * BRAKE_SHARE > all_bytes
    too_many = snapshots > BRAKE_SNAPSHOTS and snapshots * BRAKE_SHARE > all_snapshots
    if (too_much or too_many) and now_ns >= row.brake_released_ns:
        what = f"{snapshots} of {all_snapshots} snapshots" if too_many else f"{deleted} of {all_bytes} bytes"
        raise Braked(
            f"The brake is on: {what} of {place.path} would be deleted within a day.",
            "If that is meant, release the brake for an hour: `safehold account release`, or in the browser.",
        )
    values = {"window_ns": row.window_ns if fresh else now_ns, "window_bytes": deleted, "window_snapshots": snapshots}
    connection.execute(update(repositories).where(repositories.c.id == place.id).values(values))


def _require_no_shrinking(connection: Connection, place: Place) -> None:
    """Raises ``Braked`` while a device's backups are suddenly small: what was deleted there is in older ones alone."""
    query = select(devices.c.name).join(sources, sources.c.device == devices.c.id)
    shrunk = connection.execute(query.where(sources.c.repository == place.id, sources.c.shrunk_ns > 0).limit(1)).scalar()
    if shrunk is not None:
        raise Braked(
            f"The brake is on: the backups of {shrunk} are suddenly less than half of what they were.",
            "If that is meant, release the brake: `safehold account release`, or in the browser.",
        )
