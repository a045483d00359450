"""The chain of what changed a repository's meaning: what a client remembers, so that a server that was set back is found out.

    hash of entry n = SHA-256(hash of entry n - 1 + JSON of [number, time_ns, what, key, sha256, actor])

with the hash before the first one 64 zeros, all hashes as hexadecimal text, and JSON without spaces.
"""

from __future__ import annotations

import hashlib

import msgspec
from sqlalchemy import Connection, insert, select, update

from safehold.server.schema import chain, repositories

BEGINNING = "0" * 64
PAGE = 5000
"""Entries in one answer, at most."""


class Entry(msgspec.Struct, array_like=True, frozen=True):
    """One thing that happened."""

    number: int
    time_ns: int
    what: str
    """``put``, ``delete``, ``restore`` or ``quarantine``."""
    key: str
    sha256: str
    actor: str


def entry_hash(before: str, entry: Entry) -> str:
    """Of an entry that follows one with the hash ``before``."""
    return hashlib.sha256(before.encode() + msgspec.json.encode(entry)).hexdigest()


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
