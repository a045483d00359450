"""The friend's side: proving the key, and what may be fetched with that.  State is looked at anew at every request and block."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, insert, select, update

from safehold.server import limits
from safehold.server.errors import Expired, NotAllowed, NotAuthenticated, NotFound, Withdrawn
from safehold.server.ids import fingerprint, new_secret
from safehold.server.objects import holdings
from safehold.server.schema import segments
from safehold.server.shares import ledger
from safehold.server.shares.ledger import SESSION_NS
from safehold.server.shares.tables import share_objects, share_segments, share_sessions, shares

MOST_WRONG = 5
WINDOW_SECONDS = 600
"""Wrong tries of one address ..."""
MOST_WRONG_OF_ALL = 50
WINDOW_OF_ALL_SECONDS = 3600
"""... and of all together: a password is not to be guessed by a thousand machines."""
BEARER = "Bearer "
MANIFEST = 0


class Opened(msgspec.Struct, frozen=True):
    """What a friend goes on with."""

    session: str
    lapses_ns: int
    manifest_size: int
    generation: int


class Piece(msgspec.Struct, frozen=True):
    """Bytes that may be given out."""

    repository: str
    key: str
    start: int
    length: int


class Opening(msgspec.Struct, frozen=True):
    """A living share, as who opened it sees it."""

    share: Any
    generation: int


def see(connection: Connection, share: str, now_ns: int) -> dict[str, object]:
    """What everybody may know who has the id: which kind of key is needed.  Raises ``NotFound``, ``Gone``."""
    row = _living(connection, share, now_ns)
    cost = [int(number) for number in row.cost.split()] or None
    return {"salt": bytes(row.salt), "secret": row.needs_secret, "password": cost}


def count_try(connection: Connection, share: str, address: str, now_ns: int) -> None:
    """Count a try to open, in a transaction of its own.  Raises ``TooMany``."""
    limits.count(connection, f"share {share} {address}", now_ns, most=MOST_WRONG, seconds=WINDOW_SECONDS)
    limits.require(connection, f"share {share}", now_ns, most=MOST_WRONG_OF_ALL, seconds=WINDOW_OF_ALL_SECONDS)


def open_share(connection: Connection, share: str, auth: bytes, address: str, now_ns: int) -> Opened | None:
    """One opening; None if that is not the key (it is written down).  Raises ``NotFound``, ``Gone``.

    Whether it may still be opened is decided by the one statement that counts it: of two at the same moment, only one gets
    the last.
    """
    row = _living(connection, share, now_ns)
    if not hmac.compare_digest(hashlib.sha256(auth).digest(), bytes(row.auth_hash)):
        ledger.note(connection, share, now_ns, address, "refused")
        limits.count(connection, f"share {share}", now_ns, most=MOST_WRONG_OF_ALL, seconds=WINDOW_OF_ALL_SECONDS)
        return None
    free = (shares.c.most_opens == 0) | (shares.c.opens < shares.c.most_opens)
    lasting = (shares.c.expires_ns == 0) | (shares.c.expires_ns > now_ns)
    counted = connection.execute(
        update(shares)
        .where(shares.c.id == share, shares.c.revoked_ns == 0, free, lasting)
        .values(opens=shares.c.opens + 1, opened_ns=now_ns)
    )
    if counted.rowcount != 1:
        ledger.note(connection, share, now_ns, address, "over")
        return Opened("", 0, 0, 0)
    limits.clear(connection, f"share {share} {address}")
    given = new_secret()
    values = {"id": fingerprint(given), "share": share, "generation": row.generation, "created_ns": now_ns, "address": address}
    connection.execute(insert(share_sessions).values(**values))
    ledger.note(connection, share, now_ns, address, "opened")
    size = share_object(connection, Opening(row, row.generation), MANIFEST).length
    return Opened(given, now_ns + SESSION_NS, size, row.generation)


def require_session(connection: Connection, share: str, header: str, now_ns: int) -> Opening:
    """The share, if it lives and the session was opened for it.  Raises ``NotAuthenticated``, ``Gone``, ``NotFound``."""
    row = _living(connection, share, now_ns)
    given = header.removeprefix(BEARER) if header.startswith(BEARER) else ""
    session = connection.execute(
        select(share_sessions).where(share_sessions.c.id == fingerprint(given), share_sessions.c.share == share)
    ).first()
    if session is None or now_ns - session.created_ns >= SESSION_NS:
        raise NotAuthenticated("This was not opened, or a day ago.", "Open the link again.")
    return Opening(row, session.generation)


def share_object(connection: Connection, opening: Opening, number: int) -> Piece:
    """An object of the share's own; ``MANIFEST`` is its listing.  Raises ``NotFound``."""
    row = opening.share
    where = (share_objects.c.share == row.id) & (share_objects.c.generation == opening.generation)
    key = connection.execute(select(share_objects.c.key).where(where & (share_objects.c.number == number))).scalar()
    if key is None:
        raise NotFound("There is no such object in this share.")
    stored = holdings.find(connection, row.repository, key)
    if stored is None:
        raise NotFound("This part of the share is lost.", "Ask whoever shared it to make a new one.")
    return Piece(row.repository, key, 0, stored.size)


def segment(connection: Connection, opening: Opening, segment_id: bytes) -> Piece:
    """A segment, wherever it lies now.  Raises ``NotAllowed`` for one that this share does not open."""
    row = opening.share
    opened = (share_segments.c.share == row.id) & (share_segments.c.generation == opening.generation)
    asked = select(share_segments.c.segment).where(opened, share_segments.c.segment == segment_id)
    if connection.execute(asked).first() is None:
        raise NotAllowed("That is not part of this share.")
    where = (segments.c.repository == row.repository) & (segments.c.segment == segment_id)
    for place in connection.execute(select(segments).where(where)):
        key = f"packs/{place.pack[:2]}/{place.pack}"
        if holdings.find(connection, row.repository, key) is not None:
            return Piece(row.repository, key, place.start, place.length)
    raise NotFound("This part of the share is lost.", "Ask whoever shared it to make a new one.")


def _living(connection: Connection, share: str, now_ns: int) -> Row[Any]:
    row = connection.execute(select(shares).where(shares.c.id == share)).first() if ledger.ID.fullmatch(share) else None
    if row is None or (row.generation < 0 and not row.revoked_ns):
        raise NotFound("There is no such share.", "Copy the whole link.")
    if row.revoked_ns:
        raise Withdrawn("This share was taken back.", "Ask whoever sent you the link.")
    if row.expires_ns and now_ns >= row.expires_ns:
        raise Expired("This share has expired.", "Ask whoever sent you the link for a new one.")
    return row
