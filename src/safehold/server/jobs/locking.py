"""Keeping the bucket's lock on what is stored: it runs out by itself, and is made longer as long as an object is wanted.

What is in the trash is not locked anew, so that its bytes can go when the lock that it had is over.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row, select, update

from safehold.core.clock import NS
from safehold.core.errors import StoreError
from safehold.server.objects import rules
from safehold.server.schema import objects
from safehold.server.service import Service

BATCH = 500
DAY_NS = 86400 * NS


def extend(service: Service) -> str:
    """Lock anew what has less than half of its days left."""
    if service.locks is None:
        return "no lock is set"
    before = service.clock.now_ns() + service.settings.lock_days * DAY_NS // 2
    done = failed = 0
    after = ("", "")
    while rows := _due(service, before, after):
        for row in rows:
            after = (row.repository, row.key)
            if not rules.is_locked(row.key):
                continue
            try:
                _extend(service, row)
                done += 1
            except StoreError:
                failed += 1
    return f"{done} locked, {failed} could not be" if failed else f"{done} locked"


def _due(service: Service, before: int, after: tuple[str, str]) -> list[Row[Any]]:
    behind = (objects.c.repository > after[0]) | ((objects.c.repository == after[0]) & (objects.c.key > after[1]))
    query = select(objects.c.repository, objects.c.key).where(objects.c.locked_ns < before, behind)
    with service.database.read() as connection:
        return list(connection.execute(query.order_by(objects.c.repository, objects.c.key).limit(BATCH)))


def _extend(service: Service, row: Row[Any]) -> None:
    until = service.lock(row.repository, row.key)
    same = (objects.c.repository == row.repository) & (objects.c.key == row.key)
    with service.database.write(keeps_lookups=True) as connection:
        connection.execute(update(objects).where(same).values(locked_ns=until))
