"""Giving an object out: whole, or one range of it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from safehold.core.errors import ObjectMissing, SafeholdError
from safehold.server.answers import NO_STORE, threaded
from safehold.server.errors import NotFound, Refusal
from safehold.server.metrics import Requests
from safehold.server.objects.ranges import parse_range
from safehold.server.wire import Wire, read_cached, wire_of
from safehold.storage.local import LocalStore
from safehold.storage.store import Store

_BLOCK = 1 << 20
_SMALL = 64 << 10
"""Up to there, what goes out together with the head of the answer is cheaper than asking the system to send a file."""
_KIND = "application/octet-stream"


async def send(request: Request, store: Store, key: str, size: int, sha256: str) -> Response:
    """The object's bytes, or the range that was asked for.  Raises ``Refusal``."""
    wanted = request.headers.get("range", "")
    part = parse_range(wanted, size) if wanted else None
    offset, length = part or (0, size)
    headers = {**NO_STORE, "Accept-Ranges": "bytes", "X-Content-SHA256": sha256, "Content-Length": str(length)}
    if part:
        headers["Content-Range"] = f"bytes {offset}-{offset + length - 1}/{size}"
    status = 206 if part else 200
    wire = wire_of(request)
    if length > _SMALL and wire is not None and wire.can_send_files and isinstance(store, LocalStore):
        return _FileResponse(wire, await _opened(store, key, offset + length), offset, length, status, headers)
    first = await _read(store, key, offset, min(length, _BLOCK))
    if length <= _BLOCK:
        return Response(first, status, headers, _KIND)
    return StreamingResponse(_blocks(store, key, first, offset, length), status, headers, _KIND)


class _Opened:
    """A file of a local store, open until it is closed."""

    def __init__(self, store: LocalStore, key: str) -> None:
        self._lent = ExitStack()
        self.descriptor = self._lent.enter_context(store.descriptor(key))
        self.close = self._lent.close


async def _opened(store: LocalStore, key: str, least: int) -> _Opened:
    """The file of an object, which has to have so many bytes.  Raises ``Refusal``."""

    def open_it() -> _Opened:
        with _as_refusal(key):
            return _Opened(store, key)

    opened = open_it() if store.is_open(key) else await threaded(open_it)
    if os.fstat(opened.descriptor).st_size < least:
        opened.close()
        raise Refusal(f"The bytes of {key} are lost.", "Run `safehold check`.")
    return opened


class _FileResponse(Response):
    """A part of a file, sent by the system."""

    def __init__(self, wire: Wire, file: _Opened, offset: int, length: int, status: int, headers: dict[str, str]) -> None:
        super().__init__(None, status, headers, _KIND)
        self._wire = wire
        self._file = file
        self._offset, self._length = offset, length

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            with self._wire.before_file():
                await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            await self._wire.send_file(self._file.descriptor, self._offset, self._length)
            counted: Requests = scope["app"].state.requests
            counted.given += self._length
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self._file.close()


async def _read(store: Store, key: str, offset: int, length: int) -> bytes:
    """Some bytes of an object; at once if they are in memory.  Raises ``NotFound``, ``Refusal``."""
    if isinstance(store, LocalStore) and length and store.is_open(key):
        with _as_refusal(key), store.descriptor(key) as descriptor:
            found = read_cached(descriptor, offset, length)
        if found is not None:
            return found
    return await threaded(read, store, key, offset, length)


def read(store: Store, key: str, offset: int, length: int) -> bytes:
    """Some bytes of an object.  Raises ``NotFound``, ``Refusal``."""
    with _as_refusal(key):
        return store.get_range(key, offset, length) if length else b""


@contextmanager
def _as_refusal(key: str) -> Iterator[None]:
    try:
        yield
    except ObjectMissing as error:
        raise NotFound(f"The bytes of {key} are lost.", "Run `safehold check`.") from error
    except SafeholdError as error:
        raise Refusal(str(error), error.hint) from error


async def _blocks(store: Store, key: str, first: bytes, offset: int, length: int) -> AsyncIterator[bytes]:
    yield first
    at, end = offset + len(first), offset + length
    while at < end:
        block = await _read(store, key, at, min(_BLOCK, end - at))
        yield block
        at += len(block)
