"""Requests about shares.  ``docs/sharing.md``, "On the server"."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import msgspec
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from safehold.server import asking, audit
from safehold.server.answers import NO_STORE, answer, body_of, described, empty, service_of, threaded
from safehold.server.asking import Asker, Place
from safehold.server.errors import NotAuthenticated, NotFound, UsedUp
from safehold.server.objects import sending
from safehold.server.objects.ranges import parse_range
from safehold.server.objects.routes import BASE, located
from safehold.server.service import Service
from safehold.server.shares import gate, ledger
from safehold.server.shares.gate import Opening, Piece

API = "/api/v1/shares/{share}"
_BLOCK = 1 << 20


async def changing(request: Request, function: Callable[[Connection, Place, Asker, int], None], what: str = "") -> Asker:
    """As the owner: change something in one transaction, and note ``what`` in the audit."""
    service = service_of(request)
    asker, place, _ = await located(request, lambda *_: None)

    def work() -> None:
        now = service.clock.now_ns()
        with service.database.write() as connection:
            function(connection, place, asker, now)
            if what:
                detail = {"share": request.path_params.get("share", "")}
                whose = {"account": place.account, "repository": place.id, "address": asker.address}
                audit.note(connection, now, what, actor=asker.actor, **whose, **detail)

    await threaded(work)
    return asker


@described(ledger.Wanted)
async def create(request: Request) -> Response:
    """Make a share known."""
    wanted = await body_of(request, ledger.Wanted)
    await changing(request, lambda c, place, asker, now: ledger.create(c, place, asker, wanted, now), "share.create")
    return answer({"id": wanted.id}, 201)


class _Segments(msgspec.Struct):
    generation: int
    segments: bytes
    """Ids, one after the other, base64."""


@described(_Segments)
async def add_segments(request: Request) -> Response:
    """Say which segments a coming state of the share opens."""
    wanted = await body_of(request, _Segments)
    share = request.path_params["share"]
    await changing(
        request, lambda c, place, asker, _: ledger.add_segments(c, place, asker, share, wanted.generation, wanted.segments)
    )
    return empty()


@described(ledger.Generation)
async def publish(request: Request) -> Response:
    """Let a share be opened, or let it open a newer state."""
    wanted = await body_of(request, ledger.Generation)
    share = request.path_params["share"]
    await changing(request, lambda c, place, asker, now: ledger.publish(c, place, asker, share, wanted, now), "share.publish")
    return empty()


async def revoke(request: Request) -> Response:
    """Take a share back."""
    share = request.path_params["share"]
    await changing(request, lambda c, place, asker, now: ledger.revoke(c, place, asker, share, now), "share.revoke")
    return empty()


async def listing(request: Request) -> Response:
    """The shares of a repository."""
    _, _, rows = await located(request, lambda _s, c, asker, place: ledger.listing(c, place, asker))
    return answer({"shares": rows})


async def history(request: Request) -> Response:
    """Who came to a share."""
    share = request.path_params["share"]
    _, _, rows = await located(request, lambda _s, c, asker, place: ledger.history(c, place, asker, share))
    return answer({"log": rows})


async def see(request: Request) -> Response:
    """What kind of key a share needs."""
    service = service_of(request)

    def look() -> dict[str, object]:
        with service.database.read() as connection:
            return gate.see(connection, request.path_params["share"], service.clock.now_ns())

    return answer(await threaded(look))


class _Auth(msgspec.Struct):
    auth: bytes


@described(_Auth)
async def open_share(request: Request) -> Response:
    """Prove the key: what opens everything else for a day."""
    wanted = await body_of(request, _Auth)
    service = service_of(request)
    share, address = request.path_params["share"], asking.address_of(request, service.settings)

    def work() -> gate.Opened:
        now = service.clock.now_ns()
        with service.database.read() as connection:
            gate.see(connection, share, now)
        with service.database.write() as connection:
            gate.count_try(connection, share, address, now)
        with service.database.write() as connection:
            opened = gate.open_share(connection, share, wanted.auth, address, now)
        if opened is None:
            raise NotAuthenticated("That is not the key of this share.", "Look at the link and the password again.")
        if not opened.session:
            raise UsedUp("This share was opened as often as it may be.", "Ask whoever sent you the link for a new one.")
        return opened

    return answer(await threaded(work), 201)


async def manifest(request: Request) -> Response:
    """The sealed listing; one range of it."""
    return await _give(request, lambda c, opening: gate.share_object(c, opening, gate.MANIFEST))


async def share_object(request: Request) -> Response:
    """What was packed again for this share; one range of it."""
    number = request.path_params["number"]
    return await _give(request, lambda c, opening: gate.share_object(c, opening, number))


async def segment(request: Request) -> Response:
    """A sealed segment; one range of it."""
    text = request.path_params["segment"]
    if not ledger.ID.fullmatch(text):
        raise NotFound("There is no such segment.")
    return await _give(request, lambda c, opening: gate.segment(c, opening, bytes.fromhex(text)))


async def _give(request: Request, find: Callable[[Connection, Opening], Piece]) -> Response:
    """Bytes of a share, as long as it lives."""
    guard = _Guard(service_of(request), request.path_params["share"], request.headers.get("authorization", ""))
    piece = await threaded(guard.find, find)
    wanted = request.headers.get("range", "")
    part = parse_range(wanted, piece.length) if wanted else None
    offset, length = part or (0, piece.length)
    headers = {**NO_STORE, "Accept-Ranges": "bytes", "Content-Length": str(length)}
    if part:
        headers["Content-Range"] = f"bytes {offset}-{offset + length - 1}/{piece.length}"
    blocks = _blocks(guard, piece, piece.start + offset, length)
    return StreamingResponse(blocks, 206 if part else 200, headers, "application/octet-stream")


async def _blocks(guard: _Guard, piece: Piece, at: int, length: int) -> AsyncIterator[bytes]:
    """The bytes, block by block.  A share that is taken back meanwhile ends the answer before its end, as a broken line does."""
    end = at + length
    while at < end:
        block = await threaded(guard.read, piece, at, min(_BLOCK, end - at))
        yield block
        at += len(block)


class _Guard:
    """Looks at a share and a session again whenever bytes are to be given out."""

    def __init__(self, service: Service, share: str, header: str) -> None:
        self._service = service
        self._share = share
        self._header = header

    def find(self, find: Callable[[Connection, Opening], Piece]) -> Piece:
        """What is asked for.  Raises ``Refusal``."""
        with self._service.database.read() as connection:
            return find(connection, self._opening(connection))

    def read(self, piece: Piece, offset: int, length: int) -> bytes:
        """Some bytes.  Raises ``Refusal``."""
        with self._service.database.read() as connection:
            self._opening(connection)
        return sending.read(self._service.store(piece.repository), piece.key, offset, length)

    def _opening(self, connection: Connection) -> Opening:
        return gate.require_session(connection, self._share, self._header, self._service.clock.now_ns())


ROUTES: list[BaseRoute] = [
    Route(f"{BASE}/shares", listing, methods=["GET"]),
    Route(f"{BASE}/shares", create, methods=["POST"]),
    Route(f"{BASE}/shares/{{share}}", revoke, methods=["DELETE"]),
    Route(f"{BASE}/shares/{{share}}/log", history, methods=["GET"]),
    Route(f"{BASE}/shares/{{share}}/segments", add_segments, methods=["POST"]),
    Route(f"{BASE}/shares/{{share}}/publish", publish, methods=["POST"]),
    Route(API, see, methods=["GET"]),
    Route(f"{API}/open", open_share, methods=["POST"]),
    Route(f"{API}/manifest", manifest, methods=["GET"]),
    Route(f"{API}/objects/{{number:int}}", share_object, methods=["GET"]),
    Route(f"{API}/segments/{{segment}}", segment, methods=["GET"]),
]
