"""Shares given to people with accounts: the secret of the link, sealed to each of them by the owner's program.

The server keeps public keys and hands them out, and carries what was sealed.  That a key is really somebody's is for the two
people to find out, by comparing words (``codec.account_key``): a server that hands out another is found so.
"""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Connection, Row, delete, select, update
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from safehold.server import audit
from safehold.server.accounts import people
from safehold.server.answers import answer, body_of, described, empty
from safehold.server.asking import Asker, Place
from safehold.server.database import upsert
from safehold.server.errors import NotAllowed, NotFound, Refusal
from safehold.server.objects.routes import BASE, located
from safehold.server.schema import accounts
from safehold.server.schema import people as people_table
from safehold.server.shares import ledger
from safehold.server.shares.routes import changing
from safehold.server.shares.tables import given_shares, shares
from safehold.server.working import known, reading, writing

PUBLIC_SIZE = 32
MOST_SEALED = 2048
MOST_RECIPIENTS = 100
MOST_LISTED = 1000


class _Key(msgspec.Struct):
    public: bytes
    sealed: bytes
    """The private key, sealed by a key that is made of the account's password."""


def _require_person(asker: Asker) -> None:
    """Raises ``NotAllowed`` for devices, and for tokens that are for less than all that the person may."""
    if asker.device or asker.repository or asker.scope != "admin":
        raise NotAllowed(
            "This is for a person, not for a device or a limited token.", "Log in: `safehold login URL --account NAME`."
        )


@described(_Key)
async def set_key(request: Request) -> Response:
    """Keep my public key, by which shares are sealed to me, and my private one, sealed."""
    wanted = await body_of(request, _Key)
    asker = await known(request)
    _require_person(asker)
    if len(wanted.public) != PUBLIC_SIZE or not 0 < len(wanted.sealed) <= MOST_SEALED:
        raise Refusal("That is no key.")

    def change(connection: Connection, now: int) -> None:
        mine = people_table.c.id == asker.person
        values = {"exchange_public": wanted.public, "exchange_sealed": wanted.sealed}
        connection.execute(update(people_table).where(mine).values(**values))
        connection.execute(delete(given_shares).where(given_shares.c.person == asker.person))  # nobody can open them now
        audit.note(connection, now, "account.key", actor=asker.actor, account=asker.person, address=asker.address)

    await writing(request, change)
    return empty()


async def my_key(request: Request) -> Response:
    """My key, as I stored it; empty if there is none."""
    asker = await known(request)
    _require_person(asker)

    def look(connection: Connection) -> dict[str, object]:
        row = people.by_id(connection, asker.person)
        return {"name": row.name, "public": bytes(row.exchange_public), "sealed": bytes(row.exchange_sealed)}

    return answer(await reading(request, look))


async def key_of(request: Request) -> Response:
    """The public key of somebody, to seal a share to."""
    await known(request)

    def look(connection: Connection) -> dict[str, object]:
        return {"name": request.path_params["person"], "public": bytes(_recipient(connection, request).exchange_public)}

    return answer(await reading(request, look))


def _recipient(connection: Connection, request: Request) -> Row[Any]:
    row = people.find(connection, request.path_params["person"])
    if row is None or row.disabled or not row.exchange_public:
        name = request.path_params["person"][:80]
        raise NotFound(f"There is nobody called {name} here who has a key for shares.", "They make one: `safehold account key`.")
    return row


class _Sealed(msgspec.Struct):
    sealed: bytes
    """The share's secret, sealed to the person's public key."""


@described(_Sealed)
async def give(request: Request) -> Response:
    """Give a share to somebody with an account."""
    wanted = await body_of(request, _Sealed)
    if not 0 < len(wanted.sealed) <= MOST_SEALED:
        raise Refusal("That is no sealed secret.")
    share = request.path_params["share"]

    def change(connection: Connection, place: Place, asker: Asker, now: int) -> None:
        ledger.require(connection, place, asker, share)
        row = _recipient(connection, request)
        given = connection.execute(select(given_shares.c.person).where(given_shares.c.share == share)).scalars().all()
        if len(given) >= MOST_RECIPIENTS and row.id not in given:
            raise Refusal(f"A share is given to {MOST_RECIPIENTS} people at most.", "Make another one.")
        sender = people.by_id(connection, asker.person).name
        key: dict[str, object] = {"share": share, "person": row.id}
        upsert(connection, given_shares, key, {"sender": sender, "sealed": wanted.sealed, "given_ns": now})

    await changing(request, change, "share.give")
    return empty()


async def take_back(request: Request) -> Response:
    """Let somebody no longer find a share; who opened it may have kept its link, so revoke it to end it."""
    share = request.path_params["share"]

    def change(connection: Connection, place: Place, asker: Asker, _now: int) -> None:
        ledger.require(connection, place, asker, share)
        row = _recipient(connection, request)
        connection.execute(delete(given_shares).where(given_shares.c.share == share, given_shares.c.person == row.id))

    await changing(request, change, "share.take-back")
    return empty()


async def recipients(request: Request) -> Response:
    """To whom a share was given."""
    share = request.path_params["share"]

    def look(_service: object, connection: Connection, asker: Asker, place: Place) -> list[dict[str, object]]:
        ledger.require(connection, place, asker, share, to_change=False)
        query = (
            select(accounts.c.name, given_shares.c.given_ns)
            .join(accounts, accounts.c.id == given_shares.c.person)
            .where(given_shares.c.share == share)
            .order_by(accounts.c.name)
        )
        return [{"name": row.name, "given_ns": row.given_ns} for row in connection.execute(query)]

    _, _, rows = await located(request, look)
    return answer({"people": rows})


async def received(request: Request) -> Response:
    """What was given to me and can be opened, the newest first."""
    asker = await known(request)
    _require_person(asker)

    def look(connection: Connection, now: int) -> list[dict[str, object]]:
        query = (
            select(given_shares, shares.c.expires_ns)
            .join(shares, shares.c.id == given_shares.c.share)
            .where(given_shares.c.person == asker.person, shares.c.revoked_ns == 0, shares.c.generation >= 0)
            .where((shares.c.expires_ns == 0) | (shares.c.expires_ns > now))
            .order_by(given_shares.c.given_ns.desc())
            .limit(MOST_LISTED)
        )
        return [
            {
                "share": row.share,
                "sender": row.sender,
                "sealed": bytes(row.sealed),
                "given_ns": row.given_ns,
                "expires_ns": row.expires_ns,
            }
            for row in connection.execute(query)
        ]

    now = request.app.state.service.clock.now_ns()
    return answer({"shares": await reading(request, lambda connection: look(connection, now))})


API = "/api/v1"
SHARE = f"{BASE}/shares/{{share}}/people"
ROUTES: list[BaseRoute] = [
    Route(f"{API}/key", my_key, methods=["GET"]),
    Route(f"{API}/key", set_key, methods=["PUT"]),
    Route(f"{API}/people/{{person}}/key", key_of, methods=["GET"]),
    Route(f"{API}/received", received, methods=["GET"]),
    Route(SHARE, recipients, methods=["GET"]),
    Route(f"{SHARE}/{{person}}", give, methods=["PUT"]),
    Route(f"{SHARE}/{{person}}", take_back, methods=["DELETE"]),
]
