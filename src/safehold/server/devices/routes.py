"""Requests about devices: admission, what they report, how they are."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Connection, Row, func, insert, select, update
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from safehold.codec import admission as words
from safehold.codec.sealing import seal_to
from safehold.core.clock import NS
from safehold.server import asking, audit, limits
from safehold.server.accounts import tokens
from safehold.server.answers import answer, body_of, described, empty, service_of
from safehold.server.devices import admission, health
from safehold.server.errors import NotAllowed, NotFound, Refusal
from safehold.server.ids import new_id
from safehold.server.jobs import notices
from safehold.server.objects.rules import Right, is_scope, rights
from safehold.server.schema import devices, enrolments, reports
from safehold.server.schema import tokens as tokens_table
from safehold.server.working import known, reading, writing

API = "/api/v1"
BASE = f"{API}/repositories/{{account}}/{{name}}"


@described(admission.Wanted)
async def ask(request: Request) -> Response:
    """A device asks for admission."""
    wanted = await body_of(request, admission.Wanted)
    address = asking.address_of(request, service_of(request).settings)
    await writing(request, lambda c, now: limits.count(c, f"enrol {address}", now, most=30, seconds=600))
    made, secret = await writing(request, lambda c, now: admission.ask(c, wanted, address, now))
    return answer({"id": made, "secret": secret, "lapses_seconds": admission.LAPSE_NS // NS}, 201)


class _Secret(msgspec.Struct):
    secret: str
    fetched: bool = False


@described(_Secret)
async def poll(request: Request) -> Response:
    """A device asks whether it was admitted; with ``fetched`` it says that it has what it was given."""
    wanted = await body_of(request, _Secret)
    enrolment = request.path_params["enrolment"]
    service = service_of(request)
    if wanted.fetched:
        await writing(request, lambda c, _: admission.fetched(c, enrolment, wanted.secret))
        return empty()
    return answer(await reading(request, lambda c: admission.poll(c, enrolment, wanted.secret, service.clock.now_ns())))


async def see(request: Request) -> Response:
    """Who asks: for those who may admit, to compare the words."""
    await known(request)
    service = service_of(request)
    row = await reading(request, lambda c: admission.find(c, request.path_params["enrolment"], service.clock.now_ns()))
    keys = {"exchange_public": row.exchange_public, "signing_public": row.signing_public}
    return answer(
        {"id": row.id, "name": row.name, "system": row.system, "created_ns": row.created_ns, "address": row.address, **keys}
    )


@described(query=("words",))
async def waiting(request: Request) -> Response:
    """The request of the device that shows these words: who does not see them finds nothing."""
    await known(request)
    service = service_of(request)
    wanted = words.normal(request.query_params.get("words", ""))

    def look(connection: Connection) -> list[dict[str, object]]:
        live = (enrolments.c.state == "waiting") & (enrolments.c.created_ns > service.clock.now_ns() - admission.LAPSE_NS)
        rows = connection.execute(select(enrolments).where(live))
        return [_shown(r) for r in rows if words.joined(words.words(r.exchange_public, r.signing_public, r.id)) == wanted]

    return answer({"enrolments": await reading(request, look)})


def _shown(row: Row[Any]) -> dict[str, object]:
    fields = ("id", "name", "system", "created_ns", "address", "exchange_public", "signing_public")
    return {field: getattr(row, field) for field in fields}


class _Approval(msgspec.Struct):
    repository: str
    """ACCOUNT/NAME."""
    scope: str = "write"
    key_sealed: bytes = b""
    """The repository's key file, sealed to the device; empty: it has one, or makes the repository."""


@described(_Approval)
async def approve(request: Request) -> Response:
    """Admit a device, with a token of its own."""
    wanted = await body_of(request, _Approval)
    asker = await known(request)
    enrolment = request.path_params["enrolment"]

    def admit(connection: Connection, now: int) -> str:
        row = admission.find(connection, enrolment, now, to_answer=True)
        account, _, name = wanted.repository.partition("/")
        place = asking.place(connection, asker, account, name)
        place.require(Right.MANAGE, "admit devices here")
        if not is_scope(wanted.scope) or rights(wanted.scope) & ~place.rights:
            raise Refusal(f"{wanted.scope[:80]!r} is no scope, or more than you may do yourself.")
        if rights(wanted.scope) & Right.DELETE:
            asker.require_second_factor(now)
        device = admission.admit(connection, row, place.id, now)
        _, shown = tokens.make(connection, asker.person, wanted.scope, row.name, now, repository=place.id, device=device)
        told = msgspec.json.encode({"token": shown, "repository": place.path, "device": device})
        sealed = seal_to(row.exchange_public, words.INFO + enrolment.encode(), told)
        admission.answered(connection, enrolment, "approved", sealed, wanted.key_sealed)
        note = {"account": place.account, "repository": place.id, "address": asker.address}
        audit.note(connection, now, "device.admit", actor=asker.actor, **note, device=device, name=row.name, scope=wanted.scope)
        return device

    return answer({"device": await writing(request, admit)}, 201)


async def refuse(request: Request) -> Response:
    """Turn a device away."""
    asker = await known(request)
    if asker.device and asker.scope != "admin":
        raise NotAllowed("This token may not decide on devices.")

    def turn_away(connection: Connection, now: int) -> None:
        row = admission.find(connection, request.path_params["enrolment"], now, to_answer=True)
        admission.answered(connection, row.id, "refused")

    await writing(request, turn_away)
    return empty()


class Report(msgspec.Struct):
    """How a backup went, as the device says it.  Nothing in it names files."""

    status: str
    source: str = ""
    snapshot: str = ""
    files: int = 0
    bytes: int = 0
    added: int = 0
    seconds: int = 0
    errors: int = 0
    message: str = ""

    def __post_init__(self) -> None:
        if self.status not in ("done", "incomplete", "failed"):
            raise ValueError("status is done, incomplete or failed")
        if min(self.files, self.bytes, self.added, self.seconds, self.errors) < 0:
            raise ValueError("counts are not negative")


@described(Report)
async def report(request: Request) -> Response:
    """A device says how a backup went."""
    said = await body_of(request, Report)
    asker = await known(request)

    def note(connection: Connection, now: int) -> None:
        place = asking.place(connection, asker, request.path_params["account"], request.path_params["name"])
        place.require(Right.ADD, "report backups here")
        texts = {
            "source": said.source[:100],
            "snapshot": said.snapshot[:64],
            "message": said.message[:300],
            "status": said.status,
        }
        most = (1 << 63) - 1
        counts = {n: min(getattr(said, n), most) for n in ("files", "bytes", "added", "errors")}
        counts["seconds"] = min(said.seconds, (1 << 31) - 1)
        if asker.device:
            size = health.Size(counts["files"], counts["bytes"])
            if health.note_report(connection, asker.device, texts["source"], said.status, size, now):
                name = connection.execute(select(devices.c.name).where(devices.c.id == asker.device)).scalar_one()
                notices.shrunk(connection, place.row, name, texts["source"], now)
        values = {"id": new_id(), "repository": place.id, "device": asker.device or None, "received_ns": now}
        connection.execute(insert(reports).values(**values, **texts, **counts))

    await writing(request, note)
    return empty(201)


async def listing(request: Request) -> Response:
    """The devices of a repository, with the last report of each of their sources."""
    asker = await known(request)

    def look(connection: Connection) -> list[dict[str, object]]:
        place = asking.place(connection, asker, request.path_params["account"], request.path_params["name"])
        place.require(Right.LIST, "see the devices here")
        newest = (
            select(reports.c.device, reports.c.source, func.max(reports.c.received_ns).label("at"))
            .where(reports.c.repository == place.id)
            .group_by(reports.c.device, reports.c.source)
            .subquery()
        )
        last = select(reports).join(
            newest,
            (reports.c.device == newest.c.device)
            & (reports.c.source == newest.c.source)
            & (reports.c.received_ns == newest.c.at),
        )
        by_device: dict[str, list[dict[str, object]]] = {}
        for row in connection.execute(last.where(reports.c.repository == place.id)):
            by_device.setdefault(row.device, []).append({field: getattr(row, field) for field in _REPORT})
        rows = connection.execute(select(devices).where(devices.c.repository == place.id).order_by(devices.c.name))
        return [{**{f: getattr(r, f) for f in _DEVICE}, "sources": by_device.get(r.id, [])} for r in rows]

    return answer({"devices": await reading(request, look)})


_DEVICE = ("id", "name", "system", "created_ns", "seen_ns", "every_seconds", "revoked", "signing_public")
_REPORT = ("source", "received_ns", "status", "snapshot", "files", "bytes", "added", "seconds", "errors", "message")


@described(query=("device",))
async def past_reports(request: Request) -> Response:
    """Reports of a repository, newest first: of one device, or of all."""
    asker = await known(request)
    device = request.query_params.get("device", "")

    def look(connection: Connection) -> list[dict[str, object]]:
        place = asking.place(connection, asker, request.path_params["account"], request.path_params["name"])
        place.require(Right.LIST, "see the reports here")
        query = select(reports).where(reports.c.repository == place.id).order_by(reports.c.received_ns.desc()).limit(2000)
        rows = connection.execute(query.where(reports.c.device == device) if device else query)
        return [{"device": r.device, **{field: getattr(r, field) for field in _REPORT}} for r in rows]

    return answer({"reports": await reading(request, look)})


async def revoke(request: Request) -> Response:
    """Shut a device out: its tokens are good no more; what it stored stays."""
    asker = await known(request)
    wanted = request.path_params["device"]

    def shut_out(connection: Connection, now: int) -> None:
        place = asking.place(connection, asker, request.path_params["account"], request.path_params["name"])
        place.require(Right.MANAGE, "shut devices out here")
        mine = (devices.c.id == wanted) & (devices.c.repository == place.id)
        if not connection.execute(update(devices).where(mine).values(revoked=True)).rowcount:
            raise NotFound("There is no such device here.")
        connection.execute(update(tokens_table).where(tokens_table.c.device == wanted).values(revoked=True))
        note = {"account": place.account, "repository": place.id, "address": asker.address}
        audit.note(connection, now, "device.revoke", actor=asker.actor, **note, device=wanted)

    await writing(request, shut_out)
    return empty()


ROUTES: list[BaseRoute] = [
    Route(f"{API}/enrolments", ask, methods=["POST"]),
    Route(f"{API}/enrolments", waiting, methods=["GET"]),
    Route(f"{API}/enrolments/{{enrolment}}", see, methods=["GET"]),
    Route(f"{API}/enrolments/{{enrolment}}/poll", poll, methods=["POST"]),
    Route(f"{API}/enrolments/{{enrolment}}/approve", approve, methods=["POST"]),
    Route(f"{API}/enrolments/{{enrolment}}/refuse", refuse, methods=["POST"]),
    Route(f"{BASE}/reports", report, methods=["POST"]),
    Route(f"{BASE}/reports", past_reports, methods=["GET"]),
    Route(f"{BASE}/devices", listing, methods=["GET"]),
    Route(f"{BASE}/devices/{{device}}", revoke, methods=["DELETE"]),
]
