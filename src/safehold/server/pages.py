"""The web pages, served as the plain files that they are."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from safehold.server.answers import threaded
from safehold.server.errors import NotFound
from safehold.server.web_files import known, loaded

_ADDRESSES = (
    "/",
    "/login",
    "/setup",
    "/settings",
    "/tokens",
    "/activity",
    "/enrol",
    "/people",
    "/storage",
    "/join",
    "/open",
    "/s/{share}",
    "/r/{share}",
    "/{account}/{name}",
    "/{account}/{name}/{page}",
)
"""The addresses that the script behind the one page draws; what is not there it says itself."""


async def file(request: Request) -> Response:
    """A script, style or picture."""
    return await _sent(request, request.path_params["path"])


async def page(request: Request) -> Response:
    """The page."""
    if request.path_params.get("account") == "api":
        raise NotFound("There is nothing at this address.")
    return await _sent(request, "index.html")


async def _sent(request: Request, name: str) -> Response:
    if name not in known():
        raise NotFound("There is nothing at this address.")
    content, kind, tag = await threaded(loaded, name)
    headers = {"ETag": tag, "Cache-Control": "no-cache"}  # kept, and asked for again: an update shows at once
    if request.headers.get("if-none-match") == tag:
        return Response(None, 304, headers)
    return Response(content, 200, headers, kind)


ROUTES: list[BaseRoute] = [
    Route("/web/{path:path}", file, methods=["GET"]),
    *(Route(address, page, methods=["GET"]) for address in _ADDRESSES),
]
