"""`safehold ui`: who may ask the pages of this machine, and what they get."""

from __future__ import annotations

import http.client
import json
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from cli_program import Program

from safehold.core.errors import StoreUnreachable
from safehold.server.local.serving import LocalServer
from safehold.server.local.shelf import Offered, Shelf
from safehold.storage.local import LocalStore
from safehold.storage.store import Store

KEY = "packs/ab/abcd"
CONTENT = bytes(range(256)) * 5000


def gone() -> Store:
    raise StoreUnreachable("The drive is not there.", "Plug it in.")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LocalServer]:
    store = LocalStore(tmp_path / "store", create=True)
    store.put(KEY, CONTENT)
    store.put("config", b"the config")
    shelf = Shelf([Offered("a b/<i>", str(tmp_path), lambda: store), Offered("away", "/mnt/away", gone)])
    with LocalServer(shelf, 0) as made:
        thread = threading.Thread(target=made.serve_forever, args=(0.01,))
        thread.start()
        yield made
        made.shutdown()
        thread.join()
    store.close()


class Told:
    def __init__(self, answer: http.client.HTTPResponse) -> None:
        self.status, self.headers, self.body = answer.status, answer.headers, answer.read()

    @property
    def code(self) -> str:
        return str(json.loads(self.body)["code"])


def ask(server: LocalServer, path: str, method: str = "GET", body: bytes | None = None, **headers: str) -> Told:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=10)
    try:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        return Told(connection.getresponse())
    finally:
        connection.close()


def enter(server: LocalServer, token: str = "", **headers: str) -> Told:
    body = json.dumps({"token": token or urlsplit(server.address).fragment}).encode()
    return ask(server, "/api/v1/local/enter", "POST", body, **headers)


OBJECTS = "/api/v1/repositories/local/a%20b%2F%3Ci%3E/objects"


def test_what_is_there_is_given_to_who_has_the_address(server: LocalServer) -> None:
    session = f"Bearer {json.loads(enter(server).body)['session']}"
    listed = json.loads(ask(server, "/api/v1/local", Authorization=session).body)["repositories"]
    assert [each["name"] for each in listed] == ["a b/<i>", "away"]
    found = json.loads(ask(server, f"{OBJECTS}?prefix=packs/&after=&limit=10000", Authorization=session).body)
    assert [each[:2] for each in found["objects"]] == [[KEY, len(CONTENT)]] and found["next"] is None
    whole = ask(server, f"{OBJECTS}/{KEY}", Authorization=session)
    assert (whole.status, whole.body) == (200, CONTENT)
    part = ask(server, f"{OBJECTS}/{KEY}", Authorization=session, Range="bytes=300000-1299999")
    assert (part.status, part.body) == (206, CONTENT[300000:])
    assert part.headers["Content-Range"] == f"bytes 300000-1279999/{len(CONTENT)}"
    assert part.headers["Cache-Control"] == "no-store"
    for path, status, code in [
        (f"{OBJECTS}/packs/none", 404, "missing"),
        (f"{OBJECTS}/..%2f..%2fetc%2fpasswd", 409, "store"),
        (f"{OBJECTS}?prefix=../", 409, "store"),
        ("/api/v1/repositories/local/other/objects/config", 404, "missing"),
        ("/api/v1/repositories/local/away/objects/config", 409, "store"),
        ("/api/v1/repositories/anna/home/objects/config", 404, "missing"),
    ]:
        answer = ask(server, path, Authorization=session)
        assert (answer.status, answer.code) == (status, code), path
    assert b"Plug it in." in ask(server, "/api/v1/repositories/local/away/objects/config", Authorization=session).body
    assert ask(server, f"{OBJECTS}/{KEY}", Authorization=session, Range="bytes=9999999-").status == 416


def test_the_address_works_once_and_nothing_without_it(server: LocalServer) -> None:
    assert ask(server, "/api/v1/local").status == 401
    assert ask(server, f"{OBJECTS}/config", Authorization="Bearer x").status == 401
    assert enter(server, "x" * 43).status == 401
    assert enter(server).status == 200
    again = enter(server)
    assert (again.status, again.code) == (409, "exists")
    once = urlsplit(server.address).fragment
    assert ask(server, "/api/v1/local", Authorization=f"Bearer {once}").status == 401
    for body, status in [(b"[]", 400), (b"{}", 400), (b"\xff", 400), (b"x" * 5000, 413)]:
        assert ask(server, "/api/v1/local/enter", "POST", body).status == status
    assert ask(server, f"{OBJECTS}/config", "DELETE").status == 501


def test_nobody_else_s_pages_reach_it(server: LocalServer) -> None:
    port = server.server_address[1]
    for host in [
        "evil.example",
        f"evil.example:{port}",
        "127.0.0.1",
        f"127.0.0.1:{port + 1}",
        f"127.0.0.1.evil.example:{port}",
        "",
    ]:
        for path in ["/", "/web/shell.js", "/api/v1/local"]:
            answer = ask(server, path, Host=host)
            assert (answer.status, answer.code) == (421, "host"), host
    for headers in [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
    ]:
        assert enter(server, **headers).status == 403, headers
    assert enter(server, Host=f"localhost:{port}", Origin=f"http://localhost:{port}", Sec_Fetch_Site="same-origin").status == 200
    page = ask(server, "/")
    assert b"/web/local/main.js" in page.body and urlsplit(server.address).fragment.encode() not in page.body
    assert "frame-ancestors 'none'" in page.headers["Content-Security-Policy"]
    assert page.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "Access-Control-Allow-Origin" not in page.headers
    assert ask(server, "/web/local/main.js", If_None_Match=ask(server, "/web/local/main.js").headers["ETag"]).status == 304
    for path in ["/web/../serving.py", "/web/%2e%2e/app.py", "/etc/passwd", "/web/"]:
        assert ask(server, path).status == 404


def test_the_command_until_ctrl_c(program: Program, tmp_path: Path) -> None:
    program.set(DISPLAY=None, WAYLAND_DISPLAY=None)
    missing = program("-r", tmp_path / "none", "ui")
    assert missing.status == 10 and "no repository" in missing.err
    assert program("ui", "--port", "70000").status == 2
    program.do("-r", tmp_path / "my backups", "init", "--key-file", program.key)
    running = program.start("-r", tmp_path / "my backups", "ui", "--json")
    assert running.stdout is not None and running.stderr is not None
    url = urlsplit(json.loads(running.stdout.readline())["url"])
    taken = program("-r", tmp_path / "my backups", "ui", "--port", url.port)
    assert taken.status == 1 and "Choose another with --port" in taken.err
    assert b"Ctrl-C ends it" in running.stderr.readline()
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=30)
    assert running.returncode == 0 and b"Traceback" not in said
