"""Looking whether the bytes are still those that came: a share of all of them each time, the longest unseen first."""

from __future__ import annotations

import hashlib
from typing import Any

from sqlalchemy import Row, func, select, update

from safehold.core.clock import NS
from safehold.core.errors import ObjectMissing
from safehold.server import audit
from safehold.server.jobs import notices
from safehold.server.objects import holdings
from safehold.server.schema import objects, repositories, trash
from safehold.server.service import Service
from safehold.storage.keys import QUARANTINE
from safehold.storage.local import LocalStore
from safehold.storage.store import Store

ACTOR = "s:jobs"
BLOCK = 8 << 20
BATCH = 200
LEAST_BYTES = 1 << 30
"""A small server is looked through more often than it has to be."""
STRAY_NS = 3600 * NS
"""An upload is recorded within seconds of its last byte: bytes without a row for so long belong to nobody."""
DAY_NS = 86400 * NS


def share(stored: int, days: int, runs_a_day: int) -> int:
    """Bytes to hash in one run, so that all that is ``stored`` is seen within ``days``."""
    return max(-(-stored // (days * runs_a_day)), LEAST_BYTES // runs_a_day)


def scrub(service: Service, runs_a_day: int = 24) -> str:
    """Hash a share anew, and write down what was found."""
    with service.database.read() as connection:
        stored = int(connection.execute(select(func.coalesce(func.sum(repositories.c.bytes), 0))).scalar_one())
    left = share(stored, service.settings.scrub_days, runs_a_day)
    began = service.clock.now_ns()
    seen = damaged = 0
    while left > 0:
        rows = _longest_unseen(service, before=began - DAY_NS)
        for row in rows:
            found = _look(service.store(row.repository), row)
            _write_down(service, row, found)
            seen, damaged, left = seen + 1, damaged + bool(found), left - row.size
            if left <= 0:
                break
        if len(rows) < BATCH:
            break
    return f"{seen} looked at, {damaged} damaged"


def _longest_unseen(service: Service, before: int) -> list[Row[Any]]:
    query = select(objects).where(objects.c.checked_ns < before).order_by(objects.c.checked_ns).limit(BATCH)
    with service.database.read() as connection:
        return list(connection.execute(query))


def _look(store: Store, row: Row[Any]) -> str:
    """Empty if the bytes are right, else ``lost`` or ``changed``.  Raises ``StoreError`` where nobody can say."""
    digest = hashlib.sha256()
    try:
        if store.size(row.key) != row.size:
            return "changed"
        for offset in range(0, row.size, BLOCK):
            digest.update(store.get_range(row.key, offset, min(BLOCK, row.size - offset)))
    except ObjectMissing:
        return "lost"
    return "" if digest.hexdigest() == row.sha256 else "changed"


def _write_down(service: Service, row: Row[Any], found: str) -> None:
    """Note the finding, unless the object went meanwhile.  What is lost is looked for again behind the lock."""
    now = service.clock.now_ns()
    same = (objects.c.repository == row.repository) & (objects.c.key == row.key)
    with service.database.write() as connection:
        if found:
            place = holdings.lock(connection, row.repository)
        if found == "lost":  # it may have been removed, and stored anew, since
            found = _look(service.store(row.repository), row)
        changed = connection.execute(update(objects).where(same).values(checked_ns=now, damage=found)).rowcount
        if found and changed and row.damage != found:
            note = {"actor": ACTOR, "account": place.account, "repository": row.repository}
            audit.note(connection, now, "scrub.damage", **note, key=row.key, found=found)
            notices.damage(connection, place, row.key, found, now)


def strays(service: Service) -> str:
    """Remove bytes that no row tells of: of uploads that were cut off, and of deletions that were.

    Nobody was told that such an upload is stored.  What was put aside (``quarantine/``) always stays.
    """
    removed = 0
    with service.database.read() as connection:
        places = list(connection.execute(select(repositories.c.id)).scalars())
    for repository in places:
        removed += _strays_of(service, repository)
    return f"{removed} removed"


def _strays_of(service: Service, repository: str) -> int:
    store = service.store(repository)
    now = service.clock.now_ns()
    if isinstance(store, LocalStore):
        store.sweep(STRAY_NS / NS, now)
    listed = [each.key for each in store.list("") if each.modified_ns <= now - STRAY_NS]
    with service.database.read() as connection:
        known = set(connection.execute(select(objects.c.key).where(objects.c.repository == repository)).scalars())
        known |= set(connection.execute(select(trash.c.key).where(trash.c.repository == repository)).scalars())
    removed = 0
    for key in listed:
        if key in known or key.startswith(f"{QUARANTINE}/"):
            continue
        with service.database.write(alone=True) as connection:
            removed += holdings.remove_bytes(connection, store, repository, key)
    return removed
