"""Requests by which one watches over a server: metrics, the audit log, jobs, notices, and the description of all requests."""

from __future__ import annotations

import hmac
import ipaddress
from typing import Any

from sqlalchemy import Connection, Row, Select, or_, select
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from safehold.server import asking, audit, metrics
from safehold.server.accounts import people
from safehold.server.answers import NO_STORE, answer, described, service_of
from safehold.server.asking import Asker
from safehold.server.errors import NotAllowed
from safehold.server.jobs import schedule
from safehold.server.objects.rules import Right
from safehold.server.schema import audit as log
from safehold.server.schema import memberships, notices
from safehold.server.working import known, reading

API = "/api/v1"
PAGE = 1000
_FORWARDED = ("x-forwarded-for", "forwarded", "x-real-ip", "via")


@described()
async def read_metrics(request: Request) -> Response:
    """How the server goes, for Prometheus: with the token of the settings, or, where none is set, from this machine."""
    service = service_of(request)
    if not _may_read_metrics(request, service.settings.metrics_token):
        require_operator(await known(request))
    stored = await reading(request, lambda connection: metrics.stored(connection, service.clock.now_ns()))
    counted: metrics.Requests = request.app.state.requests
    text = "\n".join([*counted.lines(), *stored]) + "\n"
    return Response(text, 200, NO_STORE, "text/plain; version=0.0.4; charset=utf-8")


def _may_read_metrics(request: Request, token: str) -> bool:
    if token:
        given = request.headers.get("authorization", "").partition(" ")[2].strip()
        return hmac.compare_digest(given.encode(), token.encode())
    if any(name in request.headers for name in _FORWARDED) or request.client is None:
        return False  # a proxy of this machine asks for somebody else
    try:
        return ipaddress.ip_address(request.client.host).is_loopback
    except ValueError:
        return False


def require_operator(asker: Asker) -> None:
    """Raises ``NotAllowed`` unless it is somebody who runs the server."""
    if not asker.is_operator:
        raise NotAllowed("Only who runs the server may do that.", "Ask them.")


@described(query=("after", "limit", "repository"))
async def read_audit(request: Request) -> Response:
    """Who did what: of my accounts and repositories, the newest first; of everything, for who runs the server."""
    asker = await known(request)
    after, told = request.query_params.get("after", ""), request.query_params.get("limit", "")
    limit = min(int(told), PAGE) if told.isdecimal() and 0 < len(told) < 9 and int(told) else PAGE
    repository = request.query_params.get("repository", "")

    def look(connection: Connection) -> list[Row[Any]]:
        query: Select[Any] = select(log).order_by(log.c.number.desc()).limit(limit)
        if after.isdecimal() and len(after) < 18:
            query = query.where(log.c.number < int(after))
        if repository:
            account, _, name = repository.partition("/")
            place = asking.place(connection, asker, account, name)
            place.require(Right.MANAGE, "read the log of this repository")
            query = query.where(log.c.repository == place.id)
        elif not asker.is_operator:
            query = query.where(_own(connection, asker))
        return list(connection.execute(query))

    rows = await reading(request, look)
    lines = [{name: getattr(row, name) for name in log.c.keys()} for row in rows]  # noqa: SIM118
    return answer({"lines": lines, "next": str(rows[-1].number) if len(rows) == limit else None})


def _own(connection: Connection, asker: Asker) -> Any:
    """The lines of the accounts that somebody owns, and of the repositories that they administer."""
    if asker.repository or asker.scope != "admin":
        raise NotAllowed("This token is for other work.", "Use one with the scope admin, or the browser.")
    may = (memberships.c.person == asker.person) & memberships.c.role.in_(("owner", "admin"))
    owned = [asker.person, *connection.execute(select(memberships.c.organisation).where(may)).scalars()]
    found = people.repositories_of(connection, asker.person)
    managed = [row.id for row in found if Right.MANAGE in asking.rights_in(connection, asker, row)]
    return or_(log.c.account.in_(owned), log.c.repository.in_(managed))


@described()
async def verify_audit(request: Request) -> Response:
    """Whether every line of the log follows from those before it: for who runs the server."""
    require_operator(await known(request))
    wrong, count = await reading(request, lambda connection: (audit.verify(connection), audit.count(connection)))
    return answer({"whole": wrong is None, "first_wrong": wrong, "lines": count})


@described()
async def read_jobs(request: Request) -> Response:
    """How each job went last: for who runs the server."""
    require_operator(await known(request))
    return answer({"jobs": await reading(request, schedule.standing)})


@described()
async def read_notices(request: Request) -> Response:
    """What I was told: overdue backups, damage, brakes; the newest first."""
    asker = await known(request)
    fields = ("id", "made_ns", "subject", "body", "sent_ns")

    def look(connection: Connection) -> list[dict[str, object]]:
        query = select(notices).where(notices.c.person == asker.person)
        if asker.repository:
            query = query.where(notices.c.repository == asker.repository)
        rows = connection.execute(query.order_by(notices.c.made_ns.desc()).limit(PAGE))
        return [{field: getattr(row, field) for field in fields} for row in rows]

    return answer({"notices": await reading(request, look)})


@described()
async def read_openapi(request: Request) -> Response:
    """The description of all requests, as OpenAPI."""
    return answer(request.app.state.openapi)


ROUTES: list[BaseRoute] = [
    Route(f"{API}/metrics", read_metrics, methods=["GET"]),
    Route(f"{API}/audit", read_audit, methods=["GET"]),
    Route(f"{API}/audit/verify", verify_audit, methods=["GET"]),
    Route(f"{API}/jobs", read_jobs, methods=["GET"]),
    Route(f"{API}/notices", read_notices, methods=["GET"]),
    Route(f"{API}/openapi.json", read_openapi, methods=["GET"]),
]
