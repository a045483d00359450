"""Emptying the trash of what has been in it for its repository's days.

First the line of the trash goes, then the bytes (``holdings.remove_bytes``).  A crash in between leaves bytes that nobody
sees; ``scrubbing.strays`` removes those.
"""

from __future__ import annotations

from contextlib import suppress

from sqlalchemy import delete

from safehold.core.errors import StoreError
from safehold.server import audit
from safehold.server.objects import holdings
from safehold.server.schema import trash
from safehold.server.service import Service

BATCH = 500
ACTOR = "s:jobs"


def purge(service: Service) -> str:
    """Remove what is in the trash for too long."""
    removed = 0
    while True:
        now = service.clock.now_ns()
        with service.database.read() as connection:
            due = holdings.lapsed(connection, now, BATCH)
        gone = sum(_purge_one(service, row.repository, row.id, row.key, now) for row in due)
        removed += gone
        if len(due) < BATCH or not gone:
            return f"{removed} removed"


def _purge_one(service: Service, repository: str, line: str, key: str, now: int) -> bool:
    with service.database.write() as connection:
        row = holdings.lock(connection, repository)
        late = trash.c.deleted_ns <= now - row.trash_days * holdings.DAY_NS
        if not connection.execute(delete(trash).where(trash.c.id == line, late)).rowcount:
            return False  # brought back, stored anew, or purged by another server
        note = {"actor": ACTOR, "account": row.account, "repository": repository}
        audit.note(connection, now, "trash.purge", **note, key=key)
    with suppress(StoreError), service.database.write(alone=True) as connection:  # what stays is found as a stray
        holdings.remove_bytes(connection, service.store(repository), repository, key)
    return True
