"""The web pages: plain files below ``web/``, served as they are, and one document in which all of them run.

Which page is shown is decided in the browser by the address (``web/main.js``); what stands after a ``#`` never comes here.
"""

from __future__ import annotations

from functools import cache
from hashlib import sha256
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Route
from starlette.types import Scope

FOLDER = Path(__file__).parent / "web"
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".md": "text/plain; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".wasm": "application/wasm",
}


@cache
def _files() -> dict[str, tuple[bytes, str, str]]:
    """Path below the folder -> bytes, type, tag.  Read once: nothing a request says becomes a path of the disk."""
    found = {}
    for path in FOLDER.rglob("*"):
        if path.is_file() and path.suffix in TYPES:
            data = path.read_bytes()
            found[path.relative_to(FOLDER).as_posix()] = (data, TYPES[path.suffix], f'"{sha256(data).hexdigest()[:24]}"')
    return found


def _send(request: Request, name: str) -> Response:
    if name not in _files():
        raise HTTPException(404)
    data, type, tag = _files()[name]
    headers = {"ETag": tag, "Cache-Control": "no-cache", "Content-Type": type}
    if request.headers.get("If-None-Match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(data, headers=headers)


async def file(request: Request) -> Response:
    """One of the files that pages are made of."""
    return _send(request, request.path_params["path"])


async def document(request: Request) -> Response:
    """The document of every page."""
    return _send(request, "index.html")


class _NotOfTheApi(Route):
    """Leaves the API's addresses to the API, which says of each which methods it has."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] == "http" and scope["path"].startswith("/api/"):
            return Match.NONE, {}
        return super().matches(scope)


def routes() -> list[BaseRoute]:
    """To stand after all others: the last answers whatever is left."""
    return [Route("/web/{path:path}", file, methods=["GET"]), _NotOfTheApi("/{path:path}", document, methods=["GET"])]
