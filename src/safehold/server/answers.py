"""How answers are made: JSON by msgspec, refusals, and work that blocks done in threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import msgspec
from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response

from safehold.server.errors import Refusal, TooLarge
from safehold.server.service import Service

P = ParamSpec("P")
R = TypeVar("R")
Handler = TypeVar("Handler", bound=Callable[..., Any])
MAX_JSON = 1 << 20
NO_STORE = {"Cache-Control": "no-store"}
"""Firefox keeps even refusals otherwise, and asks no more when they no longer hold."""


def service_of(request: Request) -> Service:
    """The server's."""
    service: Service = request.app.state.service
    return service


async def threaded(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call what blocks, in a thread."""
    return await to_thread.run_sync(lambda: function(*args, **kwargs))


def answer(value: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON answer."""
    return Response(msgspec.json.encode(value), status, {**NO_STORE, **(headers or {})}, "application/json")


def empty(status: int = 204, headers: dict[str, str] | None = None) -> Response:
    """An answer that says no more than its status."""
    return Response(None, status, {**NO_STORE, **(headers or {})})


def refused(refusal: Refusal) -> Response:
    """A refusal."""
    told = {"code": refusal.code, "message": str(refusal), "hint": refusal.hint}
    return answer(told, refusal.status, refusal.headers)


class Described(msgspec.Struct, frozen=True):
    """What a request takes beside its path; ``openapi`` tells it to others."""

    body: Any = None
    """The type of its JSON body; ``bytes`` for plain bytes, ``msgspec.Raw`` for any JSON."""
    query: tuple[str, ...] = ()


def described(body: Any = None, query: tuple[str, ...] = ()) -> Callable[[Handler], Handler]:
    """Say of a handler what its request takes."""

    def mark(handler: Handler) -> Handler:
        handler.described = Described(body, query)  # type: ignore[attr-defined]
        return handler

    return mark


def description_of(handler: Any) -> Described:
    """What was said of a handler."""
    found: Described = getattr(handler, "described", Described())
    return found


async def raw_body(request: Request) -> bytes:
    """The body of a request, which is small.  Raises ``TooLarge``."""
    taken = bytearray()
    async for block in request.stream():
        taken += block
        if len(taken) > MAX_JSON:
            raise TooLarge(f"The body is larger than {MAX_JSON} bytes.")
    return bytes(taken)


async def body_of(request: Request, kind: type[R]) -> R:
    """The JSON body of a request, as ``kind``.  Raises ``Refusal``, ``TooLarge``."""
    taken = await raw_body(request)
    try:
        return msgspec.json.decode(taken, type=kind)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Refusal(f"The body is not what is expected here: {error}.") from error
