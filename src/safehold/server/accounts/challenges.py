"""Questions that are put once and answered once: to authenticators, and to a provider that vouches for somebody.

Each is bound to what its asker holds: the browser session, or a cookie of the browser that wants to log in.
"""

from __future__ import annotations

from sqlalchemy import Connection, delete, select

from safehold.core.clock import NS
from safehold.server.database import upsert
from safehold.server.errors import NotAllowed
from safehold.server.ids import fingerprint
from safehold.server.schema import challenges

LAPSE_NS = 300 * NS


def put(connection: Connection, holder: str, purpose: str, secret: bytes, now_ns: int, person: str = "") -> None:
    """Remember a question; it takes the place of the one before."""
    values = {"purpose": purpose, "person": person, "secret": secret, "expires_ns": now_ns + LAPSE_NS}
    upsert(connection, challenges, {"id": fingerprint(f"{purpose} {holder}")}, values)


def take(connection: Connection, holder: str, purpose: str, now_ns: int) -> tuple[bytes, str]:
    """What was asked, and of whom; it can't be taken again.  Raises ``NotAllowed``."""
    mine = challenges.c.id == fingerprint(f"{purpose} {holder}")
    row = connection.execute(select(challenges).where(mine).with_for_update()).first()
    if row is None or row.expires_ns <= now_ns or not holder:
        raise NotAllowed("This was not asked here, or too long ago.", "Begin again.")
    connection.execute(delete(challenges).where(mine))
    return bytes(row.secret), str(row.person)
