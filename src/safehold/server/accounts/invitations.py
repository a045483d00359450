"""Invitations: codes by which somebody makes an account where strangers may not.  Each is good once, and not for ever."""

from __future__ import annotations

from sqlalchemy import Connection, insert, select, update

from safehold.server.errors import NotAllowed
from safehold.server.ids import fingerprint, new_id, new_secret
from safehold.server.schema import invitations


def make(connection: Connection, maker: str, label: str, quota: int, now_ns: int, expires_ns: int) -> tuple[str, str]:
    """Make one; its id, and the code, which is shown once."""
    made, code = new_id(), new_secret()
    values = {"id": made, "hash": fingerprint(code), "maker": maker, "label": label[:100], "quota": quota}
    connection.execute(insert(invitations).values(**values, created_ns=now_ns, expires_ns=expires_ns))
    return made, code


def use(connection: Connection, code: str, name: str, now_ns: int) -> int:
    """Use one up for the account ``name``; the quota that it gives.  Raises ``NotAllowed``."""
    mine = (invitations.c.hash == fingerprint(code.strip())) & (invitations.c.used_by == "") & (invitations.c.expires_ns > now_ns)
    if connection.execute(update(invitations).where(mine).values(used_by=name[:63])).rowcount != 1:
        raise NotAllowed("That invitation is not known, was used, or has expired.", "Ask for another.")
    found = select(invitations.c.quota).where(invitations.c.hash == fingerprint(code.strip()))
    return int(connection.execute(found).scalar_one())
