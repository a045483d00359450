"""Request links: strangers' files, taken in for an owner within limits that the owner set."""

from __future__ import annotations

import secrets
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, insert, select, update
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from safehold.server import asking, limits
from safehold.server.answers import answer, body_of, described, empty, service_of, threaded
from safehold.server.asking import Asker, Place
from safehold.server.errors import Exists, Gone, NotFound, Refusal, TooLarge
from safehold.server.objects import receiving
from safehold.server.objects.routes import BASE, located
from safehold.server.objects.rules import Right
from safehold.server.schema import repositories
from safehold.server.service import Service
from safehold.server.shares import ledger
from safehold.server.shares.routes import changing
from safehold.server.shares.tables import requests
from safehold.server.wire import body_of as bytes_of

API = "/api/v1/requests/{request}"
MOST_SENT = 300
SENT_SECONDS = 600
"""Files that one address may send in that time."""


class Wanted(msgspec.Struct, frozen=True):
    """A request, as its owner makes it known."""

    id: str
    public: bytes
    most_files: int
    most_bytes: int
    note: str = ""
    expires_ns: int = 0


def create(connection: Connection, place: Place, asker: Asker, wanted: Wanted, now_ns: int) -> None:
    """Open a request.  Raises ``Exists``, ``Refusal``."""
    place.require(Right.SHARE, "ask for files here")
    sizes = wanted.most_files > 0 and wanted.most_bytes > 0 and len(wanted.note) <= 200 and wanted.expires_ns >= 0
    if not ledger.ID.fullmatch(wanted.id) or len(wanted.public) != 32 or not sizes:
        raise Refusal("This is no request that anybody could answer.")
    if connection.execute(select(requests.c.id).where(requests.c.id == wanted.id)).first() is not None:
        raise Exists("There is a request of that id already.", "Make another one.")
    limit = {"most_files": wanted.most_files, "most_bytes": wanted.most_bytes, "expires_ns": wanted.expires_ns}
    values = {"id": wanted.id, "public": wanted.public, "note": wanted.note, **limit}
    connection.execute(insert(requests).values(repository=place.id, actor=asker.actor, created_ns=now_ns, **values))
    ledger.note(connection, wanted.id, now_ns, asker.address, "made")


def end(connection: Connection, place: Place, asker: Asker, request: str, now_ns: int) -> None:
    """Take no more files.  Raises ``NotFound``."""
    place.require(Right.SHARE, "ask for files here")
    where = (requests.c.id == request) & (requests.c.repository == place.id)
    if connection.execute(update(requests).where(where).values(revoked_ns=now_ns)).rowcount != 1:
        raise NotFound("There is no such request here.")
    ledger.note(connection, request, now_ns, asker.address, "revoked")


def see(connection: Connection, request: str, now_ns: int) -> dict[str, object]:
    """What whoever has the link is to know.  Raises ``NotFound``, ``Gone``."""
    row = _living(connection, request, now_ns)
    left = {"files": row.most_files - row.files, "bytes": row.most_bytes - row.bytes}
    return {"public": bytes(row.public), "note": row.note, "expires_ns": row.expires_ns, "left": left}


def reserve(connection: Connection, request: str, size: int, now_ns: int) -> Place:
    """Count a file that is to come, by one statement, and say where it belongs.  Raises ``Gone``, ``TooLarge``."""
    row = _living(connection, request, now_ns)
    room = (requests.c.files < requests.c.most_files) & (requests.c.bytes + size <= requests.c.most_bytes)
    counted = connection.execute(
        update(requests)
        .where(requests.c.id == request, requests.c.revoked_ns == 0, room)
        .values(files=requests.c.files + 1, bytes=requests.c.bytes + size)
    )
    if counted.rowcount != 1:
        raise TooLarge("That is more than was asked for.", "Ask whoever sent you the link for more room.")
    where = connection.execute(select(repositories).where(repositories.c.id == row.repository)).one()
    return Place(where.id, where.account, f"request {request[:8]}", Right.SHARE, where)


def give_back(connection: Connection, request: str, size: int) -> None:
    """The file did not come."""
    values = {"files": requests.c.files - 1, "bytes": requests.c.bytes - size}
    connection.execute(update(requests).where(requests.c.id == request).values(values))


def _living(connection: Connection, request: str, now_ns: int) -> Row[Any]:
    row = connection.execute(select(requests).where(requests.c.id == request)).first()
    if row is None:
        raise NotFound("There is no such request.", "Copy the whole link.")
    if row.revoked_ns or (row.expires_ns and now_ns >= row.expires_ns):
        raise Gone("This request has ended.", "Ask whoever sent you the link.")
    return row


@described(Wanted)
async def ask(request: Request) -> Response:
    """Open a request."""
    wanted = await body_of(request, Wanted)
    await changing(request, lambda c, place, asker, now: create(c, place, asker, wanted, now), "request.create")
    return answer({"id": wanted.id}, 201)


async def close(request: Request) -> Response:
    """End a request."""
    name = request.path_params["request"]
    await changing(request, lambda c, place, asker, now: end(c, place, asker, name, now), "request.end")
    return empty()


async def listing(request: Request) -> Response:
    """The requests of a repository."""

    def look(_service: Service, connection: Connection, _asker: Asker, place: Place) -> list[dict[str, object]]:
        place.require(Right.SHARE, "see what is asked for here")
        names = ("id", "note", "created_ns", "expires_ns", "revoked_ns", "files", "bytes", "most_files", "most_bytes")
        query = select(requests).where(requests.c.repository == place.id).order_by(requests.c.created_ns.desc())
        return [{name: getattr(row, name) for name in names} for row in connection.execute(query)]

    _, _, rows = await located(request, look)
    return answer({"requests": rows})


async def about(request: Request) -> Response:
    """What is asked for."""
    service = service_of(request)

    def look() -> dict[str, object]:
        with service.database.read() as connection:
            return see(connection, request.path_params["request"], service.clock.now_ns())

    return answer(await threaded(look))


@described(bytes)
async def send(request: Request) -> Response:
    """Take a file in."""
    service, name = service_of(request), request.path_params["request"]
    address = asking.address_of(request, service.settings)
    length = request.headers.get("content-length", "")
    if not length.isdecimal():
        raise Refusal("The request does not say how long the file is.", "Send Content-Length.")
    size = int(length)

    def begin() -> tuple[Place, Asker, receiving.Promise]:
        now = service.clock.now_ns()
        with service.database.write() as connection:
            limits.count(connection, f"send {address}", now, most=MOST_SENT, seconds=SENT_SECONDS)
        with service.database.write() as connection:
            place = reserve(connection, name, size, now)
        asker = Asker(person=name, address=address)
        try:
            key = f"shares/{name}/{secrets.token_hex(32)}.sent"
            return place, asker, receiving.begin(service, place, key, length, "")
        except BaseException:
            undo()
            raise

    def undo() -> None:
        with service.database.write() as connection:
            give_back(connection, name, size)

    def done() -> None:
        with service.database.write() as connection:
            ledger.note(connection, name, service.clock.now_ns(), address, "received")

    place, asker, promise = await threaded(begin)
    try:
        received = await receiving.receive(service, place, asker, promise, bytes_of(request, size, receiving.BATCH))
    except BaseException:
        await threaded(undo)
        raise
    await threaded(done)
    return answer({"size": received.size, "sha256": received.sha256}, 201)


ROUTES: list[BaseRoute] = [
    Route(f"{BASE}/requests", listing, methods=["GET"]),
    Route(f"{BASE}/requests", ask, methods=["POST"]),
    Route(f"{BASE}/requests/{{request}}", close, methods=["DELETE"]),
    Route(API, about, methods=["GET"]),
    Route(f"{API}/files", send, methods=["POST"]),
]
