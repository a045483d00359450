"""The web pages, served as the plain files that they are."""

from __future__ import annotations

import hashlib
import mimetypes
from functools import cache
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from safehold.server.answers import threaded
from safehold.server.errors import NotFound

FOLDER = Path(__file__).parent / "web"
_TYPES = {".js": "text/javascript", ".mjs": "text/javascript", ".wasm": "application/wasm", ".svg": "image/svg+xml"}
_SHOWN = {".js", ".css", ".svg", ".wasm", ".html", ".txt", ".png", ".json", ".webmanifest"}
_ADDRESSES = (
    "/",
    "/login",
    "/setup",
    "/settings",
    "/tokens",
    "/activity",
    "/enrol",
    "/people",
    "/s/{share}",
    "/r/{share}",
    "/{account}/{name}",
    "/{account}/{name}/{page}",
)
"""The addresses that the script behind the one page draws; what is not there it says itself."""


@cache
def _files() -> dict[str, Path]:
    """Every file that may be served, by its path.  Nothing else is ever looked for, so no path can lead out."""
    found = (path for path in FOLDER.rglob("*") if path.suffix in _SHOWN and path.is_file())
    return {path.relative_to(FOLDER).as_posix(): path for path in found if path.name != "package.json"}


@cache
def _loaded(name: str) -> tuple[bytes, str, str]:
    """A file's bytes, type and tag.  They belong to the program, and change with it."""
    path = _files()[name]
    content = path.read_bytes()
    kind = _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    if kind.startswith("text/"):
        kind += "; charset=utf-8"
    return content, kind, f'"{hashlib.sha256(content).hexdigest()[:32]}"'


async def file(request: Request) -> Response:
    """A script, style or picture."""
    return await _sent(request, request.path_params["path"])


async def page(request: Request) -> Response:
    """The page."""
    if request.path_params.get("account") == "api":
        raise NotFound("There is nothing at this address.")
    return await _sent(request, "index.html")


async def _sent(request: Request, name: str) -> Response:
    if name not in _files():
        raise NotFound("There is nothing at this address.")
    content, kind, tag = await threaded(_loaded, name)
    headers = {"ETag": tag, "Cache-Control": "no-cache"}  # kept, and asked for again: an update shows at once
    if request.headers.get("if-none-match") == tag:
        return Response(None, 304, headers)
    return Response(content, 200, headers, kind)


ROUTES: list[BaseRoute] = [
    Route("/web/{path:path}", file, methods=["GET"]),
    *(Route(address, page, methods=["GET"]) for address in _ADDRESSES),
]
