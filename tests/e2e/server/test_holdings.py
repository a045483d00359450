"""What a server keeps: durable, counted, in the trash for a while, braked, and with a history that cannot be set back."""

from __future__ import annotations

import hashlib
import socket
import threading
import time
from collections.abc import Callable

import pytest
from online_servers import Client, Person, ServerInThread, put_snapshot, snapshot_key
from sqlalchemy import select, update

from safehold.core.errors import RolledBack
from safehold.server import audit
from safehold.server.schema import accounts, chain, objects, reservations
from safehold.server.schema import audit as audit_table
from safehold.storage.online.address import parse
from safehold.storage.online.api import Api
from safehold.storage.online.chain import BEGINNING, Entry, Head, entry_hash
from safehold.storage.online.store import OnlineStore


def test_bytes_that_are_not_what_their_name_says_are_not_stored(server: ServerInThread, owner: Person) -> None:
    base = owner.repository()
    wrong = f"snapshots/{'0' * 64}"
    for key, data, told, status in (
        (wrong, b"x", "", 422),
        ("config", b"x", hashlib.sha256(b"y").hexdigest(), 422),
        ("snapshots/short", b"x", "", 422),
        (f"packs/00/{hashlib.sha256(b'x').hexdigest()}", b"x", "", 422),  # in a folder that is not its own
        (f"packs/{hashlib.sha256(b'x').hexdigest()[:2]}/{hashlib.sha256(b'x').hexdigest()}", b"x", "", 422),  # no pack
        ("elsewhere/x", b"x", "", 400),
        ("quarantine/config", b"x", "", 400),
        ("../config", b"x", "", 400),
        ("keys/..%2f..%2fconfig", b"x", "", 400),
        ("Config", b"x", "", 400),
        ("sessions/" + "a" * 300, b"x", "", 400),
    ):
        headers = {"X_Content_SHA256": told} if told else {}
        answer = owner("PUT", f"{base}/objects/{key}", data=data, **headers)
        assert answer.status in (status, 404), (key, answer.status, answer.data)
    assert owner("GET", f"{base}/objects").json == {"objects": [], "next": None}
    store = server.service.store(owner("GET", base).json["id"])
    assert list(store.list("")) == []


def test_listings_come_in_pages_and_whole(owner: Person) -> None:
    base = owner.repository()
    keys = sorted(put_snapshot(owner, base, f"{n}".encode()) for n in range(25))
    owner("PUT", f"{base}/objects/config", data=b"c")
    found: list[str] = []
    after: str | None = ""
    pages = 0
    while after is not None:
        page = owner("GET", f"{base}/objects?prefix=snapshots/&limit=10&after={after}").json
        found += [row[0] for row in page["objects"]]
        after, pages = page["next"], pages + 1
    assert found == keys and pages == 3
    assert owner("GET", f"{base}/objects?prefix=snap").status == 400


def test_what_takes_the_room_is_told_by_kind(server: ServerInThread, owner: Person) -> None:
    base = owner.repository()
    assert owner("GET", f"{base}/usage").json["kinds"] == []
    for size in (100, 50):
        put_snapshot(owner, base, bytes(size))
    assert owner("PUT", f"{base}/objects/keys/{'0' * 32}.slot", data=bytes(400)).status == 201
    assert owner("PUT", f"{base}/objects/config", data=bytes(7)).status == 201
    assert owner("GET", f"{base}/usage").json["kinds"] == [
        {"kind": "keys", "objects": 1, "bytes": 400},
        {"kind": "snapshots", "objects": 2, "bytes": 150},
        {"kind": "config", "objects": 1, "bytes": 7},
    ]
    assert Client(server.url)("GET", f"{base}/usage").status == 401


def test_ranges(owner: Person) -> None:
    base = owner.repository()
    data = bytes(range(256)) * 12000  # more than one block
    owner("PUT", f"{base}/objects/config", data=data)
    place = f"{base}/objects/config"
    assert owner("GET", place).data == data
    for told, part in (
        ("bytes=0-0", data[:1]),
        ("bytes=5-9", data[5:10]),
        ("bytes=-7", data[-7:]),
        ("bytes=3071990-", data[3071990:]),
        ("bytes=100-99999999", data[100:]),
    ):
        answer = owner("GET", place, Range=told)
        assert answer.status == 206 and answer.data == part, told
        assert answer.headers["Content-Range"].endswith(f"/{len(data)}")
    for told in ("bytes=9-5", "bytes=0-1,3-4", "lines=1-2", "bytes=-"):
        assert owner("GET", place, Range=told).status == 200, told
    assert owner("GET", place, Range=f"bytes={len(data)}-").status == 416
    head = owner("HEAD", place)
    assert (
        head.headers["Content-Length"] == str(len(data)) and head.headers["X-Content-SHA256"] == hashlib.sha256(data).hexdigest()
    )


def test_deleting_takes_a_second_factor_and_goes_to_the_trash(server: ServerInThread, owner: Person) -> None:
    base = owner.repository()
    key = put_snapshot(owner, base, b"precious")
    server.clock.pass_days(0.02)  # half an hour: the second factor of the set-up holds no more
    refused = owner("DELETE", f"{base}/objects/{key}")
    assert refused.status == 403 and refused.code == "second-factor-needed"
    assert owner("POST", "/api/v1/step-up", {"code": "000000"}).status == 403
    assert owner("POST", "/api/v1/step-up", {"code": owner.recovery[0]}).status == 204  # type: ignore[attr-defined]
    assert owner("DELETE", f"{base}/objects/{key}").status == 204
    assert owner("DELETE", f"{base}/objects/{key}").status == 204  # idempotent
    assert owner("GET", f"{base}/objects/{key}").status == 404
    assert owner("GET", base).json["trash"]["bytes"] == len(b"precious")
    (line,) = owner("GET", f"{base}/trash").json["objects"]
    assert line["key"] == key
    assert owner("POST", f"{base}/trash/restore", {"ids": [line["id"]]}).json == {"restored": 1}
    assert owner("GET", f"{base}/objects/{key}").data == b"precious"


def test_what_is_in_the_trash_can_be_stored_again(owner: Person) -> None:
    base = owner.repository()
    key = put_snapshot(owner, base, b"again")
    assert owner("DELETE", f"{base}/objects/{key}").status == 204
    assert put_snapshot(owner, base, b"again") == key
    assert owner("GET", f"{base}/objects/{key}").data == b"again"
    assert owner("GET", f"{base}/trash").json["objects"] == []
    owner("PUT", f"{base}/objects/config", data=b"one")
    owner("DELETE", f"{base}/objects/config")
    other = owner("PUT", f"{base}/objects/config", data=b"two")  # other bytes would replace what can be brought back
    assert other.status == 403
    assert owner("POST", f"{base}/trash/restore", {}).json == {"restored": 1}
    assert owner("GET", f"{base}/objects/config").data == b"one"


def test_the_brake(owner: Person) -> None:
    base = owner.repository()
    keys = [put_snapshot(owner, base, f"snapshot {n}".encode()) for n in range(30)]
    answers = [owner("DELETE", f"{base}/objects/{key}") for key in keys[:11]]
    assert [answer.status for answer in answers] == [204] * 10 + [409] and answers[-1].code == "brake"
    assert owner("GET", base).json["snapshots"] == 20
    assert owner("POST", f"{base}/brake/release").status == 200
    assert all(owner("DELETE", f"{base}/objects/{key}").status == 204 for key in keys[10:])


def test_the_brake_is_on_again_after_an_hour_and_counts_anew_after_a_day(server: ServerInThread, owner: Person) -> None:
    base = owner.repository()
    keys = [put_snapshot(owner, base, f"snapshot {n}".encode()) for n in range(60)]
    for key in keys[:10]:
        assert owner("DELETE", f"{base}/objects/{key}").status == 204
    owner("POST", f"{base}/brake/release")
    server.clock.pass_days(0.05)
    owner("POST", "/api/v1/step-up", {"code": owner.recovery[0]})  # type: ignore[attr-defined]
    statuses = [owner("DELETE", f"{base}/objects/{key}").status for key in keys[10:16]]
    assert statuses == [204] * 5 + [409]  # 16 of 60 are more than a quarter
    server.clock.pass_days(1)
    owner.log_in(code=owner.recovery[1])  # type: ignore[attr-defined]
    assert owner("DELETE", f"{base}/objects/{keys[20]}").status == 204


def test_two_uploads_cannot_both_take_the_last_room(server: ServerInThread, owner: Person) -> None:
    base = owner.repository()
    with server.service.database.write() as connection:
        connection.execute(update(accounts).values(quota=1_000_000))
    tokens = [owner.token("admin") for _ in range(6)]
    statuses: list[int] = []
    together = threading.Barrier(6)

    def upload(number: int) -> None:
        data = bytes([number]) * 300_000
        client = Client(server.url, tokens[number])
        together.wait()
        statuses.append(client("PUT", f"{base}/objects/{snapshot_key(data)}", data=data).status)

    threads = [threading.Thread(target=upload, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [201, 201, 201, 507, 507, 507]
    with server.service.database.read() as connection:
        assert connection.execute(select(accounts.c.used)).scalar_one() == 900_000
        assert connection.execute(select(reservations)).first() is None
    full = owner("PUT", f"{base}/objects/config", data=bytes(200_000))
    assert full.status == 507 and full.code == "store-full"
    assert owner("GET", base).json["warnings"]
    for row in owner("GET", f"{base}/objects").json["objects"]:  # restoring is never blocked
        assert owner("GET", f"{base}/objects/{row[0]}").status == 200


def _reserved(server: ServerInThread) -> bool:
    with server.service.database.read() as connection:
        return connection.execute(select(reservations)).first() is not None


def _until(check: Callable[[], bool]) -> None:
    for _ in range(500):
        if check():
            return
        time.sleep(0.02)
    raise AssertionError("that does not come")


def test_an_upload_that_breaks_off_leaves_nothing(server: ServerInThread, owner: Person) -> None:
    base = owner.repository()
    with server.service.database.write() as connection:
        connection.execute(update(accounts).values(quota=1_000_000))
    token = owner.token("admin")
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection_:
        head = f"PUT {base}/objects/config HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: 500000\r\n\r\n"
        connection_.sendall(head.encode() + bytes(100_000))
        _until(lambda: _reserved(server))
    _until(lambda: not _reserved(server))
    assert owner("GET", f"{base}/objects").json["objects"] == []
    assert owner("PUT", f"{base}/objects/config", data=bytes(900_000)).status == 201


def test_the_chain_continues_what_was_seen(server: ServerInThread, owner: Person) -> None:
    base = owner.repository()
    store = OnlineStore(parse(f"{server.url}/anna/home", repository=True), Api(server.url, owner.token("admin")))
    assert store.about().head == Head(0, BEGINNING)
    key = put_snapshot(owner, base, b"one")
    first = store.follow(Head(), store.about().head)
    assert first.number == 1
    owner("DELETE", f"{base}/objects/{key}")
    owner("POST", f"{base}/trash/restore", {})
    put_snapshot(owner, base, b"two")
    second = store.follow(first, store.about().head)
    assert second.number == 4
    entries = [Entry(*row) for row in owner("GET", f"{base}/chain").json["entries"]]
    assert [(entry.what, entry.key) for entry in entries[:3]] == [("put", key), ("delete", key), ("restore", key)]
    with pytest.raises(RolledBack, match="older state"):
        store.follow(Head(9, "a" * 64), store.about().head)
    with pytest.raises(RolledBack, match="another history"):
        store.follow(Head(4, "a" * 64), store.about().head)
    with pytest.raises(RolledBack, match="another history"):  # forked behind what was seen
        store.follow(Head(1, entry_hash(BEGINNING, entries[1])), store.about().head)
    with server.service.database.write() as connection:  # an entry that was taken out
        connection.execute(chain.delete().where(chain.c.number == 2))
    with pytest.raises(RolledBack, match="entry 2 is missing"):
        store.follow(first, store.about().head)
    store.close()


def test_the_audit_log_shows_a_line_that_was_changed(server: ServerInThread, owner: Person) -> None:
    owner.repository()
    owner.token("read")
    with server.service.database.read() as connection:
        assert audit.count(connection) >= 4 and audit.verify(connection) is None
    with server.service.database.write() as connection:
        connection.execute(update(audit_table).where(audit_table.c.number == 2).values(address="10.0.0.1"))
    with server.service.database.read() as connection:
        assert audit.verify(connection) == 2


def test_bytes_without_a_row_are_taken_over_if_they_are_the_same(server: ServerInThread, owner: Person) -> None:
    """As a crash leaves them between the two."""
    base = owner.repository()
    store = server.service.store(owner("GET", base).json["id"])
    key = snapshot_key(b"left behind")
    store.put(key, b"left behind")
    store.put("config", b"another's")
    assert owner("GET", f"{base}/objects").json["objects"] == []
    assert put_snapshot(owner, base, b"left behind") == key
    assert owner("GET", f"{base}/objects/{key}").data == b"left behind"
    assert owner("PUT", f"{base}/objects/config", data=b"mine").status == 403
    with server.service.database.read() as connection:
        assert [row.key for row in connection.execute(select(objects))] == [key]


def test_a_restart_forgets_nothing(server: ServerInThread, owner: Person) -> None:
    base = owner.repository()
    key = put_snapshot(owner, base, b"durable")
    token = owner.token("read")
    server.stop()
    server.start()
    assert Client(server.url, token)("GET", f"{base}/objects/{key}").data == b"durable"
