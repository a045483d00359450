"""The pages and the sealed objects over HTTP, for one person on this machine."""

from __future__ import annotations

import contextlib
import json
import socket
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from safehold.core.errors import SafeholdError
from safehold.server.errors import NotFound, Refusal, TooLarge
from safehold.server.local.gate import Gate
from safehold.server.local.shelf import Shelf
from safehold.server.objects.ranges import parse_range
from safehold.server.policy import SECURITY
from safehold.server.web_files import known, loaded

PAGE = "local.html"
API = "/api/v1"
_REPOSITORIES = f"{API}/repositories/local"
_MOST_SENT = 4096
"""Bytes of a body that are taken."""
_PATIENCE_SECONDS = 60
"""For a connection on which nothing moves."""


class LocalServer(ThreadingHTTPServer):
    """Listens on 127.0.0.1.  ``address`` is to be opened in a browser."""

    daemon_threads = True
    block_on_close = False  # a download that is under way does not keep Ctrl-C waiting
    request_queue_size = 64

    def __init__(self, shelf: Shelf, port: int) -> None:
        """Raises ``SafeholdError`` where the port is taken.  0: any."""
        try:
            super().__init__(("127.0.0.1", port), _Handler)
        except OSError as error:
            message = f"Nothing can listen on port {port}: {error.strerror}."
            raise SafeholdError(message, "Choose another with --port.") from error
        self.shelf = shelf
        self.gate = Gate(self.server_address[1])

    @property
    def address(self) -> str:
        """Good once."""
        return self.gate.address

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that goes away in the middle is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = _PATIENCE_SECONDS
    server: LocalServer

    def version_string(self) -> str:
        return "safehold"

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: names are in none of it, but nobody wants it on the terminal either."""

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        self._answer(self._post)

    def _answer(self, work: Any) -> None:
        try:
            self.server.gate.require_here(self.headers)
            work(urlsplit(self.path))
        except Refusal as refusal:
            self.close_connection = True  # a body may be left unread
            told = {"code": refusal.code, "message": str(refusal), "hint": refusal.hint}
            self._json(told, refusal.status, {**refusal.headers, "Connection": "close"})

    def _get(self, url: Any) -> None:
        path = url.path
        if path.startswith("/api/"):
            self.server.gate.require_own(self.headers)
            self.server.gate.require_entered(self.headers)
            self._api(path, parse_qs(url.query, keep_blank_values=True))
        elif path.startswith("/web/"):
            self._file(unquote(path).removeprefix("/web/"))
        elif path == "/" or path.startswith("/local/"):
            self._file(PAGE)
        else:
            raise NotFound("There is nothing at this address.")

    def _api(self, path: str, query: dict[str, list[str]]) -> None:
        if path == f"{API}/local":
            self._json({"repositories": self.server.shelf.names()})
            return
        top, _, rest = path.partition(f"{_REPOSITORIES}/")
        name, *key = [unquote(part) for part in rest.split("/")]
        if top or key[:1] != ["objects"]:
            raise NotFound("There is nothing at this address.")
        if key[1:]:
            self._object(name, "/".join(key[1:]))
        else:
            self._json({"objects": self.server.shelf.listing(name, query.get("prefix", [""])[0]), "next": None})

    def _post(self, url: Any) -> None:
        self.server.gate.require_own(self.headers)
        if url.path != f"{API}/local/enter":
            raise NotFound("There is nothing at this address.")
        told = self.headers.get("Content-Length", "")
        if not told.isdecimal() or int(told) > _MOST_SENT:
            raise TooLarge("That is too long.")
        try:
            token = json.loads(self.rfile.read(int(told)))["token"]
        except (ValueError, KeyError, TypeError) as error:
            raise Refusal("A token is wanted.") from error
        self._json({"session": self.server.gate.enter(str(token))})

    def _object(self, name: str, key: str) -> None:
        shelf = self.server.shelf
        size = shelf.size(name, key)
        part = parse_range(self.headers.get("Range", ""), size)
        offset, length = part or (0, size)
        blocks = shelf.blocks(name, key, offset, length)
        first = next(blocks, b"")  # what fails at once can still be said
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(length), "Cache-Control": "no-store"}
        if part:
            headers["Content-Range"] = f"bytes {offset}-{offset + length - 1}/{size}"
        self._head(206 if part else 200, headers)
        try:
            self.wfile.write(first)
            for block in blocks:
                self.wfile.write(block)
        except (Refusal, OSError):
            self.close_connection = True  # the browser sees that it is too short
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)

    def _file(self, name: str) -> None:
        if name not in known():
            raise NotFound("There is nothing at this address.")
        content, kind, tag = loaded(name)
        headers = {"ETag": tag, "Cache-Control": "no-cache"}
        if self.headers.get("If-None-Match") == tag:
            self._head(304, headers)
            return
        self._head(200, {**headers, "Content-Type": kind, "Content-Length": str(len(content))})
        self.wfile.write(content)

    def _json(self, value: object, status: int = 200, headers: dict[str, str] | None = None) -> None:
        body = json.dumps(value).encode()
        told = {"Content-Type": "application/json", "Content-Length": str(len(body)), "Cache-Control": "no-store"}
        self._head(status, {**told, **(headers or {})})
        self.wfile.write(body)

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**SECURITY, **headers}.items():
            self.send_header(name, value)
        self.end_headers()
