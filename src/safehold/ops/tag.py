"""Changing the tags of a snapshot.

A snapshot is immutable and signed, so a changed one is a new object that names the first as its ``original``; the old one goes
to the trash.  The new one is durable before the old is hidden: an interruption leaves two, never none.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from safehold.repo import condemned, snapshots
from safehold.repo.condemned import Condemned
from safehold.repo.repository import Repository
from safehold.repo.snapshots import Stored


def retag(repository: Repository, stored: Stored, tags: Iterable[str]) -> str:
    """Give a snapshot exactly these tags; its new id, or its old one if nothing changes.  Raises ``NotPermitted``."""
    repository.require_owner("change tags")
    wanted = sorted(set(tags))
    if wanted == sorted(stored.snapshot.tags):
        return stored.id
    original = stored.snapshot.original or stored.id
    changed = msgspec.structs.replace(stored.snapshot, tags=wanted, original=original)
    with repository.session("tag") as session:
        name = snapshots.commit(session, repository.seals, repository.store, repository.seals.new_session(), changed)
        condemned.write(repository.seals, repository.store, Condemned(time_ns=repository.clock.now_ns(), trash=[stored.id]))
    return name
