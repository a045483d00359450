"""All devices that somebody looks after: how they are, and what they are to do.  Never what they back up."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, and_, case, func, or_, select, update
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from safehold.server import asking, audit
from safehold.server.accounts import people
from safehold.server.answers import answer, body_of, described, empty, raw_body, service_of
from safehold.server.asking import Asker, Place
from safehold.server.devices import health
from safehold.server.errors import NotAllowed, NotFound, Refusal, TooLarge
from safehold.server.objects.rules import Right
from safehold.server.schema import accounts, devices, repositories, sources
from safehold.server.working import known, reading, writing

API = "/api/v1"
DEVICE = f"{API}/repositories/{{account}}/{{name}}/devices/{{device}}"
MOST = 10_000
"""Devices in one answer."""
MAX_PLAN = 64 << 10
MAX_EVERY = 366 * 86400
FIELDS = (
    "id",
    "name",
    "system",
    "created_ns",
    "seen_ns",
    "reported_ns",
    "done_ns",
    "due_ns",
    "every_seconds",
    "status",
    "plan_ns",
)


@described(query=("account", "state", "after", "limit"))
async def fleet(request: Request) -> Response:
    """The devices of all my repositories, the most overdue first; ``state`` picks overdue, failed, shrunk, new or fine."""
    asker = await known(request)
    now = service_of(request).clock.now_ns()
    wanted, account = request.query_params.get("state", ""), request.query_params.get("account", "")
    after, told = request.query_params.get("after", ""), request.query_params.get("limit", "")
    limit = min(int(told), MOST) if told.isdecimal() and 0 < len(told) < 9 and int(told) else MOST
    start = int(after) if after.isdecimal() and len(after) < 12 else 0

    def look(connection: Connection) -> dict[str, object]:
        mine = _looked_after(connection, asker, account)
        states = _state(now).label("state")
        counted = select(states, func.count()).select_from(devices).where(mine).group_by(states)
        counts = {row[0]: row[1] for row in connection.execute(counted)}
        rows = list(connection.execute(_devices(mine, states, wanted).offset(start).limit(limit)))
        shown = [{**{f: getattr(r, f) for f in FIELDS}, "state": r.state, "repository": f"{r.account}/{r.place}"} for r in rows]
        following = str(start + limit) if len(rows) == limit else None
        return {"now_ns": now, "counts": counts, "devices": shown, "next": following}

    return answer(await reading(request, look))


def _looked_after(connection: Connection, asker: Asker, account: str) -> ColumnElement[bool]:
    """The devices of the repositories that the asker may list, of one account or of all."""
    found = people.repositories_of(connection, asker.person)
    may = [r for r in found if Right.LIST in asking.rights_in(connection, asker, r) and account in ("", r.account_name)]
    if account and not may:
        raise NotFound(f"There is no account {account[:80]} with repositories of yours.")
    return and_(devices.c.repository.in_([row.id for row in may]), devices.c.revoked.is_(False))


def _state(now: int) -> ColumnElement[str]:
    """In which state a device is, the worst that holds."""
    shrunk = select(sources.c.device).where(sources.c.device == devices.c.id, sources.c.shrunk_ns > 0).exists()
    overdue = and_(devices.c.due_ns > 0, devices.c.due_ns < now)
    failed = devices.c.status.in_(("failed", "incomplete"))
    new = devices.c.done_ns == 0
    return case((overdue, "overdue"), (shrunk, "shrunk"), (failed, "failed"), (new, "new"), else_="fine")


def _devices(mine: ColumnElement[bool], states: Any, wanted: str) -> Any:
    columns = (devices, repositories.c.name.label("place"), accounts.c.name.label("account"), states)
    query = (
        select(*columns)
        .join(repositories, repositories.c.id == devices.c.repository)
        .join(accounts, accounts.c.id == repositories.c.account)
        .where(mine)
        .order_by(or_(devices.c.due_ns == 0, devices.c.due_ns.is_(None)), devices.c.due_ns, devices.c.id)
    )
    return query.where(states.element == wanted) if wanted else query


class _Change(msgspec.Struct):
    every_seconds: int | None = None
    """How often a backup is expected; 0: none is."""
    name: str | None = None


@described(_Change)
async def change(request: Request) -> Response:
    """Say how often a device is to back up, or what it is called."""
    wanted = await body_of(request, _Change)
    asker = await known(request)
    if wanted.every_seconds is not None and not 0 <= wanted.every_seconds <= MAX_EVERY:
        raise Refusal("A backup is expected every so many seconds: up to a year's, or 0 for never.")
    if wanted.name is not None and not (0 < len(wanted.name.strip()) <= 100 and wanted.name.isprintable()):
        raise Refusal("A device needs a name of up to 100 characters.")

    def set_it(connection: Connection, now: int) -> None:
        place, row = _find(connection, request, asker)
        place.require(Right.MANAGE, "change devices here")
        values: dict[str, object] = {}
        if wanted.name is not None:
            values["name"] = wanted.name.strip()
        if wanted.every_seconds is not None:
            values["every_seconds"] = wanted.every_seconds
            values["due_ns"] = health.due(row.done_ns or row.created_ns, wanted.every_seconds)
        if values:
            connection.execute(update(devices).where(devices.c.id == row.id).values(**values))
        note = {"account": place.account, "repository": place.id, "address": asker.address}
        audit.note(connection, now, "device.change", actor=asker.actor, **note, device=row.id, **msgspec.structs.asdict(wanted))

    await writing(request, set_it)
    return empty()


def _find(connection: Connection, request: Request, asker: Asker) -> tuple[Place, Row[Any]]:
    """A device, and its repository.  Raises ``NotFound``."""
    place = asking.place(connection, asker, request.path_params["account"], request.path_params["name"])
    mine = (devices.c.id == request.path_params["device"]) & (devices.c.repository == place.id)
    row = connection.execute(select(devices).where(mine)).first()
    if row is None:
        raise NotFound("There is no such device here.")
    return place, row


@described(msgspec.Raw)
async def hand_plan(request: Request) -> Response:
    """Hand a device a plan: a JSON document that means nothing to the server; ``null`` takes it back."""
    taken = await raw_body(request)
    asker = await known(request)
    if len(taken) > MAX_PLAN:
        raise TooLarge(f"A plan has {MAX_PLAN} bytes at most.")
    try:
        plan = "" if msgspec.json.decode(taken) is None else taken.decode()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refusal(f"The plan is no JSON: {error}.") from error

    def hand(connection: Connection, now: int) -> None:
        place, row = _find(connection, request, asker)
        place.require(Right.MANAGE, "hand plans to devices here")
        if asker.device:
            raise NotAllowed("A device hands out no plans.", "Use the browser, or a token of yours.")
        connection.execute(update(devices).where(devices.c.id == row.id).values(plan=plan, plan_ns=now if plan else 0))
        note = {"account": place.account, "repository": place.id, "address": asker.address}
        audit.note(connection, now, "device.plan", actor=asker.actor, **note, device=row.id, sha256=_tag(plan))

    await writing(request, hand)
    return empty(204, {"ETag": f'"{_tag(plan)}"'})


@described()
async def plan(request: Request) -> Response:
    """The plan of a device: for itself, and for who may manage it.  304 where ``If-None-Match`` has its ``ETag``."""
    asker = await known(request)

    def look(connection: Connection) -> str:
        place, row = _find(connection, request, asker)
        if asker.device != row.id:
            place.require(Right.MANAGE, "read other devices' plans")
        return str(row.plan)

    found = await reading(request, look)
    headers = {"ETag": f'"{_tag(found)}"'}
    if headers["ETag"] in request.headers.get("if-none-match", ""):
        return empty(304, headers)
    return answer(msgspec.Raw(found.encode() or b"null"), 200, headers)


def _tag(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


ROUTES: list[BaseRoute] = [
    Route(f"{API}/fleet", fleet, methods=["GET"]),
    Route(DEVICE, change, methods=["PATCH"]),
    Route(f"{DEVICE}/plan", hand_plan, methods=["PUT"]),
    Route(f"{DEVICE}/plan", plan, methods=["GET"]),
]
