"""Requests about organisations: accounts that several people have repositories in."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Connection, Row, delete, func, select, update
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from safehold.server import audit
from safehold.server.accounts import people
from safehold.server.accounts.operating import MOST_QUOTA, operator
from safehold.server.answers import answer, body_of, described, empty, service_of
from safehold.server.asking import Asker
from safehold.server.database import upsert
from safehold.server.errors import NotAllowed, NotFound, Refusal
from safehold.server.schema import accounts, memberships
from safehold.server.working import known, reading, writing

API = "/api/v1"
ROLES = ("owner", "admin", "member")
"""Owners decide who the others are; admins administer all repositories; members have what each repository grants them."""


class _NewOrganisation(msgspec.Struct):
    name: str
    owner: str = ""
    """A person; empty: I."""
    quota: int | None = None


@described(_NewOrganisation)
async def make_organisation(request: Request) -> Response:
    """Make an organisation: for who runs the server, since it has a quota of its own."""
    wanted = await body_of(request, _NewOrganisation)
    asker = await operator(request)
    quota = service_of(request).settings.quota if wanted.quota is None else wanted.quota
    if not 0 <= quota <= MOST_QUOTA:
        raise Refusal("A quota is a number of bytes, or 0 for none.")

    def make(connection: Connection, now: int) -> str:
        owner = people.find(connection, wanted.owner) if wanted.owner else people.by_id(connection, asker.person)
        if owner is None:
            raise NotFound(f"There is no person {wanted.owner[:80]}.")
        made = people.add_organisation(connection, wanted.name, owner.id, quota, now)
        told = {"name": wanted.name, "owner": owner.name}
        audit.note(connection, now, "organisation.create", actor=asker.actor, account=made, address=asker.address, **told)
        return made

    return answer({"id": await writing(request, make)}, 201)


async def list_organisations(request: Request) -> Response:
    """The organisations that I am in."""
    asker = await known(request)

    def look(connection: Connection) -> list[dict[str, object]]:
        query = select(accounts, memberships.c.role).join(memberships, memberships.c.organisation == accounts.c.id)
        rows = connection.execute(query.where(memberships.c.person == asker.person).order_by(accounts.c.name))
        return [{"name": r.name, "role": r.role, "quota": {"bytes": r.quota, "used": r.used}} for r in rows]

    return answer({"organisations": await reading(request, look)})


async def list_members(request: Request) -> Response:
    """Who is in an organisation: for those who are."""
    asker = await known(request)

    def look(connection: Connection) -> list[dict[str, object]]:
        found, _ = _find(connection, request, asker)
        query = select(accounts.c.name, memberships.c.role).join(accounts, accounts.c.id == memberships.c.person)
        rows = connection.execute(query.where(memberships.c.organisation == found.id).order_by(accounts.c.name))
        return [{"person": row.name, "role": row.role} for row in rows]

    return answer({"members": await reading(request, look)})


def _find(connection: Connection, request: Request, asker: Asker, *, to_change: bool = False) -> tuple[Row[Any], str]:
    """An organisation that the asker is in, and their role there.  Raises ``NotFound``."""
    if asker.repository or asker.scope != "admin":
        raise NotAllowed("This token is for other work.", "Use one with the scope admin, or the browser.")
    mine = (accounts.c.name == request.path_params["organisation"]) & (accounts.c.kind == "organisation")
    query = select(accounts).where(mine)
    row = connection.execute(query.with_for_update() if to_change else query).first()
    member = select(memberships.c.role).where(memberships.c.person == asker.person)
    role = connection.execute(member.where(memberships.c.organisation == row.id)).scalar() if row is not None else None
    if row is None or role is None:
        raise NotFound("There is no such organisation, or you are not in it.")
    return row, role


class _Membership(msgspec.Struct):
    person: str
    role: str
    """owner, admin, member; empty: none any more."""


@described(_Membership)
async def set_membership(request: Request) -> Response:
    """Take somebody into an organisation, change their role, or let them go: for its owners."""
    wanted = await body_of(request, _Membership)
    asker = await known(request)
    if wanted.role and wanted.role not in ROLES:
        raise Refusal(f"{wanted.role[:80]!r} is no role.", f"Roles are {', '.join(ROLES)}.")

    def change(connection: Connection, now: int) -> None:
        found, role = _find(connection, request, asker, to_change=True)
        if role != "owner":
            raise NotAllowed("Only an owner changes who is in an organisation.", "Ask one of them.")
        asker.require_second_factor(now)
        person = people.find(connection, wanted.person)
        if person is None:
            raise NotFound(f"There is no person {wanted.person[:80]}.")
        if wanted.role:
            upsert(connection, memberships, {"organisation": found.id, "person": person.id}, {"role": wanted.role})
        else:
            gone = (memberships.c.organisation == found.id) & (memberships.c.person == person.id)
            connection.execute(delete(memberships).where(gone))
        _require_owner(connection, found.id)
        told = {"person": wanted.person, "role": wanted.role}
        audit.note(connection, now, "membership.set", actor=asker.actor, account=found.id, address=asker.address, **told)

    await writing(request, change)
    return empty()


def _require_owner(connection: Connection, organisation: str) -> None:
    owning = (memberships.c.organisation == organisation) & (memberships.c.role == "owner")
    if not connection.execute(select(func.count()).select_from(memberships).where(owning)).scalar_one():
        raise Refusal("An organisation has an owner.", "Name another one first.")


class _Quota(msgspec.Struct):
    quota: int


@described(_Quota)
async def set_quota(request: Request) -> Response:
    """Set the quota of an organisation: for who runs the server."""
    wanted = await body_of(request, _Quota)
    asker = await operator(request)
    if not 0 <= wanted.quota <= MOST_QUOTA:
        raise Refusal("A quota is a number of bytes, or 0 for none.")

    def change(connection: Connection, now: int) -> None:
        asker.require_second_factor(now)
        mine = (accounts.c.name == request.path_params["organisation"]) & (accounts.c.kind == "organisation")
        row = connection.execute(update(accounts).where(mine).values(quota=wanted.quota).returning(accounts.c.id)).first()
        if row is None:
            raise NotFound("There is no such organisation.")
        note = {"account": row.id, "address": asker.address}
        audit.note(connection, now, "account.change", actor=asker.actor, **note, quota=wanted.quota)

    await writing(request, change)
    return empty()


ORGANISATION = f"{API}/organisations/{{organisation}}"
ROUTES: list[BaseRoute] = [
    Route(f"{API}/organisations", list_organisations, methods=["GET"]),
    Route(f"{API}/organisations", make_organisation, methods=["POST"]),
    Route(ORGANISATION, set_quota, methods=["PATCH"]),
    Route(f"{ORGANISATION}/members", list_members, methods=["GET"]),
    Route(f"{ORGANISATION}/members", set_membership, methods=["PUT"]),
]
