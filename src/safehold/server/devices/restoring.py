"""Restores that are ordered from devices: sealed letters, handed on.  ``docs/jobs.md`` says what the server can do to them."""

from __future__ import annotations

import re
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, delete, func, insert, select, update
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from safehold.codec.job import LONGEST_NS, MOST_BYTES
from safehold.core.clock import NS
from safehold.server import asking, audit
from safehold.server.answers import answer, body_of, described, empty, service_of
from safehold.server.asking import Asker, Place
from safehold.server.errors import Exists, Gone, NotAllowed, NotFound, Refusal, TooLarge, TooMany
from safehold.server.objects.rules import Right
from safehold.server.schema import devices, restores
from safehold.server.working import known, reading, writing

BASE = "/api/v1/repositories/{account}/{name}"
MOST_OPEN = 20
"""Jobs of a device that wait or run."""
KEPT_NS = 90 * 86400 * NS
"""After its end a job can still be looked up."""
SILENT_NS = 86400 * NS
"""A device that has said nothing for so long does not go on with a job whose time is over."""
SHOWN = 500
OPEN = ("waiting", "running")
_OVER = ("done", "incomplete", "failed", "cancelled")
_FIELDS = ("id", "device", "name", "created_ns", "expires_ns", "changed_ns", "percent", "code", "job", "report")
_ID = re.compile(r"[0-9a-f]{32}")


class _Offer(msgspec.Struct):
    offer: bytes = b""
    """Signed and sealed by the device; empty: it takes no jobs any more."""


@described(_Offer)
async def offer(request: Request) -> Response:
    """A device says that it takes restore jobs, or no more: then those that wait are over."""
    said = await body_of(request, _Offer)
    asker = await known(request)
    _require_size(said.offer)

    def keep(connection: Connection, now: int) -> None:
        place, row = _device(connection, request, asker)
        if asker.device != row.id:
            raise NotAllowed(
                "Only the device itself says that it takes restore jobs.", "`safehold device allow-restores`, there."
            )
        connection.execute(update(devices).where(devices.c.id == row.id).values(offer=said.offer))
        waiting = (restores.c.device == row.id) & restores.c.state.in_(OPEN)
        connection.execute(update(restores).where(waiting).values(state="cancelled", changed_ns=now))
        _note(connection, now, "device.offer", asker, place, device=row.id, allowed=bool(said.offer))

    await writing(request, keep)
    return empty()


class _Ordered(msgspec.Struct):
    id: str
    """Of the job: 32 hexadecimal digits, drawn by whoever made it."""
    job: bytes
    """Signed, and sealed to the device."""
    expires_ns: int


@described(_Ordered)
async def order(request: Request) -> Response:
    """Order a restore from a device that takes such jobs; the server cannot read what."""
    wanted = await body_of(request, _Ordered)
    asker = await known(request)
    _require_size(wanted.job)
    if not _ID.fullmatch(wanted.id) or not wanted.job:
        raise Refusal("A restore job has an id of 32 hexadecimal digits, and a content.")

    def add(connection: Connection, now: int) -> None:
        place, row = _device(connection, request, asker, alone=True)
        _require_may_order(asker, place)
        if row.revoked or not row.offer:
            raise Refusal("This device takes no restore jobs.", "`safehold device allow-restores`, on the device.")
        if not now < wanted.expires_ns <= now + LONGEST_NS:
            raise Refusal("A restore job ends within 30 days.")
        live = (restores.c.device == row.id) & restores.c.state.in_(OPEN) & (restores.c.expires_ns > now)
        if connection.execute(select(func.count()).select_from(restores).where(live)).scalar_one() >= MOST_OPEN:
            raise TooMany(f"{MOST_OPEN} restore jobs wait for this device already.", headers={"Retry-After": "3600"})
        if connection.execute(select(restores.c.id).where(restores.c.id == wanted.id)).first():
            raise Exists("There is a restore job of that id.")
        values = {"repository": place.id, "device": row.id, "actor": asker.actor, "created_ns": now, "changed_ns": now}
        connection.execute(insert(restores).values(id=wanted.id, job=wanted.job, expires_ns=wanted.expires_ns, **values))
        _note(connection, now, "device.restore", asker, place, device=row.id, job=wanted.id)

    await writing(request, add)
    return empty(201)


async def listing(request: Request) -> Response:
    """The restore jobs of a repository, the newest first, and which devices take such; a device sees its own."""
    asker = await known(request)
    now = service_of(request).clock.now_ns()

    def look(connection: Connection) -> dict[str, object]:
        place = asking.place(connection, asker, request.path_params["account"], request.path_params["name"])
        place.require(Right.LIST if asker.device else Right.SNAPSHOTS, "see restore jobs here")
        mine: ColumnElement[bool] = restores.c.repository == place.id
        if asker.device:
            mine &= (restores.c.device == asker.device) & restores.c.state.in_(OPEN)
        named = select(restores, devices.c.name).join(devices, devices.c.id == restores.c.device).where(mine)
        rows = connection.execute(named.order_by(restores.c.created_ns.desc(), restores.c.id).limit(SHOWN))
        taking = select(devices).where(devices.c.repository == place.id, devices.c.revoked.is_(False), devices.c.offer != b"")
        offers = [] if asker.device else [{"device": d.id, "name": d.name, "offer": d.offer} for d in connection.execute(taking)]
        may_order = Right.MANAGE in place.rights and not asker.device
        return {"restores": [_shown(row, now) for row in rows], "offers": offers, "may_order": may_order}

    return answer(await reading(request, look))


class _Said(msgspec.Struct):
    state: str
    percent: int = 0
    code: str = ""
    """Of a failure: its kind, never its sentence."""
    report: bytes = b""

    def __post_init__(self) -> None:
        if self.state not in ("running", *_OVER):
            raise ValueError("state is running, done, incomplete, failed or cancelled")
        if not 0 <= self.percent <= 100:
            raise ValueError("percent is from 0 to 100")


@described(_Said)
async def progress(request: Request) -> Response:
    """A device says how far a restore job is, or what became of it; 410 where it was cancelled."""
    said = await body_of(request, _Said)
    asker = await known(request)
    _require_size(said.report)

    def change(connection: Connection, now: int) -> None:
        place, row = _job(connection, request, asker)
        if asker.device != row.device:
            raise NotAllowed("Only the device itself says how its restore jobs go.")
        stopping = row.state == "cancelled" and not row.report and said.state in _OVER
        if row.state not in OPEN and not stopping:
            raise Gone("That restore job is over.", "It was cancelled, or reported before.")
        state = row.state if stopping else said.state
        values = {"state": state, "percent": said.percent, "code": said.code[:40], "report": said.report, "changed_ns": now}
        connection.execute(update(restores).where(restores.c.id == row.id).values(**values))
        if state != row.state:
            what = "device.restore-begin" if state == "running" else "device.restore-end"
            _note(connection, now, what, asker, place, device=row.device, job=row.id, state=state)

    await writing(request, change)
    return empty()


async def cancel(request: Request) -> Response:
    """Cancel a restore job: one that runs stops at the next folder."""
    asker = await known(request)

    def stop(connection: Connection, now: int) -> None:
        place, row = _job(connection, request, asker)
        _require_may_order(asker, place)
        if row.state not in OPEN:
            raise Gone("That restore job is over.")
        connection.execute(update(restores).where(restores.c.id == row.id).values(state="cancelled", changed_ns=now))
        _note(connection, now, "device.restore-cancel", asker, place, device=row.device, job=row.id)

    await writing(request, stop)
    return empty()


def forget(connection: Connection, now: int) -> int:
    """Remove what has been over for long; how many."""
    over = restores.c.state.not_in(OPEN) & (restores.c.changed_ns < now - KEPT_NS)
    return connection.execute(delete(restores).where(over | (restores.c.expires_ns < now - KEPT_NS))).rowcount


def _shown(row: Row[Any], now: int) -> dict[str, object]:
    silent = row.state == "waiting" or row.changed_ns < now - SILENT_NS
    state = "expired" if row.state in OPEN and row.expires_ns <= now and silent else row.state
    return {**{field: getattr(row, field) for field in _FIELDS}, "state": state}


def _require_size(letter: bytes) -> None:
    if len(letter) > MOST_BYTES:
        raise TooLarge(f"A sealed letter has {MOST_BYTES} bytes at most.")


def _require_may_order(asker: Asker, place: Place) -> None:
    place.require(Right.MANAGE, "order restores from devices here")
    if asker.device:
        raise NotAllowed("A device orders no restores.", "Use the browser.")


def _device(connection: Connection, request: Request, asker: Asker, *, alone: bool = False) -> tuple[Place, Row[Any]]:
    """A device, and its repository; ``alone``: nobody else orders from it meanwhile.  Raises ``NotFound``."""
    place = asking.place(connection, asker, request.path_params["account"], request.path_params["name"])
    query = select(devices).where(devices.c.id == request.path_params["device"], devices.c.repository == place.id)
    row = connection.execute(query.with_for_update() if alone else query).first()
    if row is None:
        raise NotFound("There is no such device here.")
    return place, row


def _job(connection: Connection, request: Request, asker: Asker) -> tuple[Place, Row[Any]]:
    """A job, behind its lock, and its repository.  Raises ``NotFound``."""
    place = asking.place(connection, asker, request.path_params["account"], request.path_params["name"])
    mine = (restores.c.id == request.path_params["job"]) & (restores.c.repository == place.id)
    row = connection.execute(select(restores).where(mine).with_for_update()).first()
    if row is None:
        raise NotFound("There is no such restore job here.")
    return place, row


def _note(connection: Connection, now: int, what: str, asker: Asker, place: Place, **more: Any) -> None:
    note = {"account": place.account, "repository": place.id, "address": asker.address}
    audit.note(connection, now, what, actor=asker.actor, **note, **more)


ROUTES: list[BaseRoute] = [
    Route(f"{BASE}/restores", listing, methods=["GET"]),
    Route(f"{BASE}/restores/{{job}}", progress, methods=["POST"]),
    Route(f"{BASE}/restores/{{job}}", cancel, methods=["DELETE"]),
    Route(f"{BASE}/devices/{{device}}/restores", order, methods=["POST"]),
    Route(f"{BASE}/devices/{{device}}/offer", offer, methods=["PUT"]),
]
