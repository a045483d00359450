"""Who may do what: every role and every request, as the table in docs/server.md says."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from blake3 import blake3
from online_servers import Client, Person, ServerInThread, device, snapshot_key

from safehold.repo.packs import END, HEADER, MAGIC, TAIL, Footer
from safehold.server.objects.rules import RIGHTS
from safehold.storage.store import Composition, Place

DOCS = Path(__file__).parents[3] / "docs"
OLD = {"config": b"c", "keys/00.slot": b"k", "index/x": b"i", "sessions/1/0": b"s", "condemned/x": b"d", "snapshots/x": b"n"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerInThread]:
    made = ServerInThread(tmp_path_factory.mktemp("srv"))
    yield made
    made.stop()


@pytest.fixture(scope="module")
def owner(server: ServerInThread) -> Person:
    return server.owner()


def _named(top: str, data: bytes) -> str:
    return f"{top}/{hashlib.sha256(data).hexdigest()}"


def _pack(repository_id: bytes) -> tuple[str, bytes]:
    """A small pack, as the format has it, unsigned."""
    footer = msgspec.msgpack.encode(Footer([], []))
    data = HEADER.pack(MAGIC, 1) + repository_id + footer + TAIL.pack(bytes(16), bytes(64), len(footer), END)
    name = hashlib.sha256(data).hexdigest()
    return f"packs/{name[:2]}/{name}", data


def _composition(key: str, data: bytes) -> object:
    """A pack made of some bytes of another."""
    digest = blake3(data[:16] + data[16:32]).digest()
    footer = msgspec.msgpack.encode(Footer([], []))
    end = footer + TAIL.pack(bytes(16), bytes(64), len(footer), END)
    return msgspec.to_builtins(Composition(1, [Place(key, 0, 16, 16, 16, digest)], end))


# What each role may do, by hand and not from the code: allowed statuses are 2xx.
MATRIX = {
    "list objects": {"list", "write", "read", "maintain", "admin"},
    "get config": {"list", "write", "read", "maintain", "admin"},
    "get keys": {"list", "write", "read", "maintain", "admin"},
    "get index": {"list", "write", "read", "maintain", "admin"},
    "get sessions": {"list", "write", "read", "maintain", "admin"},
    "get condemned": {"list", "write", "read", "maintain", "admin"},
    "get another's snapshot": {"read", "admin"},
    "get another's pack": {"read", "maintain", "admin"},
    "put a mark": {"write", "read", "maintain", "admin"},
    "delete an own mark": {"write", "read", "maintain", "admin"},
    "delete another's mark": {"admin"},
    "put a pack": {"write", "admin"},
    "compose a pack": {"admin"},
    "put an index shard": {"write", "admin"},
    "put a snapshot": {"write", "admin"},
    "put config": {"admin"},
    "put keys": {"admin"},
    "put condemned": {"admin"},
    "quarantine": {"admin"},
    "delete a pack": set(),
    "delete a snapshot": set(),
    "delete config": set(),
    "see the trash": {"admin"},
    "restore from the trash": {"admin"},
    "release the brake": set(),
    "report": {"write", "admin"},
    "see devices": {"list", "write", "read", "maintain", "admin"},
    "see reports": {"list", "write", "read", "maintain", "admin"},
    "see the chain": {"list", "write", "read", "maintain", "admin"},
    "see one's own restore jobs": {"list", "write", "read", "maintain", "admin"},
    "order a restore": set(),
    "cancel a restore": set(),
    "answer another's restore": set(),
    "set a member": set(),
    "make a token": set(),
}


@pytest.mark.parametrize("role", RIGHTS)
def test_each_role_may_do_exactly_what_it_may(server: ServerInThread, owner: Person, role: str) -> None:
    base = owner.repository(f"matrix-{role}")
    path = base.removeprefix("/api/v1/repositories/")
    admin = Client(server.url, owner.token("admin", path))
    asking = Client(server.url, _device_token(server, owner, path, role))
    snapshot, other = b"snapshot " + role.encode(), b"other " + role.encode()
    pack_key, pack = _pack(b"theirs")
    stored = {
        "config": b"c",
        "keys/00.slot": b"k",
        _named("index", b"i"): b"i",
        "sessions/11/0": b"s",
        _named("condemned", b"d"): b"d",
        snapshot_key(snapshot): snapshot,
        snapshot_key(other): other,
        pack_key: pack,
    }
    for key, data in stored.items():
        assert admin("PUT", f"{base}/objects/{key}", data=data).status == 201, key
    own_pack, own_data = _pack(b"own")
    taker, waits, later = _waiting_restore(owner, path, server.clock.now_ns())
    requests: dict[str, tuple[str, str, object, bytes | None]] = {
        "list objects": ("GET", f"{base}/objects", None, None),
        "get config": ("GET", f"{base}/objects/config", None, None),
        "get keys": ("GET", f"{base}/objects/keys/00.slot", None, None),
        "get index": ("GET", f"{base}/objects/{_named('index', b'i')}", None, None),
        "get sessions": ("GET", f"{base}/objects/sessions/11/0", None, None),
        "get condemned": ("GET", f"{base}/objects/{_named('condemned', b'd')}", None, None),
        "get another's snapshot": ("GET", f"{base}/objects/{snapshot_key(snapshot)}", None, None),
        "get another's pack": ("GET", f"{base}/objects/{pack_key}", None, None),
        "put a mark": ("PUT", f"{base}/objects/sessions/22/0", None, b"m"),
        "delete an own mark": ("DELETE", f"{base}/objects/sessions/22/0", None, None),
        "delete another's mark": ("DELETE", f"{base}/objects/sessions/11/0", None, None),
        "put a pack": ("PUT", f"{base}/objects/{own_pack}", None, own_data),
        "compose a pack": ("POST", f"{base}/compose", _composition(pack_key, pack), None),
        "put an index shard": ("PUT", f"{base}/objects/{_named('index', b'2')}", None, b"2"),
        "put a snapshot": ("PUT", f"{base}/objects/{snapshot_key(b'3')}", None, b"3"),
        "put config": ("PUT", f"{base}/objects/config-copy", None, b"c"),
        "put keys": ("PUT", f"{base}/objects/keys/01.slot", None, b"k"),
        "put condemned": ("PUT", f"{base}/objects/{_named('condemned', b'4')}", None, b"4"),
        "quarantine": ("POST", f"{base}/quarantine", {"key": snapshot_key(other)}, None),
        "delete a pack": ("DELETE", f"{base}/objects/{pack_key}", None, None),
        "delete a snapshot": ("DELETE", f"{base}/objects/{snapshot_key(snapshot)}", None, None),
        "delete config": ("DELETE", f"{base}/objects/config", None, None),
        "see the trash": ("GET", f"{base}/trash", None, None),
        "restore from the trash": ("POST", f"{base}/trash/restore", {}, None),
        "release the brake": ("POST", f"{base}/brake/release", None, None),
        "report": ("POST", f"{base}/reports", {"status": "done"}, None),
        "see devices": ("GET", f"{base}/devices", None, None),
        "see reports": ("GET", f"{base}/reports", None, None),
        "see the chain": ("GET", f"{base}/chain", None, None),
        "see one's own restore jobs": ("GET", f"{base}/restores", None, None),
        "order a restore": (
            "POST",
            f"{base}/devices/{taker}/restores",
            {"id": "1" * 32, "job": "QQ==", "expires_ns": later},
            None,
        ),
        "cancel a restore": ("DELETE", f"{base}/restores/{waits}", None, None),
        "answer another's restore": ("POST", f"{base}/restores/{waits}", {"state": "done"}, None),
        "set a member": ("PUT", f"{base}/members", {"person": "anna", "role": "read"}, None),
        "make a token": ("POST", "/api/v1/tokens", {"scope": "list"}, None),
    }
    assert set(requests) == set(MATRIX)
    for what, (method, place, value, data) in requests.items():
        answer = asking(method, place, value, data)
        allowed = role in MATRIX[what]
        if what == "delete an own mark" and "put a mark" not in {w for w, roles in MATRIX.items() if role in roles}:
            assert answer.status == 204  # there is none: deleting nothing succeeds, as the Store protocol says
            continue
        assert (answer.status < 300) == allowed, f"{role}: {what}: {answer.status} {answer.data!r}"
        if not allowed:
            assert answer.status == 403 and answer.code in ("not-permitted", "second-factor-needed"), what
    for key, data in stored.items():  # nothing that was refused was done
        if key in (snapshot_key(other), "sessions/11/0") and role == "admin":
            continue
        assert admin("GET", f"{base}/objects/{key}").data == data, key


def _waiting_restore(owner: Person, path: str, now_ns: int) -> tuple[str, str, int]:
    """A device that takes restore jobs, one that waits for it, and a time by which one may end."""
    base, taker, later = f"/api/v1/repositories/{path}", device(owner, "taker", path), now_ns + 10**12
    assert taker("PUT", f"{base}/devices/{taker.id}/offer", {"offer": "QQ=="}).status == 204
    waits = secrets.token_hex(16)
    order = {"id": waits, "job": "QQ==", "expires_ns": later}
    assert owner("POST", f"{base}/devices/{taker.id}/restores", order).status == 201
    return taker.id, waits, later


def _device_token(server: ServerInThread, owner: Person, path: str, role: str) -> str:
    """A token that acts as a device of its own, so that what the owner stored is another's."""
    from safehold.server.accounts import tokens
    from safehold.server.devices import admission

    with server.service.database.write() as connection:
        now = server.clock.now_ns()
        wanted = admission.Wanted(f"device {role}", bytes(32), bytes(32))
        asked, _ = admission.ask(connection, wanted, "127.0.0.9", now)
        repository = owner("GET", f"/api/v1/repositories/{path}").json["id"]
        device = admission.admit(connection, admission.find(connection, asked, now), repository, now)
        admission.answered(connection, asked, "fetched")
        person = owner("GET", "/api/v1/me").json["id"]
        return tokens.make(connection, person, role, role, now, repository=repository, device=device)[1]


def test_a_writer_reads_what_it_stored_itself(server: ServerInThread, owner: Person) -> None:
    base = owner.repository("own")
    path = base.removeprefix("/api/v1/repositories/")
    writer = Client(server.url, _device_token(server, owner, path, "write"))
    key, data = _pack(b"mine")
    assert writer("PUT", f"{base}/objects/{key}", data=data).status == 201
    assert writer("GET", f"{base}/objects/{key}").data == data
    assert writer("GET", f"{base}/objects/{key}", Range="bytes=2-5").data == data[2:6]


def test_nobody_overwrites(server: ServerInThread, owner: Person) -> None:
    base = owner.repository("immutable")
    for who in (owner, Client(server.url, owner.token("admin"))):
        assert who("PUT", f"{base}/objects/config", data=b"first").status in (201, 409)
        again = who("PUT", f"{base}/objects/config", data=b"second")
        assert again.status == 409 and again.code == "exists"
        assert again.headers["X-Content-SHA256"] == hashlib.sha256(b"first").hexdigest()
    assert owner("GET", f"{base}/objects/config").data == b"first"


def test_strangers_learn_nothing(server: ServerInThread, owner: Person) -> None:
    base = owner.repository("secret")
    assert Client(server.url)("GET", base).status == 401
    assert Client(server.url, "shp_00_x")("GET", base).status == 401
    elsewhere = Client(server.url, owner.token("admin", owner.repository("else").removeprefix("/api/v1/repositories/")))
    there, nowhere = elsewhere("GET", base), elsewhere("GET", base.replace("secret", "nowhere"))
    assert there.status == nowhere.status == 404
    assert there.json["message"].replace("secret", "") == nowhere.json["message"].replace("nowhere", "")


def test_a_member_may_what_was_granted(server: ServerInThread, owner: Person) -> None:
    base = owner.repository("family")
    ben = Person(server.url, "ben")
    with server.service.database.write() as connection:
        from safehold.server.accounts import people

        people.add(connection, "ben", ben.salt, ben.login, server.clock.now_ns())
    assert ben.log_in().status == 200
    assert ben("GET", base).status == 404
    assert owner("PUT", f"{base}/members", {"person": "ben", "role": "read"}).status == 204
    assert "packs" in ben("GET", base).json["rights"] and "add" not in ben("GET", base).json["rights"]
    token = ben.token("admin")  # never more than the person may
    assert "delete" not in Client(server.url, token)("GET", base).json["rights"]
    assert owner("PUT", f"{base}/members", {"person": "ben", "role": ""}).status == 204
    assert Client(server.url, token)("GET", base).status == 404


def test_tokens_lapse_are_bound_and_withdrawn(server: ServerInThread, owner: Person) -> None:
    base = owner.repository("bound")
    soon = server.clock.now_ns() + 10**9
    lapsing = Client(server.url, owner.token("read", expires_ns=soon))
    elsewhere = Client(server.url, owner.token("read", networks="192.0.2.0/24"))
    here = Client(server.url, owner.token("read", networks="127.0.0.0/8 ::1/128"))
    assert lapsing("GET", base).status == here("GET", base).status == 200
    assert elsewhere("GET", base).status == 403
    server.clock.offset_ns += 2 * 10**9
    assert lapsing("GET", base).status == 401
    made = owner("GET", "/api/v1/tokens").json["tokens"]
    assert not any("secret" in token or "hash" in token for token in made)
    for token in made:
        owner("DELETE", f"/api/v1/tokens/{token['id']}")
    assert here("GET", base).status == 401


def test_the_page_says_what_the_matrix_says() -> None:
    text = (DOCS / "server.md").read_text()
    table = text[text.index("### Who may do what") : text.index("*own*")]
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line.startswith("|")]
    roles = lines[0][1:]
    assert roles == list(RIGHTS)
    rows = {line[0]: line[1:] for line in lines[2:]}

    def allowed(row: str) -> set[str]:
        return {role for role, cell in zip(roles, rows[row], strict=True) if cell.startswith("yes")}

    assert allowed("get `packs/`") == MATRIX["get another's pack"]
    assert allowed("get `snapshots/`") == MATRIX["get another's snapshot"]
    assert allowed("put `packs/`, `index/`, `snapshots/`") == MATRIX["put a pack"]
    assert allowed("put `config`, `keys/`, `condemned/`; quarantine") == MATRIX["put config"]
    assert allowed("put packs together of stored ones") == MATRIX["compose a pack"]
    assert allowed("see restore jobs ([jobs.md](jobs.md)); a device sees its own only") == {"read", "admin"}
    assert allowed("put `sessions/`, delete a mark that it put itself") == MATRIX["put a mark"]
