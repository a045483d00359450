"""The description of all requests, what it leads a fuzzer to, metrics and the audit log."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import pytest
from online_servers import Client, Person, ServerInThread, device, snapshot_key
from request_fuzzing import fuzzed
from sqlalchemy import update
from starlette.routing import Route

from safehold.server.answers import description_of
from safehold.server.app import ROUTES
from safehold.server.jobs.schedule import JOBS
from safehold.server.schema import audit
from safehold.server.settings import Settings

DOCS = Path(__file__).parents[3] / "docs"


def handlers() -> list[Route]:
    return [route for route in ROUTES if isinstance(route, Route) and route.path.startswith("/api/")]


@pytest.mark.parametrize("route", handlers(), ids=lambda route: f"{sorted(route.methods)[0]} {route.path}")
def test_a_handler_takes_what_is_said_of_it(route: Route) -> None:
    """The description is held against the handler's own code: the type of the body, and every part of the query."""
    tree = ast.parse(inspect.getsource(route.endpoint))
    described = description_of(route.endpoint)
    bodies, query = set(), set()
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        if isinstance(call.func, ast.Name) and call.func.id == "body_of":
            bodies.add(ast.unparse(call.args[1]).rpartition(".")[2])
        if isinstance(call.func, ast.Attribute) and ast.unparse(call.func.value) == "request.query_params":
            query.add(ast.literal_eval(call.args[0]))
    if described.body is None:
        assert not bodies
    elif bodies:
        assert bodies == {described.body.__name__}
    assert set(described.query) == query
    assert inspect.getdoc(route.endpoint)


def test_the_document_has_every_request(server: ServerInThread) -> None:
    told = Client(server.url)("GET", "/api/v1/openapi.json").json
    asked = {(re.sub(r":\w+}", "}", r.path), m.lower()) for r in handlers() for m in (r.methods or set()) - {"HEAD"}}
    assert {(path, method) for path, methods in told["paths"].items() for method in methods} == asked
    assert told["components"]["schemas"]["Report"]["required"] == ["status"]
    names = [o["operationId"] for methods in told["paths"].values() for o in methods.values()]
    assert len(set(names)) == len(names)


def test_no_request_makes_the_server_fail(server: ServerInThread) -> None:
    """As somebody with a session, to whom everything is open."""
    anna = server.owner()
    anna.repository()
    fuzzed(server, anna)
    assert anna("GET", "/api/v1/health").status == 200


def test_metrics_are_for_who_may_read_them(server: ServerInThread, tmp_path: Path) -> None:
    anna = server.owner()
    base = anna.repository()
    anna("PUT", f"{base}/objects/{snapshot_key(b'x' * 10)}", data=b"x" * 10)
    device(anna)
    server.clock.pass_days(2)
    told = Client(server.url)("GET", "/api/v1/metrics")
    values = dict(line.rsplit(" ", 1) for line in told.data.decode().splitlines() if not line.startswith("#"))
    assert values["safehold_stored_bytes"] == "10" and values["safehold_devices_overdue"] == "1"
    assert int(values['safehold_requests_total{method="PUT",status="201"}']) == 1
    assert int(values["safehold_request_bytes_total"]) > 10
    for name in {line.split("{")[0].split(" ")[0] for line in values}:
        assert f"# TYPE {name} " in told.data.decode()
    assert Client(server.url)("GET", "/api/v1/metrics", X_Forwarded_For="192.0.2.1").status == 401
    closed = ServerInThread(tmp_path / "closed", metrics_token="t0ken")
    try:
        assert Client(closed.url)("GET", "/api/v1/metrics").status == 401
        assert Client(closed.url, "wrong")("GET", "/api/v1/metrics").status == 401
        assert Client(closed.url, "t0ken")("GET", "/api/v1/metrics").status == 200
    finally:
        closed.stop()


def test_everybody_reads_the_log_of_their_own(tmp_path: Path) -> None:
    server = ServerInThread(tmp_path / "srv", open_registration=True)
    try:
        anna = server.owner()
        bob = Person(server.url, "bob")
        assert bob.register().status == 200
        anna.repository()
        bob.repository("his")
        seen = bob("GET", "/api/v1/audit").json["lines"]
        assert {line["what"] for line in seen} == {"account.create", "login", "repository.create"}
        assert {line["account"] for line in seen} == {bob("GET", "/api/v1/me").json["id"]}
        everything = anna("GET", "/api/v1/audit").json["lines"]
        assert [line["number"] for line in everything] == list(range(len(everything), 0, -1)) and len(everything) > len(seen)
        page = anna("GET", "/api/v1/audit?limit=2").json
        assert [*page["lines"], *anna("GET", f"/api/v1/audit?limit=2&after={page['next']}").json["lines"]] == everything[:4]
        home = anna("GET", "/api/v1/audit?repository=anna/home").json["lines"]
        assert [line["what"] for line in home] == ["repository.create"]
        assert bob("GET", "/api/v1/audit?repository=anna/home").status == 404
        for path in ("audit/verify", "jobs"):
            assert bob("GET", f"/api/v1/{path}").status == 403
        assert anna("GET", "/api/v1/audit/verify").json == {"whole": True, "first_wrong": None, "lines": len(everything)}
        with server.service.database.write() as connection:
            connection.execute(update(audit).where(audit.c.number == 3).values(actor="p:somebody else"))
        assert anna("GET", "/api/v1/audit/verify").json["first_wrong"] == 3
        limited = Client(server.url, anna.token("list", "anna/home"))
        assert limited("GET", "/api/v1/audit").status == 403
    finally:
        server.stop()


def test_the_api_is_documented() -> None:
    text = (DOCS / "server-api.md").read_text()
    for route in handlers():
        path = re.sub(r":\w+}", "}", route.path).replace("/api/v1/repositories/{account}/{name}", "BASE").removeprefix("/api/v1")
        path = re.sub(r"{(\w+)}", lambda match: match[1].upper(), path)
        for method in (route.methods or set()) - {"HEAD"}:
            assert f"`{method} {path}" in text, f"{method} {path}"


def test_the_settings_are_documented() -> None:
    text = (DOCS / "server.md").read_text().partition("## Settings")[2]
    for name in Settings.__struct_fields__:
        assert f"`{name}`" in text, name
    for name in JOBS:
        assert f"| `{name}` |" in (DOCS / "server.md").read_text(), name
