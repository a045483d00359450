"""The chain of what changed a repository's meaning: what a client remembers, so that a server that was set back is found out."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection, insert, select, update

from safehold.server.schema import chain, repositories
from safehold.storage.online.chain import BEGINNING, Entry, entry_hash

PAGE = 5000
"""Entries in one answer, at most."""


def append(connection: Connection, repository: str, now_ns: int, what: str, key: str, sha256: str, actor: str) -> None:
    """Add an entry, in the transaction that does what it tells."""
    last = connection.execute(
        select(repositories.c.number, repositories.c.head).where(repositories.c.id == repository).with_for_update()
    ).one()
    entry = Entry(last.number + 1, now_ns, what, key, sha256, actor)
    head = entry_hash(last.head or BEGINNING, entry)
    connection.execute(insert(chain).values(repository=repository, hash=head, **msgspec.structs.asdict(entry)))
    connection.execute(update(repositories).where(repositories.c.id == repository).values(number=entry.number, head=head))


def after(connection: Connection, repository: str, number: int) -> list[Entry]:
    """The entries behind that number, ``PAGE`` at most."""
    query = select(chain).where(chain.c.repository == repository, chain.c.number > number).order_by(chain.c.number).limit(PAGE)
    return [Entry(r.number, r.time_ns, r.what, r.key, r.sha256, r.actor) for r in connection.execute(query)]
