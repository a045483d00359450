"""Admitting a device: a request, six words that prove whose it is, and what it gets.

``docs/server.md``, "Enrolling a device".
"""

from __future__ import annotations

import hmac
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, func, insert, select, update

from safehold.core.clock import NS
from safehold.server.errors import Gone, NotFound, Refusal, TooMany
from safehold.server.ids import fingerprint, new_id, new_secret
from safehold.server.schema import devices, enrolments

LAPSE_NS = 15 * 60 * NS
MOST_OPEN = 5
"""From one address."""
KEY_SIZE = 32
DAY_NS = 86400 * NS
"""A new device is expected to back up within a day."""


class Wanted(msgspec.Struct):
    """A device that asks."""

    name: str
    exchange_public: bytes
    signing_public: bytes
    system: str = ""


class Answered(msgspec.Struct, frozen=True):
    """What a device that polls is told."""

    state: str
    """``waiting``, ``approved``, ``refused``."""
    sealed: bytes = b""
    key_sealed: bytes = b""


def ask(connection: Connection, wanted: Wanted, address: str, now_ns: int) -> tuple[str, str]:
    """Write a request down; its id, and the secret to poll with.  Raises ``TooMany``, ``Refusal``."""
    if len(wanted.exchange_public) != KEY_SIZE or len(wanted.signing_public) != KEY_SIZE:
        raise Refusal("A public key has a wrong length.")
    name = wanted.name.strip()
    if not name or len(name) > 100 or not name.isprintable():
        raise Refusal("The device needs a name of up to 100 characters.")
    live = (enrolments.c.address == address) & (enrolments.c.state == "waiting") & (enrolments.c.created_ns > now_ns - LAPSE_NS)
    if connection.execute(select(func.count()).select_from(enrolments).where(live)).scalar_one() >= MOST_OPEN:
        raise TooMany("Too many devices ask for admission from this address.", headers={"Retry-After": "900"})
    made, secret = new_id(), new_secret()
    keys = {"exchange_public": wanted.exchange_public, "signing_public": wanted.signing_public}
    values = {"id": made, "secret_hash": fingerprint(secret), "name": name, "system": wanted.system[:100], **keys}
    connection.execute(insert(enrolments).values(**values, address=address, created_ns=now_ns))
    return made, secret


def find(connection: Connection, enrolment: str, now_ns: int, *, to_answer: bool = False) -> Row[Any]:
    """A request that still waits; ``to_answer``: nobody else answers it meanwhile.  Raises ``NotFound``, ``Gone``."""
    query = select(enrolments).where(enrolments.c.id == enrolment)
    row = connection.execute(query.with_for_update() if to_answer else query).first()
    if row is None:
        raise NotFound("No device asks for that.", "Was it asked of this server?")
    if row.state != "waiting" or now_ns - row.created_ns > LAPSE_NS:
        raise Gone("That request was answered already, or has lapsed.", "Ask again on the device: `safehold login`.")
    return row


def poll(connection: Connection, enrolment: str, secret: str, now_ns: int) -> Answered:
    """What a device is told; once it was told that it is approved, it is told no more.  Raises ``NotFound``, ``Gone``."""
    row = connection.execute(select(enrolments).where(enrolments.c.id == enrolment)).first()
    if row is None or not hmac.compare_digest(row.secret_hash, fingerprint(secret)):
        raise NotFound("No device asks for that.")
    if (
        row.state == "fetched"
        or now_ns - row.created_ns > 2 * LAPSE_NS
        or (row.state == "waiting" and now_ns - row.created_ns > LAPSE_NS)
    ):
        raise Gone("The request has lapsed.", "Ask again: `safehold login`.")
    return Answered(row.state, row.sealed, row.key_sealed)


def fetched(connection: Connection, enrolment: str, secret: str) -> None:
    """The device has what it was given: forget it here."""
    mine = (enrolments.c.id == enrolment) & (enrolments.c.secret_hash == fingerprint(secret))
    connection.execute(update(enrolments).where(mine).values(state="fetched", sealed=b"", key_sealed=b""))


def admit(connection: Connection, request: Row[Any], repository: str, now_ns: int) -> str:
    """Make a device of a request; its id."""
    made = new_id()
    keys = {"exchange_public": request.exchange_public, "signing_public": request.signing_public}
    values = {"id": made, "repository": repository, "name": request.name, "system": request.system, **keys}
    connection.execute(insert(devices).values(**values, created_ns=now_ns, seen_ns=now_ns, due_ns=now_ns + DAY_NS))
    return made


def answered(connection: Connection, enrolment: str, state: str, sealed: bytes = b"", key_sealed: bytes = b"") -> None:
    """Write down what was decided."""
    values = {"state": state, "sealed": sealed, "key_sealed": key_sealed}
    connection.execute(update(enrolments).where(enrolments.c.id == enrolment).values(**values))
