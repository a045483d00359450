"""The chain of what changed a repository's meaning: what a client remembers, so that a server that was set back is found out."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Connection, Row, bindparam, insert, select, update

from safehold.server.schema import chain, repositories
from safehold.storage.online.chain import BEGINNING, Entry, entry_hash

PAGE = 5000
"""Entries in one answer, at most."""
_ADD = insert(chain)
_MOVE = (
    update(repositories)
    .where(repositories.c.id == bindparam("repository"))
    .values(number=bindparam("new_number"), head=bindparam("new_head"))
)


def append(connection: Connection, last: Row[Any], now_ns: int, what: str, key: str, sha256: str, actor: str) -> None:
    """Add an entry, in the transaction that does what it tells.  ``last`` is the repository's row, locked, with its head."""
    entry = Entry(last.number + 1, now_ns, what, key, sha256, actor)
    head = entry_hash(last.head or BEGINNING, entry)
    connection.execute(_ADD, {"repository": last.id, "hash": head, **msgspec.structs.asdict(entry)})
    connection.execute(_MOVE, {"repository": last.id, "new_number": entry.number, "new_head": head})


def after(connection: Connection, repository: str, number: int) -> list[Entry]:
    """The entries behind that number, ``PAGE`` at most."""
    query = select(chain).where(chain.c.repository == repository, chain.c.number > number).order_by(chain.c.number).limit(PAGE)
    return [Entry(r.number, r.time_ns, r.what, r.key, r.sha256, r.actor) for r in connection.execute(query)]
