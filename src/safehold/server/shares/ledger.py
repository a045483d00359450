"""The owner's side: making shares known, publishing what they open, taking them back, seeing who came.

What a share opens is a generation: a manifest, objects, and a list of segments.  A generation is filled in several requests and
becomes the current one in one transaction, so nobody ever sees half of one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, delete, insert, select, update

from safehold.core.clock import NS
from safehold.server.asking import Asker, Place
from safehold.server.errors import Exists, NotAllowed, NotFound, Refusal
from safehold.server.ids import new_id
from safehold.server.objects import holdings
from safehold.server.objects.rules import Right
from safehold.server.schema import segments as stored_segments
from safehold.server.shares.tables import share_log, share_objects, share_segments, share_sessions, shares

ID = re.compile(r"[0-9a-f]{32}")
SEGMENT = 16
MOST_LOG = 1000
_ASKED_TOGETHER = 500
SESSION_NS = 24 * 3600 * NS
"""So long a friend goes on after one opening: a large download that breaks off does not cost another."""


class Wanted(msgspec.Struct, frozen=True):
    """A share, as its owner makes it known.  Bytes are base64."""

    id: str
    salt: bytes
    secret: bool
    auth_hash: bytes
    password: tuple[int, int, int] | None = None
    expires_ns: int = 0
    opens: int = 0


class Generation(msgspec.Struct, frozen=True):
    """What a share is to open from now on."""

    generation: int
    manifest: str
    objects: list[str] = []


def create(connection: Connection, place: Place, asker: Asker, wanted: Wanted, now_ns: int) -> None:
    """Make a share known; it opens nothing yet.  The same again is no error.  Raises ``Exists``, ``Refusal``."""
    place.require(Right.SHARE, "share anything here")
    sizes = len(wanted.salt) == 16 and len(wanted.auth_hash) == 32
    if not ID.fullmatch(wanted.id) or not sizes or wanted.opens < 0 or wanted.expires_ns < 0:
        raise Refusal("This is no share that anybody could open.")
    row = _find(connection, wanted.id, to_change=True)
    if row is not None:
        if row.repository == place.id and bytes(row.auth_hash) == wanted.auth_hash:
            return
        raise Exists("There is a share of that id already.", "Make another one.")
    values = {
        "id": wanted.id,
        "repository": place.id,
        "actor": asker.actor,
        "created_ns": now_ns,
        "salt": wanted.salt,
        "needs_secret": wanted.secret,
        "cost": " ".join(map(str, wanted.password or ())),
        "auth_hash": wanted.auth_hash,
        "expires_ns": wanted.expires_ns,
        "most_opens": wanted.opens,
    }
    connection.execute(insert(shares).values(**values))
    note(connection, wanted.id, now_ns, asker.address, "made")


def add_segments(connection: Connection, place: Place, asker: Asker, share: str, generation: int, ids: bytes) -> None:
    """Let a coming generation open some segments.  Raises ``Refusal`` for any that the repository does not hold."""
    row = require(connection, place, asker, share)
    if generation <= row.generation or len(ids) % SEGMENT:
        raise Refusal("These segments belong to no coming state of the share.")
    wanted = {ids[at : at + SEGMENT] for at in range(0, len(ids), SEGMENT)}
    known: set[bytes] = set()
    listed = sorted(wanted)
    here = (share_segments.c.share == share) & (share_segments.c.generation == generation)
    present: set[bytes] = set()
    for at in range(0, len(listed), _ASKED_TOGETHER):
        some = listed[at : at + _ASKED_TOGETHER]
        where = (stored_segments.c.repository == place.id) & stored_segments.c.segment.in_(some)
        known.update(bytes(each) for each in connection.execute(select(stored_segments.c.segment).where(where)).scalars())
        again = select(share_segments.c.segment).where(here & share_segments.c.segment.in_(some))
        present.update(bytes(each) for each in connection.execute(again).scalars())
    if wanted - known:
        raise Refusal(f"{len(wanted - known)} of these segments are not stored here.", "Make the share again.")
    rows = [{"share": share, "generation": generation, "segment": each} for each in listed if each not in present]
    if rows:
        connection.execute(insert(share_segments), rows)


def publish(connection: Connection, place: Place, asker: Asker, share: str, wanted: Generation, now_ns: int) -> None:
    """Make a generation the current one.  Who opened an earlier one goes on with that for a day.

    Raises ``Refusal``, ``NotFound``.
    """
    row = require(connection, place, asker, share)
    if wanted.generation < row.generation or row.revoked_ns:
        raise Refusal("This state of the share is older than the one that is published, or it was taken back.")
    for key in (wanted.manifest, *wanted.objects):
        if not key.startswith(f"shares/{share}/") or holdings.find(connection, place.id, key) is None:
            raise NotFound(f"There is no object {key[:200]} of this share.", "Store it first.")
    mine = (share_objects.c.share == share) & (share_objects.c.generation == wanted.generation)
    connection.execute(delete(share_objects).where(mine))
    rows = [
        {"share": share, "generation": wanted.generation, "number": number, "key": key}
        for number, key in enumerate([wanted.manifest, *wanted.objects])
    ]
    connection.execute(insert(share_objects), rows)
    connection.execute(update(shares).where(shares.c.id == share).values(generation=wanted.generation))
    in_use = select(share_sessions.c.generation).where(
        share_sessions.c.share == share, share_sessions.c.created_ns > now_ns - SESSION_NS
    )
    for table in (share_objects, share_segments):
        older = (table.c.share == share) & (table.c.generation < wanted.generation)
        connection.execute(delete(table).where(older, table.c.generation.not_in(in_use)))
    note(connection, share, now_ns, asker.address, "published")


def revoke(connection: Connection, place: Place, asker: Asker, share: str, now_ns: int) -> None:
    """Take a share back, at once and for good.  Raises ``NotFound``."""
    row = require(connection, place, asker, share)
    if not row.revoked_ns:
        connection.execute(update(shares).where(shares.c.id == share).values(revoked_ns=now_ns))
        note(connection, share, now_ns, asker.address, "revoked")
    for table in (share_sessions, share_objects, share_segments):
        connection.execute(delete(table).where(table.c.share == share))


def listing(connection: Connection, place: Place, asker: Asker) -> list[dict[str, object]]:
    """The shares of a repository, newest first: those of the asker's own, or for who administers it all."""
    place.require(Right.SHARE, "see what is shared here")
    query = select(shares).where(shares.c.repository == place.id).order_by(shares.c.created_ns.desc())
    if Right.MANAGE not in place.rights:
        query = query.where(shares.c.actor == asker.actor)
    return [
        {
            "id": row.id,
            "actor": row.actor,
            "created_ns": row.created_ns,
            "expires_ns": row.expires_ns,
            "most_opens": row.most_opens,
            "opens": row.opens,
            "opened_ns": row.opened_ns,
            "revoked_ns": row.revoked_ns,
            "has_password": bool(row.cost),
            "generation": row.generation,
        }
        for row in connection.execute(query)
    ]


def history(connection: Connection, place: Place, asker: Asker, share: str) -> list[dict[str, object]]:
    """Who came to a share, and when, newest first.  Raises ``NotFound``."""
    require(connection, place, asker, share, to_change=False)
    query = select(share_log).where(share_log.c.share == share).order_by(share_log.c.time_ns.desc()).limit(MOST_LOG)
    return [{"time_ns": row.time_ns, "address": row.address, "what": row.what} for row in connection.execute(query)]


def require(connection: Connection, place: Place, asker: Asker, share: str, *, to_change: bool = True) -> Row[Any]:
    """A share that the asker may change: their own, or any for who administers the repository.  Raises ``NotFound``."""
    place.require(Right.SHARE, "share anything here")
    row = _find(connection, share, to_change)
    if row is None or row.repository != place.id:
        raise NotFound("There is no such share here.", "`safehold share list` shows them.")
    if row.actor != asker.actor and Right.MANAGE not in place.rights:
        raise NotAllowed("Somebody else made this share.", "Who administers the repository may change it.")
    return row


def note(connection: Connection, share: str, now_ns: int, address: str, what: str) -> None:
    """Write down that something happened to a share."""
    connection.execute(insert(share_log).values(id=new_id(), share=share, time_ns=now_ns, address=address, what=what))


def _find(connection: Connection, share: str, to_change: bool) -> Row[Any] | None:
    query = select(shares).where(shares.c.id == share)
    return connection.execute(query.with_for_update() if to_change else query).first()


def forget_old(connection: Connection, before_ns: int) -> Sequence[str]:
    """Remove sessions that lapsed, and the log of shares that have long been over; for a job to call."""
    connection.execute(delete(share_sessions).where(share_sessions.c.created_ns < before_ns))
    over = (shares.c.revoked_ns.between(1, before_ns)) | shares.c.expires_ns.between(1, before_ns)
    gone = list(connection.execute(select(shares.c.id).where(over)).scalars())
    for share in gone:
        connection.execute(delete(share_log).where(share_log.c.share == share))
        connection.execute(delete(shares).where(shares.c.id == share))
    return gone
