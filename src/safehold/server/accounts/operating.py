"""Requests of who runs a server: the people on it, and invitations."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Connection, Row, delete, func, select, update
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from safehold.core.clock import NS
from safehold.server import audit
from safehold.server.accounts import invitations as inviting
from safehold.server.accounts import people
from safehold.server.answers import answer, body_of, described, empty
from safehold.server.asking import Asker
from safehold.server.database import alone
from safehold.server.errors import NotFound, Refusal
from safehold.server.schema import accounts, browser_sessions, invitations
from safehold.server.schema import people as people_table
from safehold.server.watching import require_operator
from safehold.server.working import known, reading, writing

API = "/api/v1"
MOST = 10_000
MOST_QUOTA = 1 << 62
LONGEST_SECONDS = 90 * 86400


async def operator(request: Request) -> Asker:
    """Who asks, if they run the server.  Raises ``NotAllowed``."""
    asker = await known(request)
    require_operator(asker)
    return asker


async def list_people(request: Request) -> Response:
    """The people of this server: for who runs it."""
    await operator(request)

    def look(connection: Connection) -> list[dict[str, object]]:
        query = select(people_table, accounts).join(accounts, accounts.c.id == people_table.c.id).order_by(accounts.c.name)
        return [_shown(row) for row in connection.execute(query.limit(MOST))]

    return answer({"people": await reading(request, look)})


def _shown(row: Row[Any]) -> dict[str, object]:
    fields = ("id", "name", "email", "quota", "used", "created_ns", "is_operator", "disabled")
    return {**{field: getattr(row, field) for field in fields}, "second_factor": bool(row.totp_secret)}


class _PersonChange(msgspec.Struct):
    quota: int | None = None
    """Bytes; 0: no limit."""
    disabled: bool | None = None
    is_operator: bool | None = None


@described(_PersonChange)
async def change_person(request: Request) -> Response:
    """Set somebody's quota, shut them out or let them in, or make them one of those who run the server."""
    wanted = await body_of(request, _PersonChange)
    asker = await operator(request)
    if wanted.quota is not None and not 0 <= wanted.quota <= MOST_QUOTA:
        raise Refusal("A quota is a number of bytes, or 0 for none.")

    def change(connection: Connection, now: int) -> None:
        asker.require_second_factor(now)
        alone(connection, "accounts")
        row = people.find(connection, request.path_params["person"])
        if row is None:
            raise NotFound("There is no such person.")
        if wanted.quota is not None:
            connection.execute(update(accounts).where(accounts.c.id == row.id).values(quota=wanted.quota))
        flags = {n: v for n, v in (("disabled", wanted.disabled), ("is_operator", wanted.is_operator)) if v is not None}
        if flags:
            connection.execute(update(people_table).where(people_table.c.id == row.id).values(**flags))
        _require_operators(connection)
        if wanted.disabled:
            connection.execute(delete(browser_sessions).where(browser_sessions.c.person == row.id))
        told = {"person": row.name, **msgspec.structs.asdict(wanted)}
        audit.note(connection, now, "account.change", actor=asker.actor, account=row.id, address=asker.address, **told)

    await writing(request, change)
    return empty()


def _require_operators(connection: Connection) -> None:
    """Raises ``Refusal`` where nobody could run the server any more."""
    can = people_table.c.is_operator.is_(True) & people_table.c.disabled.is_(False)
    if not connection.execute(select(func.count()).select_from(people_table).where(can)).scalar_one():
        raise Refusal("Nobody would be left who runs this server.", "Name somebody else first.")


class _NewInvitation(msgspec.Struct):
    label: str = ""
    quota: int = 0
    expires_seconds: int = 7 * 86400


@described(_NewInvitation)
async def invite(request: Request) -> Response:
    """Make an invitation; its code is shown once."""
    wanted = await body_of(request, _NewInvitation)
    asker = await operator(request)
    if not 0 <= wanted.quota <= MOST_QUOTA or not 0 < wanted.expires_seconds <= LONGEST_SECONDS:
        raise Refusal("An invitation holds for up to 90 days, and its quota is a number of bytes, or 0 for none.")

    def make(connection: Connection, now: int) -> tuple[str, str]:
        until = now + wanted.expires_seconds * NS
        made = inviting.make(connection, asker.person, wanted.label, wanted.quota, now, until)
        audit.note(connection, now, "invitation.create", actor=asker.actor, address=asker.address, label=wanted.label[:100])
        return made

    made, code = await writing(request, make)
    return answer({"id": made, "code": code}, 201)


async def list_invitations(request: Request) -> Response:
    """The invitations there are, without their codes."""
    await operator(request)
    fields = ("id", "label", "quota", "created_ns", "expires_ns", "used_by")

    def look(connection: Connection) -> list[dict[str, object]]:
        rows = connection.execute(select(invitations).order_by(invitations.c.created_ns.desc()).limit(MOST))
        return [{field: getattr(row, field) for field in fields} for row in rows]

    return answer({"invitations": await reading(request, look)})


async def withdraw_invitation(request: Request) -> Response:
    """Withdraw an invitation."""
    asker = await operator(request)
    wanted = request.path_params["invitation"]

    def withdraw(connection: Connection, now: int) -> None:
        if not connection.execute(delete(invitations).where(invitations.c.id == wanted)).rowcount:
            raise NotFound("There is no such invitation.")
        audit.note(connection, now, "invitation.withdraw", actor=asker.actor, address=asker.address, invitation=wanted)

    await writing(request, withdraw)
    return empty()


ROUTES: list[BaseRoute] = [
    Route(f"{API}/people", list_people, methods=["GET"]),
    Route(f"{API}/people/{{person}}", change_person, methods=["PATCH"]),
    Route(f"{API}/invitations", list_invitations, methods=["GET"]),
    Route(f"{API}/invitations", invite, methods=["POST"]),
    Route(f"{API}/invitations/{{invitation}}", withdraw_invitation, methods=["DELETE"]),
]
