"""Packs straight to and from the bucket: the server signs requests for one object each, and a device makes them itself.

A request to store is good for exactly those bytes (their SHA-256 and length are signed), where nothing is yet, for a quarter of
an hour.  The object counts only when the server has found it there, read its footer, and made its row; before that it is a stray.
"""

from __future__ import annotations

import secrets

import msgspec
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from safehold.core.errors import UsageError
from safehold.server.answers import answer, body_of, described, empty, service_of, threaded
from safehold.server.asking import Asker, Place
from safehold.server.errors import Refusal
from safehold.server.objects import holdings, quota, receiving, rules
from safehold.server.objects.routes import BASE, located, nothing
from safehold.server.service import Service
from safehold.storage.cloud.bucket import Bucket

_UNSIGNED_DIGEST = "UNSIGNED-PAYLOAD"
"""Of requests to read: they have no body, and this is what S3 wants for the hash of one that is not looked at."""


class _Wanted(msgspec.Struct):
    key: str
    size: int
    sha256: str


class _Stored(msgspec.Struct):
    key: str
    size: int
    sha256: str
    reservation: str = ""
    stored: bool = True
    """False: it went wrong, and the room is to be given back."""
    existed: bool = False
    """That something was there already, and was not replaced: it is read and hashed before it counts."""


class _Key(msgspec.Struct):
    key: str


def bucket_of(service: Service) -> Bucket:
    """The bucket as devices reach it.  Raises ``Refusal`` where they do not."""
    if service.direct is None:
        raise Refusal("This server hands nothing out by its bucket.", "Ask for the object itself.")
    return service.direct


def require(bucket: Bucket) -> None:
    """Raises ``UsageError`` unless the bucket compares what it is sent with the hash that was signed: else a device could lie."""
    url = bucket.url_of(f"tmp/probe-{secrets.token_hex(8)}")
    headers = bucket.headers("PUT", url, "0" * 64)
    status, _ = bucket.send("PUT", url, headers, b"these have another hash")
    if status < 400:
        bucket.ask("DELETE", url)
        raise UsageError(
            f"The bucket {bucket.place.bucket} takes bytes that are not those that were signed.", "Leave direct_endpoint out."
        )


@described(_Wanted)
async def permit(request: Request) -> Response:
    """A signed request by which a device stores a pack in the bucket itself."""
    wanted = await body_of(request, _Wanted)
    service = service_of(request)
    _, place, _ = await located(request, nothing)

    def sign() -> dict[str, object]:
        bucket = bucket_of(service)
        _require_pack(wanted.key)
        promise = receiving.begin(service, place, wanted.key, str(wanted.size), wanted.sha256)
        url = bucket.url_of(f"{place.id}/{wanted.key}")
        more = {"if_none_match": "*", "content_length": str(promise.size)}
        headers = bucket.headers("PUT", url, promise.sha256, **more)
        return {"url": url, "headers": headers, "reservation": promise.reservation}

    return answer(await threaded(sign), 201)


def _require_pack(key: str) -> None:
    if rules.top_of(key) != "packs" or not rules.hash_in(key):
        raise Refusal("Only packs go straight to the bucket.", "Store anything else by a PUT.")


@described(_Stored)
async def done(request: Request) -> Response:
    """Make a pack count that a device stored in the bucket, or give back the room that was set aside for it."""
    told = await body_of(request, _Stored)
    service = service_of(request)
    asker, place, _ = await located(request, nothing)

    def record() -> None:
        _require_pack(told.key)
        if told.stored:
            promise = receiving.check(service, place, told.key, str(told.size), told.sha256)
            promise = msgspec.structs.replace(promise, reservation=told.reservation)
            receiving.adopt(service, place, asker, promise, existed=told.existed)
            return
        with service.database.write(keeps_lookups=True) as connection:
            quota.release_of(connection, place.account, told.reservation)

    await threaded(record)
    return empty(201)


@described(_Key)
async def read(request: Request) -> Response:
    """A signed request by which a device reads a pack, or ranges of it, from the bucket itself."""
    wanted = await body_of(request, _Key)
    service = service_of(request)

    def look(_service: Service, connection: Connection, asker: Asker, place: Place) -> tuple[str, int]:
        _require_pack(wanted.key)
        return place.id, holdings.require(connection, place, asker, wanted.key).size

    _, _, (repository, size) = await located(request, look)

    def sign() -> dict[str, object]:
        bucket = bucket_of(service)
        url = bucket.url_of(f"{repository}/{wanted.key}")
        return {"url": url, "headers": bucket.headers("GET", url, _UNSIGNED_DIGEST), "size": size}

    return answer(await threaded(sign))


ROUTES: list[BaseRoute] = [
    Route(f"{BASE}/direct", permit, methods=["POST"]),
    Route(f"{BASE}/direct/done", done, methods=["POST"]),
    Route(f"{BASE}/direct/read", read, methods=["POST"]),
]
