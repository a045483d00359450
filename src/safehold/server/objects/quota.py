"""Room: what an account may store, counted before the first byte is taken."""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, delete, func, insert, select, update

from safehold.core.clock import NS
from safehold.server.errors import Full
from safehold.server.ids import new_id
from safehold.server.schema import accounts, reservations

LAPSE_NS = 3600 * NS
"""A reservation of a server that died counts no longer than that."""
WARN_FROM = 0.9
"""Of the quota: from there on answers warn."""

_CHARGE = update(accounts).where(accounts.c.id == bindparam("account")).values(used=accounts.c.used + bindparam("more"))


def reserve(connection: Connection, account: str, size: int, now_ns: int) -> str:
    """Set room aside; its id, empty where there is no quota.  Raises ``Full``.

    The account's row is locked first (on SQLite the whole database is), so two uploads cannot both take the last room.
    """
    row = connection.execute(select(accounts).where(accounts.c.id == account).with_for_update()).one()
    if not row.quota:
        return ""
    live = reservations.c.made_ns > now_ns - LAPSE_NS
    reserved = connection.execute(
        select(func.coalesce(func.sum(reservations.c.size), 0)).where(reservations.c.account == account, live)
    ).scalar_one()
    if row.used + int(reserved) + size > row.quota:
        raise Full(
            f"The quota of {row.name} is used up: {row.used} of {row.quota} bytes are stored, and {size} more were to come.",
            "Prune, or ask for more room. Restoring works as before.",
        )
    made = new_id()
    connection.execute(insert(reservations).values(id=made, account=account, size=size, made_ns=now_ns))
    return made


def settle(connection: Connection, account: str, reservation: str, size: int, now_ns: int) -> None:
    """Turn a reservation into what is stored.  One that has lapsed, because the upload took so long, has to find room again.

    Raises ``Full``.
    """
    live = (reservations.c.id == reservation) & (reservations.c.made_ns > now_ns - LAPSE_NS)
    if not connection.execute(delete(reservations).where(live)).rowcount:
        release(connection, reservation)
        release(connection, reserve(connection, account, size, now_ns))


def release(connection: Connection, reservation: str) -> None:
    """Give it back, or let it go because what it was for is stored."""
    if reservation:
        connection.execute(delete(reservations).where(reservations.c.id == reservation))


def release_of(connection: Connection, account: str, reservation: str) -> None:
    """The same, of what somebody says is a reservation of that account."""
    mine = (reservations.c.id == reservation) & (reservations.c.account == account)
    connection.execute(delete(reservations).where(mine))


def charge(connection: Connection, account: str, size: int) -> None:
    """Count bytes that are stored now; negative: that are not any more."""
    connection.execute(_CHARGE, {"account": account, "more": size})


def forget_lapsed(connection: Connection, now_ns: int) -> None:
    """Remove reservations that count no longer."""
    connection.execute(delete(reservations).where(reservations.c.made_ns <= now_ns - LAPSE_NS))
