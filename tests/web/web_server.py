"""A server of pages and of one repository in a folder: what ``docs/server.md`` says of reading, over plain HTTP on this machine.

It can be told to drop connections in the middle, and it notes what was asked of it.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import safehold
from safehold.server.policy import SECURITY

WEB = Path(safehold.__file__).parent / "server" / "web"
TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".wasm": "application/wasm", ".html": "text/html"}
BASE = "/api/v1/repositories/anna/home"


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder = folder
        self.asked: list[str] = []
        self.cut_after: int | None = None
        """So many bytes of packs are still sent; then every connection that wants one breaks in the middle."""
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://localhost:{self.server_address[1]}"

    def allowed(self, size: int) -> int:
        with self.lock:
            if self.cut_after is None:
                return size
            granted = min(size, self.cut_after)
            self.cut_after -= granted
            return granted


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, format: str, *args: object) -> None:
        self.server.asked.append(self.path)

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        path = unquote(url.path)
        if path.startswith(f"{BASE}/objects/"):
            self._object(path.removeprefix(f"{BASE}/objects/"))
        elif path == f"{BASE}/objects":
            self._list(parse_qs(url.query, keep_blank_values=True))
        elif path.startswith("/api/"):
            self._error(404, "missing")
        elif path.startswith("/web/"):
            self._file(WEB / path.removeprefix("/web/"))
        else:
            self._file(WEB / "index.html")

    def _list(self, query: dict[str, list[str]]) -> None:
        prefix, after, limit = query["prefix"][0], query.get("after", [""])[0], int(query.get("limit", ["1000"])[0])
        files = {
            path.relative_to(self.server.folder).as_posix(): path for path in self.server.folder.rglob("*") if path.is_file()
        }
        keys = sorted(key for key in files if key.startswith(prefix) and key > after)
        page = [[key, files[key].stat().st_size, 0] for key in keys[: min(limit, 7)]]  # short pages: there is always a next one
        self._send(
            200,
            json.dumps({"objects": page, "next": page[-1][0] if len(keys) > len(page) else None}).encode(),
            "application/json",
        )

    def _object(self, key: str) -> None:
        path = self.server.folder / key
        if not path.is_file():
            self._error(404, "missing")
            return
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if not asked:
            self._send(200, path.read_bytes())
            return
        size = path.stat().st_size
        start, end = int(asked[1]), min(int(asked[2]) + 1, size)
        if start >= size:
            self._error(416, "range")
            return
        with path.open("rb") as file:
            file.seek(start)
            part = file.read(end - start)
        cut = self.server.allowed(len(part)) if key.startswith("packs/") else len(part)
        self._send(206, part, headers={"Content-Range": f"bytes {start}-{end - 1}/{size}"}, cut=cut)

    def _file(self, path: Path) -> None:
        if not path.is_file():
            self._error(404, "missing")
            return
        self._send(200, path.read_bytes(), TYPES.get(path.suffix, "application/octet-stream"))

    def _error(self, status: int, code: str) -> None:
        self._send(status, json.dumps({"code": code, "message": code, "hint": ""}).encode(), "application/json")

    def _send(
        self,
        status: int,
        body: bytes,
        type: str = "application/octet-stream",
        headers: dict[str, str] | None = None,
        cut: int | None = None,
    ) -> None:
        self.send_response(status)
        sent = {
            "Content-Type": f"{type}; charset=utf-8" if type.startswith("text/") else type,
            "Content-Length": str(len(body)),
            "Cache-Control": "no-store",
            **SECURITY,
            **(headers or {}),
        }
        for name, value in sent.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body if cut is None else body[:cut])
        if cut is not None and cut < len(body):
            self.wfile.flush()
            self.connection.close()
            self.close_connection = True


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """The repository in ``folder`` as ``anna/home``."""
    server = Server(folder)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
