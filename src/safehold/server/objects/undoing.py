"""Requests about what was deleted: the trash, and the brake."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection, select, update
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from safehold.core.clock import NS
from safehold.server import audit
from safehold.server.answers import answer, body_of, described, service_of, threaded
from safehold.server.asking import Asker, Place
from safehold.server.devices import health
from safehold.server.objects import holdings
from safehold.server.objects.routes import BASE, MOST_LISTED, located, nothing
from safehold.server.objects.rules import Right
from safehold.server.schema import repositories, trash
from safehold.server.service import Service

RELEASE_NS = 3600 * NS


async def see_trash(request: Request) -> Response:
    """What is in the trash."""

    def look(_service: Service, connection: Connection, _asker: Asker, place: Place) -> list[dict[str, object]]:
        place.require(Right.DELETE, "see the trash here")
        query = select(trash).where(trash.c.repository == place.id).order_by(trash.c.deleted_ns.desc()).limit(MOST_LISTED)
        return [
            {"id": r.id, "key": r.key, "size": r.size, "deleted_ns": r.deleted_ns, "deleted_by": r.deleted_by}
            for r in connection.execute(query)
        ]

    _, _, rows = await located(request, look)
    return answer({"objects": rows})


class _Wanted(msgspec.Struct):
    ids: list[str] = []


@described(_Wanted)
async def empty_trash(request: Request) -> Response:
    """Take objects out of the trash: those named, or all."""
    wanted = await body_of(request, _Wanted)
    service = service_of(request)
    asker, place, _ = await located(request, nothing)

    def bring_back() -> int:
        now = service.clock.now_ns()
        with service.database.write() as connection:
            count = holdings.bring_back(connection, place, asker, wanted.ids, now)
            note = {"actor": asker.actor, "account": place.account, "repository": place.id, "address": asker.address}
            audit.note(connection, now, "trash.restore", **note, objects=count)
        return count

    return answer({"restored": await threaded(bring_back)})


async def release(request: Request) -> Response:
    """Release the brake for an hour."""
    service = service_of(request)
    asker, place, _ = await located(request, nothing)

    def let_go() -> int:
        now = service.clock.now_ns()
        place.require(Right.DELETE, "release the brake here")
        asker.require_second_factor(now)
        with service.database.write() as connection:
            until = now + RELEASE_NS
            connection.execute(update(repositories).where(repositories.c.id == place.id).values(brake_released_ns=until))
            health.vouch(connection, place.id)
            note = {"actor": asker.actor, "account": place.account, "repository": place.id, "address": asker.address}
            audit.note(connection, now, "brake.release", **note)
        return until

    return answer({"until_ns": await threaded(let_go)})


ROUTES: list[BaseRoute] = [
    Route(f"{BASE}/trash", see_trash, methods=["GET"]),
    Route(f"{BASE}/trash/restore", empty_trash, methods=["POST"]),
    Route(f"{BASE}/brake/release", release, methods=["POST"]),
]
