"""Many devices: how they are, and what they are told to do."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from online_servers import Client, Person, ServerInThread, device
from sqlalchemy import insert, select

from safehold.server.schema import devices, reports, repositories

BASE = "/api/v1/repositories/anna/home"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerInThread]:
    made = ServerInThread(tmp_path / "srv", open_registration=True)
    yield made
    made.stop()


@pytest.fixture
def owner(server: ServerInThread) -> Person:
    made = server.owner()
    made.repository()
    return made


def test_states_are_told_the_worst_first(server: ServerInThread, owner: Person) -> None:
    laptops = [device(owner, f"laptop {n}") for n in range(5)]
    for laptop in laptops[1:]:
        laptop("POST", f"{BASE}/reports", {"status": "done", "files": 100})
    laptops[2]("POST", f"{BASE}/reports", {"status": "failed", "message": "no disk"})
    for _ in range(4):
        laptops[3]("POST", f"{BASE}/reports", {"status": "done", "files": 100})
    laptops[3]("POST", f"{BASE}/reports", {"status": "done", "files": 1})
    told = owner("GET", "/api/v1/fleet").json
    states = {each["name"]: each["state"] for each in told["devices"]}
    assert states == {f"laptop {n}": state for n, state in enumerate(["new", "fine", "failed", "shrunk", "fine"])}
    assert told["counts"] == {"new": 1, "fine": 2, "failed": 1, "shrunk": 1}
    assert [each["name"] for each in owner("GET", "/api/v1/fleet?state=failed").json["devices"]] == ["laptop 2"]
    server.clock.pass_days(1.01)
    owner.log_in(code=owner.recovery[0])  # type: ignore[attr-defined]
    laptops[4]("POST", f"{BASE}/reports", {"status": "done", "files": 100})
    told = owner("GET", "/api/v1/fleet").json
    assert told["counts"] == {"overdue": 4, "fine": 1}
    assert told["devices"][-1]["name"] == "laptop 4" and told["devices"][0]["due_ns"] < told["now_ns"]
    assert owner("DELETE", f"{BASE}/devices/{laptops[0].id}").status == 204
    assert owner("GET", "/api/v1/fleet").json["counts"] == {"overdue": 3, "fine": 1}
    pages = owner("GET", "/api/v1/fleet?limit=3").json
    rest = owner("GET", f"/api/v1/fleet?limit=3&after={pages['next']}").json
    assert len({each["id"] for each in pages["devices"] + rest["devices"]}) == 4 and rest["next"] is None


def test_strangers_see_no_fleet(server: ServerInThread, owner: Person) -> None:
    laptop = device(owner)
    bob = Person(server.url, "bob")
    bob.register()
    assert bob("GET", "/api/v1/fleet").json["devices"] == []
    assert bob("GET", "/api/v1/fleet?account=anna").status == 404
    assert bob("PATCH", f"{BASE}/devices/{laptop.id}", {"every_seconds": 0}).status == 404
    assert Client(server.url)("GET", "/api/v1/fleet").status == 401


def test_how_often_a_backup_is_expected_is_the_owners_to_say(server: ServerInThread, owner: Person) -> None:
    laptop = device(owner)
    laptop("POST", f"{BASE}/reports", {"status": "done"})
    path = f"{BASE}/devices/{laptop.id}"
    assert laptop("PATCH", path, {"every_seconds": 0}).status == 403, "a thief would say that none is expected"
    assert owner("PATCH", path, {"every_seconds": 3600}).status == 204
    server.clock.pass_days(0.05)
    assert owner("GET", "/api/v1/fleet").json["counts"] == {"overdue": 1}
    assert owner("PATCH", path, {"every_seconds": 0, "name": "old laptop"}).status == 204
    server.clock.pass_days(0.4)
    (told,) = owner("GET", "/api/v1/fleet").json["devices"]
    assert told["state"] == "fine" and told["name"] == "old laptop"
    for wrong in ({"every_seconds": -1}, {"every_seconds": 10**18}, {"name": ""}, {"every_seconds": "x"}):
        assert owner("PATCH", path, wrong).status == 400


def test_a_plan_is_handed_to_a_device_and_to_no_other(server: ServerInThread, owner: Person) -> None:
    laptop, other = device(owner, "laptop"), device(owner, "other")
    path = f"{BASE}/devices/{laptop.id}/plan"
    assert laptop("GET", path).data == b"null"
    plan = {"sources": ["/home"], "every": "1h", "note": "Grüße"}
    tag = owner("PUT", path, plan).headers["ETag"]
    told = laptop("GET", path)
    assert told.json == plan and told.headers["ETag"] == tag
    assert laptop("GET", path, If_None_Match=tag).status == 304
    assert owner("GET", path).json == plan
    assert other("GET", path).status == 403
    assert laptop("PUT", path, {}).status == 403
    owner("PUT", path, {"new": True})
    assert laptop("GET", path, If_None_Match=tag).json == {"new": True}
    assert owner("PUT", path, data=b"{").status == 400
    assert owner("PUT", path, data=b'"' + b"x" * 70_000 + b'"').status == 413
    assert owner("PUT", path, data=b"null").status == 204 and laptop("GET", path).data == b"null"


def test_ten_thousand_devices_are_told_of_within_a_second(server: ServerInThread, owner: Person) -> None:
    now = server.clock.now_ns()
    with server.service.database.write() as connection:
        place = connection.execute(select(repositories.c.id)).scalar_one()
        made = [
            {
                "id": f"{n:032x}", "repository": place, "name": f"machine {n}", "created_ns": now, "seen_ns": now,
                "done_ns": now, "reported_ns": now, "status": "done", "due_ns": now + (n - 100) * 10**9,
            }
            for n in range(10_000)
        ]  # fmt: skip
        connection.execute(insert(devices), made)
        rows = [
            {"id": f"{k:02x}{n:030x}", "repository": place, "device": f"{n:032x}", "received_ns": now, "status": "done"}
            for n in range(10_000)
            for k in range(3)
        ]
        connection.execute(insert(reports), rows)
    server.clock.offset_ns += 10**9
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        told = owner("GET", "/api/v1/fleet?state=overdue")
        seconds.append(time.perf_counter() - began)
    assert 100 <= len(told.json["devices"]) <= 110
    assert told.json["counts"]["overdue"] == len(told.json["devices"]) and sum(told.json["counts"].values()) == 10_000
    assert min(seconds) < 1, seconds
    began = time.perf_counter()
    assert len(owner("GET", "/api/v1/fleet").json["devices"]) == 10_000
    print(f"overdue {min(seconds):.3f} s, all {time.perf_counter() - began:.3f} s")
