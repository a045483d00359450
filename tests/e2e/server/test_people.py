"""People, organisations, invitations, sessions, passwords, and who a provider vouches for."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from cli_program import Program
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey
from online_servers import Answer, Client, Person, ServerInThread, text

from safehold.cli.accounts import new_login


def invited(server: ServerInThread, owner: Person, name: str, **more: Any) -> Person:
    code = owner("POST", "/api/v1/invitations", more or {}).json["code"]
    made = Person(server.url, name)
    value = {"name": name, "salt": text(made.salt), "login": text(made.login), "invitation": code}
    answer = made("POST", "/api/v1/accounts", value)
    assert answer.status == 200, answer.data
    made._keep(answer)
    return made


def test_an_invitation_makes_one_account(server: ServerInThread, owner: Person) -> None:
    made = owner("POST", "/api/v1/invitations", {"label": "for Bob", "quota": 5000, "expires_seconds": 3600})
    assert made.status == 201
    bob = Person(server.url, "bob")
    value = {"name": "bob", "salt": text(bob.salt), "login": text(bob.login), "invitation": made.json["code"]}
    assert bob("POST", "/api/v1/accounts", {**value, "invitation": "x" * 43}).status == 403
    assert bob("POST", "/api/v1/accounts", {**value, "name": "anna"}).status == 409, "and it is not used up by that"
    answer = bob("POST", "/api/v1/accounts", value)
    assert answer.status == 200
    bob._keep(answer)
    assert bob("GET", "/api/v1/me").json["quota"] == {"bytes": 5000, "used": 0}
    assert Client(server.url)("POST", "/api/v1/accounts", {**value, "name": "eve"}).status == 403
    late = owner("POST", "/api/v1/invitations", {"expires_seconds": 60}).json["code"]
    gone = owner("POST", "/api/v1/invitations", {}).json
    assert owner("DELETE", f"/api/v1/invitations/{gone['id']}").status == 204
    server.clock.offset_ns += 61 * 10**9
    for code in (late, gone["code"]):
        assert Client(server.url)("POST", "/api/v1/accounts", {**value, "name": "eve", "invitation": code}).status == 403
    assert [each["used_by"] for each in owner("GET", "/api/v1/invitations").json["invitations"]] == ["", "bob"]
    for method, path, body in (("POST", "", {}), ("GET", "", None), ("DELETE", "/x", None)):
        assert bob(method, f"/api/v1/invitations{path}", body).status == 403


def test_who_runs_the_server_shuts_people_out_and_sets_quotas(server: ServerInThread, owner: Person) -> None:
    bob = invited(server, owner, "bob")
    token = bob.token("admin")
    assert owner("PATCH", "/api/v1/people/bob", {"quota": 1000}).status == 204
    told = {each["name"]: each for each in owner("GET", "/api/v1/people").json["people"]}
    assert told["bob"]["quota"] == 1000 and told["anna"]["is_operator"] and told["anna"]["second_factor"]
    assert not {"salt", "login_hash", "totp_secret"} & set(told["bob"])
    assert owner("PATCH", "/api/v1/people/bob", {"disabled": True}).status == 204
    assert bob("GET", "/api/v1/me").status == 401 and Client(server.url, token)("GET", "/api/v1/me").status == 401
    assert bob.log_in().status == 401
    assert owner("PATCH", "/api/v1/people/bob", {"disabled": False}).status == 204
    assert bob.log_in().status == 200
    for wrong in ({"disabled": True}, {"is_operator": False}):
        assert owner("PATCH", "/api/v1/people/anna", wrong).status == 400, "somebody has to run it"
    assert owner("GET", "/api/v1/me").json["is_operator"] is True
    assert owner("PATCH", "/api/v1/people/bob", {"quota": -1}).status == 400
    assert owner("PATCH", "/api/v1/people/nobody", {"quota": 1}).status == 404
    assert bob("GET", "/api/v1/people").status == 403
    assert bob("PATCH", "/api/v1/people/bob", {"quota": 0}).status == 403
    server.clock.offset_ns += 16 * 60 * 10**9
    assert owner("PATCH", "/api/v1/people/bob", {"quota": 0}).code == "second-factor-needed"


def test_who_manages_a_repository_sees_its_members(server: ServerInThread, owner: Person) -> None:
    bob = invited(server, owner, "bob")
    members = f"{owner.repository()}/members"
    assert owner("GET", members).json["members"] == []
    assert owner("PUT", members, {"person": "bob", "role": "read+write"}).status == 204
    assert owner("GET", members).json["members"] == [{"person": "bob", "role": "read+write"}]
    assert bob("GET", members).status == 403
    assert Client(server.url)("GET", members).status == 401


def test_organisations_have_members_with_roles(server: ServerInThread, owner: Person) -> None:
    bob, eve = invited(server, owner, "bob"), invited(server, owner, "eve")
    assert bob("POST", "/api/v1/organisations", {"name": "club"}).status == 403
    assert owner("POST", "/api/v1/organisations", {"name": "club", "quota": 7000}).status == 201
    members = "/api/v1/organisations/club/members"
    assert bob("GET", members).status == 404
    assert owner("PUT", members, {"person": "bob", "role": "admin"}).status == 204
    assert owner("PUT", members, {"person": "eve", "role": "member"}).status == 204
    assert bob("GET", members).json["members"] == [
        {"person": "anna", "role": "owner"},
        {"person": "bob", "role": "admin"},
        {"person": "eve", "role": "member"},
    ]
    assert bob("GET", "/api/v1/organisations").json["organisations"][0]["quota"] == {"bytes": 7000, "used": 0}
    assert bob("POST", "/api/v1/repositories", {"name": "all", "account": "club"}).status == 201
    assert eve("POST", "/api/v1/repositories", {"name": "mine", "account": "club"}).status == 404
    base = "/api/v1/repositories/club/all"
    assert bob("GET", base).status == 200 and eve("GET", base).status == 404
    assert bob("PUT", members, {"person": "eve", "role": "admin"}).status == 403
    assert owner("PUT", members, {"person": "anna", "role": "member"}).status == 400, "somebody has to own it"
    assert owner("PUT", members, {"person": "bob", "role": "king"}).status == 400
    assert owner("PUT", members, {"person": "bob", "role": ""}).status == 204
    assert bob("GET", base).status == 404
    assert owner("PATCH", "/api/v1/organisations/club", {"quota": 9}).status == 204
    assert owner("GET", "/api/v1/organisations").json["organisations"][0]["quota"]["bytes"] == 9
    assert Person(server.url, "club").log_in().status == 401


def test_sessions_are_listed_and_ended(server: ServerInThread, owner: Person) -> None:
    second = Person(server.url, "anna")
    assert second.log_in(code=owner.recovery[0]).status == 200  # type: ignore[attr-defined]
    listed = owner("GET", "/api/v1/sessions").json["sessions"]
    assert [each["current"] for each in listed].count(True) == 1 and len(listed) == 2
    (other,) = (each["id"] for each in listed if not each["current"])
    assert owner("DELETE", f"/api/v1/sessions/{other}").status == 204
    assert second("GET", "/api/v1/me").status == 401
    second.log_in(code=owner.recovery[1])  # type: ignore[attr-defined]
    bob = invited(server, owner, "bob")
    assert owner("POST", "/api/v1/sessions/end-others").json == {"ended": 1}
    assert second("GET", "/api/v1/me").status == 401 and owner("GET", "/api/v1/me").status == 200
    assert bob("GET", "/api/v1/me").status == 200
    assert bob("DELETE", f"/api/v1/sessions/{listed[0]['id']}").status == 404
    assert Client(server.url, owner.token("admin"))("GET", "/api/v1/sessions").status == 403


def test_a_new_password_ends_the_other_sessions(server: ServerInThread, owner: Person) -> None:
    second = Person(server.url, "anna")
    second.log_in(code=owner.recovery[0])  # type: ignore[attr-defined]
    salt, login = new_login("another")
    value = {"login": text(owner.login), "new_salt": text(salt), "new_login": text(login)}
    assert owner("POST", "/api/v1/password", {**value, "login": text(bytes(32))}).status == 403
    assert owner("POST", "/api/v1/password", {**value, "new_salt": text(b"short")}).status == 400
    token = owner.token("admin")
    assert Client(server.url, token)("POST", "/api/v1/password", value).status == 403
    assert owner("POST", "/api/v1/password", value).status == 204
    assert second("GET", "/api/v1/me").status == 401 and owner("GET", "/api/v1/me").status == 200
    told = Client(server.url)("POST", "/api/v1/prelogin", {"name": "anna"}).json
    assert told["salt"] == text(salt)
    old, new = Person(server.url, "anna"), Person(server.url, "anna", "another")
    new.salt, new.login = salt, login
    assert old.log_in(code=owner.recovery[1]).status == 401  # type: ignore[attr-defined]
    assert new.log_in(code=owner.recovery[1]).status == 200  # type: ignore[attr-defined]
    server.clock.offset_ns += 16 * 60 * 10**9
    assert owner("POST", "/api/v1/password", {**value, "login": text(login)}).code == "second-factor-needed"


def test_a_server_is_set_up_without_a_browser(program: Program, tmp_path: Path) -> None:
    program.set(SAFEHOLD_ACCOUNT_PASSWORD="correct horse", SAFEHOLD_SERVER_DATA=str(tmp_path / "srv"))
    assert "runs the server" in program.do("server", "add-user", "anna").out
    assert "runs" not in program.do("server", "add-user", "bob").out
    assert program("server", "add-user", "bob").status == 2
    assert program("server", "add-user", "Bad Name").status == 2
    server = ServerInThread(tmp_path / "srv")
    try:
        anna = Person(server.url, "anna")
        anna.salt = base64.b64decode(Client(server.url)("POST", "/api/v1/prelogin", {"name": "anna"}).json["salt"])
        from safehold.cli.accounts import Prelogin, login_key

        told = Client(server.url)("POST", "/api/v1/prelogin", {"name": "anna"}).json
        anna.login = login_key("correct horse", Prelogin(anna.salt, told["memory_kib"], told["passes"], told["lanes"]))
        assert anna.log_in().status == 200 and anna("GET", "/api/v1/me").json["is_operator"] is True
    finally:
        server.stop()


class FakeProvider:
    """A provider of OpenID Connect, as honest as the test wants it."""

    def __init__(self) -> None:
        self.key = ECKey.generate_key("P-256", {"kid": "1", "alg": "ES256", "use": "sig"})
        self.codes: dict[str, dict[str, str]] = {}
        self.claims: dict[str, Any] = {"sub": "subject-1", "preferred_username": "Zoë Müller"}
        self.sign: Any = None
        self.asked: list[str] = []
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider.asked.append(self.path)
                if self.path == "/.well-known/openid-configuration":
                    names = ("authorization_endpoint", "token_endpoint", "jwks_uri")
                    self.tell({"issuer": provider.url, **{name: f"{provider.url}/{name}" for name in names}})
                elif self.path == "/jwks_uri":
                    self.tell({"keys": [provider.key.as_dict(private=False)]})
                else:
                    self.send_error(404)

            def do_POST(self) -> None:
                given = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
                asked = provider.codes.pop(given["code"][0], None)
                challenge = base64.urlsafe_b64encode(hashlib.sha256(given["code_verifier"][0].encode()).digest()).rstrip(b"=")
                login = base64.b64encode(b"client:secret").decode()
                if (
                    not asked
                    or challenge.decode() != asked["code_challenge"]
                    or self.headers["Authorization"] != f"Basic {login}"
                ):
                    self.send_error(400)
                    return
                now = int(time.time())
                claims = {
                    "iss": provider.url,
                    "aud": "client",
                    "nonce": asked["nonce"],
                    "iat": now,
                    "exp": now + 60,
                    **provider.claims,
                }
                header, key = provider.sign or ({"alg": "ES256", "kid": "1"}, provider.key)
                algorithms = [header["alg"]]
                self.tell({"id_token": jwt.encode(header, claims, key, algorithms=algorithms)})

            def tell(self, value: object) -> None:
                body = json.dumps(value).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def vouch(self, address: str) -> dict[str, str]:
        """What the browser brings back from the page at ``address``."""
        asked = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
        code = f"code-{len(self.asked)}-{len(self.codes)}"
        self.codes[code] = asked
        return {"code": code, "state": asked["state"]}

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    made = FakeProvider()
    yield made
    made.stop()


@pytest.fixture
def linked(tmp_path: Path, provider: FakeProvider) -> Iterator[ServerInThread]:
    settings = {"openid_issuer": provider.url, "openid_client": "client", "openid_secret": "secret", "openid_creates": True}
    made = ServerInThread(tmp_path / "oidc", **settings)
    yield made
    made.stop()


def begin(who: Client, provider: FakeProvider, link: bool = False) -> tuple[dict[str, str], str]:
    """Go to the provider and come back; what is brought along, and the cookie."""
    answer = who("GET", f"/api/v1/openid/begin{'?link=1' if link else ''}")
    assert answer.status == 303, answer.data
    asked = parse_qs(urlsplit(answer.headers["Location"]).query)
    assert answer.headers["Location"].startswith(f"{provider.url}/authorization_endpoint?")
    assert asked["code_challenge_method"] == ["S256"] and asked["redirect_uri"] == [f"{who.url}/api/v1/openid/callback"]
    assert "HttpOnly" in answer.headers["Set-Cookie"] and "lax" in answer.headers["Set-Cookie"].lower()
    return provider.vouch(answer.headers["Location"]), answer.headers["Set-Cookie"].split(";")[0]


def come_back(server: ServerInThread, brought: dict[str, str], cookie: str) -> Answer:
    client = Client(server.url, Cookie=cookie)
    query = "&".join(f"{name}={value}" for name, value in brought.items())
    return Answer(
        client._pool.request("GET", f"{server.url}/api/v1/openid/callback?{query}", headers=client.headers, redirect=False)
    )


@pytest.fixture(autouse=True)
def _no_redirects(monkeypatch: pytest.MonkeyPatch) -> None:
    def call(self: Client, method: str, path: str, value: object = None, data: bytes | None = None, **headers: str) -> Answer:
        body = json.dumps(value).encode() if value is not None else data
        named = {name.replace("_", "-"): told for name, told in headers.items()}
        return Answer(self._pool.request(method, self.url + path, body=body, headers={**self.headers, **named}, redirect=False))

    monkeypatch.setattr(Client, "__call__", call)


def test_who_a_provider_vouches_for_comes_in(linked: ServerInThread, provider: FakeProvider) -> None:
    brought, cookie = begin(Client(linked.url), provider)
    assert come_back(linked, brought, cookie).status == 403, "the first account is the owner's"
    linked.owner()
    names = []
    for _ in range(2):
        brought, cookie = begin(Client(linked.url), provider)
        answer = come_back(linked, brought, cookie)
        assert answer.status == 303 and answer.headers["Location"] == "/", answer.data
        session = Client(linked.url, Cookie=answer.headers["Set-Cookie"].split(";")[0])
        me = session("GET", "/api/v1/me").json
        names.append(me["name"])
        assert me["stepped_up_ns"] == 0 and me["is_operator"] is False
    assert names == ["zo-m-ller"] * 2
    assert Person(linked.url, "zo-m-ller").log_in().status == 401
    provider.claims["sub"] = "subject-2"
    answer = come_back(linked, *begin(Client(linked.url), provider))
    assert (
        Client(linked.url, Cookie=answer.headers["Set-Cookie"].split(";")[0])("GET", "/api/v1/me").json["name"] == "zo-m-ller-2"
    )
    assert all(path in ("/.well-known/openid-configuration", "/jwks_uri") for path in provider.asked)


def test_a_provider_is_linked_to_an_account_with_its_second_factor(linked: ServerInThread, provider: FakeProvider) -> None:
    anna = linked.owner()
    brought, cookie = begin(anna, provider, link=True)
    answer = come_back(linked, brought, cookie)
    assert answer.status == 303 and "Set-Cookie" not in answer.headers
    answer = come_back(linked, *begin(Client(linked.url), provider))
    me = Client(linked.url, Cookie=answer.headers["Set-Cookie"].split(";")[0])("GET", "/api/v1/me").json
    assert me["name"] == "anna" and me["stepped_up_ns"] == 0, "to delete, a second factor is still needed"
    linked.clock.offset_ns += 16 * 60 * 10**9
    assert anna("GET", "/api/v1/openid/begin?link=1").code == "second-factor-needed"
    assert Client(linked.url)("GET", "/api/v1/openid/begin?link=1").status == 401


def test_words_of_a_provider_that_do_not_hold(linked: ServerInThread, provider: FakeProvider) -> None:
    linked.owner()

    def tried() -> int:
        return come_back(linked, *begin(Client(linked.url), provider)).status

    honest = dict(provider.claims)
    for wrong in (
        {"iss": "https://elsewhere.example"},
        {"aud": "another"},
        {"aud": ["client", "another"]},
        {"nonce": "another"},
        {"exp": int(time.time()) - 3600},
        {"sub": ""},
    ):
        provider.claims = {**honest, **wrong}
        assert tried() == 401, wrong
    provider.claims = honest
    provider.sign = ({"alg": "ES256", "kid": "1"}, ECKey.generate_key("P-256"))
    assert tried() == 401, "another's key"
    provider.sign = ({"alg": "HS256"}, OctKey.import_key("secret" * 8))
    assert tried() == 401, "a key that others know"
    provider.sign = None
    assert tried() == 303


def test_answers_are_bound_to_the_browser_that_asked(linked: ServerInThread, provider: FakeProvider) -> None:
    linked.owner()
    brought, cookie = begin(Client(linked.url), provider)
    other, other_cookie = begin(Client(linked.url), provider)
    assert come_back(linked, brought, "a=b").status == 403, "no cookie"
    assert come_back(linked, other, cookie).status == 403, "another question's state"
    assert come_back(linked, brought, cookie).status == 403, "and each is answered once"
    assert come_back(linked, {"error": "denied", "state": other["state"]}, other_cookie).status == 401
    brought, cookie = begin(Client(linked.url), provider)
    linked.clock.offset_ns += 301 * 10**9
    assert come_back(linked, brought, cookie).status == 403, "too late"


def test_without_a_provider_nobody_is_sent_away(server: ServerInThread) -> None:
    assert Client(server.url)("GET", "/api/v1/openid/begin").status == 404
    assert Client(server.url)("GET", "/api/v1/openid/callback?state=x&code=y").status == 404
