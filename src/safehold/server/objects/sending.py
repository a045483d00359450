"""Giving an object out: whole, or one range of it."""

from __future__ import annotations

from collections.abc import AsyncIterator

from starlette.responses import Response, StreamingResponse

from safehold.core.errors import ObjectMissing, SafeholdError
from safehold.server.answers import NO_STORE, threaded
from safehold.server.errors import NotFound, Refusal
from safehold.server.objects.ranges import parse_range
from safehold.storage.store import Store

_BLOCK = 1 << 20


async def send(store: Store, key: str, size: int, sha256: str, wanted: str) -> Response:
    """The object's bytes.  Raises ``Refusal``."""
    part = parse_range(wanted, size) if wanted else None
    offset, length = part or (0, size)
    headers = {**NO_STORE, "Accept-Ranges": "bytes", "X-Content-SHA256": sha256, "Content-Length": str(length)}
    if part:
        headers["Content-Range"] = f"bytes {offset}-{offset + length - 1}/{size}"
    status = 206 if part else 200
    kind = "application/octet-stream"
    if length <= _BLOCK:
        return Response(await threaded(read, store, key, offset, length), status, headers, kind)
    first = await threaded(read, store, key, offset, _BLOCK)
    return StreamingResponse(_blocks(store, key, first, offset, length), status, headers, kind)


def read(store: Store, key: str, offset: int, length: int) -> bytes:
    """Some bytes of an object.  Raises ``NotFound``, ``Refusal``."""
    try:
        return store.get_range(key, offset, length) if length else b""
    except ObjectMissing as error:
        raise NotFound(f"The bytes of {key} are lost.", "Run `safehold check`.") from error
    except SafeholdError as error:
        raise Refusal(str(error), error.hint) from error


async def _blocks(store: Store, key: str, first: bytes, offset: int, length: int) -> AsyncIterator[bytes]:
    yield first
    at, end = offset + len(first), offset + length
    while at < end:
        block = await threaded(read, store, key, at, min(_BLOCK, end - at))
        yield block
        at += len(block)
