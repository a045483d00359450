"""Passkeys, by an authenticator made of software."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cbor2
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from online_servers import Answer, Client, Person, ServerInThread


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerInThread]:
    made = ServerInThread(tmp_path / "srv", public_url="https://backup.example.org", open_registration=True)
    yield made
    made.stop()


@pytest.fixture
def anna(server: ServerInThread) -> Person:
    made = Person(server.url, "anna")
    made.headers["Origin"] = "https://backup.example.org"
    assert made.register(server.setup.code).status == 200
    return made


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Authenticator:
    """One passkey of one site."""

    def __init__(self, site: str = "backup.example.org") -> None:
        self.site = site
        self.origin = f"https://{site}"
        self.id = os.urandom(32)
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.count = 0
        self.flags = 0x05  # somebody was there, and proved who they are

    def _client(self, kind: str, options: dict[str, Any]) -> bytes:
        return json.dumps({"type": kind, "challenge": options["challenge"], "origin": self.origin}).encode()

    def _head(self, flags: int) -> bytes:
        self.count += 1
        return hashlib.sha256(self.site.encode()).digest() + bytes([flags]) + self.count.to_bytes(4, "big")

    def create(self, options: dict[str, Any]) -> dict[str, Any]:
        numbers = self.key.public_key().public_numbers()
        public = {1: 2, 3: -7, -1: 1, -2: numbers.x.to_bytes(32, "big"), -3: numbers.y.to_bytes(32, "big")}
        data = self._head(self.flags | 0x40) + bytes(16) + len(self.id).to_bytes(2, "big") + self.id + cbor2.dumps(public)
        attestation = cbor2.dumps({"fmt": "none", "attStmt": {}, "authData": data})
        response = {"clientDataJSON": b64(self._client("webauthn.create", options)), "attestationObject": b64(attestation)}
        return {"id": b64(self.id), "rawId": b64(self.id), "type": "public-key", "response": response}

    def get(self, options: dict[str, Any]) -> dict[str, Any]:
        data, client = self._head(self.flags), self._client("webauthn.get", options)
        signature = self.key.sign(data + hashlib.sha256(client).digest(), ec.ECDSA(hashes.SHA256()))
        response = {"clientDataJSON": b64(client), "authenticatorData": b64(data), "signature": b64(signature)}
        return {"id": b64(self.id), "rawId": b64(self.id), "type": "public-key", "response": response}


def add(person: Person, passkey: Authenticator) -> Answer:
    options = person("POST", "/api/v1/passkeys/begin")
    assert options.status == 200, options.data
    return person("POST", "/api/v1/passkeys", {"credential": passkey.create(options.json), "label": "phone"})


def ask(server: ServerInThread) -> tuple[Client, dict[str, Any]]:
    client = Client(server.url, X_Safehold="1", Origin="https://backup.example.org")
    asked = client("POST", "/api/v1/passkeys/login/begin")
    client.headers["Cookie"] = asked.headers["Set-Cookie"].split(";")[0]
    return client, asked.json


def log_in(server: ServerInThread, passkey: Authenticator) -> Answer:
    client, options = ask(server)
    return client("POST", "/api/v1/passkeys/login", {"credential": passkey.get(options)})


def test_a_passkey_logs_in_and_is_a_second_factor(server: ServerInThread, anna: Person) -> None:
    phone = Authenticator()
    added = add(anna, phone)
    assert added.status == 201 and len(added.json["recovery_codes"]) == 10
    me = anna("GET", "/api/v1/me").json
    assert me["second_factor"] is True and me["stepped_up_ns"]
    answer = log_in(server, phone)
    assert answer.status == 200, answer.data
    session = Client(
        server.url, Cookie=answer.headers["Set-Cookie"].split(";")[0], Origin="https://backup.example.org", X_Safehold="1"
    )
    assert session("GET", "/api/v1/me").json["name"] == "anna"
    server.clock.offset_ns += 16 * 60 * 10**9
    assert session("POST", "/api/v1/passkeys/begin").code == "second-factor-needed"
    options = session("POST", "/api/v1/passkeys/step-up/begin").json
    assert [each["id"] for each in options["allowCredentials"]] == [b64(phone.id)]
    assert session("POST", "/api/v1/passkeys/step-up", {"credential": phone.get(options)}).status == 204
    listed = session("GET", "/api/v1/passkeys").json["passkeys"]
    assert [each["label"] for each in listed] == ["phone"]
    assert session("DELETE", f"/api/v1/passkeys/{listed[0]['id']}").status == 204
    assert log_in(server, phone).status == 401


def test_a_password_alone_is_not_enough_where_there_is_a_passkey(server: ServerInThread, anna: Person) -> None:
    codes = add(anna, Authenticator()).json["recovery_codes"]
    other = Person(server.url, "anna")
    refused = other.log_in()
    assert refused.status == 401 and refused.headers["X-Safehold-Needs"] == "passkey"
    assert other.log_in(code=codes[0]).status == 200
    server.clock.offset_ns += 16 * 60 * 10**9
    secret = anna("POST", "/api/v1/totp").json["secret"]
    import pyotp

    code = pyotp.TOTP(secret).at(server.clock.now_ns() // 10**9)
    assert anna("POST", "/api/v1/totp/confirm", {"secret": secret, "code": code}).code == "second-factor-needed"
    assert anna("POST", "/api/v1/step-up", {"code": codes[1]}).status == 204


def test_answers_that_are_wrong(server: ServerInThread, anna: Person) -> None:
    phone = Authenticator()
    options = anna("POST", "/api/v1/passkeys/begin").json
    elsewhere = Authenticator("evil.example.org")
    assert anna("POST", "/api/v1/passkeys", {"credential": elsewhere.create(options)}).status == 400
    assert anna("POST", "/api/v1/passkeys", {"credential": phone.create(options)}).status == 403, "asked once, answered once"
    absent = Authenticator()
    absent.flags = 0x01
    options = anna("POST", "/api/v1/passkeys/begin").json
    assert anna("POST", "/api/v1/passkeys", {"credential": absent.create(options)}).status == 400, "nobody proved who they are"
    for nonsense in ({}, {"id": 5}, {"id": "x", "rawId": "x", "response": {}, "type": "public-key"}):
        anna("POST", "/api/v1/passkeys/begin")
        assert anna("POST", "/api/v1/passkeys", {"credential": nonsense}).status == 400
    assert add(anna, phone).status == 201
    assert log_in(server, Authenticator()).status == 401
    for change in (
        {"origin": "https://evil.example.org"},
        {"site": "evil.example.org"},
        {"flags": 0x01},
        {"key": ec.generate_private_key(ec.SECP256R1())},
    ):
        kept = {name: getattr(phone, name) for name in change}
        for name, value in change.items():
            setattr(phone, name, value)
        assert log_in(server, phone).status == 401, change
        for name, value in kept.items():
            setattr(phone, name, value)
    phone.count = 0
    assert log_in(server, phone).status == 401, "a copy of the passkey is about"
    phone.count = 50
    assert log_in(server, phone).status == 200


def test_an_answer_counts_once_and_for_the_browser_that_asked(server: ServerInThread, anna: Person) -> None:
    phone = Authenticator()
    add(anna, phone)
    client, options = ask(server)
    answer = phone.get(options)
    other, _ = ask(server)
    assert other("POST", "/api/v1/passkeys/login", {"credential": answer}).status == 401
    assert Client(server.url)("POST", "/api/v1/passkeys/login", {"credential": answer}).status in (401, 403)
    foreign = Client(server.url, Cookie=client.headers["Cookie"], Origin="https://evil.example.org", X_Safehold="1")
    assert foreign("POST", "/api/v1/passkeys/login", {"credential": answer}).status == 403
    assert client("POST", "/api/v1/passkeys/login", {"credential": answer}).status == 200
    assert client("POST", "/api/v1/passkeys/login", {"credential": answer}).status == 403
    client, options = ask(server)
    server.clock.offset_ns += 301 * 10**9
    assert client("POST", "/api/v1/passkeys/login", {"credential": phone.get(options)}).status == 403


def test_a_passkey_of_somebody_else_is_no_second_factor(server: ServerInThread, anna: Person) -> None:
    hers, his = Authenticator(), Authenticator()
    add(anna, hers)
    bob = Person(server.url, "bob")
    bob.headers["Origin"] = "https://backup.example.org"
    assert bob.register().status == 200
    add(bob, his)
    options = anna("POST", "/api/v1/passkeys/step-up/begin").json
    assert anna("POST", "/api/v1/passkeys/step-up", {"credential": his.get(options)}).status == 403
    assert bob("DELETE", f"/api/v1/passkeys/{b64(hers.id)}").status == 404
