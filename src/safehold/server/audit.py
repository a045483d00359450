"""Who did what, and when: a chain, so that nobody takes a line out unnoticed.

Each line's hash is SHA-256 of the one before it and its own content.  The log is of the whole server; people see the lines of
their own accounts and repositories.
"""

from __future__ import annotations

import hashlib

import msgspec
from sqlalchemy import Connection, func, insert, select, text

from safehold.server.schema import audit

_BEGINNING = "0" * 64


def note(
    connection: Connection,
    now_ns: int,
    what: str,
    *,
    actor: str,
    account: str = "",
    repository: str = "",
    address: str = "",
    **detail: object,
) -> None:
    """Add a line, in the transaction that does what it tells."""
    if connection.dialect.name == "postgresql":  # one line after the other, also of several servers
        connection.execute(text("SELECT pg_advisory_xact_lock(7233161)"))
    last = connection.execute(select(audit.c.number, audit.c.hash).order_by(audit.c.number.desc()).limit(1)).first()
    number, before = (last.number + 1, last.hash) if last else (1, _BEGINNING)
    line = {
        "number": number,
        "time_ns": now_ns,
        "actor": actor,
        "account": account,
        "repository": repository,
        "address": address,
        "what": what,
        "detail": msgspec.json.encode(detail, order="sorted").decode() if detail else "",
    }
    connection.execute(insert(audit).values(**line, hash=line_hash(before, line)))


def line_hash(before: str, line: dict[str, object]) -> str:
    """Of a line that follows one with the hash ``before``: 64 hexadecimal digits."""
    return hashlib.sha256(before.encode() + msgspec.json.encode(line, order="sorted")).hexdigest()


def verify(connection: Connection) -> int | None:
    """The number of the first line that does not follow from those before it; None if all do."""
    before, expected = _BEGINNING, 1
    for row in connection.execute(select(audit).order_by(audit.c.number)):
        line = {**row._mapping}
        told = line.pop("hash")
        if row.number != expected or line_hash(before, line) != told:
            return int(expected)
        before, expected = told, expected + 1
    return None


def count(connection: Connection) -> int:
    """Lines that there are."""
    return connection.execute(select(func.count()).select_from(audit)).scalar_one()
