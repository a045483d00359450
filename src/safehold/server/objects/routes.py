"""The store's requests.  ``docs/server.md``, "The store over HTTP"."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Concatenate, ParamSpec, TypeVar

import msgspec
from sqlalchemy import Connection, bindparam, select, update
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from safehold.core.errors import SafeholdError
from safehold.server import asking, audit
from safehold.server.answers import answer, body_of, described, empty, service_of, threaded
from safehold.server.asking import Asker, Place
from safehold.server.errors import Braked, NotFound, Refusal
from safehold.server.jobs import notices
from safehold.server.objects import chain, composing, holdings, receiving, rules, sending
from safehold.server.objects.holdings import Received
from safehold.server.objects.quota import WARN_FROM
from safehold.server.objects.receiving import Promise
from safehold.server.objects.rules import Right
from safehold.server.schema import accounts, objects, segments
from safehold.server.service import Service
from safehold.server.wire import body_of as bytes_of
from safehold.storage.keys import check_key, check_prefix
from safehold.storage.online.chain import BEGINNING, Entry
from safehold.storage.store import Composition

BASE = "/api/v1/repositories/{account}/{name}"
MOST_LISTED = 10_000
_SMALL = 64 << 10
"""Bytes of a body that are taken in before it is known who sends them: uvicorn holds as many by itself."""
_ACCOUNT = select(accounts).where(accounts.c.id == bindparam("account"))

P = ParamSpec("P")
R = TypeVar("R")


async def located(
    request: Request, function: Callable[Concatenate[Service, Connection, Asker, Place, P], R], *args: P.args, **kwargs: P.kwargs
) -> tuple[Asker, Place, R]:
    """In a thread: find out who asks and of what, and look something up in the same moment."""

    return await threaded(lambda: _locate(request, function, *args, **kwargs))


def _locate(
    request: Request, function: Callable[Concatenate[Service, Connection, Asker, Place, P], R], *args: P.args, **kwargs: P.kwargs
) -> tuple[Asker, Place, R]:
    service = service_of(request)
    now = service.clock.now_ns()
    with service.database.read() as connection:
        asker = asking.identify(connection, request, service.settings, now)
        place = asking.place(connection, asker, request.path_params["account"], request.path_params["name"])
        found = function(service, connection, asker, place, *args, **kwargs)
    if asker.is_unnoted:
        with service.database.write(keeps_lookups=True) as connection:
            asking.note_use(connection, asker, now)
    return asker, place, found


def nothing(service: Service, connection: Connection, asker: Asker, place: Place) -> None:
    """Nothing is to be looked up besides."""


async def about(request: Request) -> Response:
    """What there is, and what the asker may do."""
    _, _, told = await located(request, _about)
    return answer(told)


def _about(service: Service, connection: Connection, asker: Asker, place: Place) -> dict[str, object]:
    account = connection.execute(_ACCOUNT, {"account": place.account}).one()
    trashed, trashed_bytes = holdings.trash_total(connection, place.id)
    return {
        "id": place.id,
        "path": place.path,
        "rights": sorted(str(right.name).lower() for right in Right if right in place.rights),
        "bytes": place.row.bytes,
        "snapshots": place.row.snapshots,
        "trash": {"objects": trashed, "bytes": trashed_bytes, "days": place.row.trash_days},
        "quota": {"bytes": account.quota, "used": account.used},
        "chain": {"number": place.row.number, "head": place.row.head or BEGINNING},
        "damaged": holdings.damaged(connection, place.id),
        "append_only": True,
        "direct": service.direct is not None,
        "composes": True,
        "warnings": _warnings(account.used, account.quota),
    }


def _warnings(used: int, quota: int) -> list[str]:
    if quota and used >= quota * WARN_FROM:
        return [f"{used * 100 // quota} % of the quota are used."]
    return []


@described(
    query=(
        "prefix",
        "after",
        "limit",
    )
)
async def listing(request: Request) -> Response:
    """A page of a listing."""
    prefix, after = request.query_params.get("prefix", ""), request.query_params.get("after", "")
    told = request.query_params.get("limit", str(MOST_LISTED))
    limit = min(int(told), MOST_LISTED) if told.isdecimal() and int(told) else MOST_LISTED
    with _as_refusal():
        check_prefix(prefix)

    def look(_service: Service, connection: Connection, _asker: Asker, place: Place) -> list[tuple[str, int, int]]:
        place.require(Right.LIST, "see what is stored here")
        return [(r.key, r.size, r.received_ns) for r in holdings.listing(connection, place.id, prefix, after, limit)]

    _, _, rows = await located(request, look)
    return answer({"objects": rows, "next": rows[-1][0] if len(rows) == limit else None})


async def get(request: Request) -> Response:
    """An object, or a range of it; or, for HEAD, what it is."""
    key = request.path_params["key"]
    with _as_refusal():
        check_key(key)

    service = service_of(request)
    asked = (*_who(request), key)
    kept = service.recent.find(asked)
    if isinstance(kept, _Found):
        found = kept
    else:
        begun = service.recent.begin()

        def look(_service: Service, connection: Connection, asker: Asker, place: Place) -> _Found:
            row = holdings.require(connection, place, asker, key)
            return _Found(place.id, row.size, row.sha256)

        _, _, found = await located(request, look)
        service.recent.keep(asked, found, begun)
    if request.method == "HEAD":
        return empty(200, {"Content-Length": str(found.size), "X-Content-SHA256": found.sha256, "Accept-Ranges": "bytes"})
    return await sending.send(request, service.store(found.repository), key, found.size, found.sha256)


def _who(request: Request) -> tuple[str | None, ...]:
    """All that decides who asks, of what repository."""
    address = asking.address_of(request, service_of(request).settings)
    told = request.headers.get("authorization"), request.headers.get("cookie"), address
    return (*told, request.path_params["account"], request.path_params["name"])


class _Found(msgspec.Struct, frozen=True):
    """An object that the asker may read."""

    repository: str
    size: int
    sha256: str


class _Placed(msgspec.Struct, frozen=True):
    """Who asks, and what they may do where."""

    asker: Asker
    place: Place


@described(bytes)
async def put(request: Request) -> Response:
    """Store an object."""
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) <= _SMALL:  # it comes along with the head, so all is done by one thread
        return await threaded(_put_small, request, await request.body())
    placed, promise = await threaded(_begin_put, request)
    body = bytes_of(request, promise.size, receiving.BATCH)
    received = await receiving.receive(service_of(request), placed.place, placed.asker, promise, body)
    return _stored(received)


def _begin_put(request: Request) -> tuple[_Placed, Promise]:
    """Look who asks, and set room aside.  Raises ``Refusal``."""
    placed = _placed(request)
    length, told = request.headers.get("content-length", ""), request.headers.get("x-content-sha256", "").lower()
    key = request.path_params["key"]
    return placed, receiving.begin(service_of(request), placed.place, key, length, told)


def _put_small(request: Request, body: bytes) -> Response:
    placed, promise = _begin_put(request)
    return _stored(receiving.receive_whole(service_of(request), placed.place, placed.asker, promise, body))


def _stored(received: Received) -> Response:
    return empty(201, {"X-Content-SHA256": received.sha256})


def _placed(request: Request) -> _Placed:
    """Who asks, and where: as it was a moment ago, if they did so then.  Raises ``Refusal``."""
    service = service_of(request)
    asked = ("PUT", *_who(request))
    kept = service.recent.find(asked)
    if isinstance(kept, _Placed):
        if kept.asker.session:
            asking.require_same_site(request, service.settings)
        return kept
    begun = service.recent.begin()
    asker, place, _ = _locate(request, nothing)
    made = _Placed(asker, place)
    service.recent.keep(asked, made, begun)
    return made


async def delete(request: Request) -> Response:
    """End a session mark, or put an object into the trash."""
    key = request.path_params["key"]
    service = service_of(request)
    asker, place, _ = await located(request, nothing)
    await threaded(_delete, service, asker, place, key)
    return empty()


def _delete(service: Service, asker: Asker, place: Place, key: str) -> None:
    with _as_refusal():
        check_key(key)
    if rules.top_of(key) == "sessions" or (rules.top_of(key) == "validate" and Right.ADD in place.rights):
        with service.database.write() as connection:
            found = holdings.remove_mark(connection, place, asker, key)
        if found:
            with suppress(SafeholdError), service.database.write(alone=True) as connection:  # nobody sees it any more
                holdings.remove_bytes(connection, service.store(place.id), place.id, key)
        return
    now = service.clock.now_ns()
    with _telling_of_brakes(service, asker, place, now), service.database.write() as connection:
        if holdings.discard(connection, place, asker, key, now):
            note = {"actor": asker.actor, "account": place.account, "repository": place.id, "address": asker.address}
            audit.note(connection, now, "object.delete", **note, key=key)


@contextmanager
def _telling_of_brakes(service: Service, asker: Asker, place: Place, now: int) -> Iterator[None]:
    """Who was stopped from deleting is written down, and the owners are told, though all else is undone."""
    try:
        yield
    except Braked as refusal:
        with service.database.write() as connection:
            notices.braked(connection, place.row, str(refusal), now)
            note = {"actor": asker.actor, "account": place.account, "repository": place.id, "address": asker.address}
            audit.note(connection, now, "brake.on", **note)
        raise


class _Key(msgspec.Struct):
    key: str


@described(_Key)
async def quarantine(request: Request) -> Response:
    """Put a damaged object aside."""
    wanted = await body_of(request, _Key)
    service = service_of(request)
    asker, place, _ = await located(request, nothing)
    await threaded(_quarantine, service, asker, place, wanted.key)
    return empty()


def _quarantine(service: Service, asker: Asker, place: Place, key: str) -> None:
    place.require(Right.ADMINISTER, "put objects aside")
    store = service.store(place.id)
    with _as_refusal(), service.database.write(alone=True) as connection:
        counted = holdings.lock(connection, place.id)
        row = holdings.find(connection, place.id, key)
        if row is None:
            raise NotFound(f"There is no object {key}.")
        before = {info.key for info in store.list(f"quarantine/{key.rpartition('/')[0]}/" if "/" in key else "quarantine/")}
        store.quarantine(key)
        after = {info.key for info in store.list(f"quarantine/{key.rpartition('/')[0]}/" if "/" in key else "quarantine/")}
        moved = next(iter(after - before), f"quarantine/{key}")
        where = (objects.c.repository == place.id) & (objects.c.key == key)
        connection.execute(update(objects).where(where).values(key=moved))
        connection.execute(segments.delete().where(segments.c.repository == place.id, segments.c.pack == rules.hash_in(key)))
        chain.append(connection, counted, service.clock.now_ns(), "quarantine", key, row.sha256, asker.actor)


@described(Composition)
async def compose(request: Request) -> Response:
    """Store a pack put together of segments of stored ones."""
    wanted = await body_of(request, Composition)
    service = service_of(request)
    asker, place, _ = await located(request, nothing)
    return answer({"key": await threaded(composing.compose, service, place, asker, wanted)}, 201)


@described(query=("after",))
async def history(request: Request) -> Response:
    """The chain behind a number."""
    told = request.query_params.get("after", "0")
    number = int(told) if told.isdecimal() else 0

    def look(_service: Service, connection: Connection, _asker: Asker, place: Place) -> list[Entry]:
        return chain.after(connection, place.id, number)

    _, _, entries = await located(request, look)
    return answer({"entries": entries, "complete": len(entries) < chain.PAGE})


async def damage(request: Request) -> Response:
    """The objects whose bytes a scrub found lost or changed."""

    def look(_service: Service, connection: Connection, _asker: Asker, place: Place) -> list[dict[str, object]]:
        place.require(Right.LIST, "see what is stored here")
        where = (objects.c.repository == place.id) & (objects.c.damage > "")
        rows = connection.execute(select(objects).where(where).order_by(objects.c.key).limit(MOST_LISTED))
        return [{"key": r.key, "size": r.size, "damage": r.damage, "checked_ns": r.checked_ns} for r in rows]

    _, _, rows = await located(request, look)
    return answer({"objects": rows})


async def usage(request: Request) -> Response:
    """What takes the room: objects and bytes of each kind."""

    def look(_service: Service, connection: Connection, _asker: Asker, place: Place) -> list[dict[str, object]]:
        place.require(Right.LIST, "see what is stored here")
        return [{"kind": r.kind, "objects": r.objects, "bytes": r.bytes} for r in holdings.by_kind(connection, place.id)]

    _, _, rows = await located(request, look)
    return answer({"kinds": rows})


class _as_refusal:
    """Says errors of keys and stores as refusals."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, SafeholdError):
            raise Refusal(str(error), error.hint) from error


ROUTES: list[BaseRoute] = [
    Route(BASE, about, methods=["GET"]),
    Route(f"{BASE}/objects", listing, methods=["GET"]),
    Route(f"{BASE}/objects/{{key:path}}", get, methods=["GET"]),  # and HEAD
    Route(f"{BASE}/objects/{{key:path}}", put, methods=["PUT"]),
    Route(f"{BASE}/objects/{{key:path}}", delete, methods=["DELETE"]),
    Route(f"{BASE}/quarantine", quarantine, methods=["POST"]),
    Route(f"{BASE}/compose", compose, methods=["POST"]),
    Route(f"{BASE}/chain", history, methods=["GET"]),
    Route(f"{BASE}/damage", damage, methods=["GET"]),
    Route(f"{BASE}/usage", usage, methods=["GET"]),
]
