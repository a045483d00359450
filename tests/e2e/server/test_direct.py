"""Packs that go straight to the bucket of a real S3 server, by requests that our server signed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
import urllib3
from cli_program import Program
from online_servers import Person, ServerInThread, device
from sqlalchemy import func, select

from safehold.core.errors import UsageError
from safehold.server.objects import direct
from safehold.server.schema import objects, reservations, segments
from safehold.server.settings import Settings


@pytest.fixture
def server(tmp_path: Path, bucket: str, gateway: str) -> Iterator[ServerInThread]:
    made = ServerInThread(tmp_path / "srv", store=bucket, direct_endpoint=gateway)
    yield made
    made.stop()


def asked(server: ServerInThread) -> dict[str, int]:
    """Bytes that went through our server."""
    counted = server._server.config.app.state.requests  # type: ignore[union-attr]
    return {"in": counted.taken, "out": counted.given}


def test_a_backup_and_a_restore_go_past_the_server(server: ServerInThread, program: Program, tmp_path: Path) -> None:
    owner = server.owner()
    owner.repository()
    program.set(SAFEHOLD_TOKEN=owner.token("admin"), SAFEHOLD_REPO=f"{server.url}/anna/home")
    program.do("init")
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "film").write_bytes(Random(1).randbytes(9_000_000))
    before = asked(server)
    program.do("backup", tmp_path / "tree")
    program.do("restore", "latest", "--target", tmp_path / "got")
    assert (tmp_path / "got" / tmp_path.relative_to("/") / "tree" / "film").read_bytes() == (
        tmp_path / "tree" / "film"
    ).read_bytes()
    after = asked(server)
    assert after["in"] - before["in"] < 2_000_000 and after["out"] - before["out"] < 2_000_000
    with server.service.database.read() as connection:
        packs = connection.execute(select(func.count()).where(objects.c.key.startswith("packs/"))).scalar_one()
        assert packs and connection.execute(select(func.count()).select_from(segments)).scalar_one()
        assert not connection.execute(select(func.count()).select_from(reservations)).scalar_one()
    program.do("check", "--read-data")


def test_a_signed_request_is_good_for_those_bytes_alone(server: ServerInThread) -> None:
    owner = server.owner()
    base = owner.repository()
    data = b"no pack, but of its name" * 100
    digest = hashlib.sha256(data).hexdigest()
    key = f"packs/{digest[:2]}/{digest}"
    told = {"key": key, "size": len(data), "sha256": digest}
    permit = owner("POST", f"{base}/direct", told).json
    assert owner("POST", f"{base}/direct/done", told).status == 400  # nothing is there yet

    def send(body: bytes, **changed: str) -> int:
        headers = {**permit["headers"], **changed}
        return urllib3.request("PUT", permit["url"], body=body, headers=headers, retries=False).status

    assert send(b"x" * len(data)) in (400, 403)
    assert send(data + b"x", **{"content-length": str(len(data) + 1)}) in (400, 403)
    assert send(data, **{"if-none-match": "x"}) == 403
    assert send(data) == 200
    assert send(data) == 412
    assert owner("POST", f"{base}/direct/done", {**told, "size": 5}).status == 422
    assert owner("POST", f"{base}/direct/done", told).status == 422  # it is no pack, and counts not
    assert owner("GET", f"{base}/objects").json["objects"] == []
    other = f"snapshots/{digest}"
    assert owner("POST", f"{base}/direct", {**told, "key": other}).status == 400
    assert owner("POST", f"{base}/direct", {**told, "sha256": "0" * 64}).status == 422


def test_who_may_not_is_signed_nothing(server: ServerInThread) -> None:
    owner = server.owner()
    base = owner.repository()
    digest = "0" * 64
    told = {"key": f"packs/00/{digest}", "size": 5, "sha256": digest}
    reader = device(owner, scope="read")
    assert reader("POST", f"{base}/direct", told).status == 403
    assert device(owner)("POST", f"{base}/direct/read", {"key": told["key"]}).status == 404
    assert Person(server.url, "nobody")("POST", f"{base}/direct", told).status == 401


def test_room_is_asked_for_and_given_back(server: ServerInThread) -> None:
    owner = server.owner()
    base = owner.repository()
    with server.service.database.write() as connection:
        from sqlalchemy import update

        from safehold.server.schema import accounts

        connection.execute(update(accounts).values(quota=1000))
    digest = "1" * 64
    told: dict[str, Any] = {"key": f"packs/11/{digest}", "size": 800, "sha256": digest}
    permit = owner("POST", f"{base}/direct", told).json
    assert owner("POST", f"{base}/direct", told).status == 507
    done = {**told, "reservation": permit["reservation"], "stored": False}
    assert owner("POST", f"{base}/direct/done", done).status == 201
    assert owner("POST", f"{base}/direct", told).status == 201


def test_a_bucket_that_cannot_be_reached_from_here_is_left(
    tmp_path: Path, bucket: str, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(direct, "require", lambda bucket: None)
    server = ServerInThread(tmp_path / "srv", store=bucket, direct_endpoint="http://127.0.0.1:9")
    try:
        owner = server.owner()
        owner.repository()
        program.set(SAFEHOLD_TOKEN=owner.token("admin"), SAFEHOLD_REPO=f"{server.url}/anna/home")
        program.do("init")
        (tmp_path / "film").write_bytes(Random(1).randbytes(3_000_000))
        program.do("backup", tmp_path / "film")
        program.do("restore", "latest", "--target", tmp_path / "got")
        program.do("check", "--read-data")
    finally:
        server.stop()


def test_the_settings_go_together(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="direct_endpoint"):
        Settings(data=tmp_path, direct_endpoint="https://s3.example.org")
